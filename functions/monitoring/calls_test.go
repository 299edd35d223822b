package monitoring_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	apipb "google.golang.org/genproto/googleapis/api"
	"google.golang.org/genproto/googleapis/api/label"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/catalog"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// keys are who calls, by the key that he shows.
var keys = map[string]iam.Principal{
	"admin": {Kind: iam.Admin}, "p": {Kind: iam.Project, Project: "p"}, "q": {Kind: iam.Project, Project: "q"},
}

// door is a service on a port, with what is behind it.
type door struct {
	monitoringpb.MetricServiceClient
	url     string
	catalog *catalog.Catalog
	series  *memory.Store
}

// open opens a service on an empty catalog, which serves gRPC and REST.
func open(t *testing.T, change func(*monitoring.Service)) door {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"), catalog.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	c, err := catalog.New(t.Context(), db)
	require.NoError(t, err)
	series := memory.New(c)
	service := &monitoring.Service{
		Engine: query.New(series, query.Options{}), Descriptors: c, Resources: c, Series: series, Authorize: iam.Authorize,
	}
	if change != nil {
		change(service)
	}
	router := chi.NewRouter()
	router.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := keys[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
			next.ServeHTTP(w, r.WithContext(iam.WithPrincipal(r.Context(), p)))
		})
	})
	service.Routes(router)
	srv := httptest.NewUnstartedServer(router)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	conn, err := grpc.NewClient(strings.TrimPrefix(srv.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return door{monitoringpb.NewMetricServiceClient(conn), srv.URL, c, series}
}

// as is the context of calls with a key.
func as(t *testing.T, key string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key)
}

// stamp is a time so long after noon.
func stamp(after time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(after)) }

// double is a value.
func double(v float64) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: v}}
}

// point is a point so long after noon.
func point(after time.Duration, v *monitoringpb.TypedValue) *monitoringpb.Point {
	return &monitoringpb.Point{Interval: &monitoringpb.TimeInterval{EndTime: stamp(after)}, Value: v}
}

// series is a time series of a generic node of project p.
func series(typ, node string, points ...*monitoringpb.Point) *monitoringpb.TimeSeries {
	return &monitoringpb.TimeSeries{
		Metric:   &metric.Metric{Type: typ, Labels: map[string]string{"room": "r-" + node}},
		Resource: &monitoredres.MonitoredResource{Type: "generic_node", Labels: map[string]string{"node_id": node, "project_id": "p"}},
		Points:   points,
	}
}

// write writes series into project p, all of them.
func (d door) write(t *testing.T, all ...*monitoringpb.TimeSeries) {
	t.Helper()
	_, err := d.CreateTimeSeries(as(t, "p"), &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: all})
	require.NoError(t, err)
}

// hour asks for what a filter selects in the hour around noon.
func hour(text string) *monitoringpb.ListTimeSeriesRequest {
	return &monitoringpb.ListTimeSeriesRequest{
		Name: "projects/p", Filter: text,
		Interval: &monitoringpb.TimeInterval{StartTime: stamp(-30 * time.Minute), EndTime: stamp(30 * time.Minute)},
	}
}

// requireCode checks the code and the reason of a call's error, and returns its
// status.
func requireCode(t *testing.T, err error, code codes.Code, reason string) *status.Status {
	t.Helper()
	require.Error(t, err)
	s, ok := status.FromError(err)
	require.True(t, ok)
	require.Equal(t, code, s.Code(), "%v", err)
	require.NotEmpty(t, s.Details())
	info, ok := s.Details()[0].(*errdetails.ErrorInfo)
	require.True(t, ok)
	require.Equal(t, reason, info.GetReason(), "%v", err)
	require.Equal(t, fault.Domain, info.GetDomain())
	return s
}

