package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/scale"
)

// The bounds of config-defaults.
const (
	maxTimeout     = 600
	maxConcurrency = 1000
)

// maxTargets bounds the targets of a route.
const maxTargets = 100

// template checks spec.template; old is the object before, or nil.
func (c *checker) template(o, old object.Object) {
	const at = "spec.template"
	raw, ok := o.Get("spec", "template").(map[string]any)
	if !ok {
		c.missing(at)
		return
	}
	var t Template
	if err := object.Object(raw).Into(&t); err != nil {
		c.add(at, "%s", plain(err))
		return
	}
	c.revisionName(o.Name(), t.Metadata)
	if old != nil && t.Metadata.Name != "" && t.Metadata.Name == old.Text("spec", "template", "metadata", "name") && !object.Same(raw, old.Get("spec", "template")) {
		c.add(at+".metadata.name", "Saw changes without a name change")
	}
	concurrency := int64(0)
	if t.Spec.ContainerConcurrency != nil {
		concurrency = *t.Spec.ContainerConcurrency
	}
	_, problems := scale.Parse(t.Metadata.Annotations, concurrency, scale.Defaults{})
	for _, p := range problems {
		c.add(at+".metadata.annotations."+p.Key, "%s", p.Message)
	}
	if v := t.Metadata.Annotations[deadlineAnnotation]; v != "" {
		c.seconds(at+".metadata.annotations."+deadlineAnnotation, "progress-deadline", v)
	}
	c.revision(at+".spec", t.Spec)
}

// plain is the text of an error of decoding without the names of Go's types.
func plain(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Sprintf("invalid value: %s is no %s: %s", wrong.Value, wrong.Type.Kind(), wrong.Field)
	}
	return err.Error()
}

// seconds checks a time that is not negative, of whole seconds.
func (c *checker) seconds(field, name, v string) {
	switch d, err := time.ParseDuration(v); {
	case err != nil:
		c.add(field, "invalid value: %s", v)
	case d.Round(time.Second) != d:
		c.add(field, "%s=%s is not at second precision", name, v)
	case d < 0:
		c.add(field, "%s=%s must be positive", name, v)
	}
}

// revisionName checks the name that the next revision shall have, if it is given.
func (c *checker) revisionName(parent string, m Meta) {
	const at = "spec.template.metadata"
	if m.GenerateName != "" {
		c.add(at+".generateName", "the names of revisions are made from the name of the Configuration")
	}
	switch {
	case m.Name == "":
	case !dnsLabel.MatchString(m.Name):
		c.add(at+".name", "invalid value: not a DNS 1035 label: %s", m.Name)
	case !strings.HasPrefix(m.Name, parent+"-"):
		c.add(at+".name", "invalid value: %q must have prefix %q", m.Name, parent+"-")
	}
}

// revision checks the spec of a template.
func (c *checker) revision(at string, s RevisionSpec) {
	for field, v := range map[string]*int64{".timeoutSeconds": s.TimeoutSeconds, ".responseStartTimeoutSeconds": s.ResponseStartTimeoutSeconds} {
		if v != nil {
			c.within(at+field, *v, 0, maxTimeout)
		}
	}
	if s.ServiceAccountName != "" && !dnsName.MatchString(s.ServiceAccountName) {
		c.add(at+".serviceAccountName", "invalid value: %s", s.ServiceAccountName)
	}
	if s.AutomountToken {
		c.forbidden(at + ".automountServiceAccountToken")
	}
	if s.ContainerConcurrency != nil {
		c.within(at+".containerConcurrency", *s.ContainerConcurrency, 0, maxConcurrency)
	}
	switch len(s.Containers) {
	case 0:
		c.missing(at + ".containers")
		return
	case 1:
	default:
		c.add(at+".containers", "multi-container is off, but found %d containers", len(s.Containers))
		return
	}
	volumes := c.volumes(at+".volumes", s.Volumes, s.Containers[0].VolumeMounts)
	c.container(at+".containers[0]", s.Containers[0], volumes)
}

// within checks bounds.
func (c *checker) within(field string, v, least, most int64) {
	if v < least || v > most {
		c.add(field, "expected %d <= %d <= %d", least, v, most)
	}
}

// traffic checks the targets of a route, or of a service.
func (c *checker) traffic(o object.Object, service bool) {
	const at = "spec.traffic"
	var s struct {
		Spec struct {
			Traffic []Target `json:"traffic"`
		} `json:"spec"`
	}
	if err := (object.Object{"spec": map[string]any{"traffic": o.Get("spec", "traffic")}}).Into(&s); err != nil {
		c.add(at, "%s", plain(err))
		return
	}
	if n := len(s.Spec.Traffic); n > maxTargets {
		c.add(at, "there are %d targets, at most %d can be", n, maxTargets)
		return
	}
	sum, tags := int64(0), map[string]int{}
	for i, t := range s.Spec.Traffic {
		field := fmt.Sprintf("%s[%d]", at, i)
		c.target(field, t, service)
		sum += *t.Percent
		if t.Tag == "" {
			continue
		}
		if !dnsLabel.MatchString(t.Tag) {
			c.add(field+".tag", "invalid value: not a DNS 1035 label: %s", t.Tag)
		}
		if before, ok := tags[t.Tag]; ok {
			c.add(fmt.Sprintf("%s.tag, %s[%d].tag", field, at, before), "Multiple definitions for %q", t.Tag)
		}
		tags[t.Tag] = i
	}
	if sum != 100 {
		c.add(at, "Traffic targets sum to %d, want 100", sum)
	}
}

// target checks one target, whose defaults are filled in.
func (c *checker) target(at string, t Target, service bool) {
	c.within(at+".percent", *t.Percent, 0, 100)
	switch {
	case service && t.Configuration != "":
		c.forbidden(at + ".configurationName")
	case t.Revision != "" && t.Configuration != "":
		c.add(fmt.Sprintf("%s.configurationName, %s.revisionName", at, at), "expected exactly one, got both")
	case !service && t.Revision == "" && t.Configuration == "":
		c.add(fmt.Sprintf("%s.configurationName, %s.revisionName", at, at), "expected exactly one, got neither")
	}
	for field, name := range map[string]string{".revisionName": t.Revision, ".configurationName": t.Configuration} {
		if name != "" && !dnsName.MatchString(name) {
			c.add(at+field, "invalid key name %q", name)
		}
	}
	if *t.Latest == (t.Revision != "") {
		c.add(at+".latestRevision", "may not set revisionName %q when latestRevision is %t", t.Revision, *t.Latest)
	}
}
