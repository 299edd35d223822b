package watch

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// HubOptions configure a Hub.
type HubOptions struct {
	// Recent bounds the changes that are kept in memory, for those who come,
	// come back or fall behind; 0 is 4096. RecentBytes bounds their size as they
	// are stored; 0 is 16 MiB. Decoded they take some times that.
	Recent      int
	RecentBytes int
	// Behind bounds the changes that wait for one watcher; 0 is 1024. One who
	// is further behind reads them again later.
	Behind int
	// Bookmark is after how much time a stateless watch of which nothing
	// changes gets a new resume token; 0 is 30 s.
	Bookmark time.Duration
	// Probe is after how many changes a stateless watch is told its size; 0 is
	// 1000.
	Probe int
	// Pages makes the tokens of the pages of stateful watches; nil is that
	// there are none.
	Pages Pages
	// Retry is the pause after the changes could not be read; 0 is 1 s.
	Retry time.Duration
	// Logger is told of state changes; nil discards.
	Logger *slog.Logger
}

// Hub reads the changes of a store once and hands them to all who watch. Each
// change is decoded at most once, and each distinct filter looks at it at most
// once; what comes of it is shared. A Hub is safe for concurrent use.
type Hub struct {
	st *store.Store
	o  HubOptions
	// started is closed once head is known.
	started chan struct{}

	mu sync.Mutex
	// recent are the changes after floor, up to head, in their order.
	recent      []*change
	bytes       int
	floor, head store.Seq
	views       map[string]*view
	topics      map[topic]map[*view]bool
}

// topic is what a change is looked up by: a type, and a beginning of names that
// ends with a slash, or is nothing, or is a whole name.
type topic struct{ typ, prefix string }