func TestCalls_WriteAndList(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	d.write(t,
		series("temp", "a", point(0, double(20)), point(time.Minute, double(22)), point(2*time.Minute, double(24))),
		series("temp", "b", point(0, double(10)), point(time.Minute, double(12))))
	got, err := d.ListTimeSeries(as(t, "p"), hour(`metric.type = "temp"`))
	require.NoError(t, err)
	require.Len(t, got.GetTimeSeries(), 2)
	first := got.GetTimeSeries()[0]
	require.Equal(t, map[string]string{"node_id": "a", "project_id": "p"}, first.GetResource().GetLabels())
	require.Equal(t, "generic_node", first.GetResource().GetType())
	require.Equal(t, metric.MetricDescriptor_GAUGE, first.GetMetricKind())
	require.Equal(t, metric.MetricDescriptor_DOUBLE, first.GetValueType())
	require.InDelta(t, 24, first.GetPoints()[0].GetValue().GetDoubleValue(), 0, "the newest first")
	requireProto(t, &monitoringpb.TimeInterval{StartTime: stamp(2 * time.Minute), EndTime: stamp(2 * time.Minute)}, first.GetPoints()[0].GetInterval())

	req := hour(`metric.type = "temp"`)
	req.Interval.EndTime = stamp(2 * time.Minute)
	req.Aggregation = &monitoringpb.Aggregation{
		AlignmentPeriod: durationpb.New(5 * time.Minute), PerSeriesAligner: monitoringpb.Aggregation_ALIGN_MEAN,
		CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_SUM,
	}
	got, err = d.ListTimeSeries(as(t, "p"), req)
	require.NoError(t, err)
	require.Len(t, got.GetTimeSeries(), 1)
	require.Len(t, got.GetTimeSeries()[0].GetPoints(), 1)
	require.InDelta(t, 22+11, got.GetTimeSeries()[0].GetPoints()[0].GetValue().GetDoubleValue(), 0)

	// A second aggregation of what the first one made.
	req.Aggregation.CrossSeriesReducer = monitoringpb.Aggregation_REDUCE_NONE
	req.SecondaryAggregation = &monitoringpb.Aggregation{
		AlignmentPeriod: durationpb.New(5 * time.Minute), PerSeriesAligner: monitoringpb.Aggregation_ALIGN_MEAN,
		CrossSeriesReducer: monitoringpb.Aggregation_REDUCE_MAX,
	}
	got, err = d.ListTimeSeries(as(t, "p"), req)
	require.NoError(t, err)
	require.Len(t, got.GetTimeSeries(), 1)
	require.InDelta(t, 22, got.GetTimeSeries()[0].GetPoints()[0].GetValue().GetDoubleValue(), 0)

	req = hour(`metric.type = "temp"`)
	req.View = monitoringpb.ListTimeSeriesRequest_HEADERS
	got, err = d.ListTimeSeries(as(t, "p"), req)
	require.NoError(t, err)
	require.Len(t, got.GetTimeSeries(), 2)
	require.Empty(t, got.GetTimeSeries()[0].GetPoints())
}

// Pages tell what was there at the first of them once, whatever is written and
// removed between them.
func TestCalls_Pages(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	for _, node := range []string{"b", "d", "f"} {
		d.write(t, series("temp", node, point(0, double(1)), point(time.Minute, double(2)), point(2*time.Minute, double(3))))
	}
	req := hour(`metric.type = "temp"`)
	req.PageSize = 2
	seen := map[string]int{}
	for n := 0; n == 0 || req.PageToken != ""; n++ {
		require.Less(t, n, 20)
		page, err := d.ListTimeSeries(as(t, "p"), req)
		require.NoError(t, err)
		for _, s := range page.GetTimeSeries() {
			seen[s.GetResource().GetLabels()["node_id"]] += len(s.GetPoints())
		}
		d.write(t, series("temp", "a", point(time.Duration(n)*time.Second, double(1)))) // before all of them
		req.PageToken = page.GetNextPageToken()
		req.PageSize = 3
	}
	require.Equal(t, map[string]int{"b": 3, "d": 3, "f": 3}, seen)

	page, err := d.ListTimeSeries(as(t, "p"), &monitoringpb.ListTimeSeriesRequest{
		Name: req.Name, Filter: req.Filter, Interval: req.Interval, PageSize: 1,
	})
	require.NoError(t, err)
	other := hour(`metric.type = "other"`)
	other.PageToken = page.GetNextPageToken()
	_, err = d.ListTimeSeries(as(t, "p"), other)
	requireCode(t, err, codes.InvalidArgument, "INVALID_ARGUMENT")
}

