package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// format is the format of the tables.
const format = 1

// tables makes the tables of package sqlstore and of this one. Names, and
// whatever else comes from outside, are bytea: text has no zero byte, and must
// be valid.
const tables = `
CREATE TABLE symbol (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL UNIQUE);
CREATE TABLE object (
	kind int8 NOT NULL, name bytea NOT NULL, uid bytea NOT NULL, version int8 NOT NULL, deleting bool NOT NULL,
	terms bytea[] NOT NULL, body bytea NOT NULL, PRIMARY KEY (kind, name)
);
CREATE TABLE entry (term bytea NOT NULL, name bytea NOT NULL, PRIMARY KEY (term, name));
CREATE TABLE claim (term bytea PRIMARY KEY, name bytea NOT NULL);
CREATE TABLE counter (key bytea PRIMARY KEY, value int8 NOT NULL);
CREATE TABLE change (
	seq int8 PRIMARY KEY, time int8 NOT NULL, last bool NOT NULL, kind int8 NOT NULL, name bytea NOT NULL,
	before bytea, after bytea, before_version int8 NOT NULL, reason bytea NOT NULL, principal bytea NOT NULL, request bytea NOT NULL
);
CREATE TABLE committer (id text PRIMARY KEY, batch text NOT NULL, at timestamptz NOT NULL);
CREATE TABLE head (
	one bool PRIMARY KEY CHECK (one), format int8 NOT NULL, seq int8 NOT NULL, change int8 NOT NULL, trimmed int8 NOT NULL
);
INSERT INTO head VALUES (true, 1, 0, 0, 0);
`

// create makes the tables if they are not there, and reads the head and the
// symbols.
func (d *Driver) create(ctx context.Context) (h sqlstore.Head, err error) {
	conn, err := d.connect(ctx, "setup", nil)
	if err != nil {
		return h, err
	}
	defer hangUp(conn)
	schema := pgx.Identifier{d.o.Schema}.Sanitize()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", d.channel); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", schema+".head").Scan(&there); err != nil {
			return err
		}
		if !there {
			if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
				return err
			}
			if _, err := tx.Conn().PgConn().Exec(ctx, tables).ReadAll(); err != nil {
				return err
			}
		}
		var is, seq, change, trimmed int64
		if err := tx.QueryRow(ctx, "SELECT format, seq, change, trimmed FROM head").Scan(&is, &seq, &change, &trimmed); err != nil {
			return err
		}
		if is > format {
			return &fault.Error{Op: "postgres.Open", Kind: fault.Invalid, Reason: "STORE_FORMAT", Err: fmt.Errorf("the tables have the format %d of a later release", is)}
		}
		h = sqlstore.Head{Seq: store.Seq(seq), Change: store.Seq(change), Trimmed: store.Seq(trimmed)}
		// Those who ended without a word.
		_, err := tx.Exec(ctx, "DELETE FROM committer WHERE at < now() - interval '1 day'")
		return err
	})
	if err != nil {
		return h, explain(fmt.Errorf("setting up: %w", err))
	}
	found, err := reader{conn: conn}.Symbols(ctx)
	d.syms.Add(found)
	return h, err
}

// backend commits by a connection of its own.
type backend struct {
	d *Driver
	// id is that of the row of the table committer.
	id   string
	conn *pgx.Conn
}

// connected is the connection, a new one if the last one broke.
func (b *backend) connected(ctx context.Context) (*pgx.Conn, error) {
	if b.conn != nil && !b.conn.IsClosed() {
		return b.conn, nil
	}
	settings := map[string]string{
		"statement_timeout": millis(b.d.o.Timeout), "lock_timeout": millis(b.d.o.Timeout),
		// A connection that broke without a word leaves the lock after this.
		"idle_in_transaction_session_timeout": millis(b.d.o.Timeout / 3),
	}
	for k, v := range planner {
		settings[k] = v
	}
	conn, err := b.d.connect(ctx, "committer "+b.id, settings)
	if err != nil {
		return nil, err
	}
	// What is committed is on the disk, whatever the server is set to. And if
	// there is a connection of ours that broke, it holds no lock.
	for _, sql := range []string{
		"SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			hangUp(conn)
			return nil, explain(err)
		}
	}
	b.conn = conn
	return conn, nil
}

