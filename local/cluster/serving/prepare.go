package serving

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// The kinds of the core that a container takes values from.
func secretKind() object.Key { return object.Key{Name: "Secret"} }

// configKind is the kind of config maps.
func configKind() object.Key { return object.Key{Name: "ConfigMap"} }

// prepare is what the next process of the revision is started from. Secrets and
// config maps are read each time.
func (u *unit) prepare(context.Context) (pool.Instance, error) {
	c := u.spec.Containers[0]
	u.mu.Lock()
	i := pool.Instance{Image: u.image, Dir: c.WorkingDir}
	u.mu.Unlock()
	vars, err := u.env(c)
	if err != nil {
		return pool.Instance{}, err
	}
	known := map[string]string{}
	for _, v := range vars {
		if strings.Contains(v.Value, "\x00") || strings.Contains(v.Name, "=") {
			return pool.Instance{}, wrong("the value of %q is no text, or its name has a =", v.Name)
		}
		known[v.Name] = v.Value
		i.Env = append(i.Env, v.Name+"="+v.Value)
	}
	i.Command, i.Args = expandAll(c.Command, known), expandAll(c.Args, known)
	limits := u.s.o.Limits
	i.Memory, i.Scratch, i.CPU = limits.Memory, limits.Scratch, limits.CPU
	for name, set := range map[string]func(float64){
		"memory":            func(v float64) { i.Memory = int64(v) },
		"ephemeral-storage": func(v float64) { i.Scratch = int64(v) },
		"cpu":               func(v float64) { i.CPU = v },
	} {
		if q, ok := c.Resources.Limits[name]; ok {
			v, err := q.Value()
			if err != nil {
				return pool.Instance{}, wrong("limit of %s: %v", name, err)
			}
			set(v)
		}
	}
	if x := c.Security; x != nil {
		i.User, i.Group = x.RunAsUser, x.RunAsGroup
		i.NonRoot = x.RunAsNonRoot != nil && *x.RunAsNonRoot
		i.ReadOnlyRoot = x.ReadOnlyRoot != nil && *x.ReadOnlyRoot
	}
	i.Volumes, err = u.volumes(c)
	return i, err
}

// wrong is that a container cannot be made of its manifest as things are.
func wrong(format string, args ...any) error {
	return &fault.Error{Op: "serving.Prepare", Kind: fault.Precondition, Reason: "CreateContainerConfigError", Err: fmt.Errorf(format, args...)}
}

// entries are those of a secret or config map, with binary ones if these are
// wanted; nil if it is not there and need not be.
func (u *unit) entries(k object.Key, ref spec.Reference, binary bool) (map[string][]byte, error) {
	name := ref.Name
	o, err := u.s.get(k, named{u.at.namespace, name})
	if err != nil {
		return nil, err
	}
	if o == nil {
		if ref.Optional {
			return nil, nil
		}
		return nil, wrong("%s %q not found", strings.ToLower(k.Name), name)
	}
	out := map[string][]byte{}
	for key, v := range o.Strings("data") {
		out[key] = []byte(v)
		if k == secretKind() {
			if out[key], err = base64.StdEncoding.DecodeString(v); err != nil {
				return nil, wrong("%s %q: the entry %q is not base64", strings.ToLower(k.Name), name, key)
			}
		}
	}
	if !binary {
		return out, nil
	}
	for key, v := range o.Strings("binaryData") {
		if out[key], err = base64.StdEncoding.DecodeString(v); err != nil {
			return nil, wrong("%s %q: the entry %q is not base64", strings.ToLower(k.Name), name, key)
		}
	}
	return out, nil
}

