// Package embedded keeps the entries of logs in VictoriaLogs' storage, embedded in this
// process (github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage). It is the
// only package that imports that storage.
//
// The invariant: what Append returned for is in every later List and Count, and
// what Sync returned for is on disk. The engine itself has no log of what it is
// given and writes it by timers; so Sync has it write what it has in memory, and
// whoever appends keeps the entries until then (see intake).
//
// All methods may be called concurrently.
//
// # Rows
//
// A bucket of a project is a tenant of the engine, an entry a row of columns:
// one for each label and each value of its payload, from which the entry comes
// back byte for byte (row.go, shape.go). What cannot be taken apart that way (keys
// that are no names of columns, unusual escapes, more than 1,900 values) is
// kept as a record beside a few columns, and is read whatever is looked for.
//
// A filter is compiled to the engine's language so that it finds all rows that
// it should, and maybe more (compile.go); each is then checked by
// logstore.Matcher, so all stores give the same answers.
//
// # The process
//
// The engine is configured by flags of the process, as that of tsdb/vm is, so
// the first of both that is opened decides about CacheBytes. Each store locks its
// directory against other processes.
//
// # Failure
//
// The engine ends the process when a disk fails under it after Open (an I/O
// error, a damaged file). Append is refused while less than MinFreeBytes are
// free, so a full disk does not come to that.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/once"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/sdk/victoria"
)

// The defaults of Options.
const (
	// DefaultCacheBytes is what the time series beside it take as well; a
	// query that groups may take a part of it.
	DefaultCacheBytes = 64 << 20
	// DefaultMinFreeBytes is room for the merges that are under way and for
	// the rest of the platform to go on.
	DefaultMinFreeBytes = 256 << 20
	// DefaultMaxQueries keeps a dozen readers from taking all memory; the engine
	// uses every processor for one query anyway.
	DefaultMaxQueries = 8
	// DefaultMaxQuery is longer than anybody waits.
	DefaultMaxQuery = 30 * time.Second
	// DefaultMaxRead is half a minute's work of one core.
	DefaultMaxRead = 20_000_000
)

// Options are the settings of a store; zero values mean the defaults above.
type Options struct {
	// CacheBytes bounds the engine's caches and buffers. It belongs to the process: that
	// of its first store holds, of logs or of time series.
	CacheBytes int64
	// MinFreeBytes is the free disk space below which nothing is taken in.
	MinFreeBytes int64
	// Once says that nobody appends an entry twice, as intake does not. Otherwise
	// Append looks for each entry whether it is there.
	Once bool
	// Promoted says which labels the store has an index of, as it is when entries
	// are appended; nil is none. Those of a log that have more than 250 values in a
	// bucket on a day, as of 1 KiB together or of keys that are no names of columns,
	// are found as others are.
	Promoted logstore.Promoted
	// MaxQueries is how many List and Count run at once; others wait.
	MaxQueries int
	// MaxQuery bounds the time of one List or Count, MaxRead the entries that
	// one of them looks at by hand.
	MaxQuery time.Duration
	MaxRead  int
	// Logger gets the engine's warnings and errors; nil discards them.
	Logger *slog.Logger
}

// withDefaults fills in the zero values.
func (o Options) withDefaults() Options {
	fill(&o.CacheBytes, DefaultCacheBytes)
	fill(&o.MinFreeBytes, DefaultMinFreeBytes)
	fill(&o.MaxQueries, DefaultMaxQueries)
	fill(&o.MaxQuery, DefaultMaxQuery)
	fill(&o.MaxRead, DefaultMaxRead)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// fill sets a zero value to its default.
func fill[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Store is a logstore.Store over one directory; make one with Open.
type Store struct {
	options Options
	dir     string
	engine  *logstorage.Storage
	tenants *tenants
	streams streams

	// queries has room for those that may run.
	queries chan struct{}

	// adding is held shared while rows are added, and exclusively while they
	// are written to disk or a day is dropped.
	adding sync.RWMutex
	// sieving is held by an Append that looks for duplicates.
	sieving sync.Mutex
	// showing guards hidden, which says that rows were added that a search does
	// not find yet.
	showing sync.Mutex
	hidden  bool
	// days are those, as the engine names them, to which rows were added since
	// the last Sync; daysMu guards them.
	daysMu sync.Mutex
	days   map[string]bool
	// deleting is held by a Delete: the engine does one at a time.
	deleting sync.Mutex

	// mu guards closed; users are the calls that Close waits for.
	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup
}

var (
	_ logstore.Store = (*Store)(nil)
	_ once.Finder    = (*Store)(nil)
)

// minTime and maxTime bound the times of entries. The engine drops rows
// outside of its own bounds silently, and whole days when it is opened, by a
// clock that may be wrong; so it has bounds that no clock comes near. What is
// kept for how long is said by Delete.
var (
	minTime = time.Unix(0, 0)
	maxTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// pastBound is longer ago than minTime for any clock.
const pastBound = 200 * 365 * 24 * time.Hour

// flushInterval is how long rows may be in memory if nobody calls Sync.
const flushInterval = 30 * time.Second

// rowsDir is where the engine has its files, oldDir where it had those with
// columns that are not the present ones.
const rowsDir, oldDir = "rows", "entries"

// Open opens or creates the store in a directory. It is Unavailable when the
// directory cannot be written, or belongs to a store that another process (or
// this one) has open.
func Open(dir string, options Options) (*Store, error) {
	const op = "logstore/embedded.Open"
	options = options.withDefaults()
	if _, err := os.Stat(filepath.Join(dir, oldDir)); err == nil {
		return nil, &fault.Error{
			Op: op, Name: dir, Kind: fault.Unavailable, Reason: "OLD_FORMAT",
			Err: errors.New("the directory " + oldDir + " in it is of an earlier version, whose rows this one does not read: move it away"),
		}
	}
	if err := victoria.Configure(options.CacheBytes, options.Logger); err != nil {
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.Internal, Err: err}
	}
	s := &Store{options: options, dir: dir, days: make(map[string]bool), queries: make(chan struct{}, options.MaxQueries)}
	var err error
	// The names are opened first: their lock is an error where the engine's is
	// a panic.
	if s.tenants, err = openTenants(filepath.Join(dir, "buckets")); err != nil {
		if errors.Is(err, journal.ErrLocked) {
			err = errors.New("another process has this store open")
		}
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.Unavailable, Err: err}
	}
	if err := s.openEngine(filepath.Join(dir, rowsDir)); err != nil {
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.Unavailable, Err: errors.Join(err, s.tenants.journal.Close())}
	}
	return s, nil
}

