//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"runtime"
	"time"

	"selvedge.dev/sdk/fault"
)

// Runner starts nothing on this system.
type Runner struct{}

// Process is never made on this system.
type Process struct{}

// unsupported is what this system answers.
func unsupported(op string) error {
	return &fault.Error{Op: op, Kind: fault.Unsupported, Reason: "NO_SANDBOX", Err: errors.New("functions run as processes on Linux only, not on " + runtime.GOOS)}
}

// Main does nothing on this system.
func Main() {}

// New is an Unsupported fault.
func New(context.Context, Options) (*Runner, error) { return nil, unsupported("sandbox.New") }

// Describe says that there is nothing.
func (*Runner) Describe() Isolation { return Isolation{Root: "none"} }

// Start is an Unsupported fault.
func (*Runner) Start(context.Context, Spec) (*Process, error) {
	return nil, unsupported("sandbox.Start")
}

// Close does nothing.
func (*Runner) Close() error { return nil }

// PID is 0.
func (*Process) PID() int { return 0 }

// Done is closed.
func (*Process) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// Wait returns at once.
func (*Process) Wait() Exit { return Exit{} }

// Stop returns at once.
func (*Process) Stop(time.Duration) Exit { return Exit{} }

// Kill does nothing.
func (*Process) Kill() {}

// Stats is an Unsupported fault.
func (*Process) Stats() (Stats, error) { return Stats{}, unsupported("sandbox.Stats") }
