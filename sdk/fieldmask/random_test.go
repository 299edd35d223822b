package fieldmask_test

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// robotType describes what the tests are about.
var robotType = (*samplev1.Robot)(nil).ProtoReflect().Descriptor()

// mapKeys are few, so that random maps and paths meet, and odd.
var mapKeys = []string{"a", "b.c", "*", "d`e", ""}

// robot draws a robot.
func robot(t *rapid.T, label string) *samplev1.Robot {
	m := &samplev1.Robot{}
	fill(t, m.ProtoReflect(), label, 0)
	return m
}

// fill populates some fields of m, those in it down to a depth.
func fill(t *rapid.T, m protoreflect.Message, label string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if depth > 5 || rapid.IntRange(0, 2).Draw(t, label+"."+string(f.Name())) == 0 {
			continue
		}
		one := func(f protoreflect.FieldDescriptor, empty protoreflect.Value) protoreflect.Value {
			if f.Message() == nil {
				return scalar(t, f, label)
			}
			fill(t, empty.Message(), label+"."+string(f.Name()), depth+1)
			return empty
		}
		switch {
		case f.IsMap():
			to := m.Mutable(f).Map()
			for _, k := range rapid.SliceOfN(rapid.SampledFrom(mapKeys), 0, 3).Draw(t, label+" keys") {
				to.Set(protoreflect.ValueOfString(k).MapKey(), one(f.MapValue(), to.NewValue()))
			}
		case f.IsList():
			to := m.Mutable(f).List()
			for range rapid.IntRange(0, 3).Draw(t, label+" items") {
				to.Append(one(f, to.NewElement()))
			}
		case f.Message() != nil:
			m.Set(f, one(f, m.NewField(f)))
		default:
			m.Set(f, one(f, protoreflect.Value{}))
		}
	}
}

// scalar draws a scalar out of few.
func scalar(t *rapid.T, f protoreflect.FieldDescriptor, label string) protoreflect.Value {
	n := rapid.IntRange(0, 2).Draw(t, label+"."+string(f.Name()))
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n > 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	default:
		return protoreflect.ValueOfString([]string{"", "x", "y"}[n])
	}
}

// path draws a path of robots, with "*" in it if that is allowed.
func path(t *rapid.T, stars bool) fieldpath.Path {
	p, md := fieldpath.Path{}, robotType
	for depth := 0; ; depth++ {
		f := md.Fields().Get(rapid.IntRange(0, md.Fields().Len()-1).Draw(t, "field"))
		p = p.Append(fieldpath.Step{Field: f})
		if depth > 3 || rapid.IntRange(0, 4).Draw(t, "end") == 0 {
			return p
		}
		switch md = f.Message(); {
		case f.IsMap():
			if stars && f.MapValue().Message() != nil && rapid.Bool().Draw(t, "every") {
				p = p.Append(fieldpath.Step{All: true})
			} else {
				k := rapid.SampledFrom(mapKeys).Draw(t, "key")
				p = p.Append(fieldpath.Step{Key: protoreflect.ValueOfString(k).MapKey()})
			}
			md = f.MapValue().Message()
		case f.IsList() && (!stars || md == nil):
			return p
		case f.IsList():
			p = p.Append(fieldpath.Step{All: true})
		}
		if md == nil || rapid.IntRange(0, 4).Draw(t, "end") == 0 {
			if s := p.Steps(); s[len(s)-1].All {
				return fieldpath.Path{}.Append(s[:len(s)-1]...)
			}
			return p
		}
	}
}

// mask draws a mask.
func mask(t *rapid.T, stars bool) fieldmask.Mask {
	paths := make([]fieldpath.Path, rapid.IntRange(0, 8).Draw(t, "paths"))
	for i := range paths {
		paths[i] = path(t, stars)
	}
	return fieldmask.New(robotType, paths...)
}

// clone is proto.Clone of a robot.
func clone(m *samplev1.Robot) *samplev1.Robot { return proto.CloneOf(m) }

// pruned is a clone without messages that say nothing, which is where ours and
// other implementations differ.
func pruned(m *samplev1.Robot) *samplev1.Robot {
	m = clone(m)
	prune(m.ProtoReflect())
	return m
}

// prune clears the messages in m that say nothing and reports whether m does.
func prune(m protoreflect.Message) bool {
	empty := true
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && !f.IsMap() && prune(v.Message()) {
			m.Clear(f)
		} else {
			empty = false
		}
		return true
	})
	return empty
}
