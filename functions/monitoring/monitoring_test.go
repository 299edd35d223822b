package monitoring_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// noon is when the last points of the tests are.
var noon = time.Date(2025, time.June, 1, 12, 0, 0, 0, time.UTC)

// temperature is the metric that most tests read.
const temperature = "com.example.climate/temperature"

// server serves project "p", in which two devices told their temperature in
// the five minutes before noon, and one its uptime and its door.
func server(t *testing.T, change func(*monitoring.Service)) *httptest.Server {
	t.Helper()
	ds := &memory.Descriptors{}
	store := memory.New(ds)
	add := func(d tsdb.Descriptor, device string, values ...float64) {
		d.Project = "p"
		_, err := ds.Ensure(t.Context(), d)
		require.NoError(t, err)
		s := &tsdb.Series{
			Project: "p", Metric: d.Type, Resource: "device",
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: device}, {Name: "project_id", Value: "p"}},
		}
		for i, v := range values {
			at := noon.Add(-time.Duration(len(values)-1-i) * time.Minute)
			require.NoError(t, store.Append(t.Context(), []tsdb.Sample{{Series: s, Time: tsdb.Millis(at.UnixMilli()), Value: v}}))
		}
	}
	add(tsdb.Descriptor{Type: temperature, Unit: "Cel"}, "d1", 20, 21, 22.5, 24, 25)
	add(tsdb.Descriptor{Type: temperature, Unit: "Cel"}, "d2", 10, 11, 12, 13, 14)
	add(tsdb.Descriptor{Type: "uptime", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "s"}, "d1", 60, 120, 30, 90)
	add(tsdb.Descriptor{Type: "door", ValueType: tsdb.Bool}, "d1", 0, 1)
	service := &monitoring.Service{
		Engine: query.New(store, query.Options{}), Descriptors: ds,
		Authorize: func(*http.Request, string, string) error { return nil },
	}
	if change != nil {
		change(service)
	}
	router := chi.NewRouter()
	service.Routes(router)
	srv := httptest.NewServer(router)
	t.Cleanup(srv.Close)
	return srv
}

// get is the status and the body of a GET.
func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "application/json; charset=utf-8", resp.Header.Get("Content-Type"))
	return resp.StatusCode, body
}

// list asks for time series and reads the answer with Google's types. The
// parameters are pairs of names and values.
func list(t *testing.T, srv *httptest.Server, pairs ...string) *monitoringpb.ListTimeSeriesResponse {
	t.Helper()
	status, body := get(t, srv.URL+"/v3/projects/p/timeSeries?"+encode(pairs...))
	require.Equal(t, http.StatusOK, status, "%s", body)
	answer := &monitoringpb.ListTimeSeriesResponse{}
	require.NoError(t, protojson.Unmarshal(body, answer), "%s", body)
	return answer
}

