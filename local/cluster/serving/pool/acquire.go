package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"selvedge.dev/sdk/fault"
)

// waiter is a request that waits for an instance.
type waiter struct {
	// got is closed when i or err is set.
	got chan struct{}
	i   *instance
	err error
}

// Lease is the right to send one request to an instance. Release it.
type Lease struct {
	i *instance
	// Cold is whether there was no instance ready when the request came.
	Cold bool
	// Held is how long it waited.
	Held time.Duration
}

// later is a refusal that knows when trying again makes sense.
type later struct {
	err   error
	after time.Duration
}

// Error is the cause.
func (l later) Error() string { return l.err.Error() }

// RetryAfter is for the header of that name.
func (l later) RetryAfter() time.Duration { return l.after }

// unavailable is that a revision cannot take a request now.
func unavailable(reason, format string, args ...any) error {
	return &fault.Error{Op: "pool.Acquire", Kind: fault.Unavailable, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// acquire is a lease of the instance that has the least in hand, which it
// waits for. The error is Exhausted when too many wait already, Unavailable
// when there is no instance to wait for, and that of ctx.
func (p *Pool) acquire(ctx context.Context) (Lease, error) {
	p.mu.Lock()
	p.measure()
	p.stats.Requests++
	if p.closed {
		p.mu.Unlock()
		return Lease{}, unavailable("STOPPING", "the revision is being stopped")
	}
	if i := p.pick(); i != nil && len(p.held) == 0 {
		i.inFlight++
		p.mu.Unlock()
		return Lease{i: i}, nil
	}
	if p.wanted == 0 {
		p.wanted = p.o.Activation
		p.adjust()
		p.o.Changed()
	}
	if err := p.hopeless(); err != nil {
		p.stats.Refused++
		p.mu.Unlock()
		return Lease{}, err
	}
	cold := !slices.ContainsFunc(p.instances, func(i *instance) bool { return i.phase == Ready && !i.draining })
	w := &waiter{got: make(chan struct{})}
	p.held = append(p.held, w)
	p.mu.Unlock()
	return p.await(ctx, w, cold)
}

// await waits for w's turn.
func (p *Pool) await(ctx context.Context, w *waiter, cold bool) (Lease, error) {
	from := p.o.Now()
	select {
	case <-w.got:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measure()
	if w.i == nil && w.err == nil {
		p.held = slices.DeleteFunc(p.held, func(x *waiter) bool { return x == w })
		w.err = context.Cause(ctx)
	}
	if w.err != nil {
		p.stats.Refused++
		return Lease{}, w.err
	}
	l := Lease{i: w.i, Cold: cold, Held: p.o.Now().Sub(from)}
	if cold {
		p.stats.ColdStarts++
		p.stats.cold.add(l.Held)
	}
	return l, nil
}

// hopeless is why there is no point in holding a request. The caller holds the
// lock.
func (p *Pool) hopeless() error {
	if len(p.held) >= p.o.MaxHeld {
		return &fault.Error{Op: "pool.Acquire", Kind: fault.Exhausted, Reason: "TOO_MANY_HELD", Err: fmt.Errorf("%d requests wait for an instance already", len(p.held))}
	}
	live := 0
	var soonest time.Time
	for _, i := range p.instances {
		if i.draining {
			continue
		}
		live++
		if i.phase != BackOff {
			return nil
		}
		if soonest.IsZero() || i.until.Before(soonest) {
			soonest = i.until
		}
	}
	switch {
	case live == 0 && p.crowded:
		return &fault.Error{Op: "pool.Acquire", Kind: fault.Exhausted, Reason: "NO_ROOM", Err: errors.New("this machine runs as many instances as it may")}
	case live > 0:
		return unavailable("NOT_STARTING", "%w", later{fmt.Errorf("%s: %s", p.failure.Reason, p.failure.Message), soonest.Sub(p.o.Now())})
	}
	return nil
}

// pick is the instance for the next request, nil if all are busy. The caller
// holds the lock.
func (p *Pool) pick() *instance {
	var best *instance
	for _, i := range p.instances {
		if i.phase != Ready || i.draining || (p.o.Concurrency > 0 && i.inFlight >= p.o.Concurrency) {
			continue
		}
		if best == nil || i.inFlight < best.inFlight {
			best = i
		}
	}
	return best
}

// dispatch gives instances to requests that wait. The caller holds the lock.
func (p *Pool) dispatch() {
	for len(p.held) > 0 {
		i := p.pick()
		if i == nil {
			return
		}
		i.inFlight++
		w := p.held[0]
		p.held = p.held[1:]
		w.i = i
		close(w.got)
	}
}

// refuse ends the waiting of all requests. The caller holds the lock.
func (p *Pool) refuse(err error) {
	for _, w := range p.held {
		w.err = err
		close(w.got)
	}
	p.held = nil
}

// release gives a lease back.
func (p *Pool) release(l Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measure()
	l.i.inFlight--
	if l.i.draining && l.i.inFlight == 0 {
		l.i.idle()
	}
	p.dispatch()
}
