package promql_test

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/promql"
)

// world is a store with its descriptors.
type world struct {
	t           *testing.T
	store       *memory.Store
	descriptors *memory.Descriptors
}

// newWorld is an empty one.
func newWorld(t *testing.T) *world {
	ds := &memory.Descriptors{}
	return &world{t, memory.New(ds), ds}
}

// add has a metric of a device told a value each minute from 0 on; a NaN is none.
func (w *world) add(d tsdb.Descriptor, s tsdb.Series, values ...float64) {
	w.t.Helper()
	d.Project, s.Project, s.Metric, s.Resource = "p", "p", d.Type, "device"
	_, err := w.descriptors.Ensure(w.t.Context(), d)
	require.NoError(w.t, err)
	for i, v := range values {
		if !math.IsNaN(v) {
			require.NoError(w.t, w.store.Append(w.t.Context(), []tsdb.Sample{{Series: &s, Time: tsdb.Millis(i * 60_000), Value: v}}))
		}
	}
}

// labels are labels of pairs.
func labels(pairs ...string) tsdb.Labels {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return tsdb.LabelsOf(m)
}

// ask is the answer to a query at a minute, in the form NAME{LABELS} VALUE@SECOND
// without the label resource_type, or the error.
func (w *world) ask(minute int, query string) string {
	w.t.Helper()
	e := promql.New(w.store, w.descriptors, promql.Options{})
	r, err := e.Instant(w.t.Context(), promql.Query{Project: "p", Text: query, Start: tsdb.Millis(minute * 60_000)})
	if err != nil {
		return err.Error()
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	switch r.Type {
	case promql.Scalar:
		return number(r.Value)
	case promql.String:
		return r.Text
	}
	var all []string
	for _, s := range r.Series {
		name, pairs, points := "", []string{}, []string{}
		for _, l := range s.Labels {
			switch l.Name {
			case "__name__":
				name = l.Value
			case "resource_type":
			default:
				pairs = append(pairs, l.Name+"="+l.Value)
			}
		}
		for i, at := range s.Points.Times {
			text := number(s.Points.Values[i])
			if r.Type == promql.Matrix {
				text += "@" + number(float64(at)/1000)
			}
			points = append(points, text)
		}
		all = append(all, name+"{"+strings.Join(pairs, ",")+"} "+strings.Join(points, " "))
	}
	return strings.Join(all, "; ")
}

// TestInstant_Worked has answers that were worked by hand. That the engine answers
// as Prometheus does in general is shown by tests/clients/prometheus.
func TestInstant_Worked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := math.NaN()
	w.add(tsdb.Descriptor{Type: "n_total", Kind: tsdb.Cumulative}, tsdb.Series{MetricLabels: labels("k", "a")}, 0, 60, 120, 30, 90, 150)
	w.add(tsdb.Descriptor{Type: "n_total", Kind: tsdb.Cumulative}, tsdb.Series{MetricLabels: labels("k", "b")}, 0, 6, 12, 18, 24, 30)
	w.add(tsdb.Descriptor{Type: "temp"}, tsdb.Series{MetricLabels: labels("k", "a")}, 20, 22, gone, gone, gone, gone, gone, gone, 40)
	f := func(minute int, query, want string) {
		t.Helper()
		require.Equal(t, want, w.ask(minute, query), query)
	}
	f(5, `1 + 2 * 3 ^ 2 ^ 0.5 - -4`, "14.45760877567483") // 1 + 2*3^√2 + 4
	f(5, `-2 ^ 2`, "-4")
	f(5, `time()`, "300")
	f(5, `"a\tb"`, "a\tb")
	f(5, `temp`, "temp{k=a} 22")
	f(6, `temp`, "") // the last sample is five minutes old
	f(8, `temp - 20`, "{k=a} 20")
	f(9, `temp offset 8m`, "temp{k=a} 22")
	f(9, `temp @ 0`, "temp{k=a} 20")
	f(9, `temp @ end() offset 8m`, "temp{k=a} 22")
	f(9, `temp[9m] @ 60`, "temp{k=a} 20@0 22@60")
	f(5, `n_total{k="b"}[2m]`, "n_total{k=b} 24@240 30@300") // open on the left
	f(5, `rate(n_total{k="b"}[5m])`, "{k=b} 0.1")
	// 60, 120, 30, 90, 150 was reset once: 210 in 4 minutes, which are a minute of
	// five: from 60 back to zero is a minute too.
	f(5, `increase(n_total{k="a"}[5m])`, "{k=a} 262.5")
	f(5, `irate(n_total[2m])`, "{k=a} 1; {k=b} 0.1")
	f(5, `sum(n_total)`, "{} 180")
	f(5, `sum by (k) (n_total) > 100`, "{k=a} 150")
	f(5, `topk(1, n_total)`, "n_total{k=a} 150")
	f(5, `n_total / on (k) temp`, "{k=a} 6.818181818181818")
	f(5, `n_total and on (k) temp`, "n_total{k=a} 150")
	f(5, `n_total unless on (k) temp`, "n_total{k=b} 30")
	f(5, `max_over_time(sum(n_total)[4m:2m])`, "{} 132") // at 2 and 4 minutes
	f(5, `count_values("v", n_total)`, "{v=150} 1; {v=30} 1")
	f(5, `quantile(0.5, n_total)`, "{} 90")
	f(5, `absent(nothing{k="x", j=~"y"})`, "{k=x} 1")
	f(5, `label_replace(temp, "to", "$1!", "k", "(.*)")`, "temp{k=a,to=a!} 22")
	f(5, `hour() + minute()`, "{} 5")
	f(5, `n_total + n_total{k="a"} or temp * 2`, "{k=a} 300")
	f(5, `n_total * on () temp`, "promql.Query: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")
}

