package tsdbtest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/memory"
)

// The layouts of the distributions that the suite writes.
var (
	linear      = tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 4, Width: 2.5, Offset: -1}
	exponential = tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 6, Growth: math.Sqrt2, Scale: 0.1}
	explicit    = tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{-1e9, 0, 1.0 / 3, 5, 1e6}}
	dynamic     = tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: 20}
	layouts     = []tsdb.Buckets{{}, linear, exponential, explicit, dynamic}
)

// distributed is a series of distributions of a device.
func distributed(metric, device string) *tsdb.Series {
	s := gauge(metric, device)
	s.ValueType = tsdb.Distributed
	return s
}

// having is a sample with a distribution the given number of milliseconds after
// base.
func having(s *tsdb.Series, after tsdb.Millis, d *tsdb.Distribution) tsdb.Sample {
	return tsdb.Sample{Series: s, Time: base + after, Distribution: d}
}

// of is a distribution of values with explicit buckets.
func of(values ...float64) *tsdb.Distribution { return distribution.Of(explicit, values...) }

// exemplified is d with exemplars of values.
func exemplified(d *tsdb.Distribution, values ...float64) *tsdb.Distribution {
	c := *d
	var list []tsdb.Exemplar
	for i, v := range values {
		list = append(list, tsdb.Exemplar{
			Value: v, Time: base - tsdb.Millis(i), Span: distribution.SpanName("p", []byte("0123456789abcdef"), []byte("01234567")),
			Dropped: tsdb.Labels{{Name: "user", Value: "é"}},
		})
	}
	distribution.KeepExemplars(&c, list)
	return &c
}

// unranged is d without its range.
func unranged(d *tsdb.Distribution) *tsdb.Distribution {
	c := *d
	c.Range = nil
	return &c
}

// requireDistribution compares what was read with what was written: counts and
// layout exactly, other numbers as exactly as a storage keeps them.
func requireDistribution(t require.TestingT, want, got *tsdb.Distribution) {
	near := func(want, got float64) {
		require.InDelta(t, want, got, relativeError*max(1, math.Abs(want)))
	}
	near(want.Mean, got.Mean)
	near(want.SumOfSquaredDeviation, got.SumOfSquaredDeviation)
	require.Equal(t, want.Range == nil, got.Range == nil)
	if want.Range != nil {
		near(want.Range.Min, got.Range.Min)
		near(want.Range.Max, got.Range.Max)
	}
	require.Equal(t, want.Count, got.Count)
	require.Equal(t, want.Exemplars, got.Exemplars)
	require.Equal(t, slices.Clip(distribution.Canonical(want).Counts), got.Counts)
	a, b := want.Buckets, got.Buckets
	if a.Kind == tsdb.DynamicBuckets {
		require.Len(t, b.Bounds, len(a.Bounds))
		for i := range a.Bounds {
			near(a.Bounds[i], b.Bounds[i])
		}
		a.Bounds, b.Bounds = nil, nil
	}
	require.Equal(t, a, b)
}

// requireDistributions compares all that was read of a series.
func requireDistributions(t require.TestingT, got visited, times []tsdb.Millis, want ...*tsdb.Distribution) {
	require.Empty(t, got.values)
	require.Equal(t, tsdb.Distributed, got.series.ValueType)
	require.Len(t, got.distributions, len(want))
	for i, d := range want {
		require.Equal(t, base+times[i], got.times[i])
		requireDistribution(t, d, got.distributions[i])
	}
}

