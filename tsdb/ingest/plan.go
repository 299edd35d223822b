package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Mapping says how the JSON data of one event type becomes points.
type Mapping struct {
	// EventType is the CloudEvents type that the mapping is for.
	EventType string
	// TimestampField is the path of the field with the time of the reading:
	// RFC 3339 text, or Unix time in seconds, milliseconds, microseconds or
	// nanoseconds, told apart by magnitude. "" means the event's time.
	TimestampField string
	// Fields are the fields that become points; no other does.
	Fields []Field
}

// Field says how one field becomes points of one metric.
type Field struct {
	// Path is the path of the field, as object.go makes it: "battery/volts".
	Path string
	// Metric is the metric type; "" means EVENTTYPE/PATH.
	Metric string
	// Kind defaults to GAUGE, ValueType to what the first value is.
	Kind      tsdb.MetricKind
	ValueType tsdb.ValueType
	// Unit is a UCUM unit, "" when unknown.
	Unit string
	// Labels are the metric labels: from label name to the path of a field
	// that holds a string, a number or a boolean, or to a constant written
	// "=text". An event without the field makes points without the label.
	Labels map[string]string
}

// Plan is a Mapping ready for use. Plans are compared by identity: keep one
// per mapping, since another Plan of the same mapping is learned anew.
type Plan struct {
	eventType string
	// slots numbers the paths that matter.
	slots map[string]int
	// timestamp is the slot of the time of the reading, -1 for none.
	timestamp int
	fields    []plannedField
}

// plannedField is a Field whose paths are slots.
type plannedField struct {
	slot      int
	metric    string
	kind      tsdb.MetricKind
	valueType tsdb.ValueType
	unit      string
	// labels are sorted by name.
	labels []plannedLabel
}

// plannedLabel is where the value of a label comes from.
type plannedLabel struct {
	name string
	// slot holds the value, or is -1 and constant is the value.
	slot     int
	constant string
}

// Compile checks m and makes it a Plan. An error is Invalid with the reason
// INVALID_MAPPING and says which field is at fault.
func Compile(m Mapping) (*Plan, error) {
	p := &Plan{eventType: m.EventType, slots: map[string]int{}, timestamp: -1}
	if err := p.compile(m); err != nil {
		return nil, &fault.Error{Op: "tsdb/ingest.Compile", Name: m.EventType, Kind: fault.Invalid, Reason: "INVALID_MAPPING", Err: err}
	}
	return p, nil
}

// EventType is the type of the events that p is for.
func (p *Plan) EventType() string { return p.eventType }

// compile fills p.
func (p *Plan) compile(m Mapping) error {
	if m.EventType == "" {
		return errors.New("the event type is missing")
	}
	if len(m.Fields) == 0 {
		return errors.New("no field is mapped")
	}
	if m.TimestampField != "" {
		p.timestamp = p.slot(m.TimestampField)
	}
	for i, f := range m.Fields {
		planned, err := p.field(f)
		if err != nil {
			return fmt.Errorf("field %d %q: %w", i, f.Path, err)
		}
		for _, other := range p.fields {
			if other.metric == planned.metric && slices.Equal(other.labels, planned.labels) {
				return fmt.Errorf("field %d %q: another field has the metric %s and the same labels", i, f.Path, planned.metric)
			}
		}
		p.fields = append(p.fields, planned)
	}
	return nil
}

// slot is the number of path.
func (p *Plan) slot(path string) int {
	i, ok := p.slots[path]
	if !ok {
		i = len(p.slots)
		p.slots[path] = i
	}
	return i
}

// field plans f.
func (p *Plan) field(f Field) (plannedField, error) {
	planned := plannedField{
		metric: cmp.Or(f.Metric, p.eventType+"/"+f.Path), kind: cmp.Or(f.Kind, tsdb.Gauge),
		valueType: f.ValueType, unit: f.Unit,
	}
	switch {
	case f.Path == "":
		return planned, errors.New("the path is missing")
	case !ValidMetric(planned.metric):
		return planned, fmt.Errorf("%q cannot be a metric type", planned.metric)
	case !slices.Contains([]tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative}, planned.kind):
		return planned, fmt.Errorf("there is no metric kind %q", f.Kind)
	case !slices.Contains([]tsdb.ValueType{"", tsdb.Bool, tsdb.Int64, tsdb.Double}, f.ValueType):
		return planned, fmt.Errorf("there is no value type %q", f.ValueType)
	case len(f.Labels) > MaxLabels:
		return planned, fmt.Errorf("more than %d labels", MaxLabels)
	}
	planned.slot = p.slot(f.Path)
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		l := plannedLabel{name: name, slot: -1}
		constant, ok := strings.CutPrefix(f.Labels[name], "=")
		switch {
		case f.Labels[name] == "", !ValidLabel(tsdb.Label{Name: name, Value: constant}):
			return planned, fmt.Errorf("label %q: %q can be neither a path nor a constant", name, f.Labels[name])
		case ok:
			l.constant = constant
		default:
			l.slot = p.slot(f.Labels[name])
		}
		planned.labels = append(planned.labels, l)
	}
	return planned, nil
}
