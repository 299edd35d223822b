package vm_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/vm"
)

// openBench opens a store for a benchmark.
func openBench(b *testing.B) *vm.Store {
	b.Helper()
	s, err := vm.Open(b.TempDir(), vm.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// device is one of the ten series of a device.
func device(id, metric int) *tsdb.Series {
	return &tsdb.Series{
		Project: "p", Metric: fmt.Sprintf("com.example.climate/m%d", metric), Resource: "device",
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprint("device-", id)}, {Name: "project_id", Value: "p"}},
	}
}

// Batches as the writer makes them of 500 events with ten readings each, of a
// thousand devices that report in turn.
func BenchmarkAppend(b *testing.B) {
	s := openBench(b)
	var all []*tsdb.Series
	for id := range 1000 {
		for metric := range 10 {
			all = append(all, device(id, metric))
		}
	}
	const size = 5000
	at := tsdb.Millis(time.Now().Add(-24 * time.Hour).UnixMilli())
	batch := make([]tsdb.Sample, size)
	next := func(n int) {
		for i := range batch {
			k := n*size + i
			batch[i] = tsdb.Sample{Series: all[k%len(all)], Time: at + tsdb.Millis(k/len(all)*100), Value: float64(k%1000) / 10}
		}
	}
	for n := range 4 { // make the series
		next(n)
		require.NoError(b, s.Append(b.Context(), batch))
	}
	b.ReportAllocs()
	n := 4
	for b.Loop() {
		next(n)
		n++
		require.NoError(b, s.Append(b.Context(), batch))
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "samples/s")
}

// One series with a point every 50 ms for a day.
func BenchmarkSelect_OneSeries(b *testing.B) {
	s := openBench(b)
	const points = 1_728_000
	one := device(1, 1)
	start := tsdb.Millis(time.Now().Add(-24 * time.Hour).UnixMilli())
	batch := make([]tsdb.Sample, 0, 8000)
	for i := range points {
		batch = append(batch, tsdb.Sample{Series: one, Time: start + tsdb.Millis(i)*50, Value: float64(i%1000) / 10})
		if len(batch) == cap(batch) {
			require.NoError(b, s.Append(b.Context(), batch))
			batch = batch[:0]
		}
	}
	require.NoError(b, s.Append(b.Context(), batch))
	sel := tsdb.Selection{Project: "p", Metric: one.Metric, Interval: tsdb.Interval{Start: start, End: start + points*50}}
	selectAll(b, s, sel, points)
}

// A thousand series of one metric, a point every 5 s for an hour.
func BenchmarkSelect_ThousandSeries(b *testing.B) {
	s := openBench(b)
	const devices, points = 1000, 720
	start := tsdb.Millis(time.Now().Add(-time.Hour).UnixMilli())
	for i := range points {
		var batch []tsdb.Sample
		for id := range devices {
			batch = append(batch, tsdb.Sample{Series: device(id, id%2), Time: start + tsdb.Millis(i)*5000, Value: float64(i*id%1000) / 10})
		}
		require.NoError(b, s.Append(b.Context(), batch))
	}
	whole := tsdb.Interval{Start: start, End: start + points*5000}
	b.Run("Metric", func(b *testing.B) {
		selectAll(b, s, tsdb.Selection{Project: "p", Metric: "com.example.climate/m1", Interval: whole}, devices/2*points)
	})
	b.Run("Project", func(b *testing.B) {
		selectAll(b, s, tsdb.Selection{Project: "p", Interval: whole}, devices*points)
	})
	b.Run("KeepOne", func(b *testing.B) {
		keep := func(s *tsdb.Series) bool { return s.ResourceLabels[0].Value == "device-7" }
		selectAll(b, s, tsdb.Selection{Project: "p", Keep: keep, Interval: whole}, points)
	})
}

// selectAll measures a selection that holds so many points.
func selectAll(b *testing.B, s *vm.Store, sel tsdb.Selection, points int) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		require.NoError(b, s.Select(b.Context(), sel, func(_ *tsdb.Series, p tsdb.Points) error {
			got += p.Len()
			return nil
		}))
		require.Equal(b, points, got)
	}
	b.ReportMetric(float64(b.N*points)/b.Elapsed().Seconds()/1e6, "Mpoints/s")
}

// BenchmarkIdle reports the resident memory of a process that does nothing but
// hold a store: once open, after a million points, and after a minute of few.
func BenchmarkIdle(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("memory is read from /proc")
	}
	for b.Loop() {
		out, err := command(b, "idle", b.TempDir()).Output()
		require.NoError(b, err)
		var opened, busy, idle float64
		_, err = fmt.Sscan(string(out), &opened, &busy, &idle)
		require.NoError(b, err)
		b.ReportMetric(opened/1e6, "opened-MB")
		b.ReportMetric(busy/1e6, "after-million-MB")
		b.ReportMetric(idle/1e6, "minute-later-MB")
	}
}
