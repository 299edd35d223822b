package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/sdk/fault"
)

// OTLP in JSON is written as protobuf and then decoded as that: what a point is
// stands in one place. It is for what speaks no protobuf, so it need not be fast.

// maxJSON bounds a body in JSON, which takes several times its size.
const maxJSON = 8 << 20

// jsonType is how a field's value in JSON becomes one in protobuf.
type jsonType uint8

// The types.
const (
	jsonText jsonType = iota
	jsonBool
	jsonDouble
	// jsonInt and jsonFixed are integers, as numbers or as text: a varint and
	// eight bytes.
	jsonInt
	jsonFixed
	// jsonZigzag is an integer of type sint32.
	jsonZigzag
	jsonMessage
	// jsonHex is bytes, which OTLP writes as hexadecimal digits.
	jsonHex
)

// jsonField is a field of a message.
type jsonField struct {
	name   string
	number protowire.Number
	kind   jsonType
	// of are the fields of a message.
	of []jsonField
}

// jsonRequest are the fields of an ExportMetricsServiceRequest that matter; see
// otlp.go.
func jsonRequest() []jsonField {
	value := []jsonField{
		{"stringValue", 1, jsonText, nil},
		{"boolValue", 2, jsonBool, nil},
		{"intValue", 3, jsonInt, nil},
		{"doubleValue", 4, jsonDouble, nil},
	}
	attributes := []jsonField{{"key", 1, jsonText, nil}, {"value", 2, jsonMessage, value}}
	point := []jsonField{
		{"timeUnixNano", 3, jsonFixed, nil},
		{"asDouble", 4, jsonDouble, nil},
		{"asInt", 6, jsonFixed, nil},
		{"attributes", 7, jsonMessage, attributes},
		{"flags", 8, jsonInt, nil},
	}
	points := jsonField{"dataPoints", 1, jsonMessage, point}
	temporality := jsonField{"aggregationTemporality", 2, jsonInt, nil}
	exemplar := []jsonField{
		{"timeUnixNano", 2, jsonFixed, nil},
		{"asDouble", 3, jsonDouble, nil},
		{"spanId", 4, jsonHex, nil},
		{"traceId", 5, jsonHex, nil},
		{"asInt", 6, jsonFixed, nil},
		{"filteredAttributes", 7, jsonMessage, attributes},
	}
	// What both forms of histograms have.
	histogram := []jsonField{
		{"timeUnixNano", 3, jsonFixed, nil},
		{"count", 4, jsonFixed, nil},
		{"sum", 5, jsonDouble, nil},
		{"flags", 10, jsonInt, nil},
	}
	explicit := append(slices.Clone(histogram),
		jsonField{"bucketCounts", 6, jsonFixed, nil}, jsonField{"explicitBounds", 7, jsonDouble, nil},
		jsonField{"exemplars", 8, jsonMessage, exemplar},
		jsonField{"attributes", 9, jsonMessage, attributes}, jsonField{"min", 11, jsonDouble, nil}, jsonField{"max", 12, jsonDouble, nil})
	buckets := []jsonField{{"offset", 1, jsonZigzag, nil}, {"bucketCounts", 2, jsonInt, nil}}
	exponential := append(slices.Clone(histogram),
		jsonField{"attributes", 1, jsonMessage, attributes}, jsonField{"scale", 6, jsonZigzag, nil}, jsonField{"zeroCount", 7, jsonFixed, nil},
		jsonField{"positive", 8, jsonMessage, buckets}, jsonField{"negative", 9, jsonMessage, buckets},
		jsonField{"exemplars", 11, jsonMessage, exemplar},
		jsonField{"min", 12, jsonDouble, nil}, jsonField{"max", 13, jsonDouble, nil}, jsonField{"zeroThreshold", 14, jsonDouble, nil})
	metric := []jsonField{
		{"name", 1, jsonText, nil},
		{"unit", 3, jsonText, nil},
		{"gauge", 5, jsonMessage, []jsonField{points}},
		{"sum", 7, jsonMessage, []jsonField{points, temporality, {"isMonotonic", 3, jsonBool, nil}}},
		{"histogram", 9, jsonMessage, []jsonField{{"dataPoints", 1, jsonMessage, explicit}, temporality}},
		{"exponentialHistogram", 10, jsonMessage, []jsonField{{"dataPoints", 1, jsonMessage, exponential}, temporality}},
		{"summary", 11, jsonMessage, []jsonField{{"dataPoints", 1, jsonMessage, nil}}},
	}
	return []jsonField{{"resourceMetrics", 1, jsonMessage, []jsonField{
		{"resource", 1, jsonMessage, []jsonField{{"attributes", 1, jsonMessage, attributes}}},
		{"scopeMetrics", 2, jsonMessage, []jsonField{{"metrics", 2, jsonMessage, metric}}},
	}}}
}

