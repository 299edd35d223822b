package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store"
)

// The bounds of a group of batches that are committed together. The larger a
// group, the fewer the waits for the disk, and the longer the first one waits.
const (
	maxGroup      = 256
	maxGroupBytes = 16 << 20
	// maxWaiting is how many batches wait for the groups before them.
	maxWaiting = 4096
)

// The patience of a committer.
const (
	// grace is how much longer than its context a Commit waits for the outcome
	// of what is being done already.
	grace = 10 * time.Second
	// maxTries is how often a transaction is begun again that lost against
	// something outside of our lock.
	maxTries = 5
	// settlePause is between two attempts to find out what became of a commit.
	settlePause = 200 * time.Millisecond
)

// ErrUnknown is in the error of a commit of which it is not known whether it
// was done.
var ErrUnknown = errors.New("it is not known whether the commit was done")

// ErrAgain is in the errors of a transaction that was not done and may succeed
// when it is begun again.
var ErrAgain = errors.New("the database asks to try again")

// Backend commits to a database. Its methods are called by one goroutine.
// Errors are faults; what is none is Internal.
type Backend interface {
	// Intern gives numbers to symbols that have none, and returns them all.
	Intern(ctx context.Context, missing []Symbol) (map[Symbol]int64, error)
	// Begin begins a transaction that no other one of any process is in at the
	// same time, and finds what the database has of these keys.
	Begin(ctx context.Context, k *Keys) (Tx, Found, error)
	// Settle finds out whether the group that the batch with this ID is the
	// first of was committed. After it, the group will not be committed anymore
	// if it was not.
	Settle(ctx context.Context, id string) (bool, error)
	// Sync makes durable whatever was committed before it. It alone is called by
	// another goroutine, while the next transaction is done.
	Sync() error
}

// Tx is a transaction of a [Backend].
type Tx interface {
	Reader
	// Write writes rows.
	Write(ctx context.Context, r *Rows) error
	// Commit writes rows and the head, and ends the transaction. The group is
	// known by the ID of its first batch.
	Commit(ctx context.Context, r *Rows, h Head, id string) error
	// Rollback ends the transaction.
	Rollback()
}

// The states of a request.
const (
	waiting int32 = iota
	taken
	given // given up
)

// request is a batch that waits for its outcome.
type request struct {
	batch *store.Batch
	size  int
	state atomic.Int32
	// done is closed when the outcome is there: what follows.
	done     chan struct{}
	seq      store.Seq
	versions []store.Seq
	err      error
}

// Committer commits batches, as many as wait in one transaction.
type Committer struct {
	backend Backend
	syms    *Symbols
	signal  *Signal
	log     *slog.Logger
	queue   chan *request
	// jobs are done between groups.
	jobs chan func(context.Context)
	disk *disk
	// closing ends when it is to end, ended is closed when it has.
	closing context.Context
	stop    context.CancelFunc
	ended   chan struct{}
	// last is how many batches the last group had.
	last int
	// recent are the last changes.
	recent recent
}

// NewCommitter makes a committer and starts its goroutine, which ends with
// Close.
func NewCommitter(b Backend, syms *Symbols, signal *Signal, log *slog.Logger) *Committer {
	c := &Committer{
		backend: b, syms: syms, signal: signal, log: log,
		queue: make(chan *request, maxWaiting), jobs: make(chan func(context.Context)), ended: make(chan struct{}),
		disk: newDisk(b.Sync),
	}
	c.closing, c.stop = context.WithCancel(context.Background())
	go func() {
		defer close(c.ended)
		c.disk.run(log, c.answer)
	}()
	go c.run()
	return c
}

// Durable waits until what was committed up to that head, which was read from
// the database, is on the disk. Who reads must call it before anybody sees what
// was read: else a power cut takes back what somebody acted on.
func (c *Committer) Durable(ctx context.Context, head store.Seq) error {
	if c.closing.Err() != nil {
		return Closed(commitOp)
	}
	return c.disk.await(ctx, head)
}

// Close ends the committer. What is being committed is finished, what waits is
// refused.
func (c *Committer) Close() {
	c.stop()
	<-c.ended
}

