package logstore

import (
	"bytes"
	"net/url"
	"strings"

	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/jsonscan"
)

// probe looks at values of entries. Each method reports whether it has seen
// enough; what looks on is then not called again.
type probe interface {
	// scalar is called with a value.
	scalar(v scalar) bool
	// object is called where there is an object or an array. deep asks to be
	// called with the values in an object; those of an array are given anyway.
	object() (enough, deep bool)
}

// field is a field of entries, resolved.
type field struct {
	path []string
	typ  filter.Type
	// name is the last of the path in quotes, which is how JSON has it but for
	// escapes.
	name []byte
}

// newField resolves a field.
func newField(path []string) (field, error) {
	canonical, typ, err := filter.Field(path)
	if err != nil {
		return field{}, err
	}
	return field{path: canonical, typ: typ, name: []byte(`"` + canonical[len(canonical)-1] + `"`)}, nil
}

// absent reports whether it is plain to see that a JSON text has not the
// field. A text with escapes may write a name in many ways.
func (f *field) absent(data []byte) bool {
	return !bytes.Contains(data, f.name) && bytes.IndexByte(data, '\\') < 0
}

// Field is the text of an entry's field, and whether the entry has it; of an
// array it is that of the first element, of an object there is none. path is
// as in filter.Comparison.
func Field(e *Entry, path []string) (string, bool) {
	f, err := newField(path)
	if err != nil {
		return "", false
	}
	return f.text(e)
}

// text is Field. Severity is always there.
func (f *field) text(e *Entry) (string, bool) {
	var c capture
	if !f.visit(e, &c) || c.unset {
		return "", false
	}
	return strings.Clone(c.text), true
}

// capture is a probe that keeps the first value.
type capture struct {
	text  string
	unset bool
}

// scalar implements probe.
func (c *capture) scalar(v scalar) bool {
	c.text, c.unset = v.String(), v.unset && v.kind != aSeverity || v.kind == aNull
	return true
}

// object implements probe.
func (c *capture) object() (enough, deep bool) { return false, false }

// visit shows the values of the field to p, and reports whether it has seen
// enough. Of a field of LogEntry's own there is always one, unset if need be.
func (f *field) visit(e *Entry, p probe) bool {
	switch f.path[0] {
	case "labels":
		return visitMap(e.Labels, f.path[1:], p)
	case "resource":
		return f.visitResource(e, p)
	case "jsonPayload":
		return e.Payload.Kind == JSON && (len(f.path) == 1 || !f.absent(e.Payload.Data)) && visitJSON(e.Payload.Data, f.path[1:], p)
	case "protoPayload":
		return e.Payload.Kind == Proto && visitProto(&e.Payload, f.path[1:], p)
	case "httpRequest", "operation", "sourceLocation", "split", "errorGroups":
		return f.visitExtra(e, p)
	}
	if filter.Unkept(f.path[0]) {
		return false
	}
	return p.scalar(f.own(e))
}

// own is the value of a field that is a field of Entry too.
func (f *field) own(e *Entry) scalar {
	switch f.path[0] {
	case "severity":
		return scalar{kind: aSeverity, severity: e.Severity, unset: e.Severity == 0}
	case "timestamp":
		return scalar{kind: aTime, time: e.Time}
	case "receiveTimestamp":
		return scalar{kind: aTime, time: e.Received}
	case "traceSampled":
		if e.TraceSampled {
			return scalar{kind: aBool, text: "true"}
		}
		return unsetOf(filter.Bool)
	case "textPayload":
		if e.Payload.Kind == Text {
			return scalar{kind: aText, text: view(e.Payload.Data)}
		}
		return unsetOf(filter.String)
	case "logName":
		return text(LogName(e.Project, e.Log))
	case "insertId":
		return text(e.InsertID)
	case "trace":
		return text(e.Trace)
	case "spanId":
		return text(e.SpanID)
	}
	panic("BUG: no field " + f.path[0])
}

// text is a text that is not set if it is "".
func text(s string) scalar { return scalar{kind: aText, text: s, unset: s == ""} }

// LogName is the resource name of a log, in which its id is escaped:
// "projects/p/logs/selvedge.dev%2Factivity".
func LogName(project, log string) string {
	return "projects/" + project + "/logs/" + url.PathEscape(log)
}

// visitResource visits resource, resource.type, resource.labels and
// resource.labels.K.
func (f *field) visitResource(e *Entry, p probe) bool {
	switch {
	case len(f.path) > 1 && f.path[1] == "type":
		return p.scalar(text(e.ResourceType))
	case len(f.path) > 1:
		return visitMap(e.ResourceLabels, f.path[2:], p)
	case e.ResourceType == "" && len(e.ResourceLabels) == 0:
		return false
	}
	if enough, deep := p.object(); enough || !deep {
		return enough
	}
	return p.scalar(text(e.ResourceType)) || visitMap(e.ResourceLabels, nil, p)
}