// TestNames shows how metrics and labels are named.
func TestNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(tsdb.Descriptor{Type: "com.example.climate/temperature"},
		tsdb.Series{MetricLabels: labels("device_id", "told", "room", "r 1"), ResourceLabels: labels("device_id", "d1", "project_id", "p")}, 20)
	w.add(tsdb.Descriptor{Type: "a/b"}, tsdb.Series{}, 1)
	w.add(tsdb.Descriptor{Type: "a.b"}, tsdb.Series{}, 2)
	f := func(query, want string) {
		t.Helper()
		require.Equal(t, want, w.ask(0, query), query)
	}
	whole := "com.example.climate/temperature{device_id=d1,exported_device_id=told,project_id=p,room=r 1} 20"
	for _, same := range []string{
		`{"com.example.climate/temperature"}`, `{__name__="com.example.climate/temperature"}`, `{'com.example.climate/temperature', room="r 1"}`,
		`com_example_climate_temperature`, `com_example_climate_temperature{"exported_device_id"="told"}`, `{__name__=~"com.+/.*"}`,
		`{resource_type="device", project_id="p"}`,
	} {
		f(same, whole)
	}
	f(`{"com.example.climate/temperature", device_id="told"}`, "")
	f(`{"a/b"}`, "a/b{} 1")
	f(`a_b`, `promql.Query: the name "a_b" is ambiguous: it can be any of ["a.b" "a/b"]; write {__name__="a.b"}`)
}

// TestDistributions shows a metric of distributions as the classic histogram that
// Prometheus would have.
func TestDistributions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(tsdb.Descriptor{Type: "wait", Kind: tsdb.Cumulative, ValueType: tsdb.Distributed}, tsdb.Series{})
	s := &tsdb.Series{Project: "p", Metric: "wait", Resource: "device", MetricLabels: labels("le", "mine"), Kind: tsdb.Cumulative, ValueType: tsdb.Distributed}
	for i := range 6 {
		n := int64(i + 1)
		require.NoError(t, w.store.Append(t.Context(), []tsdb.Sample{{Series: s, Time: tsdb.Millis(i * 60_000), Distribution: &tsdb.Distribution{
			Count: 10 * n, Mean: 1.5, Buckets: tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{1, 2}}, Counts: []int64{4 * n, 4 * n, 2 * n},
		}}}))
	}
	f := func(query, want string) {
		t.Helper()
		require.Equal(t, want, w.ask(5, query), query)
	}
	f(`wait_count`, "wait_count{le=mine} 60")
	f(`wait_sum / wait_count`, "{le=mine} 1.5")
	f(`sort(wait_bucket)`, "wait_bucket{exported_le=mine,le=1} 24; wait_bucket{exported_le=mine,le=2} 48; wait_bucket{exported_le=mine,le=+Inf} 60")
	f(`wait_bucket{le="2"}`, "wait_bucket{exported_le=mine,le=2} 48")
	f(`histogram_quantile(0.6, rate(wait_bucket[5m]))`, "{exported_le=mine} 1.5")
	f(`wait`, "")
	e := promql.New(w.store, w.descriptors, promql.Options{})
	found, err := e.LabelValues(t.Context(), promql.Browse{Project: "p", End: 300_000}, "le")
	require.NoError(t, err)
	require.Equal(t, []string{"+Inf", "1", "2", "mine"}, found)
	known, err := e.Metadata(t.Context(), "p", "wait_count")
	require.NoError(t, err)
	require.Equal(t, []promql.Metadata{{Metric: "wait", Type: "histogram"}}, known)
}

