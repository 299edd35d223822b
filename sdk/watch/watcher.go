package watch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Stream calls watches: a Hub of this process ([Local]), or a client of another
// (sdk/rpc). The messages that recv gets are its own.
type Stream interface {
	// Watch calls recv with every message until the stream ends, recv fails or
	// ctx does.
	Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error
}

// WatcherOptions configure a Watcher.
type WatcherOptions struct {
	// Parent is whose objects, as in a list.
	Parent string
	// Filters are which of them: those that match one of the filters. None is
	// all. At most 64.
	Filters []string
	// ReadMask are the paths of the fields that matter; none is all.
	ReadMask []string
	// Retry is about how long to wait after the connection was lost; 0 is 15 s.
	Retry time.Duration
	// RecoveryDeadline is for how long nobody is told that the connection is
	// lost; 0 is 5 minutes, and negative is for ever.
	RecoveryDeadline time.Duration
	// Buffer is about how many changes wait for who handles them; 0 is 1000.
	Buffer int
	// Logger is told of state changes; nil discards.
	Logger *slog.Logger
}

// Kind is what an [Event] tells.
type Kind uint8

// The kinds of events.
const (
	// Set is that an object came (Old is nil) or changed.
	Set Kind = iota
	// Removed is that an object went: it is Old.
	Removed
	// InSync is that all objects as they are were told; what follows are their
	// changes.
	InSync
	// LostSync is that nothing was heard for the RecoveryDeadline. The next
	// event is Resync.
	LostSync
	// Resync is that all is well again. What changed meanwhile follows, and
	// then InSync.
	Resync
)

// FilterVersion counts the calls of [Watcher.ResetFilters].
type FilterVersion int64

// Event is what happened to the set of objects that a Watcher keeps.
type Event[M proto.Message] struct {
	Kind Kind
	// Old and New are the object before and after, nil if there is none.
	Old, New M
	// Filters is by which filters it was found.
	Filters FilterVersion
}

// Watcher keeps the set of objects that match one of several filters up to date
// and tells of every change of it. It hides all of the protocol: chunks, resets,
// size probes, tokens, and lost connections.
//
// Run must run; the other methods may be called concurrently. Objects must not
// be changed by anybody.
type Watcher[M proto.Message] struct {
	stream Stream
	method *schema.Method
	p      *protocol
	o      WatcherOptions
	in     chan arrival
	reset  chan struct{}

	// The rest of these is of Run alone.
	followers []*follower
	round     int
	filters   FilterVersion // by which the followers follow
	complete  bool          // every follower told all objects once in this round
	lost      bool
	// missed are, while lost, the objects that changed as they were before.
	missed map[resource.Name]M
	// gone are those that were removed and are remembered, oldest first.
	gone   []resource.Name
	events []Event[M]

	mu      sync.RWMutex
	set     map[resource.Name]*member[M]
	wanted  []string
	version FilterVersion
}

