package registry_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/functions/meta"
	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// link is the way of a copy to its owner, over the owner's door.
type link struct{ to *world }

var _ meta.Owner = (*link)(nil)

// Call implements [meta.Owner].
func (l *link) Call(ctx context.Context, as meta.Caller, m *schema.Method, req proto.Message) (proto.Message, error) {
	key := personKey
	switch {
	case as.Registry:
		key = registryKey
	case as.ServiceAccount:
		key = accountKey
	}
	return (&rpc.Client{URL: l.to.url, Key: key}).Call(ctx, m, req)
}

// Watch implements watch.Stream.
func (l *link) Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	return (&rpc.Client{URL: l.to.url, Key: registryKey}).Watch(ctx, m, req, recv)
}

// cut cuts all links to a registry, which refuses new ones until it is mended.
func (w *world) cut() {
	w.down.Store(true)
	w.server.CloseClientConnections()
}

// mend undoes cut.
func (w *world) mend() { w.down.Store(false) }

// openCopy opens a copy of a registry in a region until the test ends.
func openCopy(t *testing.T, owner *world, region string) *world {
	t.Helper()
	return reopen(t, site{region: region, dir: t.TempDir(), owner: owner, core: owner.core})
}

// reopen opens a registry at a site, and runs what it has to.
func reopen(t *testing.T, at site) *world {
	t.Helper()
	w := openSite(t, at)
	w.control(t)
	return w
}

// registerItself registers the registry's own service in the region of a world,
// which brings the region.
func registerItself(t *testing.T, w *world) *registry.Registry {
	t.Helper()
	o := w.options(w.region, described("meta.example.com", "v1", nil, nil))
	o.Meta, o.NewRegion = w.local, true
	return register(t, o)
}

// listed is everything that a registry has, without what each says for itself.
func listed(t *testing.T, w *world) map[string]proto.Message {
	t.Helper()
	out := map[string]proto.Message{}
	add := func(m interface {
		proto.Message
		GetName() string
		GetMetadata() *resourcev1.Metadata
	},
	) {
		m.GetMetadata().ResourceVersion = ""
		out[m.GetName()] = m
	}
	regions, err := call[*metav1.ListRegionsResponse](t, w, "ListRegions", &metav1.ListRegionsRequest{PageSize: 1000, View: resourcev1.View_FULL})
	require.NoError(t, err)
	for _, m := range regions.GetRegions() {
		add(m)
	}
	services, err := call[*metav1.ListServicesResponse](t, w, "ListServices", &metav1.ListServicesRequest{PageSize: 1000, View: resourcev1.View_FULL})
	require.NoError(t, err)
	for _, m := range services.GetServices() {
		add(m)
	}
	deployments, err := call[*metav1.ListDeploymentsResponse](t, w, "ListDeployments", &metav1.ListDeploymentsRequest{Parent: "services/-", PageSize: 1000, View: resourcev1.View_FULL})
	require.NoError(t, err)
	for _, m := range deployments.GetDeployments() {
		add(m)
	}
	types, err := call[*metav1.ListResourcesResponse](t, w, "ListResources", &metav1.ListResourcesRequest{Parent: "services/-", PageSize: 1000, View: resourcev1.View_FULL})
	require.NoError(t, err)
	for _, m := range types.GetResources() {
		add(m)
	}
	return out
}

// same waits until two registries have the same.
func same(t *testing.T, a, b *world) {
	t.Helper()
	var x, y map[string]proto.Message
	equal := func() bool {
		x, y = listed(t, a), listed(t, b)
		if len(x) != len(y) {
			return false
		}
		for name := range x {
			if !proto.Equal(x[name], y[name]) {
				return false
			}
		}
		return true
	}
	if !equal() {
		require.Eventually(t, equal, deadline, 5*time.Millisecond, "%v\n%v", x, y)
	}
}

