package edgeruntime

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// State is what an agent's way to the platform is like.
type State string

// The states.
const (
	// StateStarting is before the first answer.
	StateStarting State = "starting"
	// StateDelivering is after an answer that settled events.
	StateDelivering State = "delivering"
	// StateRetrying is after a failure that waiting may cure.
	StateRetrying State = "retrying"
	// StateDenied is when the platform does not accept the key. Everything is
	// kept, and tried again slowly.
	StateDenied State = "denied"
	// StateStopped is when no agent runs on the queue.
	StateStopped State = "stopped"
)

// Status is what an agent can say of itself.
type Status struct {
	// Device is the resource name of the device, "" when the agent is stopped.
	Device string `json:"device,omitempty"`
	State  State  `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since,omitzero"`
	// Problem is why events are not being delivered, "" when they are.
	Problem string      `json:"problem,omitempty"`
	Queue   QueueStatus `json:"queue"`
	// Delivered counts the events that the platform has accepted, or had
	// already, since the agent started.
	Delivered uint64 `json:"delivered_events"`
	// Lost counts what was lost since the queue was made, by reason. What was
	// evicted or rejected may have been received all the same, if the answer
	// got lost.
	Lost map[string]uint64 `json:"lost_events"`
}

// QueueStatus is what waits for the platform.
type QueueStatus struct {
	Pending uint64 `json:"pending_events"`
	// Oldest is the time of the oldest pending event.
	Oldest time.Time `json:"oldest_time,omitzero"`
	// OldestAge is how old that is, in seconds, never less than 0.
	OldestAge float64 `json:"oldest_age_seconds"`
	// Bytes is what the queue takes on disk, MaxBytes its bound.
	Bytes    int64 `json:"bytes"`
	MaxBytes int64 `json:"max_bytes"`
	// FitsFor is for how many seconds more the bound lasts without the platform
	// at the current rate, before the oldest events are dropped. It is absent
	// when the rate is not known.
	FitsFor *float64 `json:"fits_for_seconds,omitempty"`
}

// LostTotal is the sum of Lost.
func (s Status) LostTotal() uint64 {
	var n uint64
	for _, c := range s.Lost {
		n += c
	}
	return n
}

// fits sets how long the bound lasts at bytesPerSecond.
func (s *QueueStatus) fits(bytesPerSecond float64) {
	if bytesPerSecond > 0 {
		left := max(float64(s.MaxBytes-s.Bytes), 0) / bytesPerSecond
		s.FitsFor = &left
	}
}

// figures sets the figures of the queue and of what was lost.
func (s Status) figures(r Reading) {
	r.Set("queue/pending_events", float64(s.Queue.Pending))
	r.Set("queue/oldest_age_seconds", s.Queue.OldestAge)
	r.Set("queue/bytes", float64(s.Queue.Bytes))
	r.Set("queue/max_bytes", float64(s.Queue.MaxBytes))
	r.Set("queue/lost_total", float64(s.LostTotal()))
	for reason, n := range s.Lost {
		r.Set("queue/lost/"+strings.ToLower(reason), float64(n))
	}
}

// Inspect says what waits in dir while no agent runs on it. A queue that is not
// there is a NotFound fault, one with an agent on it a Conflict. The bound is
// not in the queue; 0 means DefaultMaxBytes.
func Inspect(dir string, maxBytes int64) (Status, error) {
	const op = "edgeruntime.Inspect"
	if _, err := os.Stat(filepath.Join(dir, queueDir)); err != nil {
		return Status{}, &fault.Error{Op: op, Kind: fault.NotFound, Err: fmt.Errorf("no queue: %w", err)}
	}
	q, err := openQueue(dir, cmp.Or(maxBytes, DefaultMaxBytes), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return Status{}, &fault.Error{Op: op, Kind: fault.KindOf(err), Err: err}
	}
	s := Status{State: StateStopped}
	s.Queue, s.Lost = q.state(time.Now())
	s.Queue.fits(q.rate())
	if err := q.close(); err != nil {
		return Status{}, &fault.Error{Op: op, Kind: fault.KindOf(err), Err: err}
	}
	return s, nil
}
