package google

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	apiv3 "cloud.google.com/go/monitoring/apiv3/v2"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/api/label"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/tests/process"
)

// selvedge is the program under test, built once by TestMain; certFile and
// keyFile are a certificate that every client here trusts.
var selvedge, certFile, keyFile string

// TestMain builds the program.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		if selvedge, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
		if certFile, keyFile, err = process.Certificate(dir); err != nil {
			return err
		}
		return os.Setenv("SSL_CERT_FILE", certFile)
	}))
}

// bearer sends a key with every call.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity says that the key may go over a connection of this
// machine in the clear.
func (bearer) RequireTransportSecurity() bool { return false }

// start starts a platform.
func start(t *testing.T, args ...string) *process.Platform {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, selvedge, t.TempDir(), args...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
	return p
}

// dial makes Google's client.
func dial(t *testing.T, o ...option.ClientOption) *apiv3.MetricClient {
	t.Helper()
	c, err := apiv3.NewMetricClient(t.Context(), o...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// connect starts a platform without TLS and makes Google's client of it.
func connect(t *testing.T) *apiv3.MetricClient {
	t.Helper()
	return dial(t,
		option.WithEndpoint(strings.TrimPrefix(start(t).URL, "http://")),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(bearer(process.AdminKey))))
}

// project is the project that a platform begins with, sales the metric that is
// written to it.
const (
	project = "projects/default"
	sales   = "custom.googleapis.com/store/sales"
)

// point is a point of a counter that began at start.
func point(start, end time.Time, v int64) *monitoringpb.Point {
	return &monitoringpb.Point{
		Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(start), EndTime: timestamppb.New(end)},
		Value:    &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: v}},
	}
}

// series is a time series of a store.
func series(store string, points ...*monitoringpb.Point) *monitoringpb.TimeSeries {
	return &monitoringpb.TimeSeries{
		Metric:   &metric.Metric{Type: sales, Labels: map[string]string{"store": store}},
		Resource: &monitoredres.MonitoredResource{Type: "global", Labels: map[string]string{"project_id": "default"}},
		Points:   points,
	}
}

// all reads an iterator to its end.
func all[T any](t *testing.T, next func() (T, error)) []T {
	t.Helper()
	var out []T
	for {
		v, err := next()
		if errors.Is(err, iterator.Done) {
			return out
		}
		require.NoError(t, err)
		out = append(out, v)
	}
}

