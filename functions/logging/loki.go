package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/logstore"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb/ingest/wire"
)

// The stream of what is refused of Loki's clients, and the log that their lines
// are in.
const (
	lokiDoor = "logging-loki"
	lokiLog  = "loki"
)

// lokiPush handles POST /loki/api/v1/push: streams of lines with labels, as
// protobuf packed with snappy, or as JSON. It answers 204, or 400 if lines were
// refused, with how many of them: the others are kept.
func (d *Doors) lokiPush(w http.ResponseWriter, r *http.Request) error {
	project, bucket, err := into(r)
	if err != nil {
		return err
	}
	if tenant := r.Header.Get(tenantHeader); tenant != "" && r.URL.Query().Get(projectParameter) == "" && r.Header.Get(projectHeader) == "" {
		project = tenant
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != otlpType && media != otlpJSONType {
		return unsupported("Content-Type", "lines are taken as "+otlpType+" packed with snappy, or as "+otlpJSONType)
	}
	if media == otlpType && r.Header.Get("Content-Encoding") == "" {
		r.Header.Set("Content-Encoding", "snappy") // which its clients do not say
	}
	body, err := unpacked(w, r)
	if err != nil {
		return err
	}
	push := lokiReader{project: project}
	if media == otlpType {
		err = push.protobuf(body)
	} else {
		err = push.json(body)
	}
	if err != nil {
		return &fault.Error{Op: "logging.lokiPush", Kind: fault.Invalid, Reason: wire.Malformed, Field: "body", Err: err}
	}
	verdicts, err := d.write(r.Context(), &delivery{door: lokiDoor, project: project, bucket: bucket, entries: push.entries})
	if err != nil {
		return err
	}
	if lost := losses(verdicts); len(lost) > 0 {
		w.Header().Set(function.LossesHeader, function.FormatLosses(lost))
		return &fault.Error{
			Op: "logging.lokiPush", Kind: fault.Invalid, Reason: "PARTLY_WRITTEN", Field: "body",
			Err: fmt.Errorf("all lines were written but these: %s", function.FormatLosses(lost)),
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// lokiReader reads the lines of a push.
type lokiReader struct {
	project string
	entries []logstore.Entry
}

// line adds a line of a stream with labels, and some of its own.
func (l *lokiReader) line(stream labels, at time.Time, text []byte, own labels) {
	all := make(labels, len(stream)+len(own))
	for k, v := range stream {
		all[k] = v
	}
	for k, v := range own {
		all[k] = v
	}
	e := logstore.Entry{
		Log: lokiLog, Time: at, Labels: all,
		Severity: severityOfLevel(first(all, "level", "severity", "severity_text", "detected_level", "priority")),
		Payload:  logstore.Payload{Kind: logstore.Text, Data: text},
	}
	if !utf8.Valid(text) {
		e.Payload.Kind = logstore.Bytes
	}
	e.ResourceType, e.ResourceLabels = lokiResource(l.project, stream)
	if id := first(all, "trace_id", "traceID"); id != "" {
		e.Trace = "projects/" + l.project + "/traces/" + id
	}
	e.SpanID = first(all, "span_id", "spanID")
	e.InsertID = ident(&e, all) // as in Loki, where a line of one time is there once
	l.entries = append(l.entries, e)
}

// lokiResource is what the lines of a stream are about: a device, an instance of
// a job, a machine, or nothing in particular.
func lokiResource(project string, stream labels) (string, map[string]string) {
	switch {
	case stream["device_id"] != "":
		return deviceType, map[string]string{"project_id": project, "device_id": stream["device_id"]}
	case first(stream, "service_name", "job") != "":
		return "generic_task", map[string]string{
			"project_id": project, "location": "", "namespace": stream["namespace"],
			"job": first(stream, "service_name", "job"), "task_id": first(stream, "instance", "pod"),
		}
	case first(stream, "host", "hostname", "node", "nodename") != "":
		return "generic_node", map[string]string{
			"project_id": project, "location": "", "namespace": stream["namespace"],
			"node_id": first(stream, "host", "hostname", "node", "nodename"),
		}
	}
	return globalType, map[string]string{"project_id": project}
}

// json reads a push in JSON:
//
//	{"streams": [{"stream": {"job": "x"}, "values": [["NANOSECONDS", "line", {"k": "v"}]]}]}
func (l *lokiReader) json(body []byte) error {
	var push struct {
		Streams []struct {
			Stream labels              `json:"stream"`
			Values [][]json.RawMessage `json:"values"`
		} `json:"streams"`
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&push); err != nil {
		return err
	}
	for i, s := range push.Streams {
		for j, v := range s.Values {
			at, line, own, err := lokiValue(v)
			if err != nil {
				return fmt.Errorf("streams[%d].values[%d]: %w", i, j, err)
			}
			l.line(s.Stream, at, []byte(line), own)
		}
	}
	return nil
}

// lokiValue reads the time, the line, and the labels of a line of its own.
func lokiValue(v []json.RawMessage) (at time.Time, line string, own labels, err error) {
	if len(v) != 2 && len(v) != 3 {
		return at, "", nil, errors.New("want a time, a line, and maybe labels")
	}
	var text string
	if err := json.Unmarshal(v[0], &text); err != nil {
		return at, "", nil, fmt.Errorf("the time is no text: %w", err)
	}
	ns, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return at, "", nil, fmt.Errorf("the time is no number of nanoseconds: %w", err)
	}
	if err := json.Unmarshal(v[1], &line); err != nil {
		return at, "", nil, fmt.Errorf("the line is no text: %w", err)
	}
	if len(v) == 3 {
		if err := json.Unmarshal(v[2], &own); err != nil {
			return at, "", nil, fmt.Errorf("the labels are no texts: %w", err)
		}
	}
	return time.Unix(0, ns).UTC(), line, own, nil
}

// each calls f with the fields of a message that have a length; it skips the
// numbers, but for those that number takes.
func each(message []byte, number func(field protowire.Number, v uint64), f func(field protowire.Number, v []byte) error) error {
	for len(message) > 0 {
		field, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		switch typ {
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return protowire.ParseError(n)
			}
			if err := f(field, v); err != nil {
				return err
			}
			message = message[n:]
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(message)
			if n < 0 {
				return protowire.ParseError(n)
			}
			if number != nil {
				number(field, v)
			}
			message = message[n:]
		default:
			n := protowire.ConsumeFieldValue(field, typ, message)
			if n < 0 {
				return protowire.ParseError(n)
			}
			message = message[n:]
		}
	}
	return nil
}

// protobuf reads a logproto.PushRequest:
//
//	PushRequest 1 streams: 1 labels: text  2 entries: 1 timestamp  2 line  3 labels: 1 name  2 value
func (l *lokiReader) protobuf(body []byte) error {
	return each(body, nil, func(field protowire.Number, v []byte) error {
		if field != 1 {
			return nil
		}
		var stream labels
		var lines [][]byte
		err := each(v, nil, func(field protowire.Number, v []byte) (err error) {
			switch field {
			case 1:
				stream, err = parseLabels(string(v))
			case 2:
				lines = append(lines, v)
			}
			return err
		})
		for _, line := range lines {
			if err == nil {
				err = l.protobufLine(stream, line)
			}
		}
		return err
	})
}

// protobufLine reads a logproto.Entry.
func (l *lokiReader) protobufLine(stream labels, message []byte) error {
	var seconds, nanos int64
	var line []byte
	own := labels{}
	err := each(message, nil, func(field protowire.Number, v []byte) error {
		switch field {
		case 1:
			return each(v, func(field protowire.Number, v uint64) {
				switch field {
				case 1:
					seconds = int64(v)
				case 2:
					nanos = int64(v)
				}
			}, func(protowire.Number, []byte) error { return nil })
		case 2:
			line = bytes.Clone(v)
		case 3:
			var pair [2]string
			err := each(v, nil, func(field protowire.Number, v []byte) error {
				if field == 1 || field == 2 {
					pair[field-1] = string(v)
				}
				return nil
			})
			own[pair[0]] = pair[1]
			return err
		}
		return nil
	})
	l.line(stream, time.Unix(seconds, nanos).UTC(), line, own)
	return err
}

// parseLabels reads the labels of a stream: {job="x", host="a\"b"}.
func parseLabels(text string) (labels, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "{")
	if !ok {
		return nil, fmt.Errorf(`the labels %.100q do not begin with "{"`, text)
	}
	out := labels{}
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if end, done := strings.CutPrefix(rest, "}"); done {
			if strings.TrimSpace(end) != "" {
				return nil, fmt.Errorf("the labels %.100q go on after their end", text)
			}
			return out, nil
		}
		name, value, ok := strings.Cut(rest, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("the labels %.100q have one without a value", text)
		}
		value = strings.TrimLeft(value, " \t")
		quoted, err := strconv.QuotedPrefix(value)
		if err != nil {
			return nil, fmt.Errorf("the labels %.100q have a value that is not quoted", text)
		}
		v, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("the labels %.100q: %w", text, err)
		}
		out[name], rest = v, value[len(quoted):]
	}
}
