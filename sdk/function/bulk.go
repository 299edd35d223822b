package function

import (
	"context"
	"time"

	"selvedge.dev/sdk/event"
)

// Arrived is an event where it lies in the journal of the broker that took it.
type Arrived struct {
	// Head has the attributes and the data. It is valid until the call returns.
	Head *event.Head
	// Time is when the broker took the event: what Handle finds in the attribute
	// event.ArrivalTime.
	Time time.Time
}

// Event is the event as Handle gets it.
func (a *Arrived) Event() (event.Event, error) {
	e, err := a.Head.Event(1)
	if err == nil {
		event.SetArrival(&e, a.Time)
	}
	return e, err
}

// Outcome is what became of one event of many: what Handle would have returned,
// and dropped.
type Outcome struct {
	Reply  *event.Event
	Err    error
	Losses []Loss
}

// Bulk is a function that can take many events at once, for less than one by
// one, and without a copy of each; its replies are few, since they are all in
// memory at once. The broker that runs it in its own process calls HandleAll where
// it has many, and Handle where not; both must do the same. The outcomes are there
// for each event, and zero.
type Bulk interface {
	HandleAll(ctx context.Context, events []Arrived, outcomes []Outcome)
}