func testDistributions(t *testing.T, s *storeUnderTest) {
	values := []float64{-1e10, -3, 0, 0, 1.0 / 3, 2, 2, 5, math.Pi, 1e7}
	for i, layout := range layouts {
		a := distributed("m", fmt.Sprint(i))
		whole := distribution.Of(layout, values...)
		written := []*tsdb.Distribution{whole, {Buckets: layout}, unranged(whole), distribution.Of(layout, 4)}
		if layout.Kind == tsdb.ExplicitBuckets {
			written[3].Counts = append(written[3].Counts, 0) // and is handed out without it
		}
		times := []tsdb.Millis{0, 1000, 2000, 2 * 3600_000}
		for j := range written {
			s.add(t, having(a, times[j], written[j]))
		}
		for range 2 {
			got := s.read(t, all())[a.Key()]
			requireSameIdentity(t, a, got.series)
			requireDistributions(t, got, times, written...)
			require.NoError(t, s.Sync(t.Context()))
		}
		within := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: base + 500, End: base + 2000}}
		requireDistributions(t, s.read(t, within)[a.Key()], times[1:], written[1:3]...)
	}
	require.Len(t, s.read(t, all()), len(layouts))

	// Numbers are beside them.
	b := gauge("n", "0")
	s.add(t, at(b, 0, 5), having(distributed("m", "x"), 0, of(1)), at(b, 1, 6), having(distributed("m", "x"), 1, of(2)))
	got := s.read(t, all())
	require.Equal(t, []float64{5, 6}, got[b.Key()].values)
	requireDistributions(t, got[distributed("m", "x").Key()], []tsdb.Millis{0, 1}, of(1), of(2))
}

func testDistributionRepeated(t *testing.T, s *storeUnderTest) {
	f := func(device string, want *tsdb.Distribution, batches ...*tsdb.Distribution) {
		t.Helper()
		a := distributed("m", device)
		for i, d := range batches {
			s.add(t, having(a, 10, of(7)), having(a, 0, d))
			if i%2 == 1 {
				require.NoError(t, s.Sync(t.Context()))
			}
		}
		requireDistributions(t, s.read(t, all())[a.Key()], []tsdb.Millis{0, 10}, want, of(7))
	}
	one, two := of(1, 2, 7), of(1, 2, 2, 7, 8)
	f("same", one, one, one, one)
	f("ascending", distribution.Join(one, two), one, two)
	f("descending", distribution.Join(one, two), two, one)
	f("disjoint", distribution.Join(one, of(-5, -6)), of(-5, -6), one)
	f("negative", distribution.Join(of(-5), of(-6, -7)), of(-6, -7), of(-5))
	f("another layout", distribution.Of(linear, 3), one, distribution.Of(linear, 3))
	f("no range", one, unranged(two), one)
	f("empty", one, of(), one)
	f("empty last", one, one, of())
	told, toldMore := exemplified(one, 1, 7), exemplified(two, 8)
	f("exemplars", told, told, one, told)
	f("other exemplars", distribution.Join(told, toldMore), toldMore, told)
	f("dynamic", distribution.Join(distribution.Of(dynamic, 1, 2, 3), distribution.Of(dynamic, 5)), distribution.Of(dynamic, 1, 2, 3), distribution.Of(dynamic, 5))
}

func testDistributionsRefused(t *testing.T, s *storeUnderTest) {
	a := distributed("m", "a")
	bad := of(1, 2)
	bad.Counts = []int64{0, 1}
	err := s.Append(t.Context(), []tsdb.Sample{having(a, 0, of(1)), having(a, 10, bad)})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Equal(t, distribution.CountsDoNotSum, fault.ReasonOf(err))
	err = s.Append(t.Context(), []tsdb.Sample{having(a, 0, of(1)), at(a, 10, 1)})
	require.Equal(t, fault.Invalid, fault.KindOf(err), "a number in a series of distributions")
	require.Empty(t, s.read(t, all()), "a refused batch leaves nothing")
}

// manyDistributions is more than one block of any storage holds of a part.
const manyDistributions = 9000

func testManyDistributions(t *testing.T, s *storeUnderTest) {
	a := distributed("m", "a")
	var batch []tsdb.Sample
	want := func(i int) *tsdb.Distribution {
		d := distribution.Of(linear, float64(i%10), float64(i%3))
		if i/100%2 == 1 { // and back again
			d = of(float64(i%10), float64(i%3))
		}
		return d
	}
	for i := range manyDistributions {
		batch = append(batch, having(a, tsdb.Millis(i)*1000, want(i)))
		if len(batch) == 3000 {
			s.add(t, batch...)
			batch = batch[:0]
		}
	}
	s.add(t, batch...)
	got := s.read(t, all())[a.Key()]
	require.Len(t, got.distributions, manyDistributions)
	for i, d := range got.distributions {
		require.Equal(t, base+tsdb.Millis(i)*1000, got.times[i])
		if i%50 == 0 {
			requireDistribution(t, want(i), d)
		}
	}
}