// close takes leave.
func (b *backend) close() {
	if b.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := b.conn.Exec(ctx, "DELETE FROM committer WHERE id = $1", b.id); err != nil {
		b.d.o.Logger.Debug("row of the committer left", slog.Any("error", err))
	}
	_ = b.conn.Close(ctx) // nothing hangs on how it ends
}

// lost is an error before a commit. If it is that of the connection, nothing was
// done, and it can be done by another.
func (b *backend) lost(err error) error {
	if err == nil {
		return nil
	}
	if b.conn != nil && b.conn.IsClosed() && !interrupted(err) {
		err = fmt.Errorf("%w: %w", sqlstore.ErrAgain, err)
	}
	return explain(err)
}

// Intern implements [sqlstore.Backend].
func (b *backend) Intern(ctx context.Context, missing []sqlstore.Symbol) (map[sqlstore.Symbol]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.d.o.Timeout)
	defer cancel()
	conn, err := b.connected(ctx)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, x := range missing {
		texts = append(texts, x.Text())
	}
	if _, err := conn.Exec(ctx, "INSERT INTO symbol (text) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING", texts); err != nil {
		return nil, b.lost(err)
	}
	all, err := reader{conn: conn}.Symbols(ctx)
	return all, b.lost(err)
}

// Sync implements [sqlstore.Backend]: what the server committed is durable.
func (*backend) Sync() error { return nil }

// Settle implements [sqlstore.Backend]. Who has the lock knows that the broken
// connection has it no more.
func (b *backend) Settle(ctx context.Context, id string) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.d.o.Timeout)
	defer cancel()
	if b.conn != nil {
		hangUp(b.conn)
	}
	conn, err := b.connected(ctx)
	if err != nil {
		return false, err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT 1 FROM head FOR UPDATE"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM committer WHERE id = $1 AND batch = $2)", b.id, id).Scan(&done)
	})
	return done, explain(err)
}

// Begin implements [sqlstore.Backend].
func (b *backend) Begin(ctx context.Context, k *sqlstore.Keys) (sqlstore.Tx, sqlstore.Found, error) {
	ctx, cancel := context.WithTimeout(ctx, b.d.o.Timeout)
	defer cancel()
	conn, err := b.connected(ctx)
	if err != nil {
		return nil, sqlstore.Found{}, err
	}
	found, err := find(ctx, conn, k)
	t := &tx{reader: reader{conn: conn, few: b.d.o.Few}, b: b, last: found.Head.Change}
	if err != nil {
		t.Rollback()
		return nil, found, b.lost(err)
	}
	return t, found, nil
}

// find begins a transaction, takes the lock, and finds what there is of keys:
// each statement sees what was committed when the lock was had.
func find(ctx context.Context, conn *pgx.Conn, k *sqlstore.Keys) (sqlstore.Found, error) {
	f := sqlstore.Found{Objects: make(map[sqlstore.Key]*sqlstore.Object, len(k.Objects)), Claims: map[string]resource.Name{}, Counters: map[string]int64{}}
	b := &pgx.Batch{}
	b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	b.Queue("SELECT seq, change, trimmed FROM head FOR UPDATE").QueryRow(func(r pgx.Row) error {
		var seq, change, trimmed int64
		err := r.Scan(&seq, &change, &trimmed)
		f.Head = sqlstore.Head{Seq: store.Seq(seq), Change: store.Seq(change), Trimmed: store.Seq(trimmed)}
		return err
	})
	if len(k.Objects) > 0 {
		kinds, names := columns(k.Objects)
		b.Queue(`SELECT o.kind, o.name, o.uid, o.version, o.deleting, o.terms FROM unnest($1::int8[], $2::bytea[]) k (kind, name)
			CROSS JOIN LATERAL (SELECT * FROM object WHERE kind = k.kind AND name = k.name OFFSET 0) o`, kinds, names).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				o, key, name, uid, version := &sqlstore.Object{}, sqlstore.Key{}, []byte(nil), []byte(nil), int64(0)
				if err := rows.Scan(&key.Kind, &name, &uid, &version, &o.Deleting, &o.Terms); err != nil {
					return err
				}
				o.UID, o.Version, key.Name = string(uid), store.Seq(version), resource.Name(name)
				f.Objects[key] = o
			}
			return rows.Err()
		})
	}
	if len(k.Claims) > 0 {
		b.Queue("SELECT term, name FROM claim WHERE term = ANY ($1)", k.Claims).Query(func(rows pgx.Rows) error {
			var term, name []byte
			_, err := pgx.ForEachRow(rows, []any{&term, &name}, func() error {
				f.Claims[string(term)] = resource.Name(name)
				return nil
			})
			return err
		})
	}
	if len(k.Counters) > 0 {
		keys := make([][]byte, len(k.Counters))
		for i, c := range k.Counters {
			keys[i] = []byte(c)
		}
		b.Queue("SELECT key, value FROM counter WHERE key = ANY ($1)", keys).Query(func(rows pgx.Rows) error {
			var key []byte
			var value int64
			_, err := pgx.ForEachRow(rows, []any{&key, &value}, func() error {
				f.Counters[string(key)] = value
				return nil
			})
			return err
		})
	}
	return f, conn.SendBatch(ctx, b).Close()
}

