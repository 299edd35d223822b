package sqlstore

import (
	"context"
	"sync"
)

// Pool keeps connections to read by. At most so many are in use at once; who
// needs one more waits for one to be put back.
type Pool[C any] struct {
	open   func(context.Context) (C, error)
	close  func(C)
	spare  int
	places chan struct{}

	mu     sync.Mutex
	idle   []C
	closed bool
}

// NewPool makes a pool of at most so many connections, of which so many are kept
// open while they are not used.
func NewPool[C any](most, spare int, open func(context.Context) (C, error), closing func(C)) *Pool[C] {
	return &Pool[C]{open: open, close: closing, spare: spare, places: make(chan struct{}, most)}
}

// Get takes a connection: the one that was put back last, or a new one.
func (p *Pool[C]) Get(ctx context.Context, op string) (c C, err error) {
	select {
	case p.places <- struct{}{}:
	case <-ctx.Done():
		return c, Unavailable(op, ctx.Err())
	}
	p.mu.Lock()
	closed, n := p.closed, len(p.idle)
	if !closed && n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	switch {
	case closed:
		err = Closed(op)
	case n == 0:
		c, err = p.open(ctx)
	}
	if err != nil {
		<-p.places
	}
	return c, err
}

// Put gives a connection back. One that broke is closed.
func (p *Pool[C]) Put(c C, broken bool) {
	p.mu.Lock()
	keep := !p.closed && !broken && len(p.idle) < p.spare
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	<-p.places
	if !keep {
		p.close(c)
	}
}

// Closed is whether the pool is closed.
func (p *Pool[C]) Closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Close closes the connections, those in use when they are put back. It returns
// false if it did before.
func (p *Pool[C]) Close() bool {
	p.mu.Lock()
	first, idle := !p.closed, p.idle
	p.closed, p.idle = true, nil
	p.mu.Unlock()
	for _, c := range idle {
		p.close(c)
	}
	return first
}
