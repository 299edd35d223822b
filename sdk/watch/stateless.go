package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// The bounds of a response of a stateless watch, and of what is remembered for
// one whose watcher may not see everything.
const (
	defaultChunk = 100
	maxChunk     = 1000
	maxBytes     = 1 << 20 // a response is sent once it is about as large
	maxSight     = 100_000
	maxRestarts  = 10 // of one snapshot
)

// errLost is that it is not known what the receiver has: everything must be
// sent again.
var errLost = errors.New("it is not known what the watcher has")

// stateless serves a watch of all objects of a parent that match a filter.
type stateless struct {
	h       *Hub
	p       *protocol
	view    *view
	parent  schema.Parent
	visible Visible
	send    func(proto.Message) error
	chunk   int
	// since leaves out what happened up to then.
	since time.Time

	// sight is which objects the receiver was shown (true) or was not, because
	// he may not see them (false), by the hashes of their names. Of those that
	// are not in it he was shown all that are in the view if complete says so,
	// and it is not known otherwise.
	sight    map[uint64]bool
	complete bool
	// size is how many objects the receiver has, -1 if that is not known.
	size int64

	changes []protoreflect.Message
	bytes   int
	// unprobed is how many changes were sent since the size was.
	unprobed int
	// told is when and up to where the last token was sent.
	told   time.Time
	toldAt store.Seq
}

// stateless serves a watch of that type. What a watch of a page has is refused.
func (h *Hub) stateless(ctx context.Context, m *schema.Method, req request, visible Visible, send func(proto.Message) error) error {
	refused := ""
	switch {
	case req.orderBy != "":
		refused = "order_by"
	case req.pageSize != 0:
		refused = "page_size"
	case req.pageToken != "":
		refused = "page_token"
	}
	if refused != "" {
		return invalid(refused, "NOT_IN_STATELESS", "a STATELESS watch has no order and no pages: %s must be empty", refused)
	}
	switch {
	case req.chunk < 0:
		return invalid("max_chunk_size", "INVALID_CHUNK_SIZE", "max_chunk_size must not be negative")
	case req.resumeToken != "" && !req.since.IsZero():
		return invalid("starting_time", "TWO_BEGINNINGS", "a watch begins at its resume_token or at its starting_time, not both")
	}
	v, parent, err := h.collection(m.Resource, req)
	if err != nil {
		return err
	}
	w := &stateless{
		h: h, p: protocolOf(m), view: v, parent: parent, visible: visible, send: send, since: req.since,
		chunk: min(or(req.chunk, defaultChunk), maxChunk), sight: map[uint64]bool{}, size: -1,
	}
	pos, err := w.begin(ctx, req)
	for err == nil {
		if err = w.follow(ctx, pos); expired(err) || errors.Is(err, errLost) {
			pos, err = w.reset(ctx)
		}
	}
	return err
}

// begin sends what comes before the changes, and returns where those begin.
func (w *stateless) begin(ctx context.Context, req request) (store.Seq, error) {
	if req.resumeToken == "" && req.since.IsZero() {
		return w.snapshot(ctx)
	}
	newest, err := w.h.newest(ctx)
	if err != nil {
		return 0, err
	}
	if !req.since.IsZero() {
		pos, err := w.h.at(ctx, req.since, newest)
		if expired(err) {
			return w.reset(ctx)
		}
		return pos, err
	}
	t, err := parseToken(req.resumeToken, w.view.key)
	if err != nil {
		return 0, err
	}
	if t.seq > newest { // of another database, or of one before it was restored
		return w.reset(ctx)
	}
	w.size = t.size
	return t.seq, nil
}

// reset makes the receiver forget everything, and sends it again.
func (w *stateless) reset(ctx context.Context) (store.Seq, error) {
	w.changes, w.bytes, w.since = nil, 0, time.Time{}
	if err := w.send(w.p.write(response{hard: true, size: -1})); err != nil {
		return 0, err
	}
	return w.snapshot(ctx)
}

// snapshot sends all objects and returns the change up to which it did. If
// changes that it needs are trimmed meanwhile, because the receiver is slow, it
// begins again.
func (w *stateless) snapshot(ctx context.Context) (store.Seq, error) {
	for range maxRestarts {
		pos, err := w.scan(ctx)
		if !expired(err) {
			return pos, err
		}
		w.changes, w.bytes = nil, 0
		if err := w.send(w.p.write(response{soft: true, size: -1})); err != nil {
			return 0, err
		}
	}
	return 0, &fault.Error{Op: "watch.Serve", Kind: fault.Unavailable, Reason: "TOO_SLOW", Err: errors.New("the changes were trimmed faster than the objects were received")}
}

