package ingest_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	distributionpb "google.golang.org/genproto/googleapis/api/distribution"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/memory"
)

// request makes an event with a CreateTimeSeriesRequest.
func request(data string) ingest.Event {
	return ingest.Event{Data: []byte(data), Type: event.TypeTimeSeries}
}

// one makes a request with one series: its fields but for the points, and the
// points' values at noon.
func one(fields string, values ...string) ingest.Event {
	var points []string
	for _, v := range values {
		points = append(points, `{"interval":{"endTime":"2026-06-01T12:00:00Z"},"value":`+v+`}`)
	}
	return request(`{"name":"projects/p","timeSeries":[{` + fields + `,"points":[` + strings.Join(points, ",") + `]}]}`)
}

func TestTimeSeries_ReadsEveryPart(t *testing.T) {
	t.Parallel()
	d := newDecoder(t)
	for range 2 {
		require.Equal(t, []string{
			"m/load{cpu=0,host=a,resource=host,resource.zone=x} 1.5 @noon", "m/load{cpu=0,host=a,resource=host,resource.zone=x} 2.5 @noon-60000", "m/up 1 @noon+1",
		}, d.decode(t, request(`{"name": "projects/p", "timeSeries": [
			{"metric": {"type": "m/load", "labels": {"host": "a", "cpu": "0"}}, "resource": {"type": "host", "labels": {"zone": "x", "project_id": "p", "device_id": "d"}},
			 "metricKind": "GAUGE", "valueType": "DOUBLE", "unit": "1", "metadata": {"userLabels": {"x": "y"}},
			 "points": [
				{"interval": {"endTime": "2026-06-01T12:00:00.000999Z"}, "value": {"doubleValue": 1.5}},
				{"interval": {"startTime": "2026-06-01T13:59:00+02:00", "endTime": "2026-06-01T11:59:00Z"}, "value": {"doubleValue": "2.5"}}]},
			{"metric": {"type": "m/up"}, "points": [{"interval": {"endTime": "2026-06-01T12:00:00.001Z"}, "value": {"boolValue": true}}]}]}`)))
	}
	list, err := d.descriptors.List(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, []tsdb.Descriptor{
		{Project: "p", Type: "m/load", Kind: tsdb.Gauge, ValueType: tsdb.Double, Unit: "1"},
		{Project: "p", Type: "m/up", Kind: tsdb.Gauge, ValueType: tsdb.Bool},
	}, list)
}

