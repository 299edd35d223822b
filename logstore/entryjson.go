package logstore

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// AppendJSON appends the entry as Google's LogEntry in JSON. Bytes are its
// bytesPayload, and a message of a type that is not known has its encoding as
// "value", both in base64: those are the platform's own. Bucket, Origin and
// Seq are not in it.
func AppendJSON(to []byte, e *Entry) []byte {
	w := objectWriter{append(to, '{')}
	w.text("logName", LogName(e.Project, e.Log))
	w.text("timestamp", e.Time.Format(time.RFC3339Nano))
	w.text("receiveTimestamp", e.Received.Format(time.RFC3339Nano))
	w.text("insertId", e.InsertID)
	w.text("severity", e.Severity.String())
	w.name("resource")
	resource := objectWriter{append(w.to, '{')}
	resource.text("type", e.ResourceType)
	resource.labels("labels", e.ResourceLabels)
	w.to = append(resource.to, '}')
	w.labels("labels", e.Labels)
	w.text("trace", e.Trace)
	w.text("spanId", e.SpanID)
	if e.TraceSampled {
		w.raw("traceSampled", []byte("true"))
	}
	w.payload(&e.Payload)
	if len(e.Extra) > len("{}") {
		w.comma()
		w.to = append(w.to, e.Extra[1:len(e.Extra)-1]...)
	}
	return append(w.to, '}')
}

// objectWriter appends the members of a JSON object that has been begun.
type objectWriter struct{ to []byte }

// comma separates members.
func (w *objectWriter) comma() {
	if w.to[len(w.to)-1] != '{' {
		w.to = append(w.to, ',')
	}
}

// name begins a member.
func (w *objectWriter) name(name string) {
	w.comma()
	w.to = append(appendQuoted(w.to, name), ':')
}

// appendQuoted appends a string of JSON.
func appendQuoted(to []byte, text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string always can
	return append(to, bytes.TrimRight(b.Bytes(), "\n")...)
}

// text writes a member that is a string, unless it is "".
func (w *objectWriter) text(name, text string) {
	if text != "" {
		w.name(name)
		w.to = appendQuoted(w.to, text)
	}
}

// raw writes a member that is JSON.
func (w *objectWriter) raw(name string, value []byte) {
	w.name(name)
	w.to = append(w.to, value...)
}

// labels writes a member that is labels, unless there are none.
func (w *objectWriter) labels(name string, labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	w.name(name)
	inner := objectWriter{append(w.to, '{')}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		inner.name(k)
		inner.to = appendQuoted(inner.to, labels[k])
	}
	w.to = append(inner.to, '}')
}

// payload writes the payload.
func (w *objectWriter) payload(p *Payload) {
	switch p.Kind {
	case Text:
		w.name("textPayload")
		w.to = appendQuoted(w.to, view(p.Data))
	case JSON:
		w.raw("jsonPayload", p.Data)
	case Proto:
		w.name("protoPayload")
		inner := objectWriter{append(w.to, '{')}
		inner.text("@type", p.TypeURL)
		if len(p.Wire) > 0 {
			inner.text("value", base64.StdEncoding.EncodeToString(p.Wire))
		}
		if len(p.Data) > len("{}") {
			inner.comma()
			inner.to = append(inner.to, p.Data[1:len(p.Data)-1]...)
		}
		w.to = append(inner.to, '}')
	case Bytes:
		w.name("bytesPayload")
		w.to = appendQuoted(w.to, base64.StdEncoding.EncodeToString(p.Data))
	}
}

// entryJSON is LogEntry in JSON.
type entryJSON struct {
	LogName          string    `json:"logName"`
	Timestamp        time.Time `json:"timestamp"`
	ReceiveTimestamp time.Time `json:"receiveTimestamp"`
	InsertID         string    `json:"insertId"`
	Severity         any       `json:"severity"`
	Resource         struct {
		Type   string            `json:"type"`
		Labels map[string]string `json:"labels"`
	} `json:"resource"`
	Labels       map[string]string `json:"labels"`
	Trace        string            `json:"trace"`
	SpanID       string            `json:"spanId"`
	TraceSampled bool              `json:"traceSampled"`
	TextPayload  *string           `json:"textPayload"`
	JSONPayload  json.RawMessage   `json:"jsonPayload"`
	ProtoPayload json.RawMessage   `json:"protoPayload"`
	BytesPayload *[]byte           `json:"bytesPayload"`

	HTTPRequest    json.RawMessage `json:"httpRequest"`
	Operation      json.RawMessage `json:"operation"`
	SourceLocation json.RawMessage `json:"sourceLocation"`
	Split          json.RawMessage `json:"split"`
	ErrorGroups    json.RawMessage `json:"errorGroups"`
}

