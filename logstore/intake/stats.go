package intake

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/journal"
)

// Stats is the state of an intake at one moment.
type Stats struct {
	// Origin is what the store knows the intake's entries by.
	Origin string
	// Stored is how many entries were acknowledged since Open, those that were
	// there already not counted.
	Stored uint64
	// Dropped is how many entries were not kept, by reason, since Open: those
	// that Write refused (the reasons of logstore, ReasonTooOld, ReasonTooNew),
	// ReasonDuplicate, ReasonRefused, ReasonUnreadable; and of all time
	// journal.LostCorrupt.
	Dropped map[string]uint64
	// Waiting is how many acknowledged entries the store does not have yet,
	// and Oldest when the first of them was received; zero if there are none.
	Waiting uint64
	Oldest  time.Time
	// Unsynced is how many the journal still has: those that wait, and those
	// that the store was not synced after.
	Unsynced uint64
	// Bytes is what the journal takes on disk, of at most MaxBytes.
	Bytes, MaxBytes int64
	// StoreError says why the store takes nothing now; "" if it does.
	StoreError string
	// Tails is how many are open, and Missed how many entries their readers were
	// too slow for since Open.
	Tails  int
	Missed uint64
}

// counts count since Open.
type counts struct {
	stored, missed atomic.Uint64

	mu      sync.Mutex
	dropped map[string]uint64
}

// drop counts dropped entries.
func (c *counts) drop(reason string, n int) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped == nil {
		c.dropped = make(map[string]uint64)
	}
	c.dropped[reason] += uint64(n)
}

// dropped counts and logs an acknowledged entry that is not kept.
func (in *Intake) dropped(reason string, number uint64, err error) {
	in.counts.drop(reason, 1)
	in.options.Logger.LogAttrs(context.Background(), slog.LevelError, "log entry dropped",
		slog.String("reason", reason), slog.Uint64("number", number), slog.String("error", err.Error()))
}

// Stats returns the present state.
func (in *Intake) Stats() Stats {
	j := in.journal.Stats()
	s := &in.shipper
	s.mu.Lock()
	next, origin, cursor, err := s.next, s.origin, s.cursor, s.err
	s.mu.Unlock()
	st := Stats{
		Origin: origin, Stored: in.counts.stored.Load(), Missed: in.counts.missed.Load(),
		Bytes: j.Bytes, MaxBytes: j.MaxBytes, Waiting: uint64(j.End - next),
		Unsynced: uint64(j.End - cursor.Position()),
	}
	if err != nil {
		st.StoreError = err.Error()
	}
	in.counts.mu.Lock()
	st.Dropped = maps.Clone(in.counts.dropped)
	in.counts.mu.Unlock()
	if n := j.Lost[journal.LostCorrupt]; n > 0 {
		if st.Dropped == nil {
			st.Dropped = make(map[string]uint64)
		}
		st.Dropped[journal.LostCorrupt] = n
	}
	in.tails.mu.RLock()
	st.Tails = len(in.tails.open)
	in.tails.mu.RUnlock()
	var first journal.Batch
	if st.Waiting > 0 && in.journal.Read(next, &first, 1) == nil && first.Len() > 0 {
		if e, err := logstore.ParseRecord(first.At(0).Data); err == nil {
			st.Oldest = e.Received
		}
	}
	return st
}
