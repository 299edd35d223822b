package query_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/vm"
)

// forgetful is a store that remembers no windows, as one that is asked for the
// first time.
type forgetful struct {
	tsdb.Store
	tsdb.Scanner
}

// A mean an hour over 30 days of samples every ten seconds, from the points and
// from a rollup: on the storage engine, all pages, and beside it what keeping
// the rollup costs.
func BenchmarkRollup_MeanPerHour(b *testing.B) {
	const hosts, days = 50, 30
	end := time.Now().Truncate(time.Hour).Add(-time.Hour)
	d := tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Gauge, ValueType: tsdb.Double, Details: &tsdb.Details{
		Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_MEAN", "ALIGN_MAX"}}},
	}}
	s, err := vm.Open(b.TempDir(), vm.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "rollups.db"), rollup.Schema)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	k, err := rollup.New(b.Context(), s, db, rollup.Options{Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{d} }, Retention: (days + 1) * 24 * time.Hour})
	require.NoError(b, err)
	for h := range hosts {
		one := &tsdb.Series{
			Project: "p", Metric: "m", Resource: "device",
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprintf("host-%03d", h)}, {Name: "project_id", Value: "p"}},
		}
		batch := make([]tsdb.Sample, days*8640)
		v := 50
		for i := range batch {
			v = min(100, max(0, v+(i*7919%31)%3-1))
			at := end.Add(-days * 24 * time.Hour).Add(time.Duration(i+1) * 10 * time.Second)
			batch[i] = tsdb.Sample{Series: one, Time: tsdb.Millis(at.UnixMilli()), Value: float64(v)}
		}
		require.NoError(b, k.Append(b.Context(), batch))
	}
	require.NoError(b, k.Sync(b.Context()))
	began := time.Now()
	for more := true; more; {
		more, err = k.Step(context.Background())
		require.NoError(b, err)
	}
	built := time.Since(began)
	for name, rollups := range map[string]query.Rollups{"points": nil, "rollup": k} {
		b.Run(name, func(b *testing.B) {
			e := query.New(forgetful{s, s}, query.Options{Rollups: rollups})
			b.ReportAllocs()
			for b.Loop() {
				req := query.Request{
					Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-days * 24 * time.Hour), End: end,
					Aggregation: query.Aggregation{AlignmentPeriod: time.Hour, PerSeriesAligner: "ALIGN_MEAN"}, Explain: true,
				}
				page, err := e.List(b.Context(), req)
				require.NoError(b, err)
				require.Len(b, page.Results, hosts)
				require.Equal(b, rollups != nil, page.Trace.Why == "")
			}
			b.ReportMetric(hosts*days*8640/built.Seconds()/1e6, "Mpoints-rolled-up/s")
		})
	}
}
