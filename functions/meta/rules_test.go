package meta_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// SPEC 1.F 9: only the registry itself writes regions.
func TestRules_OnlyTheRegistryWritesRegions(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.regions(t, "eu")
	region := &metav1.Region{Name: "regions/eu", DisplayName: "Europe"}
	f := func(by caller, principal string) {
		t.Helper()
		ctx := as(t, principal)
		_, err := call[*metav1.Region](ctx, w, by, "CreateRegion", &metav1.CreateRegionRequest{RegionId: "us", Region: &metav1.Region{}})
		refused(t, err, fault.Denied, "ONLY_THE_REGISTRY")
		_, err = call[*metav1.Region](ctx, w, by, "UpdateRegion", &metav1.UpdateRegionRequest{Region: region})
		refused(t, err, fault.Denied, "ONLY_THE_REGISTRY")
		_, err = call[*resourcev1.DeletionPlan](ctx, w, by, "DeleteRegion", &metav1.DeleteRegionRequest{Name: "regions/eu"})
		refused(t, err, fault.Denied, "ONLY_THE_REGISTRY")
	}
	f(w, "admin")
	f(w, "projects/p")
	f(w.account, "admin")
	_, err := call[*metav1.Region](t.Context(), w, w.self, "UpdateRegion", &metav1.UpdateRegionRequest{Region: region})
	require.NoError(t, err)

	require.NoError(t, w.create(t.Context(), w.account, "a.example.com", in([]string{"eu"})))
	_, err = call[*resourcev1.DeletionPlan](t.Context(), w, w.self, "DeleteRegion", &metav1.DeleteRegionRequest{Name: "regions/eu"})
	refused(t, err, fault.Precondition, "REGION_IN_USE")
}

// SPEC 1.F 10: a person cannot create a service. A service account can, for its
// project, and others do not manage it.
func TestRules_ServiceAccountsMakeServices(t *testing.T) {
	t.Parallel()
	w := open(t, "iam.example.com", "meta.example.com")
	w.regions(t, "eu")
	for _, who := range []string{"admin", "projects/p/devices/d"} {
		refused(t, w.create(as(t, who), w, "a.example.com", in([]string{"eu"})), fault.Denied, "SERVICE_ACCOUNT_NEEDED")
	}
	refused(t, w.create(t.Context(), w, "a.example.com", in([]string{"eu"})), fault.Denied, "SERVICE_ACCOUNT_NEEDED")
	a := in([]string{"eu"})
	a.Project = "projects/another"
	require.NoError(t, w.create(as(t, "projects/p"), w, "a.example.com", a))
	got := w.service(t, "a.example.com")
	require.Equal(t, "projects/p", got.GetProject(), "that of who made it, whatever he says")
	require.Equal(t, []string{"services/iam.example.com", "services/meta.example.com"}, got.GetUsedServices(), "everybody uses the core services")

	update := &metav1.UpdateServiceRequest{
		Service:    &metav1.Service{Name: got.GetName(), DisplayName: "A", Project: "projects/q"},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name", "used_services"}},
	}
	_, err := call[*metav1.Service](as(t, "projects/q"), w, w, "UpdateService", update)
	refused(t, err, fault.Denied, "NOT_OWNING_PROJECT")
	refused(t, w.deploy(as(t, "projects/q"), w, "a.example.com", "eu", &metav1.Deployment{}), fault.Denied, "NOT_OWNING_PROJECT")
	for _, who := range []string{"projects/p", "admin"} {
		_, err = call[*metav1.Service](as(t, who), w, w, "UpdateService", update)
		require.NoError(t, err)
	}
	require.Equal(t, []string{"services/iam.example.com", "services/meta.example.com"}, w.service(t, "a.example.com").GetUsedServices())
	require.Equal(t, "projects/p", w.service(t, "a.example.com").GetProject())

	require.NoError(t, w.create(as(t, "projects/p"), w, "iam.example.com", in([]string{"eu"})))
	require.Empty(t, w.service(t, "iam.example.com").GetUsedServices())
}

