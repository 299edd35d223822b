// Package registry is how a service registers itself and finds the others, by
// the registry of functions/meta. [Open] is one of the first things that the
// program of a service does: it returns when the service, in this region, is
// registered and what is known of the others is there, and not before.
//
// From then on what is registered is kept as it is to be ([Options.Heartbeat]):
// it is made again if somebody removed it, and says that the deployment is
// running. Who is not heard of is said to be gone by the registry, and stays
// registered.
//
// What a [Registry] knows are the service itself, those that it imports or
// uses, and those that import or use it, each with its deployments. It is never
// asked for: every change is told, to the Registry and by it to all who
// [Registry.Subscribe]. What was known stays while the registry cannot be
// reached.
//
//	runInit ──┬─▶ runServicesWatch ────┐
//	          ├─▶ runDeploymentsWatch ─┼─▶ runMainSync ─▶ subscribers
//	          │   Subscribe ── attach ─┘        │
//	          └─▶ runReconcile ◀── missing ─────┘
//
// One loop, runMainSync, unites all of it, so that a subscriber gets a snapshot
// and then every change after it. A Registry is safe for concurrent use; what it
// hands out is shared and must not be changed.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/watch"
)

// Meta is a way to call the registry's service: the rpc.Client of the registry
// of the same region, or, in its own process, its Local.
type Meta interface {
	// Call does a unary method.
	Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error)
	watch.Stream
}

// Options say what is registered, and where.
type Options struct {
	// Meta is the registry.
	Meta Meta
	// Region is the id of the region of this deployment. NewRegion has it made
	// if it is not there: only the registry itself may do that, for whom Meta is
	// the registry of its primary region.
	Region    string
	NewRegion bool
	// Service and Deployment are what this is.
	Service    Service
	Deployment Deployment
	// Key proves to others who calls, by [Registry.Dial].
	Key string
	// Trusted are the domains of the services that the credentials of others may
	// be forwarded to, besides the service itself.
	Trusted []string
	// HTTP makes the calls of the clients that are dialled; nil is one that
	// follows no redirects. It must not have a timeout: watches last.
	HTTP *http.Client
	// Retry is about how long to wait after something was not possible: the first
	// pauses are a sixteenth of it, and they double up to sixteen times as much. 0
	// is 1 s.
	Retry time.Duration
	// Heartbeat is how often the deployment says that it is running, and that what
	// is registered is made what it is to be again; 0 is 20 s, of the minute after
	// which it counts as gone.
	Heartbeat time.Duration
	// Logger is told of state changes; nil discards.
	Logger *slog.Logger
}

// Service is what a program knows of its service as a whole.
type Service struct {
	// Versions are the versions of its API that it serves, the newest first. They
	// are of one domain.
	Versions []*schema.Service
	// ImportedVersions are the versions of imported services, by domain; what is
	// not there is imported in any version.
	ImportedVersions map[string][]string
	// DisplayName is what people call it, Endpoint where it is reached wherever
	// it is deployed.
	DisplayName, Endpoint string
	// Primary is the id of its primary region, once it is there; "" leaves it
	// to the first deployment.
	Primary string
}

// Deployment is what a program knows of itself.
type Deployment struct {
	// Endpoint is where it is reached, PrivateEndpoint the same from within
	// LocalNetwork.
	Endpoint, PrivateEndpoint, LocalNetwork string
	// DataVersion is the version of the data in its database, LocationTag says
	// where that is.
	DataVersion, LocationTag string
}

// Registry is what a deployment knows of itself and of others.
type Registry struct {
	o       Options
	log     *slog.Logger
	domain  string
	methods map[string]*schema.Method

	// services and deployments are the watches; what they tell comes by in.
	services    *watch.Watcher[*metav1.Service]
	deployments *watch.Watcher[*metav1.Deployment]
	in          chan told
	// registered is the signal of runInit, ready that of the main sync that Open
	// can return.
	registered, ready chan struct{}
	attach, detach    chan *subscriber
	// behind is, once registered, that it was not possible to write what has
	// changed; missing has an item when something of this service was removed.
	behind  bool
	missing chan struct{}

	stop    context.CancelFunc
	running sync.WaitGroup
	ended   chan struct{} // closed when the main sync is over

	mu     sync.RWMutex
	known  state
	last   own
	failed error
}

