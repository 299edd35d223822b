package vm

import (
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
)

// What is grouped is what was given, each series in its order, and either as it
// was or with each series in one piece; what was given stays as it was.
func TestGrouper_Group(t *testing.T) {
	t.Parallel()
	all := make([]*tsdb.Series, 3*maxGroups)
	for i := range all {
		all[i] = &tsdb.Series{}
	}
	rapid.Check(t, func(t *rapid.T) {
		var g grouper
		for range 2 { // the second time with what the first one left
			series := all[:rapid.SampledFrom([]int{1, 3, 40, len(all)}).Draw(t, "series")]
			given := make([]tsdb.Sample, rapid.IntRange(0, 5000).Draw(t, "samples"))
			step := rapid.IntRange(0, 3).Draw(t, "step")
			for i := range given {
				given[i] = tsdb.Sample{Series: series[i*step%len(series)], Time: tsdb.Millis(i)}
			}
			was := append([]tsdb.Sample{}, given...)
			got := g.group(given)
			require.Equal(t, was, given)
			require.Len(t, got, len(given))
			next, pieces := map[*tsdb.Series]tsdb.Millis{}, 0
			for i, s := range got {
				at, seen := next[s.Series]
				require.True(t, !seen || s.Time > at)
				next[s.Series] = s.Time
				require.Equal(t, was[s.Time], s)
				if i == 0 || got[i-1].Series != s.Series {
					pieces++
				}
			}
			if len(got) > 0 && &got[0] != &given[0] {
				require.Len(t, next, pieces)
				require.GreaterOrEqual(t, len(got), groupGain*len(next))
			}
		}
	})
}

// Lines and events have many series by turns; what one body after the other has
// is grouped, and nothing of it is held on to.
func TestGrouper_Gain(t *testing.T) {
	t.Parallel()
	series := [...]*tsdb.Series{{Metric: "a"}, {Metric: "b"}}
	samples := []tsdb.Sample{{Series: series[0], Time: 1}, {Series: series[1], Time: 1}, {Series: series[0], Time: 2}, {Series: series[1], Time: 2}}
	var g grouper
	require.Equal(t, []tsdb.Sample{samples[0], samples[2], samples[1], samples[3]}, g.group(samples))
	require.Empty(t, g.places)
	for _, s := range g.series {
		require.Nil(t, s)
	}
	alone := samples[:2]
	require.Same(t, &alone[0], &g.group(alone)[0])
}

// However much comes at once, the engine's buffers hold a bounded number of rows.
func TestStore_Buffered(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	series := &tsdb.Series{Project: "p", Metric: "m"}
	samples := make([]tsdb.Sample, maxBuffered/16)
	start := tsdb.Millis(time.Now().Add(-24 * time.Hour).UnixMilli())
	for range 17 {
		for i := range samples {
			start++
			samples[i] = tsdb.Sample{Series: series, Time: start}
		}
		require.NoError(t, s.Append(t.Context(), samples))
		require.Less(t, s.buffered.Load(), int64(maxBuffered))
	}
	var m storage.Metrics
	s.engine.UpdateMetrics(&m)
	require.Less(t, m.TableMetrics.PendingRows, uint64(maxBuffered))
}