// encode writes pairs of names and values as query parameters.
func encode(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

// requireProto compares messages.
func requireProto(t require.TestingT, want, got proto.Message) {
	require.True(t, proto.Equal(want, got), "want %s\ngot  %s", protojson.Format(want), protojson.Format(got))
}

func TestTimeSeries_Raw(t *testing.T) {
	t.Parallel()
	srv := server(t, nil)
	status, body := get(t, srv.URL+"/v3/projects/p/timeSeries?"+encode(
		"filter", `metric.type = "uptime"`, "interval.startTime", "2025-06-01T11:58:00Z", "interval.endTime", "2025-06-01T12:00:00Z"))
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"timeSeries":[{"metric":{"type":"uptime"},"resource":{"type":"device","labels":{"device_id":"d1","project_id":"p"}},`+
		`"metricKind":"CUMULATIVE","valueType":"INT64","unit":"s","points":[`+
		`{"interval":{"endTime":"2025-06-01T12:00:00Z"},"value":{"int64Value":"90"}},`+
		`{"interval":{"endTime":"2025-06-01T11:59:00Z"},"value":{"int64Value":"30"}}]}],"unit":"s"}`+"\n", string(body))

	status, body = get(t, srv.URL+"/v3/projects/p/timeSeries?"+encode("filter", `metric.type="none"`, "interval.endTime", "2025-06-01T12:00:00Z"))
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "{}\n", string(body))

	door := list(t, srv, "filter", `metric.type = "door"`, "interval.endTime", "2025-06-01T14:00:00+02:00")
	require.Len(t, door.GetTimeSeries(), 1)
	require.Equal(t, metric.MetricDescriptor_BOOL, door.GetTimeSeries()[0].GetValueType())
	require.True(t, door.GetTimeSeries()[0].GetPoints()[0].GetValue().GetBoolValue())
	require.Equal(t, "{not_a_unit}", door.GetUnit())
}

func TestTimeSeries_Aligned(t *testing.T) {
	t.Parallel()
	srv := server(t, nil)
	// Both styles of names, and what clients add, mean the same.
	camel := list(t, srv, "filter", `metric.type = "`+temperature+`"`,
		"interval.startTime", "2025-06-01T11:56:00Z", "interval.endTime", "2025-06-01T12:00:00Z",
		"aggregation.alignmentPeriod", "120s", "aggregation.perSeriesAligner", "ALIGN_MEAN",
		"aggregation.crossSeriesReducer", "REDUCE_MAX", "aggregation.groupByFields", "resource.labels.project_id",
		"aggregation.groupByFields", "metric.labels.none", "view", "FULL", "alt", "json", "prettyPrint", "false")
	snake := list(t, srv, "filter", `metric.type = "`+temperature+`"`,
		"interval.start_time", "2025-06-01T11:56:00Z", "interval.end_time", "2025-06-01T12:00:00.000Z",
		"aggregation.alignment_period", "120.000s", "aggregation.per_series_aligner", "ALIGN_MEAN",
		"aggregation.cross_series_reducer", "REDUCE_MAX", "aggregation.group_by_fields", "resource.labels.project_id",
		"page_size", "100", "page_token", "", "order_by", "", "$alt", "json")
	requireProto(t, camel, snake)
	require.Len(t, camel.GetTimeSeries(), 1)
	series := camel.GetTimeSeries()[0]
	requireProto(t, &metric.Metric{Type: temperature}, series.GetMetric())
	requireProto(t, &monitoredres.MonitoredResource{Type: "device", Labels: map[string]string{"project_id": "p"}}, series.GetResource())
	require.Equal(t, metric.MetricDescriptor_GAUGE, series.GetMetricKind())
	require.Equal(t, metric.MetricDescriptor_DOUBLE, series.GetValueType())
	require.Equal(t, "Cel", camel.GetUnit())
	var values []float64
	for i, p := range series.GetPoints() {
		values = append(values, p.GetValue().GetDoubleValue())
		end := noon.Add(-time.Duration(i) * 2 * time.Minute)
		require.Equal(t, end, p.GetInterval().GetEndTime().AsTime())
		require.Equal(t, end, p.GetInterval().GetStartTime().AsTime(), "a gauge is an instant")
	}
	require.Equal(t, []float64{24.5, 21.75}, values)

	// A change is told with its window: 60 120 | 30 90 within 11:57 to 12:00.
	delta := list(t, srv, "filter", `metric.type=uptime`, "interval.endTime", "2025-06-01T12:00:00Z",
		"aggregation.alignmentPeriod", "180s", "aggregation.perSeriesAligner", "ALIGN_DELTA").GetTimeSeries()[0]
	require.Equal(t, metric.MetricDescriptor_DELTA, delta.GetMetricKind())
	require.Equal(t, int64(150), delta.GetPoints()[0].GetValue().GetInt64Value())
	require.Equal(t, noon.Add(-3*time.Minute), delta.GetPoints()[0].GetInterval().GetStartTime().AsTime())
}

func TestTimeSeries_Pages(t *testing.T) {
	t.Parallel()
	srv := server(t, nil)
	base := []string{"filter", `resource.type = device`, "interval.startTime", "2025-06-01T11:00:00Z", "interval.endTime", "2025-06-01T12:00:00Z"}
	var points, pages int
	for token := ""; pages == 0 || token != ""; pages++ {
		answer := list(t, srv, append(base, "pageSize", "4", "pageToken", token)...)
		for _, s := range answer.GetTimeSeries() {
			points += len(s.GetPoints())
		}
		token = answer.GetNextPageToken()
	}
	require.Equal(t, 16, points)
	require.Equal(t, 4, pages)

	headers := list(t, srv, append(base, "view", "HEADERS", "pageSize", "3")...)
	require.Len(t, headers.GetTimeSeries(), 3)
	require.Empty(t, headers.GetTimeSeries()[0].GetPoints())
	headers = list(t, srv, append(base, "view", "HEADERS", "pageSize", "5", "pageToken", headers.GetNextPageToken())...)
	require.Len(t, headers.GetTimeSeries(), 1)
	require.Empty(t, headers.GetNextPageToken())
}

func TestTimeSeries_Refused(t *testing.T) {
	t.Parallel()
	srv := server(t, nil)
	f := func(status int, field, message string, pairs ...string) {
		t.Helper()
		base := []string{"interval.endTime", "2025-06-01T12:00:00Z", "filter", "metric.type=door"}
		got, body := get(t, srv.URL+"/v3/projects/p/timeSeries?"+encode(append(base, pairs...)...))
		require.Equal(t, status, got, "%s", body)
		err := fault.Parse("test", got, body)
		require.Equal(t, field, err.Field)
		require.ErrorContains(t, err, message)
		require.Less(t, len(body), 2000)
	}
	const bad = http.StatusBadRequest
	f(bad, "foo", `parameter "foo": unknown query parameter`, "foo", "1")
	f(bad, "secondaryAggregation", `aggregation is specified`, "secondaryAggregation.perSeriesAligner", "ALIGN_MEAN")
	f(bad, strings.Repeat("y", 100), `unknown`, strings.Repeat("y", 5000), "1")
	f(bad, "filter", "more than once", "filter", "x")
	f(bad, "page_size", "more than once", "page_size", "1", "pageSize", "1")
	f(bad, "alt", "can only be json", "alt", "proto")
	f(bad, "orderBy", "must be empty", "orderBy", "metric.type")
	f(bad, "pageSize", "whole number", "pageSize", "1.5")
	f(bad, "pageSize", "whole number", "pageSize", "3000000000")
	f(bad, "pageSize", "positive", "pageSize", "-1")
	f(bad, "interval.startTime", "RFC 3339", "interval.startTime", "yesterday")
	f(bad, "interval.startTime", "%2B", "interval.startTime", "2025-06-01T12:00:00 02:00")
	f(bad, "interval.startTime", "must not be later", "interval.startTime", "2025-06-01T12:00:01Z")
	for _, period := range []string{"60", "1m", "1h60s", "s", "-s", "1e3s", "60 s"} {
		f(bad, "aggregation.alignmentPeriod", "60s", "aggregation.alignmentPeriod", period)
	}
	f(bad, "aggregation.alignmentPeriod", "at least", "aggregation.alignmentPeriod", "0.5s", "aggregation.perSeriesAligner", "ALIGN_COUNT")
	f(bad, "aggregation.perSeriesAligner", "cannot be applied", "aggregation.alignmentPeriod", "60s", "aggregation.perSeriesAligner", "ALIGN_MEAN")
	f(bad, "pageToken", "no page token", "pageToken", "abc")
	f(http.StatusRequestEntityTooLarge, "", "longer than", "pageToken", strings.Repeat("x", 70_000))

	status, body := get(t, srv.URL+"/v3/projects/p/timeSeries?filter=%zz")
	require.Equal(t, bad, status, "%s", body)
	status, body = get(t, srv.URL+"/v3/projects/p/timeSeries")
	require.Equal(t, bad, status)
	require.Equal(t, "filter", fault.Parse("test", status, body).Field)
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	type question struct{ project, permission string }
	var asked []question
	srv := server(t, func(s *monitoring.Service) {
		s.Authorize = func(r *http.Request, project, permission string) error {
			asked = append(asked, question{project, permission})
			if r.Header.Get("Authorization") == "" {
				return &fault.Error{Kind: fault.Unauthenticated, Err: errors.New("no key")}
			}
			return nil
		}
	})
	for _, path := range []string{"timeSeries?foo=1", "metricDescriptors", "metricDescriptors/a/b", "monitoredResourceDescriptors", "monitoredResourceDescriptors/device"} {
		status, body := get(t, srv.URL+"/v3/projects/q/"+path)
		require.Equal(t, http.StatusUnauthorized, status, "%s", body)
	}
	require.Equal(t, []question{
		{"q", "monitoring.timeSeries.list"},
		{"q", "monitoring.metricDescriptors.list"},
		{"q", "monitoring.metricDescriptors.list"},
		{"q", "monitoring.metricDescriptors.list"},
		{"q", "monitoring.metricDescriptors.list"},
	}, asked)
	get(t, srv.URL+"/v3/projects/a%2Fb/timeSeries")
	require.Equal(t, "a/b", asked[len(asked)-1].project, "the project is asked for as it is read")
}

func TestMetricDescriptors(t *testing.T) {
	t.Parallel()
	srv := server(t, nil)
	ask := func(query string) *monitoringpb.ListMetricDescriptorsResponse {
		t.Helper()
		status, body := get(t, srv.URL+"/v3/projects/p/metricDescriptors?"+query)
		require.Equal(t, http.StatusOK, status, "%s", body)
		answer := &monitoringpb.ListMetricDescriptorsResponse{}
		require.NoError(t, protojson.Unmarshal(body, answer))
		return answer
	}
	all := ask("").GetMetricDescriptors()
	require.Len(t, all, 3)
	requireProto(t, &metric.MetricDescriptor{
		Name: "projects/p/metricDescriptors/uptime", Type: "uptime", Unit: "s",
		MetricKind: metric.MetricDescriptor_CUMULATIVE, ValueType: metric.MetricDescriptor_INT64,
		MonitoredResourceTypes: []string{"device"},
	}, all[2])

	filtered := ask(encode("filter", `metric.type = starts_with("com.")`)).GetMetricDescriptors()
	require.Len(t, filtered, 1)
	requireProto(t, all[0], filtered[0])

	var paged []string
	token := ""
	for range all {
		page := ask(encode("pageSize", "1", "pageToken", token))
		require.Len(t, page.GetMetricDescriptors(), 1)
		paged = append(paged, page.GetMetricDescriptors()[0].GetType())
		token = page.GetNextPageToken()
	}
	require.Empty(t, token)
	require.Equal(t, []string{temperature, "door", "uptime"}, paged)

	for _, path := range []string{temperature, url.PathEscape(temperature)} {
		status, body := get(t, srv.URL+"/v3/projects/p/metricDescriptors/"+path)
		require.Equal(t, http.StatusOK, status)
		one := &metric.MetricDescriptor{}
		require.NoError(t, protojson.Unmarshal(body, one))
		requireProto(t, all[0], one)
	}
	for path, want := range map[string]int{
		"/none": http.StatusNotFound, "/uptime?x=1": http.StatusBadRequest, "?filter=x": http.StatusBadRequest,
		"?filter=resource.type%3Ddevice": http.StatusBadRequest, "?pageToken=!": http.StatusBadRequest, "?activeOnly=true": http.StatusBadRequest,
	} {
		status, body := get(t, srv.URL+"/v3/projects/p/metricDescriptors"+path)
		require.Equal(t, want, status, "%s: %s", path, body)
	}
}

func TestMonitoredResourceDescriptors(t *testing.T) {
	t.Parallel()
	srv := server(t, nil)
	status, body := get(t, srv.URL+"/v3/projects/p/monitoredResourceDescriptors?pageSize=10")
	require.Equal(t, http.StatusOK, status)
	answer := &monitoringpb.ListMonitoredResourceDescriptorsResponse{}
	require.NoError(t, protojson.Unmarshal(body, answer))
	require.Len(t, answer.GetResourceDescriptors(), 1)
	device := answer.GetResourceDescriptors()[0]
	require.Equal(t, "device", device.GetType())
	require.Equal(t, "project_id", device.GetLabels()[0].GetKey())
	require.Equal(t, "device_id", device.GetLabels()[1].GetKey())

	status, body = get(t, srv.URL+"/v3/projects/p/monitoredResourceDescriptors/device")
	require.Equal(t, http.StatusOK, status)
	one := &monitoredres.MonitoredResourceDescriptor{}
	require.NoError(t, protojson.Unmarshal(body, one))
	requireProto(t, device, one)

	status, body = get(t, srv.URL+"/v3/projects/p/monitoredResourceDescriptors?filter=resource.type%3Dx")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "{}\n", string(body))
	for path, want := range map[string]int{"/gateway": http.StatusNotFound, "?pageToken=x": http.StatusBadRequest, "?pageSize=x": http.StatusBadRequest} {
		status, _ = get(t, srv.URL+"/v3/projects/p/monitoredResourceDescriptors"+path)
		require.Equal(t, want, status, path)
	}
}

// Internal errors are logged, once, and not shown.
func TestInternalError(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	srv := server(t, func(s *monitoring.Service) {
		s.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s.Authorize = func(*http.Request, string, string) error { return errors.New("secret cause") }
	})
	status, body := get(t, srv.URL+"/v3/projects/p/timeSeries")
	require.Equal(t, http.StatusInternalServerError, status)
	require.NotContains(t, string(body), "secret")
	require.Equal(t, 1, strings.Count(log.String(), "secret cause"))
}
