// Package sqlstore keeps records in a database of sdk/store/sqlite.
//
// The invariant: no project has more than Options.MaxEvents events, and
// beyond that its oldest are deleted, in the transaction that adds the new
// ones. The newest stay, so a project may keep its alerts for years or, if it
// has very many, for days.
//
// All methods may be called concurrently; appends go one after another, at
// the speed at which the disk syncs. Search is by whole attributes only.
package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"selvedge.dev/logstore/eventstore"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// Schema is the tables of the store, for sqlite.Open. The body is the event
// in CloudEvents' JSON; the columns are what is looked for. Times are Unix
// time in microseconds, which reach every year that RFC 3339 can say.
const Schema = `
CREATE TABLE IF NOT EXISTS logstore_events (
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
CREATE INDEX IF NOT EXISTS logstore_events_time ON logstore_events (project, time, seq);
CREATE INDEX IF NOT EXISTS logstore_events_type ON logstore_events (project, type, time, seq);
CREATE TABLE IF NOT EXISTS logstore_projects (
	project TEXT PRIMARY KEY,
	events  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

// DefaultMaxEvents is Options.MaxEvents when it is 0: about a gigabyte.
const DefaultMaxEvents = 1_000_000

// Options are the bounds of a Store. The zero value is ready for use.
type Options struct {
	// MaxEvents bounds the events of each project.
	MaxEvents int
}

// Store is a eventstore.Store; make it with New.
type Store struct {
	db  *sql.DB
	max int
}

var _ eventstore.Store = (*Store)(nil)

// New makes a store in a database that has Schema. The database stays the
// caller's to close.
func New(db *sql.DB, o Options) *Store {
	if o.MaxEvents <= 0 {
		o.MaxEvents = DefaultMaxEvents
	}
	return &Store{db: db, max: o.MaxEvents}
}

// Close implements eventstore.Store; the database is the caller's.
func (*Store) Close() error { return nil }

// Append implements eventstore.Store.
func (s *Store) Append(ctx context.Context, records []eventstore.Record) (eventstore.Appended, error) {
	const op = "logstore/eventstore/sqlstore.Append"
	rows := make([]row, len(records))
	for i, r := range records {
		var err error
		if rows[i], err = rowOf(r); err != nil {
			return eventstore.Appended{}, &fault.Error{Op: op, Kind: fault.Invalid, Err: fmt.Errorf("record %d: %w", i, err)}
		}
	}
	if len(rows) == 0 {
		return eventstore.Appended{}, nil
	}
	done, err := s.append(ctx, rows)
	if err != nil {
		return eventstore.Appended{}, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	}
	return done, nil
}

// row is a record as it is stored.
type row struct {
	project, source, id, eventType, subject string
	time                                    int64
	body                                    []byte
}

// rowOf is r as a row.
func rowOf(r eventstore.Record) (row, error) {
	if r.Project == "" {
		return row{}, errors.New("the project is missing")
	}
	if err := r.Event.Validate(); err != nil {
		return row{}, fmt.Errorf("validate: %w", err)
	}
	e := r.Event
	if e.Time().IsZero() {
		e = e.Clone()
		e.SetTime(time.Now())
	}
	body, err := encode(e)
	if err != nil {
		return row{}, fmt.Errorf("encode: %w", err)
	}
	return row{r.Project, e.Source(), e.ID(), e.Type(), e.Subject(), e.Time().UnixMicro(), body}, nil
}

// encode is e in CloudEvents' JSON. Data that would not come back from it as
// it was, such as text in no UTF-8 or JSON that is none, is put in base64.
func encode(e event.Event) ([]byte, error) {
	body, err := e.MarshalJSON()
	if err != nil {
		return nil, err
	}
	back, err := event.FromJSON(body)
	switch {
	case err == nil && bytes.Equal(back.Data(), e.Data()):
		return body, nil
	case e.DataBase64:
		return nil, errors.Join(errors.New("the event has no JSON"), err)
	}
	e.DataBase64 = true
	return encode(e)
}

// append adds rows in one transaction.
func (s *Store) append(ctx context.Context, rows []row) (done eventstore.Appended, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return done, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing after a commit
	stored := map[string]int{}
	for _, r := range rows {
		n, err := affected(tx.ExecContext(ctx, `
			INSERT INTO logstore_events (project, source, id, type, subject, time, body)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			r.project, r.source, r.id, r.eventType, r.subject, r.time, r.body))
		if err != nil {
			return done, fmt.Errorf("insert: %w", err)
		}
		stored[r.project] += n
		done.Stored += n
	}
	done.Duplicates = len(rows) - done.Stored
	for project, n := range stored {
		evicted, err := s.grow(ctx, tx, project, n)
		if err != nil {
			return done, err
		}
		done.Evicted += evicted
	}
	if err := tx.Commit(); err != nil {
		return done, fmt.Errorf("commit: %w", err)
	}
	return done, nil
}

