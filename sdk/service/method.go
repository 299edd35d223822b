package service

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// serve answers a unary call.
type serve func(ctx context.Context, c *call) (proto.Message, error)

// stream answers a server-streaming call.
type stream func(ctx context.Context, c *call, send func(proto.Message) error) error

// method is a method with the fields of its request and response, found once.
// A field that the messages have not is nil and reads as its zero.
type method struct {
	*schema.Method
	typ    *typ
	serve  serve
	stream stream
	// public is whether everybody may call it.
	public bool
	// secrets are the secret fields of the resources in its response.
	secrets []fieldpath.Path

	name, parent, names, id, object, etag, requestID, filter, orderBy, pageToken, phrase protoreflect.FieldDescriptor
	pageSize, view, readMask, updateMask, cas, casState, casMask                         protoreflect.FieldDescriptor
	allowMissing, validateOnly, includePaging                                            protoreflect.FieldDescriptor
	// Of the response.
	objects, missing, next, prev, paging protoreflect.FieldDescriptor
}

// newMethod finds the fields of a method.
func newMethod(m *schema.Method, t *typ) *method {
	in, out := m.Input.Descriptor().Fields(), m.Output.Descriptor().Fields()
	x := &method{
		Method: m, typ: t,
		name: in.ByName("name"), parent: in.ByName("parent"), names: in.ByName("names"), etag: in.ByName("etag"),
		requestID: in.ByName("request_id"), filter: in.ByName("filter"), orderBy: in.ByName("order_by"),
		pageToken: in.ByName("page_token"), phrase: in.ByName("phrase"), pageSize: in.ByName("page_size"),
		view: in.ByName("view"), readMask: in.ByName("read_mask"), updateMask: in.ByName("update_mask"),
		allowMissing: in.ByName("allow_missing"), validateOnly: in.ByName("validate_only"), includePaging: in.ByName("include_paging_info"),
		missing: out.ByName("missing"), next: out.ByName("next_page_token"), prev: out.ByName("prev_page_token"), paging: out.ByName("paging_info"),
	}
	if x.cas = in.ByName("cas"); x.cas != nil {
		x.casState, x.casMask = x.cas.Message().Fields().ByName("conditional_state"), x.cas.Message().Fields().ByName("field_mask")
	}
	if t == nil || m.Verb == resourcev1.Method_METHOD_UNSPECIFIED {
		return x
	}
	md := t.Message.Descriptor()
	for i := range in.Len() {
		if f := in.Get(i); f.Message() != nil && f.Message().FullName() == md.FullName() {
			x.object, x.id = f, in.ByName(f.Name()+"_id")
		}
	}
	for i := range out.Len() {
		if f := out.Get(i); f.IsList() && f.Message() != nil && f.Message().FullName() == md.FullName() {
			x.objects = f
		}
	}
	return x
}

// findSecrets finds the secrets of a response that is a resource, of any service
// of the store, or has fields with some.
func (m *method) findSecrets(types *schema.Registry) {
	md := m.Output.Descriptor()
	if r := ofMessage(types, md); r != nil {
		m.secrets = r.Secrets
		return
	}
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		r := ofMessage(types, content(f))
		if r == nil {
			continue
		}
		to := fieldpath.Path{}.Append(fieldpath.Step{Field: f})
		if f.IsList() || f.IsMap() {
			to = to.Append(fieldpath.Step{All: true})
		}
		for _, p := range r.Secrets {
			m.secrets = append(m.secrets, to.Append(p.Steps()...))
		}
	}
}

// ofMessage is the type whose objects are such messages, nil if there is none.
func ofMessage(types *schema.Registry, md protoreflect.MessageDescriptor) *schema.Resource {
	if md == nil {
		return nil
	}
	for _, s := range types.Services() {
		for _, r := range s.Resources {
			if r.Message.Descriptor().FullName() == md.FullName() {
				return r
			}
		}
	}
	return nil
}

// shown is a response without the secrets of resources, which only Get and
// BatchGet show.
func (m *method) shown(out proto.Message) proto.Message {
	return fieldmask.Redact(out, m.secrets)
}