// openEngine opens the storage engine, and removes the snapshots that an
// earlier process did not live to remove (see Sync). The engine's panics in this
// goroutine become errors.
func (s *Store) openEngine(dir string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("open storage: %v", p)
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := s.removeDoomed(); err != nil {
		return fmt.Errorf("remove old days: %w", err)
	}
	s.engine = logstorage.MustOpenStorage(dir, &logstorage.StorageConfig{
		Retention: pastBound, MaxBackfillAge: pastBound, FutureRetention: time.Until(maxTime.AddDate(0, 0, 2)),
		FlushInterval: flushInterval, MinFreeDiskSpaceBytes: s.options.MinFreeBytes,
	})
	for _, path := range s.engine.PartitionSnapshotList() {
		if err := s.engine.PartitionSnapshotDelete(path); err != nil {
			return fmt.Errorf("remove old snapshot: %w", err)
		}
	}
	return nil
}

// use admits a call, which must call s.users.Done when it is done.
func (s *Store) use(op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &fault.Error{Op: op, Kind: fault.Unavailable, Err: errors.New("the store is closed")}
	}
	s.users.Add(1)
	return nil
}

// settleTime bounds how long merges are waited for, and settleLook is how often they
// are looked at.
const (
	settleTime = 5 * time.Second
	settleLook = time.Millisecond
)

// settle waits a moment for merges under way: the engine forgets a day's index before
// it stops them, and they read where it was.
func (s *Store) settle() {
	look, end := time.NewTicker(settleLook), time.NewTimer(settleTime)
	defer look.Stop()
	defer end.Stop()
	for {
		var stats logstorage.StorageStats
		s.engine.UpdateStats(&stats)
		if stats.ActiveInmemoryMerges+stats.ActiveSmallMerges+stats.ActiveBigMerges == 0 {
			return
		}
		select {
		case <-look.C:
		case <-end.C:
			return // the engine stops what takes longer
		}
	}
}

// Close implements logstore.Store: it waits for the calls that are under way
// and makes everything durable. Closing again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.users.Wait()
	s.settle()
	s.engine.MustClose()
	if err := s.tenants.journal.Close(); err != nil {
		return &fault.Error{Op: "logstore/embedded.Close", Name: s.dir, Kind: fault.Unavailable, Err: err}
	}
	return nil
}

// Sync implements logstore.Writer: a snapshot makes the engine write what it
// has in memory, apart from parts that are being merged there at the moment, so
// it is repeated until nothing is left. The snapshot itself, links to the files
// of a day, is removed.
func (s *Store) Sync(ctx context.Context) error {
	const op = "logstore/embedded.Sync"
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	s.adding.Lock()
	defer s.adding.Unlock()
	s.show()
	s.daysMu.Lock()
	defer s.daysMu.Unlock()
	for len(s.days) > 0 {
		for day := range s.days {
			if err := ctx.Err(); err != nil {
				return &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
			}
			for _, path := range s.engine.PartitionSnapshotMustCreate(day) {
				if err := s.engine.PartitionSnapshotDelete(path); err != nil {
					return &fault.Error{Op: op, Name: s.dir, Kind: fault.Internal, Err: fmt.Errorf("remove snapshot: %w", err)}
				}
			}
		}
		var stats logstorage.StorageStats
		s.engine.UpdateStats(&stats)
		if stats.InmemoryParts == 0 {
			clear(s.days)
		}
	}
	return nil
}

// show makes what was added be found.
func (s *Store) show() {
	s.showing.Lock()
	defer s.showing.Unlock()
	if s.hidden {
		s.engine.DebugFlush()
		s.hidden = false
	}
}

// utc is a time of the engine.
func utc(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }
