package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/tests/process"
)

// httpCall is a request as a client sends it.
type httpCall struct {
	method, path, body string
	// header is "NAME: VALUE" lines.
	header []string
}

// send sends a request as the holder of a key, "" for nobody, and returns the
// status and the body of the answer.
func send(t *testing.T, p *process.Platform, key string, c httpCall) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), c.method, p.URL+c.path, strings.NewReader(c.body))
	require.NoError(t, err)
	for _, h := range c.header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(body)
}

// must is send of a call that must succeed.
func must(t *testing.T, p *process.Platform, key string, c httpCall) string {
	t.Helper()
	status, body := send(t, p, key, c)
	require.Equal(t, 2, status/100, "%s %s: %d %s", c.method, c.path, status, body)
	return body
}

// snap packs data as a snappy block of literals.
func snap(data []byte) string {
	out := protowire.AppendVarint(nil, uint64(len(data)))
	for part := range slices.Chunk(data, 60) {
		out = append(append(out, byte(len(part)-1)<<2), part...)
	}
	return string(out)
}

// writes are calls that write a point of a metric with a label, by door. The
// project is named in each way that a door knows.
func writes(project, metric, label string, at time.Time) map[string]httpCall {
	ms := at.UnixMilli()
	series := fmt.Sprintf(`{"timeSeries":[{"metric":{"type":%q,"labels":{"l":%q}},"points":[{"interval":{"endTime":%q},"value":{"doubleValue":1}}]}]`,
		metric+"/google", label, at.UTC().Format(time.RFC3339Nano))
	remote := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels: []prompb.Label{{Name: "__name__", Value: metric + "_remote"}, {Name: "l", Value: label}}, Samples: []prompb.Sample{{Value: 1, Timestamp: ms}},
	}}}).MarshalProtobuf(nil)
	otlp := fmt.Sprintf(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":%q,"gauge":{"dataPoints":[{"asDouble":1,"timeUnixNano":"%d","attributes":[{"key":"l","value":{"stringValue":%q}}]}]}}]}]}]}`,
		metric+"_otlp", at.UnixNano(), label)
	line := fmt.Sprintf("%s,l=%s influx=1 %d\n", metric, label, at.UnixNano())
	json := []string{"Content-Type: application/json"}
	return map[string]httpCall{
		"google REST":    {http.MethodPost, "/v3/projects/" + project + "/timeSeries", series + "}", json},
		"google Connect": {http.MethodPost, "/google.monitoring.v3.MetricService/CreateTimeSeries", series + `,"name":"projects/` + project + `"}`, json},
		"remote write":   {http.MethodPost, "/prometheus/api/v1/write?project=" + project, snap(remote), []string{"Content-Type: application/x-protobuf", "Content-Encoding: snappy"}},
		"influx 1":       {http.MethodPost, "/influx/write", line, []string{"X-Selvedge-Project: " + project}},
		"influx 2":       {http.MethodPost, "/influx/api/v2/write?project=" + project, line, nil},
		"OTLP":           {http.MethodPost, "/v1/metrics?project=" + project, otlp, json},
		"import":         {http.MethodPost, "/v3/projects/" + project + "/timeSeries:import?format=influx", line, nil},
	}
}

// labelOf finds the values of the label l of the series of a metric.
func labelOf(t *testing.T, p *process.Platform, project, prefix string) []string {
	t.Helper()
	now := time.Now().UTC()
	query := url.Values{
		"filter":             {`metric.type = starts_with("` + prefix + `")`},
		"interval.startTime": {now.AddDate(-1, 0, 0).Format(time.RFC3339Nano)}, "interval.endTime": {now.Add(time.Hour).Format(time.RFC3339Nano)},
		"view": {"HEADERS"},
	}
	var answer struct {
		TimeSeries []struct {
			Metric struct{ Labels map[string]string }
		}
	}
	call(t, p, http.MethodGet, "/v3/projects/"+project+"/timeSeries", query, nil, &answer)
	var out []string
	for _, s := range answer.TimeSeries {
		out = append(out, s.Metric.Labels["l"])
	}
	slices.Sort(out)
	return out
}