// text is a field of a request.
func text(m protoreflect.Message, f protoreflect.FieldDescriptor) string {
	if f == nil {
		return ""
	}
	return m.Get(f).String()
}

// flag is a field of a request.
func flag(m protoreflect.Message, f protoreflect.FieldDescriptor) bool {
	return f != nil && m.Get(f).Bool()
}

// paths are the paths of a google.protobuf.FieldMask in a request.
func paths(m protoreflect.Message, f protoreflect.FieldDescriptor) []string {
	if f == nil || !m.Has(f) {
		return nil
	}
	list := m.Get(f).Message().Get(f.Message().Fields().ByName("paths")).List()
	out := make([]string, list.Len())
	for i := range out {
		out[i] = list.Get(i).String()
	}
	return out
}

// typ is a type of resource with what the methods need to know of it.
type typ struct {
	*schema.Resource
	// parents are the types of what objects are below, as far as the store has
	// them; children are those of what is below them.
	parents, children []*schema.Resource
	hooks             []Hook
	// secrets are the secret fields.
	secrets fieldmask.Mask
	// kept are the fields that an update leaves as they are: name, version and
	// output. Output in the items of a list is not among them: who replaces the
	// list replaces it, and it is for the one who writes it to know its items.
	kept fieldmask.Mask
	// compared is what a condition compares: no output, and no secrets.
	compared fieldmask.Mask
	// basic is what the view BASIC leaves out.
	basic []fieldpath.Path
}

// newType reads a type.
func newType(r *schema.Resource, types *schema.Registry) *typ {
	md := r.Message.Descriptor()
	t := &typ{Resource: r, basic: r.Secrets, secrets: fieldmask.New(md, r.Secrets...)}
	kept := append([]fieldpath.Path{path(md, "name")}, r.OutputOnly...)
	if r.Metadata != nil {
		t.basic = append(t.basic[:len(t.basic):len(t.basic)], path(md, "metadata.annotations"))
		kept = append(kept, path(md, "metadata.resource_version"))
	}
	t.compared = fieldmask.Subtract(fieldmask.All(md), fieldmask.Union(fieldmask.New(md, kept...), t.secrets))
	t.kept = fieldmask.New(md, slices.DeleteFunc(kept, goesThrough)...)
	for _, s := range types.Services() {
		for _, x := range s.Resources {
			switch {
			case x == r || x.Options.GetHidden():
			case isBelow(r, x):
				t.parents = append(t.parents, x)
			case isBelow(x, r):
				t.children = append(t.children, x)
			}
		}
	}
	return t
}

// goesThrough reports whether a path goes through the items of a list or map.
func goesThrough(p fieldpath.Path) bool {
	return slices.ContainsFunc(p.Steps(), func(s fieldpath.Step) bool { return s.All })
}

// path is a path that a type has for sure.
func path(md protoreflect.MessageDescriptor, s string) fieldpath.Path {
	p, err := fieldpath.Parse(md, s)
	if err != nil {
		panic("BUG: service: " + err.Error())
	}
	return p
}

// isBelow reports whether names of r are names of x with something behind.
func isBelow(r, x *schema.Resource) bool {
	for _, p := range r.Patterns {
		for up := resource.Name(p).Parent(); up != ""; up = up.Parent() {
			for _, q := range x.Patterns {
				if string(up) == string(q) {
					return true
				}
			}
		}
	}
	return false
}

// parentOf is the nearest object above a name that is of a type of the store.
func (t *typ) parentOf(name resource.Name) (*schema.Resource, resource.Name) {
	for up := name.Parent(); up != ""; up = up.Parent() {
		for _, x := range t.parents {
			if _, err := x.Parse(string(up)); err == nil {
				return x, up
			}
		}
	}
	return nil, ""
}

// invalid is the fault of a request whose field is wrong.
func invalid(op, reason, field string, err error) error {
	return &fault.Error{Op: op, Kind: fault.Invalid, Reason: reason, Field: field, Err: err}
}
