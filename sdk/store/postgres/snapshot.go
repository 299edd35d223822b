package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// readAtOnce is how many records of a scan are fetched at once. A scan of no
// more is one statement, a longer one a cursor: who stops early has not fetched
// the rest.
const readAtOnce = 500

// getAtOnce is how many objects are asked for in one statement.
const getAtOnce = 1000

// snapshot is a read transaction.
type snapshot struct {
	reader
	d    *Driver
	done bool
}

var _ store.Snapshot = (*snapshot)(nil)

// Snapshot implements [store.Driver].
func (d *Driver) Snapshot(ctx context.Context) (_ store.Snapshot, _ store.Seq, err error) {
	s := &snapshot{d: d}
	var last int64
	err = d.read(ctx, "postgres.Snapshot", func(conn *pgx.Conn) (bool, error) {
		b := &pgx.Batch{}
		b.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
		b.Queue("SELECT change FROM head").QueryRow(func(r pgx.Row) error { return r.Scan(&last) })
		s.reader = reader{conn: conn, few: d.o.Few}
		return true, conn.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return nil, 0, err
	}
	return s, store.Seq(last), nil
}

// read calls f with a connection, which f may keep. When the connection turns
// out to be broken, as all are after the server was restarted, f is called again
// with another.
func (d *Driver) read(ctx context.Context, op string, f func(*pgx.Conn) (keep bool, err error)) error {
	for n := 0; ; n++ {
		conn, err := d.readers.Get(ctx, op)
		if err != nil {
			return err
		}
		keep, err := f(conn)
		if err == nil && keep {
			return nil
		}
		broken := conn.IsClosed()
		d.readers.Put(conn, broken || keep)
		if err == nil || !broken || ctx.Err() != nil || n == d.o.Readers {
			return explain(err)
		}
	}
}

// Close implements [store.Snapshot].
func (s *snapshot) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	// A connection that does not answer is closed by it.
	ctx, cancel := context.WithTimeout(context.Background(), maxRead)
	defer cancel()
	_, err := s.conn.Exec(ctx, "COMMIT")
	s.d.readers.Put(s.conn, err != nil)
	return nil // nothing was done that can be lost
}

// use checks that the snapshot can be used.
func (s *snapshot) use(op string) error {
	switch {
	case s.done:
		return sqlstore.Done(op)
	case s.d.readers.Closed():
		return sqlstore.Closed(op)
	case s.conn.PgConn().IsBusy():
		return sqlstore.Busy(op)
	}
	return nil
}

// Get implements [store.Snapshot].
func (s *snapshot) Get(ctx context.Context, typ string, names []resource.Name) ([]*store.Record, error) {
	if err := s.use("postgres.Get"); err != nil {
		return nil, err
	}
	records := make([]*store.Record, len(names))
	if err := s.d.syms.Find(ctx, []sqlstore.Symbol{{Type: typ}}, s.Symbols); err != nil {
		return nil, err
	}
	kind, ok := s.d.syms.Kind(typ)
	if !ok || len(names) == 0 {
		return records, nil
	}
	place := make(map[resource.Name][]int, len(names))
	var keys [][]byte
	for i, n := range names {
		if place[n] == nil {
			keys = append(keys, []byte(n))
		}
		place[n] = append(place[n], i)
	}
	for len(keys) > 0 {
		some := keys[:min(getAtOnce, len(keys))]
		keys = keys[len(some):]
		q := sqlstore.Query{SQL: "SELECT name, uid, version, deleting, body FROM object WHERE kind = $1 AND name = $2", Args: []any{kind, some[0]}}
		if len(some) > 1 {
			q = sqlstore.Query{SQL: "SELECT name, uid, version, deleting, body FROM object WHERE kind = $1 AND name = ANY ($2)", Args: []any{kind, some}}
		}
		if err := s.Records(ctx, q, func(rec *store.Record) bool {
			rec.Type = typ
			for _, i := range place[rec.Name] {
				records[i] = rec
			}
			return true
		}); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Scan implements [store.Snapshot].
func (s *snapshot) Scan(ctx context.Context, q store.Scan, yield func(*store.Record) bool) error {
	if err := s.use("postgres.Scan"); err != nil {
		return err
	}
	r := sqlstore.Reader(s)
	if q.Limit == 0 || q.Limit > readAtOnce {
		r = cursor{s.reader}
	}
	return sqlstore.Scan(ctx, r, &s.d.syms, &q, sqlstore.ColumnsAll, yield)
}

// Count implements [store.Snapshot].
func (s *snapshot) Count(ctx context.Context, q store.Scan) (int64, error) {
	if err := s.use("postgres.Count"); err != nil {
		return 0, err
	}
	return sqlstore.Count(ctx, s, &s.d.syms, &q)
}

// Counters implements [store.Snapshot].
func (s *snapshot) Counters(ctx context.Context, prefix string) (map[string]int64, error) {
	if err := s.use("postgres.Counters"); err != nil {
		return nil, err
	}
	sql, args := "SELECT key, value FROM counter WHERE key >= $1", []any{[]byte(prefix)}
	if end := sqlstore.PrefixEnd(prefix); end != "" {
		sql, args = sql+" AND key < $2", append(args, []byte(end))
	}
	all := map[string]int64{}
	rows, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, explain(err)
	}
	var key []byte
	var value int64
	_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error {
		all[string(key)] = value
		return nil
	})
	return all, explain(err)
}