// regionsOf asks to have a service in these regions.
func regionsOf(domain string, regions ...string) *metav1.UpdateServiceRequest {
	return &metav1.UpdateServiceRequest{
		Service: &metav1.Service{Name: "services/" + domain, MultiRegionPolicy: &resourcev1.MultiRegionPolicy{
			EnabledRegions: regions, DefaultControlRegion: regions[0],
		}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"multi_region_policy"}},
	}
}

// SPEC 1.F 8: what is imported is in every region of the importer; it does not
// leave one while an importer is there.
func TestRules_ImportsAreWhereTheImporterIs(t *testing.T) {
	t.Parallel()
	w, ctx := open(t), t.Context()
	w.regions(t, "eu", "us", "jp")
	refused(t, w.create(ctx, w.account, "a.example.com", in([]string{"eu"}, "b.example.com")), fault.Precondition, "IMPORT_NOT_THERE")
	require.NoError(t, w.create(ctx, w.account, "b.example.com", in([]string{"eu", "us"})))
	refused(t, w.create(ctx, w.account, "a.example.com", in([]string{"eu", "jp"}, "b.example.com")), fault.Precondition, "IMPORT_NOT_IN_REGION")
	require.NoError(t, w.create(ctx, w.account, "a.example.com", in([]string{"eu"}, "b.example.com")))

	update := func(req *metav1.UpdateServiceRequest) error {
		_, err := call[*metav1.Service](ctx, w, w.account, "UpdateService", req)
		return err
	}
	refused(t, update(regionsOf("a.example.com", "eu", "jp")), fault.Precondition, "IMPORT_NOT_IN_REGION")
	require.NoError(t, update(regionsOf("a.example.com", "eu", "us")))
	refused(t, update(regionsOf("b.example.com", "eu")), fault.Precondition, "REGION_HAS_IMPORTER")
	require.NoError(t, update(regionsOf("a.example.com", "eu")))
	require.NoError(t, update(regionsOf("b.example.com", "eu")))
	refused(t, update(regionsOf("b.example.com", "jp")), fault.Precondition, "REGION_HAS_IMPORTER")
	refused(t, update(regionsOf("b.example.com", "eu", "mars")), fault.Precondition, "NO_SUCH_REGION")
	_, err := call[*resourcev1.DeletionPlan](ctx, w, w.account, "DeleteService", &metav1.DeleteServiceRequest{Name: "services/b.example.com"})
	refused(t, err, fault.Precondition, "REFERRED_TO")

	// The same for versions.
	versioned := func(imported string) *metav1.UpdateServiceRequest {
		a := in([]string{"eu"}, "b.example.com")
		a.Versions[0].Imports[0].Versions = []string{imported}
		a.Name = "services/a.example.com"
		return &metav1.UpdateServiceRequest{Service: a, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"versions"}}}
	}
	refused(t, update(versioned("v2")), fault.Precondition, "IMPORT_WITHOUT_VERSION")
	require.NoError(t, update(versioned("v1")))
	b := in([]string{"eu"})
	b.Name, b.Versions[0].Version = "services/b.example.com", "v2"
	refused(t, update(&metav1.UpdateServiceRequest{Service: b, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"versions"}}}), fault.Precondition, "VERSION_HAS_IMPORTER")
}

