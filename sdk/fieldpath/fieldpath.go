// Package fieldpath names fields of messages: "spec.parts.serial",
// "metadata.labels.color", "spec.spares.`a.b`.note". A [Path] is checked
// against the descriptor of its message once, when it is parsed, and then
// reads and writes any message of that type.
//
// A path goes through a message field by its name, in the form of the proto
// file or of JSON; through a map by a key, or by "*" or nothing for every
// value; through a list by "*" or nothing, which is every item. A key with
// other characters than letters, digits, "-" and "_" is written between
// backticks, a backtick in it twice (google.aip.dev/161). Extensions and
// unknown fields have no paths.
//
// [Path] is for code that learns its fields when it runs: filters, masks,
// indexes. [Typed] is the same path for code that knows them when it is
// compiled: one variable for each field, with the Go type of its values.
//
// Paths are values, safe for concurrent use. Messages are the caller's: what is
// read is the message's own, not a copy, and what is set becomes it.
package fieldpath

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
)

// Path is a parsed path. The zero value is the message itself.
type Path struct {
	text  string
	steps []Step
}

// Step is one element of a path.
type Step struct {
	// Field is the field that the step enters; nil for a step into the map or
	// list that the step before it ended at.
	Field protoreflect.FieldDescriptor
	// Key is the map key, if the step is into one value of a map.
	Key protoreflect.MapKey
	// All is a step into every item of a list or value of a map.
	All bool
}

// maxPath bounds the text of a path, which comes from callers.
const maxPath = 1024

// Parse parses a path of messages of type md. A path that names no field there
// is an Invalid fault with the field "path" and what is wrong in its message.
func Parse(md protoreflect.MessageDescriptor, s string) (Path, error) {
	if len(s) > maxPath {
		return Path{}, invalid(excerpt(s), fmt.Errorf("a path has at most %d bytes", maxPath))
	}
	if !utf8.ValidString(s) {
		return Path{}, invalid(excerpt(s), errNotUTF8)
	}
	parts, err := split(s)
	if err != nil {
		return Path{}, invalid(s, err)
	}
	p := Path{}
	var at protoreflect.FieldDescriptor // whose value the next part is of; nil is md's
	items := false                      // the next part is of the items of at
	for _, part := range parts {
		switch {
		case at != nil && at.IsMap() && !items:
			st := Step{All: part.text == "*" && !part.quoted}
			if !st.All {
				if st.Key, err = parseKey(at.MapKey(), part.text); err != nil {
					return Path{}, invalid(s, err)
				}
			}
			p.steps, items = append(p.steps, st), true
			continue
		case at != nil && at.IsList() && !items && part.text == "*" && !part.quoted:
			p.steps, items = append(p.steps, Step{All: true}), true
			continue
		}
		in := md
		if at != nil {
			if at.IsList() && !items {
				p.steps = append(p.steps, Step{All: true})
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
		p.steps, at, items = append(p.steps, Step{Field: f}), f, false
	}
	p.text = join(p.steps, protoName)
	return p, nil
}

// message is the type of the items of a field, nil when they are no messages.
func message(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		return f.MapValue().Message()
	}
	return f.Message()
}

// Append is the path with more steps at its end, which must be possible there.
// The path itself is not changed.
func (p Path) Append(steps ...Step) Path {
	if len(steps) == 0 {
		return p
	}
	text := join(steps, protoName)
	if p.text != "" {
		text = p.text + "." + text
	}
	return Path{text: text, steps: slices.Concat(p.steps, steps)}
}

// Steps are the elements of the path. They are the caller's.
func (p Path) Steps() []Step { return slices.Clone(p.steps) }

// String is the canonical text: with the field names of the proto file, and a
// "*" for every list that the path goes through.
func (p Path) String() string { return p.text }

// JSON is the text with the field names of JSON. [Parse] takes both.
func (p Path) JSON() string { return join(p.steps, protoreflect.FieldDescriptor.JSONName) }

// Field is the field that the path ends at or in; nil for the zero path.
func (p Path) Field() protoreflect.FieldDescriptor {
	for i := len(p.steps) - 1; i >= 0; i-- {
		if p.steps[i].Field != nil {
			return p.steps[i].Field
		}
	}
	return nil
}

// Desc describes the values that the path leads to, as [Value] has it; nil for
// the zero path.
func (p Path) Desc() protoreflect.FieldDescriptor {
	f := p.Field()
	if f != nil && f.IsMap() {
		return f.MapValue()
	}
	return f
}

// Many reports whether the path can lead to several values: it goes through a
// list or a map other than by a key.
func (p Path) Many() bool {
	for i, s := range p.steps {
		if s.All {
			return true
		}
		if s.Field != nil && (s.Field.IsList() || s.Field.IsMap()) && i == len(p.steps)-1 {
			return true
		}
	}
	return false
}

// Inside reports whether the path ends inside of a list or a map, at an item of
// it, rather than at a field.
func (p Path) Inside() bool { return len(p.steps) > 0 && p.steps[len(p.steps)-1].Field == nil }

// Covers reports whether b is a or below it, in messages of one type: whatever
// b leads to is part of what a leads to. A "*" of a covers every key.
func Covers(a, b Path) bool {
	if n := len(a.steps); n > 0 && a.steps[n-1].All {
		a.steps = a.steps[:n-1] // every item is the list
	}
	if len(a.steps) > len(b.steps) {
		return false
	}
	for i, s := range a.steps {
		t := b.steps[i]
		switch {
		case s.Field != nil:
			if t.Field == nil || s.Field.Number() != t.Field.Number() {
				return false
			}
		case s.All: // t is a step into the same map or list
		case t.All || s.Key.Interface() != t.Key.Interface():
			return false
		}
	}
	return true
}

// invalid is the fault of a path that cannot be one.
func invalid(path string, err error) error {
	return &fault.Error{Op: "fieldpath.Parse", Name: strings.ToValidUTF8(path, "�"), Kind: fault.Invalid, Reason: "INVALID_PATH", Field: "path", Err: err}
}
