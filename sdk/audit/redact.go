package audit

import (
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// protoName is a name as descriptors have it.
func protoName(s string) protoreflect.Name { return protoreflect.Name(s) }

// redactor takes secrets out of messages of any type. Its zero value is ready.
type redactor struct {
	// plans are by message descriptor: where its secrets are.
	plans sync.Map
	mu    sync.Mutex
}

// plan is where the secrets of a type of messages are. Nil is nowhere.
type plan struct {
	// clear are the fields that are secret, within those with secrets inside.
	clear  []protoreflect.FieldDescriptor
	within []inner
}

// inner is a field of messages with secrets.
type inner struct {
	field protoreflect.FieldDescriptor
	plan  *plan
}

// anyName is the type of messages of which nothing is known: nobody knows what
// is secret in them.
const anyName = "google.protobuf.Any"

// of is the plan for a type of messages.
func (r *redactor) of(md protoreflect.MessageDescriptor) *plan {
	if p, ok := r.plans.Load(md.FullName()); ok {
		return p.(*plan)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	open := map[protoreflect.FullName]*plan{}
	p := build(md, open)
	for _, q := range open {
		q.within = slices.DeleteFunc(q.within, func(x inner) bool { return !has(x.plan, map[*plan]bool{}) })
	}
	if !has(p, map[*plan]bool{}) {
		p = nil
	}
	r.plans.Store(md.FullName(), p)
	return p
}

// build makes a plan, with all that it leads to. Open are those that are made or
// are being made: a type may hold itself.
func build(md protoreflect.MessageDescriptor, open map[protoreflect.FullName]*plan) *plan {
	if p, ok := open[md.FullName()]; ok {
		return p
	}
	p := &plan{}
	open[md.FullName()] = p
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		inside := f.Message()
		if f.IsMap() {
			inside = f.MapValue().Message()
		}
		switch {
		case secret(f), inside != nil && inside.FullName() == anyName:
			p.clear = append(p.clear, f)
		case inside != nil:
			p.within = append(p.within, inner{f, build(inside, open)})
		}
	}
	return p
}

// has reports whether a plan, or one that it leads to, clears anything.
func has(p *plan, seen map[*plan]bool) bool {
	if seen[p] {
		return false
	}
	seen[p] = true
	if len(p.clear) > 0 {
		return true
	}
	for _, x := range p.within {
		if has(x.plan, seen) {
			return true
		}
	}
	return false
}

// secret reports whether a field is a secret: by the platform's option, or by
// proto's own.
func secret(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	if !ok || o == nil {
		return false
	}
	x, _ := proto.GetExtension(o, resourcev1.E_Field).(*resourcev1.FieldOptions)
	return x.GetSecret() || o.GetDebugRedact()
}

// apply is m without secrets: m itself if there are none, else a clone.
func (r *redactor) apply(m proto.Message) proto.Message {
	p := r.of(m.ProtoReflect().Descriptor())
	if p == nil || !p.found(m.ProtoReflect()) {
		return m
	}
	m = proto.Clone(m)
	p.apply(m.ProtoReflect())
	return m
}

// found reports whether a message has secrets.
func (p *plan) found(m protoreflect.Message) bool {
	for _, f := range p.clear {
		if m.Has(f) {
			return true
		}
	}
	for _, x := range p.within {
		yes := false
		x.each(m, func(v protoreflect.Message) bool {
			yes = x.plan.found(v)
			return !yes
		})
		if yes {
			return true
		}
	}
	return false
}

// apply clears the secrets of a message.
func (p *plan) apply(m protoreflect.Message) {
	for _, f := range p.clear {
		m.Clear(f)
	}
	for _, x := range p.within {
		x.each(m, func(v protoreflect.Message) bool {
			x.plan.apply(v)
			return true
		})
	}
}

// each calls yield with the messages in the field until it returns false.
func (x inner) each(m protoreflect.Message, yield func(protoreflect.Message) bool) {
	if !m.Has(x.field) {
		return
	}
	v := m.Get(x.field)
	switch {
	case x.field.IsMap():
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { return yield(v.Message()) })
	case x.field.IsList():
		for i := range v.List().Len() {
			if !yield(v.List().Get(i).Message()) {
				return
			}
		}
	default:
		yield(v.Message())
	}
}
