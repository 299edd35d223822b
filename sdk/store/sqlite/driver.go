package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"modernc.org/sqlite"

	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlstore"
)

// Options configure a [Driver].
type Options struct {
	// Readers is how many snapshots there can be at once; others wait for one to
	// be closed. 0 is 64.
	Readers int
	// Poll is how often, while somebody waits, it is looked for changes of other
	// processes. 0 is 200 ms.
	Poll time.Duration
	// MaxPages bounds the size of the file in pages of 4 KiB; 0 is no bound.
	MaxPages int
	// Few is how many objects a scan sorts rather than find them in their order.
	// 0 is [sqlstore.Few].
	Few int
	// Logger is told of what goes wrong; nil discards.
	Logger *slog.Logger
}

// The sizes of what SQLite keeps.
const (
	// writerCache is the page cache of the one connection that writes: the inner
	// pages of all indexes, and what is not in the file yet.
	writerCache = 16 << 20
	// readerCache is that of each connection that reads; the system caches too.
	readerCache = 4 << 20
	// keptReaders is how many connections are kept at least: to open one and to
	// prepare its statements costs more than a read.
	keptReaders = 16
	// checkpointPages is after how many pages the log is copied into the file.
	// A page that is written often until then is copied once: with 16,000 and
	// not 1,000, the default, a commit costs half. It is 64 MiB on the disk.
	checkpointPages = 16_000
)

// Driver keeps the records of a store in a file. One goroutine writes; readers
// read what was committed when they began, and neither waits for the other.
// Other processes may use the file at the same time.
type Driver struct {
	path    string
	o       Options
	lib     *sqlite.Driver
	syms    sqlstore.Symbols
	signal  *sqlstore.Signal
	commits *sqlstore.Committer
	writer  *conn
	// log is the file that commits are written to. The writer does not wait for
	// the disk; who waits for a commit does, with all others who do.
	log     *os.File
	readers *sqlstore.Pool[*conn]
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

var _ store.Driver = (*Driver)(nil)

// OpenDriver opens or creates the database file at path, whose folder exists.
func OpenDriver(ctx context.Context, path string, o Options) (*Driver, error) {
	if o.Readers <= 0 {
		o.Readers = 64
	}
	if o.Few <= 0 {
		o.Few = sqlstore.Few
	}
	if o.Poll <= 0 {
		o.Poll = 200 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Driver{path: path, o: o, lib: &sqlite.Driver{}}
	if err := d.lib.RegisterDeterministicScalarFunction("first_term", 3, firstTerm); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d.readers = sqlstore.NewPool(o.Readers, max(keptReaders, 2*runtime.GOMAXPROCS(0)),
		func(context.Context) (*conn, error) { return d.open(readerCache) },
		func(c *conn) { _ = c.close() }) // it has read only
	var err error
	if d.writer, err = d.open(writerCache); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	head, err := d.create(ctx)
	if err != nil {
		_ = d.writer.close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := d.openLog(); err != nil {
		_ = d.writer.close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d.signal = sqlstore.NewSignal(head.Change)
	d.commits = sqlstore.NewCommitter(backend{d}, &d.syms, d.signal, o.Logger)
	poll, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.wait.Go(func() { d.signal.Poll(poll, o.Poll, d.last) })
	return d, nil
}

// open opens a connection with a cache of so many bytes.
func (d *Driver) open(cache int) (*conn, error) {
	q := url.Values{}
	for _, pragma := range []string{
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "page_size(4096)",
		"journal_size_limit(134217728)", "cache_size(-" + strconv.Itoa(cache>>10) + ")", "wal_autocheckpoint(" + strconv.Itoa(checkpointPages) + ")",
	} {
		q.Add("_pragma", pragma)
	}
	if d.o.MaxPages > 0 {
		q.Add("_pragma", "max_page_count("+strconv.Itoa(d.o.MaxPages)+")")
	}
	raw, err := d.lib.Open("file:" + (&url.URL{Path: d.path}).EscapedPath() + "?" + q.Encode())
	if err != nil {
		return nil, explain(err)
	}
	return newConn(raw, d.o.Few), nil
}

// openLog opens the file of the log, which is there from the first commit on
// until the last connection is closed. SQLite holds no locks on it. With the
// setting NORMAL it syncs the log and the file whenever it copies from one to
// the other, so that neither is ever damaged, but not at a commit.
func (d *Driver) openLog() error {
	var err error
	if d.log, err = os.OpenFile(d.path+"-wal", os.O_RDWR, 0); err != nil {
		return err
	}
	return d.writer.exec("PRAGMA synchronous = NORMAL")
}

// firstTerm is the SQL function of [sqlstore.FirstTerm].
func firstTerm(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
	packed, _ := args[0].([]byte)
	from, _ := args[1].([]byte)
	to, _ := args[2].([]byte)
	if t := sqlstore.FirstTerm(packed, from, to); t != nil {
		return t, nil
	}
	return nil, nil
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
	if err := errors.Join(d.writer.close(), d.log.Close()); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
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
