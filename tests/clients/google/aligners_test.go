package google

import (
	"fmt"
	"math"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// aggregated is a metric of every kind that aligners are for, with six points a
// minute apart, in two windows of three minutes:
//
//	level  GAUGE DOUBLE       1  2  6 |  3   5   7
//	open   GAUGE BOOL         t  f  t |  f   f   t
//	total  CUMULATIVE INT64  10 20 60 | 90 140 210
const aggregated = "custom.googleapis.com/aggregated/"

// writeAggregated writes them, of two nodes: those of the second are level + 10.
func writeAggregated(t *testing.T, create func(*monitoringpb.CreateTimeSeriesRequest) error, start time.Time) {
	t.Helper()
	levels, opens, totals := []float64{1, 2, 6, 3, 5, 7}, []bool{true, false, true, false, false, true}, []int64{10, 20, 60, 90, 140, 210}
	for i := range levels {
		end := start.Add(time.Duration(i+1) * time.Minute)
		req := &monitoringpb.CreateTimeSeriesRequest{Name: project}
		for n, node := range []string{"a", "b"} {
			add := func(name string, kind metric.MetricDescriptor_MetricKind, from time.Time, v *monitoringpb.TypedValue) {
				req.TimeSeries = append(req.TimeSeries, &monitoringpb.TimeSeries{
					Metric: &metric.Metric{Type: aggregated + name}, MetricKind: kind,
					Resource: &monitoredres.MonitoredResource{Type: "generic_node", Labels: map[string]string{
						"project_id": "default", "location": "here", "namespace": "tests", "node_id": node,
					}},
					Points: []*monitoringpb.Point{{Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(from), EndTime: timestamppb.New(end)}, Value: v}},
				})
			}
			add("level", metric.MetricDescriptor_GAUGE, end, &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: levels[i] + float64(10*n)}})
			add("open", metric.MetricDescriptor_GAUGE, end, &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_BoolValue{BoolValue: opens[i]}})
			add("total", metric.MetricDescriptor_CUMULATIVE, start, &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: totals[i]}})
		}
		require.NoError(t, create(req))
	}
}

// number is a value as a number, whatever its type.
func number(v *monitoringpb.TypedValue) float64 {
	switch v := v.GetValue().(type) {
	case *monitoringpb.TypedValue_BoolValue:
		if v.BoolValue {
			return 1
		}
		return 0
	case *monitoringpb.TypedValue_Int64Value:
		return float64(v.Int64Value)
	case *monitoringpb.TypedValue_DoubleValue:
		return v.DoubleValue
	}
	return math.NaN()
}

// wanted is what an aligner or a reducer makes of a metric: the newest point.
type wanted struct {
	metric string
	kind   metric.MetricDescriptor_MetricKind
	typ    metric.MetricDescriptor_ValueType
	value  float64
}

// Kinds and types of results.
const (
	gauge, delta, counter = metric.MetricDescriptor_GAUGE, metric.MetricDescriptor_DELTA, metric.MetricDescriptor_CUMULATIVE
	boolean, whole, real  = metric.MetricDescriptor_BOOL, metric.MetricDescriptor_INT64, metric.MetricDescriptor_DOUBLE
)

// byAligner are the results of the aligners of node a, by Google's names.
var byAligner = map[monitoringpb.Aggregation_Aligner]wanted{
	monitoringpb.Aggregation_ALIGN_NONE:           {"total", counter, whole, 210},
	monitoringpb.Aggregation_ALIGN_DELTA:          {"total", delta, whole, 150},
	monitoringpb.Aggregation_ALIGN_RATE:           {"total", gauge, real, 150. / 180},
	monitoringpb.Aggregation_ALIGN_INTERPOLATE:    {"level", gauge, real, 7},
	monitoringpb.Aggregation_ALIGN_NEXT_OLDER:     {"open", gauge, boolean, 1},
	monitoringpb.Aggregation_ALIGN_MIN:            {"level", gauge, real, 3},
	monitoringpb.Aggregation_ALIGN_MAX:            {"level", gauge, real, 7},
	monitoringpb.Aggregation_ALIGN_MEAN:           {"level", gauge, real, 5},
	monitoringpb.Aggregation_ALIGN_COUNT:          {"level", gauge, whole, 3},
	monitoringpb.Aggregation_ALIGN_SUM:            {"level", gauge, real, 15},
	monitoringpb.Aggregation_ALIGN_STDDEV:         {"level", gauge, real, math.Sqrt(8. / 3)},
	monitoringpb.Aggregation_ALIGN_COUNT_TRUE:     {"open", gauge, whole, 1},
	monitoringpb.Aggregation_ALIGN_COUNT_FALSE:    {"open", gauge, whole, 2},
	monitoringpb.Aggregation_ALIGN_FRACTION_TRUE:  {"open", gauge, real, 1. / 3},
	monitoringpb.Aggregation_ALIGN_PERCENTILE_99:  {"level", gauge, real, 6.96},
	monitoringpb.Aggregation_ALIGN_PERCENTILE_95:  {"level", gauge, real, 6.8},
	monitoringpb.Aggregation_ALIGN_PERCENTILE_50:  {"level", gauge, real, 5},
	monitoringpb.Aggregation_ALIGN_PERCENTILE_05:  {"level", gauge, real, 3.2},
	monitoringpb.Aggregation_ALIGN_PERCENT_CHANGE: {"level", gauge, real, 100. / 3}, // the means so far: 4 after 3
}