// SPEC A6: the bound of series holds at every door, by its name, and counts in
// the ledger; those that there are go on, after a crash too.
func TestSeries_CardinalityLimitAtEveryDoor(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data, "--max-series", "12")
	now := time.Now().Add(-time.Minute)
	doors := writes("default", "m", "a", now)
	for name, c := range doors {
		must(t, p, process.AdminKey, c)
		_ = name
	}
	call(t, p, http.MethodPatch, "/v3/projects/default/timeSeriesBounds", nil, map[string]any{"maxSeries": len(labelOf(t, p, "default", "m"))}, nil)
	have := labelOf(t, p, "default", "m")
	for round := range 2 {
		for name, c := range writes("default", "m", "b", now) {
			status, body := send(t, p, process.AdminKey, c)
			if name != "OTLP" && name != "import" { // which answer 200 and tell what was refused
				require.Equal(t, 4, status/100, "%s: %s", name, body)
			}
			require.Contains(t, body, "CARDINALITY_LIMIT", name)
		}
		for name, c := range writes("default", "m", "a", now.Add(time.Second)) {
			_, body := send(t, p, process.AdminKey, c)
			require.NotContains(t, body, "CARDINALITY_LIMIT", name)
		}
		require.Equal(t, have, labelOf(t, p, "default", "m"))
		if round == 0 {
			require.NoError(t, p.Kill())
			p = start(t, data, "--max-series", "12")
		}
	}
	// Events count it in the ledger.
	register(t, p, "d1")
	accept(t, p, reading("d1", "1", time.Now(), map[string]any{"t": 1}))
	drained(t, p)
	require.Eventually(t, func() bool {
		_, body := send(t, p, process.AdminKey, httpCall{method: http.MethodGet, path: "/v1/projects/default/losses"})
		return strings.Contains(body, `"writer"`) && strings.Contains(body, "CARDINALITY_LIMIT") && strings.Contains(body, "collector-influx")
	}, startTimeout, 50*time.Millisecond)
	var report struct{ Series, Active, Limit int }
	call(t, p, http.MethodGet, "/v3/projects/default/timeSeries:cardinality", nil, nil, &report)
	require.Equal(t, len(have), report.Series)
	require.Equal(t, len(have), report.Active)
	require.Equal(t, len(have), report.Limit)
	stop(t, p)
}

// SPEC A6: what was deleted is gone at every door, and stays so when the
// process is killed right after; what comes later is there.
func TestSeries_DeletionSurvivesKill(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	register(t, p, "d1")
	at := time.Now().Add(-time.Hour)
	for round := range 2 {
		var events []map[string]any
		for i := range 50 {
			events = append(events, reading("d1", fmt.Sprint(round, "-", i), at.Add(time.Duration(i)*time.Second), map[string]any{"t": i, "other": i}))
		}
		accept(t, p, events...)
		for _, c := range writes("default", "m", "x", at) {
			must(t, p, process.AdminKey, c)
		}
		var deleted struct{ Series int }
		call(t, p, http.MethodPost, "/v3/projects/default/timeSeries:delete", nil, map[string]any{"filter": `metric.type = "com.example.climate/t"`}, &deleted)
		require.Equal(t, 1, deleted.Series)
		call(t, p, http.MethodPost, "/v3/projects/default/timeSeries:delete", nil, map[string]any{"filter": `metric.labels.l = "x"`}, &deleted)
		require.Positive(t, deleted.Series)
		for _, c := range writes("default", "m", "y", at) {
			must(t, p, process.AdminKey, c)
		}
		require.NoError(t, p.Kill())
		p = start(t, data)
		drained(t, p)
		got := querySeries(t, p, url.Values{
			"filter":             {`metric.type = starts_with("com.example.climate/")`},
			"interval.startTime": {at.Add(-time.Hour).Format(time.RFC3339Nano)}, "interval.endTime": {time.Now().Format(time.RFC3339Nano)},
		})
		require.Empty(t, got["com.example.climate/t d1"])
		require.Len(t, got["com.example.climate/other d1"], 50)
		require.Empty(t, slices.DeleteFunc(labelOf(t, p, "default", "m"), func(l string) bool { return l == "y" }))
	}
	stop(t, p)
}

