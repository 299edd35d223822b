package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/functions/prometheus"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb/reader"
)

// hosted is a function that answers calls.
type hosted interface {
	http.Handler
	function.Starter
	function.Stopper
}

// asker asks for an answer with credentials.
type asker struct {
	t    *testing.T
	auth string
}

// get is the status and the body of an answer.
func (a asker) get(address string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(bounded(a.t), http.MethodGet, address, nil)
	require.NoError(a.t, err)
	req.Header.Set("Authorization", a.auth)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.t, err)
	defer func() { require.NoError(a.t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return resp.StatusCode, string(text)
}

// host starts a function as func's scaffolding does, until the test ends.
func host(t *testing.T, f hosted, env map[string]string) (address string) {
	t.Helper()
	require.NoError(t, f.Start(t.Context(), env))
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, f.Stop(context.WithoutCancel(t.Context())))
	})
	return server.URL
}

// Functions that read the platform's VictoriaMetrics answer what the platform
// answers, to those whom it would answer, and write nothing.
func TestReaders_AnswerAsThePlatformDoes(t *testing.T) {
	t.Parallel()
	program, err := process.BuildVictoria(t.Context(), t.TempDir())
	require.NoError(t, err)
	server, err := process.StartVictoria(t.Context(), program, t.TempDir(), "-dedup.minScrapeInterval=1ms")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Kill() }) // nothing of value
	p := start(t, t.TempDir(), "--series", server.URL)
	written := seriesOfAllSorts(t, p)
	viewer, _ := account(t, p, "viewer", map[string]string{"projects/default/": role(t, p, "viewer", monitoring.ListTimeSeries, monitoring.ListDescriptors)})
	own, _ := account(t, p, "reader", map[string]string{"projects/default/": role(t, p, "reader", monitoring.ListDescriptors)})
	stranger, _ := account(t, p, "stranger", nil)
	env := map[string]string{reader.URLVariable: p.URL, reader.KeyVariable: own}
	require.Equal(t, "NOT_CONFIGURED", fault.ReasonOf(monitoring.New().Start(t.Context(), env)), "it has no series")
	env[reader.SeriesVariable] = server.URL
	google, prom := host(t, monitoring.New(), env), host(t, prometheus.New(), env)

	asked := func(q url.Values) string { return "/v3/projects/default/timeSeries?" + q.Encode() }
	span := url.Values{"start": {fmt.Sprint(written.Unix())}, "end": {fmt.Sprint(written.Add(10 * time.Minute).Unix())}, "step": {"60"}}
	with := func(q url.Values, pairs ...string) url.Values {
		out := url.Values{"interval.startTime": {written.Format(time.RFC3339)}, "interval.endTime": {written.Add(10 * time.Minute).Format(time.RFC3339)}}
		for name := range q {
			out[name] = q[name]
		}
		for i := 0; i < len(pairs); i += 2 {
			out.Set(pairs[i], pairs[i+1])
		}
		return out
	}
	align := url.Values{"aggregation.alignmentPeriod": {"120s"}}
	for _, c := range []struct{ function, path string }{
		{google, "/v3/projects/default/metricDescriptors"},
		{google, "/v3/projects/default/metricDescriptors?pageSize=1"},
		{google, "/v3/projects/default/metricDescriptors/example.com/requests"},
		{google, "/v3/projects/default/metricDescriptors/example.com/nothing"},
		{google, "/v3/projects/default/monitoredResourceDescriptors"},
		{google, "/v3/projects/default/monitoredResourceDescriptors/device"},
		{google, asked(with(nil, "filter", `metric.type = starts_with("example.com/")`))},
		{google, asked(with(align, "filter", `metric.type = "example.com/level"`, "aggregation.perSeriesAligner", "ALIGN_MEAN"))},
		{google, asked(with(align, "filter", `metric.type = "example.com/requests"`, "aggregation.perSeriesAligner", "ALIGN_RATE"))},
		{google, asked(with(align, "filter", `metric.type = "example.com/latency"`, "aggregation.perSeriesAligner", "ALIGN_PERCENTILE_95"))},
		{google, asked(with(align, "filter", `metric.type = "example.com/level"`, "aggregation.perSeriesAligner", "ALIGN_RATE"))},
		{google, asked(with(nil, "filter", `metric.type = `))},
		{google, "/v3/projects/default/timeSeries:export?" + with(align, "filter", `metric.type = "example.com/level"`, "aggregation.perSeriesAligner", "ALIGN_MAX", "format", "csv").Encode()},
		{prom, "/prometheus/api/v1/query_range?query=" + url.QueryEscape(`rate({__name__="example.com/requests"}[3m])`) + "&" + span.Encode()},
		{prom, "/prometheus/api/v1/query_range?query=" + url.QueryEscape(`sum by (device_id) ({__name__="example.com/level"})`) + "&" + span.Encode()},
		{prom, "/prometheus/api/v1/labels?" + span.Encode()},
		{prom, "/prometheus/api/v1/label/__name__/values?" + span.Encode()},
		{prom, "/prometheus/api/v1/metadata"},
		{prom, "/prometheus/api/v1/query?query=" + url.QueryEscape(`nonsense(`)},
	} {
		me := asker{t, "Bearer " + viewer}
		status, want := me.get(p.URL + c.path)
		require.Less(t, status, http.StatusInternalServerError, "%s: %s", c.path, want)
		gotStatus, got := me.get(c.function + c.path)
		require.Equal(t, status, gotStatus, "%s: %s", c.path, got)
		require.Equal(t, want, got, c.path)
	}
	_, answer := asker{t, "Bearer " + viewer}.get(google + asked(with(align, "filter", `metric.type = "example.com/requests"`, "aggregation.perSeriesAligner", "ALIGN_RATE")))
	require.Contains(t, answer, `"doubleValue":2`, "there is something to compare")

	labels := "/prometheus/api/v1/labels?project=default&" + span.Encode()
	f := func(want int, auth, address string) {
		t.Helper()
		status, text := asker{t, auth}.get(address)
		require.Equal(t, want, status, "%s: %s", address, text)
	}
	descriptors := "/v3/projects/default/metricDescriptors"
	f(http.StatusOK, basic(viewer), prom+labels)
	f(http.StatusForbidden, basic(stranger), prom+labels)
	f(http.StatusForbidden, "Bearer "+stranger, google+descriptors)
	f(http.StatusUnauthorized, "", google+descriptors)
	f(http.StatusUnauthorized, "Bearer nobody", google+descriptors)
	f(http.StatusForbidden, "Bearer "+viewer, google+strings.Replace(descriptors, "default", "other", 1))
	f(http.StatusForbidden, "Bearer "+own, google+asked(with(nil, "filter", `metric.type = "example.com/level"`)))

	admin := p.Client(process.AdminKey)
	admin.URL = google
	err = admin.Call(t.Context(), http.MethodPost, descriptors, nil, map[string]any{"type": "example.com/x", "metricKind": "GAUGE", "valueType": "DOUBLE"}, nil)
	require.Equal(t, "NO_DECLARATIONS", fault.ReasonOf(err), "%v", err)
	err = admin.Call(t.Context(), http.MethodPost, "/v3/projects/default/timeSeries", nil, map[string]any{"timeSeries": []any{}}, nil)
	require.ErrorContains(t, err, "does not take POST")

	env[reader.KeyVariable] = stranger
	status, text := asker{t, "Bearer " + viewer}.get(host(t, monitoring.New(), env) + descriptors)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, text, "MAY_NOT_ASK")
	require.NoError(t, p.Kill())
	f(http.StatusServiceUnavailable, "Bearer "+stranger, google+"/v3/projects/third/metricDescriptors")
}

