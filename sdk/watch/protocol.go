package watch

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// protocol knows the fields of the messages of a method that watches a
// collection, which are the same for every type of resource.
type protocol struct {
	resource *schema.Resource
	request  protoreflect.MessageType
	response protoreflect.MessageType
	// The fields of the response.
	changes, current, token, size, soft, hard, next, prev protoreflect.FieldDescriptor
	// The types of a change and of what it is one of, and their fields.
	changeType, setType, removedType    protoreflect.MessageType
	set, object, index, previous, isNew protoreflect.FieldDescriptor
	removed, name, removedIndex         protoreflect.FieldDescriptor
}

// protocolOf reads the descriptors of a generated method.
func protocolOf(m *schema.Method) *protocol {
	p := &protocol{resource: m.Resource, request: m.Input, response: m.Output}
	out := m.Output.Descriptor()
	p.current, p.token, p.size = field(out, "is_current"), field(out, "resume_token"), field(out, "snapshot_size")
	p.soft, p.hard = field(out, "is_soft_reset"), field(out, "is_hard_reset")
	p.next, p.prev = field(out, "next_page_token"), field(out, "prev_page_token")
	p.changes = out.Fields().ByNumber(1)

	change := m.Output.New().NewField(p.changes).List().NewElement().Message()
	p.changeType = change.Type()
	p.set, p.removed = field(change.Descriptor(), "set"), field(change.Descriptor(), "removed")
	set, removed := change.NewField(p.set).Message(), change.NewField(p.removed).Message()
	p.setType, p.removedType = set.Type(), removed.Type()
	p.object, p.index = set.Descriptor().Fields().ByNumber(1), field(set.Descriptor(), "view_index")
	p.previous, p.isNew = field(set.Descriptor(), "previous_view_index"), field(set.Descriptor(), "is_new")
	p.name, p.removedIndex = field(removed.Descriptor(), "name"), field(removed.Descriptor(), "view_index")
	return p
}

// field is a field that a generated message has.
func field(m protoreflect.MessageDescriptor, name protoreflect.Name) protoreflect.FieldDescriptor {
	f := m.Fields().ByName(name)
	if f == nil {
		panic(fmt.Sprintf("BUG: watch: %s has no field %s", m.FullName(), name))
	}
	return f
}

// request is what a collection is watched by.
type request struct {
	kind                                            resourcev1.WatchType
	parent, filter, orderBy, pageToken, resumeToken string
	pageSize, chunk                                 int
	mask                                            []string
	// since is the starting time, zero if none is given.
	since time.Time
}

// readRequest reads the request of a watch of a collection.
func readRequest(req proto.Message) request {
	m := req.ProtoReflect()
	get := func(name protoreflect.Name) protoreflect.Value { return m.Get(field(m.Descriptor(), name)) }
	r := request{
		kind:        resourcev1.WatchType(get("type").Enum()),
		parent:      get("parent").String(),
		filter:      get("filter").String(),
		orderBy:     get("order_by").String(),
		pageToken:   get("page_token").String(),
		resumeToken: get("resume_token").String(),
		pageSize:    int(get("page_size").Int()),
		chunk:       int(get("max_chunk_size").Int()),
		mask:        readMask(m),
	}
	if f := field(m.Descriptor(), "starting_time"); m.Has(f) {
		t := m.Get(f).Message()
		r.since = time.Unix(t.Get(field(t.Descriptor(), "seconds")).Int(), t.Get(field(t.Descriptor(), "nanos")).Int())
	}
	return r
}

// readMask reads the read mask of a request, nil if none is given.
func readMask(m protoreflect.Message) []string {
	f := field(m.Descriptor(), "read_mask")
	if !m.Has(f) {
		return nil
	}
	mask := m.Get(f).Message()
	list := mask.Get(field(mask.Descriptor(), "paths")).List()
	paths := make([]string, list.Len())
	for i := range paths {
		paths[i] = list.Get(i).String()
	}
	return paths
}

