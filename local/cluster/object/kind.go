package object

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"selvedge.dev/sdk/fault"
)

// Kind is one kind of objects that the cluster keeps.
type Kind struct {
	// Group, Version and Name identify it: "serving.knative.dev", "v1",
	// "Service". Group is "" for those of Kubernetes' core.
	Group, Version, Name string
	// Plural is its name in URLs, "services"; Singular and Short are what
	// kubectl takes too.
	Plural, Singular string
	Short            []string
	// Categories are the groups of kinds that kubectl knows it by, "all".
	Categories []string
	// Cluster is whether its objects are in no namespace.
	Cluster bool
	// Status is whether status is written apart from the rest: an update of the
	// object leaves it alone, one of the status changes nothing else.
	Status bool
	// ReadOnly is whether clients may only read it: objects that say what is,
	// such as pods.
	ReadOnly bool
	// Columns are what kubectl prints, after the name.
	Columns []Column
	// Sealed is whether its objects are encrypted on disk.
	Sealed bool
	// Admit fills in defaults in o and refuses what is wrong; old is nil at the
	// creation. It is called with every write of a client.
	Admit func(ctx context.Context, o, old Object) error
	// Spec are the top fields whose change is a new generation; "spec" if none.
	Spec []string
}

// Column is one column of kubectl's table.
type Column struct {
	Name string
	// Type is "string", "integer", "boolean" or "date".
	Type string
	// Wide is whether it is printed only with -o wide.
	Wide bool
	// Of is the cell of an object.
	Of func(o Object) any
}

// Key identifies a kind whatever the version.
type Key struct{ Group, Name string }

// Key is what identifies k.
func (k *Kind) Key() Key { return Key{k.Group, k.Name} }

// APIVersion is the field of its objects.
func (k *Kind) APIVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// String is "services.serving.knative.dev".
func (k *Kind) String() string {
	if k.Group == "" {
		return k.Plural
	}
	return k.Plural + "." + k.Group
}

// New is an object of the kind with a name.
func (k *Kind) New(namespace, name string) Object {
	o := Object{"apiVersion": k.APIVersion(), "kind": k.Name, "metadata": map[string]any{"name": name}}
	if !k.Cluster {
		o.Set(namespace, "metadata", "namespace")
	}
	return o
}

// label is an RFC 1123 label, subdomain labels with dots between.
var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// maxName bounds a name, as Kubernetes does.
const maxName = 253

// check refuses an object that is not one of the kind with a good name.
func (k *Kind) check(o Object) error {
	invalid := func(field, format string, args ...any) error {
		return &fault.Error{Op: "object.Check", Name: o.Name(), Kind: fault.Invalid, Field: field, Err: fmt.Errorf(format, args...)}
	}
	switch name := o.Name(); {
	case o.APIVersion() != k.APIVersion():
		return invalid("apiVersion", "apiVersion is %q, not %q", o.APIVersion(), k.APIVersion())
	case o.KindName() != k.Name:
		return invalid("kind", "kind is %q, not %q", o.KindName(), k.Name)
	case name == "":
		return invalid("metadata.name", "metadata.name or metadata.generateName is required")
	case len(name) > maxName || !subdomain.MatchString(name):
		return invalid("metadata.name", "metadata.name %q is no lower-case RFC 1123 subdomain of at most %d characters", name, maxName)
	case !k.Cluster && !label.MatchString(o.Namespace()):
		return invalid("metadata.namespace", "metadata.namespace %q is no RFC 1123 label", o.Namespace())
	case k.Cluster && o.Namespace() != "":
		return invalid("metadata.namespace", "%s are in no namespace", k.Plural)
	}
	for _, field := range []string{"labels", "annotations"} {
		m, ok := o.Get("metadata", field).(map[string]any)
		if !ok && o.Get("metadata", field) != nil {
			return invalid("metadata."+field, "metadata.%s is not an object", field)
		}
		for key, v := range m {
			if _, ok := v.(string); !ok {
				return invalid("metadata."+field, "metadata.%s[%q] is not a string", field, key)
			}
		}
	}
	return nil
}

// specs are the fields whose change is a new generation.
func (k *Kind) specs() []string {
	if len(k.Spec) > 0 {
		return k.Spec
	}
	return []string{"spec"}
}

// generation reports whether b differs from a in what the generation counts.
func (k *Kind) generation(a, b Object) bool {
	return slices.ContainsFunc(k.specs(), func(f string) bool { return !Same(a[f], b[f]) })
}
