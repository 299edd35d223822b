package catalog_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/catalog"
)

// SPEC A6: retention of a project and of a metric, which goes before it; they
// are there after a restart, and go with the descriptor.
func TestCatalog_Bounds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "catalog.db")
	db, err := sqlite.Open(t.Context(), path, catalog.Schema)
	require.NoError(t, err)
	c, err := catalog.New(t.Context(), db)
	require.NoError(t, err)
	for _, metric := range []string{"long", "few"} {
		_, err := c.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: metric})
		require.NoError(t, err)
	}
	require.Zero(t, c.Retention("p", ""))
	set := func(metric string, b tsdb.Bounds) {
		t.Helper()
		require.NoError(t, c.SetBounds(t.Context(), "p", metric, b))
	}
	set("", tsdb.Bounds{Retention: 48 * time.Hour, MaxSeries: 7})
	set("long", tsdb.Bounds{Retention: 72 * time.Hour})
	set("few", tsdb.Bounds{MaxSeries: 1})
	require.Equal(t, fault.NotFound, fault.KindOf(c.SetBounds(t.Context(), "p", "none", tsdb.Bounds{})))
	for field, b := range map[string]tsdb.Bounds{
		"retention": {Retention: time.Minute}, "maxSeries": {MaxSeries: -1},
	} {
		err := c.SetBounds(t.Context(), "p", "", b)
		var f *fault.Error
		require.ErrorAs(t, err, &f)
		require.Equal(t, field, f.Field)
	}
	require.Error(t, c.SetBounds(t.Context(), "p", "", tsdb.Bounds{Retention: -time.Hour}))
	require.Error(t, c.SetBounds(t.Context(), "p", "", tsdb.Bounds{Retention: 101 * 365 * 24 * time.Hour}))

	check := func(c *catalog.Catalog) {
		t.Helper()
		require.Equal(t, 72*time.Hour, c.Retention("p", "long"))
		require.Equal(t, 48*time.Hour, c.Retention("p", "few"))
		require.Equal(t, 48*time.Hour, c.Retention("p", "another"))
		require.Equal(t, 72*time.Hour, c.Retention("p", ""), "of all metrics the longest")
		require.Zero(t, c.Retention("q", ""))
		require.Equal(t, tsdb.Bounds{MaxSeries: 1}, c.Bounds("p", "few"))
		require.Equal(t, 7, c.Bounds("p", "").MaxSeries)
		told := map[string]time.Duration{}
		c.Retained(func(project, metric string, retention time.Duration) { told[project+"/"+metric] = retention })
		require.Equal(t, map[string]time.Duration{"p/": 48 * time.Hour, "p/long": 72 * time.Hour}, told)
	}
	check(c)
	require.NoError(t, db.Close())
	db, err = sqlite.Open(t.Context(), path, catalog.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	c, err = catalog.New(t.Context(), db)
	require.NoError(t, err)
	check(c)

	before := c.Deletions("p")
	require.NoError(t, c.Delete(t.Context(), "p", "long"))
	require.Equal(t, before+1, c.Deletions("p"))
	require.Zero(t, c.Deletions("q"))
	require.Zero(t, c.Bounds("p", "long"))
	require.Equal(t, 48*time.Hour, c.Retention("p", ""))
}