// seriesOfAllSorts writes series of several kinds and types to the platform, over
// ten minutes, and returns when they begin.
func seriesOfAllSorts(t *testing.T, p *process.Platform) (begin time.Time) {
	t.Helper()
	begin = time.Now().Add(-time.Hour).Truncate(time.Minute).UTC()
	register(t, p, "d1")
	for _, d := range []map[string]any{
		{"type": "example.com/requests", "metricKind": "CUMULATIVE", "valueType": "INT64", "unit": "1", "displayName": "Requests", "labels": []any{
			map[string]any{"key": "code", "valueType": "INT64", "description": "of the answer"}, map[string]any{"key": "host"},
		}},
		{
			"type": "example.com/latency", "metricKind": "GAUGE", "valueType": "DISTRIBUTION", "unit": "s", "launchStage": "BETA",
			"metadata": map[string]any{"ingestDelay": "90s", "samplePeriod": "60s"}, "monitoredResourceTypes": []string{"device"},
		},
	} {
		call(t, p, http.MethodPost, "/v3/projects/default/metricDescriptors", nil, d, nil)
	}
	at := func(i int) string { return begin.Add(time.Duration(i) * time.Minute).Format(time.RFC3339) }
	var all []map[string]any
	add := func(metric, kind, valueType string, interval, value map[string]any) {
		all = append(all, map[string]any{
			"metric": map[string]any{"type": metric}, "metricKind": kind, "valueType": valueType,
			"resource": map[string]any{"type": "device", "labels": map[string]string{"project_id": "default", "device_id": "d1"}},
			"points":   []any{map[string]any{"interval": interval, "value": value}},
		})
	}
	for i := 1; i <= 10; i++ {
		add("example.com/level", "GAUGE", "DOUBLE", map[string]any{"endTime": at(i)}, map[string]any{"doubleValue": float64(i) / 4})
		add("example.com/requests", "CUMULATIVE", "INT64", map[string]any{"startTime": at(0), "endTime": at(i)}, map[string]any{"int64Value": fmt.Sprint(120 * i)})
		add("example.com/latency", "GAUGE", "DISTRIBUTION", map[string]any{"endTime": at(i)}, map[string]any{"distributionValue": map[string]any{
			"count": "3", "mean": 2, "bucketOptions": map[string]any{"explicitBuckets": map[string]any{"bounds": []any{1, 2, 4}}}, "bucketCounts": []string{"1", "0", "2"},
		}})
	}
	for len(all) > 0 { // one point of a series in a request
		call(t, p, http.MethodPost, "/v3/projects/default/timeSeries", nil, map[string]any{"timeSeries": all[:3]}, nil)
		all = all[3:]
	}
	return begin
}

// basic are credentials as a data source of Prometheus sends a key.
func basic(key string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth("any", key)
	return r.Header.Get("Authorization")
}
