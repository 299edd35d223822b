package fieldpath

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// The first byte of a key. They are part of what is stored, and so is their
// order: unset sorts before all values, and the end of a list before its items.
const (
	keyUnset byte = iota
	keyEnd
	keyFalse
	keyTrue
	keyInt
	keyUint
	keyFloat
	keyString
	keyBytes
	keyTime
	keyMessage
)

// AppendKey appends the key of a value to dst: bytes that compare as the values
// do. A key says where it ends, so keys after one another compare as tuples do,
// whatever follows them. Numbers are big endian.
//
//	unset      | 00 |
//	bool       | 02 | false, | 03 | true
//	intN, enum | 04 | int64, sign bit flipped     8 |
//	uintN      | 05 | uint64                      8 |
//	float      | 06 | float64, transformed        8 |
//	string     | 07 | bytes, 00 as 00 FF | 00 01 |
//	bytes      | 08 | bytes, 00 as 00 FF | 00 01 |
//	Timestamp,
//	Duration   | 09 | seconds, as int  8 | nanos, sign bit flipped  4 |
//	message    | 0A | key of each field, in the order of their numbers
//	list       | key of each item | 01 |
//	map        | key of each map key and its value, by map key | 01 |
//
// Of a float, the sign bit is flipped if it is not negative, else every bit; -0
// is 0, and NaN is all ones, above +Inf. Lists and maps are in messages only:
// v is one value, as [Path.Values] gives it. A field of a message is unset if
// it has presence and is. A message's keys change when its type gets a field:
// what is stored of them is to be built again then.
func AppendKey(dst []byte, v Value) []byte {
	switch {
	case !v.IsValid():
		return append(dst, keyUnset)
	case v.Desc == nil || v.Desc.Message() != nil:
		return appendMessage(dst, v.Message())
	}
	return appendScalar(dst, v.Desc.Kind(), v.Value)
}

// AppendPrefix appends to dst what the keys of all strings begin with that begin
// with s. The byte FF after it is above all of those.
func AppendPrefix(dst []byte, s string) []byte {
	return appendText(append(dst, keyString), s)
}

// appendScalar is AppendKey for a scalar of the kind.
func appendScalar(dst []byte, k protoreflect.Kind, v protoreflect.Value) []byte {
	switch k {
	case protoreflect.BoolKind:
		if v.Bool() {
			return append(dst, keyTrue)
		}
		return append(dst, keyFalse)
	case protoreflect.EnumKind:
		return appendInt(append(dst, keyInt), int64(v.Enum()))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return binary.BigEndian.AppendUint64(append(dst, keyUint), v.Uint())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return binary.BigEndian.AppendUint64(append(dst, keyFloat), floatBits(v.Float()))
	case protoreflect.StringKind:
		return append(appendText(append(dst, keyString), v.String()), 0, keyEnd)
	case protoreflect.BytesKind:
		return append(appendText(append(dst, keyBytes), string(v.Bytes())), 0, keyEnd)
	default:
		return appendInt(append(dst, keyInt), v.Int())
	}
}

// appendInt appends an int64 so that negative ones sort first.
func appendInt(dst []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(n)^1<<63)
}

// floatBits are bits that compare as floats do.
func floatBits(f float64) uint64 {
	switch b := math.Float64bits(f); {
	case f != f:
		return math.MaxUint64
	case f == 0:
		return 1 << 63
	case b>>63 == 1:
		return ^b
	default:
		return b | 1<<63
	}
}

// appendText appends s with its zero bytes escaped.
func appendText(dst []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, 0)
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(append(dst, s[:i]...), 0, 0xFF)
		s = s[i+1:]
	}
}

// appendMessage is AppendKey for a message.
func appendMessage(dst []byte, m protoreflect.Message) []byte {
	md := m.Descriptor()
	if name := md.FullName(); name == "google.protobuf.Timestamp" || name == "google.protobuf.Duration" {
		dst = appendInt(append(dst, keyTime), m.Get(md.Fields().ByNumber(1)).Int())
		return binary.BigEndian.AppendUint32(dst, uint32(m.Get(md.Fields().ByNumber(2)).Int())^1<<31)
	}
	dst = append(dst, keyMessage)
	var room [16]protoreflect.FieldDescriptor // enough for most, without allocation
	fields := room[:0]
	for i := range md.Fields().Len() {
		fields = append(fields, md.Fields().Get(i))
	}
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Number(), b.Number()) })
	for _, f := range fields {
		switch {
		case f.HasPresence() && !m.Has(f):
			dst = append(dst, keyUnset)
		case f.IsList():
			for l, i := m.Get(f).List(), 0; i < l.Len(); i++ {
				dst = AppendKey(dst, Value{Value: l.Get(i), Desc: f})
			}
			dst = append(dst, keyEnd)
		case f.IsMap():
			values := m.Get(f).Map()
			for _, k := range sortedKeys(values) {
				dst = appendScalar(dst, f.MapKey().Kind(), k.Value())
				dst = AppendKey(dst, Value{Value: values.Get(k), Desc: f.MapValue()})
			}
			dst = append(dst, keyEnd)
		default:
			dst = AppendKey(dst, Value{Value: m.Get(f), Desc: f})
		}
	}
	return dst
}

// Compare is the order of two values of one path, that of their keys: unset
// first, texts by their bytes, enums by number, messages field by field.
func Compare(a, b Value) int {
	return bytes.Compare(AppendKey(nil, a), AppendKey(nil, b))
}

// Compare is the order of what the path leads to in two messages: one value
// after the other, with its map key, and none before any.
func (p Path) Compare(a, b protoreflect.Message) int {
	return bytes.Compare(p.appendKeys(nil, a), p.appendKeys(nil, b))
}

// appendKeys appends the keys of all values in m as those of a list.
func (p Path) appendKeys(dst []byte, m protoreflect.Message) []byte {
	var last protoreflect.FieldDescriptor // map on the way
	for _, s := range p.steps {
		if s.Field != nil && s.Field.IsMap() {
			last = s.Field
		}
	}
	p.Values(m, func(v Value) bool {
		if last != nil {
			dst = appendScalar(dst, last.MapKey().Kind(), v.Key.Value())
		}
		dst = AppendKey(dst, v)
		return true
	})
	return append(dst, keyEnd)
}
