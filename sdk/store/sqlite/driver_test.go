package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/store/storetest"
)

// open opens a driver that is closed when the test ends.
func open(t testing.TB, path string, o sqlite.Options) *sqlite.Driver {
	t.Helper()
	d, err := sqlite.OpenDriver(t.Context(), path, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestDriver(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) store.Driver {
		return open(t, filepath.Join(t.TempDir(), "a b?c.db"), sqlite.Options{})
	})
}
