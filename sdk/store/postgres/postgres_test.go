package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/postgres"
	"selvedge.dev/sdk/store/storetest"
	"selvedge.dev/sdk/store/storetest/pgtest"
)

// open opens a driver that is closed when the test ends.
func open(t testing.TB, dsn string, o postgres.Options) *postgres.Driver {
	t.Helper()
	d, err := postgres.Open(t.Context(), dsn, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// fresh opens a driver of a schema of its own.
func fresh(t testing.TB, o postgres.Options) *postgres.Driver {
	t.Helper()
	dsn := pgtest.DSN(t)
	o.Schema = pgtest.Schema(t, dsn)
	return open(t, dsn, o)
}

func TestDriver(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) store.Driver { return fresh(t, postgres.Options{}) })
}

// Every scan has the same answer whichever way it goes: here nothing is few
// enough to be sorted.
func TestDriver_NothingIsFew(t *testing.T) {
	t.Parallel()
	storetest.RunScans(t, func(t testing.TB) store.Driver { return fresh(t, postgres.Options{Few: 1}) })
}

func TestDriver_Shared(t *testing.T) {
	t.Parallel()
	storetest.RunShared(t, func(t testing.TB) storetest.Open {
		dsn := pgtest.DSN(t)
		schema := pgtest.Schema(t, dsn)
		return func(t testing.TB) store.Driver {
			return open(t, dsn, postgres.Options{Schema: schema, Poll: time.Hour})
		}
	})
}

func BenchmarkDriver(b *testing.B) {
	storetest.Bench(b, func(b testing.TB) store.Driver { return fresh(b, postgres.Options{}) })
}
