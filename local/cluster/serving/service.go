package serving

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// applied is what kubectl notes of a manifest; it is of that object alone.
const applied = "kubectl.kubernetes.io/last-applied-configuration"

// get is an object, nil if there is none.
func (s *Serving) get(k object.Key, n named) (object.Object, error) {
	o, err := s.store.Get(k, n.namespace, n.name)
	if fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	return o, err
}

// create creates an object that belongs to another one. If that went meanwhile
// the object goes too, and the error is NotFound: nobody else would miss it.
func (s *Serving) create(ctx context.Context, o object.Object) (object.Object, error) {
	o, err := s.store.Create(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, w := range o.Owners() {
		group, _, _ := strings.Cut(w.APIVersion, "/")
		owner, err := s.get(object.Key{Group: group, Name: w.Kind}, named{o.Namespace(), w.Name})
		if err != nil {
			return nil, err
		}
		if owner != nil && owner.UID() == w.UID {
			continue
		}
		if _, err := s.store.Delete(ctx, object.Key{Group: o.Group(), Name: o.KindName()}, o.Namespace(), o.Name(), object.Preconditions{UID: o.UID()}); err != nil {
			return nil, err
		}
		return nil, &fault.Error{Op: "serving", Kind: fault.NotFound, Name: w.Name, Err: fmt.Errorf("%s %q was deleted", w.Kind, w.Name)}
	}
	return o, nil
}

// reconcileService makes the configuration and the route of a service, and
// says of the service what they say.
func (s *Serving) reconcileService(ctx context.Context, n named) error {
	o, err := s.get(spec.Service, n)
	if o == nil || o.Deleting() {
		return err
	}
	wanted := map[object.Key]map[string]any{
		spec.Configuration: {"template": o.Get("spec", "template")},
		spec.Route:         {"traffic": own(o)},
	}
	made, conditions := map[object.Key]object.Object{}, map[object.Key]object.Condition{}
	for _, k := range []object.Key{spec.Configuration, spec.Route} {
		typ := k.Name + "sReady"
		child, err := s.child(ctx, o, k, wanted[k])
		switch {
		case err != nil:
			return err
		case child == nil:
			conditions[k] = condition(typ, no, "NotOwned", fmt.Sprintf("There is an existing %s %q that we do not own.", k.Name, n.name))
			continue
		case !current(child):
			conditions[k] = condition(typ, unknown, "OutOfDate", fmt.Sprintf("The %s is still working to reflect the latest desired specification.", k.Name))
		default:
			c := child.Condition("Ready")
			conditions[k] = condition(typ, orUnknown(c.Status), c.Reason, c.Message)
		}
		made[k] = child
	}
	before := o.Condition("Ready")
	if c := made[spec.Configuration]; c != nil {
		put(o, c.Text("status", "latestCreatedRevisionName"), "status", "latestCreatedRevisionName")
		put(o, c.Text("status", "latestReadyRevisionName"), "status", "latestReadyRevisionName")
	}
	if r := made[spec.Route]; r != nil {
		for _, field := range []string{"url", "address", "traffic"} {
			if v := r.Get("status", field); v != nil {
				o.Set(v, "status", field)
			}
		}
		if conditions[spec.Configuration].Status == yes && !migrated(r, o.Text("status", "latestReadyRevisionName")) {
			conditions[spec.Route] = condition("RoutesReady", unknown, "TrafficNotMigrated", "Traffic is not yet migrated to the latest revision.")
		}
	}
	settle(o, s.o.Now(), conditions[spec.Configuration], conditions[spec.Route])
	if _, err := s.store.UpdateStatus(ctx, o); err != nil {
		return err
	}
	s.tell(ctx, o, before)
	return nil
}

// orUnknown is a status, or that it is not known.
func orUnknown(status string) string {
	if status == "" {
		return unknown
	}
	return status
}

// migrated reports whether what a route sends to the latest revision goes there.
func migrated(route object.Object, latest string) bool {
	for _, t := range targets(route, "status") {
		if t.Latest != nil && *t.Latest && t.Revision != latest {
			return false
		}
	}
	return true
}

// own is the traffic of a service as its route has it: the latest revision is
// that of the service's own configuration.
func own(service object.Object) []any {
	list, _ := service.Clone().Get("spec", "traffic").([]any)
	for _, v := range list {
		if m, ok := v.(map[string]any); ok && object.Object(m).Text("revisionName") == "" {
			m["configurationName"] = service.Name()
		}
	}
	return list
}

// child is the object of a kind that belongs to a service and has its name,
// with that spec; nil if there is one that belongs to somebody else.
func (s *Serving) child(ctx context.Context, service object.Object, k object.Key, want map[string]any) (object.Object, error) {
	labels := maps.Clone(service.Labels())
	if labels == nil {
		labels = map[string]string{}
	}
	labels[spec.ServiceLabel], labels[spec.ServiceUIDLabel] = service.Name(), service.UID()
	annotations := service.Annotations()
	delete(annotations, applied)
	o, err := s.get(k, named{service.Namespace(), service.Name()})
	if err != nil {
		return nil, err
	}
	if o == nil {
		o = s.store.Kind(k).New(service.Namespace(), service.Name())
		o.OwnedBy(service)
	} else if !controlled(o, service) {
		return nil, nil
	}
	version := o.ResourceVersion()
	o.Set(plainMap(labels), "metadata", "labels")
	o.Set(plainMap(annotations), "metadata", "annotations")
	o["spec"] = want
	if version == "" {
		o, err = s.create(ctx, o)
	} else {
		o, err = s.store.Update(ctx, o)
	}
	if err != nil {
		return nil, fmt.Errorf("write the %s of service %s: %w", k.Name, service.Name(), err)
	}
	return o, nil
}
