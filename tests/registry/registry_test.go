package registry_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/meta"
	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
)

// deadline is for what has to happen, on a busy machine too.
const deadline = 2 * time.Minute

// The keys that the registry's door takes: of the registry of another region,
// of a service account, and of a person.
const (
	registryKey = "the-key-of-a-registry"
	accountKey  = "the-key-of-an-account"
	personKey   = "the-key-of-a-person"
)

// keys knows them.
type keys struct{}

// Authenticate implements iam.Authenticator.
func (keys) Authenticate(_ context.Context, authorization string) (iam.Principal, error) {
	names := map[string]string{registryKey: "projects/registry", accountKey: "projects/p", personKey: "admin"}
	name, ok := names[strings.TrimPrefix(authorization, "Bearer ")]
	if !ok {
		return iam.Principal{}, &fault.Error{Kind: fault.Unauthenticated}
	}
	return iam.ParsePrincipal(name)
}

// callerOf is what the registry's rules make of a principal.
func callerOf(ctx context.Context) meta.Caller {
	p := iam.PrincipalOf(ctx)
	return meta.Caller{ServiceAccount: p.Kind == iam.Project, Project: p.Name, Registry: p.Name == "projects/registry"}
}

// world is the registry of a platform.
type world struct {
	*meta.Service
	site
	local meta.Local
	// url is where it is, down whether it answers nothing there, refused how
	// often it did.
	url     string
	down    atomic.Bool
	refused atomic.Int64
	server  *httptest.Server
	methods map[string]*schema.Method
	// asked are the permissions that were asked for.
	asked sync.Map
	// closers undo open, the last first.
	closers []func()
}

// site is where a registry is.
type site struct {
	region string
	// dir is the folder of its database.
	dir string
	// owner is the registry that it is a copy of, nil for none.
	owner *world
	// now is its clock, nil for that of the machine.
	now  func() time.Time
	core []string
}

// open opens the registry until the test ends, with these core services.
func open(t *testing.T, core ...string) *world {
	t.Helper()
	w := openIdle(t, core...)
	w.control(t)
	return w
}

// control runs what keeps visibility, or the copy, until the test ends.
func (w *world) control(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	w.closers = append(w.closers, func() { cancel(); running.Wait() })
}

// openIdle is open without what control runs.
func openIdle(t *testing.T, core ...string) *world {
	t.Helper()
	return openSite(t, site{region: "eu", dir: t.TempDir(), core: core})
}

// close ends a registry, which may be opened again at its site.
func (w *world) close() {
	for _, f := range slices.Backward(w.closers) {
		f()
	}
	w.closers = nil
}

// openSite opens a registry at a site until the test ends.
func openSite(t *testing.T, at site) *world {
	t.Helper()
	driver, err := sqlite.OpenDriver(t.Context(), filepath.Join(at.dir, "resources.db"), sqlite.Options{})
	require.NoError(t, err)
	types := new(schema.Registry)
	desc := metav1.AddTo(types)
	w := &world{site: at, methods: map[string]*schema.Method{}}
	t.Cleanup(w.close)
	w.closers = append(w.closers, func() { _ = driver.Close() })
	for _, m := range desc.Methods {
		w.methods[string(m.Desc.Name())] = m
	}
	var st *store.Store
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{at.region}, DefaultControlRegion: at.region},
		func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
			found, err := policy.Local(st)(ctx, typ, name)
			if fault.KindOf(err) == fault.NotFound && typ.Options.GetImplicit() {
				return nil, nil // as if it had none
			}
			return found, err
		})
	references, rules := reference.New(reference.Options{Region: at.region}), meta.Rules{Core: at.core, Caller: callerOf}
	all := append(meta.Plugins(rules), plugins.Standard(plugins.Options{Policies: policies})...)
	all = append(all, meta.Placement{Region: at.region, Regions: []string{"eu", "jp", "us"}}, references)
	st = store.New(driver, types, store.Options{Plugins: all, Cached: 1 << 12, Now: at.now})
	hub := watch.NewHub(st, watch.HubOptions{Retry: time.Millisecond})
	w.Service, err = meta.NewService(st, rules, service.Options{
		Authorize: func(_ context.Context, permission string, _ resource.Name) error {
			w.asked.Store(permission, true)
			return nil
		}, Hub: hub, Planner: references, Policies: policies,
	})
	require.NoError(t, err)
	if at.owner != nil {
		w.Follow(at.owner.region, &link{at.owner}, 5*time.Millisecond)
	}
	w.local = w.Local(meta.Caller{Registry: true})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	w.closers = append(w.closers, func() { cancel(); running.Wait() })
	w.serve(t)
	return w
}

