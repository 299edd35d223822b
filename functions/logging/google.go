package logging

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
)

// The types of what entries are about when they do not say: nothing in
// particular, and a device.
const (
	globalType = "global"
	deviceType = "device"
)

// parseLogName reads the name of a log: "projects/P/logs/L".
func parseLogName(field, name string) (project, log string, err error) {
	rest, ok := strings.CutPrefix(name, "projects/")
	project, log, found := strings.Cut(rest, "/logs/")
	if !ok || !found || strings.Contains(project, "/") {
		return "", "", invalid(field, "%.100q is no name of a log: want projects/PROJECT/logs/LOG", name)
	}
	if log, err = url.PathUnescape(log); err == nil {
		err = loggingv1.CheckLogID(log)
	}
	if err != nil {
		return "", "", invalid(field, "%.100q: %s", name, err)
	}
	return project, log, checkProject(project)
}

// fromGoogle is an entry as the store has it, without its project and bucket.
// Raw, if not nil, is the JSON payload as it was written.
func fromGoogle(p *loggingpb.LogEntry, raw []byte) (e logstore.Entry, err error) {
	e = logstore.Entry{
		InsertID: p.GetInsertId(), Severity: logstore.Severity(p.GetSeverity()),
		ResourceType: p.GetResource().GetType(), ResourceLabels: p.GetResource().GetLabels(), Labels: p.GetLabels(),
		Trace: p.GetTrace(), SpanID: p.GetSpanId(), TraceSampled: p.GetTraceSampled(),
	}
	if t := p.GetTimestamp(); t != nil {
		if err := t.CheckValid(); err != nil {
			return e, invalid("timestamp", "%s", err)
		}
		e.Time = t.AsTime()
	}
	if e.Payload, err = payloadOf(p, raw); err != nil {
		return e, err
	}
	e.Extra, err = extraOf(p)
	return e, err
}

// payloadOf is what an entry says.
func payloadOf(p *loggingpb.LogEntry, raw []byte) (out logstore.Payload, err error) {
	switch x := p.GetPayload().(type) {
	case *loggingpb.LogEntry_TextPayload:
		out = logstore.Payload{Kind: logstore.Text, Data: []byte(x.TextPayload)}
	case *loggingpb.LogEntry_JsonPayload:
		out.Kind = logstore.JSON
		if raw != nil {
			out.Data = raw
			return out, nil
		}
		out.Data, err = compactJSON(x.JsonPayload)
	case *loggingpb.LogEntry_ProtoPayload:
		out = logstore.Payload{Kind: logstore.Proto, TypeURL: x.ProtoPayload.GetTypeUrl()}
		m, unknown := x.ProtoPayload.UnmarshalNew()
		if unknown != nil {
			out.Wire = x.ProtoPayload.GetValue()
			return out, nil
		}
		if b, ok := m.(*wrapperspb.BytesValue); ok { // as asGoogle has it
			return logstore.Payload{Kind: logstore.Bytes, Data: b.GetValue()}, nil
		}
		if out.Data, err = compactJSON(m); err == nil && (len(out.Data) == 0 || out.Data[0] != '{') {
			out.Data, out.Wire = nil, x.ProtoPayload.GetValue() // a well-known type that is no object in JSON
		}
	}
	if err != nil {
		return out, invalid("payload", "%s", err)
	}
	return out, nil
}

