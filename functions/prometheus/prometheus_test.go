package prometheus_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/prometheus"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/promql"
)

// temperature is the metric that most tests read.
const temperature = "com.example.climate/temperature"

// noon is when the last points of the tests are.
var noon = time.Date(2025, time.June, 1, 12, 0, 0, 0, time.UTC)

// principals are who calls by the value of the header X-Test-Caller.
var principals = map[string]iam.Principal{
	"admin": {Kind: iam.Admin, Name: "admin"},
	"p":     {Kind: iam.Project, Name: "projects/p", Project: "p"},
	"other": {Kind: iam.Project, Name: "projects/other", Project: "other"},
	"d":     {Kind: iam.Device, Name: "projects/p/devices/d", Project: "p"},
}

// server serves two projects: in p two devices told their temperature in the
// five minutes before noon, in other one did.
func server(t *testing.T, o promql.Options) *httptest.Server {
	t.Helper()
	ds := &memory.Descriptors{}
	store := memory.New(ds)
	add := func(project, device string, d tsdb.Descriptor, values ...float64) {
		d.Project = project
		_, err := ds.Ensure(t.Context(), d)
		require.NoError(t, err)
		s := &tsdb.Series{
			Project: project, Metric: d.Type, Resource: "device", MetricLabels: tsdb.Labels{{Name: "device_id", Value: "told"}, {Name: "room", Value: "r\"1"}},
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: device}, {Name: "project_id", Value: project}},
		}
		for i, v := range values {
			at := noon.Add(-time.Duration(len(values)-1-i) * time.Minute)
			require.NoError(t, store.Append(t.Context(), []tsdb.Sample{{Series: s, Time: tsdb.Millis(at.UnixMilli()), Value: v}}))
		}
	}
	details := &tsdb.Details{Description: "how warm it is"}
	add("p", "d1", tsdb.Descriptor{Type: temperature, Unit: "Cel", Details: details}, 20, 21, 22.5, 24, 25)
	add("p", "d2", tsdb.Descriptor{Type: temperature, Unit: "Cel", Details: details}, 10, 11, 12, 13, 14)
	add("p", "d1", tsdb.Descriptor{Type: "uptime", Kind: tsdb.Cumulative}, 60, 120, 180)
	add("other", "secret", tsdb.Descriptor{Type: temperature}, 99)
	add("other", "secret", tsdb.Descriptor{Type: "hidden"}, 99)
	service := &prometheus.Service{Engine: promql.New(store, ds, o), Authorize: iam.Authorize}
	router := chi.NewRouter()
	router.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(iam.WithPrincipal(r.Context(), principals[r.Header.Get("X-Test-Caller")])))
		})
	})
	service.Routes(router)
	srv := httptest.NewServer(router)
	t.Cleanup(srv.Close)
	return srv
}

// caller makes requests as somebody.
type caller struct {
	srv *httptest.Server
	who string
}

