package ingest

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"selvedge.dev/sdk/jsonscan"
	"selvedge.dev/tsdb"
)

// mapped reads a JSON object whose fields a Plan maps to metrics. A mapped
// field that is absent or null is no point; one that is text is a loss, since
// the mapping says that it should be a point. Of a path that is there twice
// the last value counts.
//
// When the mapping names a field for the time, an event without a usable time
// in it is refused: the event's own time would be a wrong one.
func (r *run) mapped(ctx context.Context) error {
	slots, err := r.slots()
	if err != nil {
		return err
	}
	plan, t := r.event.Plan, r.event.Time
	if plan.timestamp >= 0 {
		var ok bool
		if t, ok = timestamp(slots[plan.timestamp]); !ok {
			return invalid(InvalidTimestamp, fmt.Errorf("the field that should hold the time holds %q", slots[plan.timestamp].Raw))
		}
	}
	for i := range plan.fields {
		f := &plan.fields[i]
		switch v := slots[f.slot]; v.Kind {
		case jsonscan.Null:
		case jsonscan.String:
			r.batch.lose(TypeConflict, 1)
		default:
			if err := r.field(ctx, i, t, v.value()); err != nil {
				return err
			}
		}
	}
	return nil
}

// slots reads the fields that the plan names.
func (r *run) slots() ([]scalar, error) {
	plan := r.event.Plan
	slots := r.batch.slots
	for range plan.slots {
		slots = append(slots, scalar{})
	}
	r.batch.slots = slots
	w := walker{Scanner: jsonscan.New(r.event.Data), path: r.batch.path[:0]}
	err := w.walk(func(path []byte, v scalar) {
		if i, ok := plan.slots[string(path)]; ok {
			slots[i] = v
		}
	})
	r.batch.path = w.path
	switch {
	case errors.Is(err, errNoObject):
		return nil, invalid(NotAnObject, err)
	case err != nil:
		return nil, malformed(MalformedJSON, err)
	}
	return slots, nil
}

// field adds the point of the plan's field i.
func (r *run) field(ctx context.Context, i int, t tsdb.Millis, v value) error {
	if !r.admits(t, v) {
		return nil
	}
	f, slots := &r.event.Plan.fields[i], r.batch.slots
	// The series is named by the field and what its labels are; lengths keep
	// the values apart.
	key := binary.AppendUvarint(r.batch.key[:0], uint64(i))
	for _, l := range f.labels {
		if l.slot >= 0 {
			raw := slots[l.slot].Raw
			key = append(binary.AppendUvarint(append(key, byte(slots[l.slot].Kind)), uint64(len(raw))), raw...)
		}
	}
	r.batch.key = key
	k := r.shape.known[string(key)]
	if k == nil {
		var err error
		if k, err = r.learn(ctx, string(key), declaration{
			metric: f.metric, kind: f.kind, unit: f.unit, valueType: cmp.Or(f.valueType, v.valueType()), metricLabels: f.values(slots),
			resource: resourceDevice, resourceLabels: r.shape.resource,
		}); err != nil {
			return err
		}
	}
	r.put(k, t, v)
	return nil
}

// values are the labels of the field's points.
func (f *plannedField) values(slots []scalar) tsdb.Labels {
	var labels tsdb.Labels
	for _, l := range f.labels {
		v := l.constant
		if l.slot >= 0 {
			v = slots[l.slot].label()
		}
		if v != "" {
			labels = append(labels, tsdb.Label{Name: l.name, Value: v})
		}
	}
	return labels
}

// label is v as the value of a label: a string's characters, the text of a
// number or a boolean as it was written, "" for null.
func (v scalar) label() string {
	switch v.Kind {
	case jsonscan.Null:
		return ""
	case jsonscan.String:
		return string(v.text())
	}
	return string(v.Raw)
}
