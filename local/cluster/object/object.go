// Package object is the state of the cluster on one machine: objects in the
// shape of Kubernetes' API, kept in memory and in SQLite, with the semantics
// that clients of that API build on. A resource version is a number in the one
// order of all changes; an update that names an older one is a Conflict; a
// watch that resumes at one gets every later change, or is told that the change
// is no longer known; what an object owns goes when its last owner has gone.
//
// Objects are JSON as it came, so that a field that nobody here knows is kept:
// the types of Kubernetes and Knative are not in this program. What a kind
// admits is said by its Kind.
package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Object is one object: decoded JSON whose numbers are json.Number.
type Object map[string]any

// Parse reads one object. Numbers keep their digits.
func Parse(data []byte) (Object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var o Object
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("there is something after the object")
	}
	return o, nil
}

// From is v, a struct or a map, as an object.
func From(v any) (Object, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Into reads the fields that the struct that v points to knows.
func (o Object) Into(v any) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// Clone is a deep copy.
func (o Object) Clone() Object {
	if o == nil {
		return nil
	}
	return clone(map[string]any(o)).(map[string]any)
}

// clone is a deep copy of decoded JSON.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case Object:
		return clone(map[string]any(v))
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// Same reports whether two values of decoded JSON are the same JSON.
func Same(a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}

// Get is the value at a path of field names, nil if there is none.
func (o Object) Get(path ...string) any {
	var v any = map[string]any(o)
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// Text is the string at a path, "" if there is none.
func (o Object) Text(path ...string) string {
	s, _ := o.Get(path...).(string)
	return s
}

// Int is the number at a path, 0 if there is none.
func (o Object) Int(path ...string) int64 {
	switch n := o.Get(path...).(type) {
	case json.Number:
		i, _ := n.Int64() // a fraction is no count of anything
		return i
	case int64:
		return n
	case int:
		return int64(n)
	case float64:
		return int64(n)
	}
	return 0
}

// Strings is the map of strings at a path, such as labels.
func (o Object) Strings(path ...string) map[string]string {
	m, _ := o.Get(path...).(map[string]any)
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k], _ = v.(string)
	}
	return out
}

// Set puts a value at a path, making the objects on the way.
func (o Object) Set(v any, path ...string) {
	m := map[string]any(o)
	for _, p := range path[:len(path)-1] {
		next, ok := m[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[p] = next
		}
		m = next
	}
	m[path[len(path)-1]] = v
}

// Unset removes the value at a path.
func (o Object) Unset(path ...string) {
	m, ok := o.Get(path[:len(path)-1]...).(map[string]any)
	if ok {
		delete(m, path[len(path)-1])
	}
}

// The fields of every object.

// APIVersion is the group and version, "serving.knative.dev/v1", or "v1".
func (o Object) APIVersion() string { return o.Text("apiVersion") }

// KindName is the kind, "Service".
func (o Object) KindName() string { return o.Text("kind") }

// Group is the part of the API version before the slash, "" for the core's.
func (o Object) Group() string {
	group, _, ok := strings.Cut(o.APIVersion(), "/")
	if !ok {
		return ""
	}
	return group
}

// Name is metadata.name.
func (o Object) Name() string { return o.Text("metadata", "name") }

// Namespace is metadata.namespace.
func (o Object) Namespace() string { return o.Text("metadata", "namespace") }

// UID is metadata.uid.
func (o Object) UID() string { return o.Text("metadata", "uid") }

// ResourceVersion is metadata.resourceVersion.
func (o Object) ResourceVersion() string { return o.Text("metadata", "resourceVersion") }

// Generation is metadata.generation.
func (o Object) Generation() int64 { return o.Int("metadata", "generation") }

// Labels are metadata.labels.
func (o Object) Labels() map[string]string { return o.Strings("metadata", "labels") }

// Annotations are metadata.annotations.
func (o Object) Annotations() map[string]string { return o.Strings("metadata", "annotations") }

