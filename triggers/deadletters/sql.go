package deadletters

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// Schema is the SQL schema of the store. The letters of a stream are told apart
// by their offset and how often the event was replayed.
const Schema = `
CREATE TABLE IF NOT EXISTS letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  project TEXT NOT NULL, broker TEXT NOT NULL, trigger TEXT NOT NULL, offset INTEGER NOT NULL,
  event_id TEXT NOT NULL, source TEXT NOT NULL, event BLOB NOT NULL,
  reason TEXT NOT NULL, detail TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
  attempts INTEGER NOT NULL, replays INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  size INTEGER NOT NULL,
  UNIQUE (trigger, offset));
CREATE INDEX IF NOT EXISTS letters_by_project ON letters (project, id);
CREATE INDEX IF NOT EXISTS letters_by_event ON letters (project, event_id);
CREATE INDEX IF NOT EXISTS letters_by_age ON letters (last);
CREATE INDEX IF NOT EXISTS letters_by_trigger ON letters (project, trigger, id);
CREATE TABLE IF NOT EXISTS letter_usage (
  project TEXT NOT NULL, trigger TEXT NOT NULL, letters INTEGER NOT NULL, bytes INTEGER NOT NULL, evicted INTEGER NOT NULL,
  PRIMARY KEY (project, trigger));`

