package query_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/vm"
)

// A mean a minute of a hundred hosts over a day of samples every ten seconds,
// on the storage engine, without HTTP and JSON: all pages.
func BenchmarkList_MeanPerMinute(b *testing.B) {
	s, err := vm.Open(b.TempDir(), vm.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	const hosts, points = 100, 8640
	end := time.Now().Truncate(time.Hour)
	start := tsdb.Millis(end.Add(-24 * time.Hour).UnixMilli())
	for h := range hosts {
		one := &tsdb.Series{
			Project: "p", Metric: "com.example.cpu/m0", Resource: "device",
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprintf("host-%03d", h)}, {Name: "project_id", Value: "p"}},
		}
		batch := make([]tsdb.Sample, points)
		v := 50
		for i := range batch {
			v = min(100, max(0, v+(i*7919%31)%3-1))
			batch[i] = tsdb.Sample{Series: one, Time: start + tsdb.Millis(i+1)*10_000, Value: float64(v)}
		}
		require.NoError(b, s.Append(b.Context(), batch))
	}
	require.NoError(b, s.Sync(b.Context()))
	e := query.New(s, query.Options{})
	b.ReportAllocs()
	for b.Loop() {
		req := query.Request{
			Project: "p", Filter: `metric.type = "com.example.cpu/m0"`, Start: end.Add(-24 * time.Hour), End: end,
			Aggregation: query.Aggregation{AlignmentPeriod: time.Minute, PerSeriesAligner: "ALIGN_MEAN"},
		}
		got := 0
		for {
			page, err := e.List(b.Context(), req)
			require.NoError(b, err)
			for _, r := range page.Results {
				got += r.Points.Len()
			}
			if req.PageToken = page.Next; req.PageToken == "" {
				break
			}
		}
		require.Equal(b, hosts*1440, got)
	}
	b.ReportMetric(float64(b.N*hosts*points)/b.Elapsed().Seconds()/1e6, "Mpoints/s")
}
