// Package schema is what the framework knows about types of resources and the
// methods on them. It is read from proto descriptors and their options
// (sdk/resource/v1/options.proto, google.api), once, by [Add]; everything else
// in the framework is generic code over what is here.
//
// A [Registry] holds the types of one or more services. After the last Add it
// is safe for concurrent use; so is everything that it hands out.
package schema

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// Service is a service: a domain, its types and its methods.
type Service struct {
	// Domain is the service's global name, "devices.selvedge.dev".
	Domain string
	// Package is the proto package, "selvedge.devices.v1".
	Package protoreflect.FullName
	// Version is the API version, the last element of the package: "v1".
	Version string
	// Imports are the domains that its references may point to, Uses those
	// that it calls.
	Imports, Uses []string
	// Resources are its types, in the order of their files.
	Resources []*Resource
	// Methods are all its methods, of every proto service in the package.
	Methods []*Method
}

// Resource is a type of resource.
type Resource struct {
	// Service is the service that owns the type.
	Service *Service
	// Type is its name everywhere, "devices.selvedge.dev/Device".
	Type string
	// Singular and Plural are "device" and "devices", in lower camel case; the
	// field names of requests are those in snake case.
	Singular, Plural string
	// Patterns are the forms of its names, the first is the usual one.
	Patterns []resource.Pattern
	// Message is the type of its objects.
	Message protoreflect.MessageType
	// Options are the rest of what the proto file says, never nil.
	Options *resourcev1.ResourceOptions

	// Name and Metadata are the fields of that name. Metadata is nil for a
	// type that the platform does not manage.
	Name, Metadata protoreflect.FieldDescriptor
	// Policy is the field with the MultiRegionPolicy of a policy holder, nil
	// for other types.
	Policy protoreflect.FieldDescriptor
	// References are the fields that refer to resources.
	References []Reference
	// Indexes are the paths that lists filter and sort by quickly, those of
	// every type first. See [Resource.Index].
	Indexes []Index
	// Search are the paths of the texts whose words a search finds objects by,
	// besides their ids: the labels first.
	Search []fieldpath.Path
	// Secrets, Immutable and OutputOnly are the paths of such fields.
	Secrets, Immutable, OutputOnly, Required []fieldpath.Path
	// Volatile are the paths of the fields that change all the time by themselves.
	Volatile []fieldpath.Path
	// State and Meta are the paths of the fields that are not spec.
	State, Meta []fieldpath.Path
}

// Reference is a field that refers to a resource.
type Reference struct {
	// Path leads to the name, or the names, of the resource referred to.
	Path fieldpath.Path
	// Type is the type referred to: it may be of another service.
	Type string
	// OnDelete is what happens when that resource goes, never unspecified.
	OnDelete resourcev1.OnDelete
	// Required is whether an object without the reference is invalid, so that
	// the reference cannot be unset.
	Required bool
}

// Index is a path that is indexed.
type Index struct {
	// Path leads to the values that are indexed.
	Path fieldpath.Path
	// Many is whether an object can have several of them, or none. An index
	// of one can be sorted by.
	Many bool
	// Keyed is whether Path leads to a map from text to text, of which every
	// key is indexed by itself.
	Keyed bool
	// Unique is whether no two objects have the same value, Within the
	// variable of the name inside of which.
	Unique bool
	Within string
}

// New is a new, empty object.
func (r *Resource) New() proto.Message { return r.Message.New().Interface() }

// NameOf is the name of an object of the type.
func (r *Resource) NameOf(m proto.Message) resource.Name {
	return resource.Name(m.ProtoReflect().Get(r.Name).String())
}

// SetName gives an object its name.
func (r *Resource) SetName(m proto.Message, n resource.Name) {
	m.ProtoReflect().Set(r.Name, protoreflect.ValueOfString(string(n)))
}

// MetadataOf is the metadata of an object, which is made if it has none; nil
// for types without.
func (r *Resource) MetadataOf(m proto.Message) *resourcev1.Metadata {
	if r.Metadata == nil {
		return nil
	}
	md, ok := m.ProtoReflect().Mutable(r.Metadata).Message().Interface().(*resourcev1.Metadata)
	if !ok {
		panic(fmt.Sprintf("BUG: schema: the metadata of %s is of a type of its own", r.Type))
	}
	return md
}

