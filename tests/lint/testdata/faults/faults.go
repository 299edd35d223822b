// Package faults has one of each fault that the linter is there to find. A
// "finds" comment names the check that must speak of its line, and no check
// may speak of a line without one.
package faults

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// errStop is compared below.
var errStop = errors.New("stop")

// Identity compares a wrapped error.
func Identity(err error) bool {
	return err == errStop // finds errorlint
}

// Wrapped hides its cause from errors.Is.
func Wrapped(err error) error {
	return fmt.Errorf("stop: %v", err) // finds errorlint
}

// Leak does not close the body.
func Leak() (int, error) {
	r, err := http.Get("http://127.0.0.1/") // finds bodyclose
	if err != nil {
		return 0, err
	}
	return r.StatusCode, nil
}

// Logs logs in ways that cannot be searched.
func Logs(l *slog.Logger, id string) {
	slog.Info("started")                           // finds sloglint
	l.Info("Started")                              // finds sloglint
	l.Info("started " + id)                        // finds sloglint
	l.Info("started", "id", id)                    // finds sloglint
	l.Info("started", slog.String("streamID", id)) // finds sloglint
	l.Info("started", slog.String("stream_id", id))
}

// Format has a verb without an argument.
func Format() string {
	return fmt.Sprintf("%d of %d", 1) // finds SA5009 printf
}

// Same compares a value with itself.
func Same(a int) bool {
	return a == a // finds SA4000
}

// Contains is longer than it needs to be.
func Contains(s string) bool {
	return strings.Index(s, "a") != -1 // finds S1003
}

// This comment begins with something else. finds ST1020
func Named() {}

// dead is called by nobody.
func dead() {} // finds U1000

// Silenced is like Same, for a reason.
func Silenced(a int) bool {
	//lint:ignore SA4000 the test of the linter needs one
	return a == a
}

// Unreasoned is silenced without a reason.
func Unreasoned(a int) bool {
	/* finds directives */ //lint:ignore SA4000
	return a == a
}
