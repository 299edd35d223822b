package fieldmask

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldpath"
)

// Project is a new message with what the mask selects of m. It is shallow: what
// a path names is m's own, so neither is to be changed after, or one of them is
// cloned before; what is on the way to it is new. A message on the way that is
// there stays there, if nothing is selected of it too.
func Project[M proto.Message](k Mask, m M) M {
	src := m.ProtoReflect()
	k.check(src)
	dst := src.New()
	k.tree().project(dst, src)
	return dst.Interface().(M)
}

// check panics if the mask is for another type of message.
func (k Mask) check(m protoreflect.Message) {
	if md := m.Descriptor(); k.md != nil && k.md != md && k.md.FullName() != md.FullName() {
		panic(fmt.Sprintf("BUG: fieldmask: a mask of %s for a %s", k.md.FullName(), md.FullName()))
	}
}

// project is Project for one message.
func (n *node) project(dst, src protoreflect.Message) {
	if n.whole {
		src.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool { dst.Set(f, v); return true })
		dst.SetUnknown(src.GetUnknown())
		return
	}
	for i := range n.fields {
		b := &n.fields[i]
		if !src.Has(b.field) {
			continue
		}
		switch v := src.Get(b.field); {
		case b.whole:
			dst.Set(b.field, v)
		case b.kind == dict:
			b.projectMap(dst.Mutable(b.field).Map(), v.Map())
		case b.kind == list:
			to := dst.Mutable(b.field).List()
			for i := range v.List().Len() {
				b.every.project(to.AppendMutable().Message(), v.List().Get(i).Message())
			}
		default:
			b.project(dst.Mutable(b.field).Message(), v.Message())
		}
	}
}

// projectMap is Project for a map.
func (n *node) projectMap(dst, src protoreflect.Map) {
	one := func(k protoreflect.MapKey, v protoreflect.Value) bool {
		switch to := n.value(k); {
		case to.whole:
			dst.Set(k, v)
		default:
			to.project(dst.Mutable(k).Message(), v.Message())
		}
		return true
	}
	if n.every != nil {
		src.Range(one)
		return
	}
	for _, k := range n.keys {
		if v := src.Get(k.key); v.IsValid() {
			one(k.key, v)
		}
	}
}

// Merge updates dst from src as an update with that mask does
// (google.aip.dev/134): what the mask names becomes as it is in src, and is
// cleared if it is not there. No mask is the [Implied] one of src. Nothing of
// src is shared.
//
// A mask with a path that goes through "*" is an Invalid fault, and dst is as
// it was: see [Mask.CheckUpdate].
func Merge(k Mask, dst, src proto.Message) error { return apply(k, dst, src, false) }

// Copy is [Merge] without clearing: what the mask names and src has is copied,
// everything else of dst stays.
func Copy(k Mask, dst, src proto.Message) error { return apply(k, dst, src, true) }

// apply is Merge or, if what src has not is kept, Copy.
func apply(k Mask, dst, src proto.Message, keep bool) error {
	to, from := dst.ProtoReflect(), src.ProtoReflect()
	if k.root == nil {
		k = Implied(src)
	}
	k.check(to)
	k.check(from)
	if err := k.CheckUpdate(); err != nil {
		return err
	}
	if k.root == whole && keep {
		k = Implied(src)
	} else if k.root == whole {
		proto.Reset(dst)
		proto.Merge(dst, src)
		return nil
	}
	k.root.merge(to, from, keep)
	return nil
}

// CheckUpdate is an Invalid fault if the mask has a path through "*": which items
// of a list an update means, it could not say.
func (k Mask) CheckUpdate() error {
	if k.root == nil || !k.root.starred() {
		return nil
	}
	for _, p := range k.Paths() {
		steps := p.Steps()
		for i, s := range steps {
			if s.All {
				before := fieldpath.Path{}.Append(steps[:i]...)
				remedy := "update " + before.String() + " as a whole"
				if before.Field().IsMap() {
					remedy += ", or its values by their keys"
				}
				return &fault.Error{
					Op: "fieldmask.Merge", Name: p.String(), Kind: fault.Invalid, Reason: "INVALID_UPDATE_MASK", Field: "mask",
					Err: fmt.Errorf("%q goes through many values: %s", p.String(), remedy),
				}
			}
		}
	}
	return nil
}

// starred reports whether a path below goes through "*".
func (n *node) starred() bool {
	if n.every != nil {
		return true
	}
	for i := range n.fields {
		if n.fields[i].starred() {
			return true
		}
	}
	for i := range n.keys {
		if n.keys[i].starred() {
			return true
		}
	}
	return false
}

// merge is apply for one message, of a node that is not whole. From may be the
// empty message that an unset field reads as.
func (n *node) merge(to, from protoreflect.Message, keep bool) {
	for i := range n.fields {
		b := &n.fields[i]
		switch has := from.Has(b.field); {
		case !has && (keep || !to.Has(b.field)):
		case b.whole && !has:
			to.Clear(b.field)
		case b.whole:
			to.Set(b.field, cloned(to.NewField(b.field), from.Get(b.field)))
		case b.kind == dict:
			b.mergeMap(to.Mutable(b.field).Map(), from.Get(b.field).Map(), keep)
		default:
			b.merge(to.Mutable(b.field).Message(), from.Get(b.field).Message(), keep)
		}
	}
}

// mergeMap is apply for a map.
func (n *node) mergeMap(to, from protoreflect.Map, keep bool) {
	for _, k := range n.keys {
		v := from.Get(k.key)
		switch has := v.IsValid(); {
		case !has && (keep || !to.Has(k.key)):
		case k.whole && !has:
			to.Clear(k.key)
		case k.whole:
			to.Set(k.key, cloned(to.NewValue(), v))
		case !has:
			k.merge(to.Mutable(k.key).Message(), to.NewValue().Message(), keep)
		default:
			k.merge(to.Mutable(k.key).Message(), v.Message(), keep)
		}
	}
}

// cloned is v without what it shares: in an empty message, list or map of its
// type if it is one.
func cloned(empty, v protoreflect.Value) protoreflect.Value {
	switch x := v.Interface().(type) {
	case []byte:
		return protoreflect.ValueOfBytes(bytes.Clone(x))
	case protoreflect.Message:
		proto.Merge(empty.Message().Interface(), x.Interface())
	case protoreflect.List:
		to := empty.List()
		for i := range x.Len() {
			to.Append(cloned(to.NewElement(), x.Get(i)))
		}
	case protoreflect.Map:
		to := empty.Map()
		x.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			to.Set(k, cloned(to.NewValue(), v))
			return true
		})
	default:
		return v
	}
	return empty
}

// Redact is m without what is at the paths: m itself if nothing is there, else a
// clone. What a field that is unknown here holds stays.
func Redact[M proto.Message](m M, paths []fieldpath.Path) M {
	same := true
	for _, p := range paths {
		if !p.Has(m.ProtoReflect()) {
			continue
		}
		if same {
			m, same = proto.CloneOf(m), false
		}
		p.Clear(m.ProtoReflect())
	}
	return m
}