// NewHub makes a Hub. Its Run must run for watches to be told anything.
func NewHub(st *store.Store, o HubOptions) *Hub {
	o.Recent, o.RecentBytes = or(o.Recent, 4096), or(o.RecentBytes, 16<<20)
	o.Behind, o.Probe = or(o.Behind, 1024), or(o.Probe, 1000)
	o.Bookmark, o.Retry = or(o.Bookmark, 30*time.Second), or(o.Retry, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Hub{st: st, o: o, started: make(chan struct{}), views: map[string]*view{}, topics: map[topic]map[*view]bool{}}
}

// or is v, or otherwise if v is nothing.
func or[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Run reads changes until ctx ends. It must be called once.
func (h *Hub) Run(ctx context.Context) error {
	for {
		err := h.tail(ctx)
		if ctx.Err() != nil {
			return nil
		}
		h.o.Logger.LogAttrs(ctx, slog.LevelWarn, "watches cannot read changes", slog.Any("error", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(h.o.Retry):
		}
	}
}

// tail reads changes until that fails. What was trimmed before it was read is
// read by nobody: every watcher is detached and finds out by himself.
func (h *Hub) tail(ctx context.Context) error {
	select {
	case <-h.started:
	default:
		// The recent changes are those from before, too: after a restart all who
		// watched come back at once.
		if err := h.jump(ctx, h.o.Recent); err != nil {
			return err
		}
		close(h.started)
	}
	for {
		if err := h.st.Driver().Wait(ctx, h.head); err != nil { // only this goroutine writes head
			return err
		}
		changes, err := h.read(ctx, h.head)
		if expired(err) {
			err = h.jump(ctx, 0)
		}
		if err != nil {
			return err
		}
		h.dispatch(changes)
	}
}

// expired reports whether changes were asked for that were trimmed.
func expired(err error) bool { return err != nil && fault.ReasonOf(err) == "CHANGES_EXPIRED" }

// jump goes on so many changes before the newest one.
func (h *Hub) jump(ctx context.Context, back int) error {
	seq, err := h.newest(ctx)
	if err != nil {
		return err
	}
	seq = max(0, seq-store.Seq(back))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent, h.bytes, h.floor, h.head = nil, 0, seq, seq
	for _, v := range h.views {
		for c := range v.cursors {
			c.lose()
		}
		clear(v.cursors)
	}
	return nil
}

// newest is the last change of the store.
func (h *Hub) newest(ctx context.Context) (store.Seq, error) {
	s, seq, err := h.st.Driver().Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	return seq, s.Close()
}

// pageOfChanges is how many changes are read from the database at once.
const pageOfChanges = 500

// read reads changes after seq from the database: whole transactions, some if
// there are any.
func (h *Hub) read(ctx context.Context, after store.Seq) ([]*change, error) {
	var out []*change
	whole := 0 // as many of out are of whole transactions
	for whole == 0 {
		page, err := h.st.Driver().Changes(ctx, after, pageOfChanges)
		if err != nil || len(page) == 0 {
			return nil, err
		}
		for i := range page {
			c := &change{Change: page[i], types: h.st.Types(), logger: h.o.Logger}
			out, after = append(out, c), c.Seq
			if !c.Last {
				continue
			}
			for ; whole < len(out); whole++ {
				out[whole].commit = c.Seq
			}
		}
	}
	return out[:whole], nil
}

// dispatch takes the next changes: it keeps them, and tells those who watch
// what may concern them.
func (h *Hub) dispatch(changes []*change) {
	if len(changes) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	touched := map[*view][]*change{}
	for _, c := range changes {
		h.recent, h.bytes = append(h.recent, c), h.bytes+c.size()
		for prefix := range prefixes(c.Name) {
			for v := range h.topics[topic{c.Type, prefix}] {
				if len(v.cursors) > 0 && v.concerns(c) {
					touched[v] = append(touched[v], c)
				}
			}
		}
	}
	h.head = changes[len(changes)-1].Seq
	h.forget()
	for v, concerned := range touched {
		b := &batch{view: v, changes: concerned, through: h.head}
		for c := range v.cursors {
			if !c.push(b) {
				delete(v.cursors, c)
			}
		}
	}
}

// forget drops the oldest of the recent changes that are too many, whole
// transactions of them.
func (h *Hub) forget() {
	n := 0
	for n < len(h.recent) && (len(h.recent)-n > h.o.Recent || h.bytes > h.o.RecentBytes || n > 0 && h.recent[n].commit == h.recent[n-1].commit) {
		h.floor, h.bytes = h.recent[n].Seq, h.bytes-h.recent[n].size()
		n++
	}
	// The rest is copied now and then, so that appending reuses the memory and
	// what was dropped is not held.
	clear(h.recent[:n])
	h.recent = h.recent[n:]
}

// prefixes yields the prefixes that a name is looked up by.
func prefixes(name resource.Name) func(func(string) bool) {
	return func(yield func(string) bool) {
		if !yield("") || !yield(string(name)) {
			return
		}
		for i := range len(name) {
			if name[i] == '/' && !yield(string(name[:i+1])) {
				return
			}
		}
	}
}

// watch returns what reads the changes after pos that concern a view. It must
// be closed.
func (h *Hub) watch(v *view, pos store.Seq) *cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	if same, ok := h.views[v.key]; ok {
		v = same
	} else {
		h.views[v.key] = v
		t := topic{v.resource.Type, v.prefix}
		if h.topics[t] == nil {
			h.topics[t] = map[*view]bool{}
		}
		h.topics[t][v] = true
	}
	v.users++
	return &cursor{h: h, view: v, pos: pos, wake: make(chan struct{}, 1)}
}

// cursor reads the changes that concern a view. One goroutine uses it, besides
// the Hub, which pushes.
type cursor struct {
	h    *Hub
	view *view
	// pos is how far it is: everything up to it was returned.
	pos  store.Seq
	wake chan struct{}

	mu sync.Mutex
	// attached is whether the Hub pushes: nothing between pos and what is in
	// the queue, or the Hub's head, is missing.
	attached bool
	queue    []*batch
	queued   int
}

// push adds a batch, and reports false if there are too many.
func (c *cursor) push(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 && c.queued+len(b.changes) > c.h.o.Behind {
		c.attached, c.queue, c.queued = false, nil, 0
		return false
	}
	c.queue, c.queued = append(c.queue, b), c.queued+len(b.changes)
	c.signal()
	return true
}

// lose detaches the cursor.
func (c *cursor) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attached, c.queue, c.queued = false, nil, 0
	c.signal()
}

// signal wakes who waits in next.
func (c *cursor) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// next returns what happened after pos, in whole transactions, and moves pos to
// its end. It waits for something to happen, up to that long; then it returns
// nothing, and pos is as far as is known. It is NotFound (CHANGES_EXPIRED) when
// changes after pos were trimmed.
func (c *cursor) next(ctx context.Context, wait time.Duration) ([]*item, error) {
	idle, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		b, attached := c.pop()
		if b == nil && !attached {
			var err error
			if b, err = c.reread(ctx, idle); err != nil && (expired(err) || idle.Err() == nil) {
				return nil, err
			}
		}
		if b != nil {
			from := c.pos
			c.pos = max(c.pos, b.through)
			if items := after(b.all(), from); len(items) > 0 {
				return items, nil
			}
		}
		if attached && b == nil {
			select {
			case <-c.wake:
			case <-idle.Done():
				c.catchUp()
			}
		}
		if idle.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// after are the items after that change.
func after(items []*item, seq store.Seq) []*item {
	i, _ := slices.BinarySearchFunc(items, seq+1, func(it *item, s store.Seq) int { return cmp.Compare(it.Seq, s) })
	return items[i:]
}

// pop takes the next batch of the queue, nil if there is none, and reports
// whether the cursor is attached.
func (c *cursor) pop() (*batch, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil, c.attached
	}
	b := c.queue[0]
	c.queue[0] = nil
	c.queue, c.queued = c.queue[1:], c.queued-len(b.changes)
	return b, true
}

// catchUp moves pos to the Hub's head if nothing waits.
func (c *cursor) catchUp() {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached && len(c.queue) == 0 {
		c.pos = max(c.pos, c.h.head)
	}
}

// reread reads what is after pos from the recent changes, and attaches the
// cursor once it is at their end; or, if pos is before them, from the database.
// It waits for the Hub to run, or for a change, until idle ends.
func (c *cursor) reread(ctx, idle context.Context) (*batch, error) {
	select {
	case <-c.h.started:
	default:
		select {
		case <-c.h.started:
		case <-idle.Done():
			return nil, idle.Err()
		}
	}
	if b := c.recent(); b != nil {
		return b, nil
	}
	changes, err := c.h.read(ctx, c.pos)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		// Between pos and the recent changes there is nothing but what is in no
		// feed. The next change is waited for.
		return nil, c.h.st.Driver().Wait(idle, c.pos)
	}
	b := &batch{view: c.view, through: changes[len(changes)-1].Seq}
	for _, x := range changes {
		if c.view.concerns(x) {
			b.changes = append(b.changes, x)
		}
	}
	return b, nil
}

// recent is reread for the recent changes; nil if pos is before them.
func (c *cursor) recent() *batch {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.pos < h.floor {
		return nil
	}
	b := &batch{view: c.view, through: max(c.pos, h.head)}
	from, _ := slices.BinarySearchFunc(h.recent, c.pos+1, func(x *change, s store.Seq) int { return cmp.Compare(x.Seq, s) })
	for i, x := range h.recent[from:] {
		if len(b.changes) >= h.o.Behind && x.commit != h.recent[from+i-1].commit {
			b.through = h.recent[from+i-1].Seq
			return b
		}
		if c.view.concerns(x) {
			b.changes = append(b.changes, x)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attached, c.view.cursors[c] = true, true
	return b
}

// close lets the cursor go.
func (c *cursor) close() {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	delete(c.view.cursors, c)
	if c.view.users--; c.view.users > 0 {
		return
	}
	delete(c.h.views, c.view.key)
	t := topic{c.view.resource.Type, c.view.prefix}
	if delete(c.h.topics[t], c.view); len(c.h.topics[t]) == 0 {
		delete(c.h.topics, t)
	}
}
