package tsdbtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
)

// testMetamorphic appends drawn samples shuffled, repeated, split into
// batches and with syncs between, and expects what a map of greatest values
// says. Every draw has a project of its own, so one store serves them all.
func testMetamorphic(t *testing.T, s *storeUnderTest) {
	draws := 0
	rapid.Check(t, func(rt *rapid.T) {
		draws++
		project := fmt.Sprintf("draw%d", draws)
		series := make([]*tsdb.Series, 3)
		for i := range series {
			series[i] = gauge("m", fmt.Sprint(i))
			series[i].Project = project
		}
		sample := rapid.Custom(func(rt *rapid.T) tsdb.Sample {
			// Few instants, so that repetitions are common; some on both
			// sides of the end of the month.
			after := tsdb.Millis(rapid.IntRange(0, 40).Draw(rt, "after")) * 180_000
			return at(rapid.SampledFrom(series).Draw(rt, "series"), after, float64(rapid.IntRange(-5, 5).Draw(rt, "value")))
		})
		samples := rapid.SliceOfN(sample, 1, 60).Draw(rt, "samples")
		want := map[string]map[tsdb.Millis]float64{}
		for _, x := range samples {
			points := want[x.Series.Key()]
			if points == nil {
				points = map[tsdb.Millis]float64{}
				want[x.Series.Key()] = points
			}
			if v, ok := points[x.Time]; !ok || x.Value > v {
				points[x.Time] = x.Value
			}
		}

		again := rapid.SliceOf(rapid.SampledFrom(samples)).Draw(rt, "repeated")
		order := rapid.Permutation(append(slices.Clone(samples), again...)).Draw(rt, "order")
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(rt, "batch")
			require.NoError(rt, s.Append(t.Context(), order[:n]))
			order = order[n:]
			if rapid.IntRange(0, 9).Draw(rt, "sync") == 0 {
				require.NoError(rt, s.Sync(t.Context()))
			}
		}

		sel := all()
		sel.Project = project
		got := map[string]map[tsdb.Millis]float64{}
		for key, v := range s.read(t, sel) {
			got[key] = map[tsdb.Millis]float64{}
			for i, at := range v.times {
				got[key][at] = v.values[i]
			}
		}
		require.Equal(rt, want, got)
	})
}
