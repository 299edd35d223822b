package fieldmask

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fieldpath"
)

// Diff is the mask of what differs between two messages of one type: fields, in
// messages that both have those of the message, in maps every key by itself;
// lists and [fieldpath.Atomic] messages as a whole. It is empty if they are
// equal. With [Merge] it makes one of the other. A message whose extensions or
// unknown fields differ does as a whole, since those have no paths.
func Diff(a, b proto.Message) Mask {
	x, y := a.ProtoReflect(), b.ProtoReflect()
	k := None(x.Descriptor())
	k.check(y)
	return Mask{k.md, orEmpty(diff(x, y))}
}

// diff is Diff for one message.
func diff(a, b protoreflect.Message) *node {
	if !bytes.Equal(a.GetUnknown(), b.GetUnknown()) || extended(a, b) || extended(b, a) {
		return whole
	}
	var differ []branch
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		x, y := a.Has(f), b.Has(f)
		var n *node
		switch {
		case !x && !y:
		case f.IsMap():
			n = diffMap(f, a.Get(f).Map(), b.Get(f).Map())
		case x != y:
			n = whole
		case structure(f):
			n = diff(a.Get(f).Message(), b.Get(f).Message())
		case !a.Get(f).Equal(b.Get(f)):
			n = whole
		}
		if n != nil {
			differ = append(differ, newBranch(f, n))
		}
	}
	slices.SortFunc(differ, byNumber)
	return fieldsNode(differ)
}

// diffMap is Diff for the map of a field.
func diffMap(f protoreflect.FieldDescriptor, a, b protoreflect.Map) *node {
	var keys []keyed
	a.Range(func(k protoreflect.MapKey, x protoreflect.Value) bool {
		n := whole
		if y := b.Get(k); y.IsValid() {
			if structure(f.MapValue()) {
				n = diff(x.Message(), y.Message())
			} else if x.Equal(y) {
				n = nil
			}
		}
		if n != nil {
			keys = append(keys, keyed{k, n})
		}
		return true
	})
	b.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		if !a.Has(k) {
			keys = append(keys, keyed{k, whole})
		}
		return true
	})
	if len(keys) == 0 {
		return nil
	}
	slices.SortFunc(keys, byKey)
	return &node{keys: keys}
}

// structure reports whether the field is one message whose fields are looked at
// one by one.
func structure(f protoreflect.FieldDescriptor) bool {
	return f.Message() != nil && !f.IsList() && !f.IsMap() && !fieldpath.Atomic(f.Message())
}

// extended reports whether a has an extension that b has not, or not so.
func extended(a, b protoreflect.Message) bool {
	if a.Descriptor().ExtensionRanges().Len() == 0 {
		return false
	}
	differ := false
	a.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		differ = f.IsExtension() && !(b.Has(f) && v.Equal(b.Get(f)))
		return !differ
	})
	return differ
}

// Implied is the mask that an update without one has: all fields that are
// populated in m, in messages those of the message, maps and lists as a whole
// (google.aip.dev/134). A message with nothing in it is left out, or it would
// clear all that is there, except if to be there is all that it says: it has
// no fields, or is one of a oneof.
func Implied(m proto.Message) Mask {
	r := m.ProtoReflect()
	return Mask{r.Descriptor(), orEmpty(implied(r))}
}

// implied is Implied for one message.
func implied(m protoreflect.Message) *node {
	var fields []branch
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.IsExtension() {
			return true
		}
		n := whole
		if structure(f) {
			n = implied(v.Message())
			if n == nil && (f.ContainingOneof() != nil || f.Message().Fields().Len() == 0) {
				n = whole
			}
		}
		if n != nil {
			fields = append(fields, newBranch(f, n))
		}
		return true
	})
	slices.SortFunc(fields, byNumber)
	return fieldsNode(fields)
}
