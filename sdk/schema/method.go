package schema

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"

	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// readMethod reads a method. A standard one is told by its name alone: only
// generated services have names like that.
func readMethod(types Types, s *Service, d protoreflect.MethodDescriptor) (*Method, error) {
	m := &Method{Name: d.FullName(), Desc: d}
	var err error
	if m.Input, err = types.FindMessageByName(d.Input().FullName()); err != nil {
		return nil, err
	}
	if m.Output, err = types.FindMessageByName(d.Output().FullName()); err != nil {
		return nil, err
	}
	if m.Options, _ = extension[*resourcev1.MethodOptions](d, resourcev1.E_Method); m.Options == nil {
		m.Options = &resourcev1.MethodOptions{}
	}
	if m.Options.GetPlural() && !m.Options.GetCollection() {
		return nil, errors.New("a method that is plural and not of a collection cannot be routed (only BatchGet is)")
	}
	for _, x := range s.Resources {
		for verb, names := range standard(x) {
			for i, name := range names {
				if string(d.Name()) == name && string(d.Parent().Name()) == upper(x.Singular)+"Service" {
					m.Verb, m.Resource, m.Collection = verb, x, i == 1
				}
			}
		}
	}
	if m.Verb != resourcev1.Method_METHOD_UNSPECIFIED {
		m.Permission = m.Resource.Permission(verbs[m.Verb])
		return m, nil
	}
	return m, m.readCustom(s)
}

// readCustom reads what only a custom method has: which resource it is about,
// and its permission.
func (m *Method) readCustom(s *Service) error {
	ref, _ := m.resourceOf(s)
	m.Resource = ref
	verb := m.Options.GetPermission()
	service, _, _ := strings.Cut(s.Domain, ".")
	switch {
	case verb == "" && m.Resource != nil:
		m.Permission = m.Resource.Permission(lower(strings.TrimSuffix(strings.TrimSuffix(string(m.Desc.Name()), upper(m.Resource.Plural)), upper(m.Resource.Singular))))
	case verb == "":
		m.Permission = service + "." + lower(string(m.Desc.Name()))
	default:
		m.Permission = service + "." + verb
	}
	if m.Options.GetCollection() && (m.Desc.Input().Fields().ByName("parent") == nil || m.Desc.Input().Fields().ByName("filter") == nil) {
		return fmt.Errorf("the request %s of a method of a collection has parent and filter", m.Desc.Input().Name())
	}
	return nil
}

// resourceOf is the type that a custom method is about: that of the request's
// name, or the one whose plural or singular the method's name ends with.
func (m *Method) resourceOf(s *Service) (*Resource, bool) {
	if f := m.Desc.Input().Fields().ByName("name"); f != nil {
		ref, _ := extension[*annotations.ResourceReference](f, annotations.E_ResourceReference)
		for _, x := range s.Resources {
			if x.Type == ref.GetType() {
				return x, true
			}
		}
	}
	for _, x := range s.Resources {
		if n := string(m.Desc.Name()); strings.HasSuffix(n, upper(x.Plural)) || strings.HasSuffix(n, upper(x.Singular)) {
			return x, true
		}
	}
	return nil, false
}

// verbs are the last elements of the permissions of the standard methods.
var verbs = map[resourcev1.Method]string{
	resourcev1.Method_GET: "get", resourcev1.Method_BATCH_GET: "get", resourcev1.Method_LIST: "list",
	resourcev1.Method_SEARCH: "search", resourcev1.Method_CREATE: "create", resourcev1.Method_UPDATE: "update",
	resourcev1.Method_DELETE: "delete", resourcev1.Method_WATCH: "watch",
}

// standard are the names of the standard methods of a type. A watch has two:
// of one resource, and of a collection.
func standard(x *Resource) map[resourcev1.Method][]string {
	one, many := upper(x.Singular), upper(x.Plural)
	return map[resourcev1.Method][]string{
		resourcev1.Method_GET:       {"Get" + one},
		resourcev1.Method_BATCH_GET: {"BatchGet" + many},
		resourcev1.Method_LIST:      {"List" + many},
		resourcev1.Method_SEARCH:    {"Search" + many},
		resourcev1.Method_CREATE:    {"Create" + one},
		resourcev1.Method_UPDATE:    {"Update" + one},
		resourcev1.Method_DELETE:    {"Delete" + one},
		resourcev1.Method_WATCH:     {"Watch" + one, "Watch" + many},
	}
}

// Field and Fields are the names of the fields of requests and responses with
// one and with several objects of the type: "device_model", "device_models".
func (r *Resource) Field() string { return snake(r.Singular) }

// Fields is described at Field.
func (r *Resource) Fields() string { return snake(r.Plural) }

// snake is a lower camel case name in snake case.
func snake(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// upper is a lower camel case name in upper camel case.
func upper(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

// lower is an upper camel case name in lower camel case.
func lower(s string) string {
	if s == "" {
		return s
	}
	r := []rune(s)
	r[0] = unicode.ToLower(r[0])
	return string(r)
}
