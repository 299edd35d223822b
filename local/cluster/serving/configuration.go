package serving

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/spec"
)

// reconcileConfiguration makes the revision of the present template, and
// removes those that nobody needs.
func (s *Serving) reconcileConfiguration(ctx context.Context, n named) error {
	o, err := s.get(spec.Configuration, n)
	if o == nil || o.Deleting() {
		return err
	}
	before := o.Condition("Ready")
	revision, why, err := s.latest(ctx, o)
	if err != nil {
		return err
	}
	if why != "" {
		settle(o, s.o.Now(), condition("Ready", no, "RevisionFailed", "Revision creation failed with message: "+why+"."))
		if _, err = s.store.UpdateStatus(ctx, o); err == nil {
			s.tell(ctx, o, before)
		}
		return err
	}
	o.Set(revision.Name(), "status", "latestCreatedRevisionName")
	all := s.revisions(o)
	s.setLatestReady(ctx, o, all)
	ready := revision.Condition("Ready")
	c := condition("Ready", orUnknown(ready.Status), "", "")
	if ready.Status == no {
		c = condition("Ready", no, "RevisionFailed", fmt.Sprintf("Revision %q failed with message: %s.", revision.Name(), ready.Message))
	}
	settle(o, s.o.Now(), c)
	if _, err := s.store.UpdateStatus(ctx, o); err != nil {
		return err
	}
	s.tell(ctx, o, before)
	return s.collect(ctx, o, all)
}

// latest is the revision of the present template; it is made if there is none.
// why is why there cannot be one.
func (s *Serving) latest(ctx context.Context, configuration object.Object) (revision object.Object, why string, err error) {
	name := configuration.Text("spec", "template", "metadata", "name")
	chosen := name != ""
	if !chosen {
		name = fmt.Sprintf("%s-%05d", configuration.Name(), configuration.Generation())
	}
	r, err := s.get(spec.Revision, named{configuration.Namespace(), name})
	if err != nil {
		return nil, "", err
	}
	if r == nil {
		r, err = s.create(ctx, s.newRevision(configuration, name))
		if err != nil {
			return nil, "", fmt.Errorf("create revision %s: %w", name, err)
		}
		return r, "", nil
	}
	same := object.Same(r["spec"], configuration.Get("spec", "template", "spec"))
	if !controlled(r, configuration) || (chosen && !same) || (!chosen && generation(r) != configuration.Generation()) {
		return nil, fmt.Sprintf("the revision name %q is taken by a conflicting Revision", name), nil
	}
	return r, "", nil
}

// generation is that of the configuration which a revision was made of.
func generation(revision object.Object) int64 {
	n, _ := strconv.ParseInt(revision.Labels()[spec.GenerationLabel], 10, 64) // 0 if it does not say
	return n
}

// newRevision is the revision of a configuration's template.
func (s *Serving) newRevision(configuration object.Object, name string) object.Object {
	r := s.store.Kind(spec.Revision).New(configuration.Namespace(), name)
	template := object.Object{"template": configuration.Clone().Get("spec", "template")}
	labels, annotations := map[string]string{}, map[string]string{}
	for k, v := range template.Strings("template", "metadata", "labels") {
		labels[k] = v
	}
	for k, v := range template.Strings("template", "metadata", "annotations") {
		annotations[k] = v
	}
	labels[spec.ConfigurationLabel], labels[spec.ConfigurationUID] = configuration.Name(), configuration.UID()
	labels[spec.GenerationLabel] = strconv.FormatInt(configuration.Generation(), 10)
	labels[spec.RoutingStateLabel] = "pending"
	for _, k := range []string{spec.ServiceLabel, spec.ServiceUIDLabel} {
		if v := configuration.Labels()[k]; v != "" {
			labels[k] = v
		}
	}
	if by := configuration.Annotations()[spec.ModifierAnnotation]; by != "" {
		annotations[spec.CreatorAnnotation] = by
	}
	annotations[spec.StateChangedAnnotation] = object.Time(s.o.Now())
	r.Set(plainMap(labels), "metadata", "labels")
	r.Set(plainMap(annotations), "metadata", "annotations")
	r["spec"] = template.Get("template", "spec")
	r.OwnedBy(configuration)
	return r
}

// revisions are those of a configuration, the newest first.
func (s *Serving) revisions(configuration object.Object) []object.Object {
	all, _ := s.store.List(object.Query{Kind: spec.Revision, Namespace: configuration.Namespace()})
	all = slices.DeleteFunc(all, func(r object.Object) bool { return !controlled(r, configuration) })
	slices.SortFunc(all, func(a, b object.Object) int {
		return cmp.Or(-cmp.Compare(generation(a), generation(b)), -cmp.Compare(a.Name(), b.Name()))
	})
	return all
}

// setLatestReady sets the newest revision that is ready, but never one that is
// older than that which was the latest before: a rollback is somebody's decision.
func (s *Serving) setLatestReady(ctx context.Context, configuration object.Object, all []object.Object) {
	was := configuration.Text("status", "latestReadyRevisionName")
	least := int64(0)
	for _, r := range all {
		if r.Name() == was {
			least = generation(r)
		}
	}
	for _, r := range all {
		if generation(r) < least || r.Condition("Ready").Status != yes {
			continue
		}
		if r.Name() != was {
			configuration.Set(r.Name(), "status", "latestReadyRevisionName")
			s.record(ctx, configuration, note{"Normal", "LatestReadyUpdate", fmt.Sprintf("LatestReadyRevisionName updated to %q", r.Name())})
		}
		return
	}
}

// collect removes the oldest revisions that no route leads to.
func (s *Serving) collect(ctx context.Context, configuration object.Object, all []object.Object) error {
	kept := 0
	for _, r := range all {
		n := named{r.Namespace(), r.Name()}
		if r.Name() == configuration.Text("status", "latestReadyRevisionName") || r.Name() == configuration.Text("status", "latestCreatedRevisionName") ||
			len(s.routesTo(n)) > 0 || r.Annotations()[spec.PreservedAnnotation] == "true" {
			continue
		}
		if kept++; kept <= s.o.KeepRevisions {
			continue
		}
		if _, err := s.store.Delete(ctx, spec.Revision, r.Namespace(), r.Name(), object.Preconditions{UID: r.UID()}); err != nil {
			return fmt.Errorf("remove revision %s: %w", r.Name(), err)
		}
	}
	return nil
}