// SPEC A6: a metric that is made again, of another kind, has none of the points
// from before.
func TestSeries_MetricMadeAgain(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	at := time.Now().Add(-time.Minute)
	influx := func(i int, value string) httpCall {
		return httpCall{http.MethodPost, "/influx/write?project=default", fmt.Sprintf("m,l=a v=%s %d\n", value, at.Add(time.Duration(i)*time.Second).UnixNano()), nil}
	}
	points := func() []point {
		return querySeries(t, p, url.Values{
			"filter":             {`metric.type = "m_v"`},
			"interval.startTime": {at.Add(-time.Hour).Format(time.RFC3339Nano)}, "interval.endTime": {time.Now().Format(time.RFC3339Nano)},
		})["m_v"]
	}
	for i := range 5 {
		must(t, p, process.AdminKey, influx(i, "1.5"))
	}
	require.Len(t, points(), 5)
	must(t, p, process.AdminKey, httpCall{method: http.MethodDelete, path: "/v3/projects/default/metricDescriptors/m_v"})
	require.Empty(t, points())
	must(t, p, process.AdminKey, influx(10, "true"))
	require.Equal(t, "true", points()[0].value)
	require.Len(t, points(), 1)
	require.Contains(t, must(t, p, process.AdminKey, httpCall{method: http.MethodGet, path: "/v3/projects/default/metricDescriptors/m_v"}), "BOOL",
		"the first point after the deletion made it")
	stop(t, p)
}

// SPEC A6: retention of a metric: older points are told at no door and refused
// at every one, and it can be seen before what it takes away.
func TestSeries_RetentionAtEveryDoor(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	old, young := time.Now().Add(-100*time.Hour), time.Now().Add(-time.Hour)
	for _, at := range []time.Time{old, young} {
		for _, c := range writes("default", "m", "a", at) {
			must(t, p, process.AdminKey, c)
		}
	}
	n := len(labelOf(t, p, "default", "m"))
	var bounds struct {
		Retention string
		WouldLose struct{ Series, Points int }
	}
	const path = "/v3/projects/default/timeSeriesBounds"
	call(t, p, http.MethodPatch, path, url.Values{"validateOnly": {"true"}}, map[string]any{"retention": "172800s"}, &bounds)
	require.Equal(t, n, bounds.WouldLose.Series)
	require.Equal(t, n, bounds.WouldLose.Points)
	require.Contains(t, promQuery(t, p, `count_over_time({__name__="m_influx"}[200h])`), `"2"`, "nothing is set yet")

	call(t, p, http.MethodPatch, path, nil, map[string]any{"retention": "172800s"}, nil)
	call(t, p, http.MethodPatch, path+"/m_remote", nil, map[string]any{"retention": "864000s"}, nil)
	require.Contains(t, promQuery(t, p, `count_over_time({__name__="m_influx"}[200h])`), `"1"`)
	require.Contains(t, promQuery(t, p, `count_over_time({__name__="m_remote"}[200h])`), `"2"`, "a metric's own goes before")
	csv := must(t, p, process.AdminKey, httpCall{method: http.MethodGet, path: "/v3/projects/default/timeSeries:export?" + url.Values{
		"format": {"csv"}, "filter": {`metric.labels.l = "a"`},
		"interval.startTime": {old.Add(-time.Hour).UTC().Format(time.RFC3339Nano)}, "interval.endTime": {time.Now().UTC().Format(time.RFC3339Nano)},
	}.Encode()})
	require.Equal(t, n+2, strings.Count(csv, "\n"), "a head, a point of each and one more of m_remote: %s", csv)
	for name, c := range writes("default", "m", "a", old.Add(time.Minute)) {
		_, body := send(t, p, process.AdminKey, c)
		if name == "remote write" {
			require.NotContains(t, body, "TOO_OLD", name)
			continue
		}
		require.Contains(t, body, "TOO_OLD", name)
	}
	call(t, p, http.MethodGet, path, nil, nil, &bounds)
	require.Equal(t, "172800s", bounds.Retention)
	stop(t, p)
}

// promQuery is the answer to an instant query.
func promQuery(t *testing.T, p *process.Platform, query string) string {
	t.Helper()
	return must(t, p, process.AdminKey, httpCall{method: http.MethodGet, path: "/prometheus/api/v1/query?project=default&query=" + url.QueryEscape(query)})
}

