// Package serving is Knative Serving on one machine: it has the cluster's
// Services, Configurations, Revisions and Routes come true as processes, says
// in their status how far it is, and takes the requests for them.
//
// What should be is in the object store, what runs is in the pools of package
// pool; each object is reconciled by itself, as often as something that it
// depends on changes, so that a crash between two writes is made good by the
// next look. Requests are routed by what the status of a Route says, also when
// a new platform opens the store of an old one: instances are then started on
// demand.
package serving

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/scale"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// Images finds images.
type Images interface {
	// Resolve is the reference by digest of an image in a namespace, NotFound if
	// there is none. Another error is tried again.
	Resolve(ctx context.Context, namespace, image string) (string, error)
}

// Options configures Serving.
type Options struct {
	// Store has at least the kinds of spec.Kinds, and secrets, config maps and
	// events of the core for what is made of these.
	Store  *object.Store
	Images Images
	Runner pool.Runner
	// URL is where the platform is reached, "http://127.0.0.1:8080".
	URL func() string
	// Domain has routes be hosts, service.namespace.DOMAIN, instead of paths
	// below /functions/.
	Domain string
	// Authorize says whether the caller of ctx may call a service; nil is an
	// error of every call.
	Authorize func(ctx context.Context, namespace, service string) error
	// Caller is what proves to a function, "namespace/service", and to nobody else
	// who calls it (iam.CallerHeader); nil for nothing.
	Caller func(who iam.Principal, function string) (string, error)
	// Scale are the defaults of the annotations.
	Scale scale.Defaults
	// Tick is how often the scale is decided; 1 s when 0.
	Tick time.Duration
	// MaxInstances bounds the instances of all functions; 100 when 0. MaxHeld
	// bounds the requests that wait for one revision.
	MaxInstances, MaxHeld int
	// KeepRevisions is how many revisions of a configuration stay that no route
	// leads to; 20 when 0.
	KeepRevisions int
	// Limits are those of a container that has none.
	Limits Limits
	// Backoff is how crashed instances wait, Grace how long an instance may take
	// to end.
	Backoff pool.Backoff
	Grace   time.Duration
	// Logs keeps what functions print; nil for a store with its defaults.
	Logs   *podlog.Store
	Now    func() time.Time
	Logger *slog.Logger
}

// Limits are what a container may use.
type Limits struct {
	// Memory is 512 MiB and Scratch 1 GiB when 0; CPU has no bound when 0.
	Memory, Scratch int64
	CPU             float64
}

// named is the name of an object.
type named struct{ namespace, name string }

// String is "namespace/name".
func (n named) String() string { return n.namespace + "/" + n.name }

// Serving is the controllers and the way of requests. All methods may be called
// concurrently.
type Serving struct {
	o     Options
	log   *slog.Logger
	store *object.Store
	room  *pool.Room
	queue *queue
	proxy *proxy

	mu sync.RWMutex
	// units are what runs, by revision; routes where requests go, by route.
	units  map[named]*unit
	routes map[named]*table
	// running is the context of Run; nil before it.
	running context.Context
	group   sync.WaitGroup
}

// Open reads the routes and forgets the instances of the process before.
func Open(ctx context.Context, o Options) (*Serving, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Logs == nil {
		o.Logs = podlog.New(podlog.Options{Now: o.Now})
	}
	if o.Authorize == nil {
		o.Authorize = func(context.Context, string, string) error {
			return &fault.Error{Op: "serving", Kind: fault.Denied, Err: errors.New("nobody may call functions")}
		}
	}
	o.Tick, o.MaxInstances, o.KeepRevisions = cmp.Or(o.Tick, time.Second), cmp.Or(o.MaxInstances, 100), cmp.Or(o.KeepRevisions, 20)
	o.Limits.Memory, o.Limits.Scratch = cmp.Or(o.Limits.Memory, 512<<20), cmp.Or(o.Limits.Scratch, 1<<30)
	s := &Serving{
		o: o, log: o.Logger, store: o.Store, room: pool.NewRoom(o.MaxInstances), queue: newQueue(),
		units: map[named]*unit{}, routes: map[named]*table{},
	}
	s.proxy = newProxy(s)
	for _, k := range kinds() {
		if o.Store.Kind(k) == nil {
			return nil, fmt.Errorf("open serving: the store has no kind %s", k.Name)
		}
	}
	pods, _ := s.store.List(object.Query{Kind: spec.Pod})
	for _, p := range pods {
		if _, err := s.store.Delete(ctx, spec.Pod, p.Namespace(), p.Name(), object.Preconditions{}); err != nil {
			return nil, fmt.Errorf("open serving: forget a pod: %w", err)
		}
	}
	routes, _ := s.store.List(object.Query{Kind: spec.Route})
	for _, r := range routes {
		s.learn(r)
	}
	revisions, _ := s.store.List(object.Query{Kind: spec.Revision})
	for _, r := range revisions {
		if past, err := s.past(r); err != nil {
			return nil, err
		} else if past {
			continue
		}
		if _, err := s.ensureUnit(r); err != nil {
			s.log.Warn("revision cannot be run", slog.String("revision", named{r.Namespace(), r.Name()}.String()), slog.Any("error", err))
		}
	}
	return s, nil
}

