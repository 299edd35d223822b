package fieldpath

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Typed is a path of messages M to values V: of a list or a map, its items.
// V is bool, string, []byte, a number, a generated enum or a message. Make one
// with [Of].
type Typed[M proto.Message, V any] struct {
	path func() Path
}

// Of is the typed form of a path. Variables of it may stand beside the generated
// code of M, which is not ready when they are initialised: the path is looked at
// when it is first used, and then panics if M has no such path or it leads to
// no V.
func Of[M proto.Message, V any](path string) Typed[M, V] {
	return Typed[M, V]{sync.OnceValue(func() Path {
		var m M
		p, err := Parse(m.ProtoReflect().Descriptor(), path)
		if err != nil {
			panic(fmt.Sprintf("BUG: fieldpath.Of: %v", err))
		}
		if !holds[V](p.Desc()) {
			panic(fmt.Sprintf("BUG: fieldpath.Of: %s has no values of type %T", p, *new(V)))
		}
		return p
	})}
}

// Path is the generic form.
func (t Typed[M, V]) Path() Path { return t.path() }

// String is the text of the path.
func (t Typed[M, V]) String() string { return t.path().String() }

// At is the path to one value of the map that this path ends at.
func (t Typed[M, V]) At(key any) Typed[M, V] {
	p := t.path()
	return Typed[M, V]{sync.OnceValue(func() Path {
		if f := p.Field(); !f.IsMap() || p.Inside() || !scalarOf(f.MapKey().Kind(), key) {
			panic(fmt.Sprintf("BUG: fieldpath.Typed.At: %s has no keys of type %T", p, key))
		}
		return p.Append(Step{Key: protoreflect.ValueOf(key).MapKey()})
	})}
}

// Get is the value in m, of several the first; false if there is none. It is
// true for the zero of a scalar without presence.
func (t Typed[M, V]) Get(m M) (V, bool) {
	var out V
	ok := false
	t.path().Values(m.ProtoReflect(), func(v Value) bool {
		out, ok = goValue[V](v.Value), true
		return false
	})
	return out, ok
}

// All are the values in m.
func (t Typed[M, V]) All(m M) []V {
	var all []V
	t.path().Values(m.ProtoReflect(), func(v Value) bool {
		all = append(all, goValue[V](v.Value))
		return true
	})
	return all
}

// Set sets the value in m, and makes the messages on the way. For a path that
// ends at a list, the values are all its items; for others there is one. To set
// through "*" or a map without a key is a bug.
func (t Typed[M, V]) Set(m M, values ...V) {
	p := t.path()
	var v protoreflect.Value
	switch f := p.Field(); {
	case f.IsList() && !p.Inside():
		if len(values) > 0 {
			v = newList(m.ProtoReflect(), p)
		}
		for _, x := range values {
			v.List().Append(protoValue(x))
		}
	case len(values) != 1:
		panic(fmt.Sprintf("BUG: fieldpath.Typed.Set: %d values for %s", len(values), p))
	default:
		v = protoValue(values[0])
	}
	if err := p.Set(m.ProtoReflect(), v); err != nil {
		panic(fmt.Sprintf("BUG: fieldpath.Typed.Set: %v", err))
	}
}

// Clear clears the values in m.
func (t Typed[M, V]) Clear(m M) { t.path().Clear(m.ProtoReflect()) }

// newList is an empty list of the kind that the path ends at.
func newList(m protoreflect.Message, p Path) protoreflect.Value {
	for _, s := range p.steps[:len(p.steps)-1] {
		switch {
		case s.Field == nil:
		case s.Field.IsMap():
			m = m.NewField(s.Field).Map().NewValue().Message()
		case s.Field.IsList(): // which Set refuses
			m = m.NewField(s.Field).List().NewElement().Message()
		default:
			m = m.NewField(s.Field).Message()
		}
	}
	return m.NewField(p.Field())
}

// holds reports whether the values that d describes are of Go type V.
func holds[V any](d protoreflect.FieldDescriptor) bool {
	switch x := any(*new(V)).(type) {
	case nil:
		return false
	case protoreflect.Enum:
		return d.Enum() != nil && d.Enum().FullName() == x.Descriptor().FullName()
	case proto.Message:
		return d.Message() != nil && d.Message().FullName() == x.ProtoReflect().Descriptor().FullName()
	default:
		return scalarOf(d.Kind(), x)
	}
}

// goValue is a value in its Go type. The pointers keep numbers and texts from
// being boxed.
func goValue[V any](v protoreflect.Value) V {
	var out V
	switch p := any(&out).(type) {
	case *bool:
		*p = v.Bool()
	case *string:
		*p = v.String()
	case *int64:
		*p = v.Int()
	case *float64:
		*p = v.Float()
	default:
		x := v.Interface()
		switch y := x.(type) {
		case protoreflect.Message:
			x = y.Interface()
		case protoreflect.EnumNumber:
			x = any(out).(protoreflect.Enum).Type().New(y)
		}
		out, _ = x.(V)
	}
	return out
}

// protoValue is a Go value as messages have it.
func protoValue(x any) protoreflect.Value {
	switch y := x.(type) {
	case protoreflect.Enum:
		return protoreflect.ValueOfEnum(y.Number())
	case proto.Message:
		return protoreflect.ValueOfMessage(y.ProtoReflect())
	}
	return protoreflect.ValueOf(x)
}
