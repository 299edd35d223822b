// Package rollup keeps summaries of time series beside them, so that a query of
// long windows need not read every point. Which summaries is declared on a
// metric's descriptor (tsdb.Rollup); tsdb/query asks for them.
//
// # What is kept
//
// For every series, or every group of series, and every window of the rollup's
// period a [Partial]: as many of its fields as the declared aligners need. A
// Partial of a window is the same whatever came when, and two that follow each
// other can be made one, so any number of windows answers any longer one. Of
// points that are distributions it is few of them that stand for all
// ([Distributions]).
//
// # Where
//
// In the same storage, one hidden series for every field, in a project that no
// id can name ([Hidden]). The storage is append-only, and of two values of one
// time the greatest stays. So a window that is computed again is another
// version: version v of the window (s, e] is stamped s+1+v, all its fields
// alike, and of the versions of a window the last one counts. A window whose
// fields have different last versions was caught in the middle, and is read from
// the points.
//
// # The invariant
//
// A window is computed, for the first time, of every series up to a frontier.
// A point that comes later into such a window marks it: in memory before the
// point is in the storage, and on disk before the Sync returns after which the
// point's sender need not send it again. A marked window is read from the
// points until it was computed again. So a rollup never tells what the points
// would not.
//
// # Several writers
//
// Several Keepers may share one storage and one database (Options.Shared).
// Each marks what it writes; the series are divided into slots, and every slot
// is computed by the one that has its lease. A version is allocated in the
// database, under the lease, before anything is read: who was paused and has
// lost the lease in between writes a version that has been overtaken, and what it
// would declare done is refused by the fence of the lease.
//
// All methods may be called concurrently.
package rollup

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// The defaults of Options.
const (
	// DefaultGrace is for how long a window is left to the points that are on
	// their way when it has ended: computing it again costs more than waiting.
	DefaultGrace = time.Minute
	// DefaultEvery is how often there is a look whether something is to be
	// computed.
	DefaultEvery = 10 * time.Second
	// DefaultMaxMarks is a day of late minutes of a dozen devices: some
	// megabytes, and a second of the database.
	DefaultMaxMarks = 20_000
	// DefaultRetention is the default of tsdb/vm.
	DefaultRetention = 400 * 24 * time.Hour
)

// leaseRounds is how many rounds a lease outlives its last renewal.
const leaseRounds = 6

// Options are the settings of a Keeper; zero values mean the defaults above.
type Options struct {
	// Rolled are the descriptors that have rollups. Required.
	Rolled func() []tsdb.Descriptor
	// Grace, Every and Retention are as the defaults say; Retention is how old
	// the points may be that a new rollup begins with.
	Grace, Every, Retention time.Duration
	// Kept is how long the points of a metric are kept, if not as long as
	// Retention; 0 for that. nil means that there is no such metric.
	Kept func(project, metric string) time.Duration
	// MaxMarks is how many windows of a rollup are marked one by one between
	// two Syncs; with more, everything from the oldest of them on is computed
	// again. That costs reading, marks cost memory and a database. 0 means
	// DefaultMaxMarks.
	MaxMarks int
	// Shared says that other Keepers write to the same storage. A writer then
	// marks every point that is older than half of Grace, and the clocks of all
	// must not differ by more than a quarter of it.
	Shared bool
	// Member is the writer's name among those that share, which no other one may
	// have; "" is a random one. Names decide who owns which series.
	Member string
	// Settle is how long it takes until all writers see a series that another
	// one has made, 12 seconds on a VictoriaMetrics server, which remembers for
	// ten what a query has found. Only needed when Shared.
	Settle time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is told of what could not be done and is tried again; nil
	// discards.
	Logger *slog.Logger
}

