package rollup_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/rollup"
)

// linear is a distribution of values in buckets from 0 to 40 by 10.
func linear(values ...float64) *tsdb.Distribution {
	return distribution.Of(tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 4, Width: 10}, values...)
}

// distributed is a series of the metric "d" of distributions.
func distributed(i int) *tsdb.Series {
	s := device(i)
	s.Metric, s.ValueType = "d", tsdb.Distributed
	return s
}

// of is a distribution of a device some time before noon, of the metric "m".
func of(i int, before time.Duration, d *tsdb.Distribution) tsdb.Sample {
	s := device(i)
	s.ValueType = tsdb.Distributed
	return tsdb.Sample{Series: s, Time: millis(noon.Add(-before)), Distribution: d}
}

// standing are the points that stand for those of a device in the window that ends
// that long before noon.
func standing(tb testing.TB, k *rollup.Keeper, fields rollup.Fields, i int, before time.Duration) tsdb.Points {
	tb.Helper()
	var points tsdb.Points
	end := millis(noon.Add(-before))
	if p, ok := kept(tb, k, fields, device(i))[end]; ok {
		p.Stand(end, &points)
	}
	return points
}

const mergedFields = rollup.Merged | rollup.Min | rollup.Max

// A window of distributions holds what they make together, whatever came when, and
// is rebuilt with progress. SPEC A6
func TestDistributions_Merged(t *testing.T) {
	t.Parallel()
	b := newBedOf(t, tsdb.Delta, tsdb.Distributed, hourly("ALIGN_PERCENTILE_99"))
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{
		of(1, 3*time.Hour, linear(35)), of(1, 150*time.Minute, linear(5, 15)), of(1, 140*time.Minute, linear(25)), of(1, 30*time.Minute, linear(5)),
	}))
	settle(t, k)
	f := func(i int, want ...float64) {
		t.Helper()
		got := standing(t, k, mergedFields, i, 2*time.Hour)
		if len(want) == 0 {
			require.Zero(t, got.Len())
			return
		}
		require.Equal(t, []tsdb.Millis{millis(noon.Add(-2 * time.Hour))}, got.Times)
		require.Equal(t, linear(want...).Counts, got.Distributions[0].Counts)
		require.Equal(t, linear(want...).Range, got.Distributions[0].Range)
		require.InDelta(t, linear(want...).Mean, got.Distributions[0].Mean, 1e-9)
		require.InDelta(t, linear(want...).SumOfSquaredDeviation, got.Distributions[0].SumOfSquaredDeviation, 1e-9)
	}
	f(1, 5, 15, 25)
	// Late, twice, and out of order.
	late := []tsdb.Sample{of(1, 145*time.Minute, linear(45)), of(1, 155*time.Minute, linear(-5)), of(1, 145*time.Minute, linear(45))}
	require.NoError(t, k.Append(t.Context(), late))
	f(1, 5, 15, 25)
	v, err := k.View(t.Context(), k.Rules("p", "m")[0], tsdb.Interval{Start: 0, End: millis(noon)})
	require.NoError(t, err)
	require.Len(t, v.Marked, 1)
	settle(t, k)
	f(1, 5, 15, 25, 45, -5)

	require.NoError(t, b.store.Append(t.Context(), []tsdb.Sample{of(2, 150*time.Minute, linear(7))})) // past the Keeper
	f(2)
	var told []int64
	require.NoError(t, k.Rebuild(t.Context(), "p", "m", tsdb.Interval{Start: 0, End: millis(noon)}, func(p rollup.Progress) error {
		told = append(told, p.Done, p.Total)
		return nil
	}))
	require.Equal(t, []int64{7*24 - 1, 7*24 - 1}, told)
	f(2, 7)
	f(1, 5, 15, 25, 45, -5)
}

// A rollup of groups merges those of all their series.
func TestDistributions_Groups(t *testing.T) {
	t.Parallel()
	r := hourly("ALIGN_SUM")
	r.GroupBy = []string{"metric.labels.room"}
	b := newBedOf(t, tsdb.Gauge, tsdb.Distributed, r)
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{of(1, 3*time.Hour, linear(5)), of(2, 3*time.Hour, linear(15)), of(3, 3*time.Hour, linear(25))}))
	settle(t, k)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{of(5, 3*time.Hour+time.Minute, linear(35))}))
	settle(t, k)
	require.Equal(t, linear(5, 25, 35).Counts, standing(t, k, mergedFields, 1, 3*time.Hour).Distributions[0].Counts)
	require.Equal(t, linear(15).Counts, standing(t, k, mergedFields, 2, 3*time.Hour).Distributions[0].Counts)
}

