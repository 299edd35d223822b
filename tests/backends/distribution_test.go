package backends

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/vm"
)

// SPEC A6: what a server would compute of the parts of distributions is not
// asked of it.
func TestVictoria_DistributionsAreNotPushed(t *testing.T) {
	t.Parallel()
	path, err := program()
	require.NoError(t, err)
	server, err := process.StartVictoria(t.Context(), path, t.TempDir(), "-dedup.minScrapeInterval=1ms")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Kill()) })
	remote, err := vm.Connect(server.URL, vm.Options{Retention: decades})
	require.NoError(t, err)
	end := time.Now().Truncate(time.Minute).Add(-time.Hour)
	layout := tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0, 10}}
	series := victoriaSeries("p", "d")
	series.ValueType = tsdb.Distributed
	var samples []tsdb.Sample
	want := &tsdb.Distribution{}
	for i := range 5 {
		d := distribution.Of(layout, float64(-i), float64(3*i))
		want = distribution.Merge(want, d)
		samples = append(samples, tsdb.Sample{Series: series, Time: tsdb.Millis(end.Add(-time.Duration(i) * time.Minute).UnixMilli()), Distribution: d})
	}
	require.NoError(t, remote.Append(t.Context(), samples))
	for _, aligner := range []string{"ALIGN_SUM", "ALIGN_SUMMARY"} {
		page, err := query.New(remote, query.Options{}).List(t.Context(), query.Request{
			Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-10 * time.Minute), End: end,
			Aggregation: query.Aggregation{PerSeriesAligner: aligner, AlignmentPeriod: 10 * time.Minute},
		})
		require.NoError(t, err)
		require.Len(t, page.Results, 1)
		require.Len(t, page.Results[0].Points.Distributions, 1)
		got := page.Results[0].Points.Distributions[0]
		require.Equal(t, want.Counts, got.Counts)
		require.Equal(t, want.Count, got.Count)
		require.Equal(t, want.Range, got.Range)
		require.InDelta(t, want.Mean, got.Mean, 1e-9)
	}
}