// Every point has a verdict of its own, and the good ones are kept.
func TestCalls_PartialFailure(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	boolean := &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_BoolValue{BoolValue: true}}
	text := &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_StringValue{StringValue: "x"}}
	foreign := series("temp", "a", point(0, double(1)))
	foreign.Resource.Labels["project_id"] = "q"
	gauge := series("temp", "a", &monitoringpb.Point{Interval: &monitoringpb.TimeInterval{StartTime: stamp(0), EndTime: stamp(time.Minute)}, Value: double(1)})
	gauge.MetricKind = metric.MetricDescriptor_GAUGE
	delta := series("temp", "a", point(0, double(1)))
	delta.MetricKind = metric.MetricDescriptor_DELTA
	unlabelled := series("temp", "a", point(0, double(1)))
	unlabelled.Resource.Labels["shoe_size"] = "44"
	_, err := d.CreateTimeSeries(as(t, "p"), &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{
		series("temp", "a", point(0, double(20)), point(time.Minute, double(math.NaN())), point(2*time.Minute, double(22))),
		series("temp", "a", point(3*time.Minute, boolean), point(4*time.Minute, text)),
		series("temp", "a", point(time.Since(noon)+50*time.Hour, double(1)), &monitoringpb.Point{Value: double(1)}),
		series("", "a", point(0, double(1))),
		series("temp", "b", point(0, double(7))),
		foreign, gauge, delta, unlabelled,
	}})
	s := requireCode(t, err, codes.InvalidArgument, monitoring.PartlyWritten)
	require.Contains(t, s.Message(), "timeSeries[0].points[1]: the value NaN is not finite")
	var summary *monitoringpb.CreateTimeSeriesSummary
	verdicts := map[string]string{}
	for _, detail := range s.Details() {
		switch v := detail.(type) {
		case *monitoringpb.CreateTimeSeriesSummary:
			summary = v
		case *monitoringpb.CreateTimeSeriesError:
			//lint:ignore SA1019 no other field says why one point was refused
			why := v.GetStatus().GetDetails()
			require.Len(t, why, 1)
			info := &errdetails.ErrorInfo{}
			require.NoError(t, why[0].UnmarshalTo(info))
			verdicts[info.GetMetadata()["field"]] = info.GetReason()
		}
	}
	require.Equal(t, map[string]string{
		"timeSeries[0].points[1]": "NOT_FINITE", "timeSeries[1].points[0]": "TYPE_CONFLICT", "timeSeries[1].points[1]": "STRING_NOT_SUPPORTED",
		"timeSeries[2].points[0]": "TOO_FAR_IN_FUTURE", "timeSeries[2].points[1]": "INVALID_INTERVAL",
		"timeSeries[3].points[0]": "INVALID_METRIC", "timeSeries[5].points[0]": "FOREIGN_PROJECT", "timeSeries[6].points[0]": "INVALID_INTERVAL",
		"timeSeries[7].points[0]": "KIND_CONFLICT", "timeSeries[8].points[0]": "INVALID_LABEL",
	}, verdicts)
	require.Equal(t, int32(13), summary.GetTotalPointCount())
	require.Equal(t, int32(3), summary.GetSuccessPointCount())
	var refused int32
	for _, e := range summary.GetErrors() {
		refused += e.GetPointCount()
		require.NotEqual(t, int32(codes.OK), e.GetStatus().GetCode())
	}
	require.Equal(t, int32(10), refused)

	got, err := d.ListTimeSeries(as(t, "p"), hour(`metric.type = "temp"`))
	require.NoError(t, err)
	require.Len(t, got.GetTimeSeries(), 2)
	require.Len(t, got.GetTimeSeries()[0].GetPoints(), 2)
}