// grow counts n more events of the project, and deletes the oldest over the
// bound.
func (s *Store) grow(ctx context.Context, tx *sql.Tx, project string, n int) (evicted int, err error) {
	if n == 0 {
		return 0, nil
	}
	var events int
	if err := tx.QueryRowContext(ctx, `
		INSERT INTO logstore_projects (project, events) VALUES (?, ?)
		ON CONFLICT (project) DO UPDATE SET events = events + excluded.events RETURNING events`,
		project, n).Scan(&events); err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	if events <= s.max {
		return 0, nil
	}
	evicted, err = affected(tx.ExecContext(ctx, `
		DELETE FROM logstore_events WHERE seq IN (
			SELECT seq FROM logstore_events WHERE project = ? ORDER BY time, seq LIMIT ?)`,
		project, events-s.max))
	if err != nil {
		return 0, fmt.Errorf("evict: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `UPDATE logstore_projects SET events = events - ? WHERE project = ?`, evicted, project); err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	return evicted, nil
}

// affected is the number of rows that a statement changed.
func affected(r sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}

// List implements eventstore.Store.
func (s *Store) List(ctx context.Context, q eventstore.Query) (eventstore.Page, error) {
	const op = "logstore/eventstore/sqlstore.List"
	after, err := parseToken(q)
	if err != nil {
		return eventstore.Page{}, &fault.Error{Op: op, Kind: fault.Invalid, Reason: "INVALID_PAGE_TOKEN", Field: "pageToken", Err: err}
	}
	if q.Project == "" {
		return eventstore.Page{}, &fault.Error{Op: op, Kind: fault.Invalid, Field: "project", Err: errors.New("the project is missing")}
	}
	size := q.PageSize
	if size <= 0 {
		size = eventstore.DefaultPageSize
	}
	page, err := s.read(ctx, q, after, min(size, eventstore.MaxPageSize))
	if err != nil {
		return eventstore.Page{}, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	}
	return page, nil
}

// read reads a page of at most size events after the place.
func (s *Store) read(ctx context.Context, q eventstore.Query, after place, size int) (page eventstore.Page, err error) {
	// One more than the page tells whether there is another.
	text, args := statement(q, after, size+1)
	rows, err := s.db.QueryContext(ctx, text, args...)
	if err != nil {
		return page, fmt.Errorf("query: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var last place
	for rows.Next() {
		if len(page.Events) == size {
			page.NextPageToken = last.token(q)
			break
		}
		var body []byte
		if err := rows.Scan(&last.seq, &last.time, &body); err != nil {
			return page, fmt.Errorf("scan: %w", err)
		}
		e, err := event.FromJSON(body)
		if err != nil {
			return page, fmt.Errorf("decode event %d: %w", last.seq, err)
		}
		page.Events = append(page.Events, e)
	}
	return page, rows.Err()
}
