package population_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb/population"
)

func TestPercentile_ByHand(t *testing.T) {
	t.Parallel()
	f := func(percent int, want float64, values ...float64) {
		t.Helper()
		require.InDelta(t, want, population.Percentile(values, percent), 1e-12)
	}
	f(0, 1, 3, 1, 2)
	f(100, 3, 3, 1, 2)
	f(50, 2, 3, 1, 2)
	f(50, 2.5, 4, 1, 2, 3) // rank 1.5, halfway from 2 to 3
	f(99, 7, 7)
	f(95, 3.85, 4, 1, 2, 3) // rank 2.85
	f(5, 1.15, 4, 1, 2, 3)  // rank 0.15
	f(99, 3.97, 4, 1, 2, 3) // rank 2.97
	f(50, math.Inf(1), 1, math.Inf(1), math.Inf(1), 0, math.Inf(1))
	f(99, math.Inf(1), math.Inf(1), math.Inf(1))
	f(99, math.Inf(1), 1, math.Inf(1))
}

// Every rank of many sizes.
func TestPercentile_Sizes(t *testing.T) {
	t.Parallel()
	for n := 1; n < 200; n++ {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(uint32(i+1) * 2654435761 % 1009)
		}
		sorted := slices.Sorted(slices.Values(values))
		for percent := 0; percent <= 100; percent += 5 {
			rank := percent * (n - 1)
			below, above := sorted[rank/100], sorted[min(rank/100+1, n-1)]
			want := below + (above-below)*float64(rank%100)/100
			require.InDelta(t, want, population.Percentile(slices.Clone(values), percent), 1e-9)
		}
	}
}

// Whatever the order and the repetitions, it is what sorting finds, and no
// value gets lost.
func TestPercentile_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-100, 100), 1, 300).Draw(rt, "values")
		if rapid.Bool().Draw(rt, "few") {
			for i := range values {
				values[i] = math.Round(values[i] / 30)
			}
		}
		percent := rapid.IntRange(0, 100).Draw(rt, "percent")
		sorted := slices.Clone(values)
		slices.Sort(sorted)
		rank := float64(percent) * float64(len(values)-1) / 100
		below, above := sorted[int(rank)], sorted[min(int(rank)+1, len(sorted)-1)]
		require.InDelta(rt, below+(above-below)*(rank-math.Floor(rank)), population.Percentile(values, percent), 1e-9)
		slices.Sort(values)
		require.Equal(rt, sorted, values)
	})
}

func TestStdDev(t *testing.T) {
	t.Parallel()
	f := func(want float64, values ...float64) {
		t.Helper()
		require.InDelta(t, want, population.StdDev(values), 1e-12)
	}
	f(0, 5)
	f(0, 5, 5, 5)
	f(2, 2, 4, 4, 4, 5, 5, 7, 9) // mean 5, squares 9+1+1+1+0+0+4+16 = 32, 32/8
	f(1, -1, 1)
	f(0.5, 1e9, 1e9+1) // nothing is lost to large values
}

func TestTrue(t *testing.T) {
	t.Parallel()
	require.Equal(t, 2, population.True([]float64{0, 1, 0, 1}))
	require.Equal(t, 0, population.True([]float64{0}))
}

// BenchmarkPercentile selects in a window of a month, one value every five
// seconds.
func BenchmarkPercentile(b *testing.B) {
	const n = 30 * 17_280
	values, scratch := make([]float64, n), make([]float64, n)
	for i := range values {
		values[i] = float64(uint32(i) * 2654435761 % 100_003)
	}
	for b.Loop() {
		copy(scratch, values)
		population.Percentile(scratch, 99)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "values/s")
}
