// Package broker is the embedded, durable event broker: what a Knative Broker
// with its Triggers is to a cluster, for one process.
//
// An event is in the journal before Publish returns. Every trigger has a
// cursor of its own in that journal, so each matching event is delivered to
// each trigger at least once, over crashes too; a trigger that is slow or away
// delays nobody else. A cursor moves only past events that were delivered,
// dead-lettered, or counted in the loss ledger, and, for a function that
// becomes durable late, made durable. Replies enter the same journal.
//
// First attempts keep the order of events of one source. A retried event comes
// later than its successors: redelivery must not stop the stream.
//
// The broker drops nothing for lack of room. When the journal is full, Publish
// answers Exhausted. Replies may then still be appended, because otherwise a
// full journal could never drain; they are bounded by the backlog they answer.
//
// It differs from Knative's in-memory channel by intent: that one delivers
// before it answers the publisher and forgets everything in a restart.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/ledger"
)

// Options configures a broker; the zero value of every field but Dir and
// Ledger is a good one.
type Options struct {
	// Dir is the folder of the broker's files.
	Dir string
	// Ledger is told of every event that is dropped.
	Ledger ledger.Ledger
	// DeadLetters keeps the events that were given up, so that they can be
	// replayed; nil keeps none.
	DeadLetters deadletters.Store
	// MaxBytes bounds the journal on disk for Publish; 4 GiB by default.
	MaxBytes int64
	// Window is the number of events per generation of the duplicate window;
	// 65,536 by default. See dedupe.go.
	Window int
	// SyncEvery is how often the cursors of sinks that are a
	// function.Syncer are committed; 5 s by default. What was delivered since is delivered again after a crash.
	SyncEvery time.Duration
	// Logger is told of state changes; nil discards.
	Logger *slog.Logger
}

// The defaults of Options.
const (
	defaultMaxBytes  = 4 << 30
	defaultWindow    = 1 << 16
	defaultSyncEvery = 5 * time.Second
	// commitEvery is how often the other cursors and the losses are written:
	// often enough that the ledger looks immediate to a person, seldom enough
	// that it costs four small writes a second at most.
	commitEvery = 250 * time.Millisecond
	// replyRoom is how far replies may grow the journal past MaxBytes. An
	// event has at most a few replies, and intake has stopped by then.
	replyRoom = 4
)

// Broker is an open broker. All methods may be called concurrently.
type Broker struct {
	opts    Options
	log     *slog.Logger
	journal *journal.Journal
	dedupe  *dedupe
	recent  *recent
	stopped atomic.Bool
	used    gauge

	// changing is held, by its one place, while the set of triggers changes.
	changing chan struct{}
	// runners are the triggers in the order that they were set in, the catch-all
	// last; the slice is never changed, only replaced.
	runners atomic.Pointer[[]*runner]
	// routes are what the catch-all knows of the others.
	routes atomic.Pointer[routes]
	// ending are the runners of triggers that were removed and still have
	// deliveries in hand, by ID. Guarded by changing.
	ending map[string]*runner
	// tracing bounds the traces that are computed at once.
	tracing chan struct{}
	// crew is who delivers; nil outside of Run. Guarded by changing.
	crew *crew
}

// Open opens or creates the broker's files and prepares the triggers; nothing
// is delivered before Run.
func Open(ctx context.Context, o Options, triggers []Trigger) (_ *Broker, err error) {
	o = o.withDefaults()
	j, err := journal.Open(filepath.Join(o.Dir, "journal"), journal.Options{MaxBytes: replyRoom * o.MaxBytes, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.Close())
		}
	}()
	b := &Broker{opts: o, log: o.Logger, journal: j, recent: newRecent(j.End()), changing: make(chan struct{}, 1), tracing: make(chan struct{}, traces), ending: map[string]*runner{}}
	if b.dedupe, err = openDedupe(ctx, filepath.Join(o.Dir, "seen"), j, o.Window); err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	catchAll, err := newRunner(b, unrouted())
	if err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	b.install([]*runner{catchAll})
	for _, t := range triggers {
		if b.find(t.ID()) != nil {
			return nil, &fault.Error{Op: "broker.Open", Name: t.ID(), Kind: fault.Invalid, Err: errors.New("two triggers of this name")}
		}
		if err := b.SetTrigger(ctx, t); err != nil {
			return nil, fmt.Errorf("open broker: trigger %s: %w", t.ID(), err)
		}
	}
	return b, nil
}

// withDefaults fills in the defaults.
func (o Options) withDefaults() Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = defaultSyncEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// crew is the goroutines of a Run.
type crew struct {
	ctx context.Context // the run's own loop, ended by a runner that cannot go on
	end context.CancelCauseFunc
	wg  sync.WaitGroup
}

// Run delivers until ctx ends, then lets the attempts under way end, commits
// every cursor and returns. An error means that a trigger could not go on: its
// journal or its ledger failed.
func (b *Broker) Run(ctx context.Context) error {
	c := &crew{}
	c.ctx, c.end = context.WithCancelCause(ctx)
	defer c.end(nil)
	b.changing <- struct{}{}
	b.crew = c
	for _, r := range *b.runners.Load() {
		b.start(r)
	}
	<-b.changing
	c.wg.Go(func() { b.makeRoom(c.ctx) })
	<-c.ctx.Done()
	b.changing <- struct{}{}
	b.crew = nil
	<-b.changing
	c.wg.Wait()
	if broken := new(brokenError); errors.As(context.Cause(c.ctx), &broken) {
		return broken
	}
	return nil
}

// start has the crew of a run, if there is one, deliver to r. The caller holds
// changing.
func (b *Broker) start(r *runner) {
	c := b.crew
	if c == nil {
		return
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	r.cancel, r.ended = cancel, make(chan struct{})
	ended := r.ended
	c.wg.Go(func() {
		defer close(ended)
		defer cancel(nil)
		if err := r.run(ctx); err != nil {
			c.end(&brokenError{fmt.Errorf("trigger %s: %w", r.id, err)})
		}
	})
}

// brokenError is why a trigger could not go on.
type brokenError struct{ error }

// Unwrap returns the cause.
func (e *brokenError) Unwrap() error { return e.error }

// roomEvery is how often makeRoom looks.
const roomEvery = time.Second

// makeRoom lets go of the records that only the duplicate window keeps, once
// the journal is half full, until ctx ends.
func (b *Broker) makeRoom(ctx context.Context) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if b.used.read(b.journal) < b.opts.MaxBytes/2 {
			continue
		}
		if err := b.dedupe.checkpoint(); err != nil && ctx.Err() == nil {
			b.log.Error("the duplicate window cannot be saved", slog.Any("error", err))
		}
	}
}

// Close closes the broker's files. Run must have returned; Publish fails from
// now on.
func (b *Broker) Close() error {
	b.stopped.Store(true)
	return errors.Join(b.dedupe.checkpoint(), b.journal.Close())
}
