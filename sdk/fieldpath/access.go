package fieldpath

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
)

// Value is one value that a path leads to. The zero value is one that is unset.
type Value struct {
	protoreflect.Value
	// Desc describes the value: the field, or of a map its value field. It is
	// nil for a message that no field led to.
	Desc protoreflect.FieldDescriptor
	// Key is the key of the last map on the way, invalid if there is none.
	Key protoreflect.MapKey
}

// IsZero reports whether the value says no more than an unset one: it is the
// default of its type, or a message without populated fields.
func (v Value) IsZero() bool {
	switch x := v.Interface().(type) {
	case nil:
		return true
	case protoreflect.Message:
		zero := len(x.GetUnknown()) == 0
		x.Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool { zero = false; return false })
		return zero
	case []byte:
		return len(x) == 0
	case protoreflect.List:
		return x.Len() == 0
	case protoreflect.Map:
		return x.Len() == 0
	}
	return v.Equal(v.Desc.Default())
}

// Values calls yield with every value that the path leads to in m, in the order
// of lists and of map keys, until it returns false. Fields that are not set
// have no value, but a scalar without presence that the path ends at has its
// zero value. A path that ends at a list or a map yields its items or values.
func (p Path) Values(m protoreflect.Message, yield func(Value) bool) {
	item(p.steps, Value{Value: protoreflect.ValueOfMessage(m)}, yield)
}

// Get are the [Path.Values].
func (p Path) Get(m protoreflect.Message) []Value {
	var values []Value
	p.Values(m, func(v Value) bool { values = append(values, v); return true })
	return values
}

// item is Values for the steps below one value.
func item(steps []Step, at Value, yield func(Value) bool) bool {
	if len(steps) == 0 {
		return yield(at)
	}
	m, f, rest := at.Message(), steps[0].Field, steps[1:]
	v := m.Get(f)
	switch {
	case f.IsMap():
		if len(rest) > 0 && !rest[0].All {
			v := v.Map().Get(rest[0].Key)
			return !v.IsValid() || item(rest[1:], Value{v, f.MapValue(), rest[0].Key}, yield)
		}
		for _, k := range sortedKeys(v.Map()) {
			if !item(rest[min(1, len(rest)):], Value{v.Map().Get(k), f.MapValue(), k}, yield) {
				return false
			}
		}
		return true
	case f.IsList():
		for i := range v.List().Len() {
			if !item(rest[min(1, len(rest)):], Value{v.List().Get(i), f, at.Key}, yield) {
				return false
			}
		}
		return true
	case f.HasPresence() && !m.Has(f):
		return true
	}
	return item(rest, Value{v, f, at.Key}, yield)
}

// sortedKeys are the keys of a map in their order.
func sortedKeys(m protoreflect.Map) []protoreflect.MapKey {
	keys := make([]protoreflect.MapKey, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, CompareKeys)
	return keys
}

// CompareKeys is the order of the keys of one map.
func CompareKeys(a, b protoreflect.MapKey) int {
	switch a.Interface().(type) {
	case string:
		return cmp.Compare(a.String(), b.String())
	case int32, int64:
		return cmp.Compare(a.Int(), b.Int())
	case uint32, uint64:
		return cmp.Compare(a.Uint(), b.Uint())
	}
	if a.Bool() == b.Bool() {
		return 0
	} else if b.Bool() {
		return -1
	}
	return 1
}

// Has reports whether something is set where the path leads to: a field that
// is populated, or an item. A message that is there counts, if it is empty too;
// a zero in a field without presence does not.
func (p Path) Has(m protoreflect.Message) bool {
	f := p.Field()
	items := f == nil || p.Inside() || f.IsList() || f.IsMap()
	has := false
	p.Values(m, func(v Value) bool {
		has = items || f.HasPresence() || !v.IsZero()
		return !has
	})
	return has
}

// Default is the value that an unset field at the path reads as, the zero Value
// if that is none: for messages, lists and what is in them.
func (p Path) Default() Value {
	f := p.Field()
	if f == nil || f.Message() != nil || f.IsList() {
		return Value{Desc: p.Desc()}
	}
	return Value{Value: f.Default(), Desc: f}
}

// Set sets the one field or map value that the path leads to, and makes the
// messages and maps on the way that are not there. A list or map is set as a
// whole. What is set becomes part of m. An invalid value, or an invalid list,
// map or message as reading an unset field gives it, clears instead.
//
// A path through "*" and a value of another type than the path's are Invalid
// faults, and m is as it was.
func (p Path) Set(m protoreflect.Message, v protoreflect.Value) error {
	if err := p.settable(v); err != nil {
		return &fault.Error{Op: "fieldpath.Set", Name: p.text, Kind: fault.Invalid, Reason: "INVALID_VALUE", Field: "path", Err: err}
	}
	if !present(v) {
		p.Clear(m)
		return nil
	}
	for i, s := range p.steps {
		last := i == len(p.steps)-1
		switch {
		case s.Field == nil: // the key of the map that was entered before
		case last:
			m.Set(s.Field, v)
		case s.Field.IsMap() && i+2 == len(p.steps):
			m.Mutable(s.Field).Map().Set(p.steps[i+1].Key, v)
		case s.Field.IsMap():
			m = m.Mutable(s.Field).Map().Mutable(p.steps[i+1].Key).Message()
		default:
			m = m.Mutable(s.Field).Message()
		}
	}
	return nil
}

