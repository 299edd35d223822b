package serving

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// reconcileRevision has a revision run as it should, and says how it does.
func (s *Serving) reconcileRevision(ctx context.Context, n named) error {
	o, err := s.get(spec.Revision, n)
	if err != nil {
		return err
	}
	if o == nil || o.Deleting() {
		s.mu.Lock()
		if u := s.units[n]; u != nil {
			s.endUnit(u)
		}
		s.mu.Unlock()
		return nil
	}
	if past, err := s.past(o); err != nil || past {
		return err
	}
	u, err := s.ensureUnit(o)
	if err != nil {
		return err
	}
	routes := s.routesTo(n)
	u.setReachable(len(routes) > 0)
	v := u.view()
	if o, err = s.label(ctx, o, routes, v.fresh); err != nil {
		return err
	}
	before := o.Condition("Ready")
	var shown error
	if v.image != "" {
		// First, so that what is ready is there to be seen.
		shown = s.show(ctx, o, u, v.State)
		o.Set([]any{map[string]any{"name": u.spec.Containers[0].Name, "imageDigest": v.image}}, "status", "containerStatuses")
	}
	o.Set(number(int64(v.Ready)), "status", "actualReplicas")
	o.Set(number(int64(v.Wanted)), "status", "desiredReplicas")
	healthy, available := u.health(v)
	settle(o, s.o.Now(), healthy, available)
	o.SetConditions(s.o.Now(), active(v.State))
	if _, err := s.store.UpdateStatus(ctx, o); err != nil {
		return errors.Join(err, shown)
	}
	s.tell(ctx, o, before)
	return shown
}

// past reports whether a revision failed that nobody waits for any more: it is
// not the latest, no route leads to it, and nothing of it runs. A platform that
// starts does not try it again.
func (s *Serving) past(o object.Object) (bool, error) {
	n := named{o.Namespace(), o.Name()}
	s.mu.RLock()
	runs := s.units[n] != nil
	s.mu.RUnlock()
	if runs || o.Condition("Ready").Status != no || len(s.routesTo(n)) > 0 {
		return false, nil
	}
	c, err := s.get(spec.Configuration, named{n.namespace, o.Labels()[spec.ConfigurationLabel]})
	return c != nil && c.Text("status", "latestCreatedRevisionName") != n.name, err
}

// active is whether a revision has instances. Ready does not depend on it.
func active(st pool.State) object.Condition {
	c := object.Condition{Type: "Active", Status: yes, Severity: "Info"}
	switch {
	case st.Ready > 0:
	case st.Wanted == 0:
		c.Status, c.Reason, c.Message = no, "NoTraffic", "The target is not receiving traffic."
	default:
		c.Status, c.Reason, c.Message = unknown, "Queued", "Requests to the target are being buffered as resources are provisioned."
	}
	return c
}

// health is whether the container of a revision works, and what it needs is there.
func (u *unit) health(v view) (healthy, available object.Condition) {
	const containerHealthy, resourcesAvailable = "ContainerHealthy", "ResourcesAvailable"
	healthy, available = condition(containerHealthy, yes, "", ""), condition(resourcesAvailable, yes, "", "")
	switch f := v.Failure; {
	case v.missing != nil:
		healthy = condition(containerHealthy, no, "ContainerMissing", fmt.Sprintf("Unable to fetch image %q: %s", u.spec.Containers[0].Image, text(v.missing)))
		available = condition(resourcesAvailable, unknown, "Deploying", "")
	case v.image == "":
		healthy = condition(containerHealthy, unknown, "ResolvingDigests", "")
		available = condition(resourcesAvailable, unknown, "Deploying", "")
	case v.Ready > 0 && v.initialized:
	case f.Reason != "" && f.Exited:
		healthy = condition(containerHealthy, no, f.Reason, "Container failed with: "+f.Message)
	case f.Reason != "":
		available = condition(resourcesAvailable, no, f.Reason, f.Message)
	case v.late:
		available = condition(resourcesAvailable, no, "ProgressDeadlineExceeded", "Initial scale was never achieved")
	case !v.initialized:
		healthy = condition(containerHealthy, unknown, "Deploying", "")
		available = condition(resourcesAvailable, unknown, "Deploying", "")
	}
	return healthy, available
}

// text is what a person may read of an error.
func text(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Message()
	}
	return err.Error()
}