// do makes a request with pairs of parameters, in the URL of a GET and in the
// form of a POST.
func (c caller) do(ctx context.Context, t *testing.T, method, path string, pairs ...string) (int, string) {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	target, body := c.srv.URL+"/prometheus/api/v1/"+path, io.Reader(http.NoBody)
	if method == http.MethodPost {
		body = strings.NewReader(values.Encode())
	} else {
		target += "?" + values.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	require.NoError(t, err)
	req.Header.Set("X-Test-Caller", c.who)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.True(t, json.Valid(data), "%s", data)
	return resp.StatusCode, string(data)
}

// ok makes a GET that has to succeed and returns its data.
func (c caller) ok(t *testing.T, path string, pairs ...string) string {
	t.Helper()
	status, body := c.do(t.Context(), t, http.MethodGet, path, pairs...)
	require.Equal(t, http.StatusOK, status, "%s", body)
	var answer struct {
		Status string
		Data   json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Equal(t, "success", answer.Status)
	return string(answer.Data)
}

// labelsOf1 are the labels of the temperature of d1, without its name.
const labelsOf1 = `"device_id":"d1","exported_device_id":"told","project_id":"p","resource_type":"device","room":"r\"1"`

// TestQuery_EveryType asks for each type of result, by GET and by POST.
func TestQuery_EveryType(t *testing.T) {
	t.Parallel()
	c := caller{server(t, promql.Options{}), "p"}
	f := func(query, want string) {
		t.Helper()
		require.JSONEq(t, want, c.ok(t, "query", "query", query, "time", "2025-06-01T12:00:00Z"), query)
		status, body := c.do(t.Context(), t, http.MethodPost, "query", "query", query, "time", "1748779200")
		require.Equal(t, http.StatusOK, status)
		require.JSONEq(t, `{"status":"success","data":`+want+`}`, body)
	}
	f("1+1", `{"resultType":"scalar","result":[1748779200,"2"]}`)
	f("1/0", `{"resultType":"scalar","result":[1748779200,"+Inf"]}`)
	f(`"text"`, `{"resultType":"string","result":[1748779200,"text"]}`)
	f(`none`, `{"resultType":"vector","result":[]}`)
	f(`{__name__="com.example.climate/temperature",device_id="d1"}`,
		`{"resultType":"vector","result":[{"metric":{"__name__":"com.example.climate/temperature",`+labelsOf1+`},"value":[1748779200,"25"]}]}`)
	f(`sum(com_example_climate_temperature)`, `{"resultType":"vector","result":[{"metric":{},"value":[1748779200,"39"]}]}`)
	f(`uptime[90s]`, `{"resultType":"matrix","result":[{"metric":{"__name__":"uptime",`+labelsOf1+`},"values":[[1748779140,"120"],[1748779200,"180"]]}]}`)
	require.JSONEq(t, `{"resultType":"matrix","result":[{"metric":{"device_id":"d2"},"values":[[1748779140,"13"],[1748779170.5,"13"],[1748779201,"14"]]}]}`,
		c.ok(t, "query_range", "query", `max by (device_id) ({"com.example.climate/temperature", device_id!="d1"})`, "start", "1748779140", "end", "1748779201", "step", "30.5"))
}

// TestBrowse_WhatGrafanaAsks asks what the query editor of Grafana needs.
func TestBrowse_WhatGrafanaAsks(t *testing.T) {
	t.Parallel()
	c := caller{server(t, promql.Options{}), "p"}
	window := []string{"start", "1748770000", "end", "1748779200"}
	f := func(path, want string, pairs ...string) {
		t.Helper()
		require.JSONEq(t, want, c.ok(t, path, append(pairs, window...)...), path)
	}
	f("labels", `["__name__","device_id","exported_device_id","project_id","resource_type","room"]`)
	f("label/__name__/values", `["com.example.climate/temperature","uptime"]`)
	f("label/device_id/values", `["d1","d2"]`)
	f("label/U__device__id/values", `["d1","d2"]`)
	f("label/device_id/values", `["d1"]`, "match[]", "uptime")
	f("label/device_id/values", `["d1"]`, "limit", "1")
	f("label/none/values", `[]`)
	f("series", `[{"__name__":"uptime",`+labelsOf1+`}]`, "match[]", `uptime{room=~"r.*"}`, "match[]", "uptime")
	f("metadata", `{"com.example.climate/temperature":[{"type":"gauge","help":"how warm it is","unit":"Cel"}],"uptime":[{"type":"counter","help":"","unit":""}]}`)
	f("metadata", `{"uptime":[{"type":"counter","help":"","unit":""}]}`, "metric", "uptime")
	f("query_exemplars", `[]`, "query", "uptime")
	f("rules", `{"groups":[]}`)
	require.Contains(t, c.ok(t, "status/buildinfo"), `"version":"3.0.0"`)
}

// TestErrors_HavePrometheusForm makes every kind of mistake.
func TestErrors_HavePrometheusForm(t *testing.T) {
	t.Parallel()
	c := caller{server(t, promql.Options{MaxSamples: 1000, MaxSeries: 1}), "p"}
	f := func(status int, kind, text, path string, pairs ...string) {
		t.Helper()
		got, body := c.do(t.Context(), t, http.MethodGet, path, pairs...)
		require.Equal(t, status, got, "%s", body)
		require.Contains(t, body, `"status":"error","errorType":"`+kind+`"`)
		require.Contains(t, body, text)
	}
	f(400, "bad_data", "parse error", "query", "query", "sum(")
	f(400, "bad_data", "parse error", "query")
	f(400, "bad_data", "unknown function", "query", "query", "rollup(x[5m])")
	f(400, "bad_data", "timestamp", "query", "query", "x", "time", "noon")
	f(400, "bad_data", "valid duration", "query_range", "query", "x", "start", "1", "end", "2")
	f(400, "bad_data", "zero or negative", "query_range", "query", "x", "start", "1", "end", "2", "step", "0")
	f(400, "bad_data", "11,000 points", "query_range", "query", "x", "start", "0", "end", "11001", "step", "1")
	f(400, "bad_data", "before start", "query_range", "query", "x", "start", "3", "end", "2", "step", "1")
	f(400, "bad_data", "match[]", "series")
	f(400, "bad_data", "invalid expression type", "query_range", "query", "x[5m]", "start", "0", "end", "10", "step", "1")
	f(422, "execution", "too many samples", "query_range", "query", "vector(1)", "start", "0", "end", "10000", "step", "1")
	f(422, "execution", "", "query", "query", `{__name__=~".+"}`, "time", "1748779200")
	f(422, "execution", "invalid destination", "query", "query", `label_replace(uptime, "", "", "", "")`, "time", "1748779200")
	c.srv = server(t, promql.Options{Timeout: time.Nanosecond})
	f(503, "timeout", "timed out", "query", "query", "uptime")
	require.Contains(t, caller{server(t, promql.Options{}), "p"}.ok(t, "query", "query", "1"), `"scalar"`, "the server lives")
}

// TestProjects_AreApart shows that a key reads its own project only, through
// any door.
func TestProjects_AreApart(t *testing.T) {
	t.Parallel()
	srv := server(t, promql.Options{})
	paths := []string{"query", "query_range", "series", "labels", "label/__name__/values", "metadata", "status/buildinfo", "query_exemplars", "rules"}
	pairs := []string{"query", `{__name__=~".+"}`, "match[]", `{__name__=~".+"}`, "time", "1748779200", "start", "1748778900", "end", "1748779200", "step", "60"}
	for _, path := range paths {
		for _, who := range []string{"p", "admin"} {
			own := pairs
			if who == "admin" {
				own = append(pairs[:len(pairs):len(pairs)], "project", "p")
			}
			body := caller{srv, who}.ok(t, path, own...)
			require.NotContains(t, body, "secret", path)
			require.NotContains(t, body, "hidden", path)
			require.NotContains(t, body, "99", path)
		}
		f := func(who string, status int, extra ...string) {
			t.Helper()
			got, body := caller{srv, who}.do(t.Context(), t, http.MethodGet, path, append(pairs[:len(pairs):len(pairs)], extra...)...)
			require.Equal(t, status, got, "%s %s", path, body)
			require.NotContains(t, body, "secret")
		}
		f("p", http.StatusForbidden, "project", "other")
		f("d", http.StatusForbidden)
		f("", http.StatusUnauthorized)
		f("", http.StatusUnauthorized, "project", "other")
		f("admin", http.StatusBadRequest)
	}
}

// FuzzQuery sends any query to the door, which answers and does not die.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		`sum by (device_id) (rate(uptime[5m]))`, `{__name__="com.example.climate/temperature"} offset 5m @ end()`,
		`max_over_time(rate(uptime[2m:30s])[5m:1m] @ start())`, `a or b and c unless on (d) e`, `label_replace(up, "a", "$1", "b", "(.*)")`,
		`histogram_quantile(0.9, sum by (le) (x))`, `with (a = b+b, b = c+c) a`, `1 > bool 2 ^ -3 % 4`, `topk(1, uptime) == on() group_left(x) vector(1)`,
		`absent(x{a="b"})`, `count_values("v", uptime)`, `((((1))))`, `"a" + "b"`, `x[5m:]`, "x{a=`b`}", `hour()`, `"`, `-{`, `x offset -1y`, `alias(x, "y")`, `ru`,
		`0x1F`, `1e3`, `5m`, `foo[1h] @ 1e9`, `default`, `"a" if "b"`, `sum(x) limit 3`, `x keep_metric_names`, `{a="b" or c="d"}`,
	} {
		f.Add(seed)
	}
	ds := &memory.Descriptors{}
	store := memory.New(ds)
	s := &tsdb.Series{Project: "p", Metric: "uptime", Resource: "device", ResourceLabels: tsdb.Labels{{Name: "device_id", Value: "d1"}}}
	for i := range 10 {
		require.NoError(f, store.Append(f.Context(), []tsdb.Sample{{Series: s, Time: tsdb.Millis(i * 60000), Value: float64(i)}}))
	}
	service := &prometheus.Service{
		Engine:    promql.New(store, ds, promql.Options{MaxSamples: 20000, Timeout: 5 * time.Second}),
		Authorize: func(*http.Request, string, string) error { return nil },
	}
	router := chi.NewRouter()
	service.Routes(router)
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"query?project=p&time=300&query=", "query_range?project=p&start=0&end=600&step=60&query=", "series?project=p&end=600&match[]="} {
			w := httptest.NewRecorder()
			begun := time.Now()
			router.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/prometheus/api/v1/"+path+url.QueryEscape(query), nil))
			require.Contains(t, []int{200, 400, 422}, w.Code, "%s", w.Body)
			require.True(t, json.Valid(w.Body.Bytes()))
			require.Less(t, time.Since(begun), 6*time.Second)
		}
	})
}

