package registry_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/registry"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// clock is a clock that stands still unless it is moved.
type clock struct{ at atomic.Int64 }

// now is the time.
func (c *clock) now() time.Time {
	return time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC).Add(time.Duration(c.at.Load()))
}

// move moves it on.
func (c *clock) move(d time.Duration) { c.at.Add(int64(d)) }

// deployment is the one of that name, nil if there is none.
func (w *world) deployment(t *testing.T, domain, region string) *metav1.Deployment {
	t.Helper()
	d, _ := call[*metav1.Deployment](t, w, "GetDeployment", &metav1.GetDeploymentRequest{Name: "services/" + domain + "/deployments/" + region})
	return d
}

// eventually waits for a condition of what a registry has.
func eventually(t *testing.T, is func() bool, what string) {
	t.Helper()
	require.Eventually(t, is, deadline, time.Millisecond, what)
}

// remove deletes something of the registry, as an operator does.
func (w *world) remove(t *testing.T, method string, req proto.Message) {
	t.Helper()
	_, err := call[*resourcev1.DeletionPlan](t, w, method, req)
	require.NoError(t, err)
}

// What an operator removed by mistake is made again as it was, while its program
// runs: the deployment, with whether it is disabled; and the service, with its
// other regions and types. Who follows is told.
func TestReconcile_Removed(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu", "us")
	register(t, w.options("us", described("a.example.com", "v1", nil, nil))).Close() // ended
	a := w.options("eu", described("a.example.com", "v1", nil, []string{"x.example.com"}))
	a.Heartbeat = time.Hour // it is told of what was removed
	r := register(t, a)
	until(t, r, func() bool { return len(r.Service().Regions()) == 2 })
	name := "services/a.example.com/deployments/eu"
	_, err := call[*metav1.Deployment](t, w, "UpdateDeployment", &metav1.UpdateDeploymentRequest{
		Deployment: &metav1.Deployment{Name: name, IsDisabled: true}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"is_disabled"}},
	})
	require.NoError(t, err)
	until(t, r, func() bool { return r.Deployment().GetIsDisabled() })
	uid := w.deployment(t, "a.example.com", "eu").GetMetadata().GetUid()
	w.remove(t, "DeleteDeployment", &metav1.DeleteDeploymentRequest{Name: name})
	until(t, r, func() bool {
		is := r.Deployment().GetMetadata().GetUid()
		return is != "" && is != uid
	})
	require.True(t, w.deployment(t, "a.example.com", "eu").GetIsDisabled())

	// All of it, within one moment as far as the program can tell.
	was := w.service(t, "a.example.com")
	w.remove(t, "DeleteResource", &metav1.DeleteResourceRequest{Name: "services/a.example.com/resources/things"})
	w.remove(t, "DeleteDeployment", &metav1.DeleteDeploymentRequest{Name: "services/a.example.com/deployments/us"})
	for { // what is made again meanwhile is in the way
		_, _ = call[*resourcev1.DeletionPlan](t, w, "DeleteDeployment", &metav1.DeleteDeploymentRequest{Name: name})
		_, _ = call[*resourcev1.DeletionPlan](t, w, "DeleteResource", &metav1.DeleteResourceRequest{Name: "services/a.example.com/resources/things"})
		if _, err := call[*resourcev1.DeletionPlan](t, w, "DeleteService", &metav1.DeleteServiceRequest{Name: "services/a.example.com"}); err == nil {
			break
		}
	}
	until(t, r, func() bool {
		is := r.Service().GetMetadata().GetUid()
		return is != "" && is != was.GetMetadata().GetUid() && r.Deployment().GetMetadata() != nil
	})
	is := w.service(t, "a.example.com")
	require.ElementsMatch(t, was.Regions(), is.Regions())
	require.Equal(t, was.Primary(), is.Primary())
	require.Equal(t, was.GetUsedServices(), is.GetUsedServices())
	eventually(t, func() bool {
		types, err := r.Resources(t.Context(), "a.example.com")
		return err == nil && len(types) == 1
	}, "its types are there again")
}

