package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// admitService is the webhook of services.
func admitService(ctx context.Context, o, old object.Object) error {
	c := &checker{}
	if c.shape(o, shape{"template": templateShape, "traffic": trafficShape}) {
		defaultTemplate(o, old)
		defaultTraffic(o, true)
		c.signed(ctx, o, old)
		c.metadata(o)
		c.template(o, old)
		c.traffic(o, true)
	}
	return c.err(o)
}

// admitConfiguration is the webhook of configurations.
func admitConfiguration(ctx context.Context, o, old object.Object) error {
	c := &checker{}
	if c.shape(o, shape{"template": templateShape}) {
		defaultTemplate(o, old)
		if len(o.Owners()) == 0 {
			c.signed(ctx, o, old)
		}
		c.metadata(o)
		c.owned(o, ServiceLabel, "Service")
		c.template(o, old)
	}
	return c.err(o)
}

// admitRoute is the webhook of routes.
func admitRoute(ctx context.Context, o, old object.Object) error {
	c := &checker{}
	if c.shape(o, shape{"traffic": trafficShape}) {
		defaultTraffic(o, false)
		if len(o.Owners()) == 0 {
			c.signed(ctx, o, old)
		}
		c.metadata(o)
		c.owned(o, ServiceLabel, "Service")
		c.traffic(o, false)
	}
	return c.err(o)
}

// admitRevision is the webhook of revisions, which their configuration makes
// and nobody changes.
func admitRevision(_ context.Context, o, old object.Object) error {
	c := &checker{}
	switch {
	case old == nil:
		c.add("spec", "revisions are created by their Configuration")
	case !object.Same(o["spec"], old["spec"]):
		c.add("spec", "Immutable fields changed")
	}
	return c.err(o)
}

// checker collects what is wrong with an object.
type checker struct {
	field    string
	problems []string
}

// add notes that a field is wrong.
func (c *checker) add(field, format string, args ...any) {
	if c.field == "" {
		c.field = field
	}
	c.problems = append(c.problems, fmt.Sprintf(format, args...)+": "+field)
}

// forbidden notes that a field must not be set.
func (c *checker) forbidden(field string) {
	if c.field == "" {
		c.field = field
	}
	c.problems = append(c.problems, "must not set the field(s): "+field)
}

// missing notes that a field is not there.
func (c *checker) missing(field string) {
	if c.field == "" {
		c.field = field
	}
	c.problems = append(c.problems, "missing field(s): "+field)
}

// err is everything that is wrong.
func (c *checker) err(o object.Object) error {
	if len(c.problems) == 0 {
		return nil
	}
	return &fault.Error{
		Op: "spec.Admit", Kind: fault.Invalid, Name: o.Name(), Field: c.field,
		Err: errors.New("validation failed: " + strings.Join(c.problems, "\n")),
	}
}

// shape checks that the fields below spec are known; what is not an object at
// all is not looked at any further.
func (c *checker) shape(o object.Object, s shape) bool {
	if _, ok := o["spec"].(map[string]any); !ok && (o["spec"] != nil || s["template"] != nil) {
		c.missing("spec")
		return false
	}
	for _, path := range s.unknown("spec", o["spec"]) {
		c.forbidden(path)
	}
	return true
}

// metadata checks the name and the annotations of the object itself.
func (c *checker) metadata(o object.Object) {
	if !dnsLabel.MatchString(o.Name()) && o.Name() != "" {
		c.add("metadata.name", "invalid value: not a DNS 1035 label: %s", o.Name())
	}
	for key := range o.Annotations() {
		if strings.HasPrefix(key, "autoscaling.knative.dev") {
			c.add("metadata.annotations", `invalid key name %q: autoscaling annotations must be put under "spec.template.metadata.annotations" to work`, key)
		}
	}
	if v := o.Annotations()[rolloutAnnotation]; v != "" {
		c.seconds("metadata.annotations."+rolloutAnnotation, "rollout-duration", v)
	}
}

// owned checks that an object that says to belong to an owner does.
func (c *checker) owned(o object.Object, label, kind string) {
	name := o.Labels()[label]
	if name == "" || slices.ContainsFunc(o.Owners(), func(w object.Owner) bool { return w.Kind == kind && w.Name == name }) {
		return
	}
	c.missing("metadata.labels." + label)
}

