package wire

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// pbField is a field of a protobuf message.
type pbField struct {
	number protowire.Number
	kind   protowire.Type
	// value is that of a varint or a fixed number, data that of anything with a
	// length; it is part of the message.
	value uint64
	data  []byte
}

// nextField reads the first field of a message that is not empty, and returns
// what comes after it. Groups, which none of the formats has, are skipped like
// any other field that is not known, by the caller.
func nextField(message []byte) (f pbField, rest []byte, err error) {
	number, kind, n := protowire.ConsumeTag(message)
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	f.number, f.kind = number, kind
	message = message[n:]
	switch kind {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(message)
	case protowire.Fixed64Type:
		f.value, n = protowire.ConsumeFixed64(message)
	case protowire.BytesType:
		f.data, n = protowire.ConsumeBytes(message)
	default:
		n = protowire.ConsumeFieldValue(number, kind, message)
	}
	if n < 0 {
		return f, nil, fmt.Errorf("field %d: %w", number, protowire.ParseError(n))
	}
	return f, message[n:], nil
}

// eachField calls f with every field of a message.
func eachField(message []byte, f func(pbField) error) error {
	for len(message) > 0 {
		field, rest, err := nextField(message)
		if err != nil {
			return err
		}
		if err := f(field); err != nil {
			return err
		}
		message = rest
	}
	return nil
}

// errType is a field of another type than the format gives it.
var errType = errors.New("a field has a type that is not of its format")

// message is the value of a field that is a message, bytes or text.
func (f *pbField) message() ([]byte, error) {
	if f.kind != protowire.BytesType {
		return nil, fmt.Errorf("field %d: %w", f.number, errType)
	}
	return f.data, nil
}

// double is the value of a field of type double.
func (f *pbField) double() (float64, error) {
	if f.kind != protowire.Fixed64Type {
		return 0, fmt.Errorf("field %d: %w", f.number, errType)
	}
	return math.Float64frombits(f.value), nil
}

// varint is the value of a field of type int64, uint32, bool or enum.
func (f *pbField) varint() (int64, error) {
	if f.kind != protowire.VarintType {
		return 0, fmt.Errorf("field %d: %w", f.number, errType)
	}
	return int64(f.value), nil
}

// fixed is the value of a field of type fixed64 or sfixed64.
func (f *pbField) fixed() (uint64, error) {
	if f.kind != protowire.Fixed64Type {
		return 0, fmt.Errorf("field %d: %w", f.number, errType)
	}
	return f.value, nil
}