// columns are keys as columns.
func columns(keys []sqlstore.Key) (kinds []int64, names [][]byte) {
	for _, k := range keys {
		kinds, names = append(kinds, k.Kind), append(names, []byte(k.Name))
	}
	return kinds, names
}

// tx is the transaction of the backend.
type tx struct {
	reader
	b *backend
	// last is the last change when it began.
	last store.Seq
}

// Records implements [sqlstore.Reader], for ranges of any length.
func (t *tx) Records(ctx context.Context, q sqlstore.Query, yield func(*store.Record) bool) error {
	return t.b.lost(t.reader.Records(ctx, q, yield))
}

// Rollback implements [sqlstore.Tx].
func (t *tx) Rollback() {
	if t.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.b.d.o.Timeout)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		hangUp(t.conn) // which rolls back too
	}
}

// Write implements [sqlstore.Tx].
func (t *tx) Write(ctx context.Context, r *sqlstore.Rows) error {
	b := &pgx.Batch{}
	queue(b, r)
	if b.Len() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.b.d.o.Timeout)
	defer cancel()
	return t.b.lost(t.conn.SendBatch(ctx, b).Close())
}

// errRolledBack is a commit that the server answered with something else.
var errRolledBack = errors.New("the server rolled back")

// Commit implements [sqlstore.Tx]. Everything goes to the server at once.
func (t *tx) Commit(ctx context.Context, r *sqlstore.Rows, h sqlstore.Head, id string) error {
	ctx, cancel := context.WithTimeout(ctx, t.b.d.o.Timeout)
	defer cancel()
	b := &pgx.Batch{}
	queue(b, r)
	b.Queue("UPDATE head SET seq = $1, change = $2", int64(h.Seq), int64(h.Change))
	b.Queue(`INSERT INTO committer VALUES ($1, $2, now())
		ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, at = excluded.at`, t.b.id, id)
	if h.Change > t.last {
		b.Queue("SELECT pg_notify($1, $2)", t.b.d.channel, strconv.FormatInt(int64(h.Change), 10))
	}
	var tag pgconn.CommandTag
	b.Queue("COMMIT").Exec(func(ct pgconn.CommandTag) error {
		tag = ct
		return nil
	})
	err := t.conn.SendBatch(ctx, b).Close()
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil
	case err == nil:
		return explain(fmt.Errorf("%w: %s", errRolledBack, tag))
	case answered(err):
		t.Rollback()
		return explain(err)
	}
	hangUp(t.conn)
	return explain(fmt.Errorf("%w: %w", sqlstore.ErrUnknown, err))
}

// queue queues the statements that write rows: one for each table.
func queue(b *pgx.Batch, r *sqlstore.Rows) {
	queueObjects(b, r)
	for _, e := range []struct {
		sql  string
		rows []sqlstore.EntryRow
	}{
		{"DELETE FROM entry e USING unnest($1::bytea[], $2::bytea[]) r (term, name) WHERE e.term = r.term AND e.name = r.name", r.Drop},
		{"INSERT INTO entry SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING", r.Add},
	} {
		if len(e.rows) == 0 {
			continue
		}
		terms, names := make([][]byte, len(e.rows)), make([][]byte, len(e.rows))
		for i, row := range e.rows {
			terms[i], names[i] = row.Term, []byte(row.Name)
		}
		b.Queue(e.sql, terms, names)
	}
	queueClaims(b, r)
	queueCounters(b, r)
	queueChanges(b, r)
}

