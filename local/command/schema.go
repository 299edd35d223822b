package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// remote is a platform as the command line sees it: the types that it says
// it has, also those that this program was not built with.
type remote struct {
	rpc   *rpc.Client
	types *schema.Registry
}

// remote asks the platform what there is.
func (a *app) remote(ctx context.Context) (*remote, error) {
	var body json.RawMessage
	c := a.client()
	if err := c.Call(ctx, http.MethodGet, "/v1/schema", nil, nil, &body); err != nil {
		return nil, err
	}
	types, err := readSchema(body)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", a.url, err)
	}
	return &remote{rpc: &rpc.Client{URL: c.URL, Key: c.Key, HTTP: &http.Client{Transport: c.HTTP.Transport}}, types: types}, nil
}

// readSchema reads a google.protobuf.FileDescriptorSet.
func readSchema(body []byte) (*schema.Registry, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, err
	}
	packages := map[protoreflect.FullName][]protoreflect.FileDescriptor{}
	served := map[protoreflect.FullName]bool{}
	var names []protoreflect.FullName
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if packages[f.Package()] == nil {
			names = append(names, f.Package())
		}
		packages[f.Package()] = append(packages[f.Package()], f)
		if proto.HasExtension(f.Options(), resourcev1.E_Service) {
			served[f.Package()] = true
		}
		return true
	})
	slices.Sort(names)
	types := new(schema.Registry)
	for _, name := range names {
		if !served[name] {
			continue
		}
		slices.SortFunc(packages[name], func(x, y protoreflect.FileDescriptor) int { return strings.Compare(x.Path(), y.Path()) })
		if _, err := types.Add(schema.Dynamic{Files: files}, packages[name]...); err != nil {
			return nil, err
		}
	}
	return types, nil
}

// target is what an argument of the command line means.
type target struct {
	resource *schema.Resource
	// name is the full name, "" for a collection.
	name resource.Name
	// parent is whose collection.
	parent string
}

// target is what arg means: a type ("devices", "device",
// "devices.selvedge.dev/Device"), a type and an id ("devices/d1"), or a full
// name. Ids are in the project of the flag, in its region if one is given.
func (a *app) target(r *remote, arg string) (target, error) {
	if x, ok := typeOf(r.types, arg); ok {
		parent, err := a.parents(x)
		return target{resource: x, parent: parent}, err
	}
	if kind, id, ok := strings.Cut(arg, "/"); ok {
		if x, ok := typeOf(r.types, kind); ok && !strings.Contains(id, "/") {
			if _, err := r.types.Resolve(arg); err != nil || len(x.Patterns) == 0 {
				return a.inParent(x, id)
			}
		}
	}
	x, err := r.types.Resolve(arg)
	if err != nil {
		return target{}, usageError{fmt.Errorf("%q is no type of resource and no name of one: there are %s", arg, strings.Join(typeNames(r.types), ", "))}
	}
	n := resource.Name(arg)
	return target{resource: x, name: n, parent: string(n.Parent())}, nil
}

// inParent is the resource of that id in the parent of the flags.
func (a *app) inParent(x *schema.Resource, id string) (target, error) {
	parent, err := a.parent(x)
	if err != nil {
		return target{}, err
	}
	n, err := x.Parse(strings.TrimPrefix(parent+"/"+x.Patterns[0].Collection()+"/"+id, "/"))
	return target{resource: x, name: n, parent: parent}, err
}

// parent is the parent that the flags mean for a type.
func (a *app) parent(x *schema.Resource) (string, error) {
	for _, p := range x.Patterns {
		parent := string(resource.Name(p).Parent())
		if regional := strings.Contains(parent, "{region}"); regional != (a.region != "") {
			continue
		}
		parent = strings.NewReplacer("{project}", a.project, "{region}", a.region).Replace(parent)
		if !strings.Contains(parent, "{") {
			return parent, nil
		}
	}
	return "", usageError{fmt.Errorf("a %s is not in a project alone: use its full name, %s", x.Singular, x.Patterns[0])}
}

