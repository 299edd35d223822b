package tsdbtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
)

// RunDurable checks what a store that keeps its data in dir owes to the next
// process: everything that was there before a Close is there after opening
// the same directory again, and merges with what comes then.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) tsdb.Store) {
	t.Helper()
	t.Run("DistributionsReopen", func(t *testing.T) {
		t.Parallel()
		testDistributionsDurable(t, open)
	})
	t.Run("Reopen", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		a, b := gauge("m", "a"), gauge("m", "b")
		first := &storeUnderTest{open(t, dir)}
		first.add(t, at(a, 0, 1), at(a, 10, 5), at(b, 0, 2))
		require.NoError(t, first.Close())

		second := &storeUnderTest{open(t, dir)}
		require.Equal(t, []float64{1, 5}, second.read(t, all())[a.Key()].values)
		second.add(t, at(a, 5, 3), at(a, 10, 4), at(b, 0, 9)) // late, lower and greater
		require.NoError(t, second.Sync(t.Context()))
		require.NoError(t, second.Close())

		third := &storeUnderTest{open(t, dir)}
		got := third.read(t, all())
		require.Equal(t, []float64{1, 3, 5}, got[a.Key()].values)
		require.Equal(t, []float64{9}, got[b.Key()].values)
		require.NoError(t, third.Close())
	})
}

// RunDescribed checks that the series of a store take kind, value type and
// unit from the descriptors that the store was opened with.
func RunDescribed(t *testing.T, open func(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store) {
	t.Helper()
	t.Run("DistributionDescribed", func(t *testing.T) {
		t.Parallel()
		testDistributionDescribed(t, open)
	})
	t.Run("Described", func(t *testing.T) {
		t.Parallel()
		ds := &memory.Descriptors{}
		want := tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "By"}
		_, err := ds.Ensure(t.Context(), want)
		require.NoError(t, err)
		s := &storeUnderTest{open(t, t.TempDir(), ds)}
		t.Cleanup(func() { require.NoError(t, s.Close()) })

		m, n := gauge("m", "a"), gauge("n", "a")
		s.add(t, at(m, 0, 1), at(n, 0, 1))
		got := s.read(t, all())
		require.Len(t, got, 2, "kind, type and unit are no part of the identity")
		series := got[m.Key()].series
		require.Equal(t, want, tsdb.Descriptor{
			Project: series.Project, Type: series.Metric,
			Kind: series.Kind, ValueType: series.ValueType, Unit: series.Unit,
		})
		require.Equal(t, tsdb.Gauge, got[n.Key()].series.Kind)
		require.Equal(t, tsdb.Double, got[n.Key()].series.ValueType)

		// A descriptor may come after the first point.
		_, err = ds.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "n", Kind: tsdb.Delta, ValueType: tsdb.Bool})
		require.NoError(t, err)
		require.Equal(t, tsdb.Delta, s.read(t, all())[n.Key()].series.Kind)
	})
}

// RunDescriptors checks that what open returns keeps the contract of
// tsdb.Descriptors.
func RunDescriptors(t *testing.T, open func(t *testing.T, dir string) tsdb.Descriptors) {
	t.Helper()
	t.Run("Descriptors", func(t *testing.T) {
		t.Parallel()
		ctx, ds := t.Context(), open(t, t.TempDir())
		_, err := ds.Descriptor(ctx, "p", "m")
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		list, err := ds.List(ctx, "p")
		require.NoError(t, err)
		require.Empty(t, list)

		made, err := ds.Ensure(ctx, tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Delta, ValueType: tsdb.Int64, Unit: "s"})
		require.NoError(t, err)
		found, err := ds.Ensure(ctx, tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Gauge, ValueType: tsdb.Bool})
		require.NoError(t, err)
		require.Equal(t, made, found, "the first one stays")
		got, err := ds.Descriptor(ctx, "p", "m")
		require.NoError(t, err)
		require.Equal(t, made, got)

		plain, err := ds.Ensure(ctx, tsdb.Descriptor{Project: "p", Type: "a/b"})
		require.NoError(t, err)
		require.Equal(t, tsdb.Descriptor{Project: "p", Type: "a/b", Kind: tsdb.Gauge, ValueType: tsdb.Double}, plain)
		_, err = ds.Ensure(ctx, tsdb.Descriptor{Project: "q", Type: "z"})
		require.NoError(t, err)
		list, err = ds.List(ctx, "p")
		require.NoError(t, err)
		require.Equal(t, []tsdb.Descriptor{plain, made}, list)
	})
}