// SPEC 1.F 8: of an importer that enters a region and an imported service that
// leaves it, at the same time, one loses: the one that is committed later.
func TestRules_ImportsRace(t *testing.T) {
	t.Parallel()
	w, ctx := open(t), t.Context()
	w.regions(t, "eu", "us")
	require.NoError(t, w.create(ctx, w.account, "b.example.com", in([]string{"eu", "us"})))
	require.NoError(t, w.create(ctx, w.account, "a.example.com", in([]string{"eu"}, "b.example.com")))
	update := func(req *metav1.UpdateServiceRequest) error {
		_, err := call[*metav1.Service](ctx, w, w.account, "UpdateService", req)
		return err
	}
	f := func(first, later *metav1.UpdateServiceRequest, reason string) {
		t.Helper()
		var err error
		w.between = func() { err = update(first) }
		refused(t, update(later), fault.Precondition, reason)
		require.NoError(t, err)
		require.NoError(t, update(regionsOf("b.example.com", "eu", "us")))
		require.NoError(t, update(regionsOf("a.example.com", "eu")))
	}
	enter, leave := regionsOf("a.example.com", "eu", "us"), regionsOf("b.example.com", "eu")
	f(leave, enter, "IMPORT_NOT_IN_REGION")
	f(enter, leave, "REGION_HAS_IMPORTER")

	// The same when the importer is new, and refers to the other the first time.
	fresh := in([]string{"eu", "us"}, "b.example.com")
	w.between = func() { require.NoError(t, update(leave)) }
	refused(t, w.create(ctx, w.account, "c.example.com", fresh), fault.Precondition, "IMPORT_NOT_IN_REGION")
	require.NoError(t, update(regionsOf("b.example.com", "eu", "us")))

	w.between = func() {
		require.NoError(t, w.deploy(ctx, w.account, "b.example.com", "us", &metav1.Deployment{}))
	}
	refused(t, update(leave), fault.Precondition, "DEPLOYED_IN_REGION")
}

// A deployment is in a region of its service, which stays one as long.
func TestRules_DeploymentsAreInRegionsOfTheirService(t *testing.T) {
	t.Parallel()
	w, ctx := open(t), t.Context()
	w.regions(t, "eu", "us")
	require.NoError(t, w.create(ctx, w.account, "a.example.com", in([]string{"eu", "us"})))
	refused(t, w.deploy(ctx, w.account, "a.example.com", "jp", &metav1.Deployment{}), fault.Precondition, "REGION_NOT_ENABLED")
	refused(t, w.deploy(ctx, w.account, "a.example.com", "us", &metav1.Deployment{CurrentVersion: "v2"}), fault.Precondition, "NO_SUCH_VERSION")
	refused(t, w.deploy(ctx, w.account, "none.example.com", "us", &metav1.Deployment{}), fault.NotFound, "NO_SUCH_SERVICE")
	require.NoError(t, w.deploy(ctx, w.account, "a.example.com", "us", &metav1.Deployment{CurrentVersion: "v1"}))
	_, err := call[*metav1.Service](ctx, w, w.account, "UpdateService", regionsOf("a.example.com", "eu"))
	refused(t, err, fault.Precondition, "DEPLOYED_IN_REGION")
}

// SPEC 1.F 4: who writes by what he read before another wrote loses, by the
// condition and without.
func TestRules_StaleGeneration(t *testing.T) {
	t.Parallel()
	w, ctx := open(t), t.Context()
	w.regions(t, "eu", "us")
	require.NoError(t, w.create(ctx, w.account, "a.example.com", in([]string{"eu"})))
	write := func(generation int64, cas *metav1.UpdateServiceRequest_Cas, name string) error {
		_, err := call[*metav1.Service](ctx, w, w.account, "UpdateService", &metav1.UpdateServiceRequest{
			Service:    &metav1.Service{Name: "services/a.example.com", DisplayName: name, EnvRegistryGeneration: generation},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name", "env_registry_generation"}}, Cas: cas,
		})
		return err
	}
	read := func(generation int64) *metav1.UpdateServiceRequest_Cas {
		return &metav1.UpdateServiceRequest_Cas{
			ConditionalState: &metav1.Service{EnvRegistryGeneration: generation},
			FieldMask:        &fieldmaskpb.FieldMask{Paths: []string{"env_registry_generation"}},
		}
	}
	require.NoError(t, write(1, read(0), "first"))
	refused(t, write(1, read(0), "stale"), fault.Conflict, "CAS_MISMATCH")
	require.NoError(t, write(5, read(1), "second"))
	refused(t, write(4, nil, "stale"), fault.Conflict, "STALE_GENERATION")
	require.Equal(t, "second", w.service(t, "a.example.com").GetDisplayName())
	require.NoError(t, write(5, nil, "a person"))
}
