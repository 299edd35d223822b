package registry

import (
	"context"
	"errors"
	"sync"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
)

// Kind is what an [Event] tells.
type Kind uint8

// The kinds of events.
const (
	// ServiceSet is that a service came (OldService is nil) or changed.
	ServiceSet Kind = iota
	// ServiceRemoved is that a service went, or does not concern this one any
	// more: it was OldService.
	ServiceRemoved
	// DeploymentSet and DeploymentRemoved are the same of a deployment.
	DeploymentSet
	DeploymentRemoved
	// Current is that everything that is known was told; what follows are its
	// changes.
	Current
)

// Event is what happened to what is known.
type Event struct {
	Kind Kind
	// OldService and Service are a service before and after, nil for none.
	OldService, Service *metav1.Service
	// OldDeployment and Deployment are a deployment before and after.
	OldDeployment, Deployment *metav1.Deployment
}

// maxBehind bounds the events that wait for a subscriber, who shares the objects
// in them with what is known: some thousand services in some ten regions, some
// times over.
const maxBehind = 100_000

// subscriber is somebody who is told.
type subscriber struct {
	// wake has an item when there is something to be done.
	wake chan struct{}

	mu sync.Mutex
	// queue are the events that he was not told yet; behind is that they were
	// too many, and over that there will be no more.
	queue        []Event
	behind, over bool
}

// push adds events, unless there are too many.
func (s *subscriber) push(events ...Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind = s.behind || len(s.queue) > 0 && len(s.queue)+len(events) > maxBehind; s.behind {
		s.queue = nil
	} else {
		s.queue = append(s.queue, events...)
	}
	s.notify()
	return !s.behind
}

// end tells that there will be no more.
func (s *subscriber) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.notify()
}

// notify wakes who waits.
func (s *subscriber) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take takes what there is.
func (s *subscriber) take() (events []Event, behind, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, s.queue = s.queue, nil
	return events, s.behind, s.over
}

// snapshot is what is known, as events.
func (r *Registry) snapshot() []Event {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var events []Event
	for _, s := range sorted(r.known.services) {
		events = append(events, Event{Kind: ServiceSet, Service: s})
	}
	for _, d := range sorted(r.known.deployments) {
		events = append(events, Event{Kind: DeploymentSet, Deployment: d})
	}
	return append(events, Event{Kind: Current})
}

// Subscribe calls handle with everything that is known, then with Current, and
// then with every change, each once and in order, until ctx ends, the Registry
// is closed, or handle fails. Who handles slowly holds up nobody; who is 100,000
// events behind gets an Exhausted fault and may begin again.
func (r *Registry) Subscribe(ctx context.Context, handle func(context.Context, Event) error) error {
	s := &subscriber{wake: make(chan struct{}, 1)}
	select {
	case r.attach <- s:
	case <-ctx.Done():
		return nil
	case <-r.ended:
		return r.closed()
	}
	defer func() {
		select {
		case r.detach <- s:
		case <-r.ended:
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		events, behind, over := s.take()
		for _, e := range events {
			if ctx.Err() != nil {
				return nil
			}
			if err := handle(ctx, e); err != nil {
				return err
			}
		}
		switch {
		case behind:
			return &fault.Error{
				Op: "registry.Subscribe", Kind: fault.Exhausted, Reason: "TOO_SLOW", Err: errors.New("too many events wait to be handled: subscribe again"),
			}
		case over:
			return r.closed()
		}
	}
}

// closed is why there are no more events.
func (r *Registry) closed() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.failed != nil {
		return r.failed
	}
	return &fault.Error{Op: "registry.Subscribe", Kind: fault.Unavailable, Reason: "CLOSED", Err: errors.New("the registry is closed")}
}
