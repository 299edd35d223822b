package prometheus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	upstream "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/promql"
)

// withKey sends a key with every request, and names the project.
type withKey string

// RoundTrip implements http.RoundTripper.
func (k withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(k))
	r.Header.Set("X-Selvedge-Project", project)
	return http.DefaultTransport.RoundTrip(r)
}

// clientOf is Prometheus' own client of a platform.
func clientOf(t *testing.T, p *process.Platform) v1.API {
	t.Helper()
	c, err := api.NewClient(api.Config{Address: p.URL + "/prometheus", RoundTripper: withKey(process.AdminKey)})
	require.NoError(t, err)
	return v1.NewAPI(c)
}

// requestOf is the rows as a request of remote write.
func requestOf(all []row) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for _, one := range all {
		var s prompb.TimeSeries
		one.identity().Range(func(l labels.Label) { s.Labels = append(s.Labels, prompb.Label{Name: l.Name, Value: l.Value}) })
		for i, at := range one.points.Times {
			s.Samples = append(s.Samples, prompb.Sample{Timestamp: int64(at), Value: one.points.Values[i]})
		}
		req.Timeseries = append(req.Timeseries, s)
	}
	return req
}

// write sends the rows to an address by remote write.
func write(ctx context.Context, t *testing.T, url string, all []row) {
	t.Helper()
	body, err := requestOf(all).Marshal()
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(snappy.Encode(nil, body)))
	require.NoError(t, err)
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := (&http.Client{Transport: withKey(process.AdminKey)}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, resp.StatusCode, "%s", text)
}

// eventually tries until f says that it is so.
func eventually(ctx context.Context, t *testing.T, f func(ctx context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		done, err := f(ctx)
		if done {
			return
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			require.NoError(t, last)
			require.FailNow(t, "it did not become so")
		case <-tick.C:
		}
	}
}

// written waits until a client sees all points of the rows.
func written(ctx context.Context, t *testing.T, c v1.API, all []row, origin int) {
	t.Helper()
	want := 0
	for _, one := range all {
		want += one.points.Len()
	}
	end := time.UnixMilli(int64(origin) + 2*extent)
	eventually(ctx, t, func(ctx context.Context) (bool, error) {
		v, _, err := c.Query(ctx, `{job=~".+"}[2h]`, end)
		if err != nil {
			return false, err
		}
		got := 0
		for _, s := range v.(model.Matrix) {
			got += len(s.Values)
		}
		return got == want, fmt.Errorf("there are %d points, not %d", got, want)
	})
}

// resourced are the rows with the labels that their monitored resource adds.
func resourced(all []row) []row {
	made := make([]row, len(all))
	for i, one := range all {
		one.labels = labels.FromMap(one.labels).Map()
		one.labels["project_id"], one.labels["resource_type"] = project, "prometheus_target"
		made[i] = one
	}
	return made
}

// byHand are expressions beside the random ones: those that dashboards are made
// of, and mistakes.
var byHand = strings.Split(`1
time()
requests_total
requests_total[2m]
requests_total{job="a"}[5m:1m] offset 1m
sum(rate(requests_total[5m])) by (job)
sum by (job, path) (increase(requests_total[5m]))
100 * (1 - avg by (instance) (up))
histogram_quantile(0.95, sum by (le) (rate(latency_bucket[5m])))
topk(3, requests_total)
sort_desc(sum by (instance) (temperature))
{"com.example.climate/humidity"}
{__name__=~"com.*", "röm"!=""}
max_over_time({"com.example.climate/humidity", job="a"}[10m])
sum by ("röm") ({"com.example.climate/humidity"})
label_replace(up, "host", "$1", "instance", "i(.*)")
count_values("v", up)
up == 1
absent(nothing{job="x"})
requests_total / on (job, instance) group_left temperature
predict_linear(temperature[10m], 3600)
vector(1/0)
-vector(0/0)
sum(
sum(up) by
rate(up)
foo(up)
up{job=~"("}
up{}[5m] offset 1m @ 0
median(up)
up keep_metric_names
rollup(up[5m])
WITH (x = up) x
up limit 5
{job=""}
up or on (job) group_left () up
requests_total * on (job) up
label_replace(up, "", "", "", "")
label_replace(requests_total, "path", "", "", "")
count_values("", up)
topk(NaN, up)
sum_over_time(up)
1 + "a"
up offset 5m offset 5m
up[0s]
up[5m:][5m]
1 == 1`, "\n")