// label notes on a revision which routes lead to it; a pending one has not been
// long enough for that.
func (s *Serving) label(ctx context.Context, o object.Object, routes []string, pending bool) (object.Object, error) {
	state := "active"
	switch {
	case len(routes) > 0:
	case pending:
		state = "pending"
	default:
		state = "reserve"
	}
	list := strings.Join(routes, ",")
	if o.Labels()[spec.RoutingStateLabel] == state && o.Annotations()[spec.RoutesAnnotation] == list {
		return o, nil
	}
	if o.Labels()[spec.RoutingStateLabel] != state {
		o.Set(object.Time(s.o.Now()), "metadata", "annotations", spec.StateChangedAnnotation)
	}
	o.Set(state, "metadata", "labels", spec.RoutingStateLabel)
	put(o, list, "metadata", "annotations", spec.RoutesAnnotation)
	return s.store.Update(ctx, o)
}

// show writes the deployment and the pods of a revision.
func (s *Serving) show(ctx context.Context, o object.Object, u *unit, st pool.State) error {
	d, err := s.showDeployment(ctx, o, u, st)
	if err != nil {
		return fmt.Errorf("show deployment: %w", err)
	}
	there := map[string]bool{}
	for _, i := range st.Instances {
		there[i.Name] = true
		if err := s.showPod(ctx, d, u, i); err != nil {
			return fmt.Errorf("show pod %s: %w", i.Name, err)
		}
	}
	selector, err := object.ParseSelector(spec.RevisionUIDLabel+"="+o.UID(), "")
	if err != nil {
		return err
	}
	pods, _ := s.store.List(object.Query{Kind: spec.Pod, Namespace: o.Namespace(), Selector: selector})
	for _, p := range pods {
		if there[p.Name()] {
			continue
		}
		if _, err := s.store.Delete(ctx, spec.Pod, p.Namespace(), p.Name(), object.Preconditions{}); err != nil && fault.KindOf(err) != fault.NotFound {
			return fmt.Errorf("remove pod %s: %w", p.Name(), err)
		}
	}
	return nil
}

// write creates or updates an object of ours, with its status.
func (s *Serving) write(ctx context.Context, o object.Object) (object.Object, error) {
	if o.ResourceVersion() == "" {
		return s.create(ctx, o)
	}
	status := o["status"]
	o, err := s.store.Update(ctx, o)
	if err != nil {
		return nil, err
	}
	o["status"] = status
	return s.store.UpdateStatus(ctx, o)
}

// labels are those of what runs for a revision.
func (u *unit) labels(o object.Object) map[string]string {
	out := o.Labels()
	if out == nil {
		out = map[string]string{}
	}
	delete(out, spec.RouteLabel)
	delete(out, spec.RoutingStateLabel)
	out[spec.RevisionLabel], out[spec.RevisionUIDLabel] = o.Name(), o.UID()
	out["app"] = cmp.Or(out["app"], o.Name())
	return out
}

// showDeployment writes what a revision runs.
func (s *Serving) showDeployment(ctx context.Context, o object.Object, u *unit, st pool.State) (object.Object, error) {
	at := named{o.Namespace(), o.Name() + "-deployment"}
	d, err := s.get(spec.Deployment, at)
	if err != nil {
		return nil, err
	}
	if d == nil || !controlled(d, o) {
		if d != nil {
			s.log.Warn("a deployment is in the way", slog.String("name", at.String()))
		}
		d = s.store.Kind(spec.Deployment).New(at.namespace, at.name)
		d.OwnedBy(o)
	}
	labels := plainMap(u.labels(o))
	d.Set(labels, "metadata", "labels")
	selector := map[string]any{spec.RevisionUIDLabel: o.UID()}
	d["spec"] = map[string]any{
		"replicas": number(int64(st.Wanted)),
		"selector": map[string]any{"matchLabels": selector},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": u.podSpec(o)},
	}
	ready := number(int64(st.Ready))
	status := yes
	if st.Ready < st.Wanted {
		status = no
	}
	d.Set(number(d.Generation()), "status", "observedGeneration")
	for _, field := range []string{"replicas", "updatedReplicas"} {
		d.Set(number(int64(len(st.Instances))), "status", field)
	}
	d.Set(ready, "status", "readyReplicas")
	d.Set(ready, "status", "availableReplicas")
	d.SetConditions(s.o.Now(), object.Condition{Type: "Available", Status: status, Reason: "MinimumReplicas"})
	return s.write(ctx, d)
}

// podSpec is the spec of the pods of a revision: its template, with the image
// by digest.
func (u *unit) podSpec(o object.Object) map[string]any {
	out, _ := o.Clone().Get("spec").(map[string]any)
	for _, field := range []string{"containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds"} {
		delete(out, field)
	}
	containers, _ := out["containers"].([]any)
	for _, v := range containers {
		if m, ok := v.(map[string]any); ok {
			m["image"] = u.image
		}
	}
	return out
}
