package reference

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/schema"
)

// targets are the names that an object has at a reference, each once.
func targets(ref *schema.Reference, m proto.Message) []string {
	if m == nil {
		return nil
	}
	var names []string
	ref.Path.Values(m.ProtoReflect(), func(v fieldpath.Value) bool {
		if s := v.String(); s != "" && !slices.Contains(names, s) {
			names = append(names, s)
		}
		return true
	})
	return names
}

// unset takes a name out of a reference: the field is cleared, items of lists
// and values of maps are removed.
func unset(ref *schema.Reference, m proto.Message, name string) {
	unsetIn(m.ProtoReflect(), ref.Path.Steps(), name)
}

// unsetIn is unset in one message, for the steps from there.
func unsetIn(m protoreflect.Message, steps []fieldpath.Step, name string) {
	f, rest := steps[0].Field, steps[1:]
	if !m.Has(f) {
		return
	}
	items := f.IsList() || f.IsMap()
	if items && len(rest) > 0 && rest[0].Field == nil {
		rest = rest[1:]
	}
	switch {
	case !items && len(rest) == 0:
		if m.Get(f).String() == name {
			m.Clear(f)
		}
	case !items:
		unsetIn(m.Mutable(f).Message(), rest, name)
	case f.IsList():
		l, n := m.Mutable(f).List(), 0
		for i := range l.Len() {
			if len(rest) > 0 {
				unsetIn(l.Get(i).Message(), rest, name)
			} else if l.Get(i).String() == name {
				continue
			}
			l.Set(n, l.Get(i))
			n++
		}
		l.Truncate(n)
	default:
		values := m.Mutable(f).Map()
		values.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			if len(rest) > 0 {
				unsetIn(v.Message(), rest, name)
			} else if v.String() == name {
				values.Clear(k)
			}
			return true
		})
	}
}

// key is a text as the index of a path has it.
func key(p fieldpath.Path, s string) []byte {
	return fieldpath.AppendKey(nil, fieldpath.Value{Value: protoreflect.ValueOfString(s), Desc: p.Desc()})
}
