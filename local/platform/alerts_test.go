package platform

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
)

// oldTables are those of an earlier release.
const oldTables = `
CREATE TABLE logstore_events (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	project TEXT NOT NULL,
	source  TEXT NOT NULL,
	id      TEXT NOT NULL,
	type    TEXT NOT NULL,
	subject TEXT NOT NULL,
	time    INTEGER NOT NULL,
	body    BLOB NOT NULL,
	UNIQUE (project, source, id)
) STRICT;
CREATE TABLE logstore_projects (project TEXT PRIMARY KEY, events INTEGER NOT NULL) STRICT, WITHOUT ROWID;`

// oldPlatform is a platform.db of then, with n alerts of two projects and one that
// cannot be read.
func oldPlatform(t *testing.T, n int) *sql.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "platform.db"), oldTables)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	for i := range n {
		project := []string{"p", "q"}[i%2]
		body := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"//selvedge.dev/functions/threshold","type":%q,"time":"2026-06-01T12:00:00Z",%q:%q,"datacontenttype":"application/json","data":{"value":%d}}`, i, event.TypeAlert, event.Project, project, i)
		_, err := tx.ExecContext(t.Context(), `INSERT INTO logstore_events (project, source, id, type, subject, time, body) VALUES (?, 's', ?, 't', '', 0, ?)`, project, fmt.Sprint(i), []byte(body))
		require.NoError(t, err)
	}
	_, err = tx.ExecContext(t.Context(), `INSERT INTO logstore_events (project, source, id, type, subject, time, body) VALUES ('p', 's', 'bad', 't', '', 0, x'78')`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	return db
}

// Every event that an earlier release had is moved once its write is durable,
// and those are counted that cannot be; then nothing is left. An error is tried
// again, and nothing is removed before.
func TestAlerts_AreMoved(t *testing.T) {
	t.Parallel()
	const n = 2*alertBatch + 10
	db := oldPlatform(t, n)
	found, lost, tries := map[string]int{}, map[string]int{}, 0
	a := alerts{db: db, log: slog.New(slog.DiscardHandler), lost: func(project, door, reason string, n int) {
		lost[project+" "+door+" "+reason] += n
	}, put: func(_ context.Context, project string, events []event.Event) ([]error, error) {
		if tries++; tries%2 == 1 && tries < 9 {
			return nil, &fault.Error{Kind: fault.Exhausted, Reason: "JOURNAL_FULL", Err: errors.New("full")}
		}
		verdicts := make([]error, len(events))
		for i := range events {
			require.Equal(t, project, event.Extension(&events[i], event.Project))
			if found[project+" "+events[i].ID()]++; events[i].ID() == "7" {
				verdicts[i] = &fault.Error{Kind: fault.Invalid, Reason: "TOO_OLD", Err: errors.New("old")}
			}
		}
		return verdicts, nil
	}}
	a.move(t.Context())
	require.Len(t, found, n, "each of them, some twice")
	require.Len(t, lost, 2)
	require.Equal(t, 1, lost["q logging-upgrade TOO_OLD"], "of what was removed, once")
	var tables int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_master WHERE name LIKE 'logstore_%'`).Scan(&tables))
	require.Zero(t, tables)
	tries = 0
	a.move(t.Context())
	require.Zero(t, tries, "there is nothing more")
}
