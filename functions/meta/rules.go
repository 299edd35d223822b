package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// The indexes that services are found by.
const (
	byImport = "versions.*.imports.*.service"
	byUse    = "used_services"
	byRegion = "multi_region_policy.enabled_regions"
)

// noSuchRegion is the reason to refuse a service in a region that is not there.
const noSuchRegion = "NO_SUCH_REGION"

// rules is the plugin of what must be between resources: a region is there
// before a service is in it, and what is imported is wherever the importer is.
// Each is checked on both sides, in the transaction of the change, and made a
// condition of it, so that of two changes that do not go together one loses.
type rules struct{ Rules }

var _ store.Plugin = (*rules)(nil)

// Prepare implements [store.Plugin].
func (r *rules) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	switch w.Resource.Type {
	case metav1.RegionType:
		return r.region(ctx, tx, w)
	case metav1.ServiceType:
		before, _ := w.Before.(*metav1.Service)
		after, _ := w.After.(*metav1.Service)
		if err := r.owned(ctx, w, before); err != nil || after == nil {
			return err
		}
		return r.service(ctx, tx, before, after)
	case metav1.DeploymentType, metav1.ResourceType:
		if w.Reason != "" {
			return nil // what the platform changes by itself is not what is ruled here
		}
		parent, err := pinned[*metav1.Service](ctx, tx, metav1.ServiceType, w.Name.Parent())
		if err != nil {
			return err
		}
		if parent == nil && w.After != nil {
			return &fault.Error{
				Op: "meta.Rules", Name: string(w.Name.Parent()), Kind: fault.NotFound, Reason: "NO_SUCH_SERVICE", Field: "parent",
				Err: fmt.Errorf("there is no %s", w.Name.Parent()),
			}
		}
		if err := r.owned(ctx, w, parent); err != nil {
			return err
		}
		if d, ok := w.After.(*metav1.Deployment); ok {
			return deployed(parent, d)
		}
	}
	return nil
}

// region checks a change of a region.
func (r *rules) region(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	if w.Reason == "" && !r.callerOf(ctx).Registry {
		return &fault.Error{
			Op: "meta.Region", Name: string(w.Name), Kind: fault.Denied, Reason: "ONLY_THE_REGISTRY",
			Err: errors.New("regions are written by the registry itself, when one of it starts in a new region"),
		}
	}
	if w.After != nil {
		return nil
	}
	in, err := servicesBy(ctx, tx, byRegion, w.Name.ID())
	if err != nil || len(in) == 0 {
		return err
	}
	return refusal{"REGION_IN_USE", string(w.Name), ""}.because("%s is in the region", in[0].GetName())
}

// owned refuses a service account that changes a service of another project, or
// what is of it. People may do what their permissions say.
func (r *rules) owned(ctx context.Context, w *store.Pending, s *metav1.Service) error {
	caller := r.callerOf(ctx)
	if w.Reason != "" || s == nil || !caller.ServiceAccount || caller.Registry || caller.Project == s.GetProject() {
		return nil
	}
	return &fault.Error{
		Op: "meta.Service", Name: string(w.Name), Kind: fault.Denied, Reason: "NOT_OWNING_PROJECT",
		Err: fmt.Errorf("%s was made by a service account of another project, and only those of that one manage it", s.GetName()),
	}
}

// service checks a service that is made, or another than before.
func (r *rules) service(ctx context.Context, tx *store.Tx, before, after *metav1.Service) error {
	if after.GetEnvRegistryGeneration() < before.GetEnvRegistryGeneration() {
		return &fault.Error{
			Op: "meta.Service", Name: after.GetName(), Kind: fault.Conflict, Reason: "STALE_GENERATION", Field: "env_registry_generation",
			Err: fmt.Errorf("the generation %d is older than the one that there is, %d", after.GetEnvRegistryGeneration(), before.GetEnvRegistryGeneration()),
		}
	}
	for _, id := range minus(after.Regions(), before.Regions()) {
		region, err := pinned[*metav1.Region](ctx, tx, metav1.RegionType, resource.Name("regions/"+id))
		if err != nil {
			return err
		}
		if region == nil {
			return refusal{noSuchRegion, after.GetName(), byRegion}.because("there is no region %s", id)
		}
	}
	for _, id := range minus(before.Regions(), after.Regions()) {
		d, err := pinned[*metav1.Deployment](ctx, tx, metav1.DeploymentType, resource.Name(after.GetName()+"/deployments/"+id))
		if err != nil {
			return err
		}
		if d != nil {
			return refusal{"DEPLOYED_IN_REGION", after.GetName(), byRegion}.because("the region %s still has the deployment %s", id, d.GetName())
		}
	}
	if err := importing(ctx, tx, before, after); err != nil {
		return err
	}
	return imported(ctx, tx, before, after)
}

