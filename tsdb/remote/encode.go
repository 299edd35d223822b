package remote

import (
	"encoding/json"
	"strconv"
	"time"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// The JSON of a google.monitoring.v3.CreateTimeSeriesRequest, as far as
// samples need it.
type (
	// request is the request.
	request struct {
		Name       string   `json:"name"`
		TimeSeries []series `json:"timeSeries"`
	}
	// series is a TimeSeries.
	series struct {
		Metric     typed           `json:"metric"`
		Resource   typed           `json:"resource"`
		MetricKind tsdb.MetricKind `json:"metricKind,omitempty"`
		Unit       string          `json:"unit,omitempty"`
		Points     []point         `json:"points"`
	}
	// typed is a Metric or a MonitoredResource.
	typed struct {
		Type   string            `json:"type"`
		Labels map[string]string `json:"labels,omitempty"`
	}
	// point is a Point. It has no start: a store keeps none.
	point struct {
		Interval interval `json:"interval"`
		Value    value    `json:"value"`
	}
	// interval is a TimeInterval.
	interval struct {
		EndTime time.Time `json:"endTime"`
	}
	// value is a TypedValue: one of its fields.
	value struct {
		Bool   *bool    `json:"boolValue,omitempty"`
		Int64  *string  `json:"int64Value,omitempty"`
		Double *float64 `json:"doubleValue,omitempty"`
		// Distribution is a google.api.Distribution.
		Distribution json.RawMessage `json:"distributionValue,omitempty"`
	}
)

// encode is the request for samples of one project. Those of a series that
// follow each other share its description.
func encode(project string, samples []tsdb.Sample) request {
	req := request{Name: "projects/" + project}
	var last *tsdb.Series
	for _, s := range samples {
		if s.Series != last {
			last = s.Series
			req.TimeSeries = append(req.TimeSeries, series{
				Metric:     typed{last.Metric, byName(last.MetricLabels)},
				Resource:   typed{last.Resource, byName(last.ResourceLabels)},
				MetricKind: last.Kind, Unit: last.Unit,
			})
		}
		ts := &req.TimeSeries[len(req.TimeSeries)-1]
		ts.Points = append(ts.Points, point{
			Interval: interval{time.UnixMilli(int64(s.Time)).UTC()}, Value: valueOf(last.ValueType, s),
		})
	}
	return req
}

// valueOf is the value of a sample as one of the type t; "" is a number.
func valueOf(t tsdb.ValueType, s tsdb.Sample) value {
	v := s.Value
	switch t {
	case tsdb.Distributed:
		return value{Distribution: distribution.AppendJSON(nil, s.Distribution)}
	case tsdb.Bool:
		b := v != 0
		return value{Bool: &b}
	case tsdb.Int64:
		s := strconv.FormatFloat(v, 'f', 0, 64)
		return value{Int64: &s}
	}
	return value{Double: &v}
}

// byName is labels as a map.
func byName(labels tsdb.Labels) map[string]string {
	m := make(map[string]string, len(labels))
	for _, l := range labels {
		m[l.Name] = l.Value
	}
	return m
}