// parents is the parent that the flags mean for the collection of a type; where
// they say nothing it is any: "services/-".
func (a *app) parents(x *schema.Resource) (string, error) {
	parent, err := a.parent(x)
	if err == nil || a.region != "" {
		return parent, err
	}
	segments := strings.Split(strings.ReplaceAll(string(resource.Name(x.Patterns[0]).Parent()), "{project}", a.project), "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = resource.Wildcard
		}
	}
	return strings.Join(segments, "/"), nil
}

// typeOf finds a type by what people call it.
func typeOf(types *schema.Registry, name string) (*schema.Resource, bool) {
	for _, s := range types.Services() {
		for _, x := range s.Resources {
			if x.Options.GetHidden() {
				continue
			}
			if slices.Contains([]string{x.Plural, x.Singular, x.Type, string(x.Message.Descriptor().Name())}, name) {
				return x, true
			}
		}
	}
	return nil, false
}

// typeNames are the plurals of all types.
func typeNames(types *schema.Registry) []string {
	var names []string
	for _, s := range types.Services() {
		for _, x := range s.Resources {
			if !x.Options.GetHidden() {
				names = append(names, x.Plural)
			}
		}
	}
	slices.Sort(names)
	return names
}

// method is the standard method of a type.
func (r *remote) method(x *schema.Resource, verb resourcev1.Method, collection bool) (*schema.Method, error) {
	for _, m := range x.Service.Methods {
		if m.Resource == x && m.Verb == verb && m.Collection == collection {
			return m, nil
		}
	}
	return nil, usageError{fmt.Errorf("%s cannot do that: they have no method %s", x.Plural, verb)}
}

// call makes a call of a standard method. The fields of the request are set by
// their names; values are text, bool, int32 or messages, and zero ones are left
// out.
func (r *remote) call(ctx context.Context, x *schema.Resource, verb resourcev1.Method, fields map[string]any) (protoreflect.Message, error) {
	m, err := r.method(x, verb, false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := r.rpc.Call(ctx, m, request(m, fields))
	if err != nil {
		return nil, err
	}
	return out.ProtoReflect(), nil
}

// request is a request with those fields.
func request(m *schema.Method, fields map[string]any) proto.Message {
	req := m.Input.New()
	for name, v := range fields {
		f := req.Descriptor().Fields().ByName(protoreflect.Name(name))
		if f == nil {
			continue // a field that only other methods have
		}
		switch v := v.(type) {
		case proto.Message:
			if v.ProtoReflect().IsValid() {
				req.Set(f, protoreflect.ValueOfMessage(v.ProtoReflect()))
			}
		case []string:
			list := req.Mutable(f)
			if f.IsList() {
				for _, s := range v {
					list.List().Append(protoreflect.ValueOfString(s))
				}
				continue
			}
			paths := list.Message().Descriptor().Fields().ByName("paths") // a mask
			for _, s := range v {
				list.Message().Mutable(paths).List().Append(protoreflect.ValueOfString(s))
			}
		case protoreflect.EnumNumber:
			req.Set(f, protoreflect.ValueOfEnum(v))
		default:
			req.Set(f, protoreflect.ValueOf(v))
		}
	}
	return req.Interface()
}

// text is a field of an answer that is text.
func text(m protoreflect.Message, name protoreflect.Name) string {
	f := m.Descriptor().Fields().ByName(name)
	if f == nil {
		return ""
	}
	return m.Get(f).String()
}

// items are the resources of an answer.
func items(m protoreflect.Message, x *schema.Resource) []protoreflect.Message {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if !f.IsList() || f.Message() == nil || f.Message().FullName() != x.Message.Descriptor().FullName() {
			continue
		}
		out := make([]protoreflect.Message, m.Get(f).List().Len())
		for j := range out {
			out[j] = m.Get(f).List().Get(j).Message()
		}
		return out
	}
	return nil
}

// isMissing reports whether err says that a resource is not there.
func isMissing(err error) bool { return fault.KindOf(err) == fault.NotFound }
