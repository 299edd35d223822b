package broker

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/ledger"
)

// The sizes of a runner's steps. A step is what one lane gets at once and
// what its replies are made durable with; at 30,000 events/s over four lanes
// a step of this size takes under ten milliseconds.
const (
	stepRecords = 512
	stepBytes   = 1 << 20
	// grace is how long attempts under way may take once Run should end.
	grace = 10 * time.Second
)

// cursorPrefix begins the names of the cursors of triggers, before the ID.
const cursorPrefix = "trigger-"

// spec is what a trigger is until it is replaced. It is never changed.
type spec struct{ Trigger }

// runner delivers the journal to one trigger.
type runner struct {
	id   string
	spec atomic.Pointer[spec]
	// since is the offset that a trigger which was new began at, fresh that it
	// was.
	since atomic.Uint64
	fresh bool
	// catchAll marks the runner of what no other takes.
	catchAll bool

	// cancel and ended are those of the crew that runs it, nil before the first;
	// removed is there once the trigger is removed. Guarded by Broker.changing.
	cancel  context.CancelCauseFunc
	ended   chan struct{}
	removed *former

	b      *Broker
	log    *slog.Logger
	cursor *journal.Cursor
	track  *tracker
	lanes  []chan []task
	retry  *retryQueue
	seed   maphash.Seed

	// committing makes one commit at a time, since none may go back.
	committing sync.Mutex
	mu         sync.Mutex
	losses     []ledger.Loss
	letters    []deadletters.Letter
	held       int // bytes of letters

	history history

	matched, filtered, delivered, retried, failed, deadLettered atomic.Int64
}

// task is one event that has to be delivered.
type task struct {
	offset   journal.Offset
	envelope *envelope
	// by is what the trigger was when it took the event.
	by *spec
	// attempt counts from 0, anew for the dead letter sink.
	attempt int
	// first is when the first attempt began, in Unix milliseconds.
	first int64
	// dead is set when the event goes to the dead letter sink.
	dead *deadLetter
}

// newRunner prepares t. A trigger that is new begins with what is published
// from now on.
func newRunner(b *Broker, t Trigger) (*runner, error) {
	name := cursorPrefix + t.ID()
	known := slices.ContainsFunc(b.journal.Stats().Cursors, func(c journal.CursorStats) bool { return c.Name == name })
	cursor, err := b.journal.Cursor(name, journal.Newest)
	if err != nil {
		return nil, err
	}
	r := &runner{
		id: t.ID(), fresh: !known, catchAll: t.ID() == Unrouted, b: b, log: b.log.With(slog.String("trigger", t.ID())), cursor: cursor,
		track: newTracker(cursor.Position()), retry: newRetryQueue(), seed: maphash.MakeSeed(),
		lanes: make([]chan []task, t.lanes()),
	}
	r.spec.Store(&spec{t})
	for i := range r.lanes {
		r.lanes[i] = make(chan []task, 1)
	}
	return r, nil
}

// begin has a trigger that is new, and does not run yet, begin at the offset.
func (r *runner) begin(at journal.Offset) {
	r.since.Store(uint64(at))
	r.track.pass(r.track.low(), at)
}

// run delivers until ctx ends.
func (r *runner) run(ctx context.Context) error {
	// Attempts under way outlive ctx by grace.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		bound := grace
		if errors.Is(context.Cause(ctx), errRemoved) {
			bound = removal
		}
		time.AfterFunc(bound, stop)
	})()

	var workers sync.WaitGroup
	for _, lane := range r.lanes {
		workers.Go(func() { r.work(ctx, work, lane) })
	}
	workers.Go(func() { r.redeliver(ctx) })
	commits := make(chan struct{})
	go func() {
		defer close(commits)
		r.commitLoop(ctx)
	}()
	err := r.read(ctx)
	workers.Wait()
	<-commits
	if err != nil {
		return err
	}
	last, stopLast := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer stopLast()
	removed := errors.Is(context.Cause(ctx), errRemoved)
	switch err := r.commit(last, !removed); {
	case err != nil && removed:
		r.log.Error("losses of a removed trigger cannot be saved", slog.Any("error", err))
	case err != nil:
		return fmt.Errorf("last commit: %w", err)
	}
	return nil
}

// read hands every record that passes the filter to its lane, until ctx ends.
func (r *runner) read(ctx context.Context) error {
	next := r.track.low()
	var batch journal.Batch
	for {
		if err := r.b.journal.Wait(ctx, next); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("wait for events: %w", err)
		}
		step, after, err := r.step(ctx, next, &batch)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		next = after
		if err := r.dispatch(ctx, step); err != nil {
			return nil // ctx ended
		}
	}
}

