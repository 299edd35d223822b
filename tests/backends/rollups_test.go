package backends

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/vm"
)

// writer is one of several writers of a server.
type writer struct {
	remote *vm.Remote
	keeper *rollup.Keeper
}

// answersAlike compares what rollups answer with what the points do, and
// returns how many windows of rollups were read.
func (w *writer) answersAlike(t *testing.T, end time.Time) (windows int) {
	t.Helper()
	for _, of := range [][2]string{
		{"m", "ALIGN_SUM"}, {"m", "ALIGN_MIN"}, {"m", "ALIGN_COUNT"}, {"d", "ALIGN_PERCENTILE_99"}, {"d", "ALIGN_SUM"}, {"total", "ALIGN_DELTA"},
	} {
		req := query.Request{
			Project: "p", Filter: fmt.Sprintf("metric.type = %q", of[0]), Start: end.Add(-48 * time.Hour), End: end, Explain: true,
			Aggregation: query.Aggregation{PerSeriesAligner: of[1], AlignmentPeriod: 3 * time.Hour},
		}
		want, err := query.New(w.remote, query.Options{}).List(t.Context(), req)
		require.NoError(t, err)
		got, err := query.New(w.remote, query.Options{Rollups: w.keeper, Block: 1}).List(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, got.Results, len(want.Results))
		for i := range want.Results {
			require.Equal(t, want.Results[i].Series, got.Results[i].Series)
			w, g := want.Results[i].Points, got.Results[i].Points
			require.Equal(t, w.Times, g.Times)
			require.Equal(t, w.Values, g.Values)
			for j, d := range w.Distributions {
				same := *g.Distributions[j]
				require.InDelta(t, d.Mean, same.Mean, 1e-7)
				require.InDelta(t, d.SumOfSquaredDeviation, same.SumOfSquaredDeviation, 1e-4)
				same.Mean, same.SumOfSquaredDeviation = d.Mean, d.SumOfSquaredDeviation
				if of[0] == "total" && d.Range != nil { // kept to eleven digits, as the points are
					require.InDelta(t, d.Range.Min, same.Range.Min, 1e-9)
					require.InDelta(t, d.Range.Max, same.Range.Max, 1e-9)
					same.Range = d.Range
				}
				require.Equal(t, d, &same)
			}
		}
		require.Positive(t, got.Trace.Windows, of)
		windows += got.Trace.Windows
	}
	return windows
}

// Two writers of one server share the work of its rollups, also when one of them
// dies. SPEC A6
func TestVictoria_RollupsOfTwoWriters(t *testing.T) {
	t.Parallel()
	server := startVictoria(t, t.TempDir())
	t.Cleanup(func() { require.NoError(t, server.Kill()) })
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "rollups.db"), rollup.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	rolled := []tsdb.Descriptor{
		{Project: "p", Type: "d", Kind: tsdb.Gauge, ValueType: tsdb.Distributed, Details: &tsdb.Details{
			Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_SUM"}}},
		}},
		{Project: "p", Type: "m", Kind: tsdb.Gauge, ValueType: tsdb.Double, Details: &tsdb.Details{
			Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_SUM", "ALIGN_MIN", "ALIGN_COUNT"}}},
		}},
		{Project: "p", Type: "total", Kind: tsdb.Cumulative, ValueType: tsdb.Distributed, Details: &tsdb.Details{
			Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_DELTA"}}},
		}},
	}
	ahead := time.Duration(0)
	writers := make([]*writer, 2)
	for i := range writers {
		writers[i] = openWriter(t, server, func() (*rollup.Keeper, *vm.Remote) {
			remote, err := vm.Connect(server.URL, vm.Options{Retention: decades, Describe: func(project, metric string) (tsdb.Descriptor, bool) {
				i := slices.IndexFunc(rolled, func(d tsdb.Descriptor) bool { return d.Project == project && d.Type == metric })
				return rolled[max(0, i)], i >= 0
			}})
			require.NoError(t, err)
			k, err := rollup.New(t.Context(), remote, db, rollup.Options{
				Rolled: func() []tsdb.Descriptor { return rolled }, Retention: 50 * time.Hour, Shared: true, Settle: time.Second,
				Now: func() time.Time { return time.Now().Add(ahead) },
			})
			require.NoError(t, err)
			return k, remote
		})
	}
	end := time.Now().Truncate(time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	buckets := tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 4, Width: 10}
	values := make([]float64, 1000) // of which a count has more and more, and begins again
	for i := range values {
		values[i] = random.Float64() * 50
	}
	points := func(w *writer) {
		var batch []tsdb.Sample
		for i := range 2000 {
			s := &tsdb.Series{Project: "p", Metric: "m", Resource: "device", MetricLabels: tsdb.Labels{{Name: "sensor", Value: fmt.Sprint(random.IntN(30))}}}
			at := end.Add(-time.Duration(random.Int64N(int64(47 * time.Hour))))
			batch = append(batch, tsdb.Sample{Series: s, Time: tsdb.Millis(at.UnixMilli()), Value: float64(random.IntN(1000)) / 4})
			if i%10 > 0 {
				continue
			}
			merged, total := *s, *s
			merged.Metric, merged.ValueType = "d", tsdb.Distributed
			total.Metric, total.ValueType, total.Kind = "total", tsdb.Distributed, tsdb.Cumulative
			batch = append(batch,
				tsdb.Sample{Series: &merged, Time: tsdb.Millis(at.UnixMilli()), Distribution: distribution.Of(buckets, random.ExpFloat64()*20, random.ExpFloat64()*20)},
				tsdb.Sample{Series: &total, Time: tsdb.Millis(at.UnixMilli()), Distribution: distribution.Of(buckets, values[:1+at.Unix()/60%1000]...)})
		}
		require.NoError(t, w.keeper.Append(t.Context(), batch))
		require.NoError(t, w.keeper.Sync(t.Context()))
	}
	compute := func(who ...*writer) {
		for range 4 {
			for _, w := range who {
				ahead += 2 * time.Second // what was computed has settled
				_, err := w.keeper.Step(t.Context())
				require.NoError(t, err)
			}
		}
	}
	points(writers[0])
	compute(writers[0])
	ahead += 2 * time.Minute // it has all slots, and gives half of them away
	for range 3 {
		points(writers[1])
		points(writers[0])
		compute(writers...)
		require.Positive(t, writers[0].answersAlike(t, end))
		require.Positive(t, writers[1].answersAlike(t, end))
	}
	points(writers[1])
	ahead += 10 * time.Minute // the second one is dead
	points(writers[0])
	compute(writers[0])
	require.Positive(t, writers[0].answersAlike(t, end))
	for _, d := range rolled {
		statuses, err := writers[0].keeper.Statuses(t.Context(), "p", d.Type)
		require.NoError(t, err)
		require.Zero(t, statuses[0].Marked)
		require.EqualValues(t, 1, statuses[0].Owners)
	}
}

// openWriter opens a writer that is closed before its server.
func openWriter(t *testing.T, _ *process.Victoria, open func() (*rollup.Keeper, *vm.Remote)) *writer {
	t.Helper()
	k, remote := open()
	t.Cleanup(func() { require.NoError(t, remote.Close()) })
	return &writer{remote: remote, keeper: k}
}