func TestCalls_MetricDescriptors(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	whole := &metric.MetricDescriptor{
		Type: "custom.googleapis.com/store/sales", MetricKind: metric.MetricDescriptor_CUMULATIVE, ValueType: metric.MetricDescriptor_INT64,
		Unit: "{USD}", Description: "Sales.", DisplayName: "Sales", LaunchStage: apipb.LaunchStage_BETA,
		Labels: []*label.LabelDescriptor{
			{Key: "store_id", ValueType: label.LabelDescriptor_INT64, Description: "The store."}, {Key: "vip", ValueType: label.LabelDescriptor_BOOL},
		},
		Metadata:               &metric.MetricDescriptor_MetricDescriptorMetadata{SamplePeriod: durationpb.New(time.Minute), IngestDelay: durationpb.New(time.Second)},
		MonitoredResourceTypes: []string{"generic_node"},
	}
	made, err := d.CreateMetricDescriptor(as(t, "p"), &monitoringpb.CreateMetricDescriptorRequest{Name: "projects/p", MetricDescriptor: whole})
	require.NoError(t, err)
	whole.Name = "projects/p/metricDescriptors/" + whole.GetType()
	requireProto(t, whole, made)
	got, err := d.GetMetricDescriptor(as(t, "p"), &monitoringpb.GetMetricDescriptorRequest{Name: whole.GetName()})
	require.NoError(t, err)
	requireProto(t, whole, got)

	// It is changed by creating it again; labels stay.
	again := &metric.MetricDescriptor{
		Type: whole.GetType(), MetricKind: whole.GetMetricKind(), ValueType: whole.GetValueType(), Unit: "1", Description: "New.",
		Labels: []*label.LabelDescriptor{{Key: "till"}},
	}
	got, err = d.CreateMetricDescriptor(as(t, "p"), &monitoringpb.CreateMetricDescriptorRequest{Name: "projects/p", MetricDescriptor: again})
	require.NoError(t, err)
	require.Equal(t, "New.", got.GetDescription())
	require.Equal(t, "1", got.GetUnit())
	require.Len(t, got.GetLabels(), 3)
	again.ValueType = metric.MetricDescriptor_DOUBLE
	_, err = d.CreateMetricDescriptor(as(t, "p"), &monitoringpb.CreateMetricDescriptorRequest{Name: "projects/p", MetricDescriptor: again})
	requireCode(t, err, codes.InvalidArgument, "DESCRIPTOR_CONFLICT")

	// The first point makes one too, with the labels that it has.
	d.write(t, series("temp", "a", point(0, double(1))))
	got, err = d.GetMetricDescriptor(as(t, "p"), &monitoringpb.GetMetricDescriptorRequest{Name: "projects/p/metricDescriptors/temp"})
	require.NoError(t, err)
	require.Equal(t, "room", got.GetLabels()[0].GetKey())
	labelled := series("temp", "a", point(0, double(1)))
	labelled.Metric.Labels["floor"] = "1"
	d.write(t, labelled)
	list, err := d.ListMetricDescriptors(as(t, "p"), &monitoringpb.ListMetricDescriptorsRequest{Name: "projects/p", PageSize: 1})
	require.NoError(t, err)
	require.Len(t, list.GetMetricDescriptors(), 1)
	list, err = d.ListMetricDescriptors(as(t, "p"), &monitoringpb.ListMetricDescriptorsRequest{Name: "projects/p", PageToken: list.GetNextPageToken()})
	require.NoError(t, err)
	require.Len(t, list.GetMetricDescriptors(), 1)
	require.Len(t, list.GetMetricDescriptors()[0].GetLabels(), 2, "labels are added as they are seen")

	_, err = d.DeleteMetricDescriptor(as(t, "p"), &monitoringpb.DeleteMetricDescriptorRequest{Name: whole.GetName()})
	require.NoError(t, err)
	_, err = d.GetMetricDescriptor(as(t, "p"), &monitoringpb.GetMetricDescriptorRequest{Name: whole.GetName()})
	requireCode(t, err, codes.NotFound, "NOT_FOUND")
	_, err = d.DeleteMetricDescriptor(as(t, "p"), &monitoringpb.DeleteMetricDescriptorRequest{Name: whole.GetName()})
	requireCode(t, err, codes.NotFound, "NOT_FOUND")
}

