// Package schedulerv1 is the contract of the scheduler service: timers and
// their methods, generated from scheduler.proto, what makes a timer valid, and
// the event by which a function sets one (see [SetTimer]). The service's
// implementation is functions/scheduler.
package schedulerv1

import (
	"time"
)

// The types of resources.
const (
	TimerType = "scheduler.selvedge.dev/Timer"
	LeaseType = "scheduler.selvedge.dev/SchedulerLease"
)

// TypeSetTimer is the type of events that set a timer: [SetTimer] as JSON. A
// function replies one. An event that came in from outside sets none.
const TypeSetTimer = "dev.selvedge.timer.set.v1"

// TypePing is the type of the events of Knative's PingSources.
const TypePing = "dev.knative.sources.ping"

// The attributes of the events of timers.
const (
	// Slot is the slot, RFC 3339: the time that the event is for. The event's
	// own time is when it was posted.
	Slot = "timerslot"
	// MissedSlots is how many slots were missed and have no event of their own,
	// up to this one; absent when there are none.
	MissedSlots = "timermissed"
)

// SetTimer is the data of an event that sets a timer that fires once.
type SetTimer struct {
	// ID is the timer's; "" follows from the event's id. A timer of that id that
	// there is already is moved to the new time, unless the event set it before.
	ID string `json:"id,omitempty"`
	// At is when it fires. Without one it is After from the time of the event.
	At time.Time `json:"at,omitzero"`
	// After is a duration such as "90s" or "15m".
	After string `json:"after,omitempty"`
	// Cancel deletes the timer of the ID instead.
	Cancel bool `json:"cancel,omitempty"`
	// Event is what the timer posts.
	Event SetEvent `json:"event"`
}

// SetEvent is the event that a set timer posts.
type SetEvent struct {
	Type       string            `json:"type"`
	Subject    string            `json:"subject,omitempty"`
	Extensions map[string]string `json:"extensions,omitempty"`
	// Data is JSON.
	Data any `json:"data,omitempty"`
}