// scan sends all objects by their names. Each page is read from a snapshot of
// its own, so that none is held while the receiver takes his time; before it go
// the changes since the page before of the objects that were sent. So at every
// moment what was sent is the beginning of one snapshot.
//
//	names   a ─────────────────────▶ z
//	page 1  ██████                      at change 17
//	page 2  ░░░░░░ ██████               at change 20: ░ what changed in 18 … 20
//	page 3  ░░░░░░ ░░░░░░ █████         at change 20: nothing did
func (w *stateless) scan(ctx context.Context) (store.Seq, error) {
	w.sight, w.complete, w.size = map[uint64]bool{}, true, 0
	var from *store.Position
	var pos store.Seq
	for {
		page, err := w.page(ctx, from)
		if err != nil {
			return 0, err
		}
		for from != nil && pos < page.Seq {
			if pos, err = w.between(ctx, pos, page.Seq, from.Name); err != nil {
				return 0, err
			}
		}
		pos = page.Seq
		for _, o := range page.Objects {
			redact(w.view.resource, o)
			w.size++
			w.add(w.p.setChange(w.view.mask.show(o), 0, 0, true), proto.Size(o))
			if w.full() {
				if err := w.flush(nil); err != nil {
					return 0, err
				}
			}
		}
		if page.Next == nil {
			w.unprobed = math.MaxInt
			return pos, w.flush(&pos)
		}
		if len(w.changes) > 0 {
			if err := w.flush(nil); err != nil {
				return 0, err
			}
		}
		from = page.Next
	}
}

// page reads a page of the objects, by name, from a snapshot of its own.
func (w *stateless) page(ctx context.Context, after *store.Position) (page *store.Page, err error) {
	q := store.Query{Parent: w.parent, Filter: w.view.filter, After: after, Limit: w.chunk}
	var hidden error
	if w.visible != nil {
		q.Shown = func(o proto.Message) bool {
			see := w.visible(ctx, w.view.resource, o)
			hidden = cmp.Or(hidden, w.saw(w.view.resource.NameOf(o), see))
			return see
		}
	}
	err = w.h.st.Run(ctx, store.Consistent, func(ctx context.Context) error {
		page, err = w.h.st.List(ctx, w.view.resource, q)
		return err
	})
	return page, cmp.Or(err, hidden)
}

// between sends changes after pos, up to that one, of objects up to that name,
// and returns up to where it did.
func (w *stateless) between(ctx context.Context, pos, through store.Seq, name resource.Name) (store.Seq, error) {
	changes, err := w.h.read(ctx, pos)
	if err != nil || len(changes) == 0 {
		return through, err
	}
	for _, c := range changes {
		if pos = c.Seq; pos > through {
			break
		}
		if c.Name > name || !w.view.concerns(c) {
			continue
		}
		err := w.change(ctx, w.view.item(c))
		if err == nil && w.full() {
			err = w.flush(nil)
		}
		if err != nil {
			return 0, err
		}
	}
	return pos, nil
}

// follow sends the changes after pos, in sets that end with whole transactions.
func (w *stateless) follow(ctx context.Context, pos store.Seq) error {
	c := w.h.watch(w.view, pos)
	defer c.close()
	// The first answer comes at once: who resumed knows then that he is current.
	wait := w.h.o.Bookmark
	if w.told.IsZero() {
		wait = 0
	}
	for {
		items, err := c.next(ctx, wait)
		if err != nil {
			return err
		}
		for i, it := range items {
			if !it.Time.After(w.since) {
				continue
			}
			if err := w.change(ctx, it); err != nil {
				return err
			}
			if w.full() {
				end := &it.commit
				if i+1 < len(items) && items[i+1].commit == it.commit {
					end = nil // of the transaction there is more
				}
				if err := w.flush(end); err != nil {
					return err
				}
			}
		}
		wait = w.h.o.Bookmark
		if len(w.changes) > 0 || w.told.IsZero() || c.pos > w.toldAt && time.Since(w.told) >= wait {
			if err := w.flush(&c.pos); err != nil {
				return err
			}
		}
	}
}

