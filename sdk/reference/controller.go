package reference

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Controller does for one store what happens after transactions, and answers
// for it as a peer. It keeps nothing that it could not find again: it begins by
// looking at all that is DELETING or owned, and then follows the changes. So it
// can be killed at any time, and two of them do no harm to each other.
type Controller struct {
	*References
	st *store.Store

	mu    sync.Mutex
	tasks queue
	due   map[task]*entry
	made  int64
	// missing is when the owners of an ownee were first found missing. It is not
	// kept: a new start waits anew.
	missing map[id]map[life]time.Time
	// awaited are owners that were missing, died the uids of those that were
	// seen to be deleted.
	awaited map[id]bool
	died    map[string]bool
	stats   Stats
	// wake ends the waiting of Run, while it waits.
	wake context.CancelFunc

	// built is whether everything was looked at; after is the last change that
	// was followed.
	built bool
	after store.Seq
}

var _ Peers = (*Controller)(nil)

// life is an owner as a reference names it.
type life struct {
	id
	uid string
}

// Stats count what a Controller did.
type Stats struct {
	// Checked are the looks at ownees, Confirmed the owners found, Detached the
	// owner references removed, Collected the ownees deleted.
	Checked, Confirmed, Detached, Collected int64
	// Finished are the resources that were DELETING and are gone, Unset and
	// Cascaded what was changed and deleted for that.
	Finished, Unset, Cascaded int64
	// Errors counts those of tasks by their reason.
	Errors map[string]int64
	// Waiting is why, by the name of the resource that has to wait.
	Waiting map[resource.Name]string
}

// Control makes the Controller of a store that has r among its plugins.
func (r *References) Control(st *store.Store) *Controller {
	return &Controller{
		References: r, st: st, due: map[task]*entry{}, missing: map[id]map[life]time.Time{}, awaited: map[id]bool{}, died: map[string]bool{},
		stats: Stats{Errors: map[string]int64{}, Waiting: map[resource.Name]string{}},
	}
}

// Stats are the counters until now.
func (c *Controller) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Errors, s.Waiting = maps.Clone(s.Errors), maps.Clone(s.Waiting)
	return s
}

// count changes the counters.
func (c *Controller) count(f func(s *Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stats)
}

// kind is what a task does.
type kind uint8

const (
	// look looks at a resource: finishes it if it is DELETING, checks its
	// owners if it has any.
	look kind = iota
	// tell looks at the ownees of a resource, here and elsewhere.
	tell
	// verify asks the source of a back reference.
	verify
	// walk looks at a page of the resources of a type, from a name.
	walk
)

// task is something to do. There is at most one of each.
type task struct {
	kind kind
	id
}

// entry is a task in the queue.
type entry struct {
	task
	due   time.Time
	order int64 // of those due at the same time
	tries int
	at    int
}

// queue is a heap of tasks, the next one first.
type queue []*entry

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (q queue) Len() int { return len(q) }

// Less is the order: by time, and then as they were made.
func (q queue) Less(i, j int) bool {
	return cmp.Or(q[i].due.Compare(q[j].due), cmp.Compare(q[i].order, q[j].order)) < 0
}

// Swap exchanges two.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push adds one at the end.
func (q *queue) Push(x any) {
	e, _ := x.(*entry)
	e.at = len(*q)
	*q = append(*q, e)
}

// Pop takes the last one.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}

// add makes a task due then, or earlier if it was.
func (c *Controller) add(due time.Time, t task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	e := c.due[t]
	switch {
	case e == nil:
		e = &entry{task: t, due: due, order: c.made}
		c.due[t] = e
		heap.Push(&c.tasks, e)
	case due.Before(e.due):
		e.due, e.order = due, c.made
		heap.Fix(&c.tasks, e.at)
	}
	if c.wake != nil {
		c.wake()
	}
}

// now makes a task due.
func (c *Controller) now(k kind, x id) { c.add(c.o.Now(), task{k, x}) }

// pop takes the next task that is due. Otherwise it says when there is one;
// zero is never.
func (c *Controller) pop() (*entry, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tasks) == 0 {
		return nil, time.Time{}
	}
	if e := c.tasks[0]; e.due.After(c.o.Now()) {
		return nil, e.due
	}
	e, _ := heap.Pop(&c.tasks).(*entry)
	delete(c.due, e.task)
	return e, time.Time{}
}

// The pauses after a task that failed or has to wait: doubled each time.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// errWait is a task that cannot be done yet, with the reason.
type errWait struct{ why string }

// Error is the reason.
func (e *errWait) Error() string { return e.why }

// do does a task. One that fails is done again later.
func (c *Controller) do(ctx context.Context, e *entry) error {
	again, err := c.act(ctx, e.task)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var wait *errWait
	c.count(func(s *Stats) {
		switch {
		case err == nil:
			delete(s.Waiting, e.name)
		case errors.As(err, &wait):
			s.Waiting[e.name] = wait.why
		default:
			s.Errors[fault.ReasonOf(err)]++
			s.Waiting[e.name] = err.Error()
		}
	})
	if err != nil {
		again = c.o.Now().Add(min(firstPause<<min(e.tries, 10), maxPause))
		c.o.Logger.Debug("a task about references has to wait", slog.String("name", string(e.name)), slog.Any("error", err))
	}
	if again.IsZero() {
		return nil
	}
	c.add(again, e.task)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if next := c.due[e.task]; next != nil {
			next.tries = e.tries + 1
		}
	}
	return nil
}

