package kubeapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
)

// The kinds that are not stored, or not all of them: namespaces are projects,
// and each has a service account that nobody made, and a secret to pull images
// with.
var (
	namespaceKey      = object.Key{Name: "Namespace"}
	serviceAccountKey = object.Key{Name: "ServiceAccount"}
	secretKey         = object.Key{Name: "Secret"}
)

// defaultAccount is the name of that service account.
const defaultAccount = "default"

// CoreKinds are the kinds of Kubernetes itself that functions need.
func CoreKinds() []*object.Kind {
	count := func(field string) func(object.Object) any {
		return func(o object.Object) any { m, _ := o[field].(map[string]any); return len(m) }
	}
	text := func(path ...string) func(object.Object) any {
		return func(o object.Object) any { return o.Text(path...) }
	}
	return []*object.Kind{
		{
			Version: "v1", Name: "Namespace", Plural: "namespaces", Singular: "namespace", Short: []string{"ns"}, Cluster: true, ReadOnly: true,
			Columns: []object.Column{{Name: "Status", Type: "string", Of: text("status", "phase")}},
		},
		{
			Version: "v1", Name: "Secret", Plural: "secrets", Singular: "secret", Sealed: true, Admit: admitSecret, Spec: []string{"data", "type"},
			Columns: []object.Column{{Name: "Type", Type: "string", Of: text("type")}, {Name: "Data", Type: "integer", Of: count("data")}},
		},
		{
			Version: "v1", Name: "ConfigMap", Plural: "configmaps", Singular: "configmap", Short: []string{"cm"}, Admit: admitConfigMap, Spec: []string{"data", "binaryData"},
			Columns: []object.Column{{Name: "Data", Type: "integer", Of: count("data")}},
		},
		{
			Version: "v1", Name: "ServiceAccount", Plural: "serviceaccounts", Singular: "serviceaccount", Short: []string{"sa"},
			Spec: []string{"imagePullSecrets", "automountServiceAccountToken"},
		},
		// func and kubectl list Kubernetes' own services beside Knative's: there are none.
		{Version: "v1", Name: "Service", Plural: "services", Singular: "service", Short: []string{"svc"}, ReadOnly: true},
		{
			Version: "v1", Name: "Event", Plural: "events", Singular: "event", Short: []string{"ev"}, ReadOnly: true,
			Columns: []object.Column{
				{Name: "Type", Type: "string", Of: text("type")},
				{Name: "Reason", Type: "string", Of: text("reason")},
				{Name: "Object", Type: "string", Of: func(o object.Object) any {
					return o.Text("involvedObject", "kind") + "/" + o.Text("involvedObject", "name")
				}},
				{Name: "Message", Type: "string", Of: text("message")},
			},
		},
		{Group: "authorization.k8s.io", Version: "v1", Name: "SelfSubjectAccessReview", Plural: "selfsubjectaccessreviews", Singular: "selfsubjectaccessreview", Cluster: true},
		{Group: "authentication.k8s.io", Version: "v1", Name: "SelfSubjectReview", Plural: "selfsubjectreviews", Singular: "selfsubjectreview", Cluster: true},
	}
}

// admitSecret moves stringData into data and checks that it is base64.
func admitSecret(_ context.Context, o, old object.Object) error {
	data, err := values(o, "data")
	if err != nil {
		return err
	}
	plain, err := values(o, "stringData")
	if err != nil {
		return err
	}
	for k, v := range data {
		if _, err := base64.StdEncoding.DecodeString(v); err != nil {
			return &fault.Error{Op: "kubeapi.Admit", Name: o.Name(), Kind: fault.Invalid, Field: "data." + k, Err: fmt.Errorf("data[%s] is no base64", k)}
		}
	}
	for k, v := range plain {
		o.Set(base64.StdEncoding.EncodeToString([]byte(v)), "data", k)
	}
	delete(o, "stringData")
	if o.Text("type") == "" {
		o["type"] = "Opaque"
	}
	return immutable(o, old, "data", "type")
}

// admitConfigMap checks the values of a config map.
func admitConfigMap(_ context.Context, o, old object.Object) error {
	for _, field := range []string{"data", "binaryData"} {
		if _, err := values(o, field); err != nil {
			return err
		}
	}
	return immutable(o, old, "data", "binaryData")
}

// immutable refuses changes of what was declared not to change.
func immutable(o, old object.Object, fields ...string) error {
	if fixed, _ := old.Get("immutable").(bool); !fixed {
		return nil
	}
	for _, f := range append(fields, "immutable") {
		if !object.Same(o[f], old[f]) {
			return &fault.Error{Op: "kubeapi.Admit", Name: o.Name(), Kind: fault.Invalid, Field: f, Err: fmt.Errorf("%s cannot change: the object is immutable", f)}
		}
	}
	return nil
}

// values is a field that must be a map of strings.
func values(o object.Object, field string) (map[string]string, error) {
	v, ok := o[field].(map[string]any)
	if !ok && o[field] != nil {
		return nil, &fault.Error{Op: "kubeapi.Admit", Name: o.Name(), Kind: fault.Invalid, Field: field, Err: fmt.Errorf("%s is not an object", field)}
	}
	for k, e := range v {
		if _, ok := e.(string); !ok {
			return nil, &fault.Error{Op: "kubeapi.Admit", Name: o.Name(), Kind: fault.Invalid, Field: field + "." + k, Err: fmt.Errorf("%s[%s] is not a string", field, k)}
		}
	}
	return o.Strings(field), nil
}

// namespaceOf is a project as a namespace.
func namespaceOf(name string) object.Object {
	return object.Object{
		"kind": "Namespace", "apiVersion": "v1",
		"metadata": map[string]any{"name": name, "uid": "project-" + name, "labels": map[string]any{"kubernetes.io/metadata.name": name}},
		"spec":     map[string]any{}, "status": map[string]any{"phase": "Active"},
	}
}

// namespaces are the projects that the caller may see and the selector selects.
func (s *Server) namespaces(r *http.Request, selector object.Selector) ([]object.Object, error) {
	out := []object.Object{}
	if s.Namespaces == nil {
		return out, nil
	}
	names, err := s.Namespaces(r.Context())
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if o := namespaceOf(name); selector.Matches(o) {
			out = append(out, o)
		}
	}
	return out, nil
}

// namespace is one project.
func (s *Server) namespace(r *http.Request, name string) (object.Object, error) {
	all, err := s.namespaces(r, object.Selector{})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(o object.Object) bool { return o.Name() == name })
	if i < 0 {
		return nil, &fault.Error{Op: "kubeapi", Name: name, Kind: fault.NotFound, Err: fmt.Errorf("namespaces %q not found", name)}
	}
	return all[i], nil
}