// Options bounds a store; the zero value is a good one.
type Options struct {
	// MaxBytes bounds the letters of one project; 64 MiB by default: some
	// 100,000 readings.
	MaxBytes int64
	// MaxAge is how long a letter is kept; 14 days by default.
	MaxAge time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// The defaults of Options, and of Query.
const (
	defaultMaxBytes = 64 << 20
	defaultMaxAge   = 14 * 24 * time.Hour
	defaultLimit    = 100
)

// SQL is a Store in an SQL database that has Schema.
type SQL struct {
	db   *sql.DB
	opts Options
}

var _ Store = (*SQL)(nil)

// New returns the store in db.
func New(db *sql.DB, o Options) *SQL {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxAge <= 0 {
		o.MaxAge = defaultMaxAge
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &SQL{db, o}
}

// Keep implements Store in one transaction.
func (s *SQL) Keep(ctx context.Context, letters []Letter) error {
	if len(letters) == 0 {
		return nil
	}
	err := s.within(ctx, func(tx *sql.Tx) error {
		grown := map[stream]Usage{}
		insert, err := tx.PrepareContext(ctx, insertLetter)
		if err != nil {
			return err
		}
		defer func() { _ = insert.Close() }() // it ends with the transaction
		for i := range letters {
			if err := add(ctx, insert, &letters[i], grown); err != nil {
				return err
			}
		}
		if err := change(ctx, tx, grown); err != nil {
			return err
		}
		if err := drop(ctx, tx, 1, `last < ?`, s.opts.Now().Add(-s.opts.MaxAge).UnixMilli()); err != nil {
			return err
		}
		projects := map[string]bool{}
		for of := range grown {
			projects[of.project] = true
		}
		for project := range projects {
			if err := s.shrink(ctx, tx, project); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep dead letters: %w", err)
	}
	return nil
}

// within runs do in a transaction.
func (s *SQL) within(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// stream is what a letter counts for.
type stream struct{ project, trigger string }

// insertLetter adds a letter, unless it is known.
const insertLetter = `INSERT INTO letters
	(project, broker, trigger, offset, event_id, source, event, reason, detail, status, body, attempts, replays, first, last, size)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

// add inserts a letter and, if it is new, counts it.
func add(ctx context.Context, insert *sql.Stmt, l *Letter, grown map[stream]Usage) error {
	record, err := event.AppendRecord(nil, &l.Event)
	if err != nil {
		return err
	}
	body := l.Body
	if body == nil {
		body = []byte{}
	}
	res, err := insert.ExecContext(ctx, l.Project, l.Broker, l.Trigger, int64(l.Offset), l.Event.ID(), l.Event.Source(), record, l.Reason, l.Detail,
		l.Status, body, l.Attempts, l.Replays, l.First.UnixMilli(), l.Last.UnixMilli(), l.Size())
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	of := stream{l.Project, l.Trigger}
	u := grown[of]
	grown[of] = Usage{Letters: u.Letters + n, Bytes: u.Bytes + n*int64(l.Size())}
	return err
}

// change adds to what streams have.
func change(ctx context.Context, tx *sql.Tx, by map[stream]Usage) error {
	for of, u := range by {
		_, err := tx.ExecContext(ctx, `INSERT INTO letter_usage (project, trigger, letters, bytes, evicted) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET letters = letters + excluded.letters, bytes = bytes + excluded.bytes, evicted = evicted + excluded.evicted`,
			of.project, of.trigger, u.Letters, u.Bytes, u.Evicted)
		if err != nil {
			return err
		}
	}
	return nil
}

// shrink evicts letters of a project until it is within its bound: the oldest
// of the trigger that has most, so that one that gives up everything does not
// push out those of others.
func (s *SQL) shrink(ctx context.Context, tx *sql.Tx, project string) error {
	for {
		var total, most int64
		var trigger string
		err := tx.QueryRowContext(ctx, `SELECT SUM(bytes) OVER (), bytes, trigger FROM letter_usage WHERE project = ? ORDER BY bytes DESC LIMIT 1`, project).
			Scan(&total, &most, &trigger)
		if err != nil {
			return err
		}
		over := total - s.opts.MaxBytes
		if over <= 0 || most <= 0 {
			return nil
		}
		last, err := upTo(ctx, tx, stream{project, trigger}, over)
		if err == nil {
			err = drop(ctx, tx, 1, `project = ? AND trigger = ? AND id <= ?`, project, trigger, last)
		}
		if err != nil {
			return err
		}
	}
}

// upTo is the last of the oldest letters of a stream that have that many bytes
// together.
func upTo(ctx context.Context, tx *sql.Tx, of stream, bytes int64) (last int64, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, size FROM letters WHERE project = ? AND trigger = ? ORDER BY id`, of.project, of.trigger)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }() // rows.Err below has what matters
	for bytes > 0 && rows.Next() {
		var size int64
		if err := rows.Scan(&last, &size); err != nil {
			return 0, err
		}
		bytes -= size
	}
	return last, rows.Err()
}

// drop deletes the letters of which the condition holds. Each adds that much to
// the count of those that had to go.
func drop(ctx context.Context, tx *sql.Tx, evicted int64, where string, args ...any) error {
	rows, err := tx.QueryContext(ctx, `DELETE FROM letters WHERE `+where+` RETURNING project, trigger, size`, args...)
	if err != nil {
		return err
	}
	gone := map[stream]Usage{}
	for rows.Next() {
		var of stream
		var size int64
		if err := rows.Scan(&of.project, &of.trigger, &size); err != nil {
			_ = rows.Close() // the first error is the one to report
			return err
		}
		u := gone[of]
		gone[of] = Usage{Letters: u.Letters - 1, Bytes: u.Bytes - size, Evicted: u.Evicted + evicted}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return change(ctx, tx, gone)
}

// columns are what scan reads.
const columns = `id, project, broker, trigger, offset, event, reason, detail, status, body, attempts, replays, first, last`

// List implements Store.
func (s *SQL) List(ctx context.Context, q Query) (letters []Letter, err error) {
	where, args := `project = ? AND last >= ?`, []any{q.Project, max(q.Since.UnixMilli(), s.opts.Now().Add(-s.opts.MaxAge).UnixMilli())}
	for _, c := range []struct {
		condition string
		value     any
		ask       bool
	}{
		{` AND trigger = ?`, q.Trigger, q.Trigger != ""},
		{` AND event_id = ?`, q.EventID, q.EventID != ""},
		{` AND source = ?`, q.Source, q.Source != ""},
		{` AND id < ?`, q.Before, q.Before > 0},
	} {
		if c.ask {
			where, args = where+c.condition, append(args, c.value)
		}
	}
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	rows, err := s.db.QueryContext(ctx, `SELECT `+columns+` FROM letters WHERE `+where+` ORDER BY id DESC LIMIT ?`, append(args, q.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err below has what matters
	for rows.Next() {
		l, err := scan(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		letters = append(letters, l)
	}
	return letters, rows.Err()
}

// scan reads one row of columns.
func scan(read func(into ...any) error) (l Letter, err error) {
	var offset, first, last int64
	var record []byte
	if err := read(&l.ID, &l.Project, &l.Broker, &l.Trigger, &offset, &record, &l.Reason, &l.Detail, &l.Status, &l.Body,
		&l.Attempts, &l.Replays, &first, &last); err != nil {
		return l, err
	}
	l.Offset, l.First, l.Last = uint64(offset), time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
	l.Event, err = event.FromRecord(record)
	return l, err
}

// Get implements Store.
func (s *SQL) Get(ctx context.Context, project string, id int64) (Letter, error) {
	l, err := scan(s.db.QueryRowContext(ctx, `SELECT `+columns+` FROM letters WHERE project = ? AND id = ?`, project, id).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return l, &fault.Error{Op: "deadletters.Get", Kind: fault.NotFound, Reason: "NO_SUCH_DEAD_LETTER", Err: fmt.Errorf("there is no dead letter %d", id)}
	case err != nil:
		return l, fmt.Errorf("get dead letter: %w", err)
	}
	return l, nil
}

// Remove implements Store.
func (s *SQL) Remove(ctx context.Context, project string, ids []int64) error {
	err := s.within(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			if err := drop(ctx, tx, 0, `project = ? AND id = ?`, project, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove dead letters: %w", err)
	}
	return nil
}

// Usage implements Store.
func (s *SQL) Usage(ctx context.Context, project string) (u Usage, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT COALESCE(SUM(letters), 0), COALESCE(SUM(bytes), 0), COALESCE(SUM(evicted), 0) FROM letter_usage WHERE project = ?`, project).
		Scan(&u.Letters, &u.Bytes, &u.Evicted)
	if err != nil {
		return u, fmt.Errorf("usage of dead letters: %w", err)
	}
	return u, nil
}
