package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

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

// Every scan has the same answer whichever way it goes: here nothing is few
// enough to be sorted.
func TestDriver_NothingIsFew(t *testing.T) {
	t.Parallel()
	storetest.RunScans(t, func(t testing.TB) store.Driver {
		return open(t, filepath.Join(t.TempDir(), "x.db"), sqlite.Options{Few: 1})
	})
}

func TestDriver_Shared(t *testing.T) {
	t.Parallel()
	storetest.RunShared(t, func(t testing.TB) storetest.Open {
		path := filepath.Join(t.TempDir(), "x.db")
		return func(t testing.TB) store.Driver {
			return open(t, path, sqlite.Options{Poll: 5 * time.Millisecond})
		}
	})
}

func BenchmarkDriver(b *testing.B) {
	storetest.Bench(b, func(b testing.TB) store.Driver {
		return open(b, filepath.Join(b.TempDir(), "x.db"), sqlite.Options{})
	})
}
