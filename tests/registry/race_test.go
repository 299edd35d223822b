package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// openAll opens registries at the same time, until the test ends.
func openAll(t *testing.T, options ...registry.Options) []*registry.Registry {
	t.Helper()
	out, errs := make([]*registry.Registry, len(options)), make([]error, len(options))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i, o := range options {
		all.Go(func() { out[i], errs[i] = registry.Open(ctx, o) })
	}
	all.Wait()
	for _, r := range out {
		if r != nil {
			t.Cleanup(r.Close)
		}
	}
	require.NoError(t, errors.Join(errs...))
	return out
}

// SPEC 1.F 3: the first deployments of several regions, each of several
// processes, make one service with all regions; of the types that each creates
// at the same time nothing is lost.
func TestRegister_FirstDeploymentsRace(t *testing.T) {
	t.Parallel()
	w := open(t, "core.example.com")
	ids := []string{"eu", "jp", "us"}
	w.regions(t, ids...)
	for round := range 3 {
		domain := fmt.Sprintf("a%d.example.com", round)
		var options []registry.Options
		for _, region := range ids {
			for process := range 3 { // server, controller, db-controller
				v := described(domain, "v1", nil, nil)
				if process == 2 { // one of a newer release
					v = described(domain, "v2", nil, nil)
				}
				for i := range 5 {
					v.Resources = append(v.Resources, &schema.Resource{
						Service: v, Type: fmt.Sprintf("%s/Part%d", domain, i), Singular: fmt.Sprintf("part%d", i), Plural: fmt.Sprintf("parts%d", i),
						Patterns: []resource.Pattern{"parts/{part}"},
					})
				}
				options = append(options, w.options(region, v))
			}
		}
		for _, r := range openAll(t, options...) {
			until(t, r, func() bool { return len(r.Service().Regions()) == len(ids) && len(r.Deployments(domain)) == len(ids) })
		}
		s := w.service(t, domain)
		require.ElementsMatch(t, ids, s.Regions())
		list, err := call[*metav1.ListDeploymentsResponse](t, w, "ListDeployments", &metav1.ListDeploymentsRequest{Parent: "services/" + domain, View: resourcev1.View_FULL})
		require.NoError(t, err)
		for _, d := range list.GetDeployments() {
			require.Equal(t, "v2", d.GetCurrentVersion())
		}
		require.Equal(t, []string{"v2", "v1"}, s.VersionNames())
		types, err := call[*metav1.ListResourcesResponse](t, w, "ListResources", &metav1.ListResourcesRequest{Parent: "services/" + domain})
		require.NoError(t, err)
		require.Len(t, types.GetResources(), 6)
		for _, x := range types.GetResources() {
			require.Len(t, x.GetVersions(), 2, "%v", x)
		}
	}
}

// meddling does something else before the first call of a method.
type meddling struct {
	registry.Meta
	method string
	once   sync.Once
	do     func()
}

// Call implements registry.Meta.
func (m *meddling) Call(ctx context.Context, x *schema.Method, req proto.Message) (proto.Message, error) {
	if string(x.Desc.Name()) == m.method {
		m.once.Do(m.do)
	}
	return m.Meta.Call(ctx, x, req)
}

// SPEC 1.F 4: who would write by what he read before others wrote loses, reads
// again, and nothing of either is lost.
func TestRegister_StaleGeneration(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu", "us", "jp")
	register(t, w.options("eu", described("a.example.com", "v1", nil, nil)))
	o := w.options("us", described("a.example.com", "v1", nil, []string{"x.example.com"}))
	var stale error
	m := &meddling{Meta: o.Meta, method: "UpdateService", do: func() {
		register(t, w.options("jp", described("a.example.com", "v1", nil, []string{"y.example.com"})))
		read := w.service(t, "a.example.com")
		_, stale = call[*metav1.Service](t, w, "UpdateService", &metav1.UpdateServiceRequest{
			Service:    &metav1.Service{Name: read.GetName(), DisplayName: "stale", EnvRegistryGeneration: read.GetEnvRegistryGeneration()},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name", "env_registry_generation"}},
			Cas: &metav1.UpdateServiceRequest_Cas{
				ConditionalState: &metav1.Service{EnvRegistryGeneration: read.GetEnvRegistryGeneration() - 1},
				FieldMask:        &fieldmaskpb.FieldMask{Paths: []string{"env_registry_generation"}},
			},
		})
	}}
	o.Meta = m
	register(t, o)
	require.Equal(t, fault.Conflict, fault.KindOf(stale), "%v", stale)
	s := w.service(t, "a.example.com")
	require.ElementsMatch(t, []string{"eu", "us", "jp"}, s.Regions())
	require.ElementsMatch(t, []string{"services/x.example.com", "services/y.example.com"}, s.GetUsedServices())
	require.EqualValues(t, 3, s.GetEnvRegistryGeneration())
	require.Empty(t, s.GetDisplayName())
}

// errInjected is what a broken way to the registry answers.
var errInjected = errors.New("injected")

// faulty fails now and then: a call before or after it is done, a watch after
// some messages.
type faulty struct {
	registry.Meta
	seed  uint64
	calls atomic.Uint64
}

// Call implements registry.Meta.
func (f *faulty) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	r := rand.New(rand.NewPCG(f.seed, f.calls.Add(1)))
	if r.IntN(3) == 0 {
		return nil, errInjected
	}
	out, err := f.Meta.Call(ctx, m, req)
	if r.IntN(3) == 0 {
		return nil, errInjected // it is done all the same
	}
	return out, err
}

// Watch implements registry.Meta.
func (f *faulty) Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	r := rand.New(rand.NewPCG(f.seed, f.calls.Add(1)))
	left := r.IntN(4)
	return f.Meta.Watch(ctx, m, req, func(msg proto.Message) error {
		if left--; left < 0 {
			return errInjected
		}
		return recv(msg)
	})
}

// SPEC 1.F 1 and 3: however often calls and watches fail, before or after they
// were done, all is registered once and known in the end.
func TestRegister_Faults(t *testing.T) {
	t.Parallel()
	w := open(t, "core.example.com")
	w.regions(t, "eu", "us")
	register(t, w.options("eu", described("core.example.com", "v1", nil, nil)))
	for seed := range uint64(6) {
		domain := fmt.Sprintf("a%d.example.com", seed)
		var options []registry.Options
		for i, region := range []string{"eu", "us", "eu", "us"} {
			o := w.options(region, described(domain, "v1", nil, nil))
			o.Meta, o.Retry = &faulty{Meta: o.Meta, seed: seed<<8 | uint64(i)}, time.Millisecond
			options = append(options, o)
		}
		for _, r := range openAll(t, options...) {
			until(t, r, func() bool {
				return slices.Equal(regionsOf(r, domain), []string{"eu", "us"}) && slices.Equal(domains(r), []string{domain, "core.example.com"})
			})
		}
		require.Len(t, w.service(t, domain).Regions(), 2, "seed %d", seed)
	}
}
