package monitoring_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	distributionpb "google.golang.org/genproto/googleapis/api/distribution"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/sdk/function"
)

// distributionValue is a value.
func distributionValue(d *distributionpb.Distribution) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DistributionValue{DistributionValue: d}}
}

// explicit is a distribution with the bounds 0, 10 and 20.
func explicit(count int64, mean float64, counts ...int64) *distributionpb.Distribution {
	return &distributionpb.Distribution{
		Count: count, Mean: mean, BucketCounts: counts,
		BucketOptions: &distributionpb.Distribution_BucketOptions{Options: &distributionpb.Distribution_BucketOptions_ExplicitBuckets{
			ExplicitBuckets: &distributionpb.Distribution_BucketOptions_Explicit{Bounds: []float64{0, 10, 20}},
		}},
	}
}

// distributions are one of every form.
func distributions() []*distributionpb.Distribution {
	linear, exponential := explicit(3, 7.25, 1, 0, 2), explicit(2, 0.5, 0, 1, 0, 1)
	linear.SumOfSquaredDeviation = 12.5
	linear.BucketOptions.Options = &distributionpb.Distribution_BucketOptions_LinearBuckets{
		LinearBuckets: &distributionpb.Distribution_BucketOptions_Linear{NumFiniteBuckets: 3, Width: 2.5, Offset: -1},
	}
	exponential.Range = &distributionpb.Distribution_Range{Min: -1, Max: 2}
	exponential.BucketOptions.Options = &distributionpb.Distribution_BucketOptions_ExponentialBuckets{
		ExponentialBuckets: &distributionpb.Distribution_BucketOptions_Exponential{NumFiniteBuckets: 4, GrowthFactor: 1.5, Scale: 0.001},
	}
	return []*distributionpb.Distribution{
		explicit(3, 5, 0, 3), linear, exponential,
		{},
		{Count: 2, Mean: -3, SumOfSquaredDeviation: 2, Range: &distributionpb.Distribution_Range{Min: -4, Max: -2}},
	}
}

// list asks for the time series of a filter over gRPC.
func (d door) list(t *testing.T, aggregation *monitoringpb.Aggregation) *monitoringpb.ListTimeSeriesResponse {
	t.Helper()
	got, err := d.ListTimeSeries(as(t, "p"), &monitoringpb.ListTimeSeriesRequest{
		Name: "projects/p", Filter: `resource.type = "generic_node"`, Aggregation: aggregation,
		Interval: &monitoringpb.TimeInterval{StartTime: stamp(-time.Hour), EndTime: stamp(time.Hour)},
	})
	require.NoError(t, err)
	return got
}

// restList is list over REST.
func (d door) restList(t *testing.T, params url.Values) []byte {
	t.Helper()
	params.Set("filter", `resource.type = "generic_node"`)
	params.Set("interval.startTime", noon.Add(-time.Hour).Format(time.RFC3339))
	params.Set("interval.endTime", noon.Add(time.Hour).Format(time.RFC3339))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/v3/projects/p/timeSeries?"+params.Encode(), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer p")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	return body
}

// SPEC A6: distributions come back as they were written, over gRPC and REST.
func TestDistributions_ComeBack(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	var points []*monitoringpb.Point
	all := distributions()
	for i, x := range all {
		points = append(points, point(time.Duration(i)*time.Minute, distributionValue(x)))
	}
	d.write(t, series("lat/ency", "n", points...))

	descriptor, err := d.GetMetricDescriptor(as(t, "p"), &monitoringpb.GetMetricDescriptorRequest{Name: "projects/p/metricDescriptors/lat/ency"})
	require.NoError(t, err)
	require.Equal(t, metric.MetricDescriptor_DISTRIBUTION, descriptor.GetValueType())

	got := d.list(t, nil)
	require.Len(t, got.GetTimeSeries(), 1)
	require.Equal(t, metric.MetricDescriptor_DISTRIBUTION, got.GetTimeSeries()[0].GetValueType())
	require.Len(t, got.GetTimeSeries()[0].GetPoints(), len(all))
	for i, p := range got.GetTimeSeries()[0].GetPoints() {
		want := all[len(all)-1-i]
		require.True(t, proto.Equal(want, p.GetValue().GetDistributionValue()), "%v\n%v", want, p)
	}

	overREST := &monitoringpb.ListTimeSeriesResponse{}
	require.NoError(t, protojson.Unmarshal(d.restList(t, url.Values{}), overREST))
	require.True(t, proto.Equal(got, overREST), "%v\n%v", got, overREST)
}

