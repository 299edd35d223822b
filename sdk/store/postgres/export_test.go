package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// CommitterName is what the connection that commits is called.
func CommitterName(d *Driver) string { return "selvedge committer " + d.backend.id }

// explainer is a reader that says how a scan would be done instead.
type explainer struct {
	reader
	plan []string
}

// Records implements [sqlstore.Reader].
func (e *explainer) Records(ctx context.Context, q sqlstore.Query, _ func(*store.Record) bool) error {
	rows, err := e.conn.Query(ctx, "EXPLAIN (COSTS OFF) "+q.SQL, q.Args...)
	if err != nil {
		return err
	}
	var line string
	_, err = pgx.ForEachRow(rows, []any{&line}, func() error {
		e.plan = append(e.plan, strings.TrimLeft(line, " ->"))
		return nil
	})
	return err
}

// Explain is how a scan is done, as PostgreSQL says it.
func (d *Driver) Explain(ctx context.Context, q store.Scan) ([]string, error) {
	s, _, err := d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	e := &explainer{reader: s.(*snapshot).reader}
	if err := sqlstore.Scan(ctx, e, &d.syms, &q, sqlstore.ColumnsAll, nil); err != nil {
		return nil, err
	}
	return e.plan, s.Close()
}