// act does a task, and says when to do it again; zero is when something
// changes.
func (c *Controller) act(ctx context.Context, t task) (time.Time, error) {
	switch t.kind {
	case look:
		return c.look(ctx, t.id)
	case tell:
		return time.Time{}, c.tell(ctx, t.id)
	case verify:
		return c.verify(ctx, t.name)
	default:
		return time.Time{}, c.walk(ctx, t.id)
	}
}

// Run works until the context ends. Errors of the store are tried again.
func (c *Controller) Run(ctx context.Context) error {
	pause := firstPause
	for {
		err := c.Settle(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.count(func(s *Stats) { s.Errors[fault.ReasonOf(err)]++ })
			c.o.Logger.Warn("the changes could not be followed", slog.Any("error", err))
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			pause = min(2*pause, maxPause)
			continue
		}
		pause = firstPause
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

// sleep waits for a while.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// wait waits for a change, or until a task is due.
func (c *Controller) wait(ctx context.Context) error {
	limit := maxPause // to find out about a feed that says nothing
	c.mu.Lock()
	if len(c.tasks) > 0 {
		limit = min(limit, max(c.tasks[0].due.Sub(c.o.Now()), 0))
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c.wake = cancel
	c.mu.Unlock()
	err := c.st.Driver().Wait(waiting, c.after)
	if err != nil && waiting.Err() == nil {
		err = sleep(ctx, firstPause) // it cannot wait now
	} else {
		err = ctx.Err()
	}
	c.mu.Lock()
	c.wake = nil
	c.mu.Unlock()
	return err
}

// maxChanges is how many changes are read at once.
const maxChanges = 500

// Settle does everything that is due now, and what follows from it.
func (c *Controller) Settle(ctx context.Context) error {
	if !c.built {
		if err := c.rebuild(ctx); err != nil {
			return fmt.Errorf("looking at everything: %w", err)
		}
	}
	for {
		followed, err := c.followChanges(ctx)
		if err != nil {
			return fmt.Errorf("following the changes: %w", err)
		}
		did := false
		for {
			e, _ := c.pop()
			if e == nil {
				break
			}
			did = true
			if err := c.do(ctx, e); err != nil {
				return err
			}
		}
		if !did && !followed {
			return nil
		}
	}
}

// rebuild makes a task of everything there is to do.
func (c *Controller) rebuild(ctx context.Context) error {
	err := c.in(ctx, store.Consistent, func(_ context.Context, v reader) error {
		c.after = v.tx.Seq()
		return nil
	})
	if err != nil {
		return err
	}
	for x := range constrained(c.st.Types()) {
		if x.Metadata != nil {
			c.now(walk, id{x.Type, ""})
		}
	}
	c.now(walk, id{recordType, ""})
	c.built = true
	return nil
}

// followChanges makes tasks of the next changes, and reports whether there may be
// more.
func (c *Controller) followChanges(ctx context.Context) (bool, error) {
	changes, err := c.st.Driver().Changes(ctx, c.after, maxChanges)
	if fault.KindOf(err) == fault.NotFound {
		return true, c.rebuild(ctx) // some were trimmed
	}
	if err != nil {
		return false, err
	}
	for _, ch := range changes {
		if err := c.react(ch); err != nil {
			return false, err
		}
		c.after = ch.Seq
	}
	return len(changes) == maxChanges, nil
}

// react makes tasks of a change.
func (c *Controller) react(ch store.Change) error {
	x, ok := c.st.Types().Type(ch.Type)
	if !ok || x.Options.GetUnconstrained() {
		return nil
	}
	before, err := decode(x, ch.Before)
	after, err2 := decode(x, ch.After)
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("change %d of %s: %w", ch.Seq, ch.Name, err)
	}
	at := id{x.Type, ch.Name}
	released := c.release(x, before, after)
	if after == nil {
		c.end(metadata(x, before).GetUid())
	}
	if after == nil || released || before == nil && c.waited(at) {
		c.now(tell, at) // ownees may live for it, or require the reference
	}
	same := func(a, b *resourcev1.OwnerReference) bool { return proto.Equal(a, b) }
	owners := metadata(x, after).GetOwnerReferences()
	attached := len(owners) > 0 && !slices.EqualFunc(metadata(x, before).GetOwnerReferences(), owners, same)
	if after != nil && (attached || deleting(x, after)) {
		c.now(look, at)
	}
	return nil
}

// decode is an object of a change, nil for none.
func decode(x *schema.Resource, body []byte) (proto.Message, error) {
	if body == nil {
		return nil, nil
	}
	m := x.New()
	return m, proto.Unmarshal(body, m)
}

// maxDied bounds the deaths that are remembered. Who is not is missing all the
// same, only later.
const maxDied = 100_000

// end remembers that an owner was deleted.
func (c *Controller) end(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.died) >= maxDied {
		clear(c.died)
	}
	c.died[uid] = uid != ""
}

// waited reports whether a resource was missing as an owner, and forgets that.
func (c *Controller) waited(at id) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	is := c.awaited[at]
	delete(c.awaited, at)
	return is
}

// release looks at what an object does not refer to any more: it may have waited
// for that. It reports whether there is any.
func (c *Controller) release(x *schema.Resource, before, after proto.Message) bool {
	if before == nil {
		return false
	}
	any := false
	for i := range x.References {
		ref := &x.References[i]
		still := targets(ref, after)
		for _, s := range targets(ref, before) {
			if slices.Contains(still, s) {
				continue
			}
			any = true
			if _, ok := c.here(c.st.Types(), ref.Type, resource.Name(s), ""); ok {
				c.now(look, id{ref.Type, resource.Name(s)})
			}
		}
	}
	return any
}