// Every point gets its own verdict, with the reason.
func TestDistributions_Verdicts(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	short := explicit(3, 5, 0, 2)
	unordered := explicit(0, 0)
	unordered.BucketOptions.GetExplicitBuckets().Bounds = []float64{1, 1}
	_, err := d.CreateTimeSeries(as(t, "p"), &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{
		series("m", "n", point(0, distributionValue(short)), point(time.Minute, distributionValue(explicit(1, 5, 0, 1))),
			point(2*time.Minute, distributionValue(unordered)), point(3*time.Minute, double(1))),
		series("other", "n", point(0, double(1))),
	}})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, "timeSeries[0].points[0]: the counts of the buckets do not add up to the count, 3")
	require.ErrorContains(t, err, "timeSeries[0].points[2]: bound 1 is 1, after 1")
	require.ErrorContains(t, err, "timeSeries[0].points[3]: the metric is of type DISTRIBUTION, the value of type DOUBLE")
	require.Len(t, d.list(t, nil).GetTimeSeries(), 2, "the others are written")
}

// The aligners and reducers of distributions, as clients ask for them.
func TestDistributions_Aligned(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	d.write(t,
		series("m", "a", point(time.Minute, distributionValue(explicit(2, 5, 0, 2))), point(2*time.Minute, distributionValue(explicit(1, 15, 0, 0, 1)))),
		series("m", "b", point(time.Minute, distributionValue(explicit(1, 15, 0, 0, 1)))))
	got := d.list(t, &monitoringpb.Aggregation{
		AlignmentPeriod: durationpb.New(time.Hour), PerSeriesAligner: monitoringpb.Aggregation_ALIGN_SUM, CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_SUM,
	})
	require.Len(t, got.GetTimeSeries(), 1)
	sum := got.GetTimeSeries()[0].GetPoints()[0].GetValue().GetDistributionValue()
	require.Equal(t, []int64{0, 2, 2}, sum.GetBucketCounts())
	require.InDelta(t, 10, sum.GetMean(), 1e-9)
	require.InDelta(t, 100, sum.GetSumOfSquaredDeviation(), 1e-9)

	got = d.list(t, &monitoringpb.Aggregation{
		AlignmentPeriod: durationpb.New(time.Hour), PerSeriesAligner: monitoringpb.Aggregation_ALIGN_PERCENTILE_50,
	})
	require.Equal(t, metric.MetricDescriptor_DOUBLE, got.GetTimeSeries()[0].GetValueType())
	require.InDelta(t, 7.5, got.GetTimeSeries()[0].GetPoints()[0].GetValue().GetDoubleValue(), 1e-9)

	d.write(t, series("n", "a", point(time.Minute, double(1)), point(2*time.Minute, double(3))))
	body := d.restList(t, url.Values{"aggregation.alignmentPeriod": {"3600s"}, "aggregation.perSeriesAligner": {"ALIGN_SUMMARY"}})
	var answer struct {
		TimeSeries []struct {
			Metric    struct{ Type string }
			ValueType string
			Points    []struct {
				Value struct{ DistributionValue json.RawMessage }
			}
		}
	}
	require.NoError(t, json.Unmarshal(body, &answer))
	require.Len(t, answer.TimeSeries, 3)
	for _, s := range answer.TimeSeries {
		require.Equal(t, "DISTRIBUTION", s.ValueType)
		if s.Metric.Type == "n" {
			require.JSONEq(t, `{"count":"2","mean":2,"sumOfSquaredDeviation":2,"range":{"min":1,"max":3},
				"bucketOptions":{"dynamicBuckets":{"compression":100,"means":[1,3]}},"bucketCounts":["1","1"]}`, string(s.Points[0].Value.DistributionValue))
		}
	}
}

