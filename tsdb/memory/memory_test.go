package memory_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/tsdbtest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	tsdbtest.RunStore(t, func(*testing.T, string) tsdb.Store { return memory.New(nil) })
}

func TestStore_Described(t *testing.T) {
	t.Parallel()
	tsdbtest.RunDescribed(t, func(_ *testing.T, _ string, ds tsdb.Descriptors) tsdb.Store { return memory.New(ds) })
}

func TestDescriptors(t *testing.T) {
	t.Parallel()
	tsdbtest.RunDescriptors(t, func(*testing.T, string) tsdb.Descriptors { return &memory.Descriptors{} })
}

// A visit may append: no lock is held, and what it reads does not change.
func TestStore_VisitMayAppend(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	store := memory.New(nil)
	series := &tsdb.Series{Project: "p", Metric: "m", Resource: "device"}
	require.NoError(t, store.Append(ctx, []tsdb.Sample{{Series: series, Time: 10, Value: 1}, {Series: series, Time: 30, Value: 3}}))

	whole := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: 0, End: 100}}
	visits := 0
	require.NoError(t, store.Select(ctx, whole, func(_ *tsdb.Series, points tsdb.Points) error {
		visits++
		require.NoError(t, store.Append(ctx, []tsdb.Sample{{Series: series, Time: 20, Value: 2}, {Series: series, Time: 30, Value: 9}}))
		require.NoError(t, store.Select(ctx, whole, func(_ *tsdb.Series, inner tsdb.Points) error {
			require.Equal(t, []float64{1, 2, 9}, inner.Values)
			return nil
		}))
		require.Equal(t, []float64{1, 3}, points.Values)
		return nil
	}))
	require.Equal(t, 1, visits)
}

func TestStore_Scripts(t *testing.T) {
	t.Parallel()
	tsdbtest.RunScripts(t, func(_ *testing.T, _ string, ds tsdb.Descriptors) tsdb.Store { return memory.New(ds) })
}
