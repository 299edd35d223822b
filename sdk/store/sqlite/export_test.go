package sqlite

import (
	"context"
	"database/sql/driver"

	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// explainer is a reader that says how a scan would be done instead.
type explainer struct {
	reader
	plan []string
}

// Records implements [sqlstore.Reader].
func (e *explainer) Records(ctx context.Context, q sqlstore.Query, _ func(*store.Record) bool) error {
	q.SQL = "EXPLAIN QUERY PLAN " + q.SQL
	return e.conn.query(ctx, q, func(row []driver.Value) bool {
		e.plan = append(e.plan, text(row[3]))
		return true
	})
}

// Explain is how a scan is done, as SQLite says it.
func (d *Driver) Explain(ctx context.Context, q store.Scan) ([]string, error) {
	s, _, err := d.begin(ctx, "sqlite.Explain")
	if err != nil {
		return nil, err
	}
	e := &explainer{reader: s.reader}
	if err := sqlstore.Scan(ctx, e, &d.syms, &q, sqlstore.ColumnsAll, nil); err != nil {
		return nil, err
	}
	return e.plan, s.Close()
}