// change adds what a change is to the receiver.
func (w *stateless) change(ctx context.Context, it *item) error {
	had, has := it.was, it.is
	if w.visible != nil {
		before, after := it.objects()
		see := it.is && may(ctx, w.visible, w.view.resource, after)
		shown, known := w.sight[hash(string(it.Name))]
		switch {
		case known:
			had = shown
		case had && !w.complete && !may(ctx, w.visible, w.view.resource, before):
			// Whether he has it is not known, and a removal would tell him of
			// an object that he perhaps never knew of.
			if had = false; w.size >= 0 {
				return errLost
			}
		}
		if has = has && see; it.is {
			if err := w.saw(it.Name, see); err != nil {
				return err
			}
		} else {
			delete(w.sight, hash(string(it.Name)))
		}
	}
	switch {
	case has && had && !it.touched, !has && !had:
		return nil
	case has == it.is && had == it.was:
		w.add(it.message(w.p), it.size())
	case has:
		w.add(w.p.setChange(it.object, 0, 0, !had), it.size())
	default:
		w.add(w.p.removedChange(it.Name, 0), len(it.Name))
	}
	if w.size >= 0 && has != had {
		if w.size--; has {
			w.size += 2
		}
	}
	return nil
}

// saw remembers whether the receiver may see an object that is in the view.
func (w *stateless) saw(name resource.Name, see bool) error {
	if see && w.complete {
		delete(w.sight, hash(string(name)))
		return nil
	}
	if w.sight[hash(string(name))] = see; len(w.sight) <= maxSight {
		return nil
	}
	if !w.complete {
		return errLost
	}
	return &fault.Error{
		Op: "watch.Serve", Kind: fault.Exhausted, Reason: "TOO_MANY_HIDDEN", Name: w.parent.String(),
		Err: fmt.Errorf("more than %d objects may not be seen: watch a parent where more of them may", maxSight),
	}
}

// add adds a change to the response.
func (w *stateless) add(c protoreflect.Message, size int) {
	w.changes, w.bytes, w.unprobed = append(w.changes, c), w.bytes+size, w.unprobed+1
}

// full reports whether the response is as large as it may be.
func (w *stateless) full() bool { return len(w.changes) >= w.chunk || w.bytes >= maxBytes }

// flush sends the response. With a position it ends a set of changes.
func (w *stateless) flush(pos *store.Seq) error {
	r := response{changes: w.changes, size: -1}
	if pos != nil {
		r.current, r.token = true, token{seq: *pos, size: w.size}.format(w.view.key)
		if w.unprobed >= w.h.o.Probe || len(w.changes) == 0 {
			r.size, w.unprobed = w.size, 0
		}
		w.told, w.toldAt = time.Now(), *pos
	}
	msg := w.p.write(r)
	w.changes, w.bytes = w.changes[:0], 0
	return w.send(msg)
}

// skew is how much later a transaction can be committed than its time says.
const skew = time.Minute

// at is a change so early that all changes with a later time come after it, and
// not much earlier: the first ones kept may be older than that. It is NotFound
// (CHANGES_EXPIRED) when the changes do not reach back so far.
func (h *Hub) at(ctx context.Context, t time.Time, newest store.Seq) (store.Seq, error) {
	// Every change up to low is older; high is not, or is the newest.
	low, high := store.Seq(0), newest
	var trimmed error
	for low < high {
		mid := low + (high-low)/2
		changes, err := h.st.Driver().Changes(ctx, mid, 1)
		switch {
		case expired(err):
			low, trimmed = mid+1, err
		case err != nil:
			return 0, err
		case len(changes) == 0 || changes[0].Time.After(t.Add(-skew)):
			high = mid
		default:
			low, trimmed = changes[0].Seq, nil
		}
	}
	return min(low, newest), trimmed
}

// collection is the view of the objects of a request.
func (h *Hub) collection(r *schema.Resource, req request) (*view, schema.Parent, error) {
	parent, err := schema.ParseParent(r, req.parent)
	if err != nil {
		return nil, parent, err
	}
	f, err := filter.Parse(r, req.filter)
	if err != nil {
		return nil, parent, err
	}
	mask, paths, err := newProjection(r, req.mask)
	if err != nil {
		return nil, parent, err
	}
	return &view{
		key: fmt.Sprintf("all %q %q %q %q", r.Type, parent, f, paths), resource: r, prefix: parent.Prefix(), matches: parent.Match,
		filter: f, mask: mask, cursors: map[*cursor]bool{},
	}, parent, nil
}
