package distribution_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// The layouts that the properties are shown with: some share bounds, the last
// two have none in common.
var layouts = []tsdb.Buckets{
	{},
	{Kind: tsdb.LinearBuckets, Finite: 10, Width: 1, Offset: 0},
	{Kind: tsdb.LinearBuckets, Finite: 3, Width: 2, Offset: 0},
	{Kind: tsdb.ExponentialBuckets, Finite: 4, Growth: 2, Scale: 1},
	{Kind: tsdb.ExponentialBuckets, Finite: 7, Growth: math.Sqrt2, Scale: 1},
	{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0, 4, 6, 8}},
	{Kind: tsdb.ExplicitBuckets, Bounds: []float64{-3.5, 0.5}},
}

// dynamic is the layout of summaries.
var dynamic = tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: distribution.Compression}

// drawValues draws some values, on and between bounds.
func drawValues(t *rapid.T, least int) []float64 {
	return rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(-5, 12), rapid.Map(rapid.IntRange(-5, 12), func(n int) float64 { return float64(n) })), least, 30).Draw(t, "values")
}

// draw draws a distribution with one of the layouts, with or without its range.
func draw(t *rapid.T, of []tsdb.Buckets) *tsdb.Distribution {
	d := distribution.Of(rapid.SampledFrom(of).Draw(t, "layout"), drawValues(t, 0)...)
	if rapid.Bool().Draw(t, "unranged") {
		d.Range = nil
	}
	return d
}

// requireNear compares two distributions: all that is counted exactly, and what
// is a sum up to rounding.
func requireNear(t require.TestingT, want, got *tsdb.Distribution) {
	require.InDelta(t, want.Mean, got.Mean, 1e-9)
	require.InDelta(t, want.SumOfSquaredDeviation, got.SumOfSquaredDeviation, 1e-6)
	a, b := *distribution.Canonical(want), *distribution.Canonical(got)
	a.Mean, a.SumOfSquaredDeviation, b.Mean, b.SumOfSquaredDeviation = 0, 0, 0, 0
	require.Equal(t, a.Buckets.Kind, b.Buckets.Kind)
	require.InDeltaSlice(t, a.Buckets.Bounds, b.Buckets.Bounds, 1e-9)
	a.Buckets.Bounds, b.Buckets.Bounds = nil, nil
	require.Equal(t, a, b)
}

// SPEC A6: what was counted in parts is what was counted together.
func TestMerge_OfPartsIsOfTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		layout := rapid.SampledFrom(layouts).Draw(t, "layout")
		var all []float64
		var parts []*tsdb.Distribution
		for range rapid.IntRange(1, 5).Draw(t, "parts") {
			values := drawValues(t, 0)
			all = append(all, values...)
			parts = append(parts, distribution.Of(layout, values...))
			require.NoError(t, distribution.Validate(parts[len(parts)-1]))
		}
		requireNear(t, distribution.Of(layout, all...), distribution.Merge(parts...))
	})
}

// Different bounds go to those that both have, and the counts there are those
// of the values: nothing is interpolated.
func TestMerge_CommonBoundsAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// The bounds of the fifth are rounded, so that a value on one of them may
		// be on the other side of the same bound of another layout.
		exact := append(append([]tsdb.Buckets(nil), layouts[1:4]...), layouts[5:]...)
		b := rapid.SliceOfNDistinct(rapid.SampledFrom(exact), 2, 3, func(b tsdb.Buckets) string {
			return distribution.Layout(&tsdb.Distribution{Buckets: b})
		}).Draw(t, "layouts")
		var all []float64
		var parts []*tsdb.Distribution
		for _, layout := range b {
			values := drawValues(t, 1)
			all = append(all, values...)
			parts = append(parts, distribution.Of(layout, values...))
		}
		got := distribution.Merge(parts...)
		require.NoError(t, distribution.Validate(got))
		if got.Buckets.Kind == tsdb.NoBuckets {
			require.Empty(t, got.Counts)
			return
		}
		requireNear(t, distribution.Of(got.Buckets, all...), got)
	})
}