// ParseJSON reads what AppendJSON has written, or what has fewer fields. The
// entry is not checked; a message is in Payload.Data whatever its type is.
func ParseJSON(data []byte) (Entry, error) {
	e, err := parseJSON(data)
	if err != nil {
		return Entry{}, &fault.Error{Op: "logstore.ParseJSON", Kind: fault.Invalid, Reason: "INVALID_ENTRY", Err: err}
	}
	return e, nil
}

// parseJSON is ParseJSON with plain errors.
func parseJSON(data []byte) (Entry, error) {
	var j entryJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&j); err != nil {
		return Entry{}, err
	}
	if dec.More() {
		return Entry{}, errors.New("something follows the entry")
	}
	e := Entry{
		Time: j.Timestamp.UTC(), Received: j.ReceiveTimestamp.UTC(), InsertID: j.InsertID,
		ResourceType: j.Resource.Type, ResourceLabels: j.Resource.Labels, Labels: j.Labels,
		Trace: j.Trace, SpanID: j.SpanID, TraceSampled: j.TraceSampled,
	}
	var ok bool
	if e.Project, e.Log, ok = ParseLogName(j.LogName); !ok && j.LogName != "" {
		return Entry{}, fmt.Errorf("logName: %q is not projects/PROJECT_ID/logs/LOG_ID with an escaped id", j.LogName)
	}
	if j.Severity != nil {
		if e.Severity, ok = ParseSeverity(fmt.Sprint(j.Severity)); !ok {
			return Entry{}, fmt.Errorf("severity: %v is none", j.Severity)
		}
	}
	if err := j.extra(&e); err != nil {
		return Entry{}, err
	}
	return e, j.payload(&e.Payload)
}

// ParseLogName reads the resource name of a log.
func ParseLogName(name string) (project, log string, ok bool) {
	rest, ok := strings.CutPrefix(name, "projects/")
	project, escaped, found := strings.Cut(rest, "/logs/")
	log, err := url.PathUnescape(escaped)
	return project, log, ok && found && err == nil && project != "" && !strings.Contains(project, "/") && log != "" && !strings.Contains(escaped, "/")
}

// extra makes Extra.
func (j *entryJSON) extra(e *Entry) error {
	w := objectWriter{[]byte{'{'}}
	for i, value := range []json.RawMessage{j.HTTPRequest, j.Operation, j.SourceLocation, j.Split, j.ErrorGroups} {
		if len(value) > 0 {
			w.raw(extras[i], value)
		}
	}
	if len(w.to) == 1 {
		return nil
	}
	var err error
	e.Extra, err = CompactJSON(append(w.to, '}'))
	return err
}

// payload makes the payload.
func (j *entryJSON) payload(p *Payload) error {
	n := 0
	var err error
	if j.TextPayload != nil {
		n++
		*p = Payload{Kind: Text, Data: []byte(*j.TextPayload)}
	}
	if len(j.JSONPayload) > 0 {
		n++
		p.Kind = JSON
		p.Data, err = CompactJSON(j.JSONPayload)
	}
	if len(j.ProtoPayload) > 0 {
		n++
		err = errors.Join(err, j.message(p))
	}
	if j.BytesPayload != nil {
		n++
		*p = Payload{Kind: Bytes, Data: *j.BytesPayload}
	}
	if n > 1 {
		return errors.New("there is more than one payload")
	}
	return err
}

// message makes the payload of a protoPayload: the type, and the other members
// as they are.
func (j *entryJSON) message(p *Payload) error {
	data, err := CompactJSON(j.ProtoPayload)
	if err != nil {
		return err
	}
	p.Kind = Proto
	w := objectWriter{[]byte{'{'}}
	err = eachMember(data, func(name string, value []byte) error {
		if name == "@type" {
			return json.Unmarshal(value, &p.TypeURL)
		}
		w.raw(name, value)
		return nil
	})
	p.Data = append(w.to, '}')
	return err
}
