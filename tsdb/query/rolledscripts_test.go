package query_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/tsdbtest"
	"selvedge.dev/tsdb/vm"
)

// keepRollups makes a Keeper with a database of its own.
func keepRollups(t testing.TB, store tsdb.Store, options rollup.Options) *rollup.Keeper {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "rollups.db"), rollup.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	k, err := rollup.New(t.Context(), store, db, options)
	require.NoError(t, err)
	return k
}

// Rollups answer what the scripts say, with values worked by hand. SPEC A6
func TestRollups_Scripts(t *testing.T) {
	t.Parallel()
	tsdbtest.RunRolled(t, func(_ *testing.T, _ string, ds tsdb.Descriptors) tsdb.Store { return memory.New(ds) }, keepRolled)
}

// The same on the storage engine.
func TestRollups_ScriptsOfVM(t *testing.T) {
	t.Parallel()
	tsdbtest.RunRolled(t, func(t *testing.T, dir string, ds tsdb.Descriptors) tsdb.Store {
		t.Helper()
		store, err := vm.Open(dir, vm.Options{
			Retention: 50 * 365 * 24 * time.Hour,
			Describe: func(project, metric string) (tsdb.Descriptor, bool) {
				d, err := ds.Descriptor(context.Background(), project, metric)
				return d, err == nil
			},
		})
		require.NoError(t, err)
		return store
	}, keepRolled)
}

// keepRolled is keepRollups for a test.
func keepRolled(t *testing.T, store tsdb.Store, options rollup.Options) *rollup.Keeper {
	t.Helper()
	return keepRollups(t, store, options)
}