// byReducer are the results of the reducers over the newest points of both
// nodes: 7 and 17, and twice true.
var byReducer = map[monitoringpb.Aggregation_Reducer]wanted{
	monitoringpb.Aggregation_REDUCE_MEAN:          {"level", gauge, real, 12},
	monitoringpb.Aggregation_REDUCE_MIN:           {"level", gauge, real, 7},
	monitoringpb.Aggregation_REDUCE_MAX:           {"level", gauge, real, 17},
	monitoringpb.Aggregation_REDUCE_SUM:           {"level", gauge, real, 24},
	monitoringpb.Aggregation_REDUCE_STDDEV:        {"level", gauge, real, 5},
	monitoringpb.Aggregation_REDUCE_COUNT:         {"level", gauge, whole, 2},
	monitoringpb.Aggregation_REDUCE_COUNT_TRUE:    {"open", gauge, whole, 2},
	monitoringpb.Aggregation_REDUCE_COUNT_FALSE:   {"open", gauge, whole, 0},
	monitoringpb.Aggregation_REDUCE_FRACTION_TRUE: {"open", gauge, real, 1},
	monitoringpb.Aggregation_REDUCE_PERCENTILE_99: {"level", gauge, real, 16.9},
	monitoringpb.Aggregation_REDUCE_PERCENTILE_95: {"level", gauge, real, 16.5},
	monitoringpb.Aggregation_REDUCE_PERCENTILE_50: {"level", gauge, real, 12},
	monitoringpb.Aggregation_REDUCE_PERCENTILE_05: {"level", gauge, real, 7.5},
}

// Every aligner and every reducer that Google's library has a name for, and a
// secondary aggregation over the first.
func TestMetricClient_EveryAlignerAndReducer(t *testing.T) {
	t.Parallel()
	c, ctx := connect(t), t.Context()
	start := time.Now().Truncate(3 * time.Minute).Add(-9 * time.Minute)
	end := start.Add(6 * time.Minute)
	writeAggregated(t, func(req *monitoringpb.CreateTimeSeriesRequest) error { return c.CreateTimeSeries(ctx, req) }, start)
	f := func(want wanted, only string, aggregations ...*monitoringpb.Aggregation) {
		t.Helper()
		req := &monitoringpb.ListTimeSeriesRequest{
			Name: project, Filter: fmt.Sprintf("metric.type = %q", aggregated+want.metric) + only, Aggregation: aggregations[0],
			Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(start), EndTime: timestamppb.New(end)},
		}
		if len(aggregations) > 1 {
			req.SecondaryAggregation = aggregations[1]
		}
		got := all(t, c.ListTimeSeries(ctx, req).Next)
		require.Len(t, got, 1, "%v", aggregations)
		require.Equal(t, want.kind, got[0].GetMetricKind(), "%v", aggregations)
		require.Equal(t, want.typ, got[0].GetValueType(), "%v", aggregations)
		p := got[0].GetPoints()[0]
		require.Equal(t, end.Unix(), p.GetInterval().GetEndTime().GetSeconds(), "%v", aggregations)
		require.InDelta(t, want.value, number(p.GetValue()), 1e-9, "%v", aggregations)
	}
	period := durationpb.New(3 * time.Minute)
	for value := range monitoringpb.Aggregation_Aligner_name {
		aligner := monitoringpb.Aggregation_Aligner(value)
		a := &monitoringpb.Aggregation{AlignmentPeriod: period, PerSeriesAligner: aligner}
		if aligner == monitoringpb.Aggregation_ALIGN_NONE {
			a.AlignmentPeriod = nil
		}
		require.Contains(t, byAligner, aligner)
		f(byAligner[aligner], ` AND resource.labels.node_id = "a"`, a)
	}
	for value := range monitoringpb.Aggregation_Reducer_name {
		reducer := monitoringpb.Aggregation_Reducer(value)
		if reducer == monitoringpb.Aggregation_REDUCE_NONE {
			continue // which reduces nothing
		}
		require.Contains(t, byReducer, reducer)
		f(byReducer[reducer], "", &monitoringpb.Aggregation{
			AlignmentPeriod: period, PerSeriesAligner: monitoringpb.Aggregation_ALIGN_NEXT_OLDER,
			CrossSeriesReducer: reducer, GroupByFields: []string{"resource.labels.location"},
		})
	}
	// Of the means of each node, 3 and 5, 13 and 15, the greatest in six
	// minutes, and of those the sum.
	f(wanted{"level", gauge, real, 20}, "",
		&monitoringpb.Aggregation{
			AlignmentPeriod: period, PerSeriesAligner: monitoringpb.Aggregation_ALIGN_MEAN,
			CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_MEAN, GroupByFields: []string{"resource.labels.node_id"},
		},
		&monitoringpb.Aggregation{
			AlignmentPeriod: durationpb.New(6 * time.Minute), PerSeriesAligner: monitoringpb.Aggregation_ALIGN_MAX,
			CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_SUM,
		})
}