// settable says why the path or the value is none to set.
func (p Path) settable(v protoreflect.Value) error {
	if len(p.steps) == 0 {
		return fmt.Errorf("the path names no field")
	}
	for i, s := range p.steps {
		if s.All {
			before := Path{steps: p.steps[:i]}
			return fmt.Errorf("%s has many values; set the whole of it, or one key of a map", join(before.steps, protoName))
		}
	}
	f, whole := p.Field(), !p.Inside()
	is := false
	switch x := v.Interface().(type) {
	case nil:
		return nil
	case protoreflect.List:
		is = whole && f.IsList()
	case protoreflect.Map:
		is = whole && f.IsMap()
	case protoreflect.Message:
		f = p.Desc()
		is = (whole && f == p.Field() && !f.IsList() || !whole) && f.Message() != nil && f.Message().FullName() == x.Descriptor().FullName()
	default:
		is = (!whole || !f.IsList() && !f.IsMap()) && scalarOf(p.Desc().Kind(), x)
	}
	if !is {
		return fmt.Errorf("%T is not what %s has", v.Interface(), f.FullName())
	}
	return nil
}

// scalarOf reports whether x is a scalar value of the kind.
func scalarOf(k protoreflect.Kind, x any) bool {
	switch x.(type) {
	case bool:
		return k == protoreflect.BoolKind
	case int32:
		return k == protoreflect.Int32Kind || k == protoreflect.Sint32Kind || k == protoreflect.Sfixed32Kind
	case int64:
		return k == protoreflect.Int64Kind || k == protoreflect.Sint64Kind || k == protoreflect.Sfixed64Kind
	case uint32:
		return k == protoreflect.Uint32Kind || k == protoreflect.Fixed32Kind
	case uint64:
		return k == protoreflect.Uint64Kind || k == protoreflect.Fixed64Kind
	case float32:
		return k == protoreflect.FloatKind
	case float64:
		return k == protoreflect.DoubleKind
	case string:
		return k == protoreflect.StringKind
	case []byte:
		return k == protoreflect.BytesKind
	case protoreflect.EnumNumber:
		return k == protoreflect.EnumKind
	}
	return false
}

// present reports whether a value is one that can be in a message.
func present(v protoreflect.Value) bool {
	switch x := v.Interface().(type) {
	case nil:
		return false
	case protoreflect.Message:
		return x.IsValid()
	case protoreflect.List:
		return x.IsValid()
	case protoreflect.Map:
		return x.IsValid()
	}
	return true
}

// Clear clears what the path leads to: the field, also in every item of the
// lists and maps on the way, the map value, or all items. Messages on the way
// stay. The zero path clears the message.
func (p Path) Clear(m protoreflect.Message) {
	steps := p.steps
	var key protoreflect.MapKey // invalid for all items, which are the field
	if n := len(steps); n > 0 && steps[n-1].Field == nil {
		key, steps = steps[n-1].Key, steps[:n-1]
	}
	if len(steps) == 0 {
		m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool { m.Clear(f); return true })
		m.SetUnknown(nil)
		return
	}
	f := steps[len(steps)-1].Field
	item(steps[:len(steps)-1], Value{Value: protoreflect.ValueOfMessage(m)}, func(v Value) bool {
		switch in := v.Message(); {
		case !in.Has(f):
		case key.IsValid():
			in.Mutable(f).Map().Clear(key)
		default:
			in.Clear(f)
		}
		return true
	})
}

// Equal reports whether the path leads to the same values in a and in b.
func (p Path) Equal(a, b protoreflect.Message) bool {
	return slices.EqualFunc(p.Get(a), p.Get(b), func(x, y Value) bool {
		return x.Key.Value().Equal(y.Key.Value()) && x.Value.Equal(y.Value)
	})
}

// Terminals are the paths of everything that is populated in m: scalars, lists
// as a whole, values of maps each by its key, [Atomic] messages, and messages
// in which nothing is. They are in the order of the descriptor and of keys.
func Terminals(m protoreflect.Message) []Path { return terminals(nil, Path{}, m) }

// terminals adds the terminal paths of the message at p.
func terminals(paths []Path, p Path, m protoreflect.Message) []Path {
	fields, none := m.Descriptor().Fields(), true
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		none = false
		to := p.Append(Step{Field: f})
		in := message(f)
		switch deep := in != nil && !Atomic(in); {
		case f.IsMap():
			values := m.Get(f).Map()
			for _, k := range sortedKeys(values) {
				if to := to.Append(Step{Key: k}); deep {
					paths = terminals(paths, to, values.Get(k).Message())
				} else {
					paths = append(paths, to)
				}
			}
		case deep && !f.IsList():
			paths = terminals(paths, to, m.Get(f).Message())
		default:
			paths = append(paths, to)
		}
	}
	if none && len(p.steps) > 0 {
		paths = append(paths, p)
	}
	return paths
}

// Atomic reports whether messages of a type are values rather than structures:
// those of google.protobuf, such as Timestamp, Struct and the wrappers. They
// have fields that can be named, but are read, compared and written as one.
func Atomic(md protoreflect.MessageDescriptor) bool {
	return md.ParentFile().Package() == "google.protobuf"
}
