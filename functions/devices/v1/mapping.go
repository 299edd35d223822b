package devicesv1

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Bounds of mappings. Those of names and labels are Cloud Monitoring's, in
// bytes; the others keep a blueprint readable.
const (
	maxMappings   = 100
	maxFields     = 1000
	maxName       = 200 // event types, paths, metric types
	maxUnit       = 63
	maxLabels     = 30
	maxLabelValue = 1024
)

// labelName is the grammar of label names: they are written in filters and in
// groupByFields as metric.labels.NAME.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,99}$`)

// Values of the enumerations of a FieldMapping; "" is the default.
var (
	metricKinds = []string{"", "GAUGE", "DELTA", "CUMULATIVE"}
	valueTypes  = []string{"", "DOUBLE", "INT64", "BOOL"}
)

// checkMappings checks the mappings of a blueprint.
func checkMappings(mappings []*Mapping) error {
	if len(mappings) > maxMappings {
		return invalid("mappings", fmt.Errorf("a blueprint has at most %d mappings", maxMappings))
	}
	seen := map[string]int{}
	for i, m := range mappings {
		path := fmt.Sprintf("mappings[%d]", i)
		if err := m.check(path); err != nil {
			return err
		}
		if j, ok := seen[m.EventType]; ok {
			return invalid(path+".eventType", fmt.Errorf("%s: mappings[%d] is for the event type %q already", path, j, m.EventType))
		}
		seen[m.EventType] = i
	}
	return nil
}

// check checks the mapping at path: every part, and that no two fields are the
// same or make the same series.
func (m *Mapping) check(path string) error {
	if m.EventType == "" || len(m.EventType) > maxName || !printable(m.EventType) {
		return invalid(path+".eventType", fmt.Errorf("%s.eventType must be 1 to %d bytes of UTF-8 without control characters", path, maxName))
	}
	if m.TimestampField != "" && !isPath(m.TimestampField) {
		return invalid(path+".timestampField", fmt.Errorf("%s.timestampField must be %s", path, pathRule))
	}
	if len(m.Fields) == 0 || len(m.Fields) > maxFields {
		return invalid(path+".fields", fmt.Errorf("%s.fields must be 1 to %d fields", path, maxFields))
	}
	fields, series := map[string]int{}, map[string]int{}
	for i, f := range m.Fields {
		at := fmt.Sprintf("%s.fields[%d]", path, i)
		if err := f.check(at, m.EventType); err != nil {
			return err
		}
		if j, ok := fields[f.Field]; ok {
			return invalid(at+".field", fmt.Errorf("%s: fields[%d] is the field %q already", at, j, f.Field))
		}
		fields[f.Field] = i
		key := f.series(m.EventType)
		if j, ok := series[key]; ok {
			return invalid(at+".metricType", fmt.Errorf("%s: fields[%d] has the same metric type and labels", at, j))
		}
		series[key] = i
	}
	return nil
}

// metric is the metric type of the field's points.
func (f *FieldMapping) metric(eventType string) string {
	return cmp.Or(f.MetricType, eventType+"/"+f.Field)
}

// series identifies the series that the field makes of any one event.
func (f *FieldMapping) series(eventType string) string {
	var b strings.Builder
	b.WriteString(f.metric(eventType))
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		// No part may hold a NUL byte, so NUL separates.
		b.WriteString("\x00" + name + "\x00" + f.Labels[name])
	}
	return b.String()
}

// check checks the parts of the field at path.
func (f *FieldMapping) check(path, eventType string) error {
	switch {
	case !isPath(f.Field):
		return invalid(path+".field", fmt.Errorf("%s.field must be %s", path, pathRule))
	case !isPath(f.metric(eventType)):
		return invalid(path+".metricType", fmt.Errorf("%s: the metric type %.200q must be %s", path, f.metric(eventType), pathRule))
	case !slices.Contains(metricKinds, f.Kind):
		return invalid(path+".kind", fmt.Errorf("%s.kind %.64q must be one of %s", path, f.Kind, strings.Join(metricKinds[1:], ", ")))
	case !slices.Contains(valueTypes, f.ValueType):
		return invalid(path+".valueType", fmt.Errorf("%s.valueType %.64q must be one of %s", path, f.ValueType, strings.Join(valueTypes[1:], ", ")))
	case f.ValueType == "BOOL" && cmp.Or(f.Kind, "GAUGE") != "GAUGE":
		return invalid(path+".valueType", fmt.Errorf("%s: a metric of kind %s cannot be BOOL", path, f.Kind))
	case len(f.Unit) > maxUnit || !printable(f.Unit):
		return invalid(path+".unit", fmt.Errorf("%s.unit must be at most %d bytes without control characters", path, maxUnit))
	case len(f.Labels) > maxLabels:
		return invalid(path+".labels", fmt.Errorf("%s: a metric has at most %d labels", path, maxLabels))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		if !labelName.MatchString(name) {
			return invalid(path+".labels", fmt.Errorf("%s: the label name %.100q must match %s", path, name, labelName))
		}
		at := path + ".labels." + name
		if err := checkLabelValue(f.Labels[name]); err != nil {
			return invalid(at, fmt.Errorf("%s %w", at, err))
		}
	}
	return nil
}

// checkLabelValue checks where the value of a label comes from. A label with
// the empty value is the same as no label.
func checkLabelValue(from string) error {
	constant, ok := strings.CutPrefix(from, "=")
	switch {
	case !ok && !isPath(from):
		return errors.New(`must be "=text" or ` + pathRule)
	case ok && (constant == "" || len(constant) > maxLabelValue || !printable(constant)):
		return fmt.Errorf(`must be "=" and 1 to %d bytes of UTF-8 without control characters`, maxLabelValue)
	}
	return nil
}

// pathRule says what isPath wants, with the value of maxName.
const pathRule = "1 to 200 bytes of UTF-8: names without control characters, with single slashes between them"

// isPath reports whether s can be a path, an event type or a metric type.
func isPath(s string) bool {
	return s != "" && len(s) <= maxName && printable(s) && !slices.Contains(strings.Split(s, "/"), "")
}
