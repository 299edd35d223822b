package broker

import (
	"math"
	"slices"
	"sync"
	"time"

	"selvedge.dev/sdk/journal"
)

// A trigger remembers its attempts for the trace view, in memory and bounded:
// those that were taken in a small form, written a step at a time, so that they
// cost a hundredth of a delivery; those that failed with their text, longer,
// since they are what somebody asks for. The rings grow as they are used: a
// trigger at rest has none.
const (
	takenKept  = 1 << 14 // 32 bytes each: half a megabyte
	failedKept = 1 << 12 // up to some 300 bytes each: a good megabyte
)

// fate is what came of an attempt.
type fate byte

// The fates. A taken event may still have been the dead letter's.
const (
	taken fate = iota
	retried
	sentOn
	givenUp
)

// fates are the words for them.
var fates = [...]string{taken: "TAKEN", retried: "RETRIED", sentOn: "DEAD_LETTERED", givenUp: "GIVEN_UP"}

// attempt is one attempt at a delivery.
type attempt struct {
	offset journal.Offset
	at     int64  // Unix microseconds
	took   uint32 // microseconds
	n      uint16
	status uint16
	fate   fate
	dead   bool // it was the dead letter sink's
}

// failure is an attempt that was not taken, and its answer's text.
type failure struct {
	attempt
	text string
}

// took is a duration in microseconds; over an hour is an hour.
func took(d time.Duration) uint32 { return uint32(min(d.Microseconds(), math.MaxUint32)) }

// history is the latest attempts of a trigger. All methods may be called
// concurrently.
type history struct {
	mu     sync.Mutex
	taken  ring[attempt]
	failed ring[failure]
}

// add remembers attempts that were taken.
func (h *history) add(notes []attempt) {
	if len(notes) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range notes {
		h.taken.put(n, takenKept)
	}
}

// fail remembers an attempt that was not taken.
func (h *history) fail(a attempt, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed.put(failure{a, text}, failedKept)
}

// of are the attempts with the event at offset that are remembered, in their
// order.
func (h *history) of(offset journal.Offset) []failure {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []failure
	for _, f := range h.failed.items {
		if f.offset == offset {
			out = append(out, f)
		}
	}
	for _, a := range h.taken.items {
		if a.offset == offset {
			out = append(out, failure{attempt: a})
		}
	}
	slices.SortStableFunc(out, func(a, b failure) int { return int(min(max(a.at-b.at, -1), 1)) })
	return out
}

// ring is the newest items, up to a bound.
type ring[T any] struct {
	items []T
	next  int
}

// put adds x in the place of the oldest once there are bound items.
func (r *ring[T]) put(x T, bound int) {
	if len(r.items) < bound {
		r.items = append(r.items, x)
		return
	}
	r.items[r.next] = x
	r.next = (r.next + 1) % bound
}
