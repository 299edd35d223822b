package spec

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/iam"
)

// What a function may not have, since it is the platform's.
var (
	reservedEnv   = []string{"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION", iam.FunctionVariable}
	reservedPaths = []string{"/", "/dev", "/dev/log", "/proc", "/sys"}
	reservedPorts = []int64{8012, 8013, 8022, 9090, 9091, 8008}
	portNames     = []string{"", "http1", "h2c"}
	resourceNames = []string{"cpu", "memory", "ephemeral-storage"}
)

// maxEnv bounds the variables that a container lists.
const maxEnv = 1000

// container checks the container; volumes are those of the template by name.
func (c *checker) container(at string, x Container, volumes map[string]Volume) {
	if x.Name == "queue-proxy" {
		c.add(at+".name", "%q is a reserved container name", x.Name)
	} else if !dnsLabel.MatchString(x.Name) {
		c.add(at+".name", "invalid value: %s", x.Name)
	}
	if x.Image == "" {
		c.missing(at + ".image")
	} else if _, err := image.ParseReference(x.Image); err != nil {
		c.add(at+".image", "Failed to parse image reference %.200q", x.Image)
	}
	c.env(at, x)
	port := c.ports(at+".ports", x.Ports)
	c.resources(at+".resources.requests", x.Resources.Requests)
	c.resources(at+".resources.limits", x.Resources.Limits)
	if !slices.Contains([]string{"", "File", "FallbackToLogsOnError"}, x.Termination) {
		c.add(at+".terminationMessagePolicy", "invalid value: %s", x.Termination)
	}
	if !slices.Contains([]string{"", "Always", "IfNotPresent", "Never"}, x.PullPolicy) {
		c.add(at+".imagePullPolicy", "invalid value: %s", x.PullPolicy)
	}
	if x.Security != nil {
		for field, v := range map[string]*int64{"runAsUser": x.Security.RunAsUser, "runAsGroup": x.Security.RunAsGroup} {
			if v != nil {
				c.within(at+".securityContext."+field, *v, 0, 1<<31-1)
			}
		}
		if x.Security.Privileged {
			c.forbidden(at + ".securityContext.privileged")
		}
		if x.Security.RunAsNonRoot != nil && *x.Security.RunAsNonRoot && x.Security.RunAsUser != nil && *x.Security.RunAsUser == 0 {
			c.add(at+".securityContext.runAsUser", "runAsUser is root, and runAsNonRoot is true")
		}
	}
	c.probe(at+".livenessProbe", x.LivenessProbe, port)
	c.probe(at+".startupProbe", x.StartupProbe, port)
	c.probe(at+".readinessProbe", x.ReadinessProbe, port)
	if p := x.ReadinessProbe; p != nil && p.Period == 0 {
		if p.FailureThreshold != 0 {
			c.add(at+".readinessProbe.failureThreshold", "failureThreshold is disallowed when periodSeconds is zero")
		}
		if p.Timeout != 0 {
			c.add(at+".readinessProbe.timeoutSeconds", "timeoutSeconds is disallowed when periodSeconds is zero")
		}
	}
	c.mounts(at+".volumeMounts", x.VolumeMounts, volumes)
}

// env checks the variables.
func (c *checker) env(at string, x Container) {
	if n := len(x.Env) + len(x.EnvFrom); n > maxEnv {
		c.add(at+".env", "there are %d variables, at most %d can be", n, maxEnv)
		return
	}
	for i, e := range x.Env {
		field := fmt.Sprintf("%s.env[%d]", at, i)
		switch {
		case e.Name == "":
			c.missing(field + ".name")
		case slices.Contains(reservedEnv, e.Name):
			c.add(field+".name", "%q is a reserved environment variable", e.Name)
		case strings.ContainsAny(e.Name, "=\x00"), strings.Contains(e.Value, "\x00"):
			c.add(field+".name", "invalid value: %q", e.Name)
		}
		if e.ValueFrom == nil {
			continue
		}
		refs := 0
		for _, r := range []*KeyReference{e.ValueFrom.Secret, e.ValueFrom.Config} {
			if r == nil {
				continue
			}
			refs++
			if r.Name == "" || r.Key == "" {
				c.missing(field + ".valueFrom: name, key")
			}
		}
		if refs != 1 || e.Value != "" {
			c.add(field+".valueFrom", "expected exactly one of value, valueFrom.secretKeyRef, valueFrom.configMapKeyRef")
		}
	}
	for i, e := range x.EnvFrom {
		field := fmt.Sprintf("%s.envFrom[%d]", at, i)
		switch {
		case (e.Secret == nil) == (e.Config == nil):
			c.add(field, "expected exactly one of configMapRef, secretRef")
		case e.Secret != nil && e.Secret.Name == "", e.Config != nil && e.Config.Name == "":
			c.missing(field + ".name")
		}
	}
}

