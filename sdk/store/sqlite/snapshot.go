package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// snapshot is a read transaction.
type snapshot struct {
	reader
	d    *Driver
	done bool
}

var _ store.Snapshot = (*snapshot)(nil)

// Snapshot implements [store.Driver].
func (d *Driver) Snapshot(ctx context.Context) (store.Snapshot, store.Seq, error) {
	s, head, err := d.begin(ctx, "sqlite.Snapshot")
	if err != nil {
		return nil, 0, err
	}
	return s, head.Change, nil
}

// begin begins to read.
func (d *Driver) begin(ctx context.Context, op string) (*snapshot, sqlstore.Head, error) {
	c, err := d.readers.Get(ctx, op)
	if err != nil {
		return nil, sqlstore.Head{}, err
	}
	s := &snapshot{reader: reader{c}, d: d}
	if err := c.exec("BEGIN"); err != nil {
		d.readers.Put(c, true)
		return nil, sqlstore.Head{}, err
	}
	head, err := s.head() // the first read is when the transaction begins
	if err != nil {
		_ = s.Close() // the reading's error is the one to report
		return nil, sqlstore.Head{}, err
	}
	if err := d.commits.Durable(ctx, head.Seq); err != nil {
		_ = s.Close() // likewise
		return nil, sqlstore.Head{}, err
	}
	return s, head, nil
}

// Close implements [store.Snapshot].
func (s *snapshot) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	err := s.conn.exec("COMMIT")
	s.d.readers.Put(s.conn, err != nil)
	return err
}

// use checks that the snapshot can be used.
func (s *snapshot) use(op string) error {
	if s.done {
		return sqlstore.Done(op)
	}
	if s.d.readers.Closed() {
		return sqlstore.Closed(op)
	}
	return nil
}

// Get implements [store.Snapshot].
func (s *snapshot) Get(ctx context.Context, typ string, names []resource.Name) ([]*store.Record, error) {
	if err := s.use("sqlite.Get"); err != nil {
		return nil, err
	}
	records := make([]*store.Record, len(names))
	kind, ok := s.d.syms.Kind(typ)
	if !ok {
		if err := s.d.syms.Find(ctx, []sqlstore.Symbol{{Type: typ}}, s.Symbols); err != nil {
			return nil, s.ended(err)
		}
		if kind, ok = s.d.syms.Kind(typ); !ok {
			return records, nil
		}
	}
	var row [4]driver.Value
	for i, n := range names {
		if ctx.Err() != nil {
			return nil, sqlstore.Unavailable("sqlite.Get", ctx.Err())
		}
		found, err := s.conn.one(row[:], "SELECT uid, version, deleting, body FROM object WHERE kind = ? AND name = ?", kind, string(n))
		if err != nil {
			return nil, err
		}
		if found {
			records[i] = &store.Record{Type: typ, Name: n, UID: text(row[0]), Version: seq(row[1]), Deleting: row[2] == int64(1), Body: blob(row[3])}
		}
	}
	return records, nil
}

// Scan implements [store.Snapshot].
func (s *snapshot) Scan(ctx context.Context, q store.Scan, yield func(*store.Record) bool) error {
	if err := s.use("sqlite.Scan"); err != nil {
		return err
	}
	return s.ended(sqlstore.Scan(ctx, s, &s.d.syms, &q, sqlstore.ColumnsAll, yield))
}

// Count implements [store.Snapshot].
func (s *snapshot) Count(ctx context.Context, q store.Scan) (int64, error) {
	if err := s.use("sqlite.Count"); err != nil {
		return 0, err
	}
	n, err := sqlstore.Count(ctx, s, &s.d.syms, &q)
	return n, s.ended(err)
}

// Counters implements [store.Snapshot].
func (s *snapshot) Counters(ctx context.Context, prefix string) (map[string]int64, error) {
	if err := s.use("sqlite.Counters"); err != nil {
		return nil, err
	}
	q := sqlstore.Query{SQL: "SELECT key, value FROM counter WHERE key >= ?", Args: []any{prefix}}
	if end := sqlstore.PrefixEnd(prefix); end != "" {
		q = sqlstore.Query{SQL: "SELECT key, value FROM counter WHERE key >= ? AND key < ?", Args: []any{prefix, end}}
	}
	all := map[string]int64{}
	err := s.conn.query(ctx, q, func(row []driver.Value) bool {
		all[text(row[0])] = row[1].(int64)
		return true
	})
	return all, s.ended(err)
}

// ended is the error of what ended. A context's is a fault.
func (s *snapshot) ended(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return sqlstore.Unavailable("sqlite", err)
	}
	return err
}

// Changes implements [store.Driver].
func (d *Driver) Changes(ctx context.Context, after store.Seq, limit int) (_ []store.Change, err error) {
	const op = "sqlite.Changes"
	if recent := d.commits.Changes(ctx, after, limit); len(recent) > 0 {
		return recent, nil
	}
	s, head, err := d.begin(ctx, op)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := s.Close(); err == nil {
			err = e
		}
	}()
	if after < head.Trimmed {
		return nil, sqlstore.Expired(op, after, head)
	}
	var changes []store.Change
	var unknown error
	err = s.conn.query(ctx, sqlstore.Query{SQL: `SELECT seq, time, last, kind, name, before, after, before_version, reason, principal, request
		FROM change WHERE seq > ? ORDER BY seq LIMIT ?`, Args: []any{int64(after), int64(limit)}}, func(row []driver.Value) bool {
		typ, ok := d.syms.Type(row[3].(int64))
		if !ok {
			unknown = errUnknownKind
			return false
		}
		changes = append(changes, store.Change{
			Seq: seq(row[0]), Time: time.Unix(0, row[1].(int64)).UTC(), Last: row[2] == int64(1), Type: typ, Name: resource.Name(text(row[4])),
			Before: body(row[5]), After: body(row[6]), BeforeVersion: seq(row[7]), Reason: text(row[8]),
			Info: store.Info{Principal: text(row[9]), RequestID: text(row[10])},
		})
		return true
	})
	if unknown != nil && err == nil {
		// Another process brought the type: from now on it is known.
		found, err := s.Symbols(ctx)
		if err != nil {
			return nil, err
		}
		d.syms.Add(found)
		return d.Changes(ctx, after, limit)
	}
	return changes, s.ended(err)
}

// errUnknownKind stops the reading of changes at a type that is not known yet.
var errUnknownKind = errors.New("BUG: the type of a change is not known")

// Trim implements [store.Driver].
func (d *Driver) Trim(ctx context.Context, through store.Seq) error {
	d.commits.Forget(through)
	for more := true; more; {
		if err := d.commits.Do(ctx, func(context.Context) (err error) {
			more, err = d.trimSome(through)
			return err
		}); err != nil {
			return fmt.Errorf("trimming: %w", err)
		}
	}
	return nil
}
