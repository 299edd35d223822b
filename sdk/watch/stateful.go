package watch

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Pages makes and reads the tokens of pages, which say where a page begins.
type Pages interface {
	// Seal is the token of a position in a list of what the parts say, ""  for
	// none.
	Seal(p *store.Position, reverse bool, parts ...string) string
	// Open is the position of a token, nil for "". A token that was not made
	// with the same parts is an Invalid fault.
	Open(token string, parts ...string) (p *store.Position, reverse bool, err error)
}

// The bounds of a page.
const (
	defaultPage = 50
	maxPage     = 1000
)

// stateful serves a watch of one page of a list. It keeps the page as its
// receiver has it.
type stateful struct {
	h       *Hub
	p       *protocol
	view    *view
	query   store.Query
	visible Visible
	send    func(proto.Message) error
	// parts are what tokens of its pages are bound to.
	parts []string

	// page is as it was read last. Its objects are in the order of shown, which
	// is what the receiver has; they may be older, but for what orders them.
	page       *store.Page
	shown      []shown
	next, prev string
}

// stateful serves a watch of that type. What a watch of everything has is
// refused.
func (h *Hub) stateful(ctx context.Context, m *schema.Method, req request, visible Visible, send func(proto.Message) error) error {
	switch {
	case req.resumeToken != "":
		return invalid("resume_token", "NOT_RESUMABLE", "a STATEFUL watch cannot be resumed: resume_token must be empty")
	case !req.since.IsZero():
		return invalid("starting_time", "NOT_RESUMABLE", "a STATEFUL watch begins with its page: starting_time must be empty")
	case req.pageSize < 0:
		return invalid("page_size", "INVALID_PAGE_SIZE", "page_size must not be negative")
	}
	order, err := filter.ParseOrder(m.Resource, req.orderBy)
	if err != nil {
		return err
	}
	v, parent, err := h.collection(m.Resource, req)
	if err != nil {
		return err
	}
	w := &stateful{
		h: h, p: protocolOf(m), view: v, visible: visible, send: send,
		query: store.Query{Parent: parent, Filter: v.filter, Order: order, Limit: min(or(req.pageSize, defaultPage), maxPage)},
		parts: []string{string(m.Name), req.parent, v.filter.String(), order.String()},
	}
	if visible != nil {
		w.query.Shown = func(o proto.Message) bool { return visible(ctx, m.Resource, o) }
	}
	if req.pageToken != "" {
		if h.o.Pages == nil {
			return invalid("page_token", "INVALID_PAGE_TOKEN", "there are no page tokens here")
		}
		if w.query.After, w.query.Reverse, err = h.o.Pages.Open(req.pageToken, w.parts...); err != nil {
			return err
		}
	}
	return w.run(ctx)
}

// run sends the page and then its changes.
func (w *stateful) run(ctx context.Context) error {
	if err := w.read(ctx, true); err != nil {
		return err
	}
	c := w.h.watch(w.view, w.page.Seq)
	defer c.close()
	for {
		items, err := c.next(ctx, w.h.o.Bookmark)
		if err != nil && !expired(err) {
			return err
		}
		changes, ok := w.apply(ctx, items)
		switch {
		case err != nil || !ok: // what was trimmed is in what is read now
			err = w.read(ctx, false)
			c.pos = max(c.pos, w.page.Seq)
		case len(changes) > 0:
			err = w.send(w.p.write(response{changes: changes, current: true, size: -1, nextToken: w.next, prevToken: w.prev}))
		}
		if err != nil {
			return err
		}
	}
}

// read reads the page and sends what is another, or, the first time, all of it.
func (w *stateful) read(ctx context.Context, first bool) error {
	page, err := w.list(ctx)
	if err != nil {
		return err
	}
	objects := make([]shown, len(page.Objects))
	for i, o := range page.Objects {
		redact(w.view.resource, o)
		objects[i] = shown{w.view.resource.NameOf(o), w.view.mask.show(o)}
	}
	r := response{changes: w.p.moves(w.shown, objects), current: true, size: -1, nextToken: w.next, prevToken: w.prev}
	moved := first || !samePlace(page.Next, w.page.Next) || !samePlace(page.Prev, w.page.Prev)
	if moved && w.h.o.Pages != nil {
		r.nextToken, r.prevToken = w.h.o.Pages.Seal(page.Next, false, w.parts...), w.h.o.Pages.Seal(page.Prev, true, w.parts...)
	}
	w.page, w.shown, w.next, w.prev = page, objects, r.nextToken, r.prevToken
	if len(r.changes) == 0 && !moved {
		return nil
	}
	return w.send(w.p.write(r))
}

