package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/schema"
)

// The media types of requests and responses as data of events.
const (
	mediaProto = "application/protobuf"
	mediaJSON  = "application/json"
)

// typeStatus is the type of the reply of a call that failed by its caller's
// fault. Its data is the body that an HTTP answer would have (sdk/fault).
const typeStatus = "google.rpc.Status"

// Handler is the service as a function of events. A call is an event:
//
//	type     the full name of the method, "selvedge.devices.v1.DeviceService.GetDevice"
//	subject  the name of the resource, or of the parent
//	id       the id of the request: what changes something happens once
//	data     the request, as application/protobuf or application/json
//
// The reply has the full name of the response as its type and the response as
// its data, in the same form; or it has the type google.rpc.Status and says
// what the caller did wrong. Whatever may be different the next time is an
// error, which a broker delivers again.
//
// Who calls is the principal of the context. Nothing in an event says it: an
// event that comes without is Anonymous.
func (s *Service) Handler() function.Handler { return handler{s} }

// handler is a Service as a function.
type handler struct{ s *Service }

// Handle implements [function.Handler].
func (h handler) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	m, ok := h.s.methods[protoreflect.FullName(e.Type())]
	media, _, _ := strings.Cut(e.DataContentType(), ";")
	var out proto.Message
	var err error
	if !ok || m.serve == nil {
		err = &fault.Error{
			Op: "service.Handle", Name: e.Type(), Kind: fault.Unsupported, Reason: "NO_SUCH_METHOD", Field: "type",
			Err: fmt.Errorf("%s has no method %s to call by an event", h.s.schema.Domain, e.Type()),
		}
	} else {
		out, err = h.call(ctx, m, &e, media)
	}
	reply := event.New()
	reply.SetID(e.ID() + "/reply")
	reply.SetSource(event.Source("services/" + h.s.schema.Domain))
	reply.SetSubject(e.Subject())
	if err != nil {
		if again(err) {
			return nil, err
		}
		data, jsonErr := json.Marshal(fault.ProblemOf(err))
		if jsonErr != nil {
			return nil, fmt.Errorf("writing what was wrong: %w", jsonErr)
		}
		reply.SetType(typeStatus)
		reply.SetDataContentType(mediaJSON)
		reply.DataEncoded = data
		return &reply, nil
	}
	reply.SetType(string(m.Output.Descriptor().FullName()))
	return &reply, encode(&reply, media, out)
}

// call does the call that an event is.
func (h handler) call(ctx context.Context, m *method, e *event.Event, media string) (proto.Message, error) {
	req := m.Input.New().Interface()
	if err := decode("service.Handle", e, media, req); err != nil {
		return nil, err
	}
	c, err := h.s.call(m.Method, req)
	if err != nil {
		return nil, err
	}
	if about := subject(m.Method, c.req); e.Subject() != "" && e.Subject() != about {
		return nil, invalid("service.Handle", "SUBJECT_MISMATCH", "subject", fmt.Errorf("the subject is %s, but the request is about %q", e.Subject(), about))
	}
	c.requestID = e.ID()
	if c.key == "" {
		// What identifies an event is its source and its id. They may be longer
		// than an id of a request, so it is their digest.
		sum := sha256.Sum256([]byte(e.Source() + "\x00" + e.ID()))
		c.key = hex.EncodeToString(sum[:])
	}
	return h.s.serve(ctx, c)
}

// subject is the name of what a request is about, or of its parent.
func subject(m *schema.Method, req protoreflect.Message) string {
	fields := req.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"name", "parent"} {
		if f := fields.ByName(name); f != nil {
			return text(req, f)
		}
	}
	for i := range fields.Len() {
		if f := fields.Get(i); m.Resource != nil && f.Message() != nil && f.Message().FullName() == m.Resource.Message.Descriptor().FullName() {
			return string(m.Resource.NameOf(req.Get(f).Message().Interface()))
		}
	}
	return ""
}

// again reports whether a call that failed can succeed when it is done again as
// it is: not if it is wrong by itself, nor if it was made for a state of things
// that is gone.
func again(err error) bool {
	switch fault.ReasonOf(err) {
	case "CAS_MISMATCH", "ETAG_MISMATCH":
		return false
	}
	kind := fault.KindOf(err)
	return kind != fault.Exists && fault.Retried(kind.EventStatus())
}

// encode puts a message into an event.
func encode(e *event.Event, media string, m proto.Message) error {
	var err error
	if media == mediaJSON {
		e.DataEncoded, err = protojson.Marshal(m)
	} else {
		media = mediaProto
		e.DataEncoded, err = proto.Marshal(m)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	e.SetDataContentType(media)
	return nil
}

// decode reads the message of an event.
func decode(op string, e *event.Event, media string, m proto.Message) error {
	var err error
	switch media {
	case mediaProto:
		err = proto.Unmarshal(e.Data(), m)
	case mediaJSON:
		err = protojson.Unmarshal(e.Data(), m)
	default:
		return &fault.Error{
			Op: op, Kind: fault.Unsupported, Reason: "UNSUPPORTED_MEDIA_TYPE", Field: "datacontenttype",
			Err: fmt.Errorf("want %s or %s", mediaProto, mediaJSON),
		}
	}
	if err != nil {
		return invalid(op, "INVALID_DATA", "data", fmt.Errorf("the data is no %s: %w", m.ProtoReflect().Descriptor().Name(), err))
	}
	return nil
}

// Event is the event that a call of a method is, for a function that answers
// it somewhere else. Id identifies the request, if it does not do so itself;
// the same id is the same call.
func Event(m *schema.Method, req proto.Message, id string) (event.Event, error) {
	r := req.ProtoReflect()
	if own := text(r, r.Descriptor().Fields().ByName("request_id")); own != "" {
		id = own
	}
	e := event.New()
	e.SetID(id)
	e.SetSource(event.Source("calls"))
	e.SetType(string(m.Name))
	if about := subject(m, r); about != "" {
		e.SetSubject(about)
	}
	return e, encode(&e, mediaProto, req)
}

// Reply is the response in the reply to a call, or the fault that the call
// ended with.
func Reply(m *schema.Method, reply *event.Event) (proto.Message, error) {
	op := string(m.Name)
	if reply == nil {
		return nil, &fault.Error{Op: op, Kind: fault.Internal, Reason: "NO_REPLY", Err: errors.New("the function did not reply")}
	}
	media, _, _ := strings.Cut(reply.DataContentType(), ";")
	switch reply.Type() {
	case typeStatus:
		return nil, fault.Parse(op, 0, reply.Data())
	case string(m.Output.Descriptor().FullName()):
		out := m.Output.New().Interface()
		if err := decode(op, reply, media, out); err != nil {
			return nil, &fault.Error{Op: op, Kind: fault.Internal, Reason: "WRONG_REPLY", Err: err}
		}
		return out, nil
	}
	return nil, &fault.Error{Op: op, Kind: fault.Internal, Reason: "WRONG_REPLY", Err: fmt.Errorf("the function replied with a %s", reply.Type())}
}