// importing checks what a service imports, if that or its regions are others
// than before.
func importing(ctx context.Context, tx *store.Tx, before, after *metav1.Service) error {
	if before != nil && slices.Equal(before.Regions(), after.Regions()) && sameVersions(before, after) {
		return nil
	}
	checked := map[string]*metav1.Service{}
	for _, v := range after.GetVersions() {
		for _, i := range v.GetImports() {
			other, ok := checked[i.GetService()]
			if !ok {
				var err error
				if other, err = pinned[*metav1.Service](ctx, tx, metav1.ServiceType, resource.Name(i.GetService())); err != nil {
					return err
				}
				checked[i.GetService()] = other
			}
			if other == nil {
				return refusal{"IMPORT_NOT_THERE", after.GetName(), "versions"}.because("there is no %s, which is to be imported", i.GetService())
			}
			if lack := minus(after.Regions(), other.Regions()); len(lack) > 0 {
				return refusal{"IMPORT_NOT_IN_REGION", after.GetName(), byRegion}.because(
					"%s is imported, so it must be in every region of the importer, but it is not in %s", i.GetService(), strings.Join(lack, ", "))
			}
			if lack := minus(i.GetVersions(), other.VersionNames()); len(lack) > 0 {
				return refusal{"IMPORT_WITHOUT_VERSION", after.GetName(), "versions"}.because("%s does not have the version %s", i.GetService(), strings.Join(lack, ", "))
			}
		}
	}
	return nil
}

// sameVersions reports whether two services have the same versions with the
// same imports.
func sameVersions(a, b *metav1.Service) bool {
	return slices.EqualFunc(a.GetVersions(), b.GetVersions(), func(x, y *metav1.ServiceVersion) bool { return proto.Equal(x, y) })
}

// imported checks who imports a service, if that lost a region or a version.
func imported(ctx context.Context, tx *store.Tx, before, after *metav1.Service) error {
	regions, versions := minus(before.Regions(), after.Regions()), minus(before.VersionNames(), after.VersionNames())
	if len(regions) == 0 && len(versions) == 0 {
		return nil
	}
	importers, err := servicesBy(ctx, tx, byImport, after.GetName())
	if err != nil {
		return err
	}
	for _, other := range importers {
		for _, id := range regions {
			if slices.Contains(other.Regions(), id) {
				return refusal{"REGION_HAS_IMPORTER", after.GetName(), byRegion}.because("%s imports it and is in the region %s", other.GetName(), id)
			}
		}
		for _, v := range other.GetVersions() {
			for _, i := range v.GetImports() {
				if lost := minus(i.GetVersions(), after.VersionNames()); i.GetService() == after.GetName() && len(lost) > 0 {
					return refusal{"VERSION_HAS_IMPORTER", after.GetName(), "versions"}.because("%s imports the version %s", other.GetName(), strings.Join(lost, ", "))
				}
			}
		}
	}
	return nil
}

// deployed checks a deployment against its service.
func deployed(s *metav1.Service, d *metav1.Deployment) error {
	if !slices.Contains(s.Regions(), d.Region()) {
		return refusal{"REGION_NOT_ENABLED", d.GetName(), "name"}.because("the id of a deployment is that of its region, and %s is not a region of %s", d.Region(), s.GetName())
	}
	if v := d.GetCurrentVersion(); v != "" && !slices.Contains(s.VersionNames(), v) {
		return refusal{"NO_SUCH_VERSION", d.GetName(), "current_version"}.because("%s does not have the version %s", s.GetName(), v)
	}
	return nil
}

// servicesBy are the services that an index finds by a text, with the pending
// writes. That they are these becomes a condition of the transaction.
func servicesBy(ctx context.Context, tx *store.Tx, index, text string) (found []*metav1.Service, err error) {
	x, ok := typ(tx, metav1.ServiceType).Index(index)
	if !ok {
		panic("BUG: meta: services have no index of " + index)
	}
	value := filter.Key(fieldpath.Value{Value: protoreflect.ValueOfString(text), Desc: x.Path.Desc()})
	where := []filter.Condition{{Index: index, Op: filter.In, Values: [][]byte{value}}}
	err = tx.Scan(ctx, store.Scan{Type: metav1.ServiceType, Where: where}, func(_ *schema.Resource, m proto.Message) bool {
		if s, ok := m.(*metav1.Service); ok {
			found = append(found, s)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("looking for services by %s: %w", index, err)
	}
	return found, nil
}

// minus are the items of a that are not in b.
func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// refusal is a change that does not go with what there is: why, of what, and
// which field.
type refusal struct{ reason, name, field string }

// because is its fault.
func (r refusal) because(format string, args ...any) error {
	return &fault.Error{Op: "meta.Rules", Name: r.name, Kind: fault.Precondition, Reason: r.reason, Field: r.field, Err: fmt.Errorf(format, args...)}
}
