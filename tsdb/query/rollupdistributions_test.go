package query_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/vm"
)

// distributionDelta is how far means and deviations of the drawn values, which are
// below 50, may be off: they are sums.
const distributionDelta = 1e-7

// layouts are those that are drawn: the usual one, some that have bounds in common
// with it, and none.
var layouts = []tsdb.Buckets{
	{Kind: tsdb.LinearBuckets, Finite: 4, Width: 10},
	{Kind: tsdb.LinearBuckets, Finite: 8, Width: 5},
	{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0, 20, 33}},
	{Kind: tsdb.ExplicitBuckets, Bounds: []float64{7}},
	{},
	{Kind: tsdb.DynamicBuckets, Compression: 4},
}

// requireSame compares two distributions, to the last bit but for sums.
func requireSame(t require.TestingT, want, got *tsdb.Distribution, delta float64) {
	require.InDelta(t, want.Mean, got.Mean, delta)
	require.InDelta(t, want.SumOfSquaredDeviation, got.SumOfSquaredDeviation, delta*float64(1+want.Count))
	same := *got
	same.Mean, same.SumOfSquaredDeviation = want.Mean, want.SumOfSquaredDeviation
	require.Equal(t, want, &same)
}

// distribution draws one of a series and an instant: of a count since a beginning
// mostly what it has come to, which begins again every 50 minutes.
func (r *rolling) distribution(series int, at time.Time) *tsdb.Distribution {
	rt := r.rt
	usual := rapid.IntRange(0, 11).Draw(rt, "usual") > 0
	layout := layouts[0]
	if !usual {
		layout = rapid.SampledFrom(layouts).Draw(rt, "layout")
	}
	n := rapid.IntRange(0, 6).Draw(rt, "values")
	if r.descriptor.Kind == tsdb.Cumulative && usual {
		n = 1 + int(at.Unix()%3000)/60
	}
	values := make([]float64, n)
	for i := range values {
		values[i] = float64((i*7919+series*31)%200) / 4
	}
	d := distribution.Of(layout, values...)
	if rapid.IntRange(0, 9).Draw(rt, "no range") == 0 {
		d.Range = nil
	}
	if rapid.IntRange(0, 3).Draw(rt, "with exemplars") == 0 {
		var all []tsdb.Exemplar
		for i := range min(2, n) {
			all = append(all, tsdb.Exemplar{Value: values[i], Time: tsdb.Millis(at.UnixMilli()), Text: strings.Repeat("x", 150)})
		}
		distribution.KeepExemplars(d, all)
	}
	return d
}

// asked asks for an aligner over the hours up to end, of the points and of the
// rollups.
func asked(t *testing.T, store tsdb.Store, k *rollup.Keeper, req query.Request) (want, got query.Page) {
	t.Helper()
	req.Project, req.Filter, req.Explain = "p", `metric.type = "m"`, true
	want, err := query.New(store, query.Options{}).List(t.Context(), req)
	require.NoError(t, err)
	got, err = query.New(store, query.Options{Rollups: k, Block: 1}).List(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, got.Results, len(want.Results))
	return want, got
}

// On the storage engine, with values of all digits: percentiles, counts and ranges
// are those of the points to the last bit.
func TestRollups_DistributionsOfVM(t *testing.T) {
	t.Parallel()
	for kind, aligners := range map[tsdb.MetricKind][]string{
		tsdb.Delta:      {"ALIGN_DELTA", "ALIGN_PERCENTILE_99", "ALIGN_PERCENTILE_05", "ALIGN_SUMMARY"},
		tsdb.Cumulative: {"ALIGN_DELTA"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			d := tsdb.Descriptor{Project: "p", Type: "m", Kind: kind, ValueType: tsdb.Distributed, Details: &tsdb.Details{
				Rollups: []tsdb.Rollup{{Period: time.Minute, Aligners: aligners}, {Period: time.Hour, Aligners: aligners}},
			}}
			store, err := vm.Open(t.TempDir(), vm.Options{Describe: func(project, _ string) (tsdb.Descriptor, bool) { return d, project == "p" }})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			const hours = 20
			k := keepRollups(t, store, rollup.Options{
				Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{d} }, Retention: (hours + 4) * time.Hour, Grace: time.Second,
			})
			end := time.Now().Truncate(time.Hour)
			random := rand.New(rand.NewPCG(1, 2))
			var values []float64 // of which a count has had more and more
			for range hours * 60 {
				values = append(values, random.NormFloat64()*15+20)
			}
			for range 3 { // the first in order, the others late
				var batch []tsdb.Sample
				for i := range 600 {
					minute := random.IntN(hours*60) + 1
					s := room("m", string(rune('a'+i%3)))
					s.ValueType = tsdb.Distributed
					of := values[:minute]
					if kind == tsdb.Delta {
						of = values[max(0, minute-5):minute]
					}
					batch = append(batch, tsdb.Sample{
						Series: s, Time: tsdb.Millis(end.Add(-hours*time.Hour + time.Duration(minute)*time.Minute - time.Second).UnixMilli()),
						Distribution: distribution.Of(layouts[0], of...),
					})
				}
				require.NoError(t, k.Append(t.Context(), batch))
				requireAlike(t, store, k, end, aligners)
				for more := true; more; {
					more, err = k.Step(t.Context())
					require.NoError(t, err)
				}
			}
			require.Zero(t, requireAlike(t, store, k, end, aligners), "points were read")
		})
	}
}