// The whole life of a metric, as a program has it that was written for Google's
// service.
func TestMetricClient(t *testing.T) {
	t.Parallel()
	c, ctx := connect(t), t.Context()
	made, err := c.CreateMetricDescriptor(ctx, &monitoringpb.CreateMetricDescriptorRequest{Name: project, MetricDescriptor: &metric.MetricDescriptor{
		Type: sales, MetricKind: metric.MetricDescriptor_CUMULATIVE, ValueType: metric.MetricDescriptor_INT64, Unit: "{sale}",
		Description: "Sales.", DisplayName: "Sales", Labels: []*label.LabelDescriptor{{Key: "store"}},
	}})
	require.NoError(t, err)
	require.Equal(t, project+"/metricDescriptors/"+sales, made.GetName())

	end := time.Now().Truncate(time.Minute)
	start := end.Add(-10 * time.Minute)
	for minute := range 11 {
		at := start.Add(time.Duration(minute) * time.Minute)
		var stores []*monitoringpb.TimeSeries
		for i, store := range []string{"north", "south"} {
			stores = append(stores, series(store, point(start.Add(-time.Minute), at, int64(minute*(i+1)*10))))
		}
		require.NoError(t, c.CreateTimeSeries(ctx, &monitoringpb.CreateTimeSeriesRequest{Name: project, TimeSeries: stores}))
	}

	// What is written can be read at once.
	req := &monitoringpb.ListTimeSeriesRequest{
		Name: project, Filter: `metric.type = "` + sales + `" AND metric.labels.store = one_of("north", "south")`,
		Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(start), EndTime: timestamppb.New(end)},
	}
	got := all(t, c.ListTimeSeries(ctx, req).Next)
	require.Len(t, got, 2)
	require.Len(t, got[0].GetPoints(), 10, "the start is not in the interval")
	require.Equal(t, int64(100), got[0].GetPoints()[0].GetValue().GetInt64Value())
	require.Equal(t, metric.MetricDescriptor_CUMULATIVE, got[0].GetMetricKind())

	// In pages, which the client asks for by itself.
	req.PageSize = 3
	points := 0
	for _, s := range all(t, c.ListTimeSeries(ctx, req).Next) {
		points += len(s.GetPoints())
	}
	require.Equal(t, 20, points)
	req.PageSize, req.View = 1, monitoringpb.ListTimeSeriesRequest_HEADERS
	require.Len(t, all(t, c.ListTimeSeries(ctx, req).Next), 2)

	// Sales of both stores in each half: 50 and 100.
	req.PageSize, req.View = 0, monitoringpb.ListTimeSeriesRequest_FULL
	req.Aggregation = &monitoringpb.Aggregation{
		AlignmentPeriod: durationpb.New(5 * time.Minute), PerSeriesAligner: monitoringpb.Aggregation_ALIGN_DELTA,
		CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_SUM,
	}
	got = all(t, c.ListTimeSeries(ctx, req).Next)
	require.Len(t, got, 1)
	require.Equal(t, metric.MetricDescriptor_DELTA, got[0].GetMetricKind())
	require.Len(t, got[0].GetPoints(), 2)
	require.Equal(t, int64(150), got[0].GetPoints()[0].GetValue().GetInt64Value())
	require.Equal(t, start.Add(5*time.Minute).UTC(), got[0].GetPoints()[0].GetInterval().GetStartTime().AsTime())

	descriptors := all(t, c.ListMetricDescriptors(ctx, &monitoringpb.ListMetricDescriptorsRequest{Name: project, Filter: `metric.type = starts_with("custom.googleapis.com/")`}).Next)
	require.Len(t, descriptors, 1)
	resources := all(t, c.ListMonitoredResourceDescriptors(ctx, &monitoringpb.ListMonitoredResourceDescriptorsRequest{Name: project, PageSize: 2}).Next)
	require.Len(t, resources, 5)
	global, err := c.GetMonitoredResourceDescriptor(ctx, &monitoringpb.GetMonitoredResourceDescriptorRequest{Name: project + "/monitoredResourceDescriptors/global"})
	require.NoError(t, err)
	require.Equal(t, "project_id", global.GetLabels()[0].GetKey())

	require.NoError(t, c.DeleteMetricDescriptor(ctx, &monitoringpb.DeleteMetricDescriptorRequest{Name: made.GetName()}))
	_, err = c.GetMetricDescriptor(ctx, &monitoringpb.GetMetricDescriptorRequest{Name: made.GetName()})
	require.Equal(t, codes.NotFound, status.Code(err), "%v", err)
}

// The client finds Google's own details in an error.
func TestMetricClient_PartialFailure(t *testing.T) {
	t.Parallel()
	c, ctx := connect(t), t.Context()
	now := time.Now()
	err := c.CreateTimeSeries(ctx, &monitoringpb.CreateTimeSeriesRequest{Name: project, TimeSeries: []*monitoringpb.TimeSeries{
		series("north", point(now, now, 1)), series("south", point(now, now.Add(-time.Hour), 2)),
	}})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	var summary *monitoringpb.CreateTimeSeriesSummary
	for _, d := range status.Convert(err).Details() {
		if s, ok := d.(*monitoringpb.CreateTimeSeriesSummary); ok {
			summary = s
		}
	}
	require.Equal(t, int32(2), summary.GetTotalPointCount())
	require.Equal(t, int32(1), summary.GetSuccessPointCount())
	require.Len(t, summary.GetErrors(), 1)

	it := c.ListTimeSeries(ctx, &monitoringpb.ListTimeSeriesRequest{
		Name: project, Filter: `metric.type = "` + sales + `"`,
		Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(now.Add(-time.Minute)), EndTime: timestamppb.New(now)},
	})
	require.Len(t, all(t, it.Next), 1, "the good one is kept")

	err = c.CreateServiceTimeSeries(ctx, &monitoringpb.CreateTimeSeriesRequest{Name: project})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	_, err = c.ListTimeSeries(ctx, &monitoringpb.ListTimeSeriesRequest{Name: project, Filter: `group.id = "x"`}).Next()
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, "there are no groups")
}
