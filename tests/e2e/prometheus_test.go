package e2e

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// grafana asks as a Prometheus data source of Grafana does: with the key as the
// password of basic authentication, packed, queries by POST and the rest by GET.
type grafana struct {
	t   *testing.T
	url string
	key string
}

// ask is the data of an answer.
func (g grafana) ask(path string, pairs ...string) string {
	g.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	method, target, body := http.MethodGet, g.url+"/prometheus/api/v1/"+path+"?"+form.Encode(), ""
	if strings.HasPrefix(path, "query") {
		method, target, body = http.MethodPost, g.url+"/prometheus/api/v1/"+path, form.Encode()
	}
	req, err := http.NewRequestWithContext(bounded(g.t), method, target, strings.NewReader(body))
	require.NoError(g.t, err)
	req.SetBasicAuth("any", g.key)
	req.Header.Set("Accept-Encoding", "gzip")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(g.t, err)
	defer func() { require.NoError(g.t, resp.Body.Close()) }()
	var read io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		read, err = gzip.NewReader(resp.Body)
		require.NoError(g.t, err)
	}
	text, err := io.ReadAll(read)
	require.NoError(g.t, err)
	require.Equal(g.t, http.StatusOK, resp.StatusCode, "%s", text)
	var answer struct{ Data json.RawMessage }
	require.NoError(g.t, json.Unmarshal(text, &answer), "%s", text)
	return string(answer.Data)
}

// SPEC A6: what devices tell by events is what a stock Prometheus data source of
// Grafana finds, names with slashes and dots included.
func TestPrometheus_WhatGrafanaAsks(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	begin := time.Now().Add(-time.Hour).Truncate(time.Minute)
	var events []map[string]any
	for d := range 2 {
		device := fmt.Sprint("d", d)
		register(t, p, device)
		for i := range 30 {
			events = append(events, reading(device, fmt.Sprint(d, "-", i), begin.Add(time.Duration(i)*time.Minute), map[string]any{"temperature": 20 + d, "wh": i * 60}))
		}
	}
	accept(t, p, events...)
	drained(t, p)
	g := grafana{t, p.URL, keyOf(t, p, "projects/default")}
	span := []string{"start", strconv.FormatInt(begin.Unix(), 10), "end", strconv.FormatInt(begin.Add(30*time.Minute).Unix(), 10)}
	over := func(pairs ...string) []string { return append(pairs, span...) }

	// The health of the data source, and which version it is.
	require.Contains(t, g.ask("query", "query", "1+1", "time", "4"), `[4,"2"]`)
	require.Contains(t, g.ask("status/buildinfo"), `"version":"3.`)
	// The editor: metrics, labels, values.
	require.JSONEq(t, `["com.example.climate/temperature","com.example.climate/wh"]`, g.ask("label/__name__/values", span...))
	require.JSONEq(t, `["__name__","device_id","project_id","resource_type"]`, g.ask("labels", over("match[]", `{"com.example.climate/wh"}`)...))
	require.JSONEq(t, `["d0","d1"]`, g.ask("label/device_id/values", over("match[]", `com_example_climate_wh`)...))
	require.JSONEq(t, `["device"]`, g.ask("label/U__resource__type/values", span...))
	require.Contains(t, g.ask("metadata"), `"com.example.climate/temperature":[{"type":"gauge"`)
	require.Equal(t, "[]", g.ask("query_exemplars", over("query", "x")...))
	require.JSONEq(t, `{"groups":[]}`, g.ask("rules"))
	// A panel, and the same by the name that old editors can write.
	panel := g.ask("query_range", over("query", `sum by (device_id) ({"com.example.climate/temperature"})`, "step", "60")...)
	require.Equal(t, panel, g.ask("query_range", over("query", `sum by (device_id) (com_example_climate_temperature)`, "step", "1m")...))
	var matrix struct {
		Result []struct {
			Metric map[string]string
			Values [][2]any
		}
	}
	require.NoError(t, json.Unmarshal([]byte(panel), &matrix))
	require.Len(t, matrix.Result, 2)
	require.Equal(t, "d1", matrix.Result[1].Metric["device_id"])
	require.Equal(t, "21", matrix.Result[1].Values[7][1])
	at := strconv.FormatInt(begin.Add(20*time.Minute).Unix(), 10)
	require.Contains(t, g.ask("query", "query", `sum(rate({"com.example.climate/wh"}[10m]))`, "time", at), `"2"]`)

	// A distribution is a classic histogram.
	series := make([]map[string]any, 0, 3)
	for i := range 3 {
		end := begin.Add(time.Duration(10*(i+1)) * time.Minute)
		series = append(series, map[string]any{
			"metric": map[string]any{"type": "example.com/wait"}, "resource": map[string]any{"type": "global", "labels": map[string]any{"project_id": "default"}},
			"metricKind": "CUMULATIVE", "valueType": "DISTRIBUTION",
			"points": []any{map[string]any{
				"interval": map[string]any{"startTime": begin.Format(time.RFC3339), "endTime": end.Format(time.RFC3339)},
				"value": map[string]any{"distributionValue": map[string]any{
					"count": 10 * (i + 1), "mean": 2, "bucketOptions": map[string]any{"explicitBuckets": map[string]any{"bounds": []float64{1, 4}}},
					"bucketCounts": []int{2 * (i + 1), 8 * (i + 1), 0},
				}},
			}},
		})
	}
	for _, one := range series {
		call(t, p, http.MethodPost, "/v3/projects/default/timeSeries", nil, map[string]any{"timeSeries": []any{one}}, nil)
	}
	last := strconv.FormatInt(begin.Add(30*time.Minute).Unix(), 10)
	require.Contains(t, g.ask("query", "query", `{"example.com/wait_count"}`, "time", last), `"30"]`)
	require.Contains(t, g.ask("query", "query", `example_com_wait_sum / example_com_wait_count`, "time", last), `"2"]`)
	require.Contains(t, g.ask("query", "query", `histogram_quantile(0.6, sum by (le) (rate({"example.com/wait_bucket"}[30m])))`, "time", last), `"2.5"]`)
	require.JSONEq(t, `["+Inf","1","4"]`, g.ask("label/le/values", span...))
	require.Contains(t, g.ask("metadata", "metric", "example.com/wait"), `"type":"histogram"`)

	// Nothing of it was an error of ours, and no key is told.
	require.NoError(t, p.Kill())
	require.NotContains(t, p.Output(), "prometheus request failed")
	require.NotContains(t, p.Output(), process.AdminKey)
}
