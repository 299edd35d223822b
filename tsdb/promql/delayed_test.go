package promql_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/promql"
)

// cpus are two metrics of two hosts, of which one has a third metric alone.
func cpus(t *testing.T) *world {
	w := newWorld(t)
	for i, host := range []string{"h1", "h2"} {
		w.add(tsdb.Descriptor{Type: "cpu_user"}, tsdb.Series{MetricLabels: labels("host", host)}, 1, 5, float64(3+i))
		w.add(tsdb.Descriptor{Type: "cpu_system"}, tsdb.Series{MetricLabels: labels("host", host)}, 10, 20, float64(30+i))
	}
	w.add(tsdb.Descriptor{Type: "mem_free"}, tsdb.Series{MetricLabels: labels("host", "h1")}, 7, 8, 9)
	return w
}

// TestNames_Delayed shows what queries about several metrics answer, which fail when
// names are removed at once. That they answer as Prometheus with delayed removal is
// shown by tests/clients/prometheus.
func TestNames_Delayed(t *testing.T) {
	t.Parallel()
	w := cpus(t)
	f := func(query, want string) {
		t.Helper()
		require.Equal(t, want, w.ask(2, query), query)
	}
	same := "promql.Query: vector cannot contain metrics with the same labelset"
	f(`max(max_over_time({__name__=~'cpu_(user|system)', host=~'h1|h2'}[5m])) by (__name__)`, "cpu_system{} 31; cpu_user{} 5")
	f(`avg(avg_over_time({__name__=~"cpu_.*"}[5m])) by (__name__, host)`,
		"cpu_system{host=h1} 20; cpu_system{host=h2} 20.333333333333332; cpu_user{host=h1} 3; cpu_user{host=h2} 3.3333333333333335")
	f(`sum(-{__name__=~"cpu_.*"})`, "{} -68")
	f(`sum by (host) (max_over_time({__name__=~"cpu_.*"}[5m]))`, "{host=h1} 35; {host=h2} 36")
	f(`topk(2, sum by (__name__) (abs({__name__=~"cpu_.*"})))`, "cpu_system{} 61; cpu_user{} 7")
	f(`topk(1, sum by (__name__) (abs({__name__=~"cpu_.*"})))`, "{} 61") // as in Prometheus, since it can
	f(`label_replace(abs({__name__=~"cpu_.*", host="h1"}), "m", "$1", "__name__", "cpu_(.*)")`, "{host=h1,m=system} 30; {host=h1,m=user} 3")
	f(`label_join(abs({__name__=~"cpu_.*", host="h1"}), "__name__", ".", "host", "__name__")`, "h1.cpu_system{host=h1} 30; h1.cpu_user{host=h1} 3")
	f(`abs({__name__=~"cpu_.*"}) and on (__name__, host) cpu_user{host="h2"}`, "{host=h2} 4")
	f(`count(max_over_time(abs({__name__=~"cpu_.*"})[3m:1m]))`, "{} 4")
	// What loses the name after the aggregation has none, and nothing tells it apart.
	f(`sum by (__name__) (abs({__name__=~"cpu_.*"})) * 2`, same)
	f(`-{__name__=~"cpu_.*"}`, same)
	f(`abs({__name__=~"cpu_.*"})[2m:1m]`, same)
	// What has an answer without that is answered as ever.
	f(`sum by (__name__) (abs(cpu_user))`, "{} 7")
	f(`sum by (__name__) (abs({__name__=~"cpu_user|mem_free", host!="h1"}))`, "{} 4")
	f(`sum by (__name__, host) (abs({__name__=~"cpu_user|mem_free", host!="h1"}) or mem_free)`, "{host=h2} 4; mem_free{host=h1} 9")
	// A second mistake is told as it is.
	f(`sum(abs({__name__=~"cpu_.*"})) + on () {__name__=~"cpu_.*"}`, "promql.Query: found duplicate series for the match group on the right hand-side of the operation; "+
		"many-to-many matching not allowed: matching labels must be unique on one side")
}

// once is a memory of queries that wants to be begun and ended once.
type once struct {
	begun, ended int
	most         int64
}

// Begin implements promql.Memory.
func (o *once) Begin(context.Context, int64) (func(int64) error, func(), error) {
	o.begun++
	return func(n int64) error { o.most = max(o.most, n); return nil }, func() { o.ended++ }, nil
}

// SPEC A6: a query that is evaluated twice has the samples and the memory of one.
func TestNames_DelayedWithinSamples(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 100 {
		for _, name := range []string{"a", "b"} {
			w.add(tsdb.Descriptor{Type: name}, tsdb.Series{MetricLabels: labels("i", strconv.Itoa(i))}, 1, 2, 3, 4, 5)
		}
	}
	// 200 series at 10 steps, and as many negative ones.
	ask := func(samples int) (*once, error) {
		o := &once{}
		e := promql.New(w.store, w.descriptors, promql.Options{MaxSamples: samples, Memory: o})
		_, err := e.Range(t.Context(), promql.Query{Project: "p", Text: `count(-{__name__=~"a|b"})`, Start: 0, End: 9000, Step: time.Second})
		return o, err
	}
	o, err := ask(4100)
	require.NoError(t, err)
	require.Equal(t, 1, o.begun)
	require.Equal(t, 1, o.ended)
	require.LessOrEqual(t, o.most, int64(4100*16))
	_, err = ask(3900)
	require.Equal(t, promql.ReasonTooMuch, fault.ReasonOf(err), err)
}

// slow is a store whose selections take 40 seconds.
type slow struct{ *memory.Store }

// Select implements tsdb.Store.
func (s slow) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	select {
	case <-time.After(40 * time.Second):
		return s.Store.Select(ctx, sel, visit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SPEC A6: a query that is evaluated twice has the time of one.
func TestNames_DelayedWithinTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := cpus(t)
		q := promql.Query{Project: "p", Text: `count(abs({__name__=~"cpu_.*"}))`, Start: 120_000}
		begun := time.Now()
		_, err := promql.New(slow{w.store}, w.descriptors, promql.Options{Timeout: time.Minute}).Instant(t.Context(), q)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begun))
		r, err := promql.New(slow{w.store}, w.descriptors, promql.Options{Timeout: 90 * time.Second}).Instant(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, []float64{4}, r.Series[0].Points.Values)
	})
}