// reader reads by a connection.
type reader struct {
	conn *pgx.Conn
	few  int
}

// Dialect implements [sqlstore.Reader]. OFFSET 0 keeps the planner from turning
// the join around.
func (r reader) Dialect() sqlstore.Dialect {
	return sqlstore.Dialect{
		Join:      "CROSS JOIN LATERAL (SELECT * FROM object WHERE kind = %[2]s AND name = %[1]s OFFSET 0) o",
		FirstTerm: "(SELECT u FROM unnest(o.terms) u WHERE u >= %s AND u < %s ORDER BY u LIMIT 1)",
		Bytes:     true,
		Few:       r.few,
	}
}

// Records implements [sqlstore.Reader].
func (r reader) Records(ctx context.Context, q sqlstore.Query, yield func(*store.Record) bool) error {
	rows, err := r.conn.Query(ctx, q.SQL, q.Args...)
	if err != nil {
		return explain(err)
	}
	_, err = read(rows, yield)
	return err
}

// read yields the records of rows, and returns how many it read; fewer than
// there are when yield returned false.
func read(rows pgx.Rows, yield func(*store.Record) bool) (n int, err error) {
	defer rows.Close()
	short := len(rows.FieldDescriptions()) == 2
	for rows.Next() {
		n++
		rec, name, version := &store.Record{}, []byte(nil), int64(0)
		if short {
			err = rows.Scan(&name, &version)
		} else {
			var uid []byte
			err = rows.Scan(&name, &uid, &version, &rec.Deleting, &rec.Body)
			rec.UID = string(uid)
		}
		if err != nil {
			return n, explain(err)
		}
		rec.Name, rec.Version = resource.Name(name), store.Seq(version)
		if !yield(rec) {
			return -1, nil
		}
	}
	return n, explain(rows.Err())
}

// cursor is a reader of many records.
type cursor struct{ reader }

// Records implements [sqlstore.Reader].
func (c cursor) Records(ctx context.Context, q sqlstore.Query, yield func(*store.Record) bool) error {
	if _, err := c.conn.Exec(ctx, "DECLARE scan NO SCROLL CURSOR FOR "+q.SQL, q.Args...); err != nil {
		return explain(err)
	}
	for {
		rows, err := c.conn.Query(ctx, fmt.Sprint("FETCH ", readAtOnce, " FROM scan"))
		if err != nil {
			return explain(err)
		}
		n, err := read(rows, yield)
		if err != nil {
			return err
		}
		if n < readAtOnce {
			break
		}
	}
	_, err := c.conn.Exec(ctx, "CLOSE scan")
	return explain(err)
}

// Numbers implements [sqlstore.Reader].
func (r reader) Numbers(ctx context.Context, q sqlstore.Query, n int) ([]int64, error) {
	all, places := make([]int64, n), make([]any, n)
	for i := range all {
		places[i] = &all[i]
	}
	return all, explain(r.conn.QueryRow(ctx, q.SQL, q.Args...).Scan(places...))
}

// Symbols implements [sqlstore.Reader].
func (r reader) Symbols(ctx context.Context) (map[sqlstore.Symbol]int64, error) {
	rows, err := r.conn.Query(ctx, "SELECT id, text FROM symbol")
	if err != nil {
		return nil, explain(err)
	}
	all := map[sqlstore.Symbol]int64{}
	var id int64
	var text string
	_, err = pgx.ForEachRow(rows, []any{&id, &text}, func() error {
		all[sqlstore.ParseSymbol(text)] = id
		return nil
	})
	return all, explain(err)
}

