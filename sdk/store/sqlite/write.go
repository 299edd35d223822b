package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// tables makes the tables of package sqlstore. Objects have a row of their own,
// found by an index, because the rows are long: the index stays short.
const tables = `
CREATE TABLE IF NOT EXISTS symbol (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS object (
	kind INTEGER NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL, version INTEGER NOT NULL, deleting INTEGER NOT NULL,
	terms BLOB NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS object_name ON object (kind, name);
CREATE TABLE IF NOT EXISTS entry (term BLOB NOT NULL, name TEXT NOT NULL, PRIMARY KEY (term, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claim (term BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS change (
	seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, last INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,
	before BLOB, after BLOB, before_version INTEGER NOT NULL, reason TEXT NOT NULL, principal TEXT NOT NULL, request TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, change INTEGER NOT NULL, trimmed INTEGER NOT NULL);
INSERT OR IGNORE INTO head VALUES (1, 0, 0, 0);
PRAGMA user_version = 1;
`

// trimmedAtOnce is how many changes are forgotten in one transaction, which
// commits wait for.
const trimmedAtOnce = 1000

// create makes the tables and reads the head and the symbols.
func (d *Driver) create(ctx context.Context) (h sqlstore.Head, err error) {
	r := reader{d.writer}
	err = d.transaction(func() error {
		var format [1]driver.Value
		if _, err := d.writer.one(format[:], "PRAGMA user_version"); err != nil {
			return err
		}
		if v := format[0].(int64); v > 1 {
			return &fault.Error{Op: "sqlite.OpenDriver", Kind: fault.Invalid, Reason: "STORE_FORMAT", Err: fmt.Errorf("the file has the format %d of a later release", v)}
		}
		if _, err := d.writer.raw.(driver.ExecerContext).ExecContext(ctx, tables, nil); err != nil {
			return explain(fmt.Errorf("schema: %w", err))
		}
		if h, err = r.head(); err != nil {
			return err
		}
		found, err := r.Symbols(ctx)
		d.syms.Add(found)
		return err
	})
	return h, err
}

// transaction calls f in a transaction of the writer.
func (d *Driver) transaction(f func() error) error {
	if err := d.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		if err = d.writer.exec("COMMIT"); err == nil {
			return nil
		}
	}
	rollback(d.writer)
	return err
}

// rollback ends a transaction. After some errors it has ended already.
func rollback(c *conn) { _ = c.exec("ROLLBACK") }

// trimSome forgets some changes; false when there are no more.
func (d *Driver) trimSome(through store.Seq) (more bool, err error) {
	err = d.transaction(func() error {
		var row [2]driver.Value
		if _, err := d.writer.one(row[:], "SELECT max(seq), count(*) FROM (SELECT seq FROM change WHERE seq <= ? ORDER BY seq LIMIT ?)", int64(through), int64(trimmedAtOnce)); err != nil {
			return err
		}
		if row[0] == nil {
			return nil
		}
		more = row[1].(int64) == trimmedAtOnce
		if err := d.writer.exec("DELETE FROM change WHERE seq <= ?", row[0]); err != nil {
			return err
		}
		return d.writer.exec("UPDATE head SET trimmed = ?", row[0])
	})
	return more, err
}

// reader reads by a connection.
type reader struct{ conn *conn }

// Dialect implements [sqlstore.Reader].
func (r reader) Dialect() sqlstore.Dialect {
	// A CROSS JOIN is done in the order in which it is written.
	return sqlstore.Dialect{
		Join:      "CROSS JOIN object o ON o.kind = %[2]s AND o.name = %[1]s",
		FirstTerm: "first_term(o.terms, %s, %s)",
		Few:       r.conn.few,
	}
}

// head reads the head.
func (r reader) head() (sqlstore.Head, error) {
	var row [3]driver.Value
	found, err := r.conn.one(row[:], "SELECT seq, change, trimmed FROM head")
	if err == nil && !found {
		err = &fault.Error{Op: "sqlite", Kind: fault.Internal, Reason: "STORE_CORRUPT", Err: errNoHead}
	}
	if err != nil {
		return sqlstore.Head{}, err
	}
	return sqlstore.Head{Seq: seq(row[0]), Change: seq(row[1]), Trimmed: seq(row[2])}, nil
}