func testDistributionBounds(t *testing.T, s *storeUnderTest) {
	d := of(1, 1, 7) // count, mean, deviation, two ends, two buckets in five places
	require.Equal(t, 9, distribution.Parts(d))
	for _, device := range []string{"a", "b", "c"} {
		s.add(t, having(distributed("m", device), 0, d), having(distributed("m", device), 100, d))
	}
	f := func(maxSeries, maxPoints int, exhausted bool) {
		t.Helper()
		sel := tsdb.Selection{
			Project: "p", Interval: tsdb.Interval{Start: base, End: base + 50},
			MaxSeries: maxSeries, MaxPoints: maxPoints,
		}
		err := s.Select(t.Context(), sel, func(*tsdb.Series, tsdb.Points) error { return nil })
		if exhausted {
			require.Equal(t, fault.Exhausted, fault.KindOf(err))
			return
		}
		require.NoError(t, err)
	}
	f(3, 27, false)
	f(2, 27, true)
	f(3, 26, true)
	d = exemplified(d, 1)
	require.Equal(t, 9+len(distribution.ExemplarNumbers(d.Exemplars)), distribution.Parts(d), "and the words of an exemplar")
	s.add(t, having(distributed("m", "a"), 0, d))
	f(3, 27+distribution.Parts(d)-9, false)
	f(3, 26+distribution.Parts(d)-9, true)
}

// testDistributionsMetamorphic is testMetamorphic for distributions: what stays
// is the Join of all.
func testDistributionsMetamorphic(t *testing.T, s *storeUnderTest) {
	draws := 0
	rapid.Check(t, func(rt *rapid.T) {
		draws++
		project := fmt.Sprintf("draw%d", draws)
		series := []*tsdb.Series{distributed("m", "a"), distributed("m", "b")}
		for _, x := range series {
			x.Project = project
		}
		sample := rapid.Custom(func(rt *rapid.T) tsdb.Sample {
			after := tsdb.Millis(rapid.IntRange(0, 12).Draw(rt, "after")) * 600_000
			values := rapid.SliceOfN(rapid.Float64Range(-3, 9), 0, 6).Draw(rt, "values")
			d := distribution.Of(rapid.SampledFrom(layouts).Draw(rt, "layout"), values...)
			if rapid.Bool().Draw(rt, "unranged") {
				d = unranged(d)
			}
			var exemplars []tsdb.Exemplar
			for range rapid.IntRange(0, 3).Draw(rt, "exemplars") {
				exemplars = append(exemplars, tsdb.Exemplar{
					Value: rapid.Float64Range(-3, 9).Draw(rt, "value"), Time: base + tsdb.Millis(rapid.IntRange(0, 9).Draw(rt, "time")),
					Text: rapid.SampledFrom([]string{"", "é\x00", "somewhat longer than the others"}).Draw(rt, "text"),
				})
			}
			distribution.KeepExemplars(d, exemplars)
			return having(rapid.SampledFrom(series).Draw(rt, "series"), after, d)
		})
		samples := rapid.SliceOfN(sample, 1, 20).Draw(rt, "samples")
		want := map[string]map[tsdb.Millis]*tsdb.Distribution{}
		for _, x := range samples {
			points := want[x.Series.Key()]
			if points == nil {
				points = map[tsdb.Millis]*tsdb.Distribution{}
				want[x.Series.Key()] = points
			}
			if have := points[x.Time]; have != nil {
				points[x.Time] = distribution.Join(have, x.Distribution)
			} else {
				points[x.Time] = x.Distribution
			}
		}
		again := rapid.SliceOf(rapid.SampledFrom(samples)).Draw(rt, "repeated")
		order := rapid.Permutation(append(slices.Clone(samples), again...)).Draw(rt, "order")
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(rt, "batch")
			require.NoError(rt, s.Append(t.Context(), order[:n]))
			order = order[n:]
		}
		sel := all()
		sel.Project = project
		got := s.read(t, sel)
		require.Len(rt, got, len(want))
		for key, points := range want {
			require.Len(rt, got[key].times, len(points))
			for i, at := range got[key].times {
				requireDistribution(rt, points[at], got[key].distributions[i])
			}
		}
	})
}