// ports checks the port and returns it, with its defaults.
func (c *checker) ports(at string, list []Port) Port {
	port := Port{Name: "http", Number: DefaultPort}
	if len(list) == 0 {
		return port
	}
	if len(list) > 1 {
		c.add(at, "more than one container port is set")
	}
	p := list[0]
	if !slices.Contains(portNames, p.Name) {
		c.add(at, "Port name %s is not allowed: Name must be empty, or one of: 'h2c', 'http1'", p.Name)
	}
	if p.Protocol != "" && p.Protocol != "TCP" {
		c.add(at+".protocol", "invalid value: %s", p.Protocol)
	}
	if slices.Contains(reservedPorts, p.Number) {
		c.add(at+".containerPort", "%d is a reserved port, please use a different value", p.Number)
	}
	c.within(at+".containerPort", p.Number, 0, 65535)
	if p.Number != 0 {
		port.Number = p.Number
	}
	if p.Name != "" {
		port.Name = p.Name
	}
	return port
}

// DefaultPort is the port of a container that names none.
const DefaultPort = 8080

// resources checks quantities.
func (c *checker) resources(at string, m map[string]Quantity) {
	for name, q := range m {
		if !slices.Contains(resourceNames, name) {
			c.add(at+"."+name, "there is no resource %q here, only %s", name, strings.Join(resourceNames, ", "))
			continue
		}
		if _, err := q.Value(); err != nil {
			c.add(at+"."+name, "invalid value: %v", err)
		}
	}
}

// probe checks a probe. The only port is that which the platform gives the
// container, whatever its number in the manifest.
func (c *checker) probe(at string, p *Probe, port Port) {
	if p == nil {
		return
	}
	if (p.HTTP == nil) == (p.TCP == nil) {
		c.add(at, "expected exactly one of httpGet, tcpSocket")
	}
	if p.HTTP != nil {
		c.probePort(at+".httpGet", p.HTTP.Port, p.HTTP.Host, port)
		if p.HTTP.Scheme != "" && p.HTTP.Scheme != "HTTP" {
			c.add(at+".httpGet.scheme", "invalid value: %s", p.HTTP.Scheme)
		}
		if p.HTTP.Path != "" && !strings.HasPrefix(p.HTTP.Path, "/") {
			c.add(at+".httpGet.path", "invalid value: %s", p.HTTP.Path)
		}
	}
	if p.TCP != nil {
		c.probePort(at+".tcpSocket", p.TCP.Port, p.TCP.Host, port)
	}
	for field, v := range map[string]int64{
		"initialDelaySeconds": p.InitialDelay, "timeoutSeconds": p.Timeout, "periodSeconds": p.Period,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	} {
		c.within(at+"."+field, v, 0, 3600)
	}
}

// probePort checks the port and the host of a probe.
func (c *checker) probePort(at string, v any, host string, port Port) {
	if host != "" && host != "127.0.0.1" && host != "localhost" {
		c.add(at+".host", "a probe asks the container itself, not %s", host)
	}
	switch v := v.(type) {
	case nil:
		return
	case string:
		if v == "" || v == port.Name {
			return
		}
	case float64:
		if v == 0 || v == float64(port.Number) {
			return
		}
	case json.Number:
		if v == "0" || v.String() == fmt.Sprint(port.Number) {
			return
		}
	}
	c.add(at+".port", "invalid value: %v: Probe port must match container port", v)
}