// Keeper is a tsdb.Store that keeps rollups of what it is given, in the storage
// that it wraps; make one with New. What it is not asked to write, it cannot
// know of: every writer of the storage has to be a Keeper.
type Keeper struct {
	inner   tsdb.Store
	state   state
	options Options
	log     *slog.Logger

	// rules are the rollups by metric. What it points to is never written
	// again.
	rules atomic.Pointer[map[metricID][]*Rule]

	// barrier is held shared while samples are marked and appended, and
	// exclusively when marks move to the database or a target moves: so that
	// what was read is after all that was not marked.
	barrier sync.RWMutex
	marks   marks
	// unsynced is when the oldest Append began that no Sync has followed, in
	// Unix milliseconds; 0 for none. Only kept when Shared.
	unsynced atomic.Int64

	// stepping is held by whoever computes, and by whom the settling ones are
	// held.
	stepping sync.Mutex
	// settling is the round that was computed and is not declared done, because
	// others might not see it yet, and settled when they do.
	settling *round
	settled  time.Time
	// flushing is held by whoever writes marks.
	flushing sync.Mutex
}

var (
	_ tsdb.Store   = (*Keeper)(nil)
	_ tsdb.Scanner = (*Keeper)(nil)
)

// New makes a Keeper over a storage and a database that has Schema. Both stay
// the caller's to close.
func New(ctx context.Context, inner tsdb.Store, db *sql.DB, options Options) (*Keeper, error) {
	const op = "tsdb/rollup.New"
	options.Grace = cmp.Or(options.Grace, DefaultGrace)
	options.MaxMarks = cmp.Or(options.MaxMarks, DefaultMaxMarks)
	options.Every = cmp.Or(options.Every, DefaultEvery)
	options.Retention = cmp.Or(options.Retention, DefaultRetention)
	if options.Kept == nil {
		options.Kept = func(string, string) time.Duration { return 0 }
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	options.Member = cmp.Or(options.Member, rand.Text())
	prepared, err := newState(ctx, db)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Err: err}
	}
	k := &Keeper{inner: inner, state: prepared, options: options, log: options.Logger}
	k.marks.most = options.MaxMarks
	k.rules.Store(&map[metricID][]*Rule{})
	if err = k.Refresh(ctx); err == nil {
		err = k.state.prune(ctx, k.oldest())
	}
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Err: errors.Join(err, prepared.close())}
	}
	return k, nil
}

// oldest is the age that points may have.
func (k *Keeper) oldest() tsdb.Millis {
	return tsdb.Millis(k.options.Now().Add(-k.options.Retention).UnixMilli())
}

// oldestOf is the time of the oldest point of a metric that is told.
func (k *Keeper) oldestOf(d *tsdb.Descriptor) tsdb.Millis {
	kept := k.options.Kept(d.Project, d.Type)
	if kept == 0 {
		kept = k.options.Retention
	}
	return tsdb.Millis(k.options.Now().Add(-min(kept, k.options.Retention)).UnixMilli())
}

// Refresh makes the rollups those that are declared. It is called with every
// round, and at once by whoever has declared some.
func (k *Keeper) Refresh(ctx context.Context) error {
	k.stepping.Lock()
	defer k.stepping.Unlock()
	return k.refresh(ctx)
}

// refresh is Refresh for whoever is computing.
func (k *Keeper) refresh(ctx context.Context) error {
	rules, err := k.state.reconcile(ctx, k.options.Rolled(), k.oldest(), rand.Text)
	if err != nil {
		return fmt.Errorf("read rollups: %w", err)
	}
	known := map[string]*Rule{}
	for _, have := range *k.rules.Load() {
		for _, r := range have {
			known[r.ID] = r
		}
	}
	next := map[metricID][]*Rule{}
	k.barrier.Lock()
	defer k.barrier.Unlock()
	for _, r := range rules {
		if have := known[r.ID]; have != nil {
			r.target.Store(max(have.target.Load(), r.target.Load()))
			r.span.Store(have.span.Load())
			r.slice.Store(have.slice.Load())
			r.done.Store(have.done.Load())
			r.lowest.Store(have.lowest.Load())
		}
		id := metricID{r.Metric.Project, r.Metric.Type}
		next[id] = append(next[id], r)
	}
	k.rules.Store(&next)
	return nil
}

// Rules are the rollups of a metric.
func (k *Keeper) Rules(project, metric string) []*Rule {
	return (*k.rules.Load())[metricID{project, metric}]
}

