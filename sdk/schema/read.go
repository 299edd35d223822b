package schema

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// Types makes objects of the messages of descriptors. protoregistry.GlobalTypes
// is the usual one; [Dynamic] makes objects of types that the program does not
// link.
type Types interface {
	FindMessageByName(protoreflect.FullName) (protoreflect.MessageType, error)
}

// Dynamic makes messages by their descriptors alone.
type Dynamic struct{ Files protodescResolver }

// protodescResolver finds descriptors.
type protodescResolver interface {
	FindDescriptorByName(protoreflect.FullName) (protoreflect.Descriptor, error)
}

// FindMessageByName implements [Types].
func (d Dynamic) FindMessageByName(n protoreflect.FullName) (protoreflect.MessageType, error) {
	x, err := d.Files.FindDescriptorByName(n)
	if err != nil {
		return nil, err
	}
	m, ok := x.(protoreflect.MessageDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no message", n)
	}
	return dynamicpb.NewMessageType(m), nil
}

// Add reads the service that the files describe, which are all files of one
// proto package, and adds it. What the files say wrongly is an error that names
// the element.
func (r *Registry) Add(types Types, files ...protoreflect.FileDescriptor) (*Service, error) {
	s, err := readService(types, files)
	if err != nil {
		return nil, err
	}
	if r.byType == nil {
		r.byType, r.byMessage, r.byMethod = map[string]*Resource{}, map[protoreflect.FullName]*Resource{}, map[protoreflect.FullName]*Method{}
	}
	for _, x := range s.Resources {
		if _, ok := r.byType[x.Type]; ok {
			return nil, fmt.Errorf("schema: the type %s is there twice", x.Type)
		}
		r.byType[x.Type], r.byMessage[x.Message.Descriptor().FullName()] = x, x
	}
	for _, m := range s.Methods {
		r.byMethod[m.Name] = m
	}
	r.services = append(r.services, s)
	return s, nil
}

// MustAdd is Add for descriptors that are part of the program.
func (r *Registry) MustAdd(types Types, files ...protoreflect.FileDescriptor) *Service {
	s, err := r.Add(types, files...)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return s
}

// Describes reports whether a file says what a service is or has: its options,
// or a resource.
func Describes(f protoreflect.FileDescriptor) bool {
	if _, ok := extension[*resourcev1.ServiceOptions](f, resourcev1.E_Service); ok {
		return true
	}
	for i := range f.Messages().Len() {
		if _, ok := extension[*annotations.ResourceDescriptor](f.Messages().Get(i), annotations.E_Resource); ok {
			return true
		}
	}
	return false
}

// readService reads a service.
func readService(types Types, files []protoreflect.FileDescriptor) (*Service, error) {
	s := &Service{Package: files[0].Package()}
	s.Version = string(s.Package.Name())
	for _, f := range files {
		if f.Package() != s.Package {
			return nil, fmt.Errorf("schema: %s is of package %s, not %s", f.Path(), f.Package(), s.Package)
		}
		o, ok := extension[*resourcev1.ServiceOptions](f, resourcev1.E_Service)
		if !ok {
			continue
		}
		if s.Domain != "" && s.Domain != o.GetDomain() {
			return nil, fmt.Errorf("schema: %s says %s, another file of the package says %s", f.Path(), o.GetDomain(), s.Domain)
		}
		s.Domain, s.Imports, s.Uses = o.GetDomain(), append(s.Imports, o.GetImports()...), append(s.Uses, o.GetUses()...)
	}
	if s.Domain == "" {
		return nil, fmt.Errorf("schema: no file of %s has the option (selvedge.resource.v1.service)", s.Package)
	}
	for _, f := range files {
		for i := range f.Messages().Len() {
			m := f.Messages().Get(i)
			if _, ok := extension[*annotations.ResourceDescriptor](m, annotations.E_Resource); !ok {
				continue
			}
			x, err := readResource(types, s, m)
			if err != nil {
				return nil, fmt.Errorf("schema: %s: %w", m.FullName(), err)
			}
			s.Resources = append(s.Resources, x)
		}
	}
	for _, f := range files {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				m, err := readMethod(types, s, methods.Get(j))
				if err != nil {
					return nil, fmt.Errorf("schema: %s: %w", methods.Get(j).FullName(), err)
				}
				s.Methods = append(s.Methods, m)
			}
		}
	}
	return s, nil
}

// extension is an option of a descriptor, and whether it is set.
func extension[T any](d protoreflect.Descriptor, x protoreflect.ExtensionType) (T, bool) {
	v, ok := proto.GetExtension(d.Options(), x).(T)
	return v, ok && proto.HasExtension(d.Options(), x)
}

