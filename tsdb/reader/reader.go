// Package reader reads the series of a platform in a process beside it: the points
// from the VictoriaMetrics that keeps them for the platform, and what they mean from
// the platform itself. What it does not have is in the platform alone: points are
// written there, metrics are declared there, and rollups are known there, so that
// every query reads the points.
package reader

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb/vm"
)

// The environment of a process that reads, all of it required.
const (
	// URLVariable is where the platform is, KeyVariable the key of an account there
	// that may list the descriptors of metrics of every project that is read.
	URLVariable = "SELVEDGE_URL"
	KeyVariable = "SELVEDGE_KEY"
	// SeriesVariable is the server of the points, or the tenant of a cluster at
	// vmselect; see vm.ConnectReader.
	SeriesVariable = "SELVEDGE_SERIES"
)

// askTimeout bounds a question to the platform.
const askTimeout = 10 * time.Second

// Reader reads. It may be used concurrently.
type Reader struct {
	// Store has the points, and only reads.
	Store *vm.Remote
	*Descriptors
}

// Open makes a Reader as the environment says. It waits for nobody: while the
// platform or the server of the points is away, what needs it is Unavailable.
func Open(env map[string]string, log *slog.Logger) (*Reader, error) {
	for _, name := range []string{URLVariable, KeyVariable, SeriesVariable} {
		if env[name] == "" {
			return nil, &fault.Error{Op: "reader.Open", Kind: fault.Invalid, Reason: "NOT_CONFIGURED", Field: name, Err: errors.New(name + " is not set")}
		}
	}
	descriptors := NewDescriptors(&client.Client{
		URL: strings.TrimRight(env[URLVariable], "/"), Key: env[KeyVariable], HTTP: &http.Client{Timeout: askTimeout},
	})
	store, err := vm.ConnectReader(env[SeriesVariable], vm.Options{Describe: descriptors.Describe, Logger: log})
	if err != nil {
		return nil, err
	}
	return &Reader{Store: store, Descriptors: descriptors}, nil
}

// Close releases what Open took.
func (r *Reader) Close() error { return r.Store.Close() }
