package vm_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/tsdbtest"
	"selvedge.dev/tsdb/vm"
)

// SPEC A6: deletion of series.
func TestStore_Operations(t *testing.T) {
	t.Parallel()
	tsdbtest.RunOperations(t, open)
}

func TestStore_DeletedDurable(t *testing.T) {
	t.Parallel()
	tsdbtest.RunDeletedDurable(t, open)
}

// SPEC A6: a snapshot under writes has all that was appended before, and is a
// store of its own.
func TestStore_Snapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := vm.Open(filepath.Join(dir, "series"), vm.Options{Retention: decades})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	at := tsdb.Millis(time.Date(2026, time.August, 31, 23, 59, 0, 0, time.UTC).UnixMilli())
	batch := func(n int) []tsdb.Sample {
		var samples []tsdb.Sample
		for i := range 100 {
			samples = append(samples, tsdb.Sample{Series: killedSeries("m", i), Time: at + tsdb.Millis(n)*1000, Value: float64(n)})
		}
		return samples
	}
	const before = 200 // over the end of a month
	for n := range before {
		require.NoError(t, s.Append(t.Context(), batch(n)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	writers.Go(func() {
		for n := before; ctx.Err() == nil; n++ {
			if err := s.Append(ctx, batch(n%10_000)); err != nil {
				return
			}
		}
	})
	for i := range 3 {
		copied := filepath.Join(dir, fmt.Sprint("copy", i))
		require.NoError(t, s.Snapshot(t.Context(), copied))
		require.Equal(t, fault.Unavailable, fault.KindOf(s.Snapshot(t.Context(), copied)), "it must not be there yet")
		other, err := vm.Open(copied, vm.Options{Retention: decades})
		require.NoError(t, err)
		sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: at, End: at + (before-1)*1000}}
		series := 0
		require.NoError(t, other.Select(t.Context(), sel, func(_ *tsdb.Series, points tsdb.Points) error {
			series++
			require.Equal(t, before, points.Len())
			return nil
		}))
		require.Equal(t, 100, series)
		require.NoError(t, other.Append(t.Context(), batch(0)))
		require.NoError(t, other.Close())
	}
	cancel()
	writers.Wait()
	left, err := os.ReadDir(filepath.Join(dir, "series", "snapshots"))
	require.NoError(t, err)
	require.Empty(t, left)
}