// step returns the next records, from the ring of recent ones or from the
// journal, and the offset after them.
func (r *runner) step(ctx context.Context, from journal.Offset, batch *journal.Batch) ([]task, journal.Offset, error) {
	var step []task
	for end := r.b.journal.End(); from < end && len(step) < stepRecords; from++ {
		v := r.b.recent.at(from)
		if v == nil {
			break
		}
		if step == nil {
			step = make([]task, 0, min(end-from, stepRecords))
		}
		step = append(step, task{offset: from, envelope: v})
	}
	if len(step) > 0 {
		return step, from, nil
	}
	if err := r.b.journal.Read(from, batch, stepBytes); err != nil {
		return nil, from, fmt.Errorf("read events: %w", err)
	}
	for i := range batch.Len() {
		rec := batch.At(i)
		if err := r.missing(ctx, from, rec.Offset); err != nil {
			return nil, from, err
		}
		v, err := parseEnvelope(rec.Data)
		if err != nil {
			return nil, from, fmt.Errorf("offset %d: %w", rec.Offset, err)
		}
		step = append(step, task{offset: rec.Offset, envelope: v})
		from = rec.Offset + 1
	}
	return step, batch.Next(), r.missing(ctx, from, batch.Next())
}

// missing passes over the offsets from (inclusive) to (exclusive), if any: the
// journal lost them to damage, and counted them.
func (r *runner) missing(ctx context.Context, from, to journal.Offset) error {
	if from >= to {
		return nil
	}
	r.log.Error("events are missing in the journal", slog.Uint64("from", uint64(from)), slog.Uint64("to", uint64(to)))
	return r.track.skip(ctx, from, to)
}

// dispatch filters the tasks of a step and gives each lane its part.
func (r *runner) dispatch(ctx context.Context, step []task) error {
	parts := make([][]task, len(r.lanes))
	var done []journal.Offset
	for _, t := range step {
		if err := r.track.admit(ctx, t.offset); err != nil {
			return err
		}
		t.by = r.spec.Load()
		if !r.takes(&t) {
			done = append(done, t.offset)
			continue
		}
		lane := r.lane(t)
		parts[lane] = append(parts[lane], t)
	}
	r.filtered.Add(int64(len(done)))
	r.matched.Add(int64(len(step) - len(done)))
	r.track.finish(done...)
	for i, part := range parts {
		if len(part) == 0 {
			continue
		}
		select {
		case r.lanes[i] <- part:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// takes reports whether the trigger, as the task has it, takes the event.
func (r *runner) takes(t *task) bool {
	if r.catchAll {
		return !r.b.routes.Load().taken(t.offset, t.envelope)
	}
	return t.by.wants(t.envelope)
}

// lane is the lane of a task: the same for all events of one source.
func (r *runner) lane(t task) int {
	return int(maphash.String(r.seed, t.envelope.event.Source()) % uint64(len(r.lanes)))
}

// commitLoop commits now and then until ctx ends. A cursor that passed nothing
// but what the filter does not want is committed as seldom as that of a sink
// that becomes durable late: what a crash repeats of it is the filter, and many
// triggers of which few are at work cost few syncs. A failure is reported once
// and tried again: nothing is lost by it but the time after a crash.
func (r *runner) commitLoop(ctx context.Context) {
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	_, late := r.spec.Load().Sink.(function.Syncer)
	last, before, failing := time.Now(), int64(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		worked := r.delivered.Load() + r.failed.Load() + r.deadLettered.Load()
		due := !late && worked != before || time.Since(last) >= r.b.opts.SyncEvery
		err := r.commit(ctx, due)
		if due {
			last, before = time.Now(), worked
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				r.log.Error("progress cannot be saved", slog.Any("error", err))
			} else {
				r.log.Info("progress is saved again")
			}
		}
	}
}

// commit records the dead letters and the losses and, with cursor, moves the cursor past what is
// finished. The order matters: effects, losses, cursor.
func (r *runner) commit(ctx context.Context, cursor bool) error {
	r.committing.Lock()
	defer r.committing.Unlock()
	low := r.track.low()
	if err := r.keepLetters(ctx); err != nil {
		return err
	}
	if err := r.recordLosses(ctx); err != nil {
		return err
	}
	if !cursor || low == r.cursor.Position() {
		return nil
	}
	if s, ok := r.spec.Load().Sink.(function.Syncer); ok {
		if err := s.Sync(ctx); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
	}
	if err := r.cursor.Commit(low); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// recordLosses writes what was lost since the last time to the ledger. What
// cannot be written is kept for the next time.
func (r *runner) recordLosses(ctx context.Context) error {
	r.mu.Lock()
	losses := r.losses
	r.losses = nil
	r.mu.Unlock()
	if len(losses) == 0 {
		return nil
	}
	err := r.b.opts.Ledger.Record(ctx, losses)
	if err == nil {
		err = r.b.opts.Ledger.Passed(ctx, r.id, uint64(r.cursor.Position()))
	}
	if err != nil {
		r.mu.Lock()
		r.losses = append(losses, r.losses...)
		r.mu.Unlock()
		return err
	}
	return nil
}