// Changes implements [store.Driver].
func (d *Driver) Changes(ctx context.Context, after store.Seq, limit int) (changes []store.Change, err error) {
	if recent := d.commits.Changes(ctx, after, limit); len(recent) > 0 {
		return recent, nil
	}
	err = d.read(ctx, "postgres.Changes", func(conn *pgx.Conn) (bool, error) {
		changes, err = d.changes(ctx, conn, after, limit)
		return false, err
	})
	return changes, err
}

// changes is Changes by a connection.
func (d *Driver) changes(ctx context.Context, conn *pgx.Conn, after store.Seq, limit int) ([]store.Change, error) {
	changes, kinds, err := readChanges(ctx, conn, after, limit)
	if err != nil {
		return nil, err
	}
	for i, kind := range kinds {
		typ, ok := d.syms.Type(kind)
		if !ok {
			// Another process brought the type: from now on it is known.
			found, err := reader{conn: conn}.Symbols(ctx)
			if err != nil {
				return nil, err
			}
			d.syms.Add(found)
			typ, _ = d.syms.Type(kind)
		}
		changes[i].Type = typ
	}
	return changes, nil
}

// readChanges reads changes and the numbers of their types. Whether some were
// forgotten is asked after they were read: if they were not then, they were
// there before.
func readChanges(ctx context.Context, conn *pgx.Conn, after store.Seq, limit int) (changes []store.Change, kinds []int64, err error) {
	b := &pgx.Batch{}
	b.Queue(`SELECT seq, time, last, kind, name, before, after, before_version, reason, principal, request
		FROM change WHERE seq > $1 ORDER BY seq LIMIT $2`, int64(after), int64(limit)).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var c store.Change
			var seq, when, kind, version int64
			var name, reason, principal, request []byte
			if err := rows.Scan(&seq, &when, &c.Last, &kind, &name, &c.Before, &c.After, &version, &reason, &principal, &request); err != nil {
				return err
			}
			c.Seq, c.Time, c.Name, c.BeforeVersion = store.Seq(seq), time.Unix(0, when).UTC(), resource.Name(name), store.Seq(version)
			c.Reason, c.Info = string(reason), store.Info{Principal: string(principal), RequestID: string(request)}
			changes, kinds = append(changes, c), append(kinds, kind)
		}
		return rows.Err()
	})
	var trimmed int64
	b.Queue("SELECT trimmed FROM head").QueryRow(func(r pgx.Row) error { return r.Scan(&trimmed) })
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return nil, nil, explain(err)
	}
	if after < store.Seq(trimmed) {
		return nil, nil, sqlstore.Expired("postgres.Changes", after, sqlstore.Head{Trimmed: store.Seq(trimmed)})
	}
	return changes, kinds, nil
}

// trimmedAtOnce is how many changes are forgotten in one transaction.
const trimmedAtOnce = 10_000

// Trim implements [store.Driver]. The row of head is locked at the end of each
// transaction only.
func (d *Driver) Trim(ctx context.Context, through store.Seq) error {
	d.commits.Forget(through)
	for n := int64(trimmedAtOnce); n == trimmedAtOnce; {
		err := d.read(ctx, "postgres.Trim", func(conn *pgx.Conn) (_ bool, err error) {
			n, err = trimSome(ctx, conn, through)
			return false, err
		})
		if err != nil {
			return fmt.Errorf("trimming: %w", err)
		}
	}
	return nil
}

// trimSome forgets some changes, and returns how many.
func trimSome(ctx context.Context, conn *pgx.Conn, through store.Seq) (n int64, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var last int64
		if err := tx.QueryRow(ctx, `WITH gone AS (
				DELETE FROM change WHERE seq IN (SELECT seq FROM change WHERE seq <= $1 ORDER BY seq LIMIT $2) RETURNING seq
			) SELECT count(*), coalesce(max(seq), 0) FROM gone`, int64(through), int64(trimmedAtOnce)).Scan(&n, &last); err != nil || n == 0 {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE head SET trimmed = greatest(trimmed, $1)", last)
		return err
	})
	return n, err
}