// visitMap visits the value of a key, or the map as a whole.
func visitMap(m map[string]string, key []string, p probe) bool {
	if len(key) > 0 {
		v, ok := m[key[0]]
		return ok && p.scalar(scalar{kind: aText, text: v})
	}
	if len(m) == 0 {
		return false
	}
	if enough, deep := p.object(); enough || !deep {
		return enough
	}
	for _, v := range m {
		if p.scalar(scalar{kind: aText, text: v}) {
			return true
		}
	}
	return false
}

// visitProto visits what is in a message.
func visitProto(m *Payload, path []string, p probe) bool {
	switch {
	case len(path) == 1 && path[0] == "@type":
		return p.scalar(scalar{kind: aText, text: m.TypeURL})
	case len(path) > 0:
		w := walk{probe: p, typ: filter.Any, loose: true}
		return w.all(m.Data, path)
	}
	if enough, deep := p.object(); enough || !deep {
		return enough
	}
	return p.scalar(scalar{kind: aText, text: m.TypeURL}) || visitJSON(m.Data, nil, p)
}

// visitExtra visits what is in Extra.
func (f *field) visitExtra(e *Entry, p probe) bool {
	w := walk{probe: p, typ: f.typ}
	if len(e.Extra) > 0 {
		s := jsonscan.New(e.Extra)
		if enough, err := w.value(&s, f.path); err == nil && enough {
			return true
		}
	}
	if w.found || f.typ == filter.Object || f.typ == filter.Any {
		return false
	}
	return p.scalar(unsetOf(f.typ))
}

// visitJSON visits the values at a path of a JSON text.
func visitJSON(data []byte, path []string, p probe) bool {
	w := walk{probe: p, typ: filter.Any}
	return w.all(data, path)
}

// walk goes through a JSON text.
type walk struct {
	probe probe
	typ   filter.Type
	// found says that there was a value.
	found bool
	// loose says that names are those of fields of messages, whose case does not
	// count, nor whether they are written with underscores.
	loose bool
}

// all goes through a whole JSON text.
func (w *walk) all(data []byte, path []string) bool {
	if len(data) == 0 {
		return false
	}
	s := jsonscan.New(data)
	enough, err := w.value(&s, path)
	return enough && err == nil
}

// is reports whether a key is the one that is looked for.
func (w *walk) is(key []byte, name string) bool {
	return view(key) == name || w.loose && strings.EqualFold(strings.ReplaceAll(string(key), "_", ""), strings.ReplaceAll(name, "_", ""))
}

// value consumes a value, of which the probe is shown what is at the path.
// Once the probe has seen enough the scanner is of no more use.
func (w *walk) value(s *jsonscan.Scanner, path []string) (enough bool, err error) {
	switch s.Peek() {
	case '{':
		return w.members(s, path)
	case '[':
		return w.elements(s, path)
	}
	v, err := s.Scalar()
	if err != nil || len(path) > 0 {
		return false, err
	}
	w.found = true
	return w.probe.scalar(ofJSON(v, w.typ)), nil
}

// elements consumes an array.
func (w *walk) elements(s *jsonscan.Scanner, path []string) (bool, error) {
	if len(path) == 0 {
		w.found = true
		if enough, _ := w.probe.object(); enough {
			return true, nil
		}
	}
	if err := s.Open('['); err != nil {
		return false, err
	}
	for first := true; ; first = false {
		more, err := s.Next(first, ']')
		if err != nil || !more {
			return false, err
		}
		if enough, err := w.value(s, path); err != nil || enough {
			return enough, err
		}
	}
}

// members consumes an object.
func (w *walk) members(s *jsonscan.Scanner, path []string) (bool, error) {
	if len(path) == 0 {
		w.found = true
		if enough, deep := w.probe.object(); enough || !deep {
			return enough, s.Skip()
		}
	}
	if err := s.Open('{'); err != nil {
		return false, err
	}
	for first := true; ; first = false {
		more, err := s.Next(first, '}')
		if err != nil || !more {
			return false, err
		}
		key, err := s.Key()
		if err != nil {
			return false, err
		}
		var enough bool
		switch {
		case len(path) == 0:
			enough, err = w.value(s, nil)
		case w.is(key, path[0]):
			enough, err = w.value(s, path[1:])
		default:
			err = s.Skip()
		}
		if err != nil || enough {
			return enough, err
		}
	}
}
