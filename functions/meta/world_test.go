package meta_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/meta"
	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
)

// world is the registry as a platform sets it up, over a database file.
type world struct {
	*meta.Service
	store *store.Store
	hub   *watch.Hub
	// methods are the methods of the service by their names: "GetService".
	methods map[string]*schema.Method
	// self calls as the registry, account as a service account of projects/p.
	self, account meta.Local
	// between, if not nil, is called once, when the rules of the next change of a
	// service were asked, and before it is committed.
	between func()
}

// Prepare implements store.Plugin: it comes after the rules.
func (w *world) Prepare(_ context.Context, _ *store.Tx, p *store.Pending) error {
	if f := w.between; f != nil && p.Resource.Type == metav1.ServiceType {
		w.between = nil
		f()
	}
	return nil
}

// open opens the registry over a new database until the test ends. These
// services are core ones.
func open(t testing.TB, core ...string) *world {
	t.Helper()
	driver, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "resources.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	types := new(schema.Registry)
	desc := metav1.AddTo(types)
	require.NoError(t, types.Check())
	w := &world{methods: map[string]*schema.Method{}}
	for _, m := range desc.Methods {
		w.methods[string(m.Desc.Name())] = m
	}
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}, DefaultControlRegion: "eu"},
		func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
			found, err := policy.Local(w.store)(ctx, typ, name)
			if fault.KindOf(err) == fault.NotFound && typ.Options.GetImplicit() {
				return nil, nil // as if it had none
			}
			return found, err
		})
	references := reference.New(reference.Options{Region: "eu"})
	rules := meta.Rules{Core: core, Caller: func(ctx context.Context) meta.Caller {
		p := iam.PrincipalOf(ctx)
		return meta.Caller{ServiceAccount: p.Kind == iam.Project, Project: p.Name}
	}}
	all := append(meta.Plugins(rules), plugins.Standard(plugins.Options{Policies: policies})...)
	w.store = store.New(driver, types, store.Options{Plugins: append(all, references, w), Cached: 1 << 12})
	w.hub = watch.NewHub(w.store, watch.HubOptions{Retry: time.Millisecond})
	w.Service, err = meta.NewService(w.store, rules, service.Options{
		Authorize: func(context.Context, string, resource.Name) error { return nil }, Hub: w.hub, Planner: references, Policies: policies,
	})
	require.NoError(t, err)
	w.self, w.account = w.Local(meta.Caller{Registry: true}), w.Local(meta.Caller{ServiceAccount: true, Project: "projects/p"})
	return w
}

// caller is a way to call the registry.
type caller interface {
	Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error)
}

// call does a method.
func call[M proto.Message](ctx context.Context, w *world, by caller, method string, req proto.Message) (M, error) {
	m, err := by.Call(ctx, w.methods[method], req)
	out, _ := m.(M)
	return out, err
}

// as is a context of a principal.
func as(t testing.TB, principal string) context.Context {
	t.Helper()
	p, err := iam.ParsePrincipal(principal)
	require.NoError(t, err)
	return iam.WithPrincipal(t.Context(), p)
}

// regions makes regions.
func (w *world) regions(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		_, err := call[*metav1.Region](t.Context(), w, w.self, "CreateRegion", &metav1.CreateRegionRequest{RegionId: id, Region: &metav1.Region{}})
		require.NoError(t, err)
	}
}

// in is a service that is in these regions, the first one the primary, with the
// version v1 that imports these services.
func in(regions []string, imports ...string) *metav1.Service {
	v := &metav1.ServiceVersion{Version: "v1"}
	for _, domain := range imports {
		v.Imports = append(v.Imports, &metav1.ServiceImport{Service: "services/" + domain})
	}
	return &metav1.Service{
		Versions:          []*metav1.ServiceVersion{v},
		MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: regions, DefaultControlRegion: regions[0]},
	}
}

// create makes a service.
func (w *world) create(ctx context.Context, by caller, domain string, s *metav1.Service) error {
	_, err := call[*metav1.Service](ctx, w, by, "CreateService", &metav1.CreateServiceRequest{ServiceId: domain, Service: s})
	return err
}

// service is the service of that domain.
func (w *world) service(t require.TestingT, domain string) *metav1.Service {
	s, err := call[*metav1.Service](context.Background(), w, w.self, "GetService", &metav1.GetServiceRequest{Name: "services/" + domain})
	require.NoError(t, err)
	return s
}

// deploy makes a deployment.
func (w *world) deploy(ctx context.Context, by caller, domain, region string, d *metav1.Deployment) error {
	_, err := call[*metav1.Deployment](ctx, w, by, "CreateDeployment", &metav1.CreateDeploymentRequest{
		Parent: "services/" + domain, DeploymentId: region, Deployment: d,
	})
	return err
}

// refused requires a fault as KIND REASON.
func refused(t testing.TB, err error, kind fault.Kind, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
	require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
}
