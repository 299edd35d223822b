package monitoring

import (
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// kinds are the kinds of metrics by Google's.
var kinds = map[metricpb.MetricDescriptor_MetricKind]tsdb.MetricKind{
	metricpb.MetricDescriptor_GAUGE: tsdb.Gauge, metricpb.MetricDescriptor_DELTA: tsdb.Delta, metricpb.MetricDescriptor_CUMULATIVE: tsdb.Cumulative,
}

// valueTypes are the types of values by Google's.
var valueTypes = map[metricpb.MetricDescriptor_ValueType]tsdb.ValueType{
	metricpb.MetricDescriptor_BOOL: tsdb.Bool, metricpb.MetricDescriptor_INT64: tsdb.Int64, metricpb.MetricDescriptor_DOUBLE: tsdb.Double,
	metricpb.MetricDescriptor_DISTRIBUTION: tsdb.Distributed,
}

// kindOf is a kind as Google has it.
func kindOf(k tsdb.MetricKind) metricpb.MetricDescriptor_MetricKind {
	return metricpb.MetricDescriptor_MetricKind(metricpb.MetricDescriptor_MetricKind_value[string(k)])
}

// valueTypeOf is a type of values as Google has it.
func valueTypeOf(t tsdb.ValueType) metricpb.MetricDescriptor_ValueType {
	return metricpb.MetricDescriptor_ValueType(metricpb.MetricDescriptor_ValueType_value[string(t)])
}

// labelsOf are labels as Google has them, nil for none.
func labelsOf(labels tsdb.Labels) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	out := make(map[string]string, len(labels))
	for _, l := range labels {
		out[l.Name] = l.Value
	}
	return out
}

// response is a page as Google has it.
func response(page query.Page) *monitoringpb.ListTimeSeriesResponse {
	out := &monitoringpb.ListTimeSeriesResponse{NextPageToken: page.Next}
	for _, r := range page.Results {
		out.TimeSeries = append(out.TimeSeries, timeSeries(r))
	}
	if len(page.Results) > 0 {
		out.Unit = unitOf(page)
	}
	return out
}

// timeSeries is a result as Google has it. The messages of all points are
// allocated together: there may be 100,000.
func timeSeries(r query.Result) *monitoringpb.TimeSeries {
	s := r.Series
	out := &monitoringpb.TimeSeries{
		Metric:     &metricpb.Metric{Type: s.Metric, Labels: labelsOf(s.MetricLabels)},
		Resource:   &monitoredrespb.MonitoredResource{Type: s.Resource, Labels: labelsOf(s.ResourceLabels)},
		MetricKind: kindOf(s.Kind), ValueType: valueTypeOf(s.ValueType), Unit: s.Unit,
	}
	n := r.Points.Len()
	points, intervals := make([]monitoringpb.Point, n), make([]monitoringpb.TimeInterval, n)
	values, times := make([]monitoringpb.TypedValue, n), make([]timestamppb.Timestamp, 2*n)
	stamp := func(at int, t tsdb.Millis) *timestamppb.Timestamp {
		when := time.UnixMilli(int64(t))
		times[at].Seconds, times[at].Nanos = when.Unix(), int32(when.Nanosecond())
		return &times[at]
	}
	for i := range n {
		newest := n - 1 - i
		at := r.Points.Times[newest]
		intervals[i].EndTime = stamp(2*i, at)
		switch {
		case s.Kind == tsdb.Gauge:
			intervals[i].StartTime = stamp(2*i+1, at)
		case r.Period > 0:
			intervals[i].StartTime = stamp(2*i+1, at-r.Period)
		}
		v := 0.0
		if r.Points.Values != nil {
			v = r.Points.Values[newest]
		}
		switch s.ValueType {
		case tsdb.Distributed:
			values[i].Value = &monitoringpb.TypedValue_DistributionValue{DistributionValue: distributionAs(r.Points.Distributions[newest])}
		case tsdb.Bool:
			values[i].Value = &monitoringpb.TypedValue_BoolValue{BoolValue: v != 0}
		case tsdb.Int64:
			values[i].Value = &monitoringpb.TypedValue_Int64Value{Int64Value: wholeNumber(v)}
		default:
			values[i].Value = &monitoringpb.TypedValue_DoubleValue{DoubleValue: v}
		}
		points[i].Interval, points[i].Value = &intervals[i], &values[i]
		out.Points = append(out.Points, &points[i])
	}
	return out
}