// Created is metadata.creationTimestamp.
func (o Object) Created() time.Time {
	t, _ := time.Parse(time.RFC3339, o.Text("metadata", "creationTimestamp")) // zero if there is none
	return t
}

// Deleting reports whether the object waits for its finalizers.
func (o Object) Deleting() bool { return o.Text("metadata", "deletionTimestamp") != "" }

// Owner is one of metadata.ownerReferences.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	// Controller is whether this owner manages the object.
	Controller bool `json:"controller,omitempty"`
	// BlockOwnerDeletion has no effect here: owners never wait for what they own.
	BlockOwnerDeletion bool `json:"blockOwnerDeletion,omitempty"`
}

// Owners are metadata.ownerReferences.
func (o Object) Owners() []Owner {
	list, _ := o.Get("metadata", "ownerReferences").([]any)
	var out []Owner
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			continue
		}
		r := Object(m)
		controller, _ := r.Get("controller").(bool)
		out = append(out, Owner{APIVersion: r.Text("apiVersion"), Kind: r.Text("kind"), Name: r.Text("name"), UID: r.Text("uid"), Controller: controller})
	}
	return out
}

// OwnedBy has o belong to its controller.
func (o Object) OwnedBy(owner Object) {
	o.Set([]any{map[string]any{
		"apiVersion": owner.APIVersion(), "kind": owner.KindName(), "name": owner.Name(), "uid": owner.UID(),
		"controller": true, "blockOwnerDeletion": true,
	}}, "metadata", "ownerReferences")
}

// finalizers are metadata.finalizers.
func (o Object) finalizers() []any {
	list, _ := o.Get("metadata", "finalizers").([]any)
	return list
}

// Condition is one of status.conditions.
type Condition struct {
	Type string `json:"type"`
	// Status is "True", "False" or "Unknown".
	Status string `json:"status"`
	// Reason is a CamelCase word and Message a sentence, for what is not True.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Severity is "" for what Ready depends on, else "Info".
	Severity           string `json:"severity,omitempty"`
	LastTransitionTime string `json:"lastTransitionTime,omitempty"`
}

// Condition is the condition of a type, the zero one if there is none.
func (o Object) Condition(typ string) Condition {
	list, _ := o.Get("status", "conditions").([]any)
	for _, v := range list {
		if m, ok := v.(map[string]any); ok && Object(m).Text("type") == typ {
			c := Object(m)
			return Condition{typ, c.Text("status"), c.Text("reason"), c.Text("message"), c.Text("severity"), c.Text("lastTransitionTime")}
		}
	}
	return Condition{Type: typ}
}

// SetConditions sets conditions, sorted by type; the time of one whose status
// is as before stays.
func (o Object) SetConditions(now time.Time, list ...Condition) {
	all := map[string]Condition{}
	if old, ok := o.Get("status", "conditions").([]any); ok {
		for _, v := range old {
			if m, ok := v.(map[string]any); ok {
				typ := Object(m).Text("type")
				all[typ] = o.Condition(typ)
			}
		}
	}
	for _, c := range list {
		before := all[c.Type]
		c.LastTransitionTime = before.LastTransitionTime
		if before.Status != c.Status || c.LastTransitionTime == "" {
			c.LastTransitionTime = Time(now)
		}
		all[c.Type] = c
	}
	out := []any{}
	for _, typ := range slices.Sorted(maps.Keys(all)) {
		c := all[typ]
		m := map[string]any{"type": c.Type, "status": c.Status, "lastTransitionTime": c.LastTransitionTime}
		for field, v := range map[string]string{"reason": c.Reason, "message": c.Message, "severity": c.Severity} {
			if v != "" {
				m[field] = v
			}
		}
		out = append(out, m)
	}
	o.Set(out, "status", "conditions")
}

// Time is a time as Kubernetes writes it: UTC, in whole seconds.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }
