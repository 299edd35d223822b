package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/tests/process"
)

// interval are the parameters of a year that ends in an hour.
func interval(v url.Values) string {
	now := time.Now().UTC()
	v.Set("interval.startTime", now.AddDate(-1, 0, 0).Format(time.RFC3339Nano))
	v.Set("interval.endTime", now.Add(time.Hour).Format(time.RFC3339Nano))
	return v.Encode()
}

// seriesDoors are calls about the series of a project over REST, Connect and
// the protocols of others, by what they do: all that there are but the writes.
func seriesDoors(project string) map[string]httpCall {
	root := "/v3/projects/" + project + "/"
	get := func(path string) httpCall { return httpCall{method: http.MethodGet, path: path} }
	body := func(method, path, text string) httpCall {
		return httpCall{method, path, text, []string{"Content-Type: application/json"}}
	}
	connect := func(method, text string) httpCall {
		return body(http.MethodPost, "/google.monitoring.v3.MetricService/"+method, text)
	}
	name := `"name":"projects/` + project + `"`
	descriptor := `"name":"projects/` + project + `/metricDescriptors/m_influx"`
	prom := func(path string, v url.Values) httpCall {
		v.Set("project", project)
		return get("/prometheus/api/v1/" + path + "?" + v.Encode())
	}
	all := url.Values{"filter": {`metric.type = starts_with("")`}}
	return map[string]httpCall{
		"list":                 get(root + "timeSeries?" + interval(all)),
		"list headers":         get(root + "timeSeries?view=HEADERS&" + interval(all)),
		"export":               get(root + "timeSeries:export?format=csv&" + interval(all)),
		"cardinality":          get(root + "timeSeries:cardinality"),
		"delete":               body(http.MethodPost, root+"timeSeries:delete", `{"filter":"metric.labels.l = \"a\""}`),
		"count":                body(http.MethodPost, root+"timeSeries:delete", `{"filter":"metric.labels.l = \"a\"","validateOnly":true}`),
		"bounds":               get(root + "timeSeriesBounds"),
		"bounds of a metric":   get(root + "timeSeriesBounds/m_influx"),
		"set bounds":           body(http.MethodPatch, root+"timeSeriesBounds", `{"retention":"3600s"}`),
		"set a metric's":       body(http.MethodPatch, root+"timeSeriesBounds/m_influx", `{"maxSeries":1}`),
		"descriptors":          get(root + "metricDescriptors"),
		"descriptor":           get(root + "metricDescriptors/m_influx"),
		"no descriptor":        get(root + "metricDescriptors/none"),
		"create descriptor":    body(http.MethodPost, root+"metricDescriptors", `{"type":"x","metricKind":"GAUGE","valueType":"DOUBLE"}`),
		"delete descriptor":    get(root + "metricDescriptors/m_influx").with(http.MethodDelete),
		"resources":            get(root + "monitoredResourceDescriptors"),
		"resource":             get(root + "monitoredResourceDescriptors/device"),
		"connect list":         connect("ListTimeSeries", `{`+name+`,"filter":"metric.type = starts_with(\"\")","interval":{"endTime":"2030-01-01T00:00:00Z"}}`),
		"connect descriptors":  connect("ListMetricDescriptors", `{`+name+`}`),
		"connect descriptor":   connect("GetMetricDescriptor", `{`+descriptor+`}`),
		"connect delete":       connect("DeleteMetricDescriptor", `{`+descriptor+`}`),
		"connect create":       connect("CreateMetricDescriptor", `{`+name+`,"metricDescriptor":{"type":"x","metricKind":"GAUGE","valueType":"DOUBLE"}}`),
		"connect resources":    connect("ListMonitoredResourceDescriptors", `{`+name+`}`),
		"connect resource":     connect("GetMonitoredResourceDescriptor", `{"name":"projects/`+project+`/monitoredResourceDescriptors/device"}`),
		"prometheus query":     prom("query", url.Values{"query": {`count({__name__!=""})`}}),
		"prometheus range":     prom("query_range", url.Values{"query": {`{__name__!=""}`}, "start": {"1"}, "end": {"2"}, "step": {"1"}}),
		"prometheus series":    prom("series", url.Values{"match[]": {`{__name__!=""}`}}),
		"prometheus labels":    prom("labels", url.Values{}),
		"prometheus values":    prom("label/l/values", url.Values{}),
		"prometheus metadata":  prom("metadata", url.Values{}),
		"prometheus header":    {http.MethodGet, "/prometheus/api/v1/labels", "", []string{"X-Selvedge-Project: " + project}},
		"prometheus exemplars": prom("query_exemplars", url.Values{"query": {"m"}}),
		"losses":               get("/v1/projects/" + project + "/losses"),
	}
}

