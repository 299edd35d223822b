package meta_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"pgregory.net/rapid"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// controlled runs what keeps visibility, and stops it.
type controlled struct {
	w    *world
	stop context.CancelFunc
	done sync.WaitGroup
}

// start starts it.
func (c *controlled) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.done.Go(func() { _ = c.w.Run(ctx) })
}

// restart kills it where it is, and starts it again.
func (c *controlled) restart() {
	c.stop()
	c.done.Wait()
	c.start()
}

// settle waits until it has nothing more to do.
func settle() {
	time.Sleep(5 * time.Second) // of the bubble's own time
	synctest.Wait()
}

// shown is what a service, and everything that is of it, says about who may see
// it.
func shown(t require.TestingT, w *world, domain string) []*resourcev1.Services {
	ctx := context.Background()
	all := []*resourcev1.Services{w.service(t, domain).GetMetadata().GetServices()}
	deployments, err := call[*metav1.ListDeploymentsResponse](ctx, w, w.self, "ListDeployments", &metav1.ListDeploymentsRequest{Parent: "services/" + domain, View: resourcev1.View_FULL})
	require.NoError(t, err)
	for _, d := range deployments.GetDeployments() {
		all = append(all, d.GetMetadata().GetServices())
	}
	types, err := call[*metav1.ListResourcesResponse](ctx, w, w.self, "ListResources", &metav1.ListResourcesRequest{Parent: "services/" + domain, View: resourcev1.View_FULL})
	require.NoError(t, err)
	for _, r := range types.GetResources() {
		all = append(all, r.GetMetadata().GetServices())
	}
	return all
}

// SPEC 1.F 14: a deployment and a type of resource follow their service.
func TestVisibility_FollowsTheService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, ctx := open(t, "iam.example.com"), t.Context()
		c := &controlled{w: w}
		c.start()
		defer func() { c.stop(); c.done.Wait() }()
		w.regions(t, "eu")
		f := func(domain string, want ...string) {
			t.Helper()
			settle()
			for _, got := range shown(t, w, domain) {
				require.Equal(t, domain, got.GetOwningService())
				require.Equal(t, want, got.GetAllowedServices())
			}
		}
		for _, domain := range []string{"iam.example.com", "a.example.com", "b.example.com"} {
			require.NoError(t, w.create(ctx, w.account, domain, in([]string{"eu"})))
			require.NoError(t, w.deploy(ctx, w.account, domain, "eu", &metav1.Deployment{}))
			_, err := call[*metav1.Resource](ctx, w, w.account, "CreateResource", &metav1.CreateResourceRequest{
				Parent: "services/" + domain, ResourceId: "things", Resource: &metav1.Resource{Type: domain + "/Thing"},
			})
			require.NoError(t, err)
		}
		f("iam.example.com", "a.example.com", "b.example.com", "iam.example.com")
		f("a.example.com", "a.example.com", "iam.example.com")
		f("b.example.com", "b.example.com", "iam.example.com")

		uses := &metav1.UpdateServiceRequest{
			Service:    &metav1.Service{Name: "services/a.example.com", UsedServices: []string{"services/b.example.com", "services/later.example.com"}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"used_services"}},
		}
		_, err := call[*metav1.Service](ctx, w, w.account, "UpdateService", uses)
		require.NoError(t, err)
		f("a.example.com", "a.example.com", "b.example.com", "iam.example.com", "later.example.com")
		f("b.example.com", "a.example.com", "b.example.com", "iam.example.com")
		f("iam.example.com", "a.example.com", "b.example.com", "iam.example.com")
		require.NoError(t, w.create(ctx, w.account, "later.example.com", in([]string{"eu"})))
		f("later.example.com", "a.example.com", "iam.example.com", "later.example.com")
	})
}

// maxRuns bounds the histories, each of which writes to a disk.
const maxRuns = 30

// SPEC 1.F 14: after any history, with the controller killed in between, who may
// see what is what follows from the services as they are.
func TestVisibility_Histories(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, ctx := open(t), t.Context()
		c := &controlled{w: w}
		c.start()
		defer func() { c.stop(); c.done.Wait() }()
		w.regions(t, "eu", "us")
		runs := 0
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // in a bubble the test must not be asked for its deadline
			if runs++; runs > maxRuns {
				return
			}
			var all []string
			for i := range 4 {
				all = append(all, fmt.Sprintf("s%d.r%d.example.com", i, runs))
			}
			domain := rapid.SampledFrom(all)
			some := func(t *rapid.T, of string) []string {
				return slices.DeleteFunc(rapid.SliceOfNDistinct(domain, 0, 3, rapid.ID).Draw(t, "others"), func(s string) bool { return s == of })
			}
			related := func(t *rapid.T, of string) *metav1.Service {
				s := in([]string{"eu", "us"}, some(t, of)...)
				s.Name = "services/" + of
				for _, o := range some(t, of) {
					s.UsedServices = append(s.UsedServices, "services/"+o)
				}
				return s
			}
			// What the rules refuse is part of a history too.
			tolerate := func(err error) {
				if kind := fault.KindOf(err); err != nil && kind != fault.Precondition && kind != fault.Exists && kind != fault.NotFound {
					require.NoError(t, err)
				}
			}
			t.Repeat(map[string]func(*rapid.T){
				"create": func(t *rapid.T) {
					d := domain.Draw(t, "domain")
					tolerate(w.create(ctx, w.account, d, related(t, d)))
				},
				"relate": func(t *rapid.T) {
					_, err := call[*metav1.Service](ctx, w, w.account, "UpdateService", &metav1.UpdateServiceRequest{
						Service:    related(t, domain.Draw(t, "domain")),
						UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"versions", "used_services"}},
					})
					tolerate(err)
				},
				"deploy": func(t *rapid.T) {
					tolerate(w.deploy(ctx, w.account, domain.Draw(t, "domain"), rapid.SampledFrom([]string{"eu", "us"}).Draw(t, "region"), &metav1.Deployment{}))
				},
				"delete": func(t *rapid.T) {
					d := domain.Draw(t, "domain")
					for _, id := range []string{"eu", "us"} {
						_, err := call[*resourcev1.DeletionPlan](ctx, w, w.account, "DeleteDeployment", &metav1.DeleteDeploymentRequest{Name: "services/" + d + "/deployments/" + id})
						tolerate(err)
					}
					_, err := call[*resourcev1.DeletionPlan](ctx, w, w.account, "DeleteService", &metav1.DeleteServiceRequest{Name: "services/" + d})
					tolerate(err)
				},
				"kill":   func(*rapid.T) { c.restart() },
				"settle": func(*rapid.T) { settle() },
			})
			settle()
			compare(t, w, all)
		})
	})
}

// compare requires that who may see the services, of those that there may be, is
// what follows from them.
func compare(t *rapid.T, w *world, domains []string) {
	is := map[string]*metav1.Service{}
	for _, d := range domains {
		s, err := call[*metav1.Service](context.Background(), w, w.self, "GetService", &metav1.GetServiceRequest{Name: "services/" + d})
		if fault.KindOf(err) == fault.NotFound {
			continue
		}
		require.NoError(t, err)
		is[d] = s
	}
	for d := range is {
		want := map[string]bool{d: true}
		for _, name := range is[d].Related() {
			want[resource.Name(name).ID()] = true
		}
		for o := range is {
			if slices.Contains(is[o].Related(), "services/"+d) {
				want[o] = true
			}
		}
		for _, got := range shown(t, w, d) {
			require.Equal(t, d, got.GetOwningService())
			require.Equal(t, slices.Sorted(maps.Keys(want)), got.GetAllowedServices())
		}
	}
}
