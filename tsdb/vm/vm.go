package vm

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// The defaults of Options.
const (
	// DefaultRetention is a year and a month, so that this month can always
	// be compared with the same one of last year.
	DefaultRetention = 400 * 24 * time.Hour
	// DefaultFuture forgives a device clock that is in the wrong zone or a
	// day off.
	DefaultFuture = 2 * 24 * time.Hour
	// DefaultCacheBytes is enough for 150,000 active series; the engine takes
	// memory as it needs it. A sample of a series that is not in the cache
	// costs ten times as much.
	DefaultCacheBytes = 64 << 20
	// DefaultMinFreeBytes is room for the merges that are under way and for
	// the rest of the platform to go on.
	DefaultMinFreeBytes = 256 << 20
	// DefaultMaxSeries and DefaultMaxPoints bound one Select when it has no
	// bounds of its own: half a minute of work of one core.
	DefaultMaxSeries = 1_000_000
	DefaultMaxPoints = 1_000_000_000
)

// Options are the settings of a store; zero values mean the defaults above.
type Options struct {
	// Retention is how long points are kept, Future how far ahead of the
	// clock they may be, at most 2 days.
	Retention, Future time.Duration
	// CacheBytes bounds the engine's caches, MinFreeBytes is the free disk
	// space below which the store takes no more points. Both belong to the
	// process: those of its first store hold. CacheBytes must be less than
	// the memory of the machine.
	CacheBytes, MinFreeBytes int64
	// MaxSeries and MaxPoints bound a Select that has no bounds of its own.
	MaxSeries, MaxPoints int
	// Describe returns the descriptor of a metric type of a project. It is
	// called once per series and Select and must be quick. nil means that
	// nothing is described: every series is a GAUGE of DOUBLE.
	Describe func(project, metric string) (tsdb.Descriptor, bool)
	// Gate says which series are taken and how long their points are kept; nil
	// takes all, and keeps them for Retention.
	Gate tsdb.Gate
	// Logger gets the engine's warnings and errors; nil discards them.
	Logger *slog.Logger
}

// withDefaults fills in the zero values.
func (o Options) withDefaults() Options {
	fill(&o.Retention, DefaultRetention)
	fill(&o.Future, DefaultFuture)
	fill(&o.CacheBytes, DefaultCacheBytes)
	fill(&o.MinFreeBytes, DefaultMinFreeBytes)
	fill(&o.MaxSeries, DefaultMaxSeries)
	fill(&o.MaxPoints, DefaultMaxPoints)
	if o.Describe == nil {
		o.Describe = func(string, string) (tsdb.Descriptor, bool) { return tsdb.Descriptor{}, false }
	}
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

// Store is a tsdb.Store over one directory; make one with Open.
type Store struct {
	options Options
	dir     string
	engine  *storage.Storage

	// adding is held shared while rows are added, and exclusively while a
	// mark moves: what the engine has taken from its buffers but not yet
	// made visible is never behind the mark, and the entries of one series
	// never reach the disk in halves.
	adding sync.RWMutex
	// added counts the batches that were added; it moves under adding.
	added atomic.Uint64
	// buffered counts the rows since the engine's buffers were last emptied for
	// their size.
	buffered atomic.Int64
	// visible and durable say how many of them Select sees and the disk has.
	visible, durable *horizon
	// indexed counts the entries that the index had when all were last made
	// visible; see newFilters.
	indexed atomic.Uint64
	// waiting are the rows that wait for others.
	waiting waiting
	// batches are the buffers of Append, one for each that may run at once.
	batches chan *batch
	// groupers are *grouper that no Append uses.
	groupers sync.Pool
	// unused are *columns that no query uses.
	unused sync.Pool
	// searches are *storage.Search that no query uses.
	searches sync.Pool
	filters  filters
	unpacked *unpacked
	memo     memo

	// mu guards closed; users are the calls that Close waits for.
	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup
}

var _ tsdb.Store = (*Store)(nil)

// openSlack is by how much the engine's own time bounds are wider than the
// store's. The engine drops rows outside of its bounds silently, and compares
// with a clock that is up to a second or two behind; it must never come to
// that.
const openSlack = 2 * appendSlack

// Open opens or creates the store in a directory. It is Unavailable when the
// directory cannot be written, or belongs to a store that another process (or
// this one) has open.
//
// What Open cannot turn into an error is damage inside a month's data, which
// the engine reads in goroutines of its own: it ends the process, with a
// message that names the file.
func Open(dir string, options Options) (*Store, error) {
	const op = "tsdb/vm.Open"
	options = options.withDefaults()
	if options.Retention < 0 || options.Future < 0 || options.Future > DefaultFuture {
		return nil, &fault.Error{
			Op: op, Name: dir, Kind: fault.Invalid,
			Err: fmt.Errorf("retention %s, future %s: negative, or a future of over %s", options.Retention, options.Future, DefaultFuture),
		}
	}
	if err := configure(options); err != nil {
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.Internal, Err: err}
	}
	if err := checkDir(dir); err != nil {
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.Unavailable, Err: err}
	}
	s := &Store{options: options, dir: dir, visible: newHorizon(), durable: newHorizon(), unpacked: newUnpacked()}
	if err := s.openEngine(); err != nil {
		return nil, &fault.Error{Op: op, Name: dir, Kind: fault.Unavailable, Err: err}
	}
	s.batches = make(chan *batch, runtime.GOMAXPROCS(0))
	for range cap(s.batches) {
		s.batches <- new(batch)
	}
	return s, nil
}

// checkDir makes the directory and finds out whether files can be made in it.
func checkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("write to directory: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return fmt.Errorf("write to directory: %w", err)
	}
	return nil
}

// openEngine opens the storage engine, and removes the snapshots that an
// earlier process did not live to remove (see persist). The engine's panics
// in this goroutine become errors; what it had opened by then, its lock on
// the directory included, stays with the process until garbage collection.
func (s *Store) openEngine() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("open storage: %v", p)
		}
	}()
	if err := forgetSmall(s.dir); err != nil {
		return fmt.Errorf("remove a small cache: %w", err)
	}
	s.engine = storage.MustOpenStorage(s.dir, storage.OpenOptions{
		Retention:       s.options.Retention + openSlack,
		FutureRetention: s.options.Future + openSlack,
	})
	for _, name := range s.engine.MustListSnapshots() {
		if err := s.engine.DeleteSnapshot(name); err != nil {
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

// Close implements tsdb.Store: it waits for the calls that are under way and
// makes everything durable. Closing again does nothing.
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
	return nil
}