// requireAlike compares what rollups and points answer to questions of some
// aligners over 20 hours, and returns how many points were read beside rollups.
func requireAlike(t *testing.T, store tsdb.Store, k *rollup.Keeper, end time.Time, aligners []string) (samples int) {
	t.Helper()
	for _, aligner := range aligners {
		for _, period := range []time.Duration{5 * time.Minute, time.Hour, 3 * time.Hour} {
			want, got := asked(t, store, k, query.Request{
				Start: end.Add(-20 * time.Hour), End: end, Aggregation: query.Aggregation{AlignmentPeriod: period, PerSeriesAligner: aligner},
			})
			samples += got.Trace.Samples
			for i, w := range want.Results {
				g := got.Results[i].Points
				require.Equal(t, w.Points.Times, g.Times)
				require.Equal(t, w.Points.Values, g.Values)
				for j, d := range w.Points.Distributions {
					requireSame(t, d, g.Distributions[j], 1e-6)
				}
			}
		}
	}
	return samples
}

// apart is a bed of an hourly rollup of a metric of distributions, whose hours are
// given: the points of each come a minute apart.
func apart(t *testing.T, store tsdb.Store, d tsdb.Descriptor, hours ...[]*tsdb.Distribution) *rollup.Keeper {
	t.Helper()
	d.Project, d.Type, d.ValueType = "p", "m", tsdb.Distributed
	k := keepRollups(t, store, rollup.Options{
		Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{d} }, Retention: 24 * time.Hour,
		Now: func() time.Time { return noon.Add(2 * time.Minute) },
	})
	s := room("m", "a")
	s.ValueType, s.Kind = tsdb.Distributed, d.Kind
	for i, points := range hours {
		for j, of := range points {
			at := noon.Add(time.Duration(i-len(hours))*time.Hour + time.Duration(j+1)*time.Minute)
			require.NoError(t, k.Append(t.Context(), []tsdb.Sample{{Series: s, Time: tsdb.Millis(at.UnixMilli()), Distribution: of}}))
		}
	}
	for more := true; more; {
		var err error
		more, err = k.Step(t.Context())
		require.NoError(t, err)
	}
	return k
}

// describing is a store of the metric.
func describing(d tsdb.Descriptor) tsdb.Store {
	d.Project, d.Type, d.ValueType = "p", "m", tsdb.Distributed
	ds := &memory.Descriptors{}
	if _, err := ds.Ensure(context.Background(), d); err != nil {
		panic("BUG: " + err.Error())
	}
	return memory.New(ds)
}

// hoursUpToNoon asks for an aligner and a reducer, over so many hours up to noon,
// in one window.
func hoursUpToNoon(n int, aligner, reducer string) query.Request {
	return query.Request{Start: noon.Add(-time.Duration(n) * time.Hour), End: noon, Aggregation: query.Aggregation{
		AlignmentPeriod: time.Duration(n) * time.Hour, PerSeriesAligner: aligner, CrossSeriesReducer: reducer,
	}}
}

