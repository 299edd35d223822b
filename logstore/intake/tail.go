package intake

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// The bounds of what waits for a reader of a tail.
const (
	tailEntries = 1_000
	tailBytes   = 4 << 20
)

// tails are the tails that are open.
type tails struct {
	most int

	mu     sync.RWMutex
	open   map[*Tail]bool
	closed bool
}

// Tail is entries as they are taken in; make one with Intake.Tail. It is for
// one reader.
type Tail struct {
	in       *Intake
	selector *logstore.Selector
	woken    chan struct{}

	mu     sync.Mutex
	queue  []logstore.Entry
	bytes  int
	missed int
	ended  bool
}

// Tail begins to hand out the entries of a selection that are taken in from
// now on, by this intake: not those of others in front of the same store. They
// come in the order in which they are acknowledged, which is not that of their
// times. The caller closes it. It is Exhausted if MaxTails are open.
func (in *Intake) Tail(sel logstore.Selection) (*Tail, error) {
	const op = "logstore/intake.Tail"
	selector, err := sel.Matcher()
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.KindOf(err), Reason: fault.ReasonOf(err), Field: "filter", Err: err}
	}
	t := &Tail{in: in, selector: selector, woken: make(chan struct{}, 1)}
	in.tails.mu.Lock()
	defer in.tails.mu.Unlock()
	switch {
	case in.tails.closed:
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Err: errClosed}
	case len(in.tails.open) >= in.tails.most:
		return nil, &fault.Error{Op: op, Kind: fault.Exhausted, Reason: "TOO_MANY_TAILS", Err: fmt.Errorf("%d tails are open", in.tails.most)}
	}
	if in.tails.open == nil {
		in.tails.open = make(map[*Tail]bool)
	}
	in.tails.open[t] = true
	return t, nil
}

// errClosed is what a tail ends with.
var errClosed = errors.New("the intake or the tail is closed")

// Next waits for entries and gives what there are, and how many the reader has
// missed since the last Next, because it was too slow to take them: those are
// older than the ones it is given next time. It is Unavailable after Close, of
// the tail or of the intake.
func (t *Tail) Next(ctx context.Context) (entries []logstore.Entry, missed int, err error) {
	for {
		t.mu.Lock()
		entries, missed, ended := t.queue, t.missed, t.ended
		t.queue, t.bytes, t.missed = nil, 0, 0
		t.mu.Unlock()
		if len(entries) > 0 || missed > 0 {
			return entries, missed, nil
		}
		if ended {
			return nil, 0, &fault.Error{Op: "logstore/intake.Next", Kind: fault.Unavailable, Err: errClosed}
		}
		select {
		case <-t.woken:
		case <-ctx.Done():
			return nil, 0, &fault.Error{Op: "logstore/intake.Next", Kind: fault.Unavailable, Err: context.Cause(ctx)}
		}
	}
}

// Close ends the tail. Closing again does nothing.
func (t *Tail) Close() {
	t.in.tails.mu.Lock()
	delete(t.in.tails.open, t)
	t.in.tails.mu.Unlock()
	t.end()
}

// end wakes the reader for the last time.
func (t *Tail) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.wake()
}

// wake wakes the reader.
func (t *Tail) wake() {
	select {
	case t.woken <- struct{}{}:
	default: // It has been told.
	}
}

// offer shows items to every tail.
func (ts *tails) offer(items []item) {
	ts.mu.RLock()
	defer ts.mu.RUnlock()
	for t := range ts.open {
		for _, it := range items {
			if t.selector.Match(it.entry) {
				t.push(it.entry)
			}
		}
	}
}

// push puts an entry into the queue, or counts it.
func (t *Tail) push(e *logstore.Entry) {
	size := e.Size()
	t.mu.Lock()
	if len(t.queue) == tailEntries || t.bytes+size > tailBytes && len(t.queue) > 0 {
		t.missed++
		t.in.counts.missed.Add(1)
	} else {
		t.queue = append(t.queue, *e)
		t.bytes += size
	}
	t.mu.Unlock()
	t.wake()
}

// close ends all tails.
func (ts *tails) close() {
	ts.mu.Lock()
	open := ts.open
	ts.open, ts.closed = nil, true
	ts.mu.Unlock()
	for t := range open {
		t.end()
	}
}