// SPEC A6: a snapshot that is made under writes is restored into an empty
// folder: all that was acknowledged before is there, and the answers are equal.
func TestSeries_SnapshotAndRestore(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	register(t, p, "d1")
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	end := at.Add(30 * time.Minute)
	for i := range 20 {
		var events []map[string]any
		for j := range 10 {
			events = append(events, reading("d1", fmt.Sprint(i, "-", j), at.Add(time.Duration(10*i+j)*time.Second), map[string]any{"t": i*10 + j}))
		}
		accept(t, p, events...)
		for _, c := range writes("default", "m", fmt.Sprint(i), at.Add(time.Duration(i)*time.Second)) {
			must(t, p, process.AdminKey, c)
		}
	}
	call(t, p, http.MethodPatch, "/v3/projects/default/timeSeriesBounds/m_influx", nil, map[string]any{"maxSeries": 20}, nil)
	// What is written meanwhile is later than what is asked for.
	ctx, cancel := context.WithCancel(bounded(t))
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/influx/write?project=default", strings.NewReader(fmt.Sprintf("busy,l=%d v=1 %d\n", i%50, time.Now().UnixNano())))
			if err != nil {
				return
			}
			req.Header.Set("Authorization", "Bearer "+process.AdminKey)
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close() // it is only load
			}
		}
	})
	archive := filepath.Join(t.TempDir(), "metrics.tar")
	line := newTerminal(t, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+process.AdminKey)
	line.ok("metrics", "snapshot", archive)
	cancel()
	writer.Wait()

	answers := func(p *process.Platform) []string {
		t.Helper()
		interval := url.Values{"interval.startTime": {at.Add(-time.Hour).UTC().Format(time.RFC3339Nano)}, "interval.endTime": {end.UTC().Format(time.RFC3339Nano)}}
		with := func(v ...string) string {
			q := maps.Clone(interval)
			for i := 0; i < len(v); i += 2 {
				q.Set(v[i], v[i+1])
			}
			return q.Encode()
		}
		var out []string
		for _, path := range []string{
			"/v3/projects/default/timeSeries:export?" + with("format", "ndjson", "filter", `metric.type = starts_with("")`),
			"/v3/projects/default/timeSeries?" + with("filter", `metric.type = "com.example.climate/t"`, "aggregation.alignmentPeriod", "60s", "aggregation.perSeriesAligner", "ALIGN_MEAN"),
			"/v3/projects/default/metricDescriptors?filter=" + url.QueryEscape(`metric.type = starts_with("m")`),
			"/v3/projects/default/timeSeriesBounds",
			fmt.Sprintf("/prometheus/api/v1/query_range?project=default&query=%s&start=%d&end=%d&step=60", url.QueryEscape(`sum({__name__="com.example.climate/t"}) + count(m_influx)`), at.Unix(), end.Unix()),
			fmt.Sprintf("/prometheus/api/v1/series?project=default&match[]=%s&start=%d&end=%d", url.QueryEscape(`{__name__=~"m.*"}`), at.Add(-time.Minute).Unix(), at.Add(time.Minute).Unix()),
		} {
			out = append(out, must(t, p, process.AdminKey, httpCall{method: http.MethodGet, path: path}))
		}
		return out
	}
	want := answers(p)
	require.Equal(t, 200+4*20, strings.Count(want[0], "\n"))
	stop(t, p)

	data := filepath.Join(t.TempDir(), "restored")
	line.ok("metrics", "restore", archive, "--data", data)
	line.fails(1, "there is something in", "metrics", "restore", archive, "--data", data)
	other := start(t, data)
	require.Equal(t, want, answers(other))
	for _, c := range writes("default", "n", "new", time.Now()) {
		must(t, other, process.AdminKey, c)
	}
	stop(t, other)
}