func TestTimeSeries_Values(t *testing.T) {
	t.Parallel()
	f := func(value string, want ...string) {
		t.Helper()
		require.Equal(t, want, newDecoder(t).decode(t, one(`"metric":{"type":"m"}`, value)), value)
	}
	f(`{"doubleValue":-1.5e3}`, "m -1500 @noon")
	f(`{"double_value":"-1.5e3"}`, "m -1500 @noon")
	f(`{"doubleValue":"NaN"}`, "NOT_FINITE 1")
	f(`{"doubleValue":"-Infinity"}`, "NOT_FINITE 1")
	f(`{"int64Value":"42"}`, "m 42 @noon")
	f(`{"int64Value":42}`, "m 42 @noon")
	f(`{"int64Value":"9007199254740993"}`, "m 9.007199254740992e+15 @noon")
	f(`{"int64Value":-9223372036854775808}`, "m -9.223372036854776e+18 @noon")
	f(`{"int64Value":4.2e1}`, "m 42 @noon")
	f(`{"boolValue":false}`, "m 0 @noon")
	f(`{"distributionValue":{"count":"3","bucketCounts":["1","2"]}}`, "COUNTS_WITHOUT_BUCKETS 1")
	f(`{"distributionValue":{"count":-1}}`, "NEGATIVE_COUNT 1")
	f(`{"distributionValue":{"count":"3","bucketOptions":{"dynamicBuckets":{"compression":100,"means":[1,2.5]}},"bucketCounts":["1","2"]}}`, "COUNTS_WITHOUT_BUCKETS 1")
	f(`{"distributionValue":{"mean":"NaN"}}`, "NOT_FINITE 1")
	f(`{"distributionValue":null}`, "NO_VALUE 1")
	f(`{"distributionValue":{"range":null,"bucketOptions":null,"bucketCounts":null,"exemplars":null}}`, "m {} @noon")
	f(`{"distributionValue":{"exemplars":[{"value":1}]}}`, "m {} @noon", "EXEMPLAR_NOT_KEPT 1")
	f(`{"distributionValue":{"count":"2","mean":1,"exemplars":[{"value":1},{"value":2,"timestamp":"2025-01-02T03:04:05.678901Z","attachments":[
		{"label":{"k":"v"},"@type":"type.googleapis.com/google.monitoring.v3.DroppedLabels"},{"@type":"x/y","value":{"deep":[1]},"other":2},
		{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"text"},{"@type":"type.googleapis.com/google.monitoring.v3.SpanContext","spanName":"s"}]}]}}`,
		`m {"count":"2","mean":1,"exemplars":[{"value":2,"timestamp":"2025-01-02T03:04:05.678Z","attachments":[`+
			`{"@type":"type.googleapis.com/google.monitoring.v3.SpanContext","spanName":"s"},{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"text"},`+
			`{"@type":"type.googleapis.com/google.monitoring.v3.DroppedLabels","label":{"k":"v"}}]}]} @noon`, "EXEMPLAR_NOT_KEPT 1")
	for _, d := range []string{
		`{"count":"3","mean":2.5,"sumOfSquaredDeviation":1,"range":{"min":1,"max":4},"bucketOptions":{"linearBuckets":{"numFiniteBuckets":2,"width":2,"offset":-1}},"bucketCounts":["0","3"]}`,
		`{"count":"1","bucketOptions":{"exponentialBuckets":{"numFiniteBuckets":2,"growthFactor":2,"scale":0.5}},"bucketCounts":["1"]}`,
		`{"count":"1","bucketOptions":{"explicitBuckets":{"bounds":[-1,2.5]}},"bucketCounts":["0","0","1"]}`,
	} {
		f(`{"distributionValue":`+d+`}`, "m "+d+" @noon")
	}
	f(`{"stringValue":"x"}`, "STRING_NOT_SUPPORTED 1")
	f(`{}`, "NO_VALUE 1")
	f(`null`, "NO_VALUE 1")
	f(`{"doubleValue":null}`, "NO_VALUE 1")
}

func TestTimeSeries_OneBadPointLeavesTheOthers(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"m 1 @noon", "NEGATIVE_COUNT 1", "TYPE_CONFLICT 1", "NOT_FINITE 1"},
		newDecoder(t).decode(t, one(`"metric":{"type":"m"}`, `{"distributionValue":{"count":-1}}`, `{"doubleValue":1}`, `{"boolValue":true}`, `{"doubleValue":"Infinity"}`)))
}

func TestTimeSeries_Intervals(t *testing.T) {
	t.Parallel()
	f := func(kind, interval string, want ...string) {
		t.Helper()
		require.Equal(t, want, newDecoder(t).decode(t, request(`{"timeSeries":[{"metric":{"type":"m"},`+kind+`"points":[{"interval":`+interval+`,"value":{"doubleValue":1}}]}]}`)), interval)
	}
	const noonText, before, after = `"2026-06-01T12:00:00Z"`, `"2026-06-01T11:00:00Z"`, `"2026-06-01T13:00:00Z"`
	f(``, `{"endTime":`+noonText+`}`, "m 1 @noon")
	f(``, `{"end_time":`+noonText+`,"start_time":`+before+`}`, "m 1 @noon")
	f(`"metricKind":"CUMULATIVE",`, `{"endTime":`+noonText+`,"startTime":`+before+`}`, "m 1 @noon")
	f(`"metricKind":3,`, `{"endTime":`+noonText+`}`, "m 1 @noon")
	f(`"metricKind":"DELTA",`, `{"endTime":`+noonText+`,"startTime":`+after+`}`, "INVALID_INTERVAL 1")
	f(`"metric_kind":"GAUGE",`, `{"endTime":`+noonText+`,"startTime":`+noonText+`}`, "m 1 @noon")
	f(`"metricKind":"GAUGE",`, `{"endTime":`+noonText+`,"startTime":`+before+`}`, "INVALID_INTERVAL 1")
	f(``, `{"endTime":"noon"}`, "INVALID_INTERVAL 1")
	f(``, `{"endTime":`+noonText+`,"startTime":"then"}`, "INVALID_INTERVAL 1")
	f(``, `{}`, "INVALID_INTERVAL 1")
	f(``, `null`, "INVALID_INTERVAL 1")
}

