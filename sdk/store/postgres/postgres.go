// Package postgres keeps the records of a store in PostgreSQL. Many processes
// may use the same database.
//
// The tables are those of package sqlstore, in a schema of their own, with two
// more columns of head and one more table:
//
//	head       one, format         there is one row, of this format
//	committer  id                  a process that commits
//	           batch, at           the first batch of its last group, and when
//
// Whoever commits locks the row of head and holds it until his transaction
// ends. So batches come one after another, from whatever process, numbers are
// given out in the order of the commits, and whoever sees one change sees all
// before it. The locks are held for two round trips, for as many batches as
// wait. What became of a commit whose connection broke is seen by the row of
// the committer, once the lock is had again.
//
// Readers see a snapshot (REPEATABLE READ) and wait for nobody. Each commit
// notifies a channel of the schema, which wakes who waits in other processes;
// where a notification is lost, polling finds the change.
package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// Options configure a [Driver].
type Options struct {
	// Schema is the schema that the tables are in; "" is "selvedge". It is
	// created if it is not there.
	Schema string
	// Readers is how many snapshots there can be at once; others wait for one to
	// be closed. 0 is 32. Two more connections commit and listen.
	Readers int
	// Poll is how often, while somebody waits, it is looked for changes of which
	// no notification came. 0 is 1 s.
	Poll time.Duration
	// Timeout is how long a transaction that commits can take. 0 is 30 s.
	Timeout time.Duration
	// Few is how many objects a scan sorts rather than find them in their order.
	// 0 is [sqlstore.Few].
	Few int
	// Logger is told of what goes wrong; nil discards.
	Logger *slog.Logger
}

// maxRead is how long a statement that reads can take, and how long a snapshot
// can be held without a statement: a snapshot keeps the database from cleaning
// up what was changed since.
const maxRead = 5 * time.Minute

// planner has every statement go along an index, in the order of its joins: what
// a scan looks at is decided by package sqlstore. Compiling takes longer than
// they do.
var planner = map[string]string{
	"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off", "enable_bitmapscan": "off",
	"enable_memoize":      "off",
	"join_collapse_limit": "1", "jit": "off", "plan_cache_mode": "force_generic_plan",
}

// Driver keeps the records of a store in a schema of a database.
type Driver struct {
	o       Options
	config  *pgx.ConnConfig
	channel string
	syms    sqlstore.Symbols
	signal  *sqlstore.Signal
	commits *sqlstore.Committer
	backend *backend
	readers *sqlstore.Pool[*pgx.Conn]
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

var _ store.Driver = (*Driver)(nil)

// Open connects to the database that dsn says, as a URL or as keywords and
// values, and makes the tables if they are not there.
func Open(ctx context.Context, dsn string, o Options) (*Driver, error) {
	const op = "postgres.Open"
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Invalid, Reason: "DSN_INVALID", Err: errDSN} // err may quote a password
	}
	if o.Schema == "" {
		o.Schema = "selvedge"
	}
	if o.Readers <= 0 {
		o.Readers = 32
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Few <= 0 {
		o.Few = sqlstore.Few
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Schema) > 63 {
		return nil, sqlstore.Invalid(op, o.Schema, "SCHEMA_INVALID", "the name of a schema has at most 63 bytes")
	}
	sum := sha256.Sum256([]byte(o.Schema))
	d := &Driver{o: o, config: config, channel: "selvedge_" + hex.EncodeToString(sum[:8])}
	d.readers = sqlstore.NewPool(o.Readers, o.Readers, d.reader, hangUp)
	head, err := d.create(ctx)
	if err != nil {
		return nil, fmt.Errorf("open schema %s: %w", o.Schema, err)
	}
	d.signal = sqlstore.NewSignal(head.Change)
	d.backend = &backend{d: d, id: rand.Text()}
	d.commits = sqlstore.NewCommitter(d.backend, &d.syms, d.signal, o.Logger)
	background, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.wait.Go(func() { d.signal.Poll(background, o.Poll, d.last) })
	d.wait.Go(func() { d.listen(background) })
	return d, nil
}

// errDSN is all that is said of a text with a password in it.
var errDSN = errors.New("the data source name cannot be parsed")

// connect connects for a purpose, with settings.
func (d *Driver) connect(ctx context.Context, purpose string, settings map[string]string) (*pgx.Conn, error) {
	config := d.config.Copy()
	params := config.RuntimeParams
	for k, v := range settings {
		params[k] = v
	}
	params["search_path"] = pgx.Identifier{d.o.Schema}.Sanitize()
	params["application_name"] = "selvedge " + purpose
	// A server that is too old for a setting says so when it is connected to.
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, explain(fmt.Errorf("connecting to %s: %w", config.Host, err))
	}
	return conn, nil
}

// reader connects to read.
func (d *Driver) reader(ctx context.Context) (*pgx.Conn, error) {
	settings := map[string]string{"statement_timeout": millis(maxRead), "idle_in_transaction_session_timeout": millis(maxRead)}
	for k, v := range planner {
		settings[k] = v
	}
	return d.connect(ctx, "reader", settings)
}

// millis is a duration as a setting.
func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// hangUp closes a connection, without waiting for a server that does not answer.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing hangs on how it ends
}

// Close ends the driver: what is being committed is finished.
func (d *Driver) Close() error {
	if !d.readers.Close() {
		return nil
	}
	d.stop()
	d.signal.Close()
	d.commits.Close()
	d.wait.Wait()
	d.backend.close()
	return nil
}

// Commit implements [store.Driver].
func (d *Driver) Commit(ctx context.Context, b *store.Batch) (store.Seq, error) {
	return d.commits.Commit(ctx, b)
}

// Wait implements [store.Driver].
func (d *Driver) Wait(ctx context.Context, after store.Seq) error { return d.signal.Wait(ctx, after) }

// last is the last change.
func (d *Driver) last(ctx context.Context) (store.Seq, error) {
	s, last, err := d.Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	return last, s.Close()
}

// listen has the notifications of other processes wake those who wait. When the
// connection breaks it connects again.
func (d *Driver) listen(ctx context.Context) {
	for {
		err := d.listenOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		d.o.Logger.Warn("listening for changes interrupted", slog.Any("error", err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.o.Poll):
		}
	}
}

// listenOnce listens until the connection breaks.
func (d *Driver) listenOnce(ctx context.Context) error {
	conn, err := d.connect(ctx, "listener", nil)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if _, err := conn.Exec(ctx, "LISTEN "+d.channel); err != nil {
		return explain(err)
	}
	// What was committed before it listened.
	var last int64
	if err := conn.QueryRow(ctx, "SELECT change FROM head").Scan(&last); err != nil {
		return explain(err)
	}
	d.signal.Set(store.Seq(last))
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return explain(err)
		}
		if last, err := strconv.ParseInt(n.Payload, 10, 64); err == nil {
			d.signal.Set(store.Seq(last))
		}
	}
}