// SPEC 1.F 2: whoever follows the copy gets what there is and then every
// change at the owner, none twice and none left out, however often the link is
// cut; in the end the copy is as the owner, metadata and all.
func TestCopy_SnapshotThenChanges(t *testing.T) {
	t.Parallel()
	eu := open(t)
	eu.regions(t, "eu", "us")
	us := openCopy(t, eu, "us")
	r := register(t, us.options("us", described("core.example.com", "v1", nil, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	following := make(chan error, 1)
	f := newFollower()
	current := make(chan struct{})
	go func() {
		following <- r.Subscribe(ctx, func(_ context.Context, e registry.Event) error {
			if e.Kind == registry.Current {
				defer close(current)
			}
			err := f.apply(e)
			if f.services["services/last.example.com"] != nil {
				cancel() // nothing comes after it
			}
			return err
		})
	}()
	<-current
	var writing sync.WaitGroup
	for i := range 3 {
		writing.Go(func() { churn(t, eu, i, 40) })
	}
	for range 10 { // the churn calls the owner from within
		eu.cut()
		attempts(t, eu, 4)
		eu.mend()
	}
	writing.Wait()
	last := &metav1.Service{UsedServices: []string{"services/core.example.com"}, MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}, DefaultControlRegion: "eu"}}
	same(t, eu, us)
	settled(t, eu, r)
	_, err := call[*metav1.Service](t, eu, "CreateService", &metav1.CreateServiceRequest{ServiceId: "last.example.com", Service: last})
	require.NoError(t, err)
	require.NoError(t, <-following)
	same(t, eu, us)
	var deployed []string
	for _, s := range r.Services() {
		for _, d := range r.Deployments(s.Domain()) {
			deployed = append(deployed, d.GetName())
		}
	}
	require.Len(t, f.services, len(r.Services()))
	require.Len(t, f.deployments, len(deployed))
}

// SPEC 1.F 3 and 7: what starts in a region registers with its registry, and
// is registered where the registry is owned: the region, one service however
// many start at the same time on both sides, and a deployment of each region.
// Those of the other region are told.
func TestCopy_ClashingCreates(t *testing.T) {
	t.Parallel()
	eu := open(t, "meta.example.com")
	registerItself(t, eu)
	us, jp := openCopy(t, eu, "us"), openCopy(t, eu, "jp")
	registerItself(t, us)
	registerItself(t, jp)
	for round := range 3 {
		domain := fmt.Sprintf("a%d.example.com", round)
		var options []registry.Options
		for _, w := range []*world{eu, us, jp} {
			for i := range 2 {
				options = append(options, w.options(w.region, described(domain, fmt.Sprintf("v%d", i+1), nil, nil)))
			}
		}
		for _, r := range openAll(t, options...) {
			until(t, r, func() bool { return slices.Equal(regionsOf(r, domain), []string{"eu", "jp", "us"}) })
		}
		s := eu.service(t, domain)
		require.ElementsMatch(t, []string{"eu", "jp", "us"}, s.Regions())
		require.Equal(t, "projects/p", s.GetProject(), "it was made for who called the copy")
		require.Equal(t, []string{"v2", "v1"}, s.VersionNames())
	}
	regions, err := call[*metav1.ListRegionsResponse](t, us, "ListRegions", &metav1.ListRegionsRequest{})
	require.NoError(t, err)
	require.Len(t, regions.GetRegions(), 3)
	same(t, eu, us)
	same(t, eu, jp)
	d, err := call[*metav1.Deployment](t, us, "GetDeployment", &metav1.GetDeploymentRequest{Name: "services/meta.example.com/deployments/us"})
	require.NoError(t, err)
	require.Equal(t, "eu", d.GetMetadata().GetSyncing().GetOwningRegion())
	require.Equal(t, []string{"eu", "jp", "us"}, d.GetMetadata().GetSyncing().GetRegions())
}

// SPEC 1.F 5: the first time a region waits for the owner. Later it goes on with
// its copy while the owner is away: it reads, dials and starts again. What it
// has to say then, and what it was not told, follows when the link is back.
func TestCopy_OwnerAway(t *testing.T) {
	t.Parallel()
	eu := open(t)
	registerItself(t, eu)
	b := register(t, eu.options("eu", described("b.example.com", "v1", nil, nil)))
	eu.cut()
	us := openCopy(t, eu, "us")
	ctx, cancel := context.WithCancel(t.Context())
	o := us.options("us", described("meta.example.com", "v1", nil, nil))
	o.Meta, o.NewRegion = us.local, true
	opened := make(chan *registry.Registry, 1)
	go func() {
		r, _ := registry.Open(ctx, o)
		opened <- r
	}()
	defer cancel()
	attempts(t, eu, 10)
	require.Empty(t, opened, "it is open without the owner, whom it never knew")
	eu.mend()
	r := <-opened
	require.NotNil(t, r)
	defer r.Close()
	a := us.options("us", described("a.example.com", "v1", nil, []string{"b.example.com"}))
	register(t, a).Close()

	eu.cut()
	us.close()
	us = reopen(t, us.site)
	a = us.options("us", described("a.example.com", "v2", nil, []string{"b.example.com"}), described("a.example.com", "v1", nil, nil))
	a.Deployment.Endpoint = "http://moved.example.com"
	again := register(t, a) // by its copy, as it was
	require.Equal(t, []string{"a.example.com", "b.example.com"}, domains(again))
	c, err := again.Dial("b.example.com", "eu")
	require.NoError(t, err)
	require.Equal(t, "http://eu.b.example.com", c.URL)
	_, err = call[*metav1.Region](t, us, "CreateRegion", &metav1.CreateRegionRequest{RegionId: "mars", Region: &metav1.Region{}})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, "OWNER_AWAY", fault.ReasonOf(err))

	// What is new at the owner meanwhile.
	b.Close()
	in := eu.options("eu", described("b.example.com", "v2", nil, nil), described("b.example.com", "v1", nil, nil))
	in.Meta, in.Deployment.Endpoint = eu.Local(meta.Caller{ServiceAccount: true, Project: "projects/p"}), "http://new.example.com"
	register(t, in)
	require.Equal(t, "http://eu.b.example.com", again.Deployments("b.example.com")[0].GetEndpoint())
	eu.mend()
	until(t, again, func() bool {
		return again.Deployments("b.example.com")[0].GetEndpoint() == "http://new.example.com" && again.Deployment().GetEndpoint() == "http://moved.example.com" &&
			again.Deployment().GetCurrentVersion() == "v2"
	})
	require.Equal(t, []string{"v2", "v1"}, eu.service(t, "a.example.com").VersionNames())
	same(t, eu, us)
}