// Commit implements the method of [store.Driver].
func (c *Committer) Commit(ctx context.Context, b *store.Batch) (store.Seq, error) {
	if err := Check(commitOp, b); err != nil {
		return 0, err
	}
	if c.closing.Err() != nil {
		return 0, Closed(commitOp)
	}
	if err := c.disk.broken(); err != nil {
		return 0, err
	}
	r := &request{batch: b, size: size(b), done: make(chan struct{})}
	select {
	case c.queue <- r:
	case <-ctx.Done():
		return 0, Unavailable(commitOp, ctx.Err())
	case <-c.ended:
		return 0, Closed(commitOp)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if err := c.overdue(ctx, r); err != nil {
			return 0, err
		}
	case <-c.ended:
		if r.state.CompareAndSwap(waiting, given) {
			return 0, Closed(commitOp)
		}
		<-r.done // whatever was taken was answered
	}
	if r.err != nil {
		return 0, r.err
	}
	for i, v := range r.versions {
		if is := b.Writes[i].After; is != nil {
			is.Version = v
		}
	}
	return r.seq, nil
}

// Changes are the changes after that Seq, as many as are known without asking
// the database; none if it must be asked.
func (c *Committer) Changes(ctx context.Context, after store.Seq, limit int) []store.Change {
	if ctx.Err() != nil || c.closing.Err() != nil {
		return nil
	}
	return c.recent.read(after, limit)
}

// Forget forgets the changes up to that Seq, which are about to be trimmed.
func (c *Committer) Forget(through store.Seq) { c.recent.trim(through) }

// Do has the committer's goroutine call f between two groups, and waits for it.
func (c *Committer) Do(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	select {
	case c.jobs <- func(ctx context.Context) { done <- f(ctx) }:
		return <-done
	case <-ctx.Done():
		return Unavailable(commitOp, ctx.Err())
	case <-c.ended:
		return Closed(commitOp)
	}
}

// overdue waits for the outcome of a batch whose caller has no more time, but
// not for one that is not begun.
func (c *Committer) overdue(ctx context.Context, r *request) error {
	if r.state.CompareAndSwap(waiting, given) {
		return Unavailable(commitOp, ctx.Err())
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-r.done:
		return nil
	case <-late.C:
		return &fault.Error{
			Op: commitOp, Kind: fault.Unavailable, Reason: "OUTCOME_UNKNOWN",
			Err: fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx)),
		}
	}
}

// size is about how many bytes a batch writes.
func size(b *store.Batch) int {
	n := 0
	for i := range b.Writes {
		w := &b.Writes[i]
		if w.After != nil {
			n += 2 * len(w.After.Body)
		}
		if w.Before != nil {
			n += len(w.Before.Body)
		}
	}
	for _, note := range b.Notes {
		n += len(note)
	}
	return n
}

// run is the loop of the committer.
func (c *Committer) run() {
	defer close(c.disk.groups)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// A database that does not answer does not keep us from ending.
	defer context.AfterFunc(c.closing, func() { time.AfterFunc(grace, cancel) })()
	for c.closing.Err() == nil {
		select {
		case <-c.closing.Done():
		case job := <-c.jobs:
			job(ctx)
		case r := <-c.queue:
			if group := c.gather(r); len(group) > 0 {
				c.commit(ctx, group)
			}
		}
	}
}

// gather takes what waits, as much as a group may have. Those whose batches
// were in the last group are about to bring their next: they are let run, or
// else half of them would always wait for the other half.
func (c *Committer) gather(r *request) []*request {
	var group []*request
	alone := c.last <= 1
	for bytes, idle := 0, false; ; {
		if r != nil && r.state.CompareAndSwap(waiting, taken) {
			group, bytes, idle = append(group, r), bytes+r.size, false
		}
		if c.last = len(group); c.last == maxGroup || bytes > maxGroupBytes {
			return group
		}
		select {
		case r = <-c.queue:
		default:
			if r = nil; idle || alone && len(group) == 1 {
				return group
			}
			idle = true
			runtime.Gosched()
		}
	}
}