// Merge is associative and commutative up to rounding, and changes none of its
// arguments.
func TestMerge_OrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := draw(t, layouts), draw(t, layouts), draw(t, layouts)
		before := *a
		left := distribution.Merge(distribution.Merge(a, b), c)
		right := distribution.Merge(a, distribution.Merge(b, c))
		requireNear(t, left, right)
		requireNear(t, left, distribution.Merge(c, b, a))
		require.NoError(t, distribution.Validate(left))
		require.Equal(t, before, *a)
	})
	require.Nil(t, distribution.Merge())
}

func TestMerge_Bounds(t *testing.T) {
	t.Parallel()
	linear := distribution.Of(layouts[1], 0.5, 3.5, 9.5)  // 0 to 10 by 1
	explicit := distribution.Of(layouts[5], 0.5, 5, 7, 9) // 0 4 6 8
	got := distribution.Merge(linear, explicit)
	require.Equal(t, tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0, 4, 6, 8}}, got.Buckets)
	require.Equal(t, []int64{0, 3, 1, 1, 2}, got.Counts)
	require.Equal(t, int64(7), got.Count)
	require.Equal(t, tsdb.Range{Min: 0.5, Max: 9.5}, *got.Range)
	require.InDelta(t, 5.0, got.Mean, 1e-12)

	// The bounds of exponential buckets are the same when they are computed
	// from another scale.
	coarse := distribution.Of(layouts[3], 1, 3)
	fine := distribution.Of(layouts[4], 1, 3)
	require.InDeltaSlice(t, []float64{1, 2, 4, 8}, distribution.Merge(coarse, fine).Buckets.Bounds, 1e-9)

	// No common bound is no histogram; mean and count are still exact.
	got = distribution.Merge(linear, distribution.Of(layouts[6], 1))
	require.Equal(t, tsdb.NoBuckets, got.Buckets.Kind)
	require.Nil(t, got.Counts)
	require.Equal(t, int64(4), got.Count)

	// Who knows no range leaves none.
	unranged := *linear
	unranged.Range = nil
	require.Nil(t, distribution.Merge(linear, &unranged).Range)
}

// SPEC A6: a cumulative distribution less an earlier one is what came between.
func TestSubtract_IsTheInverse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		layout := rapid.SampledFrom(layouts).Draw(t, "layout")
		a, b := distribution.Of(layout, drawValues(t, 0)...), distribution.Of(layout, drawValues(t, 1)...)
		got, ok := distribution.Subtract(distribution.Merge(a, b), a)
		require.True(t, ok)
		if a.Count > 0 {
			b.Range = nil
		}
		requireNear(t, b, got)
		if a.Count > 0 {
			_, ok = distribution.Subtract(a, distribution.Merge(a, b))
			require.False(t, ok, "fewer values than before")
		}
	})
}

func TestSubtract_Resets(t *testing.T) {
	t.Parallel()
	f := func(later, earlier *tsdb.Distribution, want []int64, ok bool) {
		t.Helper()
		got, grew := distribution.Subtract(later, earlier)
		require.Equal(t, ok, grew)
		if ok {
			require.Equal(t, want, got.Counts)
			require.GreaterOrEqual(t, got.SumOfSquaredDeviation, 0.0)
		}
	}
	f(distribution.Of(layouts[2], 1, 1, 3), distribution.Of(layouts[2], 1), []int64{0, 1, 1}, true)
	f(distribution.Of(layouts[2], 1), distribution.Of(layouts[2], 1), nil, true)
	f(distribution.Of(layouts[2], 1), distribution.Of(layouts[2], 1, 1), nil, false)
	f(distribution.Of(layouts[2], 1, 1, 1), distribution.Of(layouts[2], 3), nil, false) // a bucket lost values
	f(distribution.Of(layouts[2], 1, 1, 5), distribution.Of(layouts[5], 1), []int64{0, 1, 1}, true)
	f(distribution.Of(layouts[1], 1, 1, 1), distribution.Of(layouts[5], 5), nil, false)
	f(distribution.Of(layouts[2], 1, 1), distribution.Of(layouts[6], 1), nil, true)
	f(distribution.Of(dynamic, 1, 1), distribution.Of(dynamic, 1), nil, true)
}