// SPEC 1.F 6: neighbours are invisible in a copy too.
func TestCopy_NeighboursAreInvisible(t *testing.T) {
	t.Parallel()
	eu := open(t, "meta.example.com")
	registerItself(t, eu)
	us := openCopy(t, eu, "us")
	registerItself(t, us)
	register(t, eu.options("eu", described("b.example.com", "v1", nil, nil)))
	register(t, eu.options("eu", described("c.example.com", "v1", nil, []string{"b.example.com"})))
	a := register(t, us.options("us", described("a.example.com", "v1", nil, []string{"b.example.com"})))
	same(t, eu, us)
	until(t, a, func() bool {
		return slices.Equal(domains(a), []string{"a.example.com", "b.example.com", "meta.example.com"})
	})
	require.Equal(t, []string{"eu"}, regionsOf(a, "b.example.com"))
	require.Empty(t, a.Deployments("c.example.com"))
	_, err := a.Dial("c.example.com", "eu")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// SPEC 1.F 4: a change through a copy is on the condition that the caller says,
// by the version that he read there; and he reads what he wrote.
func TestCopy_Conditions(t *testing.T) {
	t.Parallel()
	eu := open(t)
	registerItself(t, eu)
	us := openCopy(t, eu, "us")
	registerItself(t, us)
	register(t, eu.options("eu", described("a.example.com", "v1", nil, nil)))
	same(t, eu, us)
	read := us.service(t, "a.example.com")
	rename := func(version, name string) (*metav1.Service, error) {
		return call[*metav1.Service](t, us, "UpdateService", &metav1.UpdateServiceRequest{
			Service:    &metav1.Service{Name: read.GetName(), DisplayName: name, Metadata: &resourcev1.Metadata{ResourceVersion: version}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
		})
	}
	wrote, err := rename(read.GetMetadata().GetResourceVersion(), "first")
	require.NoError(t, err)
	require.Equal(t, "first", us.service(t, "a.example.com").GetDisplayName())
	_, err = rename(read.GetMetadata().GetResourceVersion(), "stale")
	require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
	_, err = rename(wrote.GetMetadata().GetResourceVersion(), "second")
	require.NoError(t, err)
	require.Equal(t, "second", eu.service(t, "a.example.com").GetDisplayName())
	_, err = call[*resourcev1.DeletionPlan](t, us, "DeleteService", &metav1.DeleteServiceRequest{Name: read.GetName(), Etag: wrote.GetMetadata().GetResourceVersion()})
	require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
	_, err = call[*metav1.Service](t, us, "CreateService", &metav1.CreateServiceRequest{ServiceId: "a.example.com", Service: read})
	require.Equal(t, fault.Exists, fault.KindOf(err), "%v", err)
}

// A registry that had its own, and becomes a copy, loses nothing of it silently:
// what runs is registered with the owner, and what does not stays as it was,
// until an operator removes it.
func TestCopy_OfOnesOwn(t *testing.T) {
	t.Parallel()
	before := reopen(t, site{region: "us", dir: t.TempDir()})
	registerItself(t, before).Close()
	for _, domain := range []string{"old.example.com", "runs.example.com"} {
		register(t, before.options("us", described(domain, "v1", nil, nil))).Close()
	}
	before.close()
	eu := open(t)
	registerItself(t, eu)
	at := before.site
	at.owner = eu
	us := reopen(t, at)
	registerItself(t, us)
	register(t, us.options("us", described("runs.example.com", "v1", nil, nil)))
	require.Equal(t, []string{"eu", "us"}, eu.service(t, "meta.example.com").Regions())
	require.Equal(t, "projects/p", eu.service(t, "runs.example.com").GetProject())
	require.Contains(t, listed(t, eu), "services/runs.example.com/deployments/us")
	require.Contains(t, listed(t, eu), "services/runs.example.com/resources/things")
	require.NotContains(t, listed(t, eu), "services/old.example.com")
	require.Equal(t, "us", us.service(t, "old.example.com").GetMetadata().GetSyncing().GetOwningRegion())
	for _, m := range []struct {
		method string
		req    proto.Message
	}{
		{"DeleteDeployment", &metav1.DeleteDeploymentRequest{Name: "services/old.example.com/deployments/us"}},
		{"DeleteResource", &metav1.DeleteResourceRequest{Name: "services/old.example.com/resources/things"}},
		{"DeleteService", &metav1.DeleteServiceRequest{Name: "services/old.example.com"}},
	} {
		_, err := call[*resourcev1.DeletionPlan](t, us, m.method, m.req)
		require.NoError(t, err)
	}
	same(t, eu, us)
}
