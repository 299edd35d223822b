package registry_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/meta"
	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/schema"
)

// attempts waits until the registry refused that many requests more.
func attempts(t *testing.T, w *world, n int64) {
	t.Helper()
	begin := w.refused.Load()
	require.Eventually(t, func() bool { return w.refused.Load() >= begin+n }, deadline, time.Millisecond)
}

// SPEC 1.F 1: a service whose registry does not answer serves nothing; when it
// does, the service is registered and informed before the first answer.
func TestOpen_NothingIsServedBefore(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu")
	register(t, w.options("eu", described("b.example.com", "v1", nil, nil)))
	w.down.Store(true)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var knew []string
	var main sync.WaitGroup
	server := http.Server{ReadHeaderTimeout: time.Minute}
	main.Go(func() { // the main of a service
		r, err := registry.Open(t.Context(), w.options("eu", described("a.example.com", "v1", []string{"b.example.com"}, nil)))
		if err != nil {
			return
		}
		defer r.Close()
		server.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			knew = slices.Concat(domains(r), regionsOf(r, "a.example.com"), regionsOf(r, "b.example.com"))
		})
		_ = server.Serve(l)
	})
	defer main.Wait()
	defer func() { _ = server.Close() }()
	answered := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	attempts(t, w, 5)
	select {
	case <-answered:
		require.Fail(t, "it was served before it was registered")
	default:
	}
	w.down.Store(false)
	require.NoError(t, <-answered)
	require.Equal(t, []string{"a.example.com", "b.example.com", "eu", "eu"}, knew)
}

// SPEC 1.F 1: who is registered is informed only when those whom he uses know
// him, since only then he sees their deployments.
func TestOpen_WaitsUntilOthersKnow(t *testing.T) {
	t.Parallel()
	w := openIdle(t)
	w.regions(t, "eu")
	register(t, w.options("eu", described("b.example.com", "v1", nil, nil)))
	opened := make(chan []string)
	go func() {
		r, err := registry.Open(t.Context(), w.options("eu", described("a.example.com", "v1", nil, []string{"b.example.com", "none.example.com"})))
		if err != nil {
			opened <- nil
			return
		}
		t.Cleanup(r.Close)
		opened <- regionsOf(r, "b.example.com")
	}()
	require.Eventually(t, func() bool {
		list, err := call[*metav1.ListResourcesResponse](t, w, "ListResources", &metav1.ListResourcesRequest{Parent: "services/a.example.com"})
		return err == nil && len(list.GetResources()) == 1
	}, deadline, time.Millisecond)
	select {
	case <-opened:
		require.Fail(t, "it is open, but b.example.com does not know of it")
	case <-time.After(100 * time.Millisecond):
	}
	w.control(t)
	require.Equal(t, []string{"eu"}, <-opened)
}

