package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// maxTriggers bounds the triggers of all projects: each of them looks at every
// event, a few dozen nanoseconds each.
const maxTriggers = 1024

// removal is how long the deliveries in hand of a trigger that is removed may
// take before they are cut off.
const removal = 2 * time.Second

// errRemoved is why a runner ends whose trigger is removed.
var errRemoved = errors.New("the trigger is removed")

// SetTrigger adds a trigger, or replaces the one of that project and name.
//
// A new one gets what is published from now on, and one that was set before a
// restart goes on at its cursor. One that is replaced keeps its cursor too:
// every event that is not yet taken, those in retry among them, is judged by
// the new filter and goes to the new sink; a delivery under way counts for
// both, so no event is lost or comes twice by it. Invalid is a trigger that
// cannot be, Exhausted too many of them. A sink that is a function.Syncer
// cannot be replaced, nor replace another: Precondition.
func (b *Broker) SetTrigger(ctx context.Context, t Trigger) error {
	if err := t.check(); err != nil {
		return err
	}
	if err := b.lock(ctx); err != nil {
		return err
	}
	defer b.unlock()
	if err := b.gone(ctx, t.ID()); err != nil {
		return err
	}
	if r := b.find(t.ID()); r != nil {
		return b.replace(r, t)
	}
	runners := *b.runners.Load()
	if len(runners) > maxTriggers {
		return &fault.Error{
			Op: "broker.SetTrigger", Name: t.ID(), Kind: fault.Exhausted, Reason: "TOO_MANY_TRIGGERS",
			Err: fmt.Errorf("there are %d triggers, which is the bound", maxTriggers),
		}
	}
	r, err := newRunner(b, t)
	if err != nil {
		return fmt.Errorf("set trigger %s: %w", t.ID(), err)
	}
	last := len(runners) - 1
	b.install(slices.Concat(runners[:last], []*runner{r}, runners[last:]))
	if r.fresh {
		// The catch-all knows the trigger before its first event is there.
		r.begin(b.journal.End())
	}
	b.start(r)
	return nil
}

// replace makes t the trigger of r. The caller holds changing.
func (b *Broker) replace(r *runner, t Trigger) error {
	old := r.spec.Load()
	_, was := old.Sink.(function.Syncer)
	_, is := t.Sink.(function.Syncer)
	if was || is {
		return &fault.Error{
			Op: "broker.SetTrigger", Name: r.id, Kind: fault.Precondition, Reason: "SYNCER",
			Err: errors.New("the function becomes durable late, so that its trigger cannot be replaced while the broker is open"),
		}
	}
	before := newFormer(r)
	b.install(*b.runners.Load(), before)
	r.spec.Store(&spec{t})
	before.until.Store(uint64(b.journal.End()))
	b.log.Debug("trigger replaced", slog.String("trigger", r.id))
	return nil
}

// RemoveTrigger removes the trigger of a project, "" for none, and its cursor:
// what it has not taken is not delivered any more. Deliveries in hand may end,
// but after two seconds they are cut off. It also lets go of one that was set
// before a restart and not again, see Idle. NotFound is one that there is not.
// When ctx ends before the deliveries did, the error is Unavailable; nothing is
// delivered any more then, but the cursor stays until another call.
func (b *Broker) RemoveTrigger(ctx context.Context, project, name string) error {
	id := triggerID(project, name)
	if err := b.lock(ctx); err != nil {
		return err
	}
	defer b.unlock()
	idle := slices.ContainsFunc(b.Idle(), func(i Idle) bool { return triggerID(i.Project, i.Name) == id })
	r := b.find(id)
	switch {
	case id == Unrouted || r == nil && !idle && b.ending[id] == nil:
		return &fault.Error{Op: "broker.RemoveTrigger", Name: id, Kind: fault.NotFound, Reason: "NO_SUCH_TRIGGER", Err: errors.New("there is no such trigger")}
	case r != nil:
		r.removed = newFormer(r)
		b.ending[id] = r
		b.install(slices.DeleteFunc(slices.Clone(*b.runners.Load()), func(x *runner) bool { return x == r }), r.removed)
		if r.cancel != nil {
			r.cancel(errRemoved)
		}
	}
	if err := b.gone(ctx, id); err != nil {
		return err
	}
	cursor, err := b.journal.Cursor(cursorPrefix+id, 0)
	if err == nil {
		err = cursor.Remove()
	}
	if err != nil {
		return fmt.Errorf("remove trigger %s: %w", id, err)
	}
	b.install(*b.runners.Load())
	return nil
}

// gone waits until the runner of a removed trigger is. The caller holds
// changing.
func (b *Broker) gone(ctx context.Context, id string) error {
	r := b.ending[id]
	if r == nil {
		return nil
	}
	if r.ended != nil {
		select {
		case <-r.ended:
		case <-ctx.Done():
			return &fault.Error{Op: "broker", Name: id, Kind: fault.Unavailable, Reason: "TRIGGER_IN_HAND", Err: fmt.Errorf("deliveries of the removed trigger are under way: %w", ctx.Err())}
		}
	}
	r.removed.until.Store(uint64(b.journal.End()))
	delete(b.ending, id)
	return nil
}

// find is the runner of the trigger with that ID, nil when there is none.
func (b *Broker) find(id string) *runner {
	for _, r := range *b.runners.Load() {
		if r.id == id {
			return r
		}
	}
	return nil
}

// install makes runners, of which the last is the catch-all, the set, and tells
// that what triggers were before. The caller holds changing.
func (b *Broker) install(runners []*runner, changed ...*former) {
	b.runners.Store(&runners)
	last := len(runners) - 1
	next := &routes{live: runners[:last], former: changed, idle: map[string]bool{}}
	if old := b.routes.Load(); old != nil {
		low := runners[last].track.low()
		for _, f := range old.former {
			if f.until.Load() > uint64(low) {
				next.former = append(next.former, f)
			}
		}
	}
	for _, i := range b.Idle() {
		next.idle[i.Project] = true
	}
	delete(next.idle, "")
	b.routes.Store(next)
}

// lock takes changing.
func (b *Broker) lock(ctx context.Context) error {
	select {
	case b.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("change triggers: %w", ctx.Err())
	}
}

// unlock gives changing back.
func (b *Broker) unlock() { <-b.changing }
