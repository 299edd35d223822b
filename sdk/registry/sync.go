package registry

import (
	"context"
	"log/slog"

	metav1 "selvedge.dev/functions/meta/v1"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/watch"
)

// told is what a watch told: an event of one of the two.
type told struct {
	service    *watch.Event[*metav1.Service]
	deployment *watch.Event[*metav1.Deployment]
}

// watched are the fields of services and deployments that are followed. Who else
// may see them is not: in what everybody uses that changes with every service
// that comes, and all would be told. Nor is when a deployment was heard of.
var watched = struct{ services, deployments []string }{
	services: []string{
		"name", "metadata.uid", "metadata.labels", "metadata.lifecycle", "display_name", "endpoint", "versions", "used_services",
		"multi_region_policy", "project", "env_registry_generation",
	},
	deployments: []string{
		"name", "metadata.uid", "metadata.labels", "metadata.lifecycle", "endpoint", "private_endpoint", "local_network", "current_version",
		"is_disabled", "upgrade_state", "db_data_version", "db_location_tag", "presence.state",
	},
}

// runServicesWatch watches services until ctx ends. It begins when the service is
// registered, so that the first snapshot has all that concerns it.
func (r *Registry) runServicesWatch(ctx context.Context) error {
	select {
	case <-r.registered:
	case <-ctx.Done():
		return nil
	}
	return r.services.Run(ctx, func(ctx context.Context, e watch.Event[*metav1.Service]) error {
		return r.tell(ctx, told{service: &e})
	})
}

// runDeploymentsWatch watches deployments, in the same way.
func (r *Registry) runDeploymentsWatch(ctx context.Context) error {
	select {
	case <-r.registered:
	case <-ctx.Done():
		return nil
	}
	return r.deployments.Run(ctx, func(ctx context.Context, e watch.Event[*metav1.Deployment]) error {
		return r.tell(ctx, told{deployment: &e})
	})
}

// tell hands something to the main sync.
func (r *Registry) tell(ctx context.Context, t told) error {
	select {
	case r.in <- t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mainSync is what the main sync alone knows.
type mainSync struct {
	r           *Registry
	subscribers map[*subscriber]bool
	// services and deployments are whether all of them were told, ready whether
	// that signal was given.
	services, deployments, ready bool
}

// runMainSync is the one loop that unites everything, until ctx ends.
func (r *Registry) runMainSync(ctx context.Context) {
	m := &mainSync{r: r, subscribers: map[*subscriber]bool{}}
	defer func() {
		close(r.ended)
		for s := range m.subscribers {
			s.end()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-r.in:
			if t.service != nil {
				m.service(t.service)
			} else {
				m.deployment(t.deployment)
			}
		case s := <-r.attach:
			m.subscribers[s] = true
			s.push(r.snapshot()...)
		case s := <-r.detach:
			delete(m.subscribers, s)
		}
		m.signal()
	}
}

// service handles what the watch of services tells.
func (m *mainSync) service(e *watch.Event[*metav1.Service]) {
	switch e.Kind {
	case watch.Set, watch.Removed:
		kind, name := ServiceSet, resource.Name(e.New.GetName())
		if e.Kind == watch.Removed {
			kind, name = ServiceRemoved, resource.Name(e.Old.GetName())
		}
		change(m.r, m.r.known.services, name, e.New)
		m.publish(Event{Kind: kind, OldService: e.Old, Service: e.New})
	case watch.InSync:
		m.services = true
	case watch.LostSync, watch.Resync:
		m.r.sync("services", e.Kind)
	}
}

// deployment handles what the watch of deployments tells.
func (m *mainSync) deployment(e *watch.Event[*metav1.Deployment]) {
	switch e.Kind {
	case watch.Set, watch.Removed:
		kind, name := DeploymentSet, resource.Name(e.New.GetName())
		if e.Kind == watch.Removed {
			kind, name = DeploymentRemoved, resource.Name(e.Old.GetName())
		}
		change(m.r, m.r.known.deployments, name, e.New)
		m.publish(Event{Kind: kind, OldDeployment: e.Old, Deployment: e.New})
	case watch.InSync:
		m.deployments = true
	case watch.LostSync, watch.Resync:
		m.r.sync("deployments", e.Kind)
	}
}

// change makes an object part of what is known, or, if it is nil, not.
func change[M interface {
	comparable
	GetName() string
}](r *Registry, all map[resource.Name]M, name resource.Name, is M,
) {
	var none M
	r.mu.Lock()
	defer r.mu.Unlock()
	if is == none {
		delete(all, name)
	} else {
		all[name] = is
	}
}

// sync logs that what is known is old, or no longer.
func (r *Registry) sync(what string, kind watch.Kind) {
	if kind == watch.LostSync {
		r.log.Warn("the registry was not heard of for long: what is known may be old", slog.String("what", what))
		return
	}
	r.log.Info("the registry is heard of again", slog.String("what", what))
}

// publish hands an event to all subscribers. Who is too far behind is let go.
func (m *mainSync) publish(e Event) {
	m.r.keep(e)
	for s := range m.subscribers {
		if !s.push(e) {
			delete(m.subscribers, s)
		}
	}
}

// signal tells Open that it can return, once everything was told, and the service
// itself is among it.
func (m *mainSync) signal() {
	if !m.ready && m.services && m.deployments && m.r.knowsItself() {
		m.ready = true
		m.r.log.Info("registered and informed", slog.String("service", m.r.domain), slog.String("region", m.r.o.Region))
		close(m.r.ready)
	}
}

// knowsItself reports whether the service and its deployment are known: a
// registry that is a copy may not have them yet.
func (r *Registry) knowsItself() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.known.services[resource.Name(r.ownService())] != nil && r.known.deployments[resource.Name(r.ownDeployment())] != nil
}