func TestTimeSeries_KindsTypesAndUnits(t *testing.T) {
	t.Parallel()
	d := newDecoder(t, tsdb.Descriptor{Type: "counter", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "By"})
	f := func(fields, value string, want ...string) {
		t.Helper()
		require.Equal(t, want, d.decode(t, one(fields, value)), fields)
	}
	f(`"metric":{"type":"counter"}`, `{"int64Value":"3"}`, "counter 3 @noon")
	f(`"metric":{"type":"counter"},"metricKind":"METRIC_KIND_UNSPECIFIED","valueType":0`, `{"int64Value":"3"}`, "counter 3 @noon")
	f(`"metric":{"type":"counter"},"metricKind":"CUMULATIVE","valueType":"INT64","unit":"By"`, `{"int64Value":"3"}`, "counter 3 @noon")
	f(`"metric":{"type":"counter"}`, `{"doubleValue":3}`, "counter 3 @noon")
	f(`"metric":{"type":"counter"}`, `{"doubleValue":3.5}`, "TYPE_CONFLICT 1")
	f(`"metric":{"type":"counter"},"metricKind":"GAUGE"`, `{"int64Value":"3"}`, "KIND_CONFLICT 1")
	f(`"metric":{"type":"counter"},"unit":"bit"`, `{"int64Value":"3"}`, "UNIT_CONFLICT 1")
	f(`"metric":{"type":"counter"},"valueType":"DOUBLE"`, `{"int64Value":"3"}`, "TYPE_CONFLICT 1")
	f(`"metric":{"type":"counter"},"valueType":"DISTRIBUTION"`, `{"int64Value":"3"}`, "TYPE_CONFLICT 1")
	f(`"metric":{"type":"other"},"valueType":"INT64"`, `{"int64Value":"3"}`, "other 3 @noon")
	other, err := d.descriptors.Descriptor(t.Context(), "p", "other")
	require.NoError(t, err)
	require.Equal(t, tsdb.Int64, other.ValueType)
	f(`"metric":{"type":""}`, `{"int64Value":"3"}`, "INVALID_METRIC 1")
	f(`"resource":{"type":"device"}`, `{"int64Value":"3"}`, "INVALID_METRIC 1")
	f(`"metric":{"type":"m","labels":{"":"x"}}`, `{"int64Value":"3"}`, "INVALID_LABEL 1")
	f(`"metric":{"type":"m","labels":{"a":"`+strings.Repeat("x", 1025)+`"}}`, `{"int64Value":"3"}`, "INVALID_LABEL 1")
}

func TestTimeSeries_WritesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	f := func(resource string, want ...string) {
		t.Helper()
		require.Equal(t, want, newDecoder(t).decode(t, one(`"metric":{"type":"m"},"resource":`+resource, `{"doubleValue":1}`, `{"int64Value":1}`)), resource)
	}
	f(`{"type":"device","labels":{"project_id":"p","device_id":"d"}}`, "m 1 @noon")
	f(`{"type":"device","labels":{"project_id":"p"}}`, "m 1 @noon")
	f(`null`, "m 1 @noon")
	f(`{"type":"global"}`, "m{resource=global} 1 @noon")
	f(`{"type":"global","labels":{"project_id":"p"}}`, "m{resource=global} 1 @noon")
	f(`{"type":"device","labels":{"project_id":"q","device_id":"d"}}`, "FOREIGN_PROJECT 2")
	f(`{"type":"global","labels":{"project_id":"q"}}`, "FOREIGN_PROJECT 2")
	f(`{"type":"device","labels":{"device_id":"e"}}`, "FOREIGN_DEVICE 2")
	// The name counts for the whole request, wherever it stands.
	require.Equal(t, []string{"FOREIGN_PROJECT 1"}, newDecoder(t).decode(t, request(
		`{"timeSeries":[{"metric":{"type":"m"},"points":[{"interval":{"endTime":"2026-06-01T12:00:00Z"},"value":{"doubleValue":1}}]}],"name":"projects/q"}`)))
}

