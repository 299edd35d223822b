package object

import (
	"context"
	"errors"

	"selvedge.dev/sdk/fault"
)

// EventType is what happened to an object.
type EventType string

// The types of events.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
)

// Event is one change. A deleted object is as it was last, with the version of
// its deletion.
type Event struct {
	Type    EventType
	Object  Object
	Version int64
	before  Object
}

// ErrExpired is that a watch asks for changes that are not known any more: its
// client lists again.
var ErrExpired = &fault.Error{Op: "object.Watch", Kind: fault.Precondition, Reason: "EXPIRED", Err: errors.New("too old resource version")}

// Watch waits for changes that q selects after a version, and returns them, in
// order, with the version that it has looked at: that to go on from. An object
// that comes into the selection was added to it, one that leaves it deleted.
// Events are shared with other watchers and must not be changed. It returns
// ErrExpired if the version is too old or from another life of the store.
func (s *Store) Watch(ctx context.Context, q Query, after int64) ([]Event, int64, error) {
	for {
		s.mu.RLock()
		head, changed := s.version, s.changed
		oldest := head - int64(len(s.history))
		if after < oldest || after > head {
			s.mu.RUnlock()
			return nil, after, ErrExpired
		}
		news := s.history[int(after-oldest):]
		s.mu.RUnlock()
		if out := q.events(news); len(out) > 0 {
			return out, head, nil
		}
		after = head
		select {
		case <-ctx.Done():
			return nil, after, ctx.Err()
		case <-changed:
		}
	}
}

// Version is that of the last change.
func (s *Store) Version() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version
}

// events are the changes as those who look through q see them.
func (q Query) events(all []Event) []Event {
	var out []Event
	for _, e := range all {
		if (Key{e.Object.Group(), e.Object.KindName()}) != q.Kind {
			continue
		}
		is := e.Type != Deleted && q.matches(e.Object)
		was := e.before != nil && q.matches(e.before)
		switch {
		case is && was:
			e.Type = Modified
		case is:
			e.Type = Added
		case was:
			e.Type = Deleted
		default:
			continue
		}
		out = append(out, e)
	}
	return out
}
