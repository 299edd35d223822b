package ingest

import (
	"context"
	"fmt"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// The monitored-resource type of devices and its labels.
const (
	resourceDevice = "device"
	labelDevice    = "device_id"
	labelProject   = "project_id"
)

// declaration is what data says about the series of a point.
type declaration struct {
	metric, resource             string
	metricLabels, resourceLabels tsdb.Labels
	// kind and unit must be the descriptor's, unless they are "".
	kind tsdb.MetricKind
	unit string
	// valueType is that of a new descriptor.
	valueType tsdb.ValueType
}

// learn finds out what the points named key are, and remembers it.
func (r *run) learn(ctx context.Context, key string, d declaration) (*known, error) {
	k := &known{refused: d.fault()}
	if k.refused == "" {
		have, err := r.descriptors.Ensure(ctx, tsdb.Descriptor{
			Project: r.event.Project, Type: d.metric, Kind: d.kind, ValueType: d.valueType, Unit: d.unit,
		})
		switch fault.KindOf(err) {
		case fault.Exhausted:
			// Not remembered: room may be made.
			return &known{refused: TooManyMetrics}, nil
		case fault.Invalid:
			k.refused = InvalidMetric
		default:
			if err != nil {
				return nil, &fault.Error{Op: opDecode, Kind: fault.Unavailable, Err: fmt.Errorf("describe %s: %w", d.metric, err)}
			}
			k.become(have, d)
		}
	}
	r.shape.known[key] = k
	r.shapes.grew(r.shape)
	return k, nil
}

// become makes k the series that d declares of a metric with the descriptor
// have.
func (k *known) become(have tsdb.Descriptor, d declaration) {
	switch {
	case d.kind != "" && d.kind != have.Kind:
		k.refused = KindConflict
	case d.unit != "" && have.Unit != "" && d.unit != have.Unit:
		k.refused = UnitConflict
	}
	k.series = tsdb.Series{
		Project: have.Project, Metric: have.Type, Resource: d.resource,
		MetricLabels: d.metricLabels, ResourceLabels: d.resourceLabels,
		Kind: have.Kind, ValueType: have.ValueType, Unit: have.Unit,
	}
}

// fault is the reason why d can declare no series, "" if it can.
func (d *declaration) fault() string {
	if !ValidMetric(d.metric) || !ValidMetric(d.resource) {
		return InvalidMetric
	}
	for _, labels := range []tsdb.Labels{d.metricLabels, d.resourceLabels} {
		if len(labels) > MaxLabels {
			return InvalidLabel
		}
		for i, l := range labels {
			if i > 0 && l.Name == labels[i-1].Name || !ValidLabel(l) {
				return InvalidLabel
			}
		}
	}
	return ""
}
