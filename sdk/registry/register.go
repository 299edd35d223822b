package registry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// runInit registers, waits until all whom the service relates to know of it, so
// that it may see them, tells so, and is done.
func (r *Registry) runInit(ctx context.Context) error {
	var related []string
	err := r.persist(ctx, func(ctx context.Context) (err error) {
		related, err = r.reconcile(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if err := r.persist(ctx, func(ctx context.Context) error { return r.areRelated(ctx, related) }); err != nil {
		return err
	}
	close(r.registered)
	return nil
}

// patience is how many times Options.Retry the last pause of persist is, and how
// many times less the first one.
const patience = 16

// persist calls f until it succeeds, with longer and longer pauses, or can never
// succeed. Others of the same deployment, and those of other regions, do the
// same at the same time: who loses against them reads again soon.
func (r *Registry) persist(ctx context.Context, f func(context.Context) error) error {
	pause, last := r.o.Retry/patience, ""
	for {
		err := f(ctx)
		kind := fault.KindOf(err)
		switch {
		case err == nil:
			return nil
		case slices.Contains([]fault.Kind{fault.Invalid, fault.Unauthenticated, fault.Denied, fault.Unsupported, fault.TooLarge}, kind):
			return err
		case fault.ReasonOf(err) == ownerAway && r.wasRegistered(ctx):
			r.log.LogAttrs(ctx, slog.LevelWarn, "registered as before, until the registry can be written", slog.String("service", r.domain), slog.Any("error", err))
			r.behind = true
			return nil
		}
		wait := time.Duration(float64(pause) * (0.5 + rand.Float64()/2))
		if kind != fault.Conflict && kind != fault.Exists {
			pause = min(2*pause, patience*r.o.Retry)
		}
		if reason := fault.ReasonOf(err); pause > r.o.Retry && reason != last { // it is not over soon
			last = reason
			r.log.LogAttrs(ctx, slog.LevelWarn, "not registered yet", slog.String("service", r.domain), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// ownerAway is the reason of a registry that has what there is, but only a copy
// of it, and cannot reach its owner.
const ownerAway = "OWNER_AWAY"

// wasRegistered reports whether the registry knows of the service and of this
// deployment: as they were, which is enough to go on with.
func (r *Registry) wasRegistered(ctx context.Context) bool {
	_, err := call[*metav1.Service](ctx, r, "GetService", &metav1.GetServiceRequest{Name: r.ownService()})
	if err == nil {
		_, err = call[*metav1.Deployment](ctx, r, "GetDeployment", &metav1.GetDeploymentRequest{Name: r.ownDeployment()})
	}
	return err == nil
}

// maxBatch is how many services are asked for at once.
const maxBatch = 1000

// areRelated reports whether all of these services, as far as they are there,
// know that this one relates to them. That is soon after it was registered. From
// then on they, and all that is of them, are among what it may see.
func (r *Registry) areRelated(ctx context.Context, names []string) error {
	for some := range slices.Chunk(names, maxBatch) {
		out, err := call[*metav1.BatchGetServicesResponse](ctx, r, "BatchGetServices", &metav1.BatchGetServicesRequest{
			Names: some, AllowMissing: true, ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"name", "metadata.services"}},
		})
		if err != nil {
			return err
		}
		for _, s := range out.GetServices() {
			if !slices.Contains(s.GetMetadata().GetServices().GetAllowedServices(), r.domain) {
				return &fault.Error{
					Op: "registry.Open", Name: s.GetName(), Kind: fault.Precondition, Reason: "NOT_KNOWN_YET",
					Err: fmt.Errorf("%s does not know yet that %s relates to it", s.GetName(), r.domain),
				}
			}
		}
	}
	return nil
}

// ensureRegion makes the region unless it is there, if that is for this one to do.
func (r *Registry) ensureRegion(ctx context.Context) error {
	if !r.o.NewRegion {
		return nil
	}
	_, err := call[*metav1.Region](ctx, r, "GetRegion", &metav1.GetRegionRequest{Name: "regions/" + r.o.Region})
	if fault.KindOf(err) == fault.NotFound {
		_, err = call[*metav1.Region](ctx, r, "CreateRegion", &metav1.CreateRegionRequest{RegionId: r.o.Region, Region: &metav1.Region{}})
	}
	return err
}

// ensureService makes the service, or adds what this deployment knows to it, on
// the condition that nobody was faster.
func (r *Registry) ensureService(ctx context.Context) (*metav1.Service, error) {
	got, err := call[*metav1.Service](ctx, r, "GetService", &metav1.GetServiceRequest{Name: r.ownService()})
	if fault.KindOf(err) == fault.NotFound {
		s := r.merged(r.lastService())
		s.EnvRegistryGeneration = 1
		return call[*metav1.Service](ctx, r, "CreateService", &metav1.CreateServiceRequest{ServiceId: r.domain, Service: s})
	}
	if err != nil {
		return nil, err
	}
	s := r.merged(got)
	if proto.Equal(got, s) {
		return got, nil
	}
	before := s.GetEnvRegistryGeneration()
	s.Metadata, s.EnvRegistryGeneration = nil, before+1
	is, err := call[*metav1.Service](ctx, r, "UpdateService", &metav1.UpdateServiceRequest{
		Service: s,
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{
			"display_name", "endpoint", "versions", "used_services", "multi_region_policy", "env_registry_generation",
		}},
		Cas: &metav1.UpdateServiceRequest_Cas{
			ConditionalState: &metav1.Service{EnvRegistryGeneration: before},
			FieldMask:        &fieldmaskpb.FieldMask{Paths: []string{"env_registry_generation"}},
		},
	})
	if err != nil {
		return got, err
	}
	return is, nil
}

// merged is the service as it is with this deployment: with its region, its
// versions, and what it uses. Who has older versions only, because others were
// upgraded already, leaves all else as it is. Nothing is taken away: other
// regions may need it.
func (r *Registry) merged(got *metav1.Service) *metav1.Service {
	s := proto.CloneOf(got)
	if s.MultiRegionPolicy == nil {
		s.MultiRegionPolicy = &resourcev1.MultiRegionPolicy{DefaultControlRegion: r.o.Region}
	}
	p := s.MultiRegionPolicy
	if !slices.Contains(p.EnabledRegions, r.o.Region) {
		p.EnabledRegions = append(p.EnabledRegions, r.o.Region)
	}
	know := r.o.Service
	older := len(s.Versions) > 0 && metav1.CompareVersions(know.Versions[0].Version, s.Versions[0].GetVersion()) > 0
	if !older {
		if slices.Contains(p.EnabledRegions, know.Primary) {
			p.DefaultControlRegion = know.Primary
		}
		s.DisplayName = cmp.Or(know.DisplayName, s.DisplayName)
		s.Endpoint = cmp.Or(know.Endpoint, s.Endpoint)
	}
	for _, v := range know.Versions {
		i := slices.IndexFunc(s.Versions, func(x *metav1.ServiceVersion) bool { return x.GetVersion() == v.Version })
		switch {
		case i < 0:
			s.Versions = append(s.Versions, know.version(v))
		case !older:
			s.Versions[i] = know.version(v)
		}
		for _, domain := range v.Uses {
			if name := "services/" + domain; !slices.Contains(s.UsedServices, name) {
				s.UsedServices = append(s.UsedServices, name)
			}
		}
	}
	slices.SortFunc(s.Versions, func(a, b *metav1.ServiceVersion) int { return metav1.CompareVersions(a.GetVersion(), b.GetVersion()) })
	return s
}

// version is what is registered of a version.
func (s Service) version(v *schema.Service) *metav1.ServiceVersion {
	out := &metav1.ServiceVersion{Version: v.Version}
	imports := slices.Clone(v.Imports)
	slices.Sort(imports)
	for _, domain := range slices.Compact(imports) {
		out.Imports = append(out.Imports, &metav1.ServiceImport{Service: "services/" + domain, Versions: s.ImportedVersions[domain]})
	}
	return out
}

// deploymentPaths are the fields of a deployment that it writes itself.
var deploymentPaths = []string{"endpoint", "private_endpoint", "local_network", "current_version", "db_data_version", "db_location_tag"}

// ensureDeployment makes the deployment of this region, or changes it, and says
// that it is running. Whether it is disabled, and how far an upgrade is, is not
// for it to say.
func (r *Registry) ensureDeployment(ctx context.Context) error {
	got, err := call[*metav1.Deployment](ctx, r, "GetDeployment", &metav1.GetDeploymentRequest{Name: r.ownDeployment()})
	missing := fault.KindOf(err) == fault.NotFound
	if missing {
		got, err = &metav1.Deployment{UpgradeState: &metav1.UpgradeState{Phase: metav1.UpgradeState_READY}, IsDisabled: r.wasDisabled()}, nil
	}
	if err != nil {
		return err
	}
	d := proto.CloneOf(got)
	is := r.o.Deployment
	d.Endpoint, d.PrivateEndpoint, d.LocalNetwork = is.Endpoint, is.PrivateEndpoint, is.LocalNetwork
	d.DbDataVersion, d.DbLocationTag = is.DataVersion, is.LocationTag
	// Of several processes, some of an older release, it is the newest.
	if own := r.o.Service.Versions[0].Version; metav1.CompareVersions(own, got.GetCurrentVersion()) < 0 {
		d.CurrentVersion = own
	}
	changed := !proto.Equal(got, d)
	d.Metadata, d.Presence = nil, &metav1.Presence{State: metav1.Presence_RUNNING}
	if missing {
		_, err = call[*metav1.Deployment](ctx, r, "CreateDeployment", &metav1.CreateDeploymentRequest{
			Parent: r.ownService(), DeploymentId: r.o.Region, Deployment: d,
		})
		return err
	}
	req := &metav1.UpdateDeploymentRequest{Deployment: d, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"presence"}}}
	if changed {
		// The condition is what was read of these fields: signs of life of others
		// are no reason to lose.
		req.UpdateMask.Paths = append(req.UpdateMask.Paths, deploymentPaths...)
		req.Cas = &metav1.UpdateDeploymentRequest_Cas{ConditionalState: got, FieldMask: &fieldmaskpb.FieldMask{Paths: deploymentPaths}}
	}
	_, err = call[*metav1.Deployment](ctx, r, "UpdateDeployment", req)
	return err
}

// atOnce is how many types are written at the same time: those that wait share a
// commit.
const atOnce = 8

// ensureResources makes the types of the service, or adds to them what they are
// in the versions of this deployment. All processes of all deployments do it:
// what another made meanwhile is read again, and nothing of it is lost.
func (r *Registry) ensureResources(ctx context.Context) error {
	there, err := r.Resources(ctx, r.domain)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, want := range r.o.Service.resources() {
		var got *metav1.Resource
		if i := slices.IndexFunc(there, func(x *metav1.Resource) bool { return x.GetType() == want.GetType() }); i >= 0 {
			got = there[i]
		}
		g.Go(func() error { return r.ensureResource(ctx, got, want) })
	}
	return g.Wait()
}

// ensureResource makes a type, or changes the one that there is.
func (r *Registry) ensureResource(ctx context.Context, got, want *metav1.Resource) error {
	if got == nil {
		_, err := call[*metav1.Resource](ctx, r, "CreateResource", &metav1.CreateResourceRequest{
			Parent: r.ownService(), ResourceId: want.GetVersions()[0].GetPlural(), Resource: want,
		})
		return err
	}
	is := withVersions(got, want.GetVersions())
	if proto.Equal(got, is) {
		return nil
	}
	is.Metadata = nil
	_, err := call[*metav1.Resource](ctx, r, "UpdateResource", &metav1.UpdateResourceRequest{
		Resource: is, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"versions"}},
		Cas: &metav1.UpdateResourceRequest_Cas{ConditionalState: got, FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"versions"}}},
	})
	return err
}