// serve opens the registry's door.
func (w *world) serve(t *testing.T) {
	t.Helper()
	h, err := gatewayrpc.New(gatewayrpc.Options{Servers: []gatewayrpc.Server{w}})
	require.NoError(t, err)
	door := iam.Authenticate(keys{}, nil)(h)
	w.server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if w.down.Load() {
			w.refused.Add(1)
			panic(http.ErrAbortHandler)
		}
		door.ServeHTTP(out, r)
	}))
	w.url = w.server.URL
	w.closers = append(w.closers, w.server.Close, w.server.CloseClientConnections)
}

// remote is the way to the registry over its door.
func (w *world) remote(key string) registry.Meta { return &rpc.Client{URL: w.url, Key: key} }

// regions makes regions.
func (w *world) regions(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		_, err := call[*metav1.Region](t, w, "CreateRegion", &metav1.CreateRegionRequest{RegionId: id, Region: &metav1.Region{}})
		require.NoError(t, err)
	}
}

// call does a method of the registry as the registry itself.
func call[M proto.Message](t require.TestingT, w *world, method string, req proto.Message) (M, error) {
	require.Contains(t, w.methods, method)
	m, err := w.local.Call(context.Background(), w.methods[method], req)
	out, _ := m.(M)
	return out, err
}

// service is the service of that domain.
func (w *world) service(t *testing.T, domain string) *metav1.Service {
	t.Helper()
	s, err := call[*metav1.Service](t, w, "GetService", &metav1.GetServiceRequest{Name: "services/" + domain})
	require.NoError(t, err)
	return s
}

// described is a version of a service that has a type of resources.
func described(domain, version string, imports, uses []string) *schema.Service {
	s := &schema.Service{Domain: domain, Version: version, Imports: imports, Uses: uses}
	s.Resources = []*schema.Resource{{
		Service: s, Type: domain + "/Thing", Singular: "thing", Plural: "things",
		Patterns: []resource.Pattern{"projects/{project}/things/{thing}", "projects/{project}/regions/{region}/things/{thing}"},
	}}
	return s
}

// options are those of a deployment over the registry's door.
func (w *world) options(region string, versions ...*schema.Service) registry.Options {
	return registry.Options{
		Meta: w.remote(accountKey), Region: region, Retry: 5 * time.Millisecond,
		Service:    registry.Service{Versions: versions},
		Deployment: registry.Deployment{Endpoint: fmt.Sprintf("http://%s.%s", region, versions[0].Domain)},
	}
}

// register opens a registry until the test ends.
func register(t *testing.T, o registry.Options) *registry.Registry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	r, err := registry.Open(ctx, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// until waits until a condition holds for what the registry knows.
func until(t *testing.T, r *registry.Registry, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	err := r.Subscribe(ctx, func(context.Context, registry.Event) error {
		if holds() {
			cancel()
		}
		return nil
	})
	require.NoError(t, err)
	require.True(t, holds(), "%v", r.Services())
}

// domains are those of the services that are known.
func domains(r *registry.Registry) (all []string) {
	for _, s := range r.Services() {
		all = append(all, s.Domain())
	}
	return all
}

// regionsOf are those in which a service is deployed, as far as is known.
func regionsOf(r *registry.Registry, domain string) (all []string) {
	for _, d := range r.Deployments(domain) {
		all = append(all, d.Region())
	}
	return all
}
