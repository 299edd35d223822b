package ingest

import (
	"context"
	"encoding/binary"

	"selvedge.dev/tsdb"
)

// Reasons for which points of a CreateTimeSeriesRequest are dropped.
const (
	// ForeignProject is a series of another project than the event's.
	ForeignProject = "FOREIGN_PROJECT"
	// ForeignDevice is a series of another device than the one that sent it.
	ForeignDevice = "FOREIGN_DEVICE"
	// InvalidInterval is an end that is no time or before the start, or an
	// instant (GAUGE) that has a length.
	InvalidInterval = "INVALID_INTERVAL"
	// DistributionNotSupported is a histogram of a form that is not stored, and
	// StringNotSupported text. Of distributions that are no valid ones the
	// reasons are those of distribution.Validate.
	DistributionNotSupported = "DISTRIBUTION_NOT_SUPPORTED"
	StringNotSupported       = "STRING_NOT_SUPPORTED"
)

// timeSeries reads a google.monitoring.v3 CreateTimeSeriesRequest in JSON:
// every point of it is a point here. What is left out is filled in: the
// resource type is "device", and a device without project_id or device_id is
// the event's. The kind may be left out too, when the metric has a
// descriptor. Fields that are not stored here, such as metadata, are ignored.
//
// A request can write only for its own project and, when it came from a
// device, only for that device.
func (r *run) timeSeries(ctx context.Context) error {
	req, err := parseRequest(r.event.Data)
	if err != nil {
		return err
	}
	foreign := req.name != "" && req.name != "projects/"+r.event.Project
	for i := range req.series {
		ts := &req.series[i]
		switch refused := r.claim(ts); {
		case foreign:
			r.batch.lose(ForeignProject, len(ts.points))
		case refused != "":
			r.batch.lose(refused, len(ts.points))
		default:
			if err := r.points(ctx, ts); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim completes the resource of ts, and is the reason why the event must
// not write it, "" if it may.
func (r *run) claim(ts *series) string {
	if ts.resource == "" {
		ts.resource = resourceDevice
	}
	own := []struct{ label, id, foreign string }{
		{labelProject, r.event.Project, ForeignProject},
		{labelDevice, r.event.Device, ForeignDevice},
	}
	for _, o := range own {
		switch id, ok := ts.resourceLabels[o.label]; {
		case ok && id != o.id && o.id != "":
			return o.foreign
		case !ok && o.id != "" && ts.resource == resourceDevice:
			if ts.resourceLabels == nil {
				ts.resourceLabels = map[string]string{}
			}
			ts.resourceLabels[o.label] = o.id
		}
	}
	return ""
}

// points adds the points of ts.
func (r *run) points(ctx context.Context, ts *series) error {
	var k *known
	for _, p := range ts.points {
		end, refused := p.verdict(ts)
		if refused != "" {
			r.batch.lose(refused, 1)
			continue
		}
		if !r.admits(end, p.value) {
			continue
		}
		if k == nil {
			var err error
			if k, err = r.declared(ctx, ts, p.valueType()); err != nil {
				return err
			}
		}
		if p.distribution != nil {
			r.putDistribution(k, end, &p)
			continue
		}
		r.put(k, end, p.value)
	}
	return nil
}

// declared is what is known of ts, whose first value is of the type first.
func (r *run) declared(ctx context.Context, ts *series, first tsdb.ValueType) (*known, error) {
	d := declaration{
		metric: ts.metric, resource: ts.resource, kind: ts.kind, unit: ts.unit, valueType: ts.valueType,
		metricLabels: sorted(ts.metricLabels), resourceLabels: sorted(ts.resourceLabels),
	}
	if d.valueType == "" {
		d.valueType = first
	}
	key := r.batch.key[:0]
	add := func(part string) { key = append(binary.AppendUvarint(key, uint64(len(part))), part...) }
	for _, part := range []string{d.metric, d.resource, string(d.kind), d.unit} {
		add(part)
	}
	for _, labels := range []tsdb.Labels{d.metricLabels, d.resourceLabels} {
		key = binary.AppendUvarint(key, uint64(len(labels)))
		for _, l := range labels {
			add(l.Name)
			add(l.Value)
		}
	}
	r.batch.key = key
	if k := r.shape.known[string(key)]; k != nil {
		return k, nil
	}
	return r.learn(ctx, string(key), d)
}

// sorted is m as labels, nil for none.
func sorted(m map[string]string) tsdb.Labels {
	if len(m) == 0 {
		return nil
	}
	return tsdb.LabelsOf(m)
}

// verdict is the time of p, or the reason why p cannot be stored whatever the
// metric is.
func (p *point) verdict(ts *series) (tsdb.Millis, string) {
	end, ok := rfc3339([]byte(p.end))
	switch {
	case p.refused != "":
		return 0, p.refused
	case ts.valueType != "" && ts.valueType != p.valueType():
		return 0, TypeConflict
	case !ok:
		return 0, InvalidInterval
	case p.start == "":
		return end, ""
	}
	start, ok := rfc3339([]byte(p.start))
	if !ok || start > end || ts.kind == tsdb.Gauge && start != end {
		return 0, InvalidInterval
	}
	return end, ""
}
