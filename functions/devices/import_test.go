package devices_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
)

// oldSchema is that of the registry before it was on the framework.
const oldSchema = `
CREATE TABLE IF NOT EXISTS devices_resource (
	name      TEXT PRIMARY KEY,
	blueprint TEXT REFERENCES devices_resource (name),
	body      BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS devices_resource_blueprint ON devices_resource (blueprint) WHERE blueprint IS NOT NULL;
CREATE TABLE IF NOT EXISTS devices_alias (
	project TEXT NOT NULL,
	network TEXT NOT NULL,
	key     TEXT NOT NULL,
	value   TEXT NOT NULL,
	device  TEXT NOT NULL REFERENCES devices_resource (name) ON DELETE CASCADE,
	PRIMARY KEY (project, network, key, value)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS devices_alias_device ON devices_alias (device);
`

// old is a database of the registry as it was, with two devices and a blueprint.
func old(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "old.db"), oldSchema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	insert := func(name string, blueprint any, body string) {
		_, err := db.ExecContext(t.Context(), `INSERT INTO devices_resource VALUES (?, ?, ?)`, name, blueprint, []byte(body))
		require.NoError(t, err)
	}
	insert("projects/p/blueprints/z", nil, `{"name":"projects/p/blueprints/z","route":"r","mappings":[{"eventType":"t","fields":[{"field":"a","kind":"GAUGE","labels":{"side":"=left"}}]}],"createTime":"2025-01-02T03:04:05Z","updateTime":"2025-01-02T03:04:05Z"}`)
	insert("projects/p/devices/d", "projects/p/blueprints/z", `{"name":"projects/p/devices/d","aliases":[{"network":"n","key":"k","value":"v"}],"blueprint":"projects/p/blueprints/z","createTime":"2025-01-02T03:04:05Z","updateTime":"2025-01-02T03:04:05Z"}`)
	insert("projects/q/devices/d", nil, `{"name":"projects/q/devices/d","route":"mine","createTime":"2025-01-02T03:04:05Z","updateTime":"2025-01-02T03:04:05Z"}`)
	_, err = db.ExecContext(t.Context(), `INSERT INTO devices_alias VALUES ('p', 'n', 'k', 'v', 'projects/p/devices/d')`)
	require.NoError(t, err)
	return db
}

func TestImport_TakesOverOnce(t *testing.T) {
	t.Parallel()
	w, ctx, db := open(t, file(t), devices.Options{}), t.Context(), old(t)
	require.NoError(t, w.Import(ctx, db))
	d, err := w.Resolve(ctx, "p", external(t, "n/k/v"))
	require.NoError(t, err)
	require.Equal(t, "projects/p/devices/d", d.GetName())
	require.Equal(t, "projects/p/blueprints/z", d.GetBlueprint())
	b, err := w.Blueprint(ctx, d.GetBlueprint())
	require.NoError(t, err)
	require.Equal(t, "r", b.GetRoute())
	require.Equal(t, map[string]string{"side": "=left"}, b.GetMappings()[0].GetFields()[0].GetLabels())
	d, err = w.Device(ctx, "projects/q/devices/d")
	require.NoError(t, err)
	require.Equal(t, "mine", d.GetRoute())

	var tables int
	require.NoError(t, db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name LIKE 'devices_%'`).Scan(&tables))
	require.Zero(t, tables)
	require.NoError(t, w.remove(admin(t), "projects/q/devices/d"))
	require.NoError(t, w.Import(ctx, db))
	_, err = w.Device(ctx, "projects/q/devices/d")
	require.Equal(t, fault.NotFound, fault.KindOf(err), "what was deleted since stays so")
}

// A process that ended in the middle is followed by one that goes on: what was
// taken over stays as it is, be it changed since.
func TestImport_GoesOn(t *testing.T) {
	t.Parallel()
	w, ctx, db := open(t, file(t), devices.Options{}), t.Context(), old(t)
	_, err := call[*devicesv1.Blueprint](admin(t), w, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{
		Parent: "projects/p", BlueprintId: "z", Blueprint: &devicesv1.Blueprint{Route: "changed"},
	})
	require.NoError(t, err)
	require.NoError(t, w.Import(ctx, db))
	b, err := w.Blueprint(ctx, "projects/p/blueprints/z")
	require.NoError(t, err)
	require.Equal(t, "changed", b.GetRoute())
	_, err = w.Resolve(ctx, "p", external(t, "n/k/v"))
	require.NoError(t, err)
}

// What cannot be taken over is not lost: it is said, and stays where it is.
func TestImport_FailsWhole(t *testing.T) {
	t.Parallel()
	for i, body := range []string{`{`, `{"name":"projects/p/devices/x","route":1}`, `{"name":"projects/p/things/x"}`} {
		w, ctx, db := open(t, file(t), devices.Options{}), t.Context(), old(t)
		_, err := db.ExecContext(ctx, `INSERT INTO devices_resource VALUES (?, NULL, ?)`, fmt.Sprintf("projects/p/devices/x%d", i), []byte(body))
		require.NoError(t, err)
		require.ErrorContains(t, w.Import(ctx, db), "import devices", body)
		var rows int
		require.NoError(t, db.QueryRowContext(ctx, `SELECT count(*) FROM devices_resource`).Scan(&rows))
		require.Equal(t, 4, rows)
	}
}

func TestImport_NothingThere(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "old.db"), "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, open(t, file(t), devices.Options{}).Import(t.Context(), db))
}
