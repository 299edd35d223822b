package serving

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/spec"
)

// table is where the requests of a route go.
type table struct {
	targets []share
	// tags are the revisions that have a name of their own.
	tags map[string]named
}

// share is a revision and the percentage of the requests that go there.
type share struct {
	revision named
	percent  int
}

// pick is the revision of the next request.
func (t *table) pick() (named, bool) {
	if len(t.targets) == 1 {
		return t.targets[0].revision, true
	}
	n := rand.IntN(100)
	for _, x := range t.targets {
		if n -= x.percent; n < 0 {
			return x.revision, true
		}
	}
	return named{}, false
}

// learn has requests go where the status of a route says.
func (s *Serving) learn(route object.Object) {
	t := &table{tags: map[string]named{}}
	for _, x := range targets(route, "status") {
		r := named{route.Namespace(), x.Revision}
		if x.Percent != nil && *x.Percent > 0 {
			t.targets = append(t.targets, share{r, int(*x.Percent)})
		}
		if x.Tag != "" {
			t.tags[x.Tag] = r
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes[named{route.Namespace(), route.Name()}] = t
}

// revisionsOf are the revisions that a route leads to.
func (s *Serving) revisionsOf(n named) []named {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.routes[n]
	if t == nil {
		return nil
	}
	var out []named
	for _, x := range t.targets {
		out = append(out, x.revision)
	}
	for _, r := range t.tags {
		out = append(out, r)
	}
	return out
}

// routesTo are the names of the routes that lead to a revision.
func (s *Serving) routesTo(revision named) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for n, t := range s.routes {
		leads := slices.ContainsFunc(t.targets, func(x share) bool { return x.revision == revision })
		for _, r := range t.tags {
			leads = leads || r == revision
		}
		if leads {
			out = append(out, n.name)
		}
	}
	slices.Sort(out)
	return out
}

// reconcileRoute assigns the traffic of a route. Until all of it can be, the
// requests go where they went before.
func (s *Serving) reconcileRoute(ctx context.Context, n named) error {
	o, err := s.get(spec.Route, n)
	if err != nil {
		return err
	}
	before := s.revisionsOf(n)
	if o == nil || o.Deleting() {
		s.mu.Lock()
		delete(s.routes, n)
		s.mu.Unlock()
		s.reach(before)
		return nil
	}
	was := o.Condition("Ready")
	assigned, problem, err := s.assign(o)
	if err != nil {
		return err
	}
	if problem == nil {
		o.Set(assigned, "status", "traffic")
		c := condition("AllTrafficAssigned", yes, "", "")
		problem = &c
	}
	ingress := condition("IngressReady", yes, "", "")
	if o.Get("status", "traffic") == nil {
		ingress = condition("IngressReady", unknown, "IngressNotConfigured", "Ingress has not yet been reconciled.")
	}
	o.Set(s.url(n, ""), "status", "url")
	o.Set(s.url(n, ""), "status", "address", "url")
	settle(o, s.o.Now(), *problem, ingress, object.Condition{Type: "CertificateProvisioned", Status: yes, Reason: "TLSNotEnabled", Message: "external-domain-tls is not enabled"})
	if _, err := s.store.UpdateStatus(ctx, o); err != nil {
		return err
	}
	s.learn(o)
	s.reach(append(before, s.revisionsOf(n)...))
	s.tell(ctx, o, was)
	return nil
}

// reach has the revisions looked at that routes lead to now or did before, and
// their configurations, which may have one too many now.
func (s *Serving) reach(revisions []named) {
	for _, r := range revisions {
		s.queue.add(item{spec.Revision, r})
		if o, err := s.get(spec.Revision, r); err == nil && o != nil {
			s.queue.add(item{spec.Configuration, named{r.namespace, o.Labels()[spec.ConfigurationLabel]}})
		}
	}
}

// assign is the traffic of a route with the revisions that it goes to, or why
// it cannot go there.
func (s *Serving) assign(route object.Object) ([]any, *object.Condition, error) {
	n := named{route.Namespace(), route.Name()}
	out := []any{}
	for _, t := range targets(route, "spec") {
		m := map[string]any{"revisionName": t.Revision, "latestRevision": t.Revision == "", "percent": number(value(t.Percent))}
		if t.Revision == "" {
			latest, problem, err := s.latestOf(named{n.namespace, t.Configuration})
			if err != nil || problem != nil {
				return nil, problem, err
			}
			m["revisionName"] = latest
		} else {
			problem, err := s.usable(n, t.Revision, route.Labels()[spec.ServiceLabel])
			if err != nil || problem != nil {
				return nil, problem, err
			}
		}
		if t.Tag != "" {
			m["tag"], m["url"] = t.Tag, s.url(n, t.Tag)
		}
		out = append(out, m)
	}
	return out, nil, nil
}

// value is the number that p points to, or 0.
func value(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}

// latestOf is the latest ready revision of a configuration.
func (s *Serving) latestOf(n named) (string, *object.Condition, error) {
	c, err := s.get(spec.Configuration, n)
	if err != nil {
		return "", nil, err
	}
	failed := func(status, reason, format string) *object.Condition {
		x := condition("AllTrafficAssigned", status, reason, fmt.Sprintf(format, n.name))
		return &x
	}
	if c == nil {
		return "", failed(no, "ConfigurationMissing", "Configuration %q referenced in traffic not found."), nil
	}
	latest := c.Text("status", "latestReadyRevisionName")
	switch {
	case latest != "":
		return latest, nil, nil
	case c.Condition("Ready").Status == no:
		return "", failed(no, "RevisionMissing", "Configuration %q does not have any ready Revision."), nil
	}
	return "", failed(unknown, "RevisionMissing", "Configuration %q is waiting for a Revision to become ready."), nil
}

// usable is why a revision that is named cannot be routed to, nil if it can.
func (s *Serving) usable(route named, name, service string) (*object.Condition, error) {
	r, err := s.get(spec.Revision, named{route.namespace, name})
	if err != nil {
		return nil, err
	}
	failed := func(status, reason, format string, args ...any) (*object.Condition, error) {
		x := condition("AllTrafficAssigned", status, reason, fmt.Sprintf(format, args...))
		return &x, nil
	}
	if r == nil {
		return failed(no, "RevisionMissing", "Revision %q referenced in traffic not found.", name)
	}
	if of := r.Labels()[spec.ServiceLabel]; service != "" && of != service {
		return failed(no, "RevisionNotOwned", "Revision %q does not belong to Service %q.", name, service)
	}
	switch r.Condition("Ready").Status {
	case yes:
		return nil, nil
	case no:
		return failed(no, "RevisionMissing", "Revision %q failed to become ready.", name)
	}
	return failed(unknown, "RevisionMissing", "Revision %q is not yet ready.", name)
}

// PathPrefix is where functions are below the platform's URL.
const PathPrefix = "/functions/"

// url is where a route, or one of its tags, is reached.
func (s *Serving) url(n named, tag string) string {
	name := n.name
	if tag != "" {
		name = tag + "-" + name
	}
	base := ""
	if s.o.URL != nil {
		base = strings.TrimSuffix(s.o.URL(), "/")
	}
	if s.o.Domain == "" {
		return base + PathPrefix + n.namespace + "/" + name
	}
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.Host = name + "." + n.namespace + "." + s.o.Domain + port(u)
	return u.String()
}

// port is the port of a URL with its colon, "" if it is that of the scheme.
func port(u *url.URL) string {
	if u.Port() == "" {
		return ""
	}
	return ":" + u.Port()
}