// SPEC A6: the command line draws and does all of it.
func TestSeries_CommandLine(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	line := newTerminal(t, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+process.AdminKey)
	at := time.Now().Add(-50 * time.Hour)
	var file strings.Builder
	for i := range 100 {
		_, _ = fmt.Fprintf(&file, "climate,room=r%d,floor=%d t=%d,door=%t %d\n", i, i%3, i, i%2 == 0, at.Add(time.Duration(i)*time.Minute).UnixNano())
	}
	line.file("rooms.lp", file.String()+"nonsense\n")
	out := line.ok("metrics", "import", "rooms.lp")
	require.Regexp(t, `201 +200 +1 +`, out)
	require.Contains(t, out, "INVALID_LINE")

	line.ok("metrics", "export", `metric.type = starts_with("climate")`, "--since", "100h", "--file", "rooms.ndjson")
	_, complaint, code := line.run("", "metrics", "import", "rooms.ndjson", "--project", "other")
	require.Zero(t, code, complaint)
	require.Contains(t, line.ok("metrics", "import", "rooms.ndjson", "--project", "other", "--from-project", "default"), "200")
	count := func(project string) string {
		return line.ok("metrics", "export", `metric.type = starts_with("climate")`, "--since", "100h", "--format", "csv", "--project", project)
	}
	require.Equal(t, strings.ReplaceAll(count("default"), `""project_id"":""default""`, `""project_id"":""other""`), count("other"))

	out = line.ok("metrics", "cardinality", "--since", "100h", "--top", "2")
	require.Regexp(t, `climate_door +100 +█{30}`, out)
	require.Regexp(t, `metric.labels.room +100 +█{30} +200`, out)
	require.Regexp(t, `metric.labels.floor +3 +▉`, out)
	require.Contains(t, line.ok("metrics", "cardinality", `metric.labels.floor = "1"`, "--since", "100h", "-o", "json"), `"series": 66`)

	out = line.ok("metrics", "retention", "--keep", "49h30m", "--dry-run")
	require.Regexp(t, `WOULD LOSE +(58|60|62) points`, out)
	require.Contains(t, line.ok("metrics", "retention"), "as long as can be")
	line.ok("metrics", "retention", "climate_t", "--keep", "49h", "--max-series", "500")
	require.Regexp(t, `climate_t +49h0m0s +500`, line.ok("metrics", "retention"))
	line.fails(2, "--keep", "metrics", "retention", "--keep", "soon")

	require.Contains(t, line.ok("metrics", "delete", `metric.labels.floor = "0"`, "--dry-run"), "68 series")
	require.Contains(t, line.ok("metrics", "delete", `metric.labels.floor = "0"`), "68 series")
	require.Contains(t, line.ok("metrics", "delete", `metric.labels.floor = "0"`), "0 series")
	line.fails(1, "filter", "metrics", "delete", "")
	line.fails(1, "UNKNOWN_FORMAT", "metrics", "import", "rooms.ndjson", "--format", "parquet")
	line.fails(1, "no such file", "metrics", "import", "none.csv")
	stop(t, p)
}

// SPEC A6: a query over its bound of memory ends with an error that says so, at
// both doors, and the server goes on.
func TestSeries_MemoryIsBounded(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), "--query-memory", fmt.Sprint(8<<20))
	end := time.Now().Add(-time.Hour).Truncate(time.Second)
	const series, points = 300, 2000 // 9.6 MB
	var file strings.Builder
	for i := range series {
		for j := range points {
			_, _ = fmt.Fprintf(&file, "m,l=%d v=%d %d\n", i, j, end.Add(-time.Duration(j)*time.Second).Unix())
		}
	}
	answer := must(t, p, process.AdminKey, httpCall{http.MethodPost, "/v3/projects/default/timeSeries:import?format=influx&precision=s", file.String(), nil})
	require.Contains(t, answer, fmt.Sprintf(`"accepted":%d`, series*points))
	list := func(reducer string, since time.Duration) (int, string) {
		return send(t, p, process.AdminKey, httpCall{method: http.MethodGet, path: "/v3/projects/default/timeSeries?" + url.Values{
			"filter": {`metric.type = "m_v"`}, "interval.startTime": {end.Add(-since).UTC().Format(time.RFC3339)}, "interval.endTime": {end.UTC().Format(time.RFC3339)},
			"aggregation.alignmentPeriod": {"1s"}, "aggregation.perSeriesAligner": {"ALIGN_MEAN"}, "aggregation.crossSeriesReducer": {reducer}, "pageSize": {"100"},
		}.Encode()})
	}
	for range 3 {
		status, body := list("REDUCE_PERCENTILE_99", points*time.Second)
		require.Equal(t, http.StatusTooManyRequests, status)
		require.Contains(t, body, "QUERY_TOO_LARGE")
		status, body = send(t, p, process.AdminKey, httpCall{
			method: http.MethodGet, path: fmt.Sprintf("/prometheus/api/v1/query_range?project=default&start=%d&end=%d&step=1&query=m_v", end.Unix()-points+1, end.Unix()),
		})
		require.Equal(t, http.StatusUnprocessableEntity, status, body)
		require.Contains(t, body, "bytes")
		status, body = list("REDUCE_PERCENTILE_99", 60*time.Second)
		require.Equal(t, http.StatusOK, status, body)
	}
	stop(t, p)
}
