package meta

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// visibility is the plugin that says by metadata.services which services may see
// what: a service is for itself, those that it imports or uses, and those that
// import or use it; its deployments and types are for the same. What a caller
// says about it does not count.
type visibility struct{}

var _ store.Plugin = visibility{}

// Prepare implements [store.Plugin].
func (visibility) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	switch after := w.After.(type) {
	case *metav1.Service:
		is, err := servicesOf(ctx, tx, after)
		if err != nil {
			return err
		}
		w.Resource.MetadataOf(after).Services = is
	case *metav1.Deployment, *metav1.Resource:
		parent, err := pinned[*metav1.Service](ctx, tx, metav1.ServiceType, w.Name.Parent())
		if err != nil || parent == nil {
			return err // that it is there is for the rules to say
		}
		w.Resource.MetadataOf(after).Services = parent.GetMetadata().GetServices()
	}
	return nil
}

// servicesOf are the services that a service is for.
func servicesOf(ctx context.Context, tx *store.Tx, s *metav1.Service) (*resourcev1.Services, error) {
	is := &resourcev1.Services{OwningService: s.Domain(), AllowedServices: []string{s.Domain()}}
	for _, name := range s.Related() {
		is.AllowedServices = append(is.AllowedServices, resource.Name(name).ID())
	}
	for _, index := range []string{byImport, byUse} {
		others, err := servicesBy(ctx, tx, index, s.GetName())
		if err != nil {
			return nil, err
		}
		for _, o := range others {
			is.AllowedServices = append(is.AllowedServices, o.Domain())
		}
	}
	slices.Sort(is.AllowedServices)
	is.AllowedServices = slices.Compact(is.AllowedServices)
	return is, nil
}

// The name under which the store keeps how far Run is, and why Run saves.
const (
	cursor = "meta-services"
	reason = "SERVICES_CHANGED"
)

// Run follows the changes of services until ctx ends: what one of them imports
// or uses is a matter of those others too, and of their deployments and types.
// It also ends leases. A copy follows its owner instead, who does all of that.
func (s *Service) Run(ctx context.Context) error {
	if s.copies != nil {
		return s.copies.run(ctx)
	}
	var leases sync.WaitGroup
	leases.Go(func() { s.runLeases(ctx) })
	defer leases.Wait()
	return s.store.Tail(ctx, cursor, func(ctx context.Context, changes []store.Change) error {
		var names []string // each once, however many relate to it
		for _, c := range changes {
			if c.Type != metav1.ServiceType {
				continue
			}
			before, after, err := both(c)
			if err != nil {
				return err
			}
			names = append(names, affected(before, after)...)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if err := s.follow(ctx, resource.Name(name)); err != nil {
				return fmt.Errorf("who may see %s: %w", name, err)
			}
		}
		return nil
	})
}

// both are the services before and after a change, nil for none.
func both(c store.Change) (before, after *metav1.Service, err error) {
	for body, to := range map[*[]byte]**metav1.Service{&c.Before: &before, &c.After: &after} {
		if *body == nil {
			continue
		}
		*to = &metav1.Service{}
		if err := proto.Unmarshal(*body, *to); err != nil {
			return nil, nil, fmt.Errorf("decoding %s: %w", c.Name, err)
		}
	}
	return before, after, nil
}

// affected are the names of the services whose visibility a change may concern:
// those that it begins or ceases to relate to, and the service itself if its own
// is another now.
func affected(before, after *metav1.Service) []string {
	was, is := before.Related(), after.Related()
	names := append(minus(was, is), minus(is, was)...)
	if before != nil && after != nil && !proto.Equal(before.GetMetadata().GetServices(), after.GetMetadata().GetServices()) {
		names = append(names, after.GetName())
	}
	return names
}

// follow saves a service with all that is of it, so that who may see it is as it
// should be, all at once. What is right already is not written.
func (s *Service) follow(ctx context.Context, name resource.Name) error {
	return s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		tx, _ := s.store.TxOf(ctx)
		is, err := s.store.Get(ctx, typ(tx, metav1.ServiceType), name)
		if fault.KindOf(err) == fault.NotFound {
			return nil // it is used before it is there
		}
		if err != nil {
			return err
		}
		all := []proto.Message{is}
		for _, kind := range []string{metav1.DeploymentType, metav1.ResourceType} {
			// "0" follows "/": these are the names below the service.
			err := tx.Scan(ctx, store.Scan{Type: kind, From: name + "/", To: name + "0"}, func(_ *schema.Resource, m proto.Message) bool {
				all = append(all, m)
				return true
			})
			if err != nil {
				return err
			}
		}
		for _, m := range all {
			if err := s.store.Save(ctx, m, store.SaveOptions{Update: true, Reason: reason}); err != nil {
				return err
			}
		}
		return nil
	})
}
