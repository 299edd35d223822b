package sqlstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/store"
)

// Signal tells those who wait of the last change.
type Signal struct {
	mu     sync.Mutex
	last   store.Seq
	more   chan struct{}
	waits  atomic.Int64
	closed bool
}

// NewSignal makes one that knows of the changes up to this one.
func NewSignal(last store.Seq) *Signal { return &Signal{last: last, more: make(chan struct{})} }

// Set tells of a change. Changes can be told of in any order.
func (s *Signal) Set(last store.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last > s.last && !s.closed {
		s.last = last
		close(s.more)
		s.more = make(chan struct{})
	}
}

// Close has everybody who waits return, now and later.
func (s *Signal) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.more)
	}
}

// Wait implements the method of [store.Driver].
func (s *Signal) Wait(ctx context.Context, after store.Seq) error {
	const op = "store.Wait"
	s.waits.Add(1)
	defer s.waits.Add(-1)
	for {
		s.mu.Lock()
		more, last, closed := s.more, s.last, s.closed
		s.mu.Unlock()
		switch {
		case closed:
			return Closed(op)
		case last > after:
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Poll asks for the last change again and again while somebody waits, until the
// context ends: it tells of the changes of other processes.
func (s *Signal) Poll(ctx context.Context, every time.Duration, ask func(context.Context) (store.Seq, error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.waits.Load() == 0 {
			continue
		}
		// What cannot be asked now is asked again; Commit and Snapshot say why.
		if last, err := ask(ctx); err == nil {
			s.Set(last)
		}
	}
}
