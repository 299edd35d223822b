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
	offset journal.Offset
	entry  *entry
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

// reading is what a runner reads with, used again from step to step.
type reading struct {
	batch journal.Batch
	// entries are those of the batch, step those that are looked at now, taken
	// the tasks that come of it and done the rest.
	entries []entry
	step    []*entry
	taken   []task
	done    []journal.Offset
}

// read hands every record that passes the filter to its lane, until ctx ends.
func (r *runner) read(ctx context.Context) error {
	next := r.track.low()
	var in reading
	for {
		if err := r.b.recent.wait(ctx, next); err != nil {
			return nil // ctx ended
		}
		if err := r.b.journal.Wait(ctx, next); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("wait for events: %w", err)
		}
		after, err := r.pass(ctx, next, &in)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		next = after
	}
}

// pass dispatches the next records, from the ring of recent ones or from the
// journal, and returns the offset after them.
func (r *runner) pass(ctx context.Context, from journal.Offset, in *reading) (journal.Offset, error) {
	in.step = in.step[:0]
	for len(in.step) < stepRecords {
		v := r.b.recent.at(from)
		if v == nil {
			break
		}
		in.step = append(in.step, v)
		from++
	}
	if len(in.step) > 0 {
		in.batch, in.entries = journal.Batch{}, nil // it has caught up, and there may be a thousand triggers
		return from, r.dispatch(ctx, in, false)
	}
	if err := r.b.journal.Read(from, &in.batch, stepBytes); err != nil {
		return from, fmt.Errorf("read events: %w", err)
	}
	if cap(in.entries) < in.batch.Len() {
		in.entries = make([]entry, 2*in.batch.Len())
	}
	for i := range in.batch.Len() {
		rec, v := in.batch.At(i), &in.entries[i]
		if rec.Offset > from {
			if err := r.dispatch(ctx, in, true); err != nil {
				return from, err
			}
			if err := r.missing(ctx, from, rec.Offset); err != nil {
				return from, err
			}
			in.step = in.step[:0]
		}
		if err := v.read(rec.Offset, rec.Data); err != nil {
			return from, fmt.Errorf("offset %d: %w", rec.Offset, err)
		}
		in.step = append(in.step, v)
		from = rec.Offset + 1
	}
	if err := r.dispatch(ctx, in, true); err != nil {
		return from, err
	}
	return in.batch.Next(), r.missing(ctx, from, in.batch.Next())
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

// dispatch filters the entries of a step and gives each lane its part. With
// borrowed, the entries are valid only until it returns.
func (r *runner) dispatch(ctx context.Context, in *reading, borrowed bool) error {
	in.taken, in.done = in.taken[:0], in.done[:0]
	limit := journal.Offset(0)
	for _, v := range in.step {
		if v.offset >= limit {
			var err error
			if limit, err = r.track.admit(ctx, v.offset); err != nil {
				return err
			}
		}
		t := task{offset: v.offset, entry: v, by: r.spec.Load()}
		if r.takes(&t) {
			in.taken = append(in.taken, t)
		} else {
			in.done = append(in.done, v.offset)
		}
	}
	r.filtered.Add(int64(len(in.done)))
	r.matched.Add(int64(len(in.taken)))
	r.track.finish(in.done...)
	if len(in.taken) == 0 {
		return nil
	}
	if borrowed {
		keep(in.taken)
	}
	parts := r.split(in.taken)
	clear(in.taken)
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

// split are copies of the tasks by lane, in one piece of memory.
func (r *runner) split(tasks []task) [][]task {
	parts := make([][]task, len(r.lanes))
	if len(tasks) == 1 {
		parts[r.lane(tasks[0])] = []task{tasks[0]}
		return parts
	}
	lanes, sizes := make([]int, len(tasks)), make([]int, len(r.lanes))
	for i, t := range tasks {
		lanes[i] = r.lane(t)
		sizes[lanes[i]]++
	}
	memory := make([]task, len(tasks))
	for lane, size := range sizes {
		parts[lane], memory = memory[:0:size], memory[size:]
	}
	for i, t := range tasks {
		parts[lanes[i]] = append(parts[lanes[i]], t)
	}
	return parts
}

// keep gives tasks entries of their own, in one piece of memory.
func keep(tasks []task) {
	size := 0
	for _, t := range tasks {
		size += len(t.entry.record)
	}
	memory, entries := make([]byte, 0, size), make([]entry, len(tasks))
	for i := range tasks {
		v := tasks[i].entry
		memory = append(memory, v.record...)
		entries[i].move(v, slices.Clip(memory[len(memory)-len(v.record):]))
		tasks[i].entry = &entries[i]
	}
}

// takes reports whether the trigger, as the task has it, takes the event.
func (r *runner) takes(t *task) bool {
	if r.catchAll {
		return !r.b.routes.Load().taken(t.entry)
	}
	return t.by.wants(t.entry)
}

// lane is the lane of a task: the same for all events of one source.
func (r *runner) lane(t task) int {
	return int(maphash.Bytes(r.seed, t.entry.head.Source()) % uint64(len(r.lanes)))
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