// testDistributionDescribed checks that of what a series holds only that is told
// which is of its metric's sort.
func testDistributionDescribed(t *testing.T, open func(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store) {
	ds := &memory.Descriptors{}
	for _, d := range []tsdb.Descriptor{
		{Project: "p", Type: "d", Kind: tsdb.Delta, ValueType: tsdb.Distributed, Unit: "s"},
		{Project: "p", Type: "n", Kind: tsdb.Delta, ValueType: tsdb.Double},
	} {
		_, err := ds.Ensure(t.Context(), d)
		require.NoError(t, err)
	}
	s := &storeUnderTest{open(t, t.TempDir(), ds)}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for _, metric := range []string{"d", "n"} {
		s.add(t, at(gauge(metric, "a"), 0, 1), having(distributed(metric, "a"), 0, of(1)))
	}
	got := s.read(t, all())
	require.Len(t, got, 2)
	d := got[gauge("d", "a").Key()]
	requireDistributions(t, d, []tsdb.Millis{0}, of(1))
	require.Equal(t, tsdb.Delta, d.series.Kind)
	require.Equal(t, "s", d.series.Unit)
	require.Equal(t, []float64{1}, got[gauge("n", "a").Key()].values)
}

// testDistributionsDurable checks that distributions are there for the next
// process, and merge with what comes then.
func testDistributionsDurable(t *testing.T, open func(t *testing.T, dir string) tsdb.Store) {
	dir := t.TempDir()
	a := distributed("m", "a")
	first := &storeUnderTest{open(t, dir)}
	told := exemplified(of(3), 3)
	first.add(t, having(a, 0, exemplified(of(1, 2), 1)), having(a, tsdb.Millis(2*time.Hour/time.Millisecond), told))
	require.NoError(t, first.Close())
	second := &storeUnderTest{open(t, dir)}
	second.add(t, having(a, 5, of(4)), having(a, 0, of(1, 2, 2)))
	require.NoError(t, second.Sync(t.Context()))
	requireDistributions(t, second.read(t, all())[a.Key()], []tsdb.Millis{0, 5, tsdb.Millis(2 * time.Hour / time.Millisecond)},
		distribution.Join(exemplified(of(1, 2), 1), of(1, 2, 2)), of(4), told)
	require.NoError(t, second.Close())
}

// testDeleteDistributions checks that a series of distributions is one series to
// who surveys and deletes.
func testDeleteDistributions(t *testing.T, s *operated) {
	a, b, n := distributed("m", "a"), distributed("m", "b"), gauge("n", "a")
	s.add(t, having(a, 0, exemplified(of(1, 2), 1)), having(a, 10, distribution.Of(linear, 3)), having(b, 0, of(4)), at(n, 0, 1))
	require.ElementsMatch(t, []string{a.Key(), b.Key(), n.Key()}, s.names(t))
	removed := s.remove(t, tsdb.Selection{Project: "p", Keep: func(x *tsdb.Series) bool { return x.Key() == a.Key() }})
	require.Equal(t, 1, removed)
	got := s.read(t, all())
	require.Len(t, got, 2)
	requireDistributions(t, got[b.Key()], []tsdb.Millis{0}, of(4))
	s.add(t, having(a, 20, of(5)))
	requireDistributions(t, s.read(t, all())[a.Key()], []tsdb.Millis{20}, of(5))
	require.Equal(t, 2, s.remove(t, tsdb.Selection{Project: "p", Metric: "m"}))
	require.Len(t, s.read(t, all()), 1)
}
