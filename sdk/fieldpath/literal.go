package fieldpath

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"selvedge.dev/sdk/fault"
)

// ParseValue is the value that a text means where the path leads to; of a list
// or a map, one item. What [Value.Text] gives comes back the same:
//
//	string      as it is
//	bool        true, false
//	integers    decimal
//	floats      decimal, NaN, Infinity, -Infinity
//	enum        the name of a value, or a number
//	bytes       base64
//	Timestamp   RFC 3339: 2026-08-01T10:00:00Z
//	Duration    1.5s, or in parts 1h30m
//	wrappers    what they wrap
//
// Any other text, and a path to other messages, is an Invalid fault.
func (p Path) ParseValue(text string) (Value, error) {
	d := p.Desc()
	if d == nil {
		return Value{}, badValue(p.text, errors.New("the path names no field"))
	}
	var v protoreflect.Value
	var err error
	if d.Message() != nil {
		v, err = parseMessage(d.Message(), text)
	} else {
		v, err = parseScalar(d, text)
	}
	if err != nil {
		return Value{}, badValue(p.text, err)
	}
	return Value{Value: v, Desc: d}, nil
}

// badValue is the fault of a text that is no value of the path.
func badValue(path string, err error) error {
	return &fault.Error{Op: "fieldpath.ParseValue", Name: path, Kind: fault.Invalid, Reason: "INVALID_VALUE", Field: path, Err: err}
}

// parseScalar is the value of a scalar's type that a text means.
func parseScalar(d protoreflect.FieldDescriptor, s string) (protoreflect.Value, error) {
	var v protoreflect.Value
	var err error
	switch d.Kind() {
	case protoreflect.StringKind:
		if !utf8.ValidString(s) {
			return v, errNotUTF8
		}
		return protoreflect.ValueOfString(s), nil
	case protoreflect.BytesKind:
		var b []byte
		b, err = parseBytes(s)
		v = protoreflect.ValueOfBytes(b)
	case protoreflect.BoolKind:
		if s != "true" && s != "false" {
			return v, fmt.Errorf("%q is neither true nor false", excerpt(s))
		}
		v = protoreflect.ValueOfBool(s == "true")
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		var n int64
		n, err = strconv.ParseInt(s, 10, 32)
		v = protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		var n int64
		n, err = strconv.ParseInt(s, 10, 64)
		v = protoreflect.ValueOfInt64(n)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		var n uint64
		n, err = strconv.ParseUint(s, 10, 32)
		v = protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		var n uint64
		n, err = strconv.ParseUint(s, 10, 64)
		v = protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		var f float64
		f, err = strconv.ParseFloat(s, 32)
		v = protoreflect.ValueOfFloat32(float32(f))
	case protoreflect.DoubleKind:
		var f float64
		f, err = strconv.ParseFloat(s, 64)
		v = protoreflect.ValueOfFloat64(f)
	case protoreflect.EnumKind:
		return parseEnum(d.Enum(), s)
	default:
		return v, fmt.Errorf("%s is no type of scalars", d.Kind())
	}
	if err != nil {
		return v, fmt.Errorf("%q is no %s", excerpt(s), d.Kind())
	}
	return v, nil
}

// parseEnum is the value of an enum by name or number.
func parseEnum(ed protoreflect.EnumDescriptor, s string) (protoreflect.Value, error) {
	if d := ed.Values().ByName(protoreflect.Name(s)); d != nil {
		return protoreflect.ValueOfEnum(d.Number()), nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return protoreflect.Value{}, fmt.Errorf("%s has no value %q", ed.Name(), excerpt(s))
	}
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
}

// parseBytes decodes base64 of either alphabet, with padding or without, as the
// JSON of protobuf is read.
func parseBytes(s string) ([]byte, error) {
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	return enc.DecodeString(strings.TrimRight(s, "="))
}

// parseMessage is the message that a text means, of the types that have a text.
func parseMessage(md protoreflect.MessageDescriptor, s string) (protoreflect.Value, error) {
	m := textual(md)
	if m == nil {
		return protoreflect.Value{}, fmt.Errorf("%s has no text of its own; name a field in it", md.Name())
	}
	r := m.ProtoReflect()
	switch m.(type) {
	case *durationpb.Duration:
		if d, err := time.ParseDuration(s); err == nil {
			return protoreflect.ValueOfMessage(durationpb.New(d).ProtoReflect()), nil
		}
		if !fromJSON(m, s) { // beyond what time.Duration holds, or wrong
			return protoreflect.Value{}, fmt.Errorf("%q is no duration such as 1.5s or 1h30m", excerpt(s))
		}
	case *timestamppb.Timestamp:
		if !fromJSON(m, s) {
			return protoreflect.Value{}, fmt.Errorf("%q is no time such as 2026-08-01T10:00:00Z", excerpt(s))
		}
	default:
		f := r.Descriptor().Fields().ByNumber(1)
		v, err := parseScalar(f, s)
		if err != nil {
			return protoreflect.Value{}, err
		}
		r.Set(f, v)
	}
	return protoreflect.ValueOfMessage(r), nil
}

// fromJSON reads a message from the text of a JSON string.
func fromJSON(m proto.Message, s string) bool {
	quoted, err := json.Marshal(s)
	return err == nil && protojson.Unmarshal(quoted, m) == nil
}

// textual is an empty message of the type, nil if the type has no text.
func textual(md protoreflect.MessageDescriptor) proto.Message {
	for _, m := range []proto.Message{
		&timestamppb.Timestamp{}, &durationpb.Duration{},
		&wrapperspb.StringValue{}, &wrapperspb.BytesValue{}, &wrapperspb.BoolValue{},
		&wrapperspb.Int32Value{}, &wrapperspb.Int64Value{}, &wrapperspb.UInt32Value{}, &wrapperspb.UInt64Value{},
		&wrapperspb.FloatValue{}, &wrapperspb.DoubleValue{},
	} {
		if m.ProtoReflect().Descriptor().FullName() == md.FullName() {
			return m
		}
	}
	return nil
}

// Text is the value as [Path.ParseValue] reads it: "" if it is unset, JSON if it
// is a message without a text of its own.
func (v Value) Text() string {
	switch x := v.Interface().(type) {
	case nil:
		return ""
	case []byte:
		return base64.StdEncoding.EncodeToString(x)
	case float32:
		return floatText(float64(x), 32)
	case float64:
		return floatText(x, 64)
	case protoreflect.EnumNumber:
		if d := v.Desc.Enum().Values().ByNumber(x); d != nil {
			return string(d.Name())
		}
		return strconv.Itoa(int(x))
	case protoreflect.Message:
		if md := x.Descriptor(); textual(md) != nil && md.Fields().Len() == 1 {
			f := md.Fields().Get(0)
			return Value{Value: x.Get(f), Desc: f}.Text()
		}
		text, err := protojson.Marshal(x.Interface())
		if err != nil {
			return prototext.Format(x.Interface()) // a time outside of the calendar
		}
		return strings.Trim(string(text), `"`)
	}
	return v.String()
}

// floatText is a float with the words that JSON of protobuf has for what are no
// numbers.
func floatText(f float64, bits int) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}
