// Package sqlite opens the embedded SQL database with the settings that the
// platform's promises need. It is the only package that imports the driver;
// everybody above uses database/sql.
//
// Every commit is on disk when it returns (journal_mode WAL, synchronous
// FULL). Writers queue for up to ten seconds instead of failing with "busy".
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// maxConns bounds the connections of one database. Each has a page cache of
// its own (2 MB), and one writer at a time is all that SQLite has.
const maxConns = 4

// Open opens or creates the database file at path and runs the schema, which
// must be idempotent (CREATE TABLE IF NOT EXISTS …). Transactions begin
// IMMEDIATE, so that a read that turns into a write never loses its place.
func Open(ctx context.Context, path, schema string) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}}
	for _, pragma := range []string{"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(ON)"} {
		q.Add("_pragma", pragma)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(maxConns)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		_ = db.Close() // the schema's error is the one to report
		return nil, fmt.Errorf("open %s: schema: %w", path, err)
	}
	return db, nil
}
