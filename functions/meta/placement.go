package meta

import (
	"context"

	metav1 "selvedge.dev/functions/meta/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// Placement is the plugin, behind those that every store has, that says where
// the resources of the registry are: all of them are owned by one region, and
// all regions have a copy. A copy keeps the metadata of its original.
type Placement struct {
	// Region is that of this registry, Regions are all, sorted.
	Region  string
	Regions []string
}

var (
	_ store.Plugin   = Placement{}
	_ store.Finisher = Placement{}
)

// isRegistrys reports whether a type is one of the registry's.
func isRegistrys(kind string) bool {
	switch kind {
	case metav1.RegionType, metav1.ServiceType, metav1.DeploymentType, metav1.ResourceType:
		return true
	}
	return false
}

// Prepare implements [store.Plugin].
func (p Placement) Prepare(ctx context.Context, _ *store.Tx, w *store.Pending) error {
	if w.After == nil || !isRegistrys(w.Resource.Type) {
		return nil
	}
	owner := p.Region
	if from := copying(ctx); from != nil {
		owner = from.region
	}
	w.Resource.MetadataOf(w.After).Syncing = &resourcev1.Syncing{OwningRegion: owner, Regions: p.Regions}
	return nil
}

// Finish implements [store.Finisher].
func (Placement) Finish(ctx context.Context, _ *store.Tx, w *store.Pending) error {
	from := copying(ctx)
	if from == nil || w.After == nil || !isRegistrys(w.Resource.Type) {
		return nil
	}
	md, is := w.Resource.MetadataOf(w.After), from.metadata
	md.Uid, md.Generation = is.GetUid(), is.GetGeneration()
	md.CreateTime, md.UpdateTime, md.DeleteTime = is.GetCreateTime(), is.GetUpdateTime(), is.GetDeleteTime()
	return nil
}