// mounts checks where volumes are put.
func (c *checker) mounts(at string, list []Mount, volumes map[string]Volume) {
	seen, empty := map[string]bool{}, map[string]bool{}
	for i, m := range list {
		field := fmt.Sprintf("%s[%d]", at, i)
		if _, ok := volumes[m.Name]; !ok {
			c.add(field+".name", "volumeMount has no matching volume")
		}
		clean := path.Clean(m.Path)
		switch {
		case m.Path == "":
			c.missing(field + ".mountPath")
		case slices.Contains(reservedPaths, clean):
			c.add(field+".mountPath", "mountPath %q is a reserved path", clean)
		case !path.IsAbs(m.Path):
			c.add(field+".mountPath", "invalid value: %s", m.Path)
		case seen[clean]:
			c.add(field+".mountPath", "invalid value: %q must be unique", m.Path)
		}
		seen[clean] = true
		if v := volumes[m.Name]; v.EmptyDir != nil {
			if empty[m.Name] || m.SubPath != "" {
				c.add(field+".name", "an emptyDir is mounted once and as a whole")
			}
			empty[m.Name] = true
		}
		if v := volumes[m.Name]; v.EmptyDir == nil && !m.ReadOnly {
			c.add(field+".readOnly", "volume mount should be readOnly for this type of volume")
		}
		if m.SubPath != "" && !inside(m.SubPath) {
			c.add(field+".subPath", "invalid value: %s", m.SubPath)
		}
	}
}

// inside reports whether a relative path stays below where it begins.
func inside(p string) bool {
	return p != "" && !path.IsAbs(p) && path.Clean(p) != ".." && !strings.HasPrefix(path.Clean(p), "../")
}

// volumes checks the volumes and returns them by name.
func (c *checker) volumes(at string, list []Volume, mounts []Mount) map[string]Volume {
	out := map[string]Volume{}
	for i, v := range list {
		field := fmt.Sprintf("%s[%d]", at, i)
		if _, twice := out[v.Name]; twice {
			c.add(field+".name", "duplicate volume name %q", v.Name)
		}
		if !slices.ContainsFunc(mounts, func(m Mount) bool { return m.Name == v.Name }) {
			c.add(field+".name", "volume with name %q not mounted", v.Name)
		}
		out[v.Name] = v
		c.volume(field, v)
	}
	return out
}

// volume checks the source of a volume.
func (c *checker) volume(at string, v Volume) {
	sources := 0
	if s := v.Secret; s != nil {
		sources++
		if s.Name == "" {
			c.missing(at + ".secret.secretName")
		}
		c.items(at+".secret", s.Items)
	}
	if s := v.ConfigMap; s != nil {
		sources++
		if s.Name == "" {
			c.missing(at + ".configMap.name")
		}
		c.items(at+".configMap", s.Items)
	}
	if s := v.EmptyDir; s != nil {
		sources++
		if s.Medium != "" && s.Medium != "Memory" {
			c.add(at+".emptyDir.medium", "invalid value: %s", s.Medium)
		}
		if s.SizeLimit != "" {
			if _, err := s.SizeLimit.Value(); err != nil {
				c.add(at+".emptyDir.sizeLimit", "invalid value: %v", err)
			}
		}
	}
	if s := v.Projected; s != nil {
		sources++
		for i, p := range s.Sources {
			field := fmt.Sprintf("%s.projected.sources[%d]", at, i)
			if (p.Secret == nil) == (p.Config == nil) {
				c.add(field, "expected exactly one of secret, configMap")
			}
			for _, f := range []*ProjectedFiles{p.Secret, p.Config} {
				if f == nil {
					continue
				}
				if f.Name == "" {
					c.missing(field + ".name")
				}
				c.items(field, f.Items)
			}
		}
	}
	if sources != 1 {
		c.add(at, "expected exactly one of secret, configMap, projected, emptyDir, got %d", sources)
	}
}

// items checks the files that are taken of an object.
func (c *checker) items(at string, list []Item) {
	for i, it := range list {
		field := fmt.Sprintf("%s.items[%d]", at, i)
		if it.Key == "" {
			c.missing(field + ".key")
		}
		if !inside(it.Path) {
			c.add(field+".path", "invalid value: %q", it.Path)
		}
	}
}