// readResource reads a type.
func readResource(types Types, s *Service, m protoreflect.MessageDescriptor) (*Resource, error) {
	d, _ := extension[*annotations.ResourceDescriptor](m, annotations.E_Resource)
	domain, kind, _ := strings.Cut(d.GetType(), "/")
	switch {
	case domain != s.Domain:
		return nil, fmt.Errorf("the type %s is not of the service %s", d.GetType(), s.Domain)
	case kind == "" || d.GetSingular() == "" || d.GetPlural() == "" || len(d.GetPattern()) == 0:
		return nil, errors.New("google.api.resource needs type, pattern, singular and plural")
	case kind != string(m.Name()) || kind != upper(d.GetSingular()):
		return nil, fmt.Errorf("the type %s with the singular %s must be the message %s", d.GetType(), d.GetSingular(), upper(d.GetSingular()))
	}
	mt, err := types.FindMessageByName(m.FullName())
	if err != nil {
		return nil, err
	}
	x := &Resource{Service: s, Type: d.GetType(), Singular: d.GetSingular(), Plural: d.GetPlural(), Message: mt}
	m = mt.Descriptor()
	for _, p := range d.GetPattern() {
		x.Patterns = append(x.Patterns, resource.Pattern(p))
	}
	if x.Options, _ = extension[*resourcev1.ResourceOptions](m, resourcev1.E_Resource); x.Options == nil {
		x.Options = &resourcev1.ResourceOptions{}
	}
	x.Name = m.Fields().ByName("name")
	if x.Name == nil || x.Name.Kind() != protoreflect.StringKind || x.Name.IsList() {
		return nil, errors.New(`a resource has a string field "name"`)
	}
	if f := m.Fields().ByName("metadata"); f != nil && f.Message() != nil && f.Message().FullName() == metadataName {
		x.Metadata = f
	}
	if err := readFields(x, m, place{part: resourcev1.Part_SPEC}); err != nil {
		return nil, err
	}
	if x.Options.GetUnconstrained() && len(x.References) > 0 {
		return nil, fmt.Errorf("%s is a reference, but the type is unconstrained", x.References[0].Path)
	}
	if err := readIndexes(x); err != nil {
		return nil, err
	}
	return x, checkPatterns(x)
}

// The messages that fields are told by.
var (
	metadataName = (*resourcev1.Metadata)(nil).ProtoReflect().Descriptor().FullName()
	policyName   = (*resourcev1.MultiRegionPolicy)(nil).ProtoReflect().Descriptor().FullName()
)

// place is where in a resource a message is.
type place struct {
	// prefix is the path to its fields, with a dot at the end.
	prefix string
	// part is the part that it is of.
	part resourcev1.Part
	// within are the messages that it is in: one that comes again is not entered
	// again.
	within []protoreflect.FullName
}

// readFields reads what the options of the fields of m say, and of the messages
// in them.
func readFields(x *Resource, m protoreflect.MessageDescriptor, at place) error {
	if slices.Contains(at.within, m.FullName()) || strings.HasPrefix(string(m.FullName()), "google.protobuf.") {
		return nil
	}
	within := append(slices.Clone(at.within), m.FullName())
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		path, err := fieldpath.Parse(x.Message.Descriptor(), at.prefix+string(f.Name()))
		if err != nil {
			return err
		}
		o, _ := extension[*resourcev1.FieldOptions](f, resourcev1.E_Field)
		is := at.part
		if o.GetPart() != resourcev1.Part_PART_UNSPECIFIED {
			is = o.GetPart()
		}
		if f == x.Metadata {
			is = resourcev1.Part_META
		}
		if is != at.part {
			switch is {
			case resourcev1.Part_STATE:
				x.State = append(x.State, path)
			case resourcev1.Part_META:
				x.Meta = append(x.Meta, path)
			case resourcev1.Part_SPEC, resourcev1.Part_PART_UNSPECIFIED:
				return fmt.Errorf("%s is SPEC inside of what is not", path)
			}
		}
		if o.GetSecret() {
			x.Secrets = append(x.Secrets, path)
		}
		if o.GetVolatile() {
			x.Volatile = append(x.Volatile, path)
		}
		behaviours, _ := extension[[]annotations.FieldBehavior](f, annotations.E_FieldBehavior)
		readBehaviours(x, path, behaviours)
		required := slices.Contains(behaviours, annotations.FieldBehavior_REQUIRED)
		if err := readReference(x, f, Reference{Path: path, OnDelete: o.GetOnDelete(), Required: required}); err != nil {
			return err
		}
		in := f.Message()
		if f.IsMap() {
			in = f.MapValue().Message()
		}
		if in == nil {
			continue
		}
		if in.FullName() == policyName && at.prefix == "" {
			x.Policy = f
		}
		next := place{prefix: at.prefix + string(f.Name()) + ".", part: is, within: within}
		if f.IsMap() {
			next.prefix += "*."
		}
		if err := readFields(x, in, next); err != nil {
			return err
		}
	}
	return nil
}

