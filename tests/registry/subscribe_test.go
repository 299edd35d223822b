package registry_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// follower is what a subscriber knows by what he was told.
type follower struct {
	services    map[string]*metav1.Service
	deployments map[string]*metav1.Deployment
	current     bool
}

// newFollower is one who knows nothing.
func newFollower() *follower {
	return &follower{services: map[string]*metav1.Service{}, deployments: map[string]*metav1.Deployment{}}
}

// apply adds an event. One that does not follow from what was told before is an
// error: something was left out, or told twice.
func (f *follower) apply(e registry.Event) error {
	switch e.Kind {
	case registry.ServiceSet, registry.ServiceRemoved:
		return step(f, f.services, e.OldService, e.Service)
	case registry.DeploymentSet, registry.DeploymentRemoved:
		return step(f, f.deployments, e.OldDeployment, e.Deployment)
	case registry.Current:
		if f.current {
			return errors.New("two snapshots")
		}
		f.current = true
	}
	return nil
}

// step is apply of what an object was, and is.
func step[M interface {
	proto.Message
	comparable
	GetName() string
}](f *follower, all map[string]M, old, is M,
) error {
	var none M
	name := cmp.Or(is, old).GetName()
	had, there := all[name]
	switch {
	case there != (old != none) || there && !proto.Equal(had, old):
		return fmt.Errorf("gap or double: told was %v, and now that it was %v", had, old)
	case proto.Equal(old, is):
		return fmt.Errorf("double: %v", is)
	case there && !f.current:
		return fmt.Errorf("a change before the snapshot is complete: %v", is)
	}
	if all[name] = is; is == none {
		delete(all, name)
	}
	return nil
}

// SPEC 1.F 2: whoever attaches, whenever, gets what there is and then every
// change, none twice and none left out.
func TestSubscribe_SnapshotThenChanges(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu", "us")
	r := register(t, w.options("eu", described("core.example.com", "v1", nil, nil)))
	const writers, writes, subscribers = 3, 60, 8
	var writing, following sync.WaitGroup
	for i := range writers {
		writing.Go(func() { churn(t, w, i, writes) })
	}
	all := make([]*follower, subscribers)
	errs := make([]error, subscribers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range all {
		following.Go(func() {
			attach := rand.New(rand.NewPCG(uint64(i), 0))
			for ctx.Err() == nil && errs[i] == nil {
				all[i] = newFollower()
				left := 1 + attach.IntN(40) // then he detaches, and attaches again
				some, stop := context.WithCancel(ctx)
				errs[i] = r.Subscribe(some, func(_ context.Context, e registry.Event) error {
					if err := all[i].apply(e); err != nil {
						return err
					}
					if left--; left == 0 && i > 0 { // the first one stays
						stop()
					}
					if all[i].services["services/last.example.com"] != nil {
						stop() // nothing comes after it
						cancel()
					}
					return nil
				})
				stop()
			}
		})
	}
	writing.Wait()
	core := &metav1.Service{UsedServices: []string{"services/core.example.com"}, MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}, DefaultControlRegion: "eu"}}
	_, err := call[*metav1.Service](t, w, "CreateService", &metav1.CreateServiceRequest{ServiceId: "last.example.com", Service: core})
	require.NoError(t, err)
	following.Wait()
	for i := range all {
		require.NoError(t, errs[i])
	}
	until(t, r, func() bool { _, err := r.Lookup("last.example.com"); return err == nil })
	settled(t, w, r)
	last := newFollower()
	ctx, cancel = context.WithCancel(t.Context())
	require.NoError(t, r.Subscribe(ctx, func(_ context.Context, e registry.Event) error {
		if e.Kind == registry.Current {
			cancel()
		}
		return last.apply(e)
	}))
	require.ElementsMatch(t, domains(r), slices.Collect(func(yield func(string) bool) {
		for _, s := range last.services {
			yield(s.Domain())
		}
	}))
}

// settled waits until the registry knows what there is.
func settled(t *testing.T, w *world, r *registry.Registry) {
	t.Helper()
	list, err := call[*metav1.ListServicesResponse](t, w, "ListServices", &metav1.ListServicesRequest{PageSize: 1000, View: resourcev1.View_FULL})
	require.NoError(t, err)
	deployed, err := call[*metav1.ListDeploymentsResponse](t, w, "ListDeployments", &metav1.ListDeploymentsRequest{Parent: "services/-", PageSize: 1000, View: resourcev1.View_FULL})
	require.NoError(t, err)
	until(t, r, func() bool {
		var known []*metav1.Deployment
		for _, s := range r.Services() {
			known = append(known, r.Deployments(s.Domain())...)
		}
		return slices.EqualFunc(list.GetServices(), r.Services(), func(a, b *metav1.Service) bool { return a.GetName() == b.GetName() }) &&
			slices.EqualFunc(deployed.GetDeployments(), known, func(a, b *metav1.Deployment) bool {
				return a.GetName() == b.GetName() && a.GetEndpoint() == b.GetEndpoint() && a.GetMetadata().GetUid() == b.GetMetadata().GetUid()
			})
	})
}