// Forget drops the rollups of a metric, whose series are being deleted. If they
// are still declared they begin anew.
func (k *Keeper) Forget(ctx context.Context, project, metric string) error {
	k.stepping.Lock()
	defer k.stepping.Unlock()
	id := metricID{project, metric}
	if len((*k.rules.Load())[id]) == 0 {
		return nil
	}
	if err := k.state.forget(ctx, id); err != nil {
		return &fault.Error{Op: "tsdb/rollup.Forget", Name: metric, Kind: fault.Unavailable, Err: err}
	}
	return k.refresh(ctx)
}

// Append implements tsdb.Store.
func (k *Keeper) Append(ctx context.Context, samples []tsdb.Sample) error {
	if k.options.Shared {
		k.unsynced.CompareAndSwap(0, k.options.Now().UnixMilli())
	}
	k.barrier.RLock()
	defer k.barrier.RUnlock()
	if err := k.mark(samples); err != nil {
		return err
	}
	return k.inner.Append(ctx, samples)
}

// mark remembers the windows that samples come into late.
func (k *Keeper) mark(samples []tsdb.Sample) error {
	rules := *k.rules.Load()
	line := k.line()
	var last *tsdb.Series
	var of []*Rule
	for i := range samples {
		s := &samples[i]
		if s.Series != last {
			last = s.Series
			if Hidden(last.Project) {
				return &fault.Error{Op: "tsdb/rollup.Append", Kind: fault.Invalid, Field: "project", Err: errors.New("no project has this id")}
			}
			of = nil
			if len(rules) > 0 {
				of = rules[metricID{last.Project, last.Metric}]
			}
		}
		for _, r := range of {
			if int64(s.Time) <= max(r.target.Load(), line) {
				k.marks.add(r, last, r.EndOf(s.Time))
			} else if k.options.Shared {
				r.lower(s.Time)
			}
		}
	}
	return nil
}

// line is the time up to which every sample is marked, because another writer
// may be computing its window.
func (k *Keeper) line() int64 {
	if !k.options.Shared {
		return math.MinInt64
	}
	return k.options.Now().Add(-k.options.Grace / 2).UnixMilli()
}

// Sync implements tsdb.Store: the points are durable, and then the marks.
func (k *Keeper) Sync(ctx context.Context) error {
	if !k.options.Shared {
		if err := k.inner.Sync(ctx); err != nil {
			return err
		}
		return k.flush(ctx)
	}
	began := k.unsynced.Swap(0)
	if err := k.inner.Sync(ctx); err != nil {
		k.unsynced.CompareAndSwap(0, began)
		return err
	}
	if late := k.options.Grace / 4; began != 0 && k.options.Now().UnixMilli()-began > late.Milliseconds() {
		if err := k.suspect(ctx); err != nil {
			return &fault.Error{Op: "tsdb/rollup.Sync", Kind: fault.Unavailable, Err: fmt.Errorf("mark what came late: %w", err)}
		}
	}
	return k.flush(ctx)
}

// Check says why the storage would refuse a sample, "" if it would not or does
// not say.
func (k *Keeper) Check(sample tsdb.Sample) string {
	if c, ok := k.inner.(interface{ Check(tsdb.Sample) string }); ok {
		return c.Check(sample)
	}
	return ""
}

// Select implements tsdb.Store. What is kept here is not visible.
func (k *Keeper) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	if err := visible(sel); err != nil {
		return err
	}
	return k.inner.Select(ctx, sel, visit)
}

// Scan implements tsdb.Scanner, also over a storage that is none.
func (k *Keeper) Scan(ctx context.Context, sel tsdb.Selection, work func(*tsdb.Series, tsdb.Points) (any, error), visit func(*tsdb.Series, any) (bool, error)) error {
	if err := visible(sel); err != nil {
		return err
	}
	return scan(ctx, k.inner, sel, work, visit)
}

// visible is why a selection cannot be made.
func visible(sel tsdb.Selection) error {
	if Hidden(sel.Project) {
		return &fault.Error{Op: "tsdb/rollup.Select", Kind: fault.Invalid, Field: "project", Err: errors.New("no project has this id")}
	}
	return nil
}

// Close implements tsdb.Store: it syncs, and gives the leases back. It does not
// close the storage.
func (k *Keeper) Close() error {
	ctx := context.Background()
	return errors.Join(k.Sync(ctx), wrap("give leases back", k.state.leave(ctx, k.options.Member)), k.state.close())
}