// with is the call with another method.
func (c httpCall) with(method string) httpCall {
	c.method = method
	return c
}

// SPEC A6: a key of one project can neither read, count, write nor delete the
// series of another through any door, and nobody without a key any.
func TestIsolation_ThroughEveryDoor(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	ours, theirs := keyOf(t, p, "projects/ours"), keyOf(t, p, "projects/theirs")
	at := time.Now().Add(-time.Hour)
	keys := map[string]string{"ours": ours, "theirs": theirs}
	for project, key := range keys {
		for name, c := range writes(project, "m", map[string]string{"ours": "a", "theirs": "secret"}[project], at) {
			status, body := send(t, p, key, c)
			require.Equal(t, 2, status/100, "%s to its own: %s", name, body)
		}
	}
	state := func() string {
		t.Helper()
		var b strings.Builder
		for _, name := range []string{"export", "descriptors", "bounds", "resources", "prometheus series"} {
			b.WriteString(must(t, p, theirs, seriesDoors("theirs")[name]))
		}
		return b.String()
	}
	before := state()
	require.Equal(t, 8, strings.Count(before, "secret"), "four series, in the export and by Prometheus: %s", before)

	refused := func(key, project string, want int) {
		t.Helper()
		doors := seriesDoors(project)
		for name, c := range writes(project, "m", "intruder", at) {
			doors["write "+name] = c
		}
		for name, c := range doors {
			status, body := send(t, p, key, c)
			require.Equal(t, want, status, "%s: %s", name, body)
			require.NotContains(t, body, "secret", name)
		}
	}
	refused(ours, "theirs", http.StatusForbidden)
	refused("", "theirs", http.StatusUnauthorized)
	refused("", "ours", http.StatusUnauthorized)
	call(t, p, http.MethodPost, "/v1/projects/theirs/devices", url.Values{"deviceId": {"d1"}}, map[string]any{}, nil)
	refused(keyOf(t, p, "projects/theirs/devices/d1"), "theirs", http.StatusForbidden) // it posts events, and nothing else
	for key, want := range map[string]int{ours: http.StatusForbidden, "": http.StatusUnauthorized} {
		status, _ := send(t, p, key, httpCall{method: http.MethodPost, path: "/v1/snapshots"})
		require.Equal(t, want, status, "a snapshot is of all projects")
	}
	refusedByGRPC(t, p, ours, codes.PermissionDenied)
	refusedByGRPC(t, p, "", codes.Unauthenticated)
	require.Equal(t, before, state(), "nothing has changed")

	// What its own project is asked for says nothing of another, whatever is
	// asked for.
	for name, c := range map[string]httpCall{
		"list":   {method: http.MethodGet, path: "/v3/projects/ours/timeSeries?" + interval(url.Values{"filter": {`project = "theirs" OR metric.type = starts_with("m")`}})},
		"label":  {method: http.MethodGet, path: "/v3/projects/ours/timeSeries?" + interval(url.Values{"filter": {`resource.labels.project_id = "theirs"`}})},
		"query":  {method: http.MethodGet, path: "/prometheus/api/v1/query?query=" + url.QueryEscape(`count_over_time({project_id="theirs"}[2h]) or count_over_time({__name__="m_influx",project=~".*"}[2h])`)},
		"series": {method: http.MethodGet, path: "/prometheus/api/v1/series?match[]=" + url.QueryEscape(`{l!=""}`)},
		"values": {method: http.MethodGet, path: "/prometheus/api/v1/label/l/values"},
		"delete": {http.MethodPost, "/v3/projects/ours/timeSeries:delete", `{"filter":"metric.labels.l = \"secret\" OR resource.labels.project_id = \"theirs\""}`, nil},
		"import": {http.MethodPost, "/v3/projects/ours/timeSeries:import?format=ndjson", fmt.Sprintf(
			`{"end_time":%q,"metric":"m_influx","resource":"generic_node","resource_labels":{"project_id":"theirs"},"metric_labels":{"l":"intruder"},"value":1}`, at.UTC().Format(time.RFC3339)), nil},
		"bounds": {http.MethodPatch, "/v3/projects/ours/timeSeriesBounds", `{"retention":"86400s"}`, nil},
	} {
		status, body := send(t, p, ours, c)
		require.Equal(t, http.StatusOK, status, "%s: %s", name, body)
		require.NotContains(t, body, "secret", name)
	}
	status, _ := send(t, p, ours, httpCall{http.MethodPatch, "/v3/projects/ours/timeSeriesBounds", `{"maxSeries":100000000}`, nil})
	require.Equal(t, http.StatusForbidden, status, "a project does not lift what bounds it")
	must(t, p, ours, httpCall{http.MethodPost, "/v3/projects/ours/timeSeries:delete", `{"filter":"metric.type = starts_with(\"\")"}`, nil})
	must(t, p, ours, httpCall{method: http.MethodDelete, path: "/v3/projects/ours/metricDescriptors/m_influx"})
	require.Equal(t, before, state(), "nothing has changed")
	stop(t, p)
}