// own is what was known last of the service itself: what it is made of again,
// should somebody remove it.
type own struct {
	service  *metav1.Service
	disabled bool
}

// state is what is known.
type state struct {
	services    map[resource.Name]*metav1.Service
	deployments map[resource.Name]*metav1.Deployment
}

// Open registers the service, and returns when that is done and what is known of
// others is there. Until then it tries again, however long the registry cannot
// be reached, what is imported is not there, or the region is not. What can
// never succeed, or is denied, is an error. The Registry lives until Close; ctx
// is for Open alone.
func Open(ctx context.Context, o Options) (*Registry, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := newRegistry(o)
	broken := r.runInBackground(context.WithoutCancel(ctx))
	var err error
	select {
	case <-r.ready:
		return r, nil
	case err = <-broken:
	case <-ctx.Done():
		err = &fault.Error{
			Op: "registry.Open", Name: r.ownService(), Kind: fault.Unavailable, Reason: "NOT_REGISTERED",
			Err: fmt.Errorf("the service could not be registered in time: %w", ctx.Err()),
		}
	}
	r.Close()
	return nil, err
}

// check finds what is wrong with the options.
func (o *Options) check() error {
	bad := func(field string, err error) error {
		return &fault.Error{Op: "registry.Open", Kind: fault.Invalid, Reason: "INVALID_OPTIONS", Field: field, Err: err}
	}
	if o.Meta == nil {
		return bad("Meta", errors.New("the way to the registry is needed"))
	}
	if _, err := resource.Pattern("regions/{region}").Parse("regions/" + o.Region); err != nil {
		return bad("Region", err)
	}
	if len(o.Service.Versions) == 0 {
		return bad("Service.Versions", errors.New("a service has at least one version"))
	}
	for i, v := range o.Service.Versions {
		if v.Domain != o.Service.Versions[0].Domain {
			return bad("Service.Versions", fmt.Errorf("%s and %s are two services", o.Service.Versions[0].Domain, v.Domain))
		}
		if i > 0 && metav1.CompareVersions(o.Service.Versions[i-1].Version, v.Version) >= 0 {
			return bad("Service.Versions", errors.New("each version is there once, the newest first"))
		}
	}
	return nil
}

// newRegistry makes a Registry that does nothing yet.
func newRegistry(o Options) *Registry {
	if o.Retry == 0 {
		o.Retry = time.Second
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = defaultHeartbeat
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	r := &Registry{
		o: o, log: o.Logger, domain: o.Service.Versions[0].Domain, methods: map[string]*schema.Method{},
		in: make(chan told), registered: make(chan struct{}), ready: make(chan struct{}),
		attach: make(chan *subscriber), detach: make(chan *subscriber), ended: make(chan struct{}), missing: make(chan struct{}, 1),
		known: state{services: map[resource.Name]*metav1.Service{}, deployments: map[resource.Name]*metav1.Deployment{}},
	}
	for _, m := range metav1.AddTo(new(schema.Registry)).Methods {
		r.methods[string(m.Desc.Name())] = m
	}
	follow := watch.WatcherOptions{
		Filters: []string{fmt.Sprintf("metadata.services.allowed_services:%q", r.domain)}, ReadMask: watched.services, Retry: o.Retry, Logger: o.Logger,
	}
	r.services = watch.NewWatcher[*metav1.Service](o.Meta, r.methods["WatchServices"], follow)
	follow.Parent, follow.ReadMask = "services/-", watched.deployments
	r.deployments = watch.NewWatcher[*metav1.Deployment](o.Meta, r.methods["WatchDeployments"], follow)
	return r
}

// runInBackground starts everything, until ctx ends or Close. The result has why
// it could not go on.
func (r *Registry) runInBackground(ctx context.Context) <-chan error {
	ctx, r.stop = context.WithCancel(ctx)
	broken := make(chan error, 3) // one of each that can fail
	r.running.Go(func() { r.runReconcile(ctx) })
	for _, run := range []func(context.Context) error{r.runInit, r.runServicesWatch, r.runDeploymentsWatch} {
		r.running.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				r.fail(err)
				broken <- err
			}
		})
	}
	r.running.Go(func() { r.runMainSync(ctx) })
	return broken
}