// commit commits a group and has it answered. If the group cannot be committed,
// its batches are, one by one: it may be only one of them that cannot.
func (c *Committer) commit(ctx context.Context, requests []*request) {
	g, err := c.try(ctx, requests)
	if err != nil && len(requests) > 1 && fault.KindOf(err) != fault.Unavailable {
		c.log.Warn("group of commits failed", slog.Int("batches", len(requests)), slog.Any("error", err))
		for _, r := range requests {
			c.commit(ctx, []*request{r})
		}
		return
	}
	if g.requests = requests; err != nil {
		c.answer(g, err)
		return
	}
	c.disk.groups <- g
}

// answer answers a group.
func (c *Committer) answer(g group, err error) {
	if err == nil {
		c.recent.add(g.before, g.changes)
		c.signal.Set(g.head.Change)
	}
	for _, r := range g.requests {
		if err != nil {
			r.err = err
		}
		close(r.done)
	}
}

// try commits a group, again if the database asks for it or if it was not done
// when the connection was lost.
func (c *Committer) try(ctx context.Context, requests []*request) (group, error) {
	for n := 1; ; n++ {
		id := requests[0].batch.ID
		g, err := c.transaction(ctx, requests)
		if errors.Is(err, ErrUnknown) {
			c.log.Warn("outcome of commit unknown", slog.String("batch", id), slog.Any("error", err))
			done, lost := c.settle(ctx, id)
			switch {
			case lost != nil:
				return group{}, &fault.Error{Op: commitOp, Kind: fault.Unavailable, Reason: "OUTCOME_UNKNOWN", Err: fmt.Errorf("%w: %w", err, lost)}
			case done:
				return g, nil
			}
		}
		if !errors.Is(err, ErrAgain) && !errors.Is(err, ErrUnknown) || n == maxTries {
			return g, asFault(err)
		}
		select {
		case <-time.After(rand.N(time.Duration(n) * 20 * time.Millisecond)):
		case <-ctx.Done():
			return group{}, Closed(commitOp)
		}
	}
}

// asFault is an error that says nothing else as one of the database.
func asFault(err error) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &fault.Error{Op: commitOp, Kind: fault.Internal, Err: err}
}

// settle finds out what became of a group, however long that takes: nothing can
// be committed before that is known.
func (c *Committer) settle(ctx context.Context, id string) (bool, error) {
	for {
		done, err := c.backend.Settle(ctx, id)
		if err == nil {
			return done, nil
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return false, err
		}
	}
}

// transaction does a group in one transaction. The requests know their outcomes
// if it is nil, and if it is not known whether it was done.
func (c *Committer) transaction(ctx context.Context, requests []*request) (group, error) {
	var need []Symbol
	for _, r := range requests {
		need = append(need, written(r.batch)...)
	}
	if missing := c.syms.Missing(need); len(missing) > 0 {
		found, err := c.backend.Intern(ctx, missing)
		if err != nil {
			return group{}, fmt.Errorf("numbering symbols: %w", err)
		}
		c.syms.Add(found)
	}
	tx, found, err := c.backend.Begin(ctx, keys(requests, c.syms))
	if err != nil {
		return group{}, fmt.Errorf("beginning: %w", err)
	}
	s := newState(found, c.syms)
	g := group{before: found.Head.Change}
	for _, r := range requests {
		r.err, r.seq, r.versions = s.check(ctx, tx, r.batch), s.Head.Change, nil
		var no refusal
		switch {
		case r.err == nil:
			r.versions, r.seq = s.do(r.batch)
		case errors.As(r.err, &no):
			r.err = no.error
		default:
			tx.Rollback()
			return group{}, r.err
		}
	}
	if s.dirty && s.Head.Seq == found.Head.Seq {
		s.Head.Seq++ // what is not durable yet is known by it
	}
	g.head, g.changes = s.Head, s.made
	if !s.dirty {
		tx.Rollback()
		return g, nil
	}
	if err := tx.Commit(ctx, s.take(), s.Head, requests[0].batch.ID); err != nil {
		return g, fmt.Errorf("writing: %w", err)
	}
	return g, nil
}