// newRequest makes the request of a stateless watch.
func (p *protocol) newRequest(r request) proto.Message {
	m := p.request.New()
	set := func(name protoreflect.Name, v protoreflect.Value) { m.Set(field(m.Descriptor(), name), v) }
	set("type", protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.kind)))
	set("parent", protoreflect.ValueOfString(r.parent))
	set("filter", protoreflect.ValueOfString(r.filter))
	set("resume_token", protoreflect.ValueOfString(r.resumeToken))
	set("max_chunk_size", protoreflect.ValueOfInt32(int32(r.chunk)))
	if len(r.mask) > 0 {
		mask := m.Mutable(field(m.Descriptor(), "read_mask")).Message()
		list := mask.Mutable(field(mask.Descriptor(), "paths")).List()
		for _, path := range r.mask {
			list.Append(protoreflect.ValueOfString(path))
		}
	}
	return m.Interface()
}

// response is an answer of a watch of a collection.
type response struct {
	changes              []protoreflect.Message
	current, soft, hard  bool
	token                string
	size                 int64
	nextToken, prevToken string
}

// write makes the message of an answer.
func (p *protocol) write(r response) proto.Message {
	m := p.response.New()
	if len(r.changes) > 0 {
		list := m.Mutable(p.changes).List()
		for _, c := range r.changes {
			list.Append(protoreflect.ValueOfMessage(c))
		}
	}
	m.Set(p.current, protoreflect.ValueOfBool(r.current))
	m.Set(p.soft, protoreflect.ValueOfBool(r.soft))
	m.Set(p.hard, protoreflect.ValueOfBool(r.hard))
	m.Set(p.token, protoreflect.ValueOfString(r.token))
	m.Set(p.size, protoreflect.ValueOfInt64(r.size))
	m.Set(p.next, protoreflect.ValueOfString(r.nextToken))
	m.Set(p.prev, protoreflect.ValueOfString(r.prevToken))
	return m.Interface()
}

// read reads the message of an answer.
func (p *protocol) read(msg proto.Message) response {
	m := msg.ProtoReflect()
	r := response{
		current: m.Get(p.current).Bool(), soft: m.Get(p.soft).Bool(), hard: m.Get(p.hard).Bool(),
		token: m.Get(p.token).String(), size: m.Get(p.size).Int(),
	}
	for list, i := m.Get(p.changes).List(), 0; i < list.Len(); i++ {
		r.changes = append(r.changes, list.Get(i).Message())
	}
	return r
}

// setChange is the change that an object came, changed or moved.
func (p *protocol) setChange(o proto.Message, index, previous int, isNew bool) protoreflect.Message {
	set := p.setType.New()
	set.Set(p.object, protoreflect.ValueOfMessage(o.ProtoReflect()))
	set.Set(p.index, protoreflect.ValueOfInt32(int32(index)))
	set.Set(p.previous, protoreflect.ValueOfInt32(int32(previous)))
	set.Set(p.isNew, protoreflect.ValueOfBool(isNew))
	c := p.changeType.New()
	c.Set(p.set, protoreflect.ValueOfMessage(set))
	return c
}

// removedChange is the change that an object went.
func (p *protocol) removedChange(name resource.Name, index int) protoreflect.Message {
	removed := p.removedType.New()
	removed.Set(p.name, protoreflect.ValueOfString(string(name)))
	removed.Set(p.removedIndex, protoreflect.ValueOfInt32(int32(index)))
	c := p.changeType.New()
	c.Set(p.removed, protoreflect.ValueOfMessage(removed))
	return c
}

// readChange is which object a change is about, and the object unless it went.
func (p *protocol) readChange(c protoreflect.Message) (resource.Name, proto.Message) {
	if c.Has(p.removed) {
		return resource.Name(c.Get(p.removed).Message().Get(p.name).String()), nil
	}
	o := c.Get(p.set).Message().Get(p.object).Message().Interface()
	return p.resource.NameOf(o), o
}

// invalid is the fault of a request's field.
func invalid(field, reason, format string, args ...any) error {
	return &fault.Error{Op: "watch.Serve", Kind: fault.Invalid, Reason: reason, Field: field, Err: fmt.Errorf(format, args...)}
}