// churn makes, changes and deletes services that use the core one, with their
// deployments.
func churn(t require.TestingT, w *world, seed, writes int) {
	rng := rand.New(rand.NewPCG(uint64(seed), 7))
	there := map[string]bool{}
	for range writes {
		id := fmt.Sprintf("s%d-%d.example.com", seed, rng.IntN(4))
		name := "services/" + id
		var err error
		switch {
		case !there[id]:
			_, err = call[*metav1.Service](t, w, "CreateService", &metav1.CreateServiceRequest{ServiceId: id, Service: &metav1.Service{
				UsedServices:      []string{"services/core.example.com"},
				MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu", "us"}, DefaultControlRegion: "eu"},
			}})
			if err == nil {
				_, err = call[*metav1.Deployment](t, w, "CreateDeployment", &metav1.CreateDeploymentRequest{Parent: name, DeploymentId: "us", Deployment: &metav1.Deployment{}})
			}
			there[id] = true
		case rng.IntN(3) == 0:
			_, err = call[*resourcev1.DeletionPlan](t, w, "DeleteDeployment", &metav1.DeleteDeploymentRequest{Name: name + "/deployments/us"})
			if err == nil {
				_, err = call[*resourcev1.DeletionPlan](t, w, "DeleteService", &metav1.DeleteServiceRequest{Name: name})
			}
			delete(there, id)
		default:
			_, err = call[*metav1.Deployment](t, w, "UpdateDeployment", &metav1.UpdateDeploymentRequest{
				Deployment: &metav1.Deployment{Name: name + "/deployments/us", Endpoint: fmt.Sprintf("http://x%d", rng.IntN(1000))},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"endpoint"}},
			})
		}
		require.NoError(t, err)
	}
	for _, id := range slices.Sorted(maps.Keys(there)) {
		_, err := call[*metav1.Service](t, w, "GetService", &metav1.GetServiceRequest{Name: "services/" + id})
		require.NoError(t, err)
	}
}

// SPEC 1.F 6: a service sees itself, those that it imports or uses, and those
// that import or use it, with their deployments; its neighbours it does not.
func TestSubscribe_NeighboursAreInvisible(t *testing.T) {
	t.Parallel()
	w := open(t, "meta.example.com", "iam.example.com")
	w.regions(t, "eu")
	low := register(t, w.options("eu", described("iam.example.com", "v1", nil, nil)))
	b := register(t, w.options("eu", described("b.example.com", "v1", nil, nil)))
	a := register(t, w.options("eu", described("a.example.com", "v1", []string{"b.example.com"}, nil)))
	c := register(t, w.options("eu", described("c.example.com", "v1", nil, []string{"b.example.com"})))
	f := func(r *registry.Registry, want ...string) {
		t.Helper()
		until(t, r, func() bool {
			for _, d := range domains(r) {
				if !slices.Equal(regionsOf(r, d), []string{"eu"}) {
					return false
				}
			}
			return slices.Equal(domains(r), want)
		})
	}
	f(a, "a.example.com", "b.example.com", "iam.example.com")
	f(c, "b.example.com", "c.example.com", "iam.example.com")
	f(b, "a.example.com", "b.example.com", "c.example.com", "iam.example.com")
	f(low, "a.example.com", "b.example.com", "c.example.com", "iam.example.com")
	_, err := a.Lookup("c.example.com")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = a.Dial("c.example.com", "eu")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Empty(t, a.Deployments("c.example.com"))

	// Who no longer uses another does not see it any more.
	_, err = call[*metav1.Service](t, w, "UpdateService", &metav1.UpdateServiceRequest{
		Service: &metav1.Service{Name: "services/c.example.com"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"used_services"}},
	})
	require.NoError(t, err)
	until(t, b, func() bool {
		return !slices.Contains(domains(b), "c.example.com") && len(b.Deployments("c.example.com")) == 0
	})
}

// SPEC 1.F 7: a new region, with what is deployed there, is known to those who
// run already.
func TestSubscribe_NewRegion(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu")
	b := register(t, w.options("eu", described("b.example.com", "v1", nil, nil)))
	a := register(t, w.options("eu", described("a.example.com", "v1", []string{"b.example.com"}, nil)))
	_, err := a.Dial("b.example.com", "us")
	require.Equal(t, "NOT_DEPLOYED", fault.ReasonOf(err))

	w.regions(t, "us")
	opened := make(chan struct{})
	go func() { // it waits for what it imports to be there
		defer close(opened)
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if r, err := registry.Open(ctx, w.options("us", described("a.example.com", "v1", []string{"b.example.com"}, nil))); err == nil {
			t.Cleanup(r.Close)
		}
	}()
	register(t, w.options("us", described("b.example.com", "v1", nil, nil)))
	<-opened
	for _, r := range []*registry.Registry{a, b} {
		until(t, r, func() bool {
			return slices.Equal(regionsOf(r, "a.example.com"), []string{"eu", "us"}) && slices.Equal(regionsOf(r, "b.example.com"), []string{"eu", "us"})
		})
		require.Equal(t, []string{"eu", "us"}, r.Service().Regions())
	}
	c, err := a.Dial("b.example.com", "us")
	require.NoError(t, err)
	require.Equal(t, "http://us.b.example.com", c.URL)
}

// When a Registry is closed, those who follow it are told.
func TestSubscribe_Closed(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu")
	r := register(t, w.options("eu", described("a.example.com", "v1", nil, nil)))
	err := r.Subscribe(t.Context(), func(_ context.Context, e registry.Event) error {
		if e.Kind == registry.Current {
			go r.Close()
		}
		return nil
	})
	require.Equal(t, "CLOSED", fault.ReasonOf(err))
	require.Equal(t, "CLOSED", fault.ReasonOf(r.Subscribe(t.Context(), nil)))
}