// env are the variables of a container: those of whole objects first, so that
// one that is named wins.
func (u *unit) env(c spec.Container) ([]spec.EnvVar, error) {
	var out []spec.EnvVar
	for _, from := range c.EnvFrom {
		k, ref := secretKind(), from.Secret
		if ref == nil {
			k, ref = configKind(), from.Config
		}
		data, err := u.entries(k, *ref, false)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(data)) {
			out = append(out, spec.EnvVar{Name: from.Prefix + key, Value: string(data[key])})
		}
	}
	known := map[string]string{}
	for _, v := range out {
		known[v.Name] = v.Value
	}
	for _, v := range c.Env {
		value := expand(v.Value, known)
		if v.ValueFrom != nil {
			k, ref := secretKind(), v.ValueFrom.Secret
			if ref == nil {
				k, ref = configKind(), v.ValueFrom.Config
			}
			data, err := u.entries(k, ref.Reference, false)
			if err != nil {
				return nil, err
			}
			entry, ok := data[ref.Key]
			if !ok {
				if ref.Optional {
					continue
				}
				return nil, wrong("couldn't find key %s in %s %s/%s", ref.Key, k.Name, u.at.namespace, ref.Name)
			}
			value = string(entry)
		}
		known[v.Name] = value
		out = append(out, spec.EnvVar{Name: v.Name, Value: value})
	}
	return out, nil
}

// expandAll expands each text; nil stays nil.
func expandAll(list []string, vars map[string]string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = expand(s, vars)
	}
	return out
}

// expand replaces $(NAME) by the variable of that name as Kubernetes does: one
// that is not known stays as it is, and $$ is a $.
func expand(s string, vars map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
			continue
		case '(':
			if end := strings.IndexByte(s[i:], ')'); end > 0 {
				if v, ok := vars[s[i+2:i+end]]; ok {
					b.WriteString(v)
					i += end
					continue
				}
			}
		}
		b.WriteByte('$')
	}
	return b.String()
}

// volumes are the folders of a container.
func (u *unit) volumes(c spec.Container) ([]pool.Volume, error) {
	var out []pool.Volume
	for _, m := range c.VolumeMounts {
		at := slices.IndexFunc(u.spec.Volumes, func(v spec.Volume) bool { return v.Name == m.Name })
		if at < 0 {
			return nil, wrong("the volume %q is not there", m.Name)
		}
		v := u.spec.Volumes[at]
		x := pool.Volume{Path: path.Clean(m.Path), Key: v.Name, SubPath: m.SubPath}
		if e := v.EmptyDir; e != nil {
			x.Writable, x.Memory = !m.ReadOnly, e.Medium == "Memory"
			if e.SizeLimit != "" {
				limit, err := e.SizeLimit.Value()
				if err != nil {
					return nil, wrong("the volume %q: %v", v.Name, err)
				}
				x.Limit = int64(limit)
			}
		} else {
			var err error
			if x.Files, err = u.files(v); err != nil {
				return nil, err
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// files are those of a volume that is made of objects.
func (u *unit) files(v spec.Volume) (map[string]pool.File, error) {
	out := map[string]pool.File{}
	add := func(k object.Key, ref spec.Reference, items []spec.Item, mode *int64) error {
		data, err := u.entries(k, ref, true)
		if err != nil {
			return err
		}
		bits := uint32(0o644)
		if mode != nil {
			bits = uint32(*mode) & 0o777
		}
		if len(items) == 0 {
			for key, d := range data {
				out[key] = pool.File{Data: d, Mode: bits}
			}
		}
		for _, it := range items {
			d, ok := data[it.Key]
			if !ok && !ref.Optional {
				return wrong("references non-existent %s key: %s", strings.ToLower(k.Name), it.Key)
			}
			f := pool.File{Data: d, Mode: bits}
			if it.Mode != nil {
				f.Mode = uint32(*it.Mode) & 0o777
			}
			if ok {
				out[path.Clean(it.Path)] = f
			}
		}
		return nil
	}
	switch {
	case v.Secret != nil:
		return out, add(secretKind(), spec.Reference{Name: v.Secret.Name, Optional: v.Secret.Optional}, v.Secret.Items, v.Secret.Mode)
	case v.ConfigMap != nil:
		return out, add(configKind(), v.ConfigMap.Reference, v.ConfigMap.Items, v.ConfigMap.Mode)
	case v.Projected != nil:
		for _, p := range v.Projected.Sources {
			k, f := secretKind(), p.Secret
			if f == nil {
				k, f = configKind(), p.Config
			}
			if err := add(k, f.Reference, f.Items, v.Projected.Mode); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
