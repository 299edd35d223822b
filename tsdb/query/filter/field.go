package filter

import (
	"fmt"
	"strings"

	"selvedge.dev/tsdb"
)

// fieldKind says where in a series a field is.
type fieldKind uint8

// The kinds of fields.
const (
	project fieldKind = iota
	metricType
	resourceType
	metricLabel
	resourceLabel
	systemLabel // of metadata, which no series has
	userLabel   // likewise
)

// fixed are the fields that have no label, by name.
var fixed = map[string]fieldKind{"project": project, "metric.type": metricType, "resource.type": resourceType}

// prefixes are what a label's name comes after; the first of each kind is the
// canonical one.
var prefixes = []struct {
	text string
	kind fieldKind
}{
	{"metric.labels", metricLabel},
	{"resource.labels", resourceLabel},
	{"metric.label", metricLabel},
	{"resource.label", resourceLabel},
	{"metadata.system_labels", systemLabel},
	{"metadata.user_labels", userLabel},
	{"metadata.system_label", systemLabel},
	{"metadata.user_label", userLabel},
}

// refusedFields are fields of the API that mean nothing here, and why: to read
// them as no match would answer another question.
var refusedFields = map[string]string{
	"group.id": "there are no groups; resource.labels.NAME says which resources",
	"group":    "there are no groups; resource.labels.NAME says which resources",
}

// Field is a part of a series that a filter or a grouping names. Fields are
// comparable.
type Field struct {
	kind  fieldKind
	label string
}

// MetricType is the field metric.type.
func MetricType() Field { return Field{kind: metricType} }

// ResourceType is the field resource.type.
func ResourceType() Field { return Field{kind: resourceType} }

// Project is the field project.
func Project() Field { return Field{kind: project} }

// ParseField reads a field as it is written in a filter:
// metric.labels.state, metric.label."state", resource.type.
func ParseField(text string) (Field, error) {
	p := parser{scanner: scanner{text: text}}
	p.next()
	if p.token.kind != word {
		return Field{}, p.errorf("%s is no field", p.token)
	}
	f, err := p.field(p.token.text)
	if err != nil {
		return Field{}, err
	}
	if p.token.kind != end {
		return Field{}, p.errorf("%s is unexpected after the field", p.token)
	}
	return f, nil
}

// Of is the value of the field in s; a label that s does not have is "".
func (f Field) Of(s *tsdb.Series) string {
	v, _ := f.find(s)
	return v
}

// find is the value of the field in s, and whether s has it.
func (f Field) find(s *tsdb.Series) (string, bool) {
	switch f.kind {
	case project:
		return s.Project, true
	case metricType:
		return s.Metric, true
	case resourceType:
		return s.Resource, true
	case metricLabel:
		return s.MetricLabels.Get(f.label)
	case resourceLabel:
		return s.ResourceLabels.Get(f.label)
	case systemLabel, userLabel:
		return "", false
	}
	panic(fmt.Sprintf("BUG: field kind %d", f.kind))
}

// MetricLabel is the name of the metric label that the field is, or false.
func (f Field) MetricLabel() (string, bool) { return f.label, f.kind == metricLabel }

// ResourceLabel is the name of the resource label that the field is, or false.
func (f Field) ResourceLabel() (string, bool) { return f.label, f.kind == resourceLabel }

// String is the field as a filter's canonical form has it.
func (f Field) String() string {
	for name, kind := range fixed {
		if kind == f.kind {
			return name
		}
	}
	for _, p := range prefixes {
		if p.kind != f.kind {
			continue
		}
		if plain(f.label) {
			return p.text + "." + f.label
		}
		return p.text + "." + quote(f.label)
	}
	panic(fmt.Sprintf("BUG: field kind %d", f.kind))
}

// plain reports whether a label's name needs no quotes.
func plain(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// quote writes text as a string of the language.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
