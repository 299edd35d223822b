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
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/ledger"
)

// Trigger is a subscription.
type Trigger struct {
	// Name identifies the trigger and its cursor; it is also the name of the
	// stream in the loss ledger.
	Name string
	// Filter decides which events are delivered.
	Filter filter.Filter
	// Sink takes the events.
	Sink delivery.Sink
	// Dest is the sink's name for the dead letter attributes.
	Dest string
	// Policy is how failures are retried.
	Policy delivery.Policy
	// Patient says that the sink is away only while a store of the platform
	// is, and that events must wait for it: an attempt that ends with 429 or
	// 503 does not count as one. Otherwise the Policy holds, so that a function
	// that is gone for good cannot fill the journal for everybody.
	Patient bool
	// DeadLetter takes what could not be delivered, with the same policy; nil
	// means that it is dropped and counted in the ledger.
	DeadLetter delivery.Sink
	// Lanes is how many deliveries may be under way at once. Events of one
	// source share a lane. 0 means twice the number of processors, which
	// suits a function in this process; a remote one wants more.
	Lanes int
}

// Options configures a broker; the zero value of every field but Dir and
// Ledger is a good one.
type Options struct {
	// Dir is the folder of the broker's files.
	Dir string
	// Ledger is told of every event that is dropped.
	Ledger ledger.Ledger
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
	runners []*runner
	stopped atomic.Bool
	used    gauge
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
	b := &Broker{opts: o, log: o.Logger, journal: j, recent: newRecent()}
	if b.dedupe, err = openDedupe(ctx, filepath.Join(o.Dir, "seen"), j, o.Window); err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	seen := map[string]bool{}
	for _, t := range append(slices.Clone(triggers), unrouted(triggers)) {
		if seen[t.Name] {
			return nil, &fault.Error{Op: "broker.Open", Name: t.Name, Kind: fault.Invalid, Err: errors.New("two triggers of this name")}
		}
		seen[t.Name] = true
		r, err := newRunner(b, t)
		if err != nil {
			return nil, fmt.Errorf("open broker: trigger %s: %w", t.Name, err)
		}
		b.runners = append(b.runners, r)
	}
	return b, nil
}

// Unrouted is the stream in the loss ledger of the events that no trigger
// matched.
const Unrouted = "broker"

// unrouted is a trigger for what passes no other: it drops it, with a line in
// the ledger. On Knative such an event vanishes; here a route that nobody
// serves shows.
func unrouted(triggers []Trigger) Trigger {
	return Trigger{Name: Unrouted, Filter: none(triggers), Sink: nowhere{}, Lanes: 1}
}

// none passes what no trigger of it passes.
type none []Trigger

// Filter implements filter.Filter.
func (n none) Filter(e *event.Event) filter.Verdict {
	for _, t := range n {
		if t.Filter.Filter(e) != filter.Fail {
			return filter.Fail
		}
	}
	return filter.Pass
}

// nowhere is a sink that takes nothing.
type nowhere struct{}

// Deliver implements delivery.Sink.
func (nowhere) Deliver(context.Context, event.Event) delivery.Result {
	return delivery.Result{Status: http.StatusBadRequest, Err: &fault.Error{
		Op: "broker", Kind: fault.Invalid, Reason: "NO_TRIGGER", Err: errors.New("no trigger matches the event"),
	}}
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

// lanes is how many lanes t gets.
func (t Trigger) lanes() int {
	if t.Lanes > 0 {
		return t.Lanes
	}
	return 2 * runtime.GOMAXPROCS(0)
}

// Run delivers until ctx ends, then lets the attempts under way end, commits
// every cursor and returns. An error means that a trigger could not go on: its
// journal or its ledger failed.
func (b *Broker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(b.runners))
	var wg sync.WaitGroup
	for i, r := range b.runners {
		wg.Go(func() {
			if errs[i] = r.run(ctx); errs[i] != nil {
				errs[i] = fmt.Errorf("trigger %s: %w", r.Name, errs[i])
				cancel()
			}
		})
	}
	var keeper sync.WaitGroup
	keeper.Go(func() { b.makeRoom(ctx) })
	wg.Wait()
	cancel()
	keeper.Wait()
	return errors.Join(errs...)
}

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

// Journal is the figures of the broker's journal.
func (b *Broker) Journal() journal.Stats { return b.journal.Stats() }

// Stats are the figures of one trigger since the broker was opened.
type Stats struct {
	Trigger string `json:"trigger"`
	// Matched and Filtered are the events that passed the filter and that did
	// not.
	Matched  int64 `json:"matched"`
	Filtered int64 `json:"filtered"`
	// Delivered, Retried, Failed and DeadLettered count attempts by outcome;
	// a Failed event is in the ledger.
	Delivered    int64 `json:"delivered"`
	Retried      int64 `json:"retried"`
	Failed       int64 `json:"failed"`
	DeadLettered int64 `json:"deadLettered"`
	// Pending is how many journal records the trigger has yet to finish.
	Pending int64 `json:"pending"`
}

// Stats returns the figures of every trigger. When all have nothing pending,
// then everything was delivered that was published before the call, and so
// were all replies: the end of the journal is read last.
func (b *Broker) Stats() []Stats {
	out := make([]Stats, len(b.runners))
	low := make([]journal.Offset, len(b.runners))
	for i, r := range b.runners {
		low[i] = r.track.low()
		out[i] = Stats{
			Trigger: r.Name, Matched: r.matched.Load(), Filtered: r.filtered.Load(),
			Delivered: r.delivered.Load(), Retried: r.retried.Load(), Failed: r.failed.Load(),
			DeadLettered: r.deadLettered.Load(),
		}
	}
	end := b.journal.End()
	for i := range out {
		out[i].Pending = int64(end) - int64(low[i])
	}
	return out
}

// project is the project that e belongs to.
func project(e *event.Event) string { return event.Extension(e, event.Project) }