// What does not agree with the program that runs, as after a backup was
// restored, is made what it is to be with the next sign of life; the program
// need not be told of anything.
func TestReconcile_Restored(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu")
	a := w.options("eu", described("a.example.com", "v2", nil, []string{"x.example.com"}), described("a.example.com", "v1", nil, nil))
	a.Heartbeat = 10 * time.Millisecond
	r := register(t, a)
	_, err := call[*metav1.Deployment](t, w, "UpdateDeployment", &metav1.UpdateDeploymentRequest{
		Deployment: &metav1.Deployment{Name: "services/a.example.com/deployments/eu", Endpoint: "http://old.example.com", CurrentVersion: "v1"},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"endpoint", "current_version"}},
	})
	require.NoError(t, err)
	s := w.service(t, "a.example.com")
	s.Versions, s.UsedServices, s.Metadata = s.GetVersions()[1:], nil, nil
	_, err = call[*metav1.Service](t, w, "UpdateService", &metav1.UpdateServiceRequest{
		Service: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"versions", "used_services"}},
	})
	require.NoError(t, err)
	until(t, r, func() bool {
		d := r.Deployment()
		return d.GetEndpoint() == a.Deployment.Endpoint && d.GetCurrentVersion() == "v2" && len(r.Service().VersionNames()) == 2 && len(r.Service().GetUsedServices()) == 1
	})
}

// What no longer runs is said to be gone, with when it was seen last, and stays:
// it gets no calls while there are others, and is running again when it is.
func TestReconcile_Gone(t *testing.T) {
	t.Parallel()
	var c clock
	w := reopen(t, site{region: "eu", dir: t.TempDir(), now: c.now})
	w.regions(t, "eu", "us")
	began := c.now()
	b := w.options("eu", described("b.example.com", "v1", nil, nil))
	b.Heartbeat = time.Hour
	ended := register(t, b)
	us := w.options("us", described("b.example.com", "v1", nil, nil))
	us.Heartbeat = 5 * time.Millisecond
	register(t, us)
	a := w.options("eu", described("a.example.com", "v1", nil, []string{"b.example.com"}))
	a.Heartbeat = 5 * time.Millisecond
	r := register(t, a)
	state := func(region string) metav1.Presence_State {
		for _, d := range r.Deployments("b.example.com") {
			if d.Region() == region {
				return d.GetPresence().GetState()
			}
		}
		return metav1.Presence_STATE_UNSPECIFIED
	}
	until(t, r, func() bool { return state("eu") == metav1.Presence_RUNNING && state("us") == metav1.Presence_RUNNING })
	dial := func(want string) {
		t.Helper()
		d, err := r.Dial("b.example.com", "")
		require.NoError(t, err)
		require.Equal(t, want, d.URL)
	}
	dial("http://eu.b.example.com")
	ended.Close()
	seen := func(domain, region string) time.Time {
		return w.deployment(t, domain, region).GetPresence().GetLastSeenTime().AsTime()
	}
	others := func() bool {
		return seen("b.example.com", "us").Equal(c.now()) && seen("a.example.com", "eu").Equal(c.now())
	}

	c.move(59 * time.Second)
	eventually(t, others, "the others are heard of")
	require.NoError(t, w.Expire(t.Context()))
	require.Equal(t, metav1.Presence_RUNNING, w.deployment(t, "b.example.com", "eu").GetPresence().GetState(), "not yet")
	c.move(time.Second)
	eventually(t, others, "the others are heard of")
	require.NoError(t, w.Expire(t.Context()))
	until(t, r, func() bool { return state("eu") == metav1.Presence_GONE })
	require.Equal(t, began, seen("b.example.com", "eu"))
	require.Equal(t, metav1.Presence_RUNNING, state("us"))
	require.Equal(t, metav1.Presence_RUNNING, r.Deployment().GetPresence().GetState())
	dial("http://us.b.example.com")
	d, err := r.Dial("b.example.com", "eu")
	require.NoError(t, err, "who asks for it gets it: it may be there for him")
	require.Equal(t, "http://eu.b.example.com", d.URL)
	require.Equal(t, []string{"eu", "us"}, regionsOf(r, "b.example.com"))
	register(t, b)
	until(t, r, func() bool { return state("eu") == metav1.Presence_RUNNING })
	dial("http://eu.b.example.com")
}