// corpus are instant and range queries, always the same.
func corpus(origin, random int) []promql.Query {
	var all []promql.Query
	for _, text := range byHand {
		at := tsdb.Millis(origin + 1000_000)
		all = append(all, promql.Query{Text: text, Start: at}, promql.Query{Text: text, Start: at, End: at + 600_000, Step: time.Minute})
	}
	gen := rapid.Custom(func(t *rapid.T) promql.Query { return queries(t, rapid.IntRange(0, 3).Draw(t, "depth"), origin) })
	for i := range random {
		q := gen.Example(i)
		// That name is ours for another, where the metric is known.
		q.Text = strings.ReplaceAll(q.Text, "com_example_climate_humidity", "absent_metric")
		all = append(all, q)
	}
	return all
}

// asked is the answer of a client.
func asked(ctx context.Context, c v1.API, q promql.Query) (parser.Value, error) {
	at := func(t tsdb.Millis) time.Time { return time.UnixMilli(int64(t)) }
	var v model.Value
	var err error
	if q.Step > 0 {
		v, _, err = c.QueryRange(ctx, q.Text, v1.Range{Start: at(q.Start), End: at(q.End), Step: q.Step})
	} else {
		v, _, err = c.Query(ctx, q.Text, at(q.Start))
	}
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *model.Scalar:
		return upstream.Scalar{T: int64(v.Timestamp), V: float64(v.Value)}, nil
	case *model.String:
		return upstream.String{T: int64(v.Timestamp), V: v.Value}, nil
	case model.Vector:
		made := upstream.Vector{}
		for _, s := range v {
			made = append(made, upstream.Sample{Metric: metricOf(s.Metric), T: int64(s.Timestamp), F: float64(s.Value)})
		}
		return made, nil
	case model.Matrix:
		made := upstream.Matrix{}
		for _, s := range v {
			one := upstream.Series{Metric: metricOf(s.Metric)}
			for _, p := range s.Values {
				one.Floats = append(one.Floats, upstream.FPoint{T: int64(p.Timestamp), F: float64(p.Value)})
			}
			made = append(made, one)
		}
		return made, nil
	}
	return nil, fmt.Errorf("the answer is a %T", v)
}

// metricOf are the labels of a client's answer.
func metricOf(m model.Metric) labels.Labels {
	pairs := map[string]string{}
	for k, v := range m {
		pairs[string(k)] = string(v)
	}
	return labels.FromMap(pairs)
}

// TestDoor_AsPrometheus writes random data to the program by remote write, and
// compares what its HTTP API answers to Prometheus' own client with what
// Prometheus' engine answers on the same data.
func TestDoor_AsPrometheus(t *testing.T) {
	t.Parallel()
	origin := int(time.Now().Add(-2 * time.Hour).Truncate(time.Minute).UnixMilli())
	all := rows(2, origin)
	p := start(t)
	write(t.Context(), t, p.URL+"/prometheus/api/v1/write", all)
	c := clientOf(t, p)
	written(t.Context(), t, c, all, origin)
	theirs, _ := inBoth(t, resourced(all))
	oracle := newOracle(t)
	answers, refusals := 0, 0
	queries := corpus(origin, 400)
	for _, text := range []string{
		`max(max_over_time({__name__=~'(up|temperature)', instance=~'i1|i2'}[5m])) by (__name__)`, `sum by (job) (rate({job=~".+"}[5m]))`, `-{job="a"}`,
	} {
		at := tsdb.Millis(origin + 1000_000)
		queries = append(queries, promql.Query{Text: text, Start: at}, promql.Query{Text: text, Start: at, End: at + 600_000, Step: time.Minute})
	}
	for _, q := range queries {
		want, _, wantErr := oracle.ask(t.Context(), theirs, q)
		got, gotErr := asked(t.Context(), c, q)
		require.Equal(t, wantErr != nil, gotErr != nil, "%s: Prometheus says %v, we say %v", q.Text, wantErr, gotErr)
		if wantErr != nil {
			refusals++
			continue
		}
		require.Empty(t, difference(want, got), "%s at %d to %d step %s", q.Text, q.Start, q.End, q.Step)
		answers++
	}
	t.Logf("%d answers, %d refusals", answers, refusals)
	require.Greater(t, answers, 400)
	require.Greater(t, refusals, 40)
}