func TestTimeSeries_WithoutADevice(t *testing.T) {
	t.Parallel()
	e := one(`"metric":{"type":"m"},"resource":{"type":"device","labels":{"device_id":"e"}}`, `{"doubleValue":1}`)
	e.Project = "p"
	var b ingest.Batch
	require.NoError(t, newDecoder(t).Decode(t.Context(), &e, &b))
	require.Equal(t, []string{"m{resource.device_id=e} 1 @noon"}, lines(&b))
}

func TestTimeSeries_RefusesWhatIsNoRequest(t *testing.T) {
	t.Parallel()
	f := func(data, reason string) {
		t.Helper()
		require.Equal(t, reason, newDecoder(t).fails(t, request(data)), data)
	}
	f(``, "MALFORMED_TIME_SERIES")
	f(`[]`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":{}}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[1]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"metric":"m"}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"metricKind":"METER"}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"metricKind":4}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"metric":{"labels":{"a":1}}}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"doubleValue":true}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"doubleValue":"1x"}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"int64Value":1.5}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"int64Value":"9223372036854775808"}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"boolValue":"true"}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"distributionValue":1}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"distributionValue":{"count":1.5}}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"timeSeries":[{"points":[{"value":{"distributionValue":{"bucketCounts":[true]}}}]}]}`, "MALFORMED_TIME_SERIES")
	f(`{"name":"projects/p"}`, "NO_NUMERIC_FIELD")
	f(`{"timeSeries":[{"metric":{"type":"m"}}]}`, "NO_NUMERIC_FIELD")
}

// expected are the lines that the message stands for, by Google's types.
func expected(req *monitoringpb.CreateTimeSeriesRequest) (want []string) {
	losses := map[string]int{}
	for _, ts := range req.GetTimeSeries() {
		for _, p := range ts.GetPoints() {
			var v float64
			switch x := p.GetValue().GetValue().(type) {
			case *monitoringpb.TypedValue_BoolValue:
				if x.BoolValue {
					v = 1
				}
			case *monitoringpb.TypedValue_Int64Value:
				v = float64(x.Int64Value)
			case *monitoringpb.TypedValue_DoubleValue:
				v = x.DoubleValue
			case *monitoringpb.TypedValue_DistributionValue:
				losses["BUCKET_COUNTS_DO_NOT_SUM"]++
				continue
			}
			if math.IsNaN(v) || math.IsInf(v, 0) {
				losses["NOT_FINITE"]++
				continue
			}
			s := tsdb.Series{Metric: ts.GetMetric().GetType(), Resource: ts.GetResource().GetType(), MetricLabels: tsdb.LabelsOf(ts.GetMetric().GetLabels()), ResourceLabels: tsdb.LabelsOf(ts.GetResource().GetLabels())}
			want = append(want, fmt.Sprintf("%s%s %v @%s", s.Metric, labels(&s), v, at(tsdb.Millis(p.GetInterval().GetEndTime().AsTime().UnixMilli()))))
		}
	}
	for reason, n := range losses {
		want = append(want, fmt.Sprintf("%s %d", reason, n))
	}
	return want
}

// drawSeries makes up a series named by number, so that no two conflict.
func drawSeries(t *rapid.T, number int) *monitoringpb.TimeSeries {
	text := rapid.StringMatching(`[a-z é"\\<&]{1,8}`)
	ts := &monitoringpb.TimeSeries{
		Metric:   &metricpb.Metric{Type: fmt.Sprintf("m%d/%s", number, text.Draw(t, "type")), Labels: rapid.MapOfN(text, text, 0, 3).Draw(t, "labels")},
		Resource: &monitoredrespb.MonitoredResource{Type: "host", Labels: rapid.MapOfN(text, text, 0, 3).Draw(t, "resource")},
	}
	if rapid.Bool().Draw(t, "kind") {
		ts.MetricKind = metricpb.MetricDescriptor_CUMULATIVE
	}
	kind := rapid.IntRange(0, 2).Draw(t, "value type")
	if rapid.Bool().Draw(t, "typed") {
		ts.ValueType = metricpb.MetricDescriptor_ValueType(kind + 1)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "points") {
		p := &monitoringpb.Point{Interval: &monitoringpb.TimeInterval{EndTime: timestamppb.New(time.UnixMilli(int64(noon) + int64(i)).Add(time.Duration(rapid.IntRange(0, 999_999).Draw(t, "ns"))))}}
		switch kind {
		case 0:
			p.Value = &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_BoolValue{BoolValue: rapid.Bool().Draw(t, "bool")}}
		case 1:
			p.Value = &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: rapid.Int64().Draw(t, "int")}}
		default:
			p.Value = &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: rapid.OneOf(rapid.Float64(), rapid.Just(math.NaN()), rapid.Just(math.Inf(-1))).Draw(t, "double")}}
		}
		if rapid.IntRange(0, 9).Draw(t, "distribution") == 0 && ts.ValueType == 0 {
			p.Value = &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DistributionValue{DistributionValue: &distributionpb.Distribution{
				Count: 3, BucketCounts: []int64{1, 1}, Range: &distributionpb.Distribution_Range{Min: 1, Max: 2},
				BucketOptions: &distributionpb.Distribution_BucketOptions{Options: &distributionpb.Distribution_BucketOptions_ExplicitBuckets{
					ExplicitBuckets: &distributionpb.Distribution_BucketOptions_Explicit{Bounds: []float64{1, 2}},
				}},
			}}}
		}
		ts.Points = append(ts.Points, p)
	}
	return ts
}