// exemplar is one with all that Google attaches.
func exemplar(t *testing.T, value float64, more ...proto.Message) *distributionpb.Distribution_Exemplar {
	t.Helper()
	x := &distributionpb.Distribution_Exemplar{Value: value, Timestamp: stamp(-time.Duration(value) * time.Millisecond)}
	for _, m := range more {
		a := &anypb.Any{}
		require.NoError(t, anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}))
		x.Attachments = append(x.Attachments, a)
	}
	return x
}

// SPEC A6: exemplars come back with their points, over gRPC and REST, and of
// those points that become one the newest of each bucket.
func TestDistributions_Exemplars(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	low, high := explicit(3, 5, 0, 3), explicit(2, 12, 0, 0, 2)
	low.Exemplars = []*distributionpb.Distribution_Exemplar{
		exemplar(t, 4, &monitoringpb.SpanContext{SpanName: "projects/p/traces/0123456789abcdef0123456789abcdef/spans/0123456789abcdef"},
			wrapperspb.String("é\"\n"), &monitoringpb.DroppedLabels{Label: map[string]string{"user": "u", "a": ""}}),
	}
	high.Exemplars = []*distributionpb.Distribution_Exemplar{exemplar(t, 11, &monitoringpb.SpanContext{SpanName: "a span of another form"}), exemplar(t, 25)}
	d.write(t, series("m", "n", point(0, distributionValue(low)), point(time.Minute, distributionValue(high))))
	got := d.list(t, nil)
	points := got.GetTimeSeries()[0].GetPoints()
	require.Len(t, points, 2)
	require.True(t, proto.Equal(high, points[0].GetValue().GetDistributionValue()), "%v", points[0])
	require.True(t, proto.Equal(low, points[1].GetValue().GetDistributionValue()), "%v", points[1])
	overREST := &monitoringpb.ListTimeSeriesResponse{}
	require.NoError(t, protojson.Unmarshal(d.restList(t, url.Values{}), overREST))
	restPoint := overREST.GetTimeSeries()[0].GetPoints()[1].GetValue().GetDistributionValue()
	require.Len(t, restPoint.GetExemplars(), 1)
	for i, a := range low.GetExemplars()[0].GetAttachments() { // whose labels protojson writes in any order
		want, err := a.UnmarshalNew()
		require.NoError(t, err)
		attached, err := restPoint.GetExemplars()[0].GetAttachments()[i].UnmarshalNew()
		require.NoError(t, err)
		require.True(t, proto.Equal(want, attached), "%v\n%v", want, attached)
	}

	sum := d.list(t, &monitoringpb.Aggregation{PerSeriesAligner: monitoringpb.Aggregation_ALIGN_SUM, AlignmentPeriod: durationpb.New(2 * time.Hour)})
	merged := sum.GetTimeSeries()[0].GetPoints()[0].GetValue().GetDistributionValue()
	require.Equal(t, int64(5), merged.GetCount())
	require.Len(t, merged.GetExemplars(), 3)
	require.True(t, proto.Equal(low.GetExemplars()[0], merged.GetExemplars()[0]))
}

// What is more than is kept of exemplars is counted, and the point is no loss.
func TestDistributions_ExemplarsNotKept(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	body := `{"timeSeries":[{"metric":{"type":"m"},"resource":{"type":"generic_node","labels":{"node_id":"n"}},"points":[{"interval":{"endTime":"` +
		noon.Format(time.RFC3339) + `"},"value":{"distributionValue":{"count":"1","mean":2,"exemplars":[{"value":3},{"value":2,"timestamp":"` + noon.Format(time.RFC3339) +
		`","attachments":[{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}]}]}}}]}]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/v3/projects/p/timeSeries", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer p")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, monitoring.ExemplarNotKept+"=2", resp.Header.Get(function.LossesHeader), "the attachment and the older one")
	p := d.list(t, nil).GetTimeSeries()[0].GetPoints()[0].GetValue().GetDistributionValue()
	require.True(t, proto.Equal(&distributionpb.Distribution{
		Count: 1, Mean: 2, Exemplars: []*distributionpb.Distribution_Exemplar{{Value: 2, Timestamp: stamp(0)}},
	}, p), "%v", p)
}
