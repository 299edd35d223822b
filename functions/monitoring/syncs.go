package monitoring

import (
	"context"
	"sync"
)

// syncs makes writes durable together: those that wait while the storage syncs
// share the next sync.
type syncs struct {
	mu   sync.Mutex
	next *round // nil when nobody waits for one to begin
	last *round // the last one that began, nil before the first
}

// round is one sync that has not begun. err is set when done is closed.
type round struct {
	done chan struct{}
	err  error
}

// sync returns when what was appended before is durable. A context that ends
// ends the waiting, and not the sync.
func (s *syncs) sync(ctx context.Context, series Series) error {
	s.mu.Lock()
	before := s.last
	r, leads := s.next, s.next == nil
	if leads {
		r = &round{done: make(chan struct{})}
		s.next = r
	}
	s.mu.Unlock()
	if !leads {
		select {
		case <-r.done:
			return r.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if before != nil {
		<-before.done
	}
	s.mu.Lock()
	s.next, s.last = nil, r // what comes from now on was appended too late for this round
	s.mu.Unlock()
	r.err = series.Sync(context.WithoutCancel(ctx))
	close(r.done)
	return r.err
}