func TestTimeSeries_AgreesWithProtoJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		req := &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p"}
		for i := range rapid.IntRange(0, 3).Draw(t, "series") {
			req.TimeSeries = append(req.TimeSeries, drawSeries(t, i))
		}
		data, err := protojson.MarshalOptions{
			UseProtoNames: rapid.Bool().Draw(t, "proto names"), UseEnumNumbers: rapid.Bool().Draw(t, "numbers"),
			EmitUnpopulated: rapid.Bool().Draw(t, "all fields"), Multiline: rapid.Bool().Draw(t, "lines"),
		}.Marshal(req)
		require.NoError(t, err)
		want := expected(req)
		e := request(string(data))
		var b ingest.Batch
		d := ingest.New(&memory.Descriptors{}, ingest.Options{MaxFuture: 100 * 365 * 24 * time.Hour})
		err = d.Decode(t.Context(), fill(&e), &b)
		if len(want) == 0 {
			require.Equal(t, "NO_NUMERIC_FIELD", fault.ReasonOf(err))
			return
		}
		require.NoError(t, err)
		got := lines(&b)
		slices.Sort(got)
		slices.Sort(want)
		require.Equal(t, want, got, "%s", data)
	})
}

func FuzzTimeSeries(f *testing.F) {
	for _, value := range []string{`{"doubleValue":1.5}`, `{"int64Value":"1e2"}`, `{"boolValue":true}`, `{"doubleValue":"NaN"}`, `{"distributionValue":{"count":"3"}}`, `{"distributionValue":{"count":1,"bucketOptions":{"explicitBuckets":{"bounds":[1]}},"bucketCounts":[1]}}`, `{"stringValue":"x"}`} {
		f.Add(one(`"metric":{"type":"m","labels":{"a":"b"}},"resource":{"type":"host"},"metricKind":"CUMULATIVE","value_type":2`, value).Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e := request(string(data))
		var b ingest.Batch
		err := newDecoder(t).Decode(t.Context(), fill(&e), &b)
		points := len(b.Samples)
		for _, l := range b.Losses {
			points += l.Count
		}
		// What Google's decoder takes is a request here too, with as many
		// points, up to those that replace another one.
		req := &monitoringpb.CreateTimeSeriesRequest{}
		if protojson.Unmarshal(data, req) != nil {
			return
		}
		if err != nil && fault.ReasonOf(err) != "NO_NUMERIC_FIELD" {
			t.Fatalf("%q is a request, but %v", data, err)
		}
		want := 0
		for _, ts := range req.GetTimeSeries() {
			want += len(ts.GetPoints())
		}
		if points > want || (points == 0) != (want == 0) {
			t.Fatalf("%q has %d points, but became %v", req.String(), want, lines(&b))
		}
	})
}
