// Package watch tells of the changes of a store to whoever wants to know: to
// those who watch ([Hub]), to programs that keep a set of objects up to date
// ([Watcher]), and as events to everybody else ([Relay]).
//
// There are three kinds of watches. Of one object: the object, then every
// change. Of one page of a list (STATEFUL), for who looks at it: the page, then
// what becomes of it, with indexes. Of all objects under a parent that match a
// filter (STATELESS), for who keeps up with them: a snapshot in chunks, then
// sets of changes, with a token to go on from.
//
// Its one invariant: who applies what he is told has, after every response that
// is current, what a list would give him as of one moment, and moments do not
// go back. Nobody who is slow holds up others: what does not fit is read again
// from the database, and if it is no longer there, all is told anew. Nothing
// here needs a store handle. Secrets are never told.
//
// [Serve] blocks as long as the watch lasts and starts no goroutines; the Hub,
// Watchers and the Relay have a Run that somebody must run.
package watch

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// Visible says whether who watches may see an object as it is or was. It is asked
// when an object is told, and again at every change of it. It must not change the
// object, whose secrets may be left out. Nil is that all may be seen.
type Visible = func(ctx context.Context, r *schema.Resource, m proto.Message) bool

// may is v, also for nil. An object that is not there is not seen.
func may(ctx context.Context, v Visible, r *schema.Resource, m proto.Message) bool {
	return m != nil && (v == nil || v(ctx, r, m))
}

// Serve answers a standard Watch method, of one resource or of a collection,
// until ctx ends or send fails: that is its error then. The messages that send
// gets share objects with those that others get, so they must not be changed.
// A request that can never succeed is Invalid and names the field.
func (h *Hub) Serve(ctx context.Context, m *schema.Method, req proto.Message, visible Visible, send func(proto.Message) error) error {
	if m.Verb != resourcev1.Method_WATCH {
		return fmt.Errorf("BUG: watch: %s is no watch", m.Name)
	}
	if !m.Collection {
		return h.single(ctx, m, req, visible, send)
	}
	switch r := readRequest(req); r.kind {
	case resourcev1.WatchType_STATEFUL:
		return h.stateful(ctx, m, r, visible, send)
	case resourcev1.WatchType_STATELESS:
		return h.stateless(ctx, m, r, visible, send)
	default:
		return invalid("type", "INVALID_WATCH_TYPE", "type must be STATEFUL, for a page, or STATELESS, for everything")
	}
}

// Local is the Stream of a Hub in the same process.
type Local struct {
	Hub *Hub
	// Visible is as in [Hub.Serve].
	Visible Visible
}

var _ Stream = Local{}

// Watch implements [Stream].
func (l Local) Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	return l.Hub.Serve(ctx, m, req, l.Visible, func(msg proto.Message) error { return recv(proto.Clone(msg)) })
}
