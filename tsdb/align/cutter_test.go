package align_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/align"
)

// The windows are those of the definition, for points at a regular pace too,
// where as many are expected in a window as in the one before.
func TestAlign_CountsWhatIsInTheWindow(t *testing.T) {
	t.Parallel()
	count, err := align.Parse("ALIGN_COUNT")
	require.NoError(t, err)
	series := &tsdb.Series{Kind: tsdb.Gauge, ValueType: tsdb.Double}
	rapid.Check(t, func(rt *rapid.T) {
		var p tsdb.Points
		at := tsdb.Millis(rapid.IntRange(-500, 500).Draw(rt, "first"))
		for range rapid.IntRange(0, 5).Draw(rt, "runs") {
			step := tsdb.Millis(rapid.IntRange(1, 40).Draw(rt, "step"))
			for range rapid.IntRange(1, 60).Draw(rt, "points") {
				at += step
				p.Times, p.Values = append(p.Times, at), append(p.Values, 1)
			}
			at += tsdb.Millis(rapid.SampledFrom([]int{0, 0, 1000}).Draw(rt, "gap"))
		}
		g := align.Grid{
			Start:  tsdb.Millis(rapid.IntRange(-500, 2000).Draw(rt, "start")),
			Period: tsdb.Millis(rapid.SampledFrom([]int{1, 7, 60, 100, 5000}).Draw(rt, "period")),
		}
		g.End = g.Start + tsdb.Millis(rapid.IntRange(0, 4000).Draw(rt, "length"))
		want := map[tsdb.Millis]float64{}
		for _, t := range p.Times {
			for i := range g.Windows() {
				if end := g.End - tsdb.Millis(i)*g.Period; t > end-g.Period && t <= end {
					want[end]++
				}
			}
		}
		got := map[tsdb.Millis]float64{}
		aligned := count.Align(g, series, p)
		for i, end := range aligned.Times {
			require.True(rt, i == 0 || end > aligned.Times[i-1])
			got[end] = aligned.Values[i]
		}
		require.Equal(rt, want, got)
	})
}
