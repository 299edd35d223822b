package query_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/vm"
)

// The 99th percentile an hour over 30 days of distributions every minute, of
// twelve buckets, from the points and from a rollup: as
// BenchmarkRollup_MeanPerHour.
func BenchmarkRollup_PercentilePerHour(b *testing.B) {
	const hosts, days = 5, 30
	end := time.Now().Truncate(time.Hour).Add(-time.Hour)
	d := tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Delta, ValueType: tsdb.Distributed, Details: &tsdb.Details{
		SamplePeriod: time.Minute, Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_PERCENTILE_99"}}},
	}}
	s, err := vm.Open(b.TempDir(), vm.Options{Describe: func(project, _ string) (tsdb.Descriptor, bool) { return d, project == "p" }})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	k := keepRollups(b, s, rollup.Options{Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{d} }, Retention: (days + 1) * 24 * time.Hour})
	random := rand.New(rand.NewPCG(1, 2))
	layout := tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 10, Growth: 2, Scale: 1}
	for h := range hosts {
		one := &tsdb.Series{
			Project: "p", Metric: "m", Resource: "device", Kind: tsdb.Delta, ValueType: tsdb.Distributed,
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprintf("host-%03d", h)}, {Name: "project_id", Value: "p"}},
		}
		batch := make([]tsdb.Sample, days*1440)
		for i := range batch {
			values := make([]float64, 30)
			for j := range values {
				values[j] = random.ExpFloat64() * 40
			}
			at := end.Add(-days * 24 * time.Hour).Add(time.Duration(i+1) * time.Minute)
			batch[i] = tsdb.Sample{Series: one, Time: tsdb.Millis(at.UnixMilli()), Distribution: distribution.Of(layout, values...)}
		}
		require.NoError(b, k.Append(b.Context(), batch))
	}
	require.NoError(b, k.Sync(b.Context()))
	began := time.Now()
	for more := true; more; {
		more, err = k.Step(b.Context())
		require.NoError(b, err)
	}
	built := time.Since(began)
	for name, rollups := range map[string]query.Rollups{"points": nil, "rollup": k} {
		b.Run(name, func(b *testing.B) {
			e := query.New(forgetful{s, s}, query.Options{Rollups: rollups})
			b.ReportAllocs()
			for b.Loop() {
				page, err := e.List(b.Context(), query.Request{
					Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-days * 24 * time.Hour), End: end, Explain: true,
					Aggregation: query.Aggregation{AlignmentPeriod: time.Hour, PerSeriesAligner: "ALIGN_PERCENTILE_99"},
				})
				require.NoError(b, err)
				require.Len(b, page.Results, hosts)
				require.Equal(b, rollups != nil, page.Trace.Why == "" && page.Trace.Samples == 0)
			}
			b.ReportMetric(hosts*days*1440/built.Seconds()/1e6, "Mpoints-rolled-up/s")
		})
	}
}