// TestRefused shows that what is no PromQL is refused, with the place of the
// mistake, and not half done.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := func(query, want string) {
		t.Helper()
		require.Equal(t, "promql.Query: "+want, w.ask(0, query), query[:min(len(query), 100)])
	}
	f("", "unknown position: parse error: no expression found in input")
	f("sum(x", `1:6: parse error: unexpected end of input, expected "," or ")"`)
	f("x +\n  )", `2:3: parse error: unexpected ")"`)
	f("rollup(x[5m])", `1:1: parse error: unknown function with name "rollup"`)
	f("with (a = b) a", `1:1: parse error: unknown function with name "with"`)
	f("x keep_metric_names", `1:3: parse error: unexpected identifier "keep_metric_names"`)
	f(`{a="b" or c="d"}`, `1:8: parse error: unexpected <or>, expected "," or "}"`)
	f("x default 0", `1:3: parse error: unexpected identifier "default"`)
	f("rate(x)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector")
	f("sum(x) limit 3", `1:8: parse error: unexpected identifier "limit"`)
	f("1Ki", `1:1: parse error: bad number or duration syntax: "1Ki"`)
	f("x[5m] anchored", "1:7: parse error: anchored modifier is experimental and not enabled")
	f("limitk(1, x)", "1:1: parse error: limitk() is experimental and not enabled")
	f("mad_over_time(x[5m])", `1:1: parse error: function "mad_over_time" is not enabled`)
	f("x + fill(0) y", "1:5: parse error: fill modifiers are experimental and not enabled")
	f(`x{a=~"("}`, "1:3: parse error: error parsing regexp: missing closing ): `^(?s:()$`")
	f("x\xff", "parse error: the query is not UTF-8")
	f(strings.Repeat("(", 501)+"1"+strings.Repeat(")", 501), "1:501: parse error: the query is nested more than 500 deep")
	f(strings.Repeat("-", 100_000)+"1", "1:501: parse error: the query is nested more than 500 deep")
	f("1"+strings.Repeat("+1", 10_000), "1:10001: parse error: the query has more than 10000 parts")
	f(strings.Repeat(" ", 256<<10)+"1", "the query is longer than 262144 bytes")
}

// TestNotes shows what is said about strange queries.
func TestNotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(tsdb.Descriptor{Type: "temp"}, tsdb.Series{}, 1, 2, 3)
	w.add(tsdb.Descriptor{Type: "energy", Kind: tsdb.Cumulative}, tsdb.Series{}, 1, 2, 3)
	e := promql.New(w.store, w.descriptors, promql.Options{})
	f := func(query string, infos, warnings []string) {
		t.Helper()
		r, err := e.Instant(t.Context(), promql.Query{Project: "p", Text: query, Start: 120_000})
		require.NoError(t, err)
		require.Equal(t, infos, r.Infos, query)
		require.Equal(t, warnings, r.Warnings, query)
	}
	f("rate(energy[5m])", nil, nil)
	f("1 +\nrate(temp[5m])", []string{`PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "temp" (2:6)`}, nil)
	f("quantile(2, temp)", nil, []string{"PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"})
	f("histogram_quantile(0.5, temp)", nil, []string{`PromQL warning: bucket label "le" is missing or has a malformed value of "" (1:25)`})
}

