package vm

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// partLayouts are the layouts that parts are tested with.
var partLayouts = []tsdb.Buckets{
	{},
	{Kind: tsdb.LinearBuckets, Finite: 4, Width: 2.5, Offset: -1},
	{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0, 4}},
	{Kind: tsdb.DynamicBuckets, Compression: 20},
}

// columnsOf are the parts of distributions by time, without those that drop
// chooses.
func columnsOf(points map[int64]*tsdb.Distribution, drop func(part string, t int64) bool) []*partColumn {
	byPart := map[string]*partColumn{}
	var all []*partColumn
	var e exploder
	for t := range int64(len(points)) {
		e.explode(points[t], func(part string, value float64) {
			if drop(part, t) {
				return
			}
			c := byPart[part]
			if c == nil {
				c = &partColumn{part: part}
				byPart[part], all = c, append(all, c)
			}
			c.times, c.values = append(c.times, t), append(c.values, value)
		})
	}
	return all
}

// assembled is what parts make when there is room enough.
func assembled(columns []*partColumn) tsdb.Points {
	points, _, _ := assemble(columns, math.MaxInt)
	return points
}

// What was taken apart is put together again, and what is not whole, because
// parts did not reach the disk before a crash, is not told: neither as it is not
// nor at all. SPEC A6
func TestAssemble_WholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		points := map[int64]*tsdb.Distribution{}
		for i := range rapid.Int64Range(1, 5).Draw(rt, "points") {
			values := rapid.SliceOfN(rapid.Float64Range(-5, 9), 0, 8).Draw(rt, "values")
			points[i] = distribution.Of(rapid.SampledFrom(partLayouts).Draw(rt, "layout"), values...)
		}
		whole := assembled(columnsOf(points, func(string, int64) bool { return false }))
		require.Equal(rt, len(points), whole.Len())
		for i, at := range whole.Times {
			require.Equal(rt, points[int64(at)], whole.Distributions[i])
		}
		torn := map[int64]bool{}
		part := assembled(columnsOf(points, func(_ string, t int64) bool {
			drop := rapid.IntRange(0, 9).Draw(rt, "drop") == 0
			torn[t] = torn[t] || drop
			return drop
		}))
		for i, at := range part.Times {
			require.False(rt, torn[int64(at)], "%d", at)
			require.Equal(rt, points[int64(at)], part.Distributions[i])
		}
		require.Equal(rt, len(points)-len(torn)+falses(torn), part.Len())
	})
}

// falses is how many are false.
func falses(m map[int64]bool) int {
	n := 0
	for _, v := range m {
		if !v {
			n++
		}
	}
	return n
}

// What others wrote into the label of parts is passed over.
func TestAssemble_Foreign(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"", "count nonsense", "count explicit", "x mean", "x 99999999999999999999", "count"} {
		c := &partColumn{part: part, times: []int64{1}, values: []float64{5}}
		require.Empty(t, assembled([]*partColumn{c}).Distributions, part)
	}
	hash := hashOf("explicit 1")
	columns := []*partColumn{
		{part: "count explicit 1", times: []int64{1}, values: []float64{1}},
		{part: hash + " mean", times: []int64{1}, values: []float64{1}},
		{part: hash + " deviation", times: []int64{1}, values: []float64{0}},
		{part: hash + " 0", times: []int64{1}, values: []float64{1}},
		{part: hash + " -1", times: []int64{1}, values: []float64{1}},
		{part: hash + " 2", times: []int64{1}, values: []float64{1}},
		{part: hash + " 1 median", times: []int64{1}, values: []float64{1}},
	}
	require.Len(t, assembled(columns).Distributions, 1)
}