// refusedByGRPC makes every call of the MetricService about the project theirs.
func refusedByGRPC(t *testing.T, p *process.Platform, key string, want codes.Code) {
	t.Helper()
	const project, descriptor = "projects/theirs", "projects/theirs/metricDescriptors/m_influx"
	now := timestamppb.Now()
	d := dialGRPC(t, p.URL, key, nil)
	ctx := d.authorized(bounded(t))
	for method, in := range map[string]proto.Message{
		"ListTimeSeries": &monitoringpb.ListTimeSeriesRequest{Name: project, Filter: `metric.type = "m_influx"`, Interval: &monitoringpb.TimeInterval{EndTime: now}},
		"CreateTimeSeries": &monitoringpb.CreateTimeSeriesRequest{Name: project, TimeSeries: []*monitoringpb.TimeSeries{{
			Metric: &metricpb.Metric{Type: "m_influx"}, Points: []*monitoringpb.Point{{
				Interval: &monitoringpb.TimeInterval{EndTime: now}, Value: &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: 1}},
			}},
		}}},
		"CreateServiceTimeSeries":          &monitoringpb.CreateTimeSeriesRequest{Name: project},
		"ListMetricDescriptors":            &monitoringpb.ListMetricDescriptorsRequest{Name: project},
		"GetMetricDescriptor":              &monitoringpb.GetMetricDescriptorRequest{Name: descriptor},
		"CreateMetricDescriptor":           &monitoringpb.CreateMetricDescriptorRequest{Name: project, MetricDescriptor: &metricpb.MetricDescriptor{Type: "x"}},
		"DeleteMetricDescriptor":           &monitoringpb.DeleteMetricDescriptorRequest{Name: descriptor},
		"ListMonitoredResourceDescriptors": &monitoringpb.ListMonitoredResourceDescriptorsRequest{Name: project},
		"GetMonitoredResourceDescriptor":   &monitoringpb.GetMonitoredResourceDescriptorRequest{Name: project + "/monitoredResourceDescriptors/device"},
	} {
		err := d.conn.Invoke(ctx, "/google.monitoring.v3.MetricService/"+method, in, new(monitoringpb.ListTimeSeriesResponse))
		require.Equal(t, want, status.Code(err), "%s: %v", method, err)
	}
	// OTLP over gRPC, which is of the project that its header names.
	otlp := metadata.AppendToOutgoingContext(ctx, "x-selvedge-project", "theirs")
	err := d.conn.Invoke(otlp, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", new(monitoringpb.ListTimeSeriesResponse), new(monitoringpb.ListTimeSeriesResponse))
	require.Equal(t, want, status.Code(err), "%v", err)
	require.NoError(t, context.Cause(ctx))
}