// queueObjects queues the objects.
func queueObjects(b *pgx.Batch, r *sqlstore.Rows) {
	if n := len(r.Objects); n > 0 {
		kinds, versions, deleting, terms := make([]int64, n), make([]int64, n), make([]bool, n), make([]string, n)
		names, uids, bodies := make([][]byte, n), make([][]byte, n), make([][]byte, n)
		for i, o := range r.Objects {
			kinds[i], names[i], uids[i], versions[i], deleting[i] = o.Kind, []byte(o.Name), []byte(o.UID), int64(o.Version), o.Deleting
			terms[i], bodies[i] = array(o.Terms), o.Body
		}
		b.Queue(`INSERT INTO object (kind, name, uid, version, deleting, terms, body) SELECT k, n, u, v, d, t::bytea[], b
			FROM unnest($1::int8[], $2::bytea[], $3::bytea[], $4::int8[], $5::bool[], $6::text[], $7::bytea[]) r (k, n, u, v, d, t, b)
			ON CONFLICT (kind, name) DO UPDATE SET uid = excluded.uid, version = excluded.version, deleting = excluded.deleting,
				terms = excluded.terms, body = excluded.body`, kinds, names, uids, versions, deleting, terms, bodies)
	}
	if len(r.Removed) > 0 {
		kinds, names := columns(r.Removed)
		b.Queue("DELETE FROM object o USING unnest($1::int8[], $2::bytea[]) r (kind, name) WHERE o.kind = r.kind AND o.name = r.name", kinds, names)
	}
}

// array is an array of bytea as text: an array of arrays cannot be given as a
// column of arrays.
func array(terms [][]byte) string {
	out := []byte{'{'}
	for i, t := range terms {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(hex.AppendEncode(append(out, `"\\x`...), t), '"')
	}
	return string(append(out, '}'))
}

// queueClaims queues the claims.
func queueClaims(b *pgx.Batch, r *sqlstore.Rows) {
	var terms, holders, free [][]byte
	for _, c := range r.Claims {
		if c.Holder == "" {
			free = append(free, c.Term)
		} else {
			terms, holders = append(terms, c.Term), append(holders, []byte(c.Holder))
		}
	}
	if len(free) > 0 {
		b.Queue("DELETE FROM claim WHERE term = ANY ($1)", free)
	}
	if len(terms) > 0 {
		b.Queue("INSERT INTO claim SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (term) DO UPDATE SET name = excluded.name", terms, holders)
	}
}

// queueCounters queues the counters.
func queueCounters(b *pgx.Batch, r *sqlstore.Rows) {
	var keys, none [][]byte
	var values []int64
	for _, c := range r.Counters {
		if c.Value == 0 {
			none = append(none, []byte(c.Key))
		} else {
			keys, values = append(keys, []byte(c.Key)), append(values, c.Value)
		}
	}
	if len(none) > 0 {
		b.Queue("DELETE FROM counter WHERE key = ANY ($1)", none)
	}
	if len(keys) > 0 {
		b.Queue("INSERT INTO counter SELECT * FROM unnest($1::bytea[], $2::int8[]) ON CONFLICT (key) DO UPDATE SET value = excluded.value", keys, values)
	}
}

// queueChanges queues the changes.
func queueChanges(b *pgx.Batch, r *sqlstore.Rows) {
	n := len(r.Changes)
	if n == 0 {
		return
	}
	seqs, times, kinds, versions, last := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]bool, n)
	names, before, after := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	reasons, principals, requests := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	for i, c := range r.Changes {
		seqs[i], times[i], kinds[i], versions[i], last[i] = int64(c.Seq), c.Time.UnixNano(), c.Kind, int64(c.BeforeVersion), c.Last
		names[i], before[i], after[i] = []byte(c.Name), c.Before, c.After
		reasons[i], principals[i], requests[i] = []byte(c.Reason), []byte(c.Info.Principal), []byte(c.Info.RequestID)
	}
	b.Queue(`INSERT INTO change SELECT * FROM unnest($1::int8[], $2::int8[], $3::bool[], $4::int8[], $5::bytea[], $6::bytea[], $7::bytea[],
		$8::int8[], $9::bytea[], $10::bytea[], $11::bytea[])`, seqs, times, last, kinds, names, before, after, versions, reasons, principals, requests)
}
