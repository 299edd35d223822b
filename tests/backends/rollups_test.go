package backends

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb"
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
	for _, aligner := range []string{"ALIGN_SUM", "ALIGN_MIN", "ALIGN_COUNT"} {
		req := query.Request{
			Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-48 * time.Hour), End: end, Explain: true,
			Aggregation: query.Aggregation{PerSeriesAligner: aligner, AlignmentPeriod: 3 * time.Hour},
		}
		want, err := query.New(w.remote, query.Options{}).List(t.Context(), req)
		require.NoError(t, err)
		got, err := query.New(w.remote, query.Options{Rollups: w.keeper, Block: 1}).List(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, got.Results, len(want.Results))
		for i := range want.Results {
			require.Equal(t, want.Results[i].Series, got.Results[i].Series)
			require.Equal(t, want.Results[i].Points, got.Results[i].Points)
		}
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
	d := tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Gauge, ValueType: tsdb.Double, Details: &tsdb.Details{
		Rollups: []tsdb.Rollup{{Period: time.Hour, Aligners: []string{"ALIGN_SUM", "ALIGN_MIN", "ALIGN_COUNT"}}},
	}}
	ahead := time.Duration(0)
	writers := make([]*writer, 2)
	for i := range writers {
		writers[i] = openWriter(t, server, func() (*rollup.Keeper, *vm.Remote) {
			remote, err := vm.Connect(server.URL, vm.Options{Retention: decades})
			require.NoError(t, err)
			k, err := rollup.New(t.Context(), remote, db, rollup.Options{
				Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{d} }, Retention: 50 * time.Hour, Shared: true, Settle: time.Second,
				Now: func() time.Time { return time.Now().Add(ahead) },
			})
			require.NoError(t, err)
			return k, remote
		})
	}
	end := time.Now().Truncate(time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	points := func(w *writer) {
		var batch []tsdb.Sample
		for range 2000 {
			s := &tsdb.Series{Project: "p", Metric: "m", Resource: "device", MetricLabels: tsdb.Labels{{Name: "sensor", Value: fmt.Sprint(random.IntN(30))}}}
			at := end.Add(-time.Duration(random.Int64N(int64(47 * time.Hour))))
			batch = append(batch, tsdb.Sample{Series: s, Time: tsdb.Millis(at.UnixMilli()), Value: float64(random.IntN(1000)) / 4})
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
	statuses, err := writers[0].keeper.Statuses(t.Context(), "p", "m")
	require.NoError(t, err)
	require.Zero(t, statuses[0].Marked)
	require.EqualValues(t, 1, statuses[0].Owners)
}

// openWriter opens a writer that is closed before its server.
func openWriter(t *testing.T, _ *process.Victoria, open func() (*rollup.Keeper, *vm.Remote)) *writer {
	t.Helper()
	k, remote := open()
	t.Cleanup(func() { require.NoError(t, remote.Close()) })
	return &writer{remote: remote, keeper: k}
}