// More exemplars than a storage takes of one distribution: a window that has them
// is read from the points when they are told, and only then.
func TestRollups_Exemplars(t *testing.T) {
	t.Parallel()
	d := tsdb.Descriptor{Kind: tsdb.Delta, Details: &tsdb.Details{Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_DELTA"}}}}}
	points := func(n int) (all []*tsdb.Distribution) {
		for i := range n {
			one := distribution.Of(tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 20, Width: 10}, float64(10*i+5))
			require.Zero(t, distribution.KeepExemplars(one, []tsdb.Exemplar{{Value: float64(10*i + 5), Time: tsdb.Millis(i), Text: strings.Repeat("x", 100)}}))
			all = append(all, one)
		}
		return all
	}
	store := describing(d)
	k := apart(t, store, d, points(2), points(12))
	f := func(aligner, reducer string, samples int) {
		t.Helper()
		want, got := asked(t, store, k, hoursUpToNoon(2, aligner, reducer))
		require.Empty(t, got.Trace.Why)
		require.Equal(t, samples, got.Trace.Samples)
		require.Equal(t, want.Results[0].Points.Values, got.Results[0].Points.Values)
		for i, w := range want.Results[0].Points.Distributions {
			require.Len(t, w.Exemplars, 12)
			requireSame(t, w, got.Results[0].Points.Distributions[i], 1e-9)
		}
	}
	f("ALIGN_DELTA", "", 12)
	f("ALIGN_DELTA", "REDUCE_SUM", 12)
	f("ALIGN_DELTA", "REDUCE_PERCENTILE_99", 0)
	f("ALIGN_PERCENTILE_50", "", 0)
}

// What dynamic buckets make together depends on the order, so the points answer.
func TestRollups_DynamicBuckets(t *testing.T) {
	t.Parallel()
	d := tsdb.Descriptor{Kind: tsdb.Delta, Details: &tsdb.Details{Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_DELTA"}}}}}
	linear := func(values ...float64) *tsdb.Distribution { return distribution.Of(layouts[0], values...) }
	store := describing(d)
	k := apart(t, store, d,
		[]*tsdb.Distribution{linear(1, 2, 3), linear(4)}, []*tsdb.Distribution{linear(5), distribution.Summarize(6, 7, 8)}, []*tsdb.Distribution{linear(9), linear(1)})
	want, got := asked(t, store, k, hoursUpToNoon(3, "ALIGN_DELTA", ""))
	require.Contains(t, got.Trace.Why, "dynamic buckets")
	require.Equal(t, want.Trace.Samples, got.Trace.Samples)
	require.Zero(t, got.Trace.Windows)
	require.Len(t, got.Trace.Spans, 1)
	require.Equal(t, want.Results, got.Results)
	_, got = asked(t, store, k, hoursUpToNoon(1, "ALIGN_PERCENTILE_50", ""))
	require.Empty(t, got.Trace.Why, "they are in another hour")
	status, err := k.Statuses(t.Context(), "p", "m")
	require.NoError(t, err)
	require.EqualValues(t, 1, status[0].Stuck)
}

// Of a count since a beginning: a window in which it began again is read from the
// points, the others are not; a point alone has no change.
func TestRollups_Growing(t *testing.T) {
	t.Parallel()
	d := tsdb.Descriptor{Kind: tsdb.Cumulative, Details: &tsdb.Details{Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_DELTA"}}}}}
	linear := func(values ...float64) *tsdb.Distribution { return distribution.Of(layouts[0], values...) }
	store := describing(d)
	k := apart(t, store, d,
		[]*tsdb.Distribution{linear(5)},
		[]*tsdb.Distribution{linear(5, 15), linear(5, 15, 25)},
		[]*tsdb.Distribution{linear(5, 15, 25, 35), linear(45), linear(45, 5)},
		[]*tsdb.Distribution{linear(45, 5, 35), linear(45, 5, 35, 15)})
	f := func(hours int, samples int, count int64, counts []int64) {
		t.Helper()
		want, got := asked(t, store, k, hoursUpToNoon(hours, "ALIGN_DELTA", ""))
		require.Equal(t, want.Results, got.Results)
		require.Empty(t, got.Trace.Why)
		require.Equal(t, samples, got.Trace.Samples)
		require.Equal(t, count, got.Results[0].Points.Distributions[0].Count)
		require.Equal(t, counts, got.Results[0].Points.Distributions[0].Counts)
	}
	f(4, 3, 7, []int64{0, 1, 2, 1, 2, 1}) // 15 25 35, and after it began again 45 5 35 15
	f(1, 3, 2, []int64{0, 0, 1, 0, 1})    // 35 15, from the last point before
	req := hoursUpToNoon(1, "ALIGN_DELTA", "")
	req.Start, req.End = req.Start.Add(-3*time.Hour), req.End.Add(-3*time.Hour)
	want, got := asked(t, store, k, req)
	require.Empty(t, got.Trace.Why)
	require.Empty(t, want.Results)
}