func TestCalls_ResourceDescriptors(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	own := series("temp", "a", point(0, double(1)))
	own.Resource = &monitoredres.MonitoredResource{Type: "boiler", Labels: map[string]string{"plant": "x"}}
	d.write(t, own)
	list, err := d.ListMonitoredResourceDescriptors(as(t, "p"), &monitoringpb.ListMonitoredResourceDescriptorsRequest{Name: "projects/p"})
	require.NoError(t, err)
	var types []string
	for _, r := range list.GetResourceDescriptors() {
		types = append(types, r.GetType())
	}
	require.Equal(t, []string{"boiler", "device", "generic_node", "generic_task", "global", "prometheus_target"}, types)
	got, err := d.GetMonitoredResourceDescriptor(as(t, "p"), &monitoringpb.GetMonitoredResourceDescriptorRequest{Name: "projects/p/monitoredResourceDescriptors/boiler"})
	require.NoError(t, err)
	requireProto(t, &monitoredres.MonitoredResourceDescriptor{
		Name: "projects/p/monitoredResourceDescriptors/boiler", Type: "boiler", Labels: []*label.LabelDescriptor{{Key: "plant"}},
	}, got)
	_, err = d.GetMonitoredResourceDescriptor(as(t, "q"), &monitoringpb.GetMonitoredResourceDescriptorRequest{Name: "projects/q/monitoredResourceDescriptors/boiler"})
	requireCode(t, err, codes.NotFound, "NOT_FOUND")
	list, err = d.ListMonitoredResourceDescriptors(as(t, "p"), &monitoringpb.ListMonitoredResourceDescriptorsRequest{
		Name: "projects/p", Filter: `resource.type = starts_with("g")`, PageSize: 2,
	})
	require.NoError(t, err)
	require.Len(t, list.GetResourceDescriptors(), 2)
	require.NotEmpty(t, list.GetNextPageToken())
}

// Whoever has the key of one project can neither read nor write another's, by
// any method, and learns nothing about what is there.
func TestCalls_Isolation(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	d.write(t, series("temp", "a", point(0, double(1))))
	f := func(key string, code codes.Code, reason string) {
		t.Helper()
		ctx := as(t, key)
		_, err := d.ListTimeSeries(ctx, hour(`metric.type = "temp"`))
		requireCode(t, err, code, reason)
		_, err = d.CreateTimeSeries(ctx, &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{series("temp", "a", point(0, double(9)))}})
		requireCode(t, err, code, reason)
		_, err = d.CreateServiceTimeSeries(ctx, &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p"})
		requireCode(t, err, code, reason)
		_, err = d.ListMetricDescriptors(ctx, &monitoringpb.ListMetricDescriptorsRequest{Name: "projects/p"})
		requireCode(t, err, code, reason)
		_, err = d.CreateMetricDescriptor(ctx, &monitoringpb.CreateMetricDescriptorRequest{Name: "projects/p"})
		requireCode(t, err, code, reason)
		_, err = d.ListMonitoredResourceDescriptors(ctx, &monitoringpb.ListMonitoredResourceDescriptorsRequest{Name: "projects/p"})
		requireCode(t, err, code, reason)
		for _, metric := range []string{"temp", "none"} { // the same answer for both
			_, err = d.GetMetricDescriptor(ctx, &monitoringpb.GetMetricDescriptorRequest{Name: "projects/p/metricDescriptors/" + metric})
			requireCode(t, err, code, reason)
			_, err = d.DeleteMetricDescriptor(ctx, &monitoringpb.DeleteMetricDescriptorRequest{Name: "projects/p/metricDescriptors/" + metric})
			requireCode(t, err, code, reason)
			_, err = d.GetMonitoredResourceDescriptor(ctx, &monitoringpb.GetMonitoredResourceDescriptorRequest{Name: "projects/p/monitoredResourceDescriptors/" + metric})
			requireCode(t, err, code, reason)
		}
	}
	f("q", codes.PermissionDenied, "PERMISSION_DENIED")
	f("", codes.Unauthenticated, "UNAUTHENTICATED")

	// In its own project it sees its own, whatever its filter names.
	for _, text := range []string{`project = "p"`, `project = "p" OR project = "q"`, `resource.labels.project_id = "p"`, `metric.type = "temp"`} {
		req := hour(text)
		req.Name = "projects/q"
		got, err := d.ListTimeSeries(as(t, "q"), req)
		require.NoError(t, err)
		require.Empty(t, got.GetTimeSeries(), text)
	}
	list, err := d.ListMetricDescriptors(as(t, "q"), &monitoringpb.ListMetricDescriptorsRequest{Name: "projects/q"})
	require.NoError(t, err)
	require.Empty(t, list.GetMetricDescriptors())
}

