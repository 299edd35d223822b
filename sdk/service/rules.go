package service

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
)

// rules checks what proto files say about values: buf.validate, and REQUIRED of
// google.api.field_behavior. The former are compiled when a message of a type is
// first checked, by the validator that all services of the program share: one has
// a megabyte or two of its own.
type rules struct {
	required map[protoreflect.FullName]*required
}

// required are the fields of a type that must be set.
type required struct {
	fields []protoreflect.FieldDescriptor
	// in are the fields whose messages have such fields, at some depth.
	in []protoreflect.FieldDescriptor
}

// newRules are the rules of types.
func newRules(types []protoreflect.MessageDescriptor) *rules {
	r := &rules{required: map[protoreflect.FullName]*required{}}
	for _, md := range types {
		r.add(md)
	}
	needs := map[protoreflect.FullName]bool{}
	for again := true; again; { // until no more types are found to need something at some depth
		again = false
		for name, q := range r.required {
			if !needs[name] && (len(q.fields) > 0 || slices.ContainsFunc(q.in, func(f protoreflect.FieldDescriptor) bool { return needs[content(f).FullName()] })) {
				needs[name], again = true, true
			}
		}
	}
	for _, q := range r.required {
		q.in = slices.DeleteFunc(q.in, func(f protoreflect.FieldDescriptor) bool { return !needs[content(f).FullName()] })
	}
	return r
}

// content is the type of the messages in a field, nil if there are none.
func content(f protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if f.IsMap() {
		return f.MapValue().Message()
	}
	return f.Message()
}

// add notes the required fields of a type and of those in it.
func (r *rules) add(md protoreflect.MessageDescriptor) {
	if _, ok := r.required[md.FullName()]; ok {
		return
	}
	q := &required{}
	r.required[md.FullName()] = q
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		behaviours, _ := proto.GetExtension(f.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
		for _, b := range behaviours {
			if b == annotations.FieldBehavior_REQUIRED {
				q.fields = append(q.fields, f)
			}
		}
		if in := content(f); in != nil {
			r.add(in)
			q.in = append(q.in, f)
		}
	}
}

// check is the Invalid fault of a message that breaks rules: its Field is that
// of the first violation, and its text has all of them.
func (r *rules) check(op string, m proto.Message) error {
	var out []violation
	r.missing(m.ProtoReflect(), "", &out)
	err := protovalidate.Validate(m)
	var broken *protovalidate.ValidationError
	switch {
	case errors.As(err, &broken):
		for _, v := range broken.Violations {
			text := v.Proto.GetMessage()
			if text == "" {
				text = "breaks the rule " + v.Proto.GetRuleId()
			}
			out = append(out, violation{field: jsonPath(m.ProtoReflect().Descriptor(), v.Proto.GetField()), text: text})
		}
	case err != nil:
		return fmt.Errorf("checking the rules of fields: %w", err)
	}
	if len(out) == 0 {
		return nil
	}
	texts := make([]string, 0, min(len(out), maxViolations))
	for _, v := range out[:min(len(out), maxViolations)] {
		texts = append(texts, v.field+": "+v.text)
	}
	if n := len(out) - len(texts); n > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", n))
	}
	return &fault.Error{Op: op, Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: out[0].field, Err: errors.New(strings.Join(texts, "; "))}
}

// maxViolations bounds how many violations an error tells: the message of a
// request with a thousand wrong items is still one that can be read.
const maxViolations = 20

// violation is a field that breaks a rule.
type violation struct{ field, text string }

// missing adds the required fields that are not set.
func (r *rules) missing(m protoreflect.Message, prefix string, out *[]violation) {
	q := r.required[m.Descriptor().FullName()]
	for _, f := range q.fields {
		if !m.Has(f) {
			*out = append(*out, violation{prefix + f.JSONName(), "value is required"})
		}
	}
	for _, f := range q.in {
		if !m.Has(f) {
			continue
		}
		switch v := m.Get(f); {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				r.missing(v.Message(), prefix+f.JSONName()+"["+strconv.Quote(k.String())+"].", out)
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				r.missing(v.List().Get(i).Message(), prefix+f.JSONName()+"["+strconv.Itoa(i)+"].", out)
			}
		default:
			r.missing(v.Message(), prefix+f.JSONName()+".", out)
		}
	}
}

// jsonPath is a path with the names that fields have in JSON.
func jsonPath(md protoreflect.MessageDescriptor, path *validate.FieldPath) string {
	var b strings.Builder
	for i, e := range path.GetElements() {
		if i > 0 {
			b.WriteByte('.')
		}
		name := e.GetFieldName()
		if md != nil {
			f := md.Fields().ByName(protoreflect.Name(name))
			md = nil
			if f != nil { // it is nil for a oneof, which is named as it is
				name, md = f.JSONName(), content(f)
			}
		}
		b.WriteString(name)
		switch e.WhichSubscript() {
		case validate.FieldPathElement_Index_case:
			fmt.Fprintf(&b, "[%d]", e.GetIndex())
		case validate.FieldPathElement_BoolKey_case:
			fmt.Fprintf(&b, "[%t]", e.GetBoolKey())
		case validate.FieldPathElement_IntKey_case:
			fmt.Fprintf(&b, "[%d]", e.GetIntKey())
		case validate.FieldPathElement_UintKey_case:
			fmt.Fprintf(&b, "[%d]", e.GetUintKey())
		case validate.FieldPathElement_StringKey_case:
			fmt.Fprintf(&b, "[%q]", e.GetStringKey())
		default: // no subscript
		}
	}
	return b.String()
}