// withVersions is a type with these versions in place of, or besides, its own.
func withVersions(got *metav1.Resource, versions []*metav1.ResourceVersion) *metav1.Resource {
	is := proto.CloneOf(got)
	for _, v := range versions {
		is.Versions = slices.DeleteFunc(is.Versions, func(x *metav1.ResourceVersion) bool { return x.GetVersion() == v.GetVersion() })
		is.Versions = append(is.Versions, v)
	}
	slices.SortFunc(is.Versions, func(a, b *metav1.ResourceVersion) int { return metav1.CompareVersions(a.GetVersion(), b.GetVersion()) })
	return is
}

// resources are the types of the service, in every version that has them, but
// those for the platform's own use.
func (s Service) resources() []*metav1.Resource {
	var all []*metav1.Resource
	for _, v := range s.Versions {
		for _, x := range v.Resources {
			if x.Options.GetHidden() {
				continue
			}
			is := &metav1.ResourceVersion{Version: v.Version, Plural: x.Plural, Singular: x.Singular}
			for _, p := range x.Patterns {
				is.Patterns = append(is.Patterns, string(p))
				is.IsRegional = is.IsRegional || strings.Contains(string(p), "/{region}/")
			}
			i := slices.IndexFunc(all, func(y *metav1.Resource) bool { return y.GetType() == x.Type })
			if i < 0 {
				i, all = len(all), append(all, &metav1.Resource{Type: x.Type})
			}
			all[i].Versions = append(all[i].Versions, is)
		}
	}
	return all
}
