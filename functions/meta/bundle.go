package meta

import (
	"context"
	"errors"
	"slices"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store"
)

// bundle is the plugin that runs before all others: what is agreed of services
// on one platform. Services are made by service accounts, each for its project,
// and every service uses the core ones.
type bundle struct{ Rules }

var _ store.Plugin = bundle{}

// Prepare implements [store.Plugin].
func (b bundle) Prepare(ctx context.Context, _ *store.Tx, w *store.Pending) error {
	after, ok := w.After.(*metav1.Service)
	if !ok {
		return nil
	}
	if before, ok := w.Before.(*metav1.Service); ok {
		after.Project = before.GetProject()
	} else if w.Reason == "" {
		caller := b.callerOf(ctx)
		if !caller.ServiceAccount && !caller.Registry {
			return &fault.Error{
				Op: "meta.Bundle", Name: string(w.Name), Kind: fault.Denied, Reason: "SERVICE_ACCOUNT_NEEDED",
				Err: errors.New("a service is made by the service account that manages it, and by nobody else"),
			}
		}
		after.Project = caller.Project
	}
	if slices.Contains(b.Core, after.Domain()) {
		return nil // the core services say themselves which of them they use
	}
	for _, domain := range b.Core {
		if name := "services/" + domain; !slices.Contains(after.GetUsedServices(), name) {
			after.UsedServices = append(after.UsedServices, name)
		}
	}
	return nil
}
