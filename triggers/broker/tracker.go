package broker

import (
	"context"
	"sync"

	"selvedge.dev/sdk/journal"
)

// span is how many records a trigger may have in hand beyond the oldest that
// is not finished. It bounds memory and what a crash repeats; an event in
// retry lets this many successors pass before the trigger waits for it.
const span = 1 << 15

// tracker knows which records of a trigger are finished, in whatever order
// they finish, and so how far its cursor may move.
type tracker struct {
	mu sync.Mutex
	// base is the oldest offset that is not finished; done has a flag for
	// each of the span offsets from base on, at offset%span.
	base journal.Offset
	done [span]bool
	// moved is closed, and made anew, when base moves.
	moved chan struct{}
}

// newTracker begins at base.
func newTracker(base journal.Offset) *tracker {
	return &tracker{base: base, moved: make(chan struct{})}
}

// low is the oldest offset that is not finished.
func (t *tracker) low() journal.Offset {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.base
}

// finished reports whether the record at offset is.
func (t *tracker) finished(offset journal.Offset) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return offset < t.base || offset < t.base+span && t.done[offset%span]
}

// finish marks offsets as finished.
func (t *tracker) finish(offsets ...journal.Offset) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range offsets {
		t.done[o%span] = true
	}
	before := t.base
	for t.done[t.base%span] {
		t.done[t.base%span] = false
		t.base++
	}
	t.tell(before)
}

// skip finishes the offsets from (inclusive) to (exclusive), of which none was
// ever in hand: the journal does not have them.
func (t *tracker) skip(ctx context.Context, from, to journal.Offset) error {
	for ; from < to; from++ {
		if _, err := t.admit(ctx, from); err != nil {
			return err
		}
		if t.pass(from, to) { // nothing older is open, so the rest goes at once
			return nil
		}
		t.finish(from)
	}
	return nil
}

// pass moves base to the offset to if it stands at from.
func (t *tracker) pass(from, to journal.Offset) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.base != from {
		return false
	}
	t.base = to
	t.tell(from)
	return true
}

// tell wakes who waits for base to move, if it moved from before. The caller
// holds mu.
func (t *tracker) tell(before journal.Offset) {
	if t.base != before {
		close(t.moved)
		t.moved = make(chan struct{})
	}
}

// admit waits until the record at offset may be taken in hand, and returns the
// offset that all before may be until.
func (t *tracker) admit(ctx context.Context, offset journal.Offset) (journal.Offset, error) {
	for {
		t.mu.Lock()
		limit, moved := t.base+span, t.moved
		t.mu.Unlock()
		if offset < limit {
			return limit, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