// ADR 0004: the same point again changes nothing, and of two different ones the
// order of arrival does not decide.
func TestJoin_OrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	few := append([]tsdb.Buckets{dynamic, dynamic}, layouts[:3]...)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := draw(t, few), draw(t, few), draw(t, few)
		require.Equal(t, a, distribution.Join(a, a))
		require.Equal(t, distribution.Join(a, b), distribution.Join(b, a))
		got := distribution.Join(distribution.Join(a, b), c)
		require.Equal(t, got, distribution.Join(a, distribution.Join(b, c)))
		require.NoError(t, distribution.Validate(got))
		require.Equal(t, got, distribution.Join(got, b))
	})
}

// Of two states of one count since a beginning the later one stays whole, up
// to its mean.
func TestJoin_OfCountsIsTheLater(t *testing.T) {
	t.Parallel()
	a := distribution.Of(layouts[1], 1, 2, 5)
	b := distribution.Merge(a, distribution.Of(layouts[1], 3, 7))
	got := distribution.Join(b, a)
	require.Equal(t, b.Counts, got.Counts)
	require.Equal(t, b.Count, got.Count)
	require.Equal(t, b.Range, got.Range)
}

func TestLayout_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, append([]tsdb.Buckets{dynamic}, layouts...))
		b, ranged, ok := distribution.ParseLayout(distribution.Layout(d))
		require.True(t, ok)
		require.Equal(t, d.Range != nil, ranged)
		if d.Buckets.Kind == tsdb.DynamicBuckets {
			b.Bounds = d.Buckets.Bounds
		}
		require.True(t, distribution.Same(&d.Buckets, &b))
	})
	for _, text := range []string{"linear", "linear 1 2", "linear x 1 1", "explicit", "explicit 2 1", "octagonal 1", "linear 9999 1 0", "dynamic -1", "exponential 3 1 1"} {
		_, _, ok := distribution.ParseLayout(text)
		require.False(t, ok, text)
	}
}

// FuzzParseLayout reads whatever a storage may hold: what is read is a layout
// that can be written.
func FuzzParseLayout(f *testing.F) {
	f.Add("range explicit 1 2 3")
	f.Add("exponential 160 1.0905077326652577 0.001")
	f.Fuzz(func(t *testing.T, text string) {
		b, ranged, ok := distribution.ParseLayout(text)
		if !ok {
			return
		}
		d := &tsdb.Distribution{Buckets: b}
		if ranged {
			d.Range = &tsdb.Range{}
		}
		again, _, ok := distribution.ParseLayout(distribution.Layout(d))
		require.True(t, ok)
		require.True(t, distribution.Same(&b, &again))
	})
}

func TestPercentile_Buckets(t *testing.T) {
	t.Parallel()
	f := func(want float64, percent int, d *tsdb.Distribution) {
		t.Helper()
		got := distribution.Percentile(d, percent)
		if math.IsNaN(want) {
			require.True(t, math.IsNaN(got), "%v", got)
			return
		}
		require.InDelta(t, want, got, 1e-9)
	}
	linear := func(ranged *tsdb.Range, counts ...int64) *tsdb.Distribution {
		d := &tsdb.Distribution{Buckets: tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 2, Width: 10}, Counts: counts, Range: ranged}
		for _, n := range counts {
			d.Count += n
		}
		return d
	}
	f(5, 50, linear(nil, 0, 1))     // the middle of the bucket from 0 to 10
	f(9.5, 95, linear(nil, 0, 1))   // Google's page: 95 % of the way
	f(10, 50, linear(nil, 0, 2, 2)) // the end of the first
	f(19.5, 95, linear(nil, 0, 0, 20))
	f(0, 50, linear(nil, 4))           // underflow: its only bound
	f(20, 50, linear(nil, 0, 0, 0, 4)) // overflow: its only bound
	f(-4.5, 50, linear(&tsdb.Range{Min: -8, Max: -1}, 4))
	f(25, 50, linear(&tsdb.Range{Min: 21, Max: 29}, 0, 0, 0, 4))
	f(4, 50, linear(&tsdb.Range{Min: 2, Max: 6}, 0, 4)) // narrower than the bucket
	f(7, 5, linear(&tsdb.Range{Min: 7, Max: 7}, 0, 1))
	f(math.NaN(), 50, linear(nil))
	f(math.NaN(), 50, &tsdb.Distribution{Count: 3, Mean: 2})
	f(2, 50, &tsdb.Distribution{Count: 3, Mean: 2, Range: &tsdb.Range{Min: 1, Max: 3}})
}

