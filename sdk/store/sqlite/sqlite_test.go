package sqlite_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/sqlite"
)

// schema is a table of counters and one that refers to it.
const schema = `
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS child (counter TEXT NOT NULL REFERENCES counter (name));
`

func TestOpen_KeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	// Characters that mean something in the URI that names a database.
	path := filepath.Join(t.TempDir(), "a b?c#d%41&mode=memory.db")
	db, err := sqlite.Open(t.Context(), path, schema)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO counter VALUES ('a', 7)`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.FileExists(t, path)

	db, err = sqlite.Open(t.Context(), path, schema)
	require.NoError(t, err)
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT n FROM counter WHERE name = 'a'`).Scan(&n))
	require.Equal(t, 7, n)
	require.NoError(t, db.Close())
}

// Every connection of the pool has the settings, not only the first.
func TestOpen_SettingsOfEveryConnection(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), schema)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for range 4 {
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
			var got string
			require.NoError(t, conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
			require.Equal(t, want, got, pragma)
		}
		_, err = conn.ExecContext(t.Context(), `INSERT INTO child VALUES ('nobody')`)
		require.Error(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
	}
}

// Transactions that read and then write what they read lose nothing to each
// other, and none of them fails because another is at work.
func TestOpen_TransactionsAreSerial(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), schema)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.ExecContext(t.Context(), `INSERT INTO counter VALUES ('a', 0)`)
	require.NoError(t, err)
	increment := func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT n FROM counter`).Scan(&n); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE counter SET n = ?`, n+1); err != nil {
			return err
		}
		return tx.Commit()
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				if err := increment(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT n FROM counter`).Scan(&n))
	require.Equal(t, 80, n)
}

func TestOpen_Fails(t *testing.T) {
	t.Parallel()
	_, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), "CREATE NONSENSE")
	require.ErrorContains(t, err, "schema")
	_, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "no", "such", "folder", "x.db"), schema)
	require.Error(t, err)
}