// When somebody was heard of is for the registry alone to say: not what is read
// and written back, and not what a caller claims.
func TestReconcile_PresenceIsTheRegistrys(t *testing.T) {
	t.Parallel()
	var c clock
	w := reopen(t, site{region: "eu", dir: t.TempDir(), now: c.now})
	w.regions(t, "eu")
	o := w.options("eu", described("a.example.com", "v1", nil, nil))
	o.Heartbeat = time.Hour
	register(t, o)
	write := func(p *metav1.Presence, paths ...string) *metav1.Presence {
		t.Helper()
		d, err := call[*metav1.Deployment](t, w, "UpdateDeployment", &metav1.UpdateDeploymentRequest{
			Deployment: &metav1.Deployment{Name: "services/a.example.com/deployments/eu", Presence: p}, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		})
		require.NoError(t, err)
		return d.GetPresence()
	}
	first := w.deployment(t, "a.example.com", "eu").GetPresence()
	require.Equal(t, c.now(), first.GetLastSeenTime().AsTime())
	c.move(time.Hour)
	for _, p := range []*metav1.Presence{first, nil, {State: metav1.Presence_GONE}, {State: metav1.Presence_RUNNING, LastSeenTime: first.GetLastSeenTime()}} {
		require.True(t, proto.Equal(first, write(p, "presence")), "%v", p)
	}
	require.Equal(t, c.now(), write(&metav1.Presence{State: metav1.Presence_RUNNING}, "presence").GetLastSeenTime().AsTime())

	// An operator's deployment, of which nobody was ever heard, is not gone.
	_, err := call[*metav1.Service](t, w, "CreateService", &metav1.CreateServiceRequest{ServiceId: "b.example.com", Service: &metav1.Service{
		MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}, DefaultControlRegion: "eu"},
	}})
	require.NoError(t, err)
	_, err = call[*metav1.Deployment](t, w, "CreateDeployment", &metav1.CreateDeploymentRequest{Parent: "services/b.example.com", DeploymentId: "eu", Deployment: &metav1.Deployment{}})
	require.NoError(t, err)
	c.move(time.Hour)
	require.NoError(t, w.Expire(t.Context()))
	require.Nil(t, w.deployment(t, "b.example.com", "eu").GetPresence())
	require.Equal(t, metav1.Presence_GONE, w.deployment(t, "a.example.com", "eu").GetPresence().GetState())
}

// A subscriber is not told of signs of life, and of their end once.
func TestReconcile_SignsOfLifeAreQuiet(t *testing.T) {
	t.Parallel()
	var c clock
	w := reopen(t, site{region: "eu", dir: t.TempDir(), now: c.now})
	w.regions(t, "eu")
	o := w.options("eu", described("a.example.com", "v1", nil, nil))
	o.Heartbeat = 2 * time.Millisecond
	r := register(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := 0
	current := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- r.Subscribe(ctx, func(_ context.Context, e registry.Event) error {
			if e.Kind == registry.Current {
				close(current)
				return nil
			}
			if e.OldDeployment != nil || e.OldService != nil {
				told++
				cancel()
			}
			return nil
		})
	}()
	<-current
	for range 10 {
		c.move(time.Second)
		eventually(t, func() bool {
			return w.deployment(t, "a.example.com", "eu").GetPresence().GetLastSeenTime().AsTime().Equal(c.now())
		}, "a sign of life")
	}
	_, err := call[*metav1.Deployment](t, w, "UpdateDeployment", &metav1.UpdateDeploymentRequest{
		Deployment: &metav1.Deployment{Name: "services/a.example.com/deployments/eu", IsDisabled: true}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"is_disabled"}},
	})
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, 1, told)
}
