// Package rpc is what both ends of a call have in common, and the client's end:
// calls of any method of a [schema.Service], by its descriptors, over Connect's
// protocol. The server's end is sdk/gateway/rpc.
//
// Faults cross it whole: kind, reason, name, field and text, as
// google.rpc.ErrorInfo (google.aip.dev/193), so that a gRPC client of another
// language sees them too.
package rpc

import (
	"errors"
	"fmt"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
)

// Message carries a message of a type that is known only when the program runs.
// Whoever receives one puts an empty message of that type into it first.
type Message struct{ proto.Message }

// Proto is the codec of Messages in proto's wire format.
type Proto struct{}

var _ connect.Codec = Proto{}

// Name implements connect.Codec.
func (Proto) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (Proto) Marshal(v any) ([]byte, error) { return Proto{}.MarshalAppend(nil, v) }

// MarshalAppend appends v to dst.
func (Proto) MarshalAppend(dst []byte, v any) ([]byte, error) {
	m, err := messageOf(v)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

// IsBinary tells that a text cannot carry it.
func (Proto) IsBinary() bool { return true }

// Unmarshal implements connect.Codec.
func (Proto) Unmarshal(data []byte, v any) error {
	m, err := messageOf(v)
	if err != nil {
		return err
	}
	return proto.Unmarshal(data, m)
}

// JSON is the codec of Messages in proto's JSON. A field that the type has not
// is an error: it was meant to say something.
type JSON struct{}

var _ connect.Codec = JSON{}

// Name implements connect.Codec.
func (JSON) Name() string { return "json" }

// Marshal implements connect.Codec.
func (JSON) Marshal(v any) ([]byte, error) {
	m, err := messageOf(v)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(m)
}

// Unmarshal implements connect.Codec.
func (JSON) Unmarshal(data []byte, v any) error {
	m, err := messageOf(v)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errors.New("the body is empty: want a JSON object")
	}
	return protojson.Unmarshal(data, m)
}

// messageOf is the message in v.
func messageOf(v any) (proto.Message, error) {
	switch v := v.(type) {
	case *Message:
		if v.Message == nil {
			return nil, errors.New("BUG: rpc: a Message without a message")
		}
		return v.Message, nil
	case proto.Message:
		return v, nil
	}
	return nil, fmt.Errorf("BUG: rpc: %T is no message", v)
}

// Error is err for a caller. The cause of an Internal fault stays here.
func Error(err error) *connect.Error {
	problem := fault.ProblemOf(err).Error
	out := connect.NewError(connect.Code(fault.KindOf(err).Code()), errors.New(problem.Message))
	for _, d := range problem.Details {
		info, err := connect.NewErrorDetail(&errdetails.ErrorInfo{Reason: d.Reason, Domain: d.Domain, Metadata: d.Metadata})
		if err != nil { // the type is linked
			panic("BUG: rpc: " + err.Error())
		}
		out.AddDetail(info)
	}
	if kind := fault.KindOf(err); kind == fault.Exhausted || kind == fault.Unavailable {
		out.Meta().Set("Retry-After", strconv.Itoa(fault.RetryAfterSeconds(err)))
	}
	if fault.KindOf(err) == fault.Unauthenticated {
		out.Meta().Set("WWW-Authenticate", `Bearer realm="selvedge"`)
	}
	return out
}

// Fault is the fault that a call ended with: op is the method.
func Fault(op string, err error) error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Reason: "NO_ANSWER", Err: err}
	}
	out := &fault.Error{Op: op, Kind: fault.OfCode(int(ce.Code())), Err: errors.New(ce.Message())}
	for _, d := range ce.Details() {
		v, err := d.Value()
		if err != nil {
			continue
		}
		if info, ok := v.(*errdetails.ErrorInfo); ok {
			out.Reason, out.Name, out.Field = info.GetReason(), info.GetMetadata()["name"], info.GetMetadata()["field"]
		}
	}
	if out.Reason == "" && out.Kind == fault.Unavailable {
		out.Reason = "NO_ANSWER"
	}
	return out
}
