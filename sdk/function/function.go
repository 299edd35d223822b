// Package function is the contract between a function and whatever runs it:
// Knative, the platform on one machine, or a test.
//
// A function is a type with Handle, made by its package's New. It may
// implement the optional interfaces below, each of one method; they are those
// of Knative's Go middleware, plus Syncer and Bulk. The same value runs inside the
// platform's process, where Handle is called directly, and as its own process,
// where HTTP serves it.
package function

import (
	"context"

	"selvedge.dev/sdk/event"
)

// Handler is a function of events. Handle may be called concurrently.
//
// A nil reply and a nil error is success. A reply re-enters the broker as a
// new event of the same project. The kind of an error decides what the broker
// does (sdk/fault): an error without a kind is retried, an Invalid or NotFound
// one is not, and ends in the dead letter sink or the loss ledger.
type Handler interface {
	Handle(ctx context.Context, e event.Event) (*event.Event, error)
}

// Starter is told once, before the first event, with the environment.
type Starter interface {
	Start(ctx context.Context, env map[string]string) error
}

// Stopper is told once, after the last event.
type Stopper interface {
	Stop(ctx context.Context) error
}

// ReadinessReporter says whether events may be sent now.
type ReadinessReporter interface {
	Ready(ctx context.Context) (bool, error)
}

// LivenessReporter says whether the function works; false asks for a restart.
type LivenessReporter interface {
	Alive(ctx context.Context) (bool, error)
}

// Syncer is a function whose effects become durable later than Handle
// returns. The broker that runs it in its own process calls Sync before it
// forgets the events that were handled, so that a crash replays them. A
// function that runs as its own process must be durable when Handle returns.
type Syncer interface {
	Sync(ctx context.Context) error
}