// errNoHead is what a database has that somebody else wrote to.
var errNoHead = errors.New("the table head has no row")

// Records implements [sqlstore.Reader].
func (r reader) Records(ctx context.Context, q sqlstore.Query, yield func(*store.Record) bool) error {
	return r.conn.query(ctx, q, func(row []driver.Value) bool {
		rec := &store.Record{Name: resource.Name(text(row[0]))}
		if len(row) == 2 {
			rec.Version = seq(row[1])
		} else {
			rec.UID, rec.Version, rec.Deleting, rec.Body = text(row[1]), seq(row[2]), row[3] == int64(1), blob(row[4])
		}
		return yield(rec)
	})
}

// Numbers implements [sqlstore.Reader].
func (r reader) Numbers(ctx context.Context, q sqlstore.Query, n int) ([]int64, error) {
	all := make([]int64, 0, n)
	err := r.conn.query(ctx, q, func(row []driver.Value) bool {
		for _, v := range row {
			n, _ := v.(int64)
			all = append(all, n)
		}
		return false
	})
	return all, err
}

// Symbols implements [sqlstore.Reader].
func (r reader) Symbols(ctx context.Context) (map[sqlstore.Symbol]int64, error) {
	all := map[sqlstore.Symbol]int64{}
	err := r.conn.query(ctx, sqlstore.Query{SQL: "SELECT id, text FROM symbol"}, func(row []driver.Value) bool {
		all[sqlstore.ParseSymbol(text(row[1]))] = row[0].(int64)
		return true
	})
	return all, err
}

// backend commits by the writer.
type backend struct{ d *Driver }

// Intern implements [sqlstore.Backend].
func (b backend) Intern(ctx context.Context, missing []sqlstore.Symbol) (all map[sqlstore.Symbol]int64, err error) {
	err = b.d.transaction(func() error {
		for _, x := range missing {
			if err := b.d.writer.exec("INSERT OR IGNORE INTO symbol (text) VALUES (?)", x.Text()); err != nil {
				return err
			}
		}
		all, err = reader{b.d.writer}.Symbols(ctx)
		return err
	})
	return all, err
}

// Settle implements [sqlstore.Backend]. A commit of SQLite never has an unknown
// outcome.
func (backend) Settle(context.Context, string) (bool, error) { return false, nil }

// Sync implements [sqlstore.Backend].
func (b backend) Sync() error { return b.d.log.Sync() }

// Begin implements [sqlstore.Backend].
func (b backend) Begin(_ context.Context, k *sqlstore.Keys) (sqlstore.Tx, sqlstore.Found, error) {
	c := b.d.writer
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, sqlstore.Found{}, err
	}
	found, err := find(c, k)
	if err != nil {
		rollback(c)
		return nil, found, err
	}
	return &tx{reader: reader{c}}, found, nil
}

// find finds what there is of keys.
func find(c *conn, k *sqlstore.Keys) (sqlstore.Found, error) {
	f := sqlstore.Found{
		Objects: make(map[sqlstore.Key]*sqlstore.Object, len(k.Objects)),
		Claims:  map[string]resource.Name{}, Counters: map[string]int64{},
	}
	var err error
	if f.Head, err = (reader{c}).head(); err != nil {
		return f, err
	}
	var row [4]driver.Value
	for _, x := range k.Objects {
		found, err := c.one(row[:], "SELECT uid, version, deleting, terms FROM object WHERE kind = ? AND name = ?", x.Kind, string(x.Name))
		if err != nil {
			return f, err
		}
		if found {
			f.Objects[x] = &sqlstore.Object{UID: text(row[0]), Version: seq(row[1]), Deleting: row[2] == int64(1), Terms: sqlstore.UnpackTerms(blob(row[3]))}
		}
	}
	for _, t := range k.Claims {
		found, err := c.one(row[:1], "SELECT name FROM claim WHERE term = ?", t)
		if err != nil {
			return f, err
		}
		if found {
			f.Claims[string(t)] = resource.Name(text(row[0]))
		}
	}
	for _, key := range k.Counters {
		found, err := c.one(row[:1], "SELECT value FROM counter WHERE key = ?", key)
		if err != nil {
			return f, err
		}
		if found {
			f.Counters[key] = row[0].(int64)
		}
	}
	return f, nil
}

