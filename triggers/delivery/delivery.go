// Package delivery is one attempt to hand an event to a subscriber, and the
// policy for the attempts after it. It knows the two ways to reach a function,
// in this process and over HTTP, and gives the same Result for both, so that a
// broker need not know which it is.
//
// It follows the observed behaviour of Knative's multi-tenant broker: which
// statuses are retried (sdk/fault), how delays grow, what the dead letter sink
// is told. It keeps no state and never retries by itself.
package delivery

import (
	"context"
	"net/http"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// Sink is where events are delivered. Deliver may be called concurrently; the
// event is the callee's own copy.
type Sink interface {
	Deliver(ctx context.Context, e event.Event) Result
}

// Bulk is a Sink that can take many events at once, and reads them where they
// lie. The results are those that Deliver would have given each; false means that
// there are none, and that the events are to be delivered one by one.
type Bulk interface {
	Sink
	DeliverAll(ctx context.Context, events []function.Arrived) ([]Result, bool)
}

// Result is the outcome of one attempt.
type Result struct {
	// Status is the HTTP status of the answer, or what it would have been in
	// this process; 0 when there was no answer.
	Status int
	// Reply is the event that the subscriber answered with, if any.
	Reply *event.Event
	// Losses are the parts of the event that the subscriber dropped while it
	// applied the rest.
	Losses []function.Loss
	// Err is the cause of a failure, nil on success.
	Err error
	// Body is the begin of the answer that was a failure, for the dead letter
	// sink: at most maxErrorBody bytes.
	Body []byte
}

// maxErrorBody bounds what is kept of an answer that is an error. Knative
// passes on 1 KiB of base64, which is this many bytes.
const maxErrorBody = 768

// OK reports whether the subscriber took the event.
func (r Result) OK() bool { return r.Err == nil }

// Retry reports whether another attempt can succeed.
func (r Result) Retry() bool { return r.Err != nil && fault.Retried(r.Status) }

// failed is the result of an attempt that ended with err, and with an answer
// of that status and body if there was one.
func failed(status int, err error, body []byte) Result {
	return Result{Status: status, Err: err, Body: body[:min(len(body), maxErrorBody)]}
}

// succeeded is the result of an attempt that was taken, with its reply.
func succeeded(reply *event.Event, losses []function.Loss) Result {
	status := http.StatusAccepted
	if reply != nil {
		status = http.StatusOK
	}
	return Result{Status: status, Reply: reply, Losses: losses}
}