// readBehaviours reads google.api.field_behavior.
func readBehaviours(x *Resource, path fieldpath.Path, behaviours []annotations.FieldBehavior) {
	for _, b := range behaviours {
		switch b {
		case annotations.FieldBehavior_IMMUTABLE:
			x.Immutable = append(x.Immutable, path)
		case annotations.FieldBehavior_OUTPUT_ONLY:
			x.OutputOnly = append(x.OutputOnly, path)
		case annotations.FieldBehavior_REQUIRED:
			x.Required = append(x.Required, path)
		default: // the others say nothing that is checked here
		}
	}
}

// readReference reads google.api.resource_reference of a field, if it has it,
// into r, of which the rest is there.
func readReference(x *Resource, f protoreflect.FieldDescriptor, r Reference) error {
	ref, ok := extension[*annotations.ResourceReference](f, annotations.E_ResourceReference)
	if !ok || ref.GetType() == "" || ref.GetType() == "*" {
		if r.OnDelete != resourcev1.OnDelete_ON_DELETE_UNSPECIFIED {
			return fmt.Errorf("%s has on_delete but no google.api.resource_reference with a type", r.Path)
		}
		return nil
	}
	if f.Kind() != protoreflect.StringKind {
		return fmt.Errorf("%s refers to a resource but is no string", r.Path)
	}
	r.Type = ref.GetType()
	domain, _, _ := strings.Cut(r.Type, "/")
	if domain != x.Service.Domain && !slices.Contains(x.Service.Imports, domain) {
		return fmt.Errorf("%s refers to %s, but the service does not import %s", r.Path, r.Type, domain)
	}
	if r.OnDelete == resourcev1.OnDelete_ON_DELETE_UNSPECIFIED {
		r.OnDelete = resourcev1.OnDelete_BLOCK
	}
	if unsets := r.OnDelete == resourcev1.OnDelete_UNSET || r.OnDelete == resourcev1.OnDelete_ASYNC_UNSET; unsets && r.Required {
		return fmt.Errorf("%s is required, so it cannot be unset", r.Path)
	}
	x.References = append(x.References, r)
	return nil
}

// everyIndex are the indexes of every type with metadata. That of owner
// references is the platform's own: filters may not use it. There is none of
// what nearly all objects have in common, like their region: it would be
// written with each of them and find nothing.
var everyIndex = []string{
	"metadata.labels", "metadata.tags", "metadata.create_time", "metadata.update_time", "metadata.uid", deleteTime, "metadata.owner_references.name",
}

// deleteTime is indexed for the few objects that have it.
const deleteTime = "metadata.delete_time"

// readIndexes reads which paths are indexed.
func readIndexes(x *Resource) error {
	var paths []string
	if x.Metadata != nil {
		paths = append(paths, everyIndex...)
	}
	for _, r := range x.References {
		paths = append(paths, r.Path.String())
	}
	paths = append(paths, x.Options.GetIndex()...)
	for _, u := range x.Options.GetUnique() {
		paths = append(paths, u.GetPath())
	}
	for _, s := range paths {
		p, err := fieldpath.Parse(x.Message.Descriptor(), s)
		if err != nil {
			return err
		}
		if _, ok := x.Index(p.String()); ok {
			continue
		}
		if x.secret(p) {
			return fmt.Errorf("%s is secret and cannot be indexed", p)
		}
		f := p.Field()
		sparse := slices.ContainsFunc(x.References, func(r Reference) bool { return !r.Required && r.Path.String() == p.String() })
		x.Indexes = append(x.Indexes, Index{Path: p, Many: p.Many() || sparse || p.String() == deleteTime, Keyed: f.IsMap() && f.MapValue().Kind() == protoreflect.StringKind && !p.Inside()})
	}
	for _, u := range x.Options.GetUnique() {
		p, err := fieldpath.Parse(x.Message.Descriptor(), u.GetPath())
		if err != nil {
			return err
		}
		i := slices.IndexFunc(x.Indexes, func(y Index) bool { return y.Path.String() == p.String() })
		x.Indexes[i].Unique, x.Indexes[i].Within = true, u.GetWithin()
	}
	for _, s := range x.Options.GetSearch() {
		p, err := fieldpath.Parse(x.Message.Descriptor(), s)
		if err != nil {
			return err
		}
		if x.secret(p) {
			return fmt.Errorf("%s is secret and cannot be searched", p)
		}
		x.Search = append(x.Search, p)
	}
	return nil
}

// secret reports whether a path leads to a secret field or into one.
func (r *Resource) secret(p fieldpath.Path) bool {
	return slices.ContainsFunc(r.Secrets, func(s fieldpath.Path) bool { return strings.HasPrefix(p.String()+".", s.String()+".") })
}
