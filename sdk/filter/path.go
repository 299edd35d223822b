package filter

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// path is a field path that knows what may be asked about it, and is read
// without allocating.
type path struct {
	// Path is where it leads. A "*" at the end of a list is left out.
	fieldpath.Path
	steps []step
	// many is whether it leads to several values.
	many bool
	// class is what the values are.
	class class
	// desc describes a value: the last field, or of a map its value field.
	desc protoreflect.FieldDescriptor
	// zero is whether a value that is zero counts as not set.
	zero bool
}

// step reads one field.
type step struct {
	field protoreflect.FieldDescriptor
	enter enter
	// key is which value of a map.
	key protoreflect.MapKey
	// presence is whether the field, no message, can be unset.
	presence bool
	// labels is whether this is a key of the metadata's labels, whose Go type
	// is known: they are read most, and reflection on maps allocates.
	labels bool
}

// enter is which values of a field a step reads.
type enter uint8

// The values of a field.
const (
	enterField enter = iota // the field's own
	enterItems              // every item of the list
	enterKey                // one value of the map
	enterAll                // every value of the map
	enterMap                // the map itself, of which the path says no more
)

// class is what can be compared with what.
type class uint8

// The classes of values.
const (
	classMessage class = iota
	classText
	classBytes
	classBool
	classEnum
	classInt
	classUint
	classFloat
	classDuration
	classTimestamp
)

// wants ends a sentence "x wants …".
var wants = map[class]string{
	classText: "text", classBytes: "bytes in Base64", classBool: "true or false",
	classFloat: "a number", classDuration: "a duration such as 1.5s", classTimestamp: "a time such as 2012-04-21T11:30:00Z",
}

// The messages that are a value as a whole, and those whose fields are not
// known before there is an object.
const (
	durationName  = "google.protobuf.Duration"
	timestampName = "google.protobuf.Timestamp"
)

// Fields of metadata that have reasons not to be found by.
var (
	metadata    = (*resourcev1.Metadata)(nil).ProtoReflect().Descriptor().Fields()
	labelsField = metadata.ByName("labels").FullName()
	refused     = map[protoreflect.FullName]string{
		metadata.ByName("owner_references").FullName(): "resources are not found by their owners: only the platform looks them up so",
		metadata.ByName("annotations").FullName():      "annotations are not to be found by: use labels",
	}
)

// resolve finds what a path means in objects of the type. Its second result is
// where in the text the error is.
func resolve(r *schema.Resource, segments []segment) (*path, int, error) {
	x := &path{}
	in := r.Message.Descriptor()
	for i := 0; i < len(segments); i++ {
		s := segments[i]
		if len(x.steps) > 0 {
			if in = x.desc.Message(); in == nil || x.class != classMessage {
				return nil, s.at, fmt.Errorf("%s has no fields, so there is no %q in it", x, shorten(s.text))
			}
			if x.steps[len(x.steps)-1].enter == enterItems {
				x.Path = x.Append(fieldpath.Step{All: true})
			}
		}
		f, err := fieldOf(in, s.text)
		if err == nil {
			err = allowed(r, f)
		}
		if err != nil {
			return nil, s.at, err
		}
		x.Path = x.Append(fieldpath.Step{Field: f})
		st := step{field: f, presence: f.HasPresence() && f.Message() == nil}
		switch {
		case f.IsList():
			st.enter = enterItems
			if i+1 < len(segments) && segments[i+1].star() {
				i++
			}
		case f.IsMap() && i+1 == len(segments):
			st.enter = enterMap
		case f.IsMap():
			i++
			if err := x.into(&st, in, segments[i]); err != nil {
				return nil, segments[i].at, err
			}
		}
		x.end(st)
	}
	return x, 0, nil
}

// end adds the last step so far.
func (x *path) end(s step) {
	x.steps = append(x.steps, s)
	x.many = x.many || s.enter == enterItems || s.enter == enterAll
	x.desc = s.field
	if s.field.IsMap() {
		x.desc = s.field.MapValue()
	}
	x.zero = s.enter == enterField && !s.field.HasPresence()
	x.class = classOf(x.desc)
}

// last is the last step.
func (x *path) last() step { return x.steps[len(x.steps)-1] }

// star reports whether a segment is every item.
func (s segment) star() bool { return s.text == "*" && !s.quoted }

