package plugins

import (
	"context"
	"fmt"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store"
)

// Services keeps metadata.services: a service other than the type's own creates
// only what it says is its own. Users create what they like.
type Services struct{}

var _ store.Plugin = Services{}

// Prepare implements [store.Plugin].
func (Services) Prepare(ctx context.Context, _ *store.Tx, w *store.Pending) error {
	if w.After == nil || w.Resource.Metadata == nil {
		return nil
	}
	s := w.Resource.MetadataOf(w.After).GetServices()
	caller, owner := store.ServiceOf(ctx), s.GetOwningService()
	if w.Before == nil && w.Asked() && caller != "" && caller != w.Resource.Service.Domain && owner != caller {
		return &fault.Error{
			Op: "plugins.Services", Name: string(w.Name), Kind: fault.Denied, Reason: "NOT_OWNING_SERVICE", Field: "metadata.services.owning_service",
			Err: fmt.Errorf("the service %s can create only resources whose owning service is %s", caller, caller),
		}
	}
	if owner != "" && !slices.Contains(s.GetAllowedServices(), owner) {
		s.AllowedServices = append(s.AllowedServices, owner)
	}
	return nil
}