// What is registered is what the program said.
func TestOpen_Registers(t *testing.T) {
	t.Parallel()
	w := open(t, "core.example.com")
	w.regions(t, "eu")
	register(t, w.options("eu", described("b.example.com", "v1", nil, nil)))
	o := w.options("eu", described("a.example.com", "v2", []string{"b.example.com"}, []string{"c.example.com"}), described("a.example.com", "v1", nil, nil))
	o.Service.DisplayName, o.Service.Endpoint = "A", "https://a.example.com"
	o.Service.ImportedVersions = map[string][]string{"b.example.com": {"v1"}}
	o.Deployment = registry.Deployment{Endpoint: "https://eu.a.example.com", PrivateEndpoint: "http://10.0.0.1", LocalNetwork: "n", DataVersion: "v1", LocationTag: "db"}
	r := register(t, o)

	s := r.Service()
	require.Equal(t, []string{"v2", "v1"}, s.VersionNames())
	require.Equal(t, []string{"services/b.example.com"}, []string{s.GetVersions()[0].GetImports()[0].GetService()})
	require.Equal(t, []string{"v1"}, s.GetVersions()[0].GetImports()[0].GetVersions())
	require.ElementsMatch(t, []string{"services/c.example.com", "services/core.example.com"}, s.GetUsedServices())
	require.Equal(t, []string{"A", "https://a.example.com", "projects/p", "eu"}, []string{s.GetDisplayName(), s.GetEndpoint(), s.GetProject(), s.Primary()})
	d := r.Deployment()
	require.Equal(t, "v2 https://eu.a.example.com http://10.0.0.1 n v1 db READY", d.GetCurrentVersion()+" "+d.GetEndpoint()+" "+d.GetPrivateEndpoint()+" "+
		d.GetLocalNetwork()+" "+d.GetDbDataVersion()+" "+d.GetDbLocationTag()+" "+d.GetUpgradeState().GetPhase().String())
	types, err := r.Resources(t.Context(), "a.example.com")
	require.NoError(t, err)
	require.Len(t, types, 1)
	require.Equal(t, "a.example.com/Thing", types[0].GetType())
	require.Len(t, types[0].GetVersions(), 2)
	require.True(t, types[0].GetVersions()[0].GetIsRegional())
	require.Equal(t, "things", types[0].GetVersions()[0].GetPlural())
	regions, err := r.Regions(t.Context())
	require.NoError(t, err)
	require.Len(t, regions, 1)

	// Again, it changes nothing; an older program takes nothing away.
	before := w.service(t, "a.example.com").GetMetadata().GetResourceVersion()
	register(t, o)
	register(t, w.options("eu", described("a.example.com", "v1", nil, nil)))
	require.Equal(t, before, w.service(t, "a.example.com").GetMetadata().GetResourceVersion())
	_, err = r.Lookup("none.example.com")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// The permissions that it needs are those that docs/registry.md has.
func TestOpen_Permissions(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu")
	v := func(version string) *schema.Service {
		return described("a.example.com", version, nil, []string{"b.example.com"})
	}
	register(t, w.options("eu", v("v1")))
	register(t, w.options("eu", v("v2"), v("v1")))
	var asked []string
	w.asked.Range(func(p, _ any) bool { asked = append(asked, p.(string)); return true })
	require.ElementsMatch(t, []string{
		"meta.services.get", "meta.services.create", "meta.services.update", "meta.services.watch",
		"meta.deployments.get", "meta.deployments.create", "meta.deployments.update", "meta.deployments.watch",
		"meta.resources.list", "meta.resources.create", "meta.resources.update",
	}, asked)
}

// What can never succeed is an error at once.
func TestOpen_Refuses(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu")
	a := described("a.example.com", "v1", nil, nil)
	f := func(kind fault.Kind, reason string, change func(*registry.Options)) {
		t.Helper()
		o := w.options("eu", a)
		change(&o)
		_, err := registry.Open(t.Context(), o)
		require.Error(t, err)
		require.Equal(t, kind, fault.KindOf(err), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
	}
	f(fault.Invalid, "INVALID_OPTIONS", func(o *registry.Options) { o.Meta = nil })
	f(fault.Invalid, "INVALID_OPTIONS", func(o *registry.Options) { o.Region = "a/b" })
	f(fault.Invalid, "INVALID_OPTIONS", func(o *registry.Options) { o.Service.Versions = nil })
	f(fault.Invalid, "INVALID_OPTIONS", func(o *registry.Options) { o.Service.Versions = []*schema.Service{a, a} })
	f(fault.Invalid, "INVALID_OPTIONS", func(o *registry.Options) {
		o.Service.Versions = []*schema.Service{a, described("b.example.com", "v1", nil, nil)}
	})
	f(fault.Invalid, "INVALID_FIELD", func(o *registry.Options) { o.Service.Endpoint = "nowhere" })
	f(fault.Unauthenticated, "UNAUTHENTICATED", func(o *registry.Options) { o.Meta = w.remote("another-key") })
	f(fault.Denied, "SERVICE_ACCOUNT_NEEDED", func(o *registry.Options) { o.Meta = w.remote(personKey) })  // SPEC 1.F 10
	f(fault.Denied, "ONLY_THE_REGISTRY", func(o *registry.Options) { o.Region, o.NewRegion = "us", true }) // SPEC 1.F 9
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := registry.Open(ctx, w.options("mars", a)) // a region that may yet come
	require.Equal(t, "NOT_REGISTERED", fault.ReasonOf(err))
}

// SPEC 1.F 5: the registry of a secondary region registers itself, and its
// region, with that of the primary region: while this is down it waits, and
// then goes on.
func TestOpen_PrimaryIsDown(t *testing.T) {
	t.Parallel()
	w := open(t)
	primary := w.options("eu", described("meta.example.com", "v1", nil, nil))
	primary.Meta, primary.NewRegion = w.local, true
	register(t, primary)
	w.down.Store(true)
	secondary := w.options("us", described("meta.example.com", "v1", nil, nil))
	secondary.Meta, secondary.NewRegion = w.remote(registryKey), true
	opened := make(chan *registry.Registry)
	go func() {
		r, err := registry.Open(t.Context(), secondary)
		if err != nil {
			r = nil
		}
		opened <- r
	}()
	attempts(t, w, 5)
	select {
	case <-opened:
		require.Fail(t, "it is open without the registry of the primary region")
	default:
	}
	w.down.Store(false)
	r := <-opened
	require.NotNil(t, r)
	defer r.Close()
	require.Equal(t, []string{"eu", "us"}, r.Service().Regions())
	require.Equal(t, "eu", r.Service().Primary())
	require.Equal(t, []string{"eu", "us"}, regionsOf(r, "meta.example.com"))

	// When it is lost later, what was known stays, and what changed meanwhile is
	// told when it is back.
	w.down.Store(true)
	w.server.CloseClientConnections()
	attempts(t, w, 2)
	require.Equal(t, []string{"eu", "us"}, regionsOf(r, "meta.example.com"))
	late := w.options("eu", described("late.example.com", "v1", nil, []string{"meta.example.com"}))
	late.Meta = w.Local(meta.Caller{ServiceAccount: true})
	register(t, late)
	w.down.Store(false)
	until(t, r, func() bool { return slices.Equal(regionsOf(r, "late.example.com"), []string{"eu"}) })
}

// Everything of one process is registered by the way that needs no door, all at
// the same time, and whatever the order: nobody waits for another for good.
func TestOpen_Local(t *testing.T) {
	t.Parallel()
	w := open(t, "meta.example.com", "iam.example.com")
	w.down.Store(true) // there is no door yet
	imports := map[string][]string{
		"top.example.com": {"mid.example.com", "iam.example.com"}, "mid.example.com": {"iam.example.com", "meta.example.com"},
		"iam.example.com": {"meta.example.com"}, "meta.example.com": nil,
	}
	var all sync.WaitGroup
	for domain, imports := range imports {
		all.Go(func() {
			o := w.options("eu", described(domain, "v1", imports, nil))
			o.Meta, o.NewRegion = w.Local(meta.Caller{ServiceAccount: true, Registry: domain == "meta.example.com"}), domain == "meta.example.com"
			r, err := registry.Open(t.Context(), o)
			if err == nil {
				t.Cleanup(r.Close)
			}
		})
	}
	all.Wait()
	list, err := call[*metav1.ListServicesResponse](t, w, "ListServices", &metav1.ListServicesRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetServices(), len(imports))
	require.Zero(t, w.refused.Load())
}