// into makes the last step one into a map, which is a field of the message.
func (x *path) into(s *step, in protoreflect.MessageDescriptor, key segment) error {
	s.enter = enterAll
	at := fieldpath.Step{All: true}
	if !key.star() {
		p, err := fieldpath.Parse(in, string(s.field.Name())+".`"+strings.ReplaceAll(key.text, "`", "``")+"`")
		if err != nil {
			return fmt.Errorf("the keys of %s are no %q", x, shorten(key.text))
		}
		at = p.Steps()[1]
		s.enter, s.key, s.labels = enterKey, at.Key, s.field.FullName() == labelsField
	}
	x.Path = x.Append(at)
	return nil
}

// holder reports whether ":" and CONTAINS ask the values for their keys or
// fields.
func (x *path) holder() bool {
	return x.last().enter == enterMap || x.class == classMessage
}

// member is the path of a key or field of a holder's.
func (x *path) member(r *schema.Resource, l literal) (*path, error) {
	segments := make([]segment, 0, len(x.steps)+2)
	for _, s := range x.steps {
		segments = append(segments, segment{text: string(s.field.Name())})
		switch s.enter {
		case enterKey:
			segments = append(segments, segment{text: s.key.String(), quoted: true})
		case enterItems, enterAll:
			segments = append(segments, segment{text: "*"})
		default: // the field's own
		}
	}
	m, _, err := resolve(r, append(segments, segment{text: l.text(), quoted: true}))
	return m, err
}

// notComparable is the error of a comparison of what has no value of its own.
func (x *path) notComparable() error {
	if x.last().enter == enterMap {
		return fmt.Errorf("%s is a map: name a key of it, as in %s.key, or ask for one by \":\"", x, x)
	}
	return fmt.Errorf("%s is a message: name a field of it", x)
}

// classOf is the class of a field's values.
func classOf(f protoreflect.FieldDescriptor) class {
	switch f.Kind() {
	case protoreflect.StringKind:
		return classText
	case protoreflect.BytesKind:
		return classBytes
	case protoreflect.BoolKind:
		return classBool
	case protoreflect.EnumKind:
		return classEnum
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return classFloat
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return classUint
	case protoreflect.MessageKind, protoreflect.GroupKind:
		switch f.Message().FullName() {
		case durationName:
			return classDuration
		case timestampName:
			return classTimestamp
		}
		return classMessage
	default:
		return classInt
	}
}

// fieldOf finds a field of a message by its name in the proto file or in JSON.
func fieldOf(m protoreflect.MessageDescriptor, name string) (protoreflect.FieldDescriptor, error) {
	switch m.FullName() {
	case "google.protobuf.Any", "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue":
		return nil, fmt.Errorf("a %s cannot be looked into by a filter, only IS NULL", m.Name())
	}
	f := m.Fields().ByName(protoreflect.Name(name))
	if f == nil {
		f = m.Fields().ByJSONName(name)
	}
	if f != nil {
		return f, nil
	}
	err := fmt.Errorf("%s has no field %q", m.Name(), shorten(name))
	if near := nearest(m, name); near != "" {
		err = fmt.Errorf("%w: did you mean %s?", err, near)
	}
	return nil, err
}

// allowed checks that objects may be found by a field.
func allowed(r *schema.Resource, f protoreflect.FieldDescriptor) error {
	if why, ok := refused[f.FullName()]; ok {
		return fmt.Errorf("%s: %s", f.Name(), why)
	}
	// By the field, not by its path: a message that is in itself has more
	// paths than are listed.
	for _, s := range r.Secrets {
		if s.Field().FullName() == f.FullName() {
			return fmt.Errorf("%s is secret: nothing is found by it", f.Name())
		}
	}
	return nil
}

// nearest is the field of a message whose name is a few letters off, "" if none
// is.
func nearest(m protoreflect.MessageDescriptor, name string) string {
	best, near := max(len(name)/3, 1)+1, ""
	if len(name) > 64 {
		return ""
	}
	for i := range m.Fields().Len() {
		f := string(m.Fields().Get(i).Name())
		if d := distance(strings.ToLower(name), f); d < best {
			best, near = d, f
		}
	}
	return near
}

// distance is how many bytes are added, removed, replaced or swapped with their
// neighbour to make b of a.
func distance(a, b string) int {
	var before, last, row []int
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := 1; i <= len(a); i++ {
		row = append(make([]int, 0, len(b)+1), i)
		for j := 1; j <= len(b); j++ {
			d := last[j-1]
			if a[i-1] != b[j-1] {
				d++
			}
			d = min(d, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			row = append(row, d)
		}
		before, last = last, row
	}
	return last[len(b)]
}