// TestBudget shows that the samples of a query are bounded by those that there are
// at once, and that the engine lives after one that needs more.
func TestBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 100 {
		w.add(tsdb.Descriptor{Type: "m"}, tsdb.Series{MetricLabels: labels("i", strconv.Itoa(i))}, 1, 2, 3, 4, 5)
	}
	e := promql.New(w.store, w.descriptors, promql.Options{MaxSamples: 10_000})
	ask := func(text string, steps int) error {
		_, err := e.Range(t.Context(), promql.Query{Project: "p", Text: text, Start: 0, End: tsdb.Millis(steps * 1000), Step: time.Second})
		return err
	}
	// 500 samples, and columns of 100 series at 20 steps: what one sum made is gone
	// when the next one is made.
	require.NoError(t, ask("sum(m)"+strings.Repeat(" + sum(m)", 50), 20))
	for _, text := range []string{"m", "sum(m)", "count_over_time(m[9m:1s])", "-m", "m > 1", "time() + vector(1) + on () group_right () m", "count_over_time(vector(1)[1y:1ms])"} {
		err := ask(text, 1000)
		require.Equal(t, promql.ReasonTooMuch, fault.ReasonOf(err), "%s: %v", text, err)
		require.Equal(t, fault.Exhausted, fault.KindOf(err))
	}
	require.NoError(t, ask("m", 10))
}

// stuck is a store whose selections take until they are cancelled.
type stuck struct{ *memory.Store }

// Select implements tsdb.Store.
func (stuck) Select(ctx context.Context, _ tsdb.Selection, _ func(*tsdb.Series, tsdb.Points) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestTurns shows that only so many queries run at once, that waiting counts for a
// query's time, and that a client that goes ends its query.
func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := promql.New(stuck{memory.New(nil)}, &memory.Descriptors{}, promql.Options{MaxConcurrent: 1, Timeout: time.Minute})
		ctx, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			_, err := e.Instant(ctx, promql.Query{Project: "p", Text: "m"})
			first <- err
		}()
		synctest.Wait()
		begun := time.Now()
		_, err := e.Instant(t.Context(), promql.Query{Project: "p", Text: "1", Timeout: 10 * time.Second})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(begun))
		leave()
		require.ErrorIs(t, <-first, context.Canceled)
		_, err = e.Instant(t.Context(), promql.Query{Project: "p", Text: "1"})
		require.NoError(t, err)
		_, err = e.Instant(t.Context(), promql.Query{Project: "p", Text: "m"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 70*time.Second, time.Since(begun))
	})
}

// TestTurns_OfProjects shows that one project cannot take all turns.
func TestTurns_OfProjects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := promql.New(stuck{memory.New(nil)}, &memory.Descriptors{}, promql.Options{MaxConcurrent: 4})
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				_, err := e.Instant(ctx, promql.Query{Project: "p", Text: "m"})
				require.ErrorIs(t, err, context.Canceled)
			})
		}
		synctest.Wait()
		begun := time.Now()
		_, err := e.Instant(t.Context(), promql.Query{Project: "other", Text: "1"})
		require.NoError(t, err)
		require.Zero(t, time.Since(begun))
		leave()
		all.Wait()
	})
}

// FuzzQuery evaluates any query, which is understood or refused, within its
// bounds.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		`sum by (k) (rate(n_total[5m])) / on (k) group_left (j) temp`, `{"a.b", c!~"d"}[5m:1m] offset -5m @ start()`, `-1 ^ +x atan2 0x1F`, `a or b and c unless ignoring () d`,
		`label_replace(x, "a", "${1}", "b", '\x41(.*)')`, `histogram_quantile(0.9, x) > bool 1h30m`, "topk(2, `x`) # c", `x </ y >/ 2`, `count_values without ("v") ("w", x)`, `sum by (__name__, k) (-{k=~".*"}) or label_join(rate({le!=""}[5m])[3m:1m], "__name__", "", "le")`,
	} {
		f.Add(seed)
	}
	store := memory.New(nil)
	for i := range 10 {
		s := &tsdb.Series{Project: "p", Metric: "x", Resource: "device", MetricLabels: labels("k", fmt.Sprint(i%2), "le", fmt.Sprint(i))}
		require.NoError(f, store.Append(f.Context(), []tsdb.Sample{{Series: s, Time: tsdb.Millis(i * 60_000), Value: float64(i)}}))
	}
	e := promql.New(store, &memory.Descriptors{}, promql.Options{MaxSamples: 20_000, Timeout: 5 * time.Second})
	f.Fuzz(func(t *testing.T, text string) {
		q := promql.Query{Project: "p", Text: text, Start: 300_000, End: 600_000, Step: time.Minute}
		for _, run := range []func(context.Context, promql.Query) (promql.Result, error){e.Instant, e.Range} {
			if _, err := run(t.Context(), q); err != nil {
				require.Contains(t, []string{promql.ReasonBadData, promql.ReasonExecution, promql.ReasonTooMuch}, fault.ReasonOf(err), "%v", err)
			}
		}
	})
}