func TestCalls_Refused(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	f := func(field string, change func(*monitoringpb.ListTimeSeriesRequest)) {
		t.Helper()
		req := hour(`metric.type = "temp"`)
		change(req)
		_, err := d.ListTimeSeries(as(t, "admin"), req)
		s, _ := status.FromError(err)
		require.Equal(t, codes.InvalidArgument, s.Code(), "%v", err)
		info, ok := s.Details()[0].(*errdetails.ErrorInfo)
		require.True(t, ok)
		require.Equal(t, field, info.GetMetadata()["field"], "%v", err)
	}
	for _, name := range []string{"", "p", "projects/", "projects/p/x", "organizations/1", "folders/1"} {
		f("name", func(r *monitoringpb.ListTimeSeriesRequest) { r.Name = name })
	}
	f("filter", func(r *monitoringpb.ListTimeSeriesRequest) { r.Filter = "" })
	f("filter", func(r *monitoringpb.ListTimeSeriesRequest) { r.Filter = `group.id = "g"` })
	f("interval.endTime", func(r *monitoringpb.ListTimeSeriesRequest) { r.Interval = nil })
	f("interval.endTime", func(r *monitoringpb.ListTimeSeriesRequest) { r.Interval.EndTime = &timestamppb.Timestamp{Nanos: -1} })
	f("interval.startTime", func(r *monitoringpb.ListTimeSeriesRequest) { r.Interval.StartTime = stamp(time.Hour) })
	f("orderBy", func(r *monitoringpb.ListTimeSeriesRequest) { r.OrderBy = "metric.type" })
	f("pageSize", func(r *monitoringpb.ListTimeSeriesRequest) { r.PageSize = -1 })
	f("pageToken", func(r *monitoringpb.ListTimeSeriesRequest) { r.PageToken = "x" })
	f("view", func(r *monitoringpb.ListTimeSeriesRequest) { r.View = 7 })
	f("aggregation.perSeriesAligner", func(r *monitoringpb.ListTimeSeriesRequest) {
		r.Aggregation = &monitoringpb.Aggregation{AlignmentPeriod: durationpb.New(time.Minute), PerSeriesAligner: 99}
	})
	f("aggregation.alignmentPeriod", func(r *monitoringpb.ListTimeSeriesRequest) {
		r.Aggregation = &monitoringpb.Aggregation{AlignmentPeriod: &durationpb.Duration{Seconds: 1, Nanos: -1}, PerSeriesAligner: monitoringpb.Aggregation_ALIGN_MEAN}
	})
	f("aggregation.alignmentPeriod", func(r *monitoringpb.ListTimeSeriesRequest) {
		r.Aggregation = &monitoringpb.Aggregation{PerSeriesAligner: monitoringpb.Aggregation_ALIGN_MEAN}
	})
	f("secondaryAggregation", func(r *monitoringpb.ListTimeSeriesRequest) {
		r.SecondaryAggregation = &monitoringpb.Aggregation{AlignmentPeriod: durationpb.New(time.Minute), PerSeriesAligner: monitoringpb.Aggregation_ALIGN_MEAN}
	})

	g := func(field string, change func(*metric.MetricDescriptor)) {
		t.Helper()
		m := &metric.MetricDescriptor{Type: "m", MetricKind: metric.MetricDescriptor_GAUGE, ValueType: metric.MetricDescriptor_DOUBLE}
		change(m)
		_, err := d.CreateMetricDescriptor(as(t, "p"), &monitoringpb.CreateMetricDescriptorRequest{Name: "projects/p", MetricDescriptor: m})
		s, _ := status.FromError(err)
		require.Equal(t, codes.InvalidArgument, s.Code(), "%v", err)
		info, ok := s.Details()[0].(*errdetails.ErrorInfo)
		require.True(t, ok)
		require.Equal(t, "metricDescriptor."+field, info.GetMetadata()["field"], "%v", err)
	}
	g("type", func(m *metric.MetricDescriptor) { m.Type = "" })
	g("name", func(m *metric.MetricDescriptor) { m.Name = "projects/q/metricDescriptors/m" })
	g("metricKind", func(m *metric.MetricDescriptor) { m.MetricKind = 0 })
	g("valueType", func(m *metric.MetricDescriptor) { m.ValueType = metric.MetricDescriptor_MONEY })
	g("valueType", func(m *metric.MetricDescriptor) {
		m.MetricKind, m.ValueType = metric.MetricDescriptor_CUMULATIVE, metric.MetricDescriptor_BOOL
	})
	g("unit", func(m *metric.MetricDescriptor) { m.Unit = strings.Repeat("m", 100) })
	g("launchStage", func(m *metric.MetricDescriptor) { m.LaunchStage = 99 })
	g("labels", func(m *metric.MetricDescriptor) { m.Labels = []*label.LabelDescriptor{{Key: "a"}, {Key: "a"}} })
	g("metadata.samplePeriod", func(m *metric.MetricDescriptor) {
		m.Metadata = &metric.MetricDescriptor_MetricDescriptorMetadata{SamplePeriod: durationpb.New(-1)}
	})

	for _, all := range [][]*monitoringpb.TimeSeries{nil, {series("m", "a")}} {
		_, err := d.CreateTimeSeries(as(t, "p"), &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: all})
		requireCode(t, err, codes.InvalidArgument, "INVALID_ARGUMENT")
	}
	_, err := d.CreateServiceTimeSeries(as(t, "p"), &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p"})
	requireCode(t, err, codes.Unimplemented, "NO_SERVICE_METRICS")
}