// fail notes why the Registry is not up to date any more, and ends it.
func (r *Registry) fail(err error) {
	r.log.Error("the registry cannot be followed", slog.String("service", r.domain), slog.Any("error", err))
	r.mu.Lock()
	if r.failed == nil {
		r.failed = err
	}
	r.mu.Unlock()
	r.stop()
}

// Close ends what Open began. The registration stays: that a deployment is
// started again is no news.
func (r *Registry) Close() {
	r.stop()
	r.running.Wait()
}

// ownService is the name of the service.
func (r *Registry) ownService() string { return "services/" + r.domain }

// ownDeployment is the name of the deployment that this is.
func (r *Registry) ownDeployment() string { return r.ownService() + "/deployments/" + r.o.Region }

// Region is the id of the region that this is in.
func (r *Registry) Region() string { return r.o.Region }

// Service is the service that this is a deployment of.
func (r *Registry) Service() *metav1.Service {
	s, err := r.Lookup(r.domain)
	if err != nil { // somebody deleted it
		return &metav1.Service{Name: r.ownService()}
	}
	return s
}

// Deployment is the deployment that this is.
func (r *Registry) Deployment() *metav1.Deployment {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if d, ok := r.known.deployments[resource.Name(r.ownDeployment())]; ok {
		return d
	}
	return &metav1.Deployment{Name: r.ownDeployment()} // somebody deleted it
}

// Services are all that are known, by their names.
func (r *Registry) Services() []*metav1.Service {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return sorted(r.known.services)
}

// Lookup is the service of that domain. One that is not there, or does not
// concern this service, is NotFound.
func (r *Registry) Lookup(domain string) (*metav1.Service, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s, ok := r.known.services[resource.Name("services/"+domain)]; ok {
		return s, nil
	}
	return nil, &fault.Error{
		Op: "registry.Lookup", Name: "services/" + domain, Kind: fault.NotFound, Reason: "NO_SUCH_SERVICE",
		Err: fmt.Errorf("%s knows of no service %s", r.domain, domain),
	}
}

// Deployments are those of the service of that domain, by their regions.
func (r *Registry) Deployments(domain string) []*metav1.Deployment {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.DeleteFunc(sorted(r.known.deployments), func(d *metav1.Deployment) bool { return d.Service() != "services/"+domain })
}

// sorted are the values in the order of their names.
func sorted[M any](all map[resource.Name]M) []M {
	out := make([]M, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// maxPage is how many resources or regions are asked for at once; nobody has
// more types, and the world has not more regions.
const maxPage = 1000

// Resources are the types of the service of that domain. They are not watched:
// each call asks the registry.
func (r *Registry) Resources(ctx context.Context, domain string) ([]*metav1.Resource, error) {
	out, err := call[*metav1.ListResourcesResponse](ctx, r, "ListResources", &metav1.ListResourcesRequest{Parent: "services/" + domain, PageSize: maxPage})
	return out.GetResources(), err
}

// Regions are all regions in which services may be. They are not watched: each
// call asks the registry.
func (r *Registry) Regions(ctx context.Context) ([]*metav1.Region, error) {
	out, err := call[*metav1.ListRegionsResponse](ctx, r, "ListRegions", &metav1.ListRegionsRequest{PageSize: maxPage})
	return out.GetRegions(), err
}

// callTimeout bounds a call of the registry: one that does not answer must not be
// waited for, but asked again. It takes some milliseconds when all is well.
const callTimeout = 30 * time.Second

// call does a method of the registry.
func call[M proto.Message](ctx context.Context, r *Registry, method string, req proto.Message) (M, error) {
	var none M
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := r.o.Meta.Call(ctx, r.methods[method], req)
	if err != nil {
		return none, fmt.Errorf("%s: %w", method, err)
	}
	out, ok := m.(M)
	if !ok {
		return none, fmt.Errorf("BUG: registry: %s answers with a %T", method, m)
	}
	return out, nil
}
