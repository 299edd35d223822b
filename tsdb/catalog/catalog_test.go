package catalog_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/catalog"
)

// database opens the database of dir.
func database(tb testing.TB, dir string) *sql.DB {
	tb.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(dir, "catalog.db"), catalog.Schema)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	return db
}

// open opens the catalog of dir.
func open(tb testing.TB, dir string) *catalog.Catalog {
	tb.Helper()
	c, err := catalog.New(context.Background(), database(tb, dir))
	require.NoError(tb, err)
	return c
}

// What was created is there for the next process, and for the one that has the
// database open already when it wants to create the same.
func TestEnsure_Durable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, other := open(t, dir), open(t, dir)
	want := tsdb.Descriptor{Project: "p", Type: "m/é \"x\"", Kind: tsdb.Cumulative, ValueType: tsdb.Int64, Unit: "By"}
	got, err := first.Ensure(t.Context(), want)
	require.NoError(t, err)
	require.Equal(t, want, got)

	got, err = open(t, dir).Descriptor(t.Context(), "p", want.Type)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = other.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: want.Type})
	require.NoError(t, err)
	require.Equal(t, want, got)
	described, ok := other.Describe("p", want.Type)
	require.True(t, ok)
	require.Equal(t, want, described)
}

// Of many that want to create the same metric differently, in two catalogs of
// one database, one wins and all are told so.
func TestEnsure_OneWinner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	catalogs := []*catalog.Catalog{open(t, dir), open(t, dir)}
	const wanting = 24
	got := make([]tsdb.Descriptor, wanting)
	var wg sync.WaitGroup
	for i := range wanting {
		wg.Go(func() {
			d, err := catalogs[i%2].Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "m", Unit: fmt.Sprint(i)})
			require.NoError(t, err)
			got[i] = d
		})
	}
	wg.Wait()
	for _, d := range got {
		require.Equal(t, got[0], d)
	}
	list, err := open(t, dir).List(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, got[:1], list)
}

func TestEnsure_TooMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const fill = `WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO metric_descriptors SELECT 'p', 'm' || i, 'GAUGE', 'DOUBLE', '' FROM n`
	_, err := database(t, dir).ExecContext(t.Context(), fill, catalog.MaxTypes)
	require.NoError(t, err)
	c := open(t, dir)
	_, err = c.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "the last"})
	require.NoError(t, err)
	_, err = c.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "one more"})
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.Equal(t, catalog.TooManyMetrics, fault.ReasonOf(err))

	_, err = c.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "m7"})
	require.NoError(t, err, "those that exist go on")
	_, err = c.Ensure(t.Context(), tsdb.Descriptor{Project: "q", Type: "one more"})
	require.NoError(t, err, "and so do other projects")
	list, err := c.List(t.Context(), "p")
	require.NoError(t, err)
	require.Len(t, list, catalog.MaxTypes)
}

// A creation that did not reach the database is not in memory either.
func TestEnsure_Failed(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := tsdb.Descriptor{Project: "p", Type: "m"}
	_, err := c.Ensure(ctx, d)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, err = c.Descriptor(t.Context(), "p", "m")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = c.Ensure(t.Context(), d)
	require.NoError(t, err)
}

func TestNew_WithoutSchema(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "empty.db"), "")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = catalog.New(t.Context(), db)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	ok := tsdb.Descriptor{Project: "p", Type: "com.example.climate/battery/volts", Unit: "V"}
	f := func(field string, change func(*tsdb.Descriptor)) {
		t.Helper()
		d := ok
		change(&d)
		err := catalog.Check(d)
		if field == "" {
			require.NoError(t, err)
			return
		}
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, fault.Invalid, e.Kind)
		require.Equal(t, field, e.Field)
		_, err = open(t, t.TempDir()).Ensure(t.Context(), d)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	f("", func(*tsdb.Descriptor) {})
	f("", func(d *tsdb.Descriptor) { d.Kind, d.ValueType = tsdb.Delta, tsdb.Bool })
	f("", func(d *tsdb.Descriptor) { d.Type = strings.Repeat("x", 512) })
	f("type", func(d *tsdb.Descriptor) { d.Type = strings.Repeat("x", 513) })
	f("type", func(d *tsdb.Descriptor) { d.Type = "" })
	f("type", func(d *tsdb.Descriptor) { d.Type = "a\x00b" })
	f("type", func(d *tsdb.Descriptor) { d.Type = "a\nb" })
	f("type", func(d *tsdb.Descriptor) { d.Type = "a\xffb" })
	f("", func(d *tsdb.Descriptor) { d.Type = "urn:x/$a b/é/0//[1]" })
	f("project", func(d *tsdb.Descriptor) { d.Project = "" })
	f("project", func(d *tsdb.Descriptor) { d.Project = "a/b" })
	f("metricKind", func(d *tsdb.Descriptor) { d.Kind = "gauge" })
	f("valueType", func(d *tsdb.Descriptor) { d.ValueType = "STRING" })
	f("unit", func(d *tsdb.Descriptor) { d.Unit = strings.Repeat("m", 65) })
}

func BenchmarkEnsure_Found(b *testing.B) {
	c := open(b, b.TempDir())
	d := tsdb.Descriptor{Project: "project", Type: "com.example.climate/temperature"}
	ctx := b.Context()
	_, err := c.Ensure(ctx, d)
	require.NoError(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Ensure(ctx, d); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkEnsure_Created(b *testing.B) {
	c := open(b, b.TempDir())
	n := 0
	for b.Loop() {
		n++
		_, err := c.Ensure(b.Context(), tsdb.Descriptor{Project: fmt.Sprint("p", n/catalog.MaxTypes), Type: fmt.Sprint("m", n)})
		require.NoError(b, err)
	}
}
