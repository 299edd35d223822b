package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Schema is the SQL schema of the ledger.
const Schema = `
CREATE TABLE IF NOT EXISTS losses (
  stream TEXT NOT NULL, offset INTEGER NOT NULL, reason TEXT NOT NULL,
  project TEXT NOT NULL, count INTEGER NOT NULL, detail TEXT NOT NULL,
  source TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, time INTEGER NOT NULL,
  PRIMARY KEY (stream, offset, reason));
CREATE INDEX IF NOT EXISTS losses_by_project ON losses (project, time);
CREATE TABLE IF NOT EXISTS loss_totals (
  project TEXT NOT NULL, stream TEXT NOT NULL, reason TEXT NOT NULL,
  count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (project, stream, reason));`

// keep is how many losses of a stream are kept one by one once it has passed
// them. At 300 bytes each that is 3 MB a stream.
const keep = 10_000

// SQL is a Ledger in an SQL database that has Schema.
type SQL struct{ db *sql.DB }

var _ Ledger = (*SQL)(nil)

// New returns the ledger in db.
func New(db *sql.DB) *SQL { return &SQL{db} }

// Record implements Ledger in one transaction.
func (l *SQL) Record(ctx context.Context, losses []Loss) error {
	if len(losses) == 0 {
		return nil
	}
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("record losses: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, x := range losses {
		if err := record(ctx, tx, x); err != nil {
			return fmt.Errorf("record losses: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("record losses: %w", err)
	}
	return nil
}

// record adds one loss and, if it is new, its count.
func record(ctx context.Context, tx *sql.Tx, x Loss) error {
	at := x.Time.UnixMilli()
	res, err := tx.ExecContext(ctx, `INSERT INTO losses (stream, offset, reason, project, count, detail, source, id, type, time)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		x.Stream, int64(x.Offset), x.Reason, x.Project, x.Count, x.Detail, x.Source, x.ID, x.Type, at)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO loss_totals (project, stream, reason, count, first, last) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET count = count + excluded.count, first = min(first, excluded.first), last = max(last, excluded.last)`,
		x.Project, x.Stream, x.Reason, x.Count, at, at)
	return err
}

// Totals implements Ledger.
func (l *SQL) Totals(ctx context.Context, project string) (totals []Total, err error) {
	rows, err := l.db.QueryContext(ctx, `SELECT stream, reason, count, first, last FROM loss_totals WHERE project = ? ORDER BY stream, reason`, project)
	if err != nil {
		return nil, fmt.Errorf("loss totals: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err below has what matters
	for rows.Next() {
		var t Total
		var first, last int64
		if err := rows.Scan(&t.Stream, &t.Reason, &t.Count, &first, &last); err != nil {
			return nil, fmt.Errorf("loss totals: %w", err)
		}
		t.First, t.Last = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
		totals = append(totals, t)
	}
	return totals, rows.Err()
}

// Recent implements Ledger.
func (l *SQL) Recent(ctx context.Context, project string, limit int) (losses []Loss, err error) {
	rows, err := l.db.QueryContext(ctx, `SELECT stream, offset, reason, count, detail, source, id, type, time
		FROM losses WHERE project = ? ORDER BY time DESC, stream, offset DESC LIMIT ?`, project, limit)
	if err != nil {
		return nil, fmt.Errorf("recent losses: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err below has what matters
	for rows.Next() {
		x := Loss{Project: project}
		var offset, at int64
		if err := rows.Scan(&x.Stream, &offset, &x.Reason, &x.Count, &x.Detail, &x.Source, &x.ID, &x.Type, &at); err != nil {
			return nil, fmt.Errorf("recent losses: %w", err)
		}
		x.Offset, x.Time = uint64(offset), time.UnixMilli(at).UTC()
		losses = append(losses, x)
	}
	return losses, rows.Err()
}

// Passed implements Ledger.
func (l *SQL) Passed(ctx context.Context, stream string, offset uint64) error {
	_, err := l.db.ExecContext(ctx, `DELETE FROM losses WHERE stream = ?1 AND offset < ?2 AND offset <
		(SELECT offset FROM losses WHERE stream = ?1 ORDER BY offset DESC LIMIT 1 OFFSET ?3)`, stream, int64(offset), keep)
	if err != nil {
		return fmt.Errorf("forget old losses: %w", err)
	}
	return nil
}