// Parse checks that s is a name of the type. Any other text is an Invalid fault
// that says what the nearest pattern wants.
func (r *Resource) Parse(s string) (resource.Name, error) {
	var first error
	for _, p := range r.Patterns {
		n, err := p.Parse(s)
		if err == nil {
			return n, nil
		}
		// The pattern with as many segments is the one that was meant.
		if first == nil || strings.Count(string(p), "/") == strings.Count(s, "/") {
			first = err
		}
	}
	return "", first
}

// Permission is the permission to do what verb says with the type's resources:
// "devices.devices.create". Its first element is the first of the domain.
func (r *Resource) Permission(verb string) string {
	service, _, _ := strings.Cut(r.Service.Domain, ".")
	return service + "." + r.Plural + "." + verb
}

// Index finds the index of a path.
func (r *Resource) Index(path string) (Index, bool) {
	for _, x := range r.Indexes {
		if x.Path.String() == path {
			return x, true
		}
	}
	return Index{}, false
}

// Method is a method of a service.
type Method struct {
	// Name is its full name, "selvedge.devices.v1.DeviceService.GetDevice":
	// the type of the event that a call of it is.
	Name protoreflect.FullName
	// Desc describes it.
	Desc protoreflect.MethodDescriptor
	// Verb is which standard method it is, METHOD_UNSPECIFIED for custom ones.
	Verb resourcev1.Method
	// Resource is the type that it is about; nil for a custom method of none.
	Resource *Resource
	// Collection is whether a standard Watch is of a collection.
	Collection bool
	// Permission is what it needs, "devices.devices.get".
	Permission string
	// Options are those of a custom method, never nil.
	Options *resourcev1.MethodOptions
	// Input and Output are the types of its messages.
	Input, Output protoreflect.MessageType
}

// Procedure is the method's path in gRPC and Connect:
// "/selvedge.devices.v1.DeviceService/GetDevice".
func (m *Method) Procedure() string {
	return "/" + string(m.Desc.Parent().FullName()) + "/" + string(m.Desc.Name())
}

// Registry holds types.
type Registry struct {
	services  []*Service
	byType    map[string]*Resource
	byMessage map[protoreflect.FullName]*Resource
	byMethod  map[protoreflect.FullName]*Method
}

// Services are the services that were added, in that order.
func (r *Registry) Services() []*Service { return r.services }

// Type is the type of that name, "devices.selvedge.dev/Device".
func (r *Registry) Type(name string) (*Resource, bool) {
	x, ok := r.byType[name]
	return x, ok
}

// Of is the type of an object, and panics if it is none of the registry's.
func (r *Registry) Of(m proto.Message) *Resource {
	x, ok := r.byMessage[m.ProtoReflect().Descriptor().FullName()]
	if !ok {
		panic(fmt.Sprintf("BUG: schema: %s is not registered", m.ProtoReflect().Descriptor().FullName()))
	}
	return x
}

// Method is the method of that full name.
func (r *Registry) Method(name protoreflect.FullName) (*Method, bool) {
	m, ok := r.byMethod[name]
	return m, ok
}

// Resolve finds the type that a name is of: the one with a pattern that it
// fits. Ambiguous names, of types of several services, are an Invalid fault.
func (r *Registry) Resolve(name string) (*Resource, error) {
	var found *Resource
	for _, s := range r.services {
		for _, x := range s.Resources {
			if _, err := x.Parse(name); err != nil {
				continue
			}
			if found != nil {
				return nil, &fault.Error{
					Op: "schema.Resolve", Name: name, Kind: fault.Invalid, Reason: "AMBIGUOUS_NAME", Field: "name",
					Err: fmt.Errorf("%s may be a %s or a %s", name, found.Type, x.Type),
				}
			}
			found = x
		}
	}
	if found == nil {
		return nil, &fault.Error{
			Op: "schema.Resolve", Name: name, Kind: fault.Invalid, Reason: "INVALID_NAME", Field: "name",
			Err: fmt.Errorf("%q is the name of no type of resource", name),
		}
	}
	return found, nil
}