// A percentile of buckets is in the bucket of the percentile of the values, and
// ascends.
func TestPercentile_IsInItsBucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, layouts)
		last := math.Inf(-1)
		for percent := 0; percent <= 100; percent += 5 {
			v := distribution.Percentile(d, percent)
			if math.IsNaN(v) {
				return
			}
			require.GreaterOrEqual(t, v, last-1e-9)
			if d.Range != nil {
				require.GreaterOrEqual(t, v, d.Range.Min-1e-9)
				require.LessOrEqual(t, v, d.Range.Max+1e-9)
			}
			last = v
		}
	})
}

// Of few values a summary knows each.
func TestSummarize_FewAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := drawValues(t, 1)
		d := distribution.Summarize(values...)
		require.NoError(t, distribution.Validate(d))
		for _, percent := range []int{5, 50, 95, 99} {
			require.InDelta(t, population.Percentile(append([]float64(nil), values...), percent), distribution.Percentile(d, percent), 1e-9)
		}
	})
}

// Of many it is near, also when it was made of parts.
func TestSummarize_ManyAreNear(t *testing.T) {
	t.Parallel()
	var values []float64
	var parts []*tsdb.Distribution
	x := uint64(1)
	for range 50 {
		from := len(values)
		for range 1000 {
			x = x*6364136223846793005 + 1442695040888963407
			values = append(values, -math.Log(float64(x>>11+1)/(1<<53))) // exponentially distributed
		}
		parts = append(parts, distribution.Summarize(values[from:]...))
	}
	whole, merged := distribution.Summarize(values...), distribution.Merge(parts...)
	for _, d := range []*tsdb.Distribution{whole, merged} {
		require.NoError(t, distribution.Validate(d))
		require.Equal(t, int64(50_000), d.Count)
		require.LessOrEqual(t, len(d.Counts), distribution.Compression)
		for _, percent := range []int{5, 50, 95, 99} {
			want := population.Percentile(append([]float64(nil), values...), percent)
			require.InEpsilon(t, want, distribution.Percentile(d, percent), 0.02, "%d", percent)
		}
	}
	require.InDelta(t, whole.Mean, merged.Mean, 1e-9)
	require.InEpsilon(t, whole.SumOfSquaredDeviation, merged.SumOfSquaredDeviation, 1e-9)

	// With a histogram, its buckets become centroids, and nothing is lost.
	mixed := distribution.Merge(whole, distribution.Of(layouts[1], 0.5, 2.5))
	require.NoError(t, distribution.Validate(mixed))
	require.Equal(t, int64(50_002), mixed.Count)
	mixed = distribution.Merge(&tsdb.Distribution{Count: 3, Mean: 2}, distribution.Summarize(4))
	require.Equal(t, []float64{2, 4}, mixed.Buckets.Bounds)
	require.Equal(t, []int64{3, 1}, mixed.Counts)
}

