package broker

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync/atomic"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/filter"
)

// Unrouted is the stream in the loss ledger of the events that no trigger
// matched.
const Unrouted = "broker"

// unrouted is a trigger for what passes no other: it drops it, with a line in
// the ledger. On Knative such an event vanishes; here a route that nobody
// serves shows.
func unrouted() Trigger {
	return Trigger{Name: Unrouted, Filter: everything{}, Sink: nowhere{}, Lanes: 1}
}

// everything is a filter that all pass. What the catch-all takes is decided by
// routes.
type everything struct{}

// Filter implements filter.Filter.
func (everything) Filter(*event.Event) filter.Verdict { return filter.NoFilter }

// nowhere is a sink that takes nothing.
type nowhere struct{}

// Deliver implements delivery.Sink.
func (nowhere) Deliver(context.Context, event.Event) delivery.Result {
	return delivery.Result{Status: http.StatusBadRequest, Err: &fault.Error{
		Op: "broker", Kind: fault.Invalid, Reason: "NO_TRIGGER", Err: errors.New("no trigger matches the event"),
	}}
}

// routes is what the catch-all judges an event by: who takes it, and who did
// while the set of triggers was another. It is never changed, only replaced.
type routes struct {
	live   []*runner
	former []*former
	// idle are the projects of triggers that were not set again yet: what they
	// would take is not known.
	idle map[string]bool
}

// former is what a trigger was before it was replaced or removed, for the
// events from since on, before the offset until.
type former struct {
	spec  *spec
	since journal.Offset
	until atomic.Uint64
}

// newFormer is what r is, as long as it may still be at work as such.
func newFormer(r *runner) *former {
	f := &former{spec: r.spec.Load(), since: journal.Offset(r.since.Load())}
	f.until.Store(math.MaxUint64)
	return f
}

// taken reports whether a trigger takes, or took, the event.
func (rt *routes) taken(v *entry) bool {
	offset := v.offset
	if len(rt.idle) > 0 && rt.idle[string(v.project())] {
		return true
	}
	for _, r := range rt.live {
		if offset >= journal.Offset(r.since.Load()) && r.spec.Load().wants(v) {
			return true
		}
	}
	for _, f := range rt.former {
		if offset >= f.since && offset < journal.Offset(f.until.Load()) && f.spec.wants(v) {
			return true
		}
	}
	return false
}

// Wants reports whether a trigger takes e. What cannot be published nobody
// refuses here.
func (b *Broker) Wants(e *event.Event) bool {
	var v entry
	record, err := (&envelope{event: e}).append(nil)
	if err == nil {
		err = v.read(b.journal.End(), record)
	}
	return err != nil || b.routes.Load().taken(&v)
}
