package align_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/align"
)

// A block of points every ten seconds, aligned by the minute and by the hour.
func BenchmarkAlign(b *testing.B) {
	const n = 8192
	points := tsdb.Points{Times: make([]tsdb.Millis, n), Values: make([]float64, n)}
	for i := range n {
		points.Times[i], points.Values[i] = 1_750_000_000_000+tsdb.Millis(i)*10_000, float64(i*7919%101)
	}
	series := &tsdb.Series{Kind: tsdb.Gauge, ValueType: tsdb.Double}
	for _, name := range []string{"ALIGN_MEAN", "ALIGN_MAX", "ALIGN_COUNT", "ALIGN_PERCENTILE_95"} {
		for _, period := range []tsdb.Millis{60_000, 3_600_000} {
			b.Run(name+map[tsdb.Millis]string{60_000: "/Minute", 3_600_000: "/Hour"}[period], func(b *testing.B) {
				a, err := align.Parse(name)
				require.NoError(b, err)
				g := align.Grid{Start: points.Times[0] - 10_000, End: points.Times[n-1], Period: period}
				for b.Loop() {
					a.Align(g, series, points)
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*n), "ns/point")
			})
		}
	}
}
