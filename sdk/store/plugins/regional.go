package plugins

import (
	"context"
	"strings"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// Regional is the plugin of a store of the platform, behind the Standard ones, by
// which what is under a service ("services/S/…"), such as its roles, is each
// region's own.
type Regional struct {
	// Region is that of the store.
	Region string
}

var _ store.Plugin = Regional{}

// Prepare implements [store.Plugin].
func (r Regional) Prepare(_ context.Context, _ *store.Tx, w *store.Pending) error {
	if w.After != nil && w.Resource.Metadata != nil && strings.HasPrefix(string(w.Name), "services/") {
		w.Resource.MetadataOf(w.After).Syncing = &resourcev1.Syncing{OwningRegion: r.Region, Regions: []string{r.Region}}
	}
	return nil
}