// otlpOfJSON is a body of OTLP in JSON as one in protobuf.
func otlpOfJSON(data []byte) ([]byte, error) {
	if len(data) > maxJSON {
		return nil, &fault.Error{Op: opDecode, Kind: fault.TooLarge, Field: "body", Err: fmt.Errorf("a body in JSON over %d bytes", maxJSON)}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var object map[string]any
	err := d.Decode(&object)
	if err == nil && object == nil {
		err = errors.New("want an object")
	}
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something after the object")
		}
	}
	var out []byte
	if err == nil {
		out, err = appendJSON(nil, object, jsonRequest())
	}
	if err != nil {
		return nil, malformed(fmt.Errorf("JSON: %w", err))
	}
	return out, nil
}

// appendJSON appends the fields that an object has, in the order of the
// message's own, so that the same labels are the same bytes.
func appendJSON(dst []byte, object map[string]any, fields []jsonField) ([]byte, error) {
	for i := range fields {
		f := &fields[i]
		list, ok := object[f.name].([]any)
		if !ok {
			if object[f.name] == nil {
				continue
			}
			list = []any{object[f.name]}
		}
		for _, v := range list {
			var err error
			if dst, err = f.append(dst, v); err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return dst, nil
}

// errJSON is a value of another type than its field has.
var errJSON = errors.New("a value that cannot be one")

// append appends the field with the value v.
func (f *jsonField) append(dst []byte, v any) ([]byte, error) {
	switch f.kind {
	case jsonText:
		s, ok := v.(string)
		if !ok {
			return nil, errJSON
		}
		return protowire.AppendString(protowire.AppendTag(dst, f.number, protowire.BytesType), s), nil
	case jsonHex:
		s, ok := v.(string)
		b, err := hex.DecodeString(s)
		if !ok || err != nil {
			return nil, errJSON
		}
		return protowire.AppendBytes(protowire.AppendTag(dst, f.number, protowire.BytesType), b), nil
	case jsonBool:
		b, ok := v.(bool)
		if !ok {
			return nil, errJSON
		}
		return protowire.AppendVarint(protowire.AppendTag(dst, f.number, protowire.VarintType), protowire.EncodeBool(b)), nil
	case jsonDouble:
		n, err := strconv.ParseFloat(jsonNumber(v), 64)
		if err != nil && !math.IsInf(n, 0) {
			return nil, errJSON
		}
		return protowire.AppendFixed64(protowire.AppendTag(dst, f.number, protowire.Fixed64Type), math.Float64bits(n)), nil
	case jsonMessage:
		object, ok := v.(map[string]any)
		if !ok {
			return nil, errJSON
		}
		message, err := appendJSON(nil, object, f.of)
		return protowire.AppendBytes(protowire.AppendTag(dst, f.number, protowire.BytesType), message), err
	}
	text := jsonNumber(v)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		u, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, errJSON
		}
		n = int64(u)
	}
	if f.kind == jsonZigzag {
		return protowire.AppendVarint(protowire.AppendTag(dst, f.number, protowire.VarintType), protowire.EncodeZigZag(n)), nil
	}
	if f.kind == jsonInt {
		return protowire.AppendVarint(protowire.AppendTag(dst, f.number, protowire.VarintType), uint64(n)), nil
	}
	return protowire.AppendFixed64(protowire.AppendTag(dst, f.number, protowire.Fixed64Type), uint64(n)), nil
}

// jsonNumber is the text of a number, which may be written as text.
func jsonNumber(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		return v
	}
	return ""
}