// signed notes who created and who last changed the object.
func (c *checker) signed(ctx context.Context, o, old object.Object) {
	who := iam.PrincipalOf(ctx).Name
	if who == "" {
		who = "anonymous"
	}
	set := func(key, value string) { o.Set(value, "metadata", "annotations", key) }
	if old == nil {
		set(CreatorAnnotation, who)
		set(ModifierAnnotation, who)
		return
	}
	creator, modifier := old.Annotations()[CreatorAnnotation], old.Annotations()[ModifierAnnotation]
	if is := o.Annotations()[CreatorAnnotation]; is != "" && is != creator {
		c.add("metadata.annotations."+CreatorAnnotation, "annotation value is immutable")
	}
	set(CreatorAnnotation, creator)
	if !object.Same(o["spec"], old["spec"]) {
		modifier = who
	}
	set(ModifierAnnotation, modifier)
}

// dnsLabel is an RFC 1035 label, dnsName a name of RFC 1123 of such parts.
var (
	dnsLabel = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	dnsName  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
)

// defaultTemplate fills in the template, unless it has a name of its own that
// stays: then it must not change.
func defaultTemplate(o, old object.Object) {
	if name := o.Text("spec", "template", "metadata", "name"); old != nil && name != "" && name == old.Text("spec", "template", "metadata", "name") {
		return
	}
	spec, ok := o.Get("spec", "template", "spec").(map[string]any)
	if !ok {
		return
	}
	s := object.Object(spec)
	if s.Int("timeoutSeconds") == 0 && numeric(s["timeoutSeconds"]) {
		s["timeoutSeconds"] = json.Number("300")
	}
	if s["responseStartTimeoutSeconds"] == nil && s.Int("timeoutSeconds") > 300 {
		s["responseStartTimeoutSeconds"] = json.Number("300")
	}
	if s["containerConcurrency"] == nil {
		s["containerConcurrency"] = json.Number("0")
	}
	if s["enableServiceLinks"] == nil {
		s["enableServiceLinks"] = false
		if was := old.Get("spec", "template", "spec", "enableServiceLinks"); was != nil {
			s["enableServiceLinks"] = was
		}
	}
	writable := map[string]bool{}
	volumes, _ := s["volumes"].([]any)
	for _, v := range volumes {
		if m, ok := v.(map[string]any); ok && m["emptyDir"] != nil {
			name, _ := m["name"].(string)
			writable[name] = true
		}
	}
	containers, _ := s["containers"].([]any)
	for _, v := range containers {
		if m, ok := v.(map[string]any); ok {
			defaultContainer(m, writable)
		}
	}
}

// numeric reports whether v is a number or nothing.
func numeric(v any) bool {
	_, ok := v.(json.Number)
	return v == nil || ok
}

// defaultContainer fills in a container.
func defaultContainer(c object.Object, writable map[string]bool) {
	if c.Text("name") == "" {
		c["name"] = UserContainer
	}
	if c["resources"] == nil {
		c["resources"] = map[string]any{}
	}
	if c["readinessProbe"] == nil {
		c["readinessProbe"] = map[string]any{}
	}
	if m, ok := c["readinessProbe"].(map[string]any); ok {
		p := object.Object(m)
		if p["httpGet"] == nil && p["tcpSocket"] == nil && p["exec"] == nil && p["grpc"] == nil {
			p["tcpSocket"] = map[string]any{"port": json.Number("0")}
		}
		if p["successThreshold"] == nil || p.Int("successThreshold") == 0 {
			p["successThreshold"] = json.Number("1")
		}
		if p.Int("periodSeconds") != 0 {
			for field, v := range map[string]string{"failureThreshold": "3", "timeoutSeconds": "1"} {
				if p.Int(field) == 0 {
					p[field] = json.Number(v)
				}
			}
		}
	}
	mounts, _ := c["volumeMounts"].([]any)
	for _, v := range mounts {
		if m, ok := v.(map[string]any); ok {
			if name, _ := m["name"].(string); !writable[name] {
				m["readOnly"] = true
			}
		}
	}
}

// defaultTraffic fills in the targets; those of a service are of its own
// configuration, all to the latest if there are none.
func defaultTraffic(o object.Object, service bool) {
	list, ok := o.Get("spec", "traffic").([]any)
	if !ok && o.Get("spec", "traffic") != nil {
		return
	}
	if len(list) == 0 && service {
		o.Set([]any{map[string]any{"latestRevision": true, "percent": json.Number("100")}}, "spec", "traffic")
		return
	}
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			continue
		}
		if m["latestRevision"] == nil {
			m["latestRevision"] = object.Object(m).Text("revisionName") == ""
		}
		if m["percent"] == nil {
			m["percent"] = json.Number("0")
		}
	}
}