// list reads the page from one snapshot. Lists may be short before their end;
// the page is not.
func (w *stateful) list(ctx context.Context) (*store.Page, error) {
	var all *store.Page
	err := w.h.st.Run(ctx, store.Consistent, func(ctx context.Context) error {
		q := w.query
		for all = nil; ; {
			page, err := w.h.st.List(ctx, w.view.resource, q)
			if err != nil {
				return err
			}
			on := page.Next
			switch {
			case all == nil:
				all = page
			case q.Reverse:
				all.Objects, all.Prev = append(page.Objects, all.Objects...), page.Prev
			default:
				all.Objects, all.Next = append(all.Objects, page.Objects...), page.Next
			}
			if q.Reverse {
				on = page.Prev
			}
			if q.Limit -= len(page.Objects); q.Limit <= 0 || on == nil {
				return nil
			}
			q.After = on
		}
	})
	return all, err
}

// apply finds what changed of the objects of the page if they are the same and
// in the same order after the changes as before. Otherwise, or if that cannot be
// told, ok is false.
func (w *stateful) apply(ctx context.Context, items []*item) (changes []protoreflect.Message, ok bool) {
	for _, it := range items {
		before, after := it.objects()
		i, sees := slices.IndexFunc(w.shown, func(s shown) bool { return s.name == it.Name }), may(ctx, w.visible, w.view.resource, after)
		switch {
		case i < 0 && !sees && !may(ctx, w.visible, w.view.resource, before): // as if there were none
		case i < 0 && sees && w.elsewhere(it):
		case i >= 0 && it.is && sees &&
			w.query.Order.Compare(after.ProtoReflect(), w.page.Objects[i].ProtoReflect()) == 0:
			if it.touched {
				changes = append(changes, w.p.setChange(it.object, i, i, false))
			}
		default:
			return nil, false
		}
	}
	for _, it := range items {
		if i := slices.IndexFunc(w.shown, func(s shown) bool { return s.name == it.Name }); i >= 0 {
			w.shown[i].object = it.object
		}
	}
	return changes, true
}

// elsewhere reports whether a change of an object that is not in the page leaves
// the page, and that there is one before or after it, as it is.
func (w *stateful) elsewhere(it *item) bool {
	if w.query.Reverse || !it.is {
		return false
	}
	before, after := it.objects()
	side := w.side(after)
	return side != 0 && (!it.was || w.side(before) == side)
}

// side is negative for objects before the page, if it is known that there are
// any, and positive for those after it.
func (w *stateful) side(o proto.Message) int {
	if p := w.query.After; p != nil && w.page.Prev != nil && w.comparePosition(o, p) <= 0 {
		return -1
	}
	if n := len(w.page.Objects); n > 0 && w.page.Next != nil && w.query.Order.Compare(o.ProtoReflect(), w.page.Objects[n-1].ProtoReflect()) > 0 {
		return 1
	}
	return 0
}

// comparePosition is negative when an object is before a position, 0 when it is
// there.
func (w *stateful) comparePosition(o proto.Message, p *store.Position) int {
	order := w.query.Order
	for i, v := range order.Key(o.ProtoReflect()) {
		if i >= len(p.Values) {
			break
		}
		if c := bytes.Compare(v, p.Values[i]); c != 0 {
			if order.Keys[i].Desc {
				return -c
			}
			return c
		}
	}
	c := cmp.Compare(w.view.resource.NameOf(o), p.Name)
	if order.NameDesc {
		return -c
	}
	return c
}

// samePlace reports whether two positions are the same.
func samePlace(a, b *store.Position) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Name == b.Name && slices.EqualFunc(a.Values, b.Values, bytes.Equal)
}