// compactJSON is a message in proto's JSON without the spaces that protojson
// puts where it likes.
func compactJSON(m proto.Message) ([]byte, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// extraOf are the fields of an entry that the store keeps as they are, nil if
// there are none.
func extraOf(p *loggingpb.LogEntry) ([]byte, error) {
	if p.GetHttpRequest() == nil && p.GetOperation() == nil && p.GetSourceLocation() == nil && p.GetSplit() == nil {
		return nil, nil
	}
	out, err := compactJSON(&loggingpb.LogEntry{
		HttpRequest: p.GetHttpRequest(), Operation: p.GetOperation(), SourceLocation: p.GetSourceLocation(), Split: p.GetSplit(),
	})
	if err != nil {
		return nil, invalid("entry", "%s", err)
	}
	return out, nil
}

// asGoogle is an entry as Google's clients read it. Bytes that nothing is known
// of are a google.protobuf.BytesValue.
func asGoogle(e *logstore.Entry) (*loggingpb.LogEntry, error) {
	p := &loggingpb.LogEntry{}
	if len(e.Extra) > 0 {
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(e.Extra, p); err != nil {
			return nil, fmt.Errorf("read the extra fields of an entry: %w", err)
		}
	}
	p.LogName = logstore.LogName(e.Project, e.Log)
	p.Resource = &monitoredrespb.MonitoredResource{Type: e.ResourceType, Labels: e.ResourceLabels}
	p.Timestamp, p.ReceiveTimestamp = timestamppb.New(e.Time), timestamppb.New(e.Received)
	setEnum(&p.Severity, int32(e.Severity))
	p.InsertId, p.Labels = e.InsertID, e.Labels
	p.Trace, p.SpanId, p.TraceSampled = e.Trace, e.SpanID, e.TraceSampled
	switch e.Payload.Kind {
	case logstore.Text:
		p.Payload = &loggingpb.LogEntry_TextPayload{TextPayload: string(e.Payload.Data)}
	case logstore.JSON:
		s := &structpb.Struct{}
		if err := protojson.Unmarshal(e.Payload.Data, s); err != nil {
			return nil, fmt.Errorf("read the payload of an entry: %w", err)
		}
		p.Payload = &loggingpb.LogEntry_JsonPayload{JsonPayload: s}
	case logstore.Proto:
		a, err := anyOf(&e.Payload)
		if err != nil {
			return nil, err
		}
		p.Payload = &loggingpb.LogEntry_ProtoPayload{ProtoPayload: a}
	case logstore.Bytes:
		a, err := anypb.New(wrapperspb.Bytes(e.Payload.Data))
		if err != nil {
			return nil, err
		}
		p.Payload = &loggingpb.LogEntry_ProtoPayload{ProtoPayload: a}
	}
	return p, nil
}

// anyOf is a message that is a payload.
func anyOf(p *logstore.Payload) (*anypb.Any, error) {
	out := &anypb.Any{TypeUrl: p.TypeURL, Value: p.Wire}
	if p.Data == nil {
		return out, nil
	}
	text := append([]byte(`{"@type":`), mustJSON(json.Marshal(p.TypeURL))...)
	if rest := bytes.TrimSpace(p.Data[1:]); len(rest) > 0 && rest[0] != '}' {
		text = append(text, ',')
	}
	if err := protojson.Unmarshal(append(text, p.Data[1:]...), out); err != nil {
		return nil, fmt.Errorf("read the payload of an entry: %w", err)
	}
	return out, nil
}

// entryJSON is an entry in the JSON of Google's REST: the JSON payload as it was
// written, which a google.protobuf.Struct would not keep.
func entryJSON(e *logstore.Entry) ([]byte, error) {
	slim := *e
	var key string
	var payload []byte
	switch {
	case e.Payload.Kind == logstore.JSON:
		key, payload = "jsonPayload", e.Payload.Data
		slim.Payload = logstore.Payload{}
	case e.Payload.Kind == logstore.Proto && e.Payload.Data == nil:
		key, slim.Payload = "protoPayload", logstore.Payload{}
		payload = mustJSON(json.Marshal(map[string]string{"@type": e.Payload.TypeURL, "value": base64.StdEncoding.EncodeToString(e.Payload.Wire)}))
	}
	p, err := asGoogle(&slim)
	if err != nil {
		return nil, err
	}
	text, err := compactJSON(p)
	if err != nil || key == "" {
		return text, err
	}
	text = append(text[:len(text)-1], `,"`+key+`":`...)
	return append(append(text, payload...), '}'), nil
}

// mustJSON is JSON of what can always be written.
func mustJSON(text []byte, err error) []byte {
	if err != nil {
		panic("BUG: logging: " + err.Error())
	}
	return text
}

// entryFromJSON reads an entry in the JSON of Google's REST.
func entryFromJSON(text []byte) (*loggingpb.LogEntry, []byte, error) {
	var members map[string]json.RawMessage
	if !utf8.Valid(text) {
		return nil, nil, invalid("entries", "the text is not UTF-8")
	}
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, nil, invalid("entries", "an entry is a JSON object: %s", err)
	}
	var raw []byte
	for _, key := range []string{"jsonPayload", "json_payload"} {
		value, ok := members[key]
		if !ok {
			continue
		}
		var err error
		if raw, err = logstore.CompactJSON(value); err != nil {
			return nil, nil, invalid("jsonPayload", "%s", errors.Unwrap(err))
		}
		members[key] = json.RawMessage(`{}`)
	}
	if raw != nil {
		text = mustJSON(json.Marshal(members))
	}
	p := &loggingpb.LogEntry{}
	if err := protojson.Unmarshal(text, p); err != nil {
		return nil, nil, jsonError(err)
	}
	return p, raw, nil
}

// jsonError is an error of protojson with its random spaces made plain ones.
func jsonError(err error) error {
	return &fault.Error{
		Op: "logging.readJSON", Kind: fault.Invalid, Reason: "MALFORMED_JSON", Field: "body",
		Err: errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proto:"), "\u00a0", " ")),
	}
}

// defaults fill in what the entries of a request do not say.
func defaults(e *logstore.Entry, project string, res *monitoredrespb.MonitoredResource, labels map[string]string) {
	if e.ResourceType == "" {
		e.ResourceType, e.ResourceLabels = res.GetType(), res.GetLabels()
	}
	if e.ResourceType == "" {
		e.ResourceType, e.ResourceLabels = globalType, map[string]string{"project_id": project}
	}
	if len(labels) == 0 {
		return
	}
	all := make(map[string]string, len(labels)+len(e.Labels))
	for k, v := range labels {
		all[k] = v
	}
	for k, v := range e.Labels {
		all[k] = v
	}
	e.Labels = all
}

// setEnum sets a field of an enum of a package that is not imported here.
func setEnum[E ~int32](to *E, v int32) { *to = E(v) }