// kinds are those that are reconciled.
func kinds() []object.Key {
	return []object.Key{spec.Service, spec.Configuration, spec.Revision, spec.Route}
}

// Run reconciles until ctx ends, then drains and stops all instances.
func (s *Serving) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.running = ctx
	for _, u := range s.units {
		s.startUnit(u)
	}
	s.mu.Unlock()
	g, reconciling := errgroup.WithContext(ctx)
	for _, k := range kinds() {
		g.Go(func() error { return s.watch(reconciling, k) })
	}
	g.Go(func() error { return s.work(reconciling) })
	err := g.Wait()
	cancel()
	s.stop()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// stopTimeout bounds how long instances drain when the platform stops.
const stopTimeout = 5 * time.Second

// stop stops everything that runs.
func (s *Serving) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	s.mu.Lock()
	units := s.units
	s.units = map[named]*unit{}
	s.mu.Unlock()
	for _, u := range units {
		s.group.Go(func() { u.pool.Close(ctx) })
	}
	s.group.Wait()
}

// watch queues what changes of a kind concern.
func (s *Serving) watch(ctx context.Context, k object.Key) error {
	for {
		version := s.store.Version()
		all, _ := s.store.List(object.Query{Kind: k})
		for _, o := range all {
			s.queue.add(item{k, named{o.Namespace(), o.Name()}})
		}
		for {
			events, next, err := s.store.Watch(ctx, object.Query{Kind: k}, version)
			if errors.Is(err, object.ErrExpired) {
				break
			}
			if err != nil {
				return err
			}
			for _, e := range events {
				s.concerns(k, e.Object)
			}
			version = next
		}
	}
}

// concerns queues an object that changed and those that look at it.
func (s *Serving) concerns(k object.Key, o object.Object) {
	s.queue.add(item{k, named{o.Namespace(), o.Name()}})
	for _, w := range o.Owners() {
		if owner := (object.Key{Group: spec.Group, Name: w.Kind}); w.Controller && slices.Contains(kinds(), owner) {
			s.queue.add(item{owner, named{o.Namespace(), w.Name}})
		}
	}
	if k != spec.Configuration && k != spec.Revision {
		return
	}
	routes, _ := s.store.List(object.Query{Kind: spec.Route, Namespace: o.Namespace()})
	for _, r := range routes {
		for _, t := range targets(r, "spec") {
			if (k == spec.Configuration && t.Configuration == o.Name()) || (k == spec.Revision && t.Revision == o.Name()) {
				s.queue.add(item{spec.Route, named{r.Namespace(), r.Name()}})
				break
			}
		}
	}
}

// targets are the traffic of a route or a service, below spec or status.
func targets(o object.Object, below string) []spec.Target {
	var x struct {
		Traffic []spec.Target `json:"traffic"`
	}
	part, _ := o[below].(map[string]any)
	if err := object.Object(part).Into(&x); err != nil {
		return nil
	}
	return x.Traffic
}

// work reconciles what is queued, one object after another.
func (s *Serving) work(ctx context.Context) error {
	for {
		it, err := s.queue.take(ctx)
		if err != nil {
			return err
		}
		switch it.kind {
		case spec.Service:
			err = s.reconcileService(ctx, it.named)
		case spec.Configuration:
			err = s.reconcileConfiguration(ctx, it.named)
		case spec.Revision:
			err = s.reconcileRevision(ctx, it.named)
		case spec.Route:
			err = s.reconcileRoute(ctx, it.named)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.KindOf(err) == fault.Conflict, fault.KindOf(err) == fault.NotFound:
			s.queue.later(it, 10*time.Millisecond)
		default:
			s.log.Warn("object not reconciled", slog.String("kind", strings.ToLower(it.kind.Name)), slog.String("name", it.named.String()), slog.Any("error", err))
			s.queue.later(it, time.Second)
		}
	}
}
