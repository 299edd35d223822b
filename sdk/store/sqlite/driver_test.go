package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
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

func TestDriver_Killed(t *testing.T) {
	storetest.RunKilled(t, func(t testing.TB) string { return filepath.Join(t.TempDir(), "x.db") }, func(t testing.TB, where string) store.Driver {
		return open(t, where, sqlite.Options{})
	})
}

// The database refuses some of the batches of a group.
func TestDriver_Poison(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	d := open(t, path, sqlite.Options{})
	db, err := sqlite.Open(t.Context(), path, `CREATE TRIGGER poison BEFORE INSERT ON object WHEN NEW.body = CAST('poison' AS BLOB)
		BEGIN SELECT RAISE(ROLLBACK, 'poison'); END`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	storetest.Poison(t, d)
}

// A full disk is Exhausted, leaves what was there, and is no lasting harm.
func TestDriver_Full(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "x.db"), sqlite.Options{MaxPages: 200})
	commit := func(b *store.Batch) error {
		_, err := d.Commit(t.Context(), b)
		return err
	}
	create := func(name string) *store.Batch {
		return &store.Batch{ID: name, Writes: []store.Write{{
			Type: storetest.Thing, Name: resource.Name(name), After: &store.Record{Body: make([]byte, 10_000)},
			Add: []filter.Entry{{Index: "i", Value: []byte(name)}},
		}}}
	}
	var done []*store.Batch
	for {
		b := create(fmt.Sprint(len(done)))
		if err := commit(b); err != nil {
			require.Equal(t, fault.Exhausted, fault.KindOf(err))
			require.Equal(t, "STORE_FULL", fault.ReasonOf(err))
			break
		}
		done = append(done, b)
		require.Less(t, len(done), 200)
	}
	require.NotEmpty(t, done)
	s, last, err := d.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, store.Seq(len(done)), last)
	n, err := s.Count(t.Context(), store.Scan{Type: storetest.Thing})
	require.NoError(t, err)
	require.Equal(t, len(done), int(n))
	require.NoError(t, s.Close())
	require.NoError(t, d.Trim(t.Context(), last))
	require.NoError(t, commit(create("once more")))
}

// Files of a later release are left alone.
func TestOpenDriver_Fails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := sqlite.Open(t.Context(), path, "PRAGMA user_version = 2")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = sqlite.OpenDriver(t.Context(), path, sqlite.Options{})
	require.Equal(t, "STORE_FORMAT", fault.ReasonOf(err))
	_, err = sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "no", "such", "folder", "x.db"), sqlite.Options{})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

func BenchmarkDriver(b *testing.B) {
	storetest.Bench(b, func(b testing.TB) store.Driver {
		return open(b, filepath.Join(b.TempDir(), "x.db"), sqlite.Options{})
	})
}