// full is a memory that has none left.
type full struct{}

// Begin implements promql.Memory.
func (full) Begin(context.Context, int64) (func(int64) error, func(), error) {
	return nil, nil, &fault.Error{Op: "test", Kind: fault.Exhausted, Reason: "QUERIES_BUSY", Err: soon{}}
}

// soon is an error that passes.
type soon struct{}

// Error implements error.
func (soon) Error() string { return "other queries took all" }

// RetryAfter implements fault.RetryAfter.
func (soon) RetryAfter() time.Duration { return 3 * time.Second }

// TestErrors_OthersTookAll shows that a client is told to try again.
func TestErrors_OthersTookAll(t *testing.T) {
	t.Parallel()
	status, body := caller{server(t, promql.Options{Memory: full{}}), "p"}.do(t.Context(), t, http.MethodGet, "query", "query", "1")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.JSONEq(t, `{"status":"error","errorType":"unavailable","error":"other queries took all"}`, body)
}

// TestAnswers_ArePackedAndCut asks for much, packed and not, and for less than
// there is.
func TestAnswers_ArePackedAndCut(t *testing.T) {
	t.Parallel()
	c := caller{server(t, promql.Options{}), "p"}
	raw := func(accept, query string) (string, []byte) {
		t.Helper()
		target := c.srv.URL + "/prometheus/api/v1/query_range?start=1748700000&end=1748779200&step=10&query=" + url.QueryEscape(query)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		require.NoError(t, err)
		req.Header.Set("X-Test-Caller", "p")
		req.Header.Set("Accept-Encoding", accept)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "Accept-Encoding", resp.Header.Get("Vary"))
		return resp.Header.Get("Content-Encoding"), data
	}
	encoding, plain := raw("identity", "vector(1)")
	require.Empty(t, encoding)
	require.True(t, json.Valid(plain))
	for _, accept := range []string{"gzip", "deflate, gzip;q=0.5", "br,gzip ; q=1"} {
		encoding, packed := raw(accept, "vector(1)")
		require.Equal(t, "gzip", encoding, accept)
		require.Less(t, len(packed)*3, len(plain))
		z, err := gzip.NewReader(bytes.NewReader(packed))
		require.NoError(t, err)
		data, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, plain, data)
	}
	for _, accept := range []string{"", "br", "gzip; q=0"} {
		encoding, _ := raw(accept, "vector(1)")
		require.Empty(t, encoding, accept)
	}
	encoding, _ = raw("gzip", "none")
	require.Empty(t, encoding, "it is too short")

	cut := `"warnings":["results truncated due to limit"]`
	f := func(path string, has bool, pairs ...string) {
		t.Helper()
		status, body := c.do(t.Context(), t, http.MethodGet, path, pairs...)
		require.Equal(t, http.StatusOK, status, "%s", body)
		require.Equal(t, has, strings.Contains(body, cut), "%s", body)
	}
	f("query", true, "query", `{"com.example.climate/temperature"}`, "time", "1748779200", "limit", "1")
	f("query", false, "query", `{"com.example.climate/temperature"}`, "time", "1748779200", "limit", "2")
	f("labels", true, "end", "1748779200", "limit", "5")
	f("labels", false, "end", "1748779200", "limit", "6")
	f("series", true, "end", "1748779200", "limit", "1", "match[]", `{device_id!=""}`)
	status, body := c.do(t.Context(), t, http.MethodGet, "query", "query", `rate({"com.example.climate/temperature"}[5m])`, "time", "1748779200")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"infos":["PromQL info: metric might not be a counter`)
}
