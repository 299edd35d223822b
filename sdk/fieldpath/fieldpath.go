// Package fieldpath names fields of messages: "spec.parts.serial",
// "metadata.labels.color", "spec.spares.`a.b`.note". A [Path] is checked
// against the descriptor of its message once, when it is parsed, and then
// reads and writes any message of that type.
//
// A path goes through a message field by its name, in the form of the proto
// file or of JSON; through a map by a key, or by "*" or nothing for every
// value; through a list by "*" or nothing, which is every item. A key with
// other characters than letters, digits, "-" and "_" is written between
// backticks, a backtick in it twice (google.aip.dev/161).
//
// Paths are values, safe for concurrent use. Messages are the caller's.
package fieldpath

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
)

// Path is a parsed path. The zero value is the message itself.
type Path struct {
	text  string
	steps []step
}

// step is one element of a path.
type step struct {
	// field is the field that the step enters; nil for a step into the map or
	// list that the step before it ended at.
	field protoreflect.FieldDescriptor
	// key is the map key, if the step is into one value of a map.
	key protoreflect.MapKey
	// all is a step into every item of a list or value of a map.
	all bool
}

// maxPath bounds the text of a path, which comes from callers.
const maxPath = 1024

// Parse parses a path of messages of type md. A path that names no field there
// is an Invalid fault with the field "path" and what is wrong in its message.
func Parse(md protoreflect.MessageDescriptor, s string) (Path, error) {
	if len(s) > maxPath {
		return Path{}, invalid(s[:64]+"…", fmt.Errorf("a path has at most %d bytes", maxPath))
	}
	parts, err := split(s)
	if err != nil {
		return Path{}, invalid(s, err)
	}
	p := Path{text: s}
	var at protoreflect.FieldDescriptor // whose value the next part is of; nil is md's
	items := false                      // the next part is of the items of at
	for _, part := range parts {
		switch {
		case at != nil && at.IsMap() && !items:
			st := step{all: part.text == "*" && !part.quoted}
			if !st.all {
				if st.key, err = parseKey(at.MapKey(), part.text); err != nil {
					return Path{}, invalid(s, err)
				}
			}
			p.steps, items = append(p.steps, st), true
			continue
		case at != nil && at.IsList() && !items && part.text == "*" && !part.quoted:
			p.steps, items = append(p.steps, step{all: true}), true
			continue
		}
		in := md
		if at != nil {
			if at.IsList() && !items {
				p.steps = append(p.steps, step{all: true})
			}
			if in = message(at); in == nil {
				return Path{}, invalid(s, fmt.Errorf("%s has no fields, so there is no %q in it", at.Name(), part.text))
			}
		}
		f := in.Fields().ByName(protoreflect.Name(part.text))
		if f == nil {
			f = in.Fields().ByJSONName(part.text)
		}
		if f == nil {
			return Path{}, invalid(s, fmt.Errorf("%s has no field %q", in.Name(), part.text))
		}
		p.steps, at, items = append(p.steps, step{field: f}), f, false
	}
	p.text = p.canonical()
	return p, nil
}

// message is the type of the items of a field, nil when they are no messages.
func message(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		return f.MapValue().Message()
	}
	return f.Message()
}

// String is the path with the field names of the proto file.
func (p Path) String() string { return p.text }

// Field is the field that the path ends at or in; nil for the zero path.
func (p Path) Field() protoreflect.FieldDescriptor {
	for i := len(p.steps) - 1; i >= 0; i-- {
		if p.steps[i].field != nil {
			return p.steps[i].field
		}
	}
	return nil
}

// Value is one value that a path leads to.
type Value struct {
	protoreflect.Value
	// Desc describes the value: the field, or of a map its key or value field.
	Desc protoreflect.FieldDescriptor
}

// Values calls yield with every value that the path leads to in m, in the order
// of lists, until it returns false. Fields that are not set have no value, but
// a scalar without presence that the path ends at has its zero value. A path
// that ends at a list or a map yields its items or values.
func (p Path) Values(m protoreflect.Message, yield func(Value) bool) {
	p.walk(p.steps, m, yield)
}

// walk is Values for the rest of the steps in one message.
func (p Path) walk(steps []step, m protoreflect.Message, yield func(Value) bool) bool {
	f := steps[0].field
	v := m.Get(f)
	switch {
	case f.IsMap():
		return p.walkMap(steps[1:], f, v.Map(), yield)
	case f.IsList():
		rest := steps[1:]
		if len(rest) > 0 && rest[0].all {
			rest = rest[1:]
		}
		for i := range v.List().Len() {
			if !p.item(rest, Value{v.List().Get(i), f}, yield) {
				return false
			}
		}
		return true
	case f.HasPresence() && !m.Has(f):
		return true
	}
	return p.item(steps[1:], Value{v, f}, yield)
}

// walkMap is walk for the values of a map, in no order.
func (p Path) walkMap(steps []step, f protoreflect.FieldDescriptor, m protoreflect.Map, yield func(Value) bool) bool {
	if len(steps) > 0 && !steps[0].all {
		if v := m.Get(steps[0].key); v.IsValid() {
			return p.item(steps[1:], Value{v, f.MapValue()}, yield)
		}
		return true
	}
	if len(steps) > 0 {
		steps = steps[1:]
	}
	going := true
	m.Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
		going = p.item(steps, Value{v, f.MapValue()}, yield)
		return going
	})
	return going
}

// item is walk for one value.
func (p Path) item(steps []step, v Value, yield func(Value) bool) bool {
	if len(steps) == 0 {
		return yield(v)
	}
	return p.walk(steps, v.Message(), yield)
}

// canonical is the text of the steps.
func (p Path) canonical() string {
	var b strings.Builder
	for i, s := range p.steps {
		if i > 0 {
			b.WriteByte('.')
		}
		switch {
		case s.field != nil:
			b.WriteString(string(s.field.Name()))
		case s.all:
			b.WriteByte('*')
		default:
			b.WriteString(quoteKey(s.key.String()))
		}
	}
	return b.String()
}

// invalid is the fault of a path that cannot be one.
func invalid(path string, err error) error {
	return &fault.Error{Op: "fieldpath.Parse", Name: path, Kind: fault.Invalid, Reason: "INVALID_PATH", Field: "path", Err: err}
}

// errEmpty is a path, or a part of one, without a name.
var errEmpty = errors.New("a part of the path is empty")

// Many reports whether the path can lead to several values: it goes through a
// list or a map other than by a key.
func (p Path) Many() bool {
	for i, s := range p.steps {
		if s.all {
			return true
		}
		if s.field != nil && (s.field.IsList() || s.field.IsMap()) && i == len(p.steps)-1 {
			return true
		}
	}
	return false
}

// Inside reports whether the path ends inside of a list or a map, at an item of
// it, rather than at a field.
func (p Path) Inside() bool { return len(p.steps) > 0 && p.steps[len(p.steps)-1].field == nil }
