package broker

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/filter"
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

// runner delivers the journal to one trigger.
type runner struct {
	Trigger
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

	matched, filtered, delivered, retried, failed, deadLettered atomic.Int64
}

// task is one event that has to be delivered.
type task struct {
	offset   journal.Offset
	envelope *envelope
	// attempt counts from 0, anew for the dead letter sink.
	attempt int
	// dead is set when the event goes to the dead letter sink.
	dead *deadLetter
}

// newRunner prepares t. A trigger that is new begins with what is published
// from now on.
func newRunner(b *Broker, t Trigger) (*runner, error) {
	cursor, err := b.journal.Cursor("trigger-"+t.Name, journal.Newest)
	if err != nil {
		return nil, err
	}
	r := &runner{
		Trigger: t, b: b, log: b.log.With(slog.String("trigger", t.Name)), cursor: cursor,
		track: newTracker(cursor.Position()), retry: newRetryQueue(), seed: maphash.MakeSeed(),
		lanes: make([]chan []task, t.lanes()),
	}
	for i := range r.lanes {
		r.lanes[i] = make(chan []task, 1)
	}
	return r, nil
}

// run delivers until ctx ends.
func (r *runner) run(ctx context.Context) error {
	// Attempts under way outlive ctx by grace.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })()

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
	if err := r.commit(work, true); err != nil {
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
		if r.Filter.Filter(t.envelope.event) == filter.Fail {
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

// lane is the lane of a task: the same for all events of one source.
func (r *runner) lane(t task) int {
	return int(maphash.String(r.seed, t.envelope.event.Source()) % uint64(len(r.lanes)))
}

// commitLoop commits now and then until ctx ends. A failure is reported once
// and tried again: nothing is lost by it but the time after a crash.
func (r *runner) commitLoop(ctx context.Context) {
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	_, late := r.Sink.(function.Syncer)
	last, failing := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := !late || time.Since(last) >= r.b.opts.SyncEvery
		err := r.commit(ctx, due)
		if due {
			last = time.Now()
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

// commit records the losses and, with cursor, moves the cursor past what is
// finished. The order matters: effects, losses, cursor.
func (r *runner) commit(ctx context.Context, cursor bool) error {
	r.committing.Lock()
	defer r.committing.Unlock()
	low := r.track.low()
	if err := r.recordLosses(ctx); err != nil {
		return err
	}
	if !cursor || low == r.cursor.Position() {
		return nil
	}
	if s, ok := r.Sink.(function.Syncer); ok {
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
		err = r.b.opts.Ledger.Passed(ctx, r.Name, uint64(r.cursor.Position()))
	}
	if err != nil {
		r.mu.Lock()
		r.losses = append(losses, r.losses...)
		r.mu.Unlock()
		return err
	}
	return nil
}