// What a store can not keep is refused with the reason, by Check and by Append.
func TestStore_DistributionReasons(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	remote, err := Connect("http://127.0.0.1:1", Options{})
	require.NoError(t, err)
	f := func(embedded, overNetwork string, change func(*tsdb.Sample)) {
		t.Helper()
		sample := tsdb.Sample{
			Series: &tsdb.Series{Project: "p", Metric: "m", ValueType: tsdb.Distributed},
			Time:   tsdb.Millis(time.Now().UnixMilli()), Distribution: distribution.Of(partLayouts[1], 1, 2),
		}
		change(&sample)
		require.Equal(t, embedded, s.Check(sample))
		require.Equal(t, overNetwork, remote.Check(sample))
		if err := s.Append(t.Context(), []tsdb.Sample{sample}); embedded != "" {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Equal(t, embedded, fault.ReasonOf(err))
		} else {
			require.NoError(t, err)
		}
	}
	bounds := func(n int) *tsdb.Distribution {
		b := tsdb.Buckets{Kind: tsdb.ExplicitBuckets}
		for i := range n {
			b.Bounds = append(b.Bounds, math.Sqrt(float64(i)+2))
		}
		return distribution.Of(b, 1)
	}
	f("", "", func(*tsdb.Sample) {})
	f(NoDistribution, NoDistribution, func(x *tsdb.Sample) { x.Distribution = nil })
	f(TooOld, TooOld, func(x *tsdb.Sample) { x.Time = 5 * 86_400_000 })
	f(distribution.NegativeCount, distribution.NegativeCount, func(x *tsdb.Sample) { x.Distribution = &tsdb.Distribution{Count: -1} })
	f("", LayoutTooLarge, func(x *tsdb.Sample) { x.Distribution = bounds(300) })
	f(LayoutTooLarge, LayoutTooLarge, func(x *tsdb.Sample) { x.Distribution = bounds(900) })
	labels := tsdb.Labels{}
	for i := range remoteLabels - 3 {
		labels = append(labels, tsdb.Label{Name: strings.Repeat("l", i+1), Value: "v"})
	}
	f("", InvalidSeries, func(x *tsdb.Sample) { x.Series.MetricLabels = labels })
	require.Equal(t, NoDistribution, s.Check(tsdb.Sample{
		Series: &tsdb.Series{Project: "p", Metric: "m"}, Time: tsdb.Millis(time.Now().UnixMilli()), Distribution: bounds(1),
	}))
}

// A request to a server has so many parts at most, and one distribution is in
// one request.
func TestPartsWithin(t *testing.T) {
	t.Parallel()
	samples := make([]tsdb.Sample, 4)
	for i := range samples {
		samples[i].Distribution = distribution.Of(partLayouts[2], 1, 5) // seven parts, and three places
	}
	require.Equal(t, 1, partsWithin(samples, 3))
	require.Equal(t, 1, partsWithin(samples, 15))
	require.Equal(t, 2, partsWithin(samples, 16))
	require.Equal(t, 4, partsWithin(samples, 32))
	samples[0].Distribution = nil
	require.Equal(t, 2, partsWithin(samples, 9))
}

// distributionsOfADay are distributions of series, one a minute, with eight of
// twenty buckets filled.
func distributionsOfADay(series int) []tsdb.Sample {
	layout := tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 20, Growth: 2, Scale: 0.001}
	end := tsdb.Millis(time.Now().Truncate(time.Minute).UnixMilli())
	var samples []tsdb.Sample
	for i := range series {
		s := &tsdb.Series{Project: "p", Metric: "m", ValueType: tsdb.Distributed, ResourceLabels: tsdb.Labels{{Name: "d", Value: strings.Repeat("x", i+1)}}}
		for j := range tsdb.Millis(1440) {
			var values []float64
			for k := range 8 {
				for range int(j)%5 + 1 {
					values = append(values, 0.001*float64(int(1)<<(k+i%5)))
				}
			}
			samples = append(samples, tsdb.Sample{Series: s, Time: end - j*60_000, Distribution: distribution.Of(layout, values...)})
		}
	}
	return samples
}

// BenchmarkDistributions appends a day of twenty series, and reads it.
func BenchmarkDistributions(b *testing.B) {
	samples := distributionsOfADay(20)
	open := func(b *testing.B) *Store {
		s, err := Open(b.TempDir(), Options{})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, s.Close()) })
		return s
	}
	b.Run("Append", func(b *testing.B) {
		s := open(b)
		b.ReportAllocs()
		for b.Loop() {
			require.NoError(b, s.Append(b.Context(), samples))
		}
		b.ReportMetric(float64(len(samples)*b.N)/b.Elapsed().Seconds(), "distributions/s")
	})
	b.Run("Select", func(b *testing.B) {
		s := open(b)
		require.NoError(b, s.Append(b.Context(), samples))
		require.NoError(b, s.Sync(b.Context()))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			require.NoError(b, s.Select(b.Context(), tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}}, func(_ *tsdb.Series, p tsdb.Points) error {
				n += p.Len()
				return nil
			}))
			require.Equal(b, len(samples), n)
		}
		b.ReportMetric(float64(len(samples)*b.N)/b.Elapsed().Seconds(), "distributions/s")
	})
}