// tx is the transaction of the writer.
type tx struct{ reader }

// Rollback implements [sqlstore.Tx].
func (t *tx) Rollback() { rollback(t.conn) }

// Commit implements [sqlstore.Tx].
func (t *tx) Commit(ctx context.Context, r *sqlstore.Rows, h sqlstore.Head, _ string) error {
	err := t.Write(ctx, r)
	if err == nil {
		err = t.conn.exec("UPDATE head SET seq = ?, change = ?", int64(h.Seq), int64(h.Change))
	}
	if err == nil {
		err = t.conn.exec("COMMIT")
	}
	if err != nil {
		rollback(t.conn)
	}
	return err
}

// Write implements [sqlstore.Tx]. Statements of many rows are no faster here
// than as many statements.
func (t *tx) Write(_ context.Context, r *sqlstore.Rows) error {
	if err := t.writeObjects(r); err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	for _, e := range r.Drop {
		if err := t.conn.exec("DELETE FROM entry WHERE term = ? AND name = ?", e.Term, string(e.Name)); err != nil {
			return fmt.Errorf("entries: %w", err)
		}
	}
	for _, e := range r.Add {
		if err := t.conn.exec("INSERT OR IGNORE INTO entry VALUES (?, ?)", e.Term, string(e.Name)); err != nil {
			return fmt.Errorf("entries: %w", err)
		}
	}
	if err := t.writeOthers(r); err != nil {
		return err
	}
	for _, c := range r.Changes {
		if err := t.conn.exec("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			int64(c.Seq), c.Time.UnixNano(), c.Last, c.Kind, string(c.Name), c.Before, c.After, int64(c.BeforeVersion),
			c.Reason, c.Info.Principal, c.Info.RequestID); err != nil {
			return fmt.Errorf("changes: %w", err)
		}
	}
	return nil
}

// writeObjects writes the objects.
func (t *tx) writeObjects(r *sqlstore.Rows) error {
	for _, o := range r.Objects {
		text := "INSERT INTO object (uid, version, deleting, terms, body, kind, name) VALUES (?, ?, ?, ?, ?, ?, ?)"
		if o.Stored {
			text = "UPDATE object SET uid = ?, version = ?, deleting = ?, terms = ?, body = ? WHERE kind = ? AND name = ?"
		}
		if err := t.conn.exec(text, o.UID, int64(o.Version), o.Deleting, sqlstore.PackTerms(o.Terms), o.Body, o.Kind, string(o.Name)); err != nil {
			return err
		}
	}
	for _, k := range r.Removed {
		if err := t.conn.exec("DELETE FROM object WHERE kind = ? AND name = ?", k.Kind, string(k.Name)); err != nil {
			return err
		}
	}
	return nil
}

// writeOthers writes claims and counters.
func (t *tx) writeOthers(r *sqlstore.Rows) error {
	for _, c := range r.Claims {
		text, args := "INSERT OR REPLACE INTO claim VALUES (?, ?)", []any{c.Term, string(c.Holder)}
		if c.Holder == "" {
			text, args = "DELETE FROM claim WHERE term = ?", args[:1]
		}
		if err := t.conn.exec(text, args...); err != nil {
			return fmt.Errorf("claims: %w", err)
		}
	}
	for _, c := range r.Counters {
		text, args := "INSERT OR REPLACE INTO counter VALUES (?, ?)", []any{c.Key, c.Value}
		if c.Value == 0 {
			text, args = "DELETE FROM counter WHERE key = ?", args[:1]
		}
		if err := t.conn.exec(text, args...); err != nil {
			return fmt.Errorf("counters: %w", err)
		}
	}
	return nil
}

// text is a value of a TEXT column.
func text(v driver.Value) string {
	s, _ := v.(string)
	return s
}

// blob is a value of a BLOB column that is never NULL. An empty one comes as
// nil.
func blob(v driver.Value) []byte {
	b, _ := v.([]byte)
	return b
}

// body is a value of a BLOB column in which NULL means something.
func body(v driver.Value) []byte {
	if v == nil {
		return nil
	}
	if b := blob(v); b != nil {
		return b
	}
	return []byte{}
}

// seq is a value of an INTEGER column.
func seq(v driver.Value) store.Seq {
	n, _ := v.(int64)
	return store.Seq(n)
}