// NewWatcher makes a Watcher of objects by the method that watches their
// collection.
func NewWatcher[M proto.Message](s Stream, m *schema.Method, o WatcherOptions) *Watcher[M] {
	o.Retry, o.RecoveryDeadline, o.Buffer = or(o.Retry, 15*time.Second), or(o.RecoveryDeadline, 5*time.Minute), or(o.Buffer, 1000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher[M]{
		stream: s, method: m, p: protocolOf(m), o: o, wanted: o.Filters,
		in: make(chan arrival, max(1, o.Buffer/defaultChunk)), reset: make(chan struct{}, 1),
		set: map[resource.Name]*member[M]{}, missed: map[resource.Name]M{},
	}
}

// Get is the object of that name as it is known.
func (w *Watcher[M]) Get(name resource.Name) (M, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if x, ok := w.set[name]; ok && !x.gone {
		return x.object, true
	}
	var none M
	return none, false
}

// All are all objects, by their names, as they are known.
func (w *Watcher[M]) All() []M {
	w.mu.RLock()
	defer w.mu.RUnlock()
	all := make([]M, 0, len(w.set))
	for _, name := range slices.Sorted(maps.Keys(w.set)) {
		if x := w.set[name]; !x.gone {
			all = append(all, x.object)
		}
	}
	return all
}

// ResetFilters watches by other filters from now on. Events of a lower version
// than the one that it returns come from before. Objects that match the old
// filters alone are removed once those that match the new ones are known.
func (w *Watcher[M]) ResetFilters(filters ...string) FilterVersion {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = slices.Clone(filters)
	w.version++
	select {
	case w.reset <- struct{}{}:
	default:
	}
	return w.version
}

// Run watches until ctx ends, handle fails, or the request is refused as
// invalid. It calls handle with one event after the other. It must be called
// once.
func (w *Watcher[M]) Run(ctx context.Context, handle func(context.Context, Event[M]) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if err := w.begin(ctx, &wg, nil, 0); err != nil {
		return err
	}
	deadline := time.NewTimer(0)
	<-deadline.C
	waiting := false // for the deadline
	for {
		switch healthy := w.healthy(); {
		case healthy && waiting:
			deadline.Stop()
			waiting = false
		case !healthy && !waiting && !w.lost && w.o.RecoveryDeadline > 0:
			deadline.Reset(w.o.RecoveryDeadline)
			waiting = true
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-w.reset:
			err = w.begin(ctx, &wg, nil, 0)
		case a := <-w.in:
			err = w.receive(ctx, &wg, a)
		case <-deadline.C:
			w.lost, waiting = true, false
			w.events = append(w.events, Event[M]{Kind: LostSync, Filters: w.filters})
		}
		if err != nil {
			return err
		}
		for _, e := range w.events {
			if err := handle(ctx, e); err != nil {
				return err
			}
		}
		w.events = w.events[:0]
	}
}

// healthy reports whether nothing lags behind, as far as is known.
func (w *Watcher[M]) healthy() bool {
	return !slices.ContainsFunc(w.followers, func(f *follower) bool { return !f.current })
}

// commit makes what a follower received a part of the set.
func (w *Watcher[M]) commit(f *follower) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range f.pending {
		x, known := w.set[c.name]
		if known && x.round != w.round && c.object != nil {
			x.in = 0
		}
		had := known && x.round == w.round && x.in&f.bit != 0
		if c.object == nil {
			if had {
				f.size--
				if x.in &^= f.bit; x.in == 0 && w.complete {
					w.drop(c.name)
				}
			}
			continue
		}
		o, ok := c.object.(M)
		if !ok {
			return &fault.Error{Op: "watch.Run", Kind: fault.Internal, Reason: "WRONG_TYPE", Name: string(c.name), Err: fmt.Errorf("the object is a %T", c.object)}
		}
		if !had {
			f.size++
		}
		if !known {
			x = &member[M]{gone: true}
			w.set[c.name] = x
		}
		v := w.versionOf(o)
		stale := v < x.version && len(w.followers) > 1 && (x.round == w.round || x.gone)
		x.in, x.round = x.in|f.bit, w.round
		old, was := x.object, !x.gone
		if stale || was && proto.Equal(o, old) {
			continue
		}
		x.object, x.version, x.gone = o, v, false
		w.tell(c.name, Event[M]{Kind: Set, Old: old, New: o})
	}
	f.pending = nil
	return nil
}

// versionOf is the version of an object, 0 if the mask leaves it out.
func (w *Watcher[M]) versionOf(o M) store.Seq {
	m := o.ProtoReflect()
	if w.method.Resource.Metadata == nil || !m.Has(w.method.Resource.Metadata) {
		return 0
	}
	md := m.Get(w.method.Resource.Metadata).Message()
	v, err := store.ParseVersion(md.Get(field(md.Descriptor(), "resource_version")).String())
	if err != nil {
		return 0
	}
	return v
}

// remembered is how many removed objects are.
const remembered = 10_000

// drop removes an object from the set. With several streams its version is
// remembered for a while: one that lags behind may bring an older one.
func (w *Watcher[M]) drop(name resource.Name) {
	x := w.set[name]
	if !x.gone {
		var none M
		w.tell(name, Event[M]{Kind: Removed, Old: x.object})
		x.object, x.gone = none, true
	}
	if w.gone = append(w.gone, name); len(w.gone) > remembered || len(w.followers) == 1 {
		if x := w.set[w.gone[0]]; x != nil && x.gone && x.in == 0 {
			delete(w.set, w.gone[0])
		}
		w.gone = w.gone[1:]
	}
}

// tell adds an event, or, while the sync is lost, remembers what was there.
func (w *Watcher[M]) tell(name resource.Name, e Event[M]) {
	if e.Filters = w.filters; !w.lost {
		w.events = append(w.events, e)
		return
	}
	if _, ok := w.missed[name]; !ok {
		w.missed[name] = e.Old
	}
}

// settle tells that all is well, if it was not before and is now.
func (w *Watcher[M]) settle() {
	if !w.healthy() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.complete && !w.lost
	if !w.complete {
		w.complete = true
		for _, name := range slices.Sorted(maps.Keys(w.set)) {
			if x := w.set[name]; x.round != w.round || x.in == 0 {
				x.in = 0
				w.drop(name)
			}
		}
	}
	if w.lost {
		w.lost = false
		w.events = append(w.events, Event[M]{Kind: Resync, Filters: w.filters})
		w.tellMissed()
	}
	if !was {
		w.events = append(w.events, Event[M]{Kind: InSync, Filters: w.filters})
	}
}

// tellMissed adds the events that were not told while the sync was lost, one
// for each object.
func (w *Watcher[M]) tellMissed() {
	var none M
	for _, name := range slices.Sorted(maps.Keys(w.missed)) {
		old := w.missed[name]
		had := proto.Message(old) != proto.Message(none)
		x, has := w.set[name]
		has = has && !x.gone
		switch {
		case has && !(had && proto.Equal(old, x.object)):
			w.tell(name, Event[M]{Kind: Set, Old: old, New: x.object})
		case !has && had:
			w.tell(name, Event[M]{Kind: Removed, Old: old})
		}
	}
	clear(w.missed)
}