// unsynced is a store whose syncs fail.
type unsynced struct{ *memory.Store }

// Sync implements monitoring.Series.
func (unsynced) Sync(context.Context) error { return &fault.Error{Kind: fault.Unavailable} }

// Points of which nobody knows whether they are durable are not acknowledged.
func TestCalls_NotDurable(t *testing.T) {
	t.Parallel()
	d := open(t, func(s *monitoring.Service) { s.Series = unsynced{memory.New(nil)} })
	_, err := d.CreateTimeSeries(as(t, "p"), &monitoringpb.CreateTimeSeriesRequest{
		Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{series("m", "a", point(0, double(1)))},
	})
	requireCode(t, err, codes.Unavailable, "UNAVAILABLE")
}

// Deleting a metric deletes its points first.
func TestCalls_DeleteErases(t *testing.T) {
	t.Parallel()
	var erased []string
	d := open(t, func(s *monitoring.Service) {
		s.Erase = func(_ context.Context, project, metric string) error {
			erased = append(erased, project+"/"+metric)
			return nil
		}
	})
	_, err := d.catalog.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "m"})
	require.NoError(t, err)
	_, err = d.DeleteMetricDescriptor(as(t, "p"), &monitoringpb.DeleteMetricDescriptorRequest{Name: "projects/p/metricDescriptors/m"})
	require.NoError(t, err)
	require.Equal(t, []string{"p/m"}, erased)
}