// Every reason for a refusal.
func TestValidate_Reasons(t *testing.T) {
	t.Parallel()
	f := func(reason, field string, change func(*tsdb.Distribution)) {
		t.Helper()
		d := distribution.Of(layouts[5], 1, 5)
		require.NoError(t, distribution.Validate(d))
		change(d)
		err := distribution.Validate(d)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, reason, fault.ReasonOf(err))
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field)
	}
	f(distribution.NegativeCount, "count", func(d *tsdb.Distribution) { d.Count = -1 })
	f(distribution.CountTooLarge, "count", func(d *tsdb.Distribution) { d.Count = 1<<53 + 1 })
	f(distribution.NotFinite, "mean", func(d *tsdb.Distribution) { d.Mean = math.NaN() })
	f(distribution.NotFinite, "sumOfSquaredDeviation", func(d *tsdb.Distribution) { d.SumOfSquaredDeviation = math.Inf(1) })
	f(distribution.NegativeDeviation, "sumOfSquaredDeviation", func(d *tsdb.Distribution) { d.SumOfSquaredDeviation = -1 })
	f(distribution.NotEmpty, "mean", func(d *tsdb.Distribution) { *d = tsdb.Distribution{Mean: 1} })
	f(distribution.NotEmpty, "sumOfSquaredDeviation", func(d *tsdb.Distribution) { *d = tsdb.Distribution{SumOfSquaredDeviation: 1} })
	f(distribution.NotEmpty, "range", func(d *tsdb.Distribution) { *d = tsdb.Distribution{Range: &tsdb.Range{}} })
	f(distribution.NotFinite, "range", func(d *tsdb.Distribution) { d.Range.Max = math.Inf(1) })
	f(distribution.InvalidRange, "range", func(d *tsdb.Distribution) { d.Range = &tsdb.Range{Min: 2, Max: 1} })
	options := func(reason string, b tsdb.Buckets) {
		t.Helper()
		f(reason, "bucketOptions", func(d *tsdb.Distribution) { d.Buckets = b })
	}
	options(distribution.InvalidBuckets, tsdb.Buckets{Kind: 99})
	options(distribution.InvalidBuckets, tsdb.Buckets{Kind: tsdb.LinearBuckets, Width: 1})
	options(distribution.InvalidBuckets, tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 1})
	options(distribution.NotFinite, tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 1, Width: math.Inf(1)})
	options(distribution.InvalidBuckets, tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 1, Growth: 1, Scale: 1})
	options(distribution.InvalidBuckets, tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 1, Growth: 2})
	options(distribution.NotFinite, tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 1, Growth: math.NaN(), Scale: 1})
	options(distribution.NotFinite, tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 900, Growth: 10, Scale: 1})
	options(distribution.TooManyBuckets, tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 1 << 40, Growth: 10, Scale: 1})
	options(distribution.InvalidBuckets, tsdb.Buckets{Kind: tsdb.ExplicitBuckets})
	options(distribution.BoundsNotAscending, tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{1, 1}})
	options(distribution.BoundsNotAscending, tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 2, Width: 1e-30, Offset: 1})
	options(distribution.NotFinite, tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{1, math.Inf(1)}})
	options(distribution.InvalidBuckets, tsdb.Buckets{Kind: tsdb.DynamicBuckets, Bounds: []float64{1}})
	options(distribution.BoundsNotAscending, tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: 1, Bounds: []float64{2, 1}})
	f(distribution.NoBuckets, "bucketCounts", func(d *tsdb.Distribution) { d.Buckets = tsdb.Buckets{} })
	f(distribution.TooManyCounts, "bucketCounts", func(d *tsdb.Distribution) { d.Counts = make([]int64, 6) })
	f(distribution.NegativeCount, "bucketCounts", func(d *tsdb.Distribution) { d.Counts = []int64{0, 3, -1} })
	f(distribution.CountsDoNotSum, "bucketCounts", func(d *tsdb.Distribution) { d.Counts = []int64{0, 1} })
	f(distribution.CountsDoNotSum, "bucketCounts", func(d *tsdb.Distribution) { d.Counts = []int64{1, 1, 1} })
	f(distribution.CountsDoNotSum, "bucketCounts", func(d *tsdb.Distribution) { d.Counts = []int64{math.MaxInt64, math.MaxInt64} })
	f(distribution.InvalidBuckets, "bucketCounts", func(d *tsdb.Distribution) {
		d.Buckets, d.Counts = tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: 9, Bounds: []float64{1, 2}}, []int64{2}
	})
	f(distribution.InvalidBuckets, "bucketCounts", func(d *tsdb.Distribution) {
		d.Buckets, d.Counts = tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: 9, Bounds: []float64{1, 2}}, []int64{2, 0}
	})
	require.NoError(t, distribution.Validate(&tsdb.Distribution{}))
}