// Of a count since a beginning the ends of each window are kept, unless it began
// again or its buckets changed in it.
func TestDistributions_Growing(t *testing.T) {
	t.Parallel()
	b := newBedOf(t, tsdb.Cumulative, tsdb.Distributed, hourly("ALIGN_DELTA"))
	k := b.keeper(t, false)
	coarse := distribution.Of(tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0, 20}}, 5, 15, 25)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{
		of(1, 150*time.Minute, linear(5)), of(1, 140*time.Minute, linear(5, 15)), of(1, 130*time.Minute, linear(5, 15, 25)),
		of(2, 150*time.Minute, linear(5, 15)), of(2, 140*time.Minute, linear(5)), of(2, 130*time.Minute, linear(5, 5)),
		of(3, 150*time.Minute, linear(5)),
		of(4, 150*time.Minute, linear(5, 15)), of(4, 140*time.Minute, coarse),
	}))
	settle(t, k)
	const fields = rollup.Head | rollup.Tail | rollup.FirstAt | rollup.LastAt
	require.Equal(t, tsdb.Points{
		Times:         []tsdb.Millis{millis(noon.Add(-150 * time.Minute)), millis(noon.Add(-130 * time.Minute))},
		Distributions: []*tsdb.Distribution{linear(5), linear(5, 15, 25)},
	}, standing(t, k, fields, 1, 2*time.Hour))
	require.Equal(t, 1, standing(t, k, fields, 3, 2*time.Hour).Len())
	require.Zero(t, standing(t, k, fields, 2, 2*time.Hour).Len(), "it began again")
	require.Zero(t, standing(t, k, fields, 4, 2*time.Hour).Len(), "the buckets changed")
	st, err := k.Statuses(t.Context(), "p", "m")
	require.NoError(t, err)
	require.EqualValues(t, 2, st[0].Stuck)
}

// Whoever of several writers writes, computes, dies and returns: in the end every
// window is what its distributions make together. SPEC A6
func TestDistributions_Owners(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := newBedOf(t, tsdb.Delta, tsdb.Distributed, hourly("ALIGN_DELTA"))
		b.most = rapid.SampledFrom([]int{1, 2, 1000}).Draw(rt, "marks")
		keepers := []*rollup.Keeper{b.keeper(t, true), b.keeper(t, true)}
		const devices = 6
		want := make([][]float64, devices)
		for n := range rapid.IntRange(1, 15).Draw(rt, "steps") {
			i := rapid.IntRange(0, len(keepers)-1).Draw(rt, "who")
			k := keepers[i]
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				d, v := rapid.IntRange(0, devices-1).Draw(rt, "device"), float64(n*4)
				require.NoError(rt, k.Append(t.Context(), []tsdb.Sample{of(d, 3*time.Hour+time.Duration(n)*time.Second, linear(v))}))
				require.NoError(rt, k.Sync(t.Context()))
				want[d] = append(want[d], v)
			case 1:
				_, err := k.Step(t.Context())
				require.NoError(rt, err)
			case 2:
				b.pass(time.Duration(rapid.IntRange(1, 120).Draw(rt, "seconds")) * time.Second)
			case 3:
				keepers[i] = b.keeper(t, true)
			}
		}
		b.pass(10 * time.Minute)
		for range 4 {
			for _, k := range keepers {
				settle(t, k)
			}
		}
		for i, values := range want {
			got := standing(t, keepers[0], mergedFields, i, 3*time.Hour)
			require.Equal(rt, len(values) > 0, got.Len() == 1, fmt.Sprint("device ", i))
			if len(values) > 0 {
				require.Equal(rt, linear(values...).Counts, got.Distributions[0].Counts)
				require.Equal(rt, linear(values...).Range, got.Distributions[0].Range)
			}
		}
	})
}
