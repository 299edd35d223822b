// Package guard keeps the bounds of projects: how many series are active at
// once, of a project and of a metric, and how long points are kept. It is the
// tsdb.Gate that a storage asks, so the bounds hold at every door, and their
// one home is here.
//
// # What is active
//
// A series is active for a window after it was written, a day by default; it
// may stay so for up to half a window more. At the bound a series that is not
// active is refused with CARDINALITY_LIMIT, and those that are go on. When a
// project is first written to after a start, the series that had points within
// the window are read from the storage, so that a start changes nothing.
//
// # Cost
//
// A Series value that was admitted is remembered by its address, so that the
// next sample of it costs one comparison. A series is remembered by a hash of
// 64 bits: some 30 bytes each, of all projects together at most
// Options.MaxTracked. Two series may have one hash, once in 10^8 projects of
// half a million series: then one of them is not counted.
//
// All methods may be called concurrently.
package guard

import (
	"cmp"
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"selvedge.dev/tsdb"
)

// CardinalityLimit is the reason for which a series is refused that would be
// one too many.
const CardinalityLimit = "CARDINALITY_LIMIT"

// Options configures a Guard; zero values mean the defaults below.
type Options struct {
	// MaxSeries bounds the active series of a project that has no bound of its
	// own; half a million by default.
	MaxSeries int
	// MaxTracked bounds those of all projects together; 5 million by default,
	// which take 150 MB.
	MaxTracked int
	// Window is how long a series is active; a day by default.
	Window time.Duration
	// Bounds are what was set for projects and metrics.
	Bounds Bounds
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Bounds are what was set for projects and metrics; catalog.Catalog has them.
type Bounds interface {
	// Bounds are those of a metric, or of the project when it is "".
	Bounds(project, metric string) tsdb.Bounds
	// Retention is how long points are kept; see tsdb.Gate.
	Retention(project, metric string) time.Duration
}

// The defaults of Options.
const (
	defaultMaxSeries  = 500_000
	defaultMaxTracked = 5_000_000
	defaultWindow     = 24 * time.Hour
)

// loadTimeout bounds how long the storage may take to tell what is active, and
// loadAgain is after which time it is asked again when it could not.
const (
	loadTimeout = time.Minute
	loadAgain   = 10 * time.Second
)

// Guard is a tsdb.Gate; make one with New.
type Guard struct {
	options Options
	seed    maphash.Seed
	// store tells what is active after a start; nil until Watch.
	store atomic.Pointer[tsdb.Surveyor]
	// enforcing says that the bounds hold.
	enforcing atomic.Bool
	// tracked counts the series of all projects.
	tracked atomic.Int64
	// passes are the series that were admitted last, by their address.
	passes [passes]atomic.Pointer[pass]

	// mu guards projects.
	mu       sync.RWMutex
	projects map[string]*project
}

var _ tsdb.Gate = (*Guard)(nil)

// passes is how many addresses of series are remembered, a power of two: the
// working set of 25,000 devices with ten readings each, in 2 MB.
const passes = 1 << 18

// pass is a series that was admitted. It holds as long as its project is of
// the generation.
type pass struct {
	series     *tsdb.Series
	kept       time.Duration
	project    *project
	generation uint64
}

// valid reports whether the pass holds.
func (p *pass) valid() bool { return p.generation == p.project.generation.Load() }

// New makes a guard that lets everything pass until Enforce.
func New(o Options) *Guard {
	o.MaxSeries = cmp.Or(o.MaxSeries, defaultMaxSeries)
	o.MaxTracked = cmp.Or(o.MaxTracked, defaultMaxTracked)
	o.Window = cmp.Or(o.Window, defaultWindow)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Guard{options: o, seed: maphash.MakeSeed(), projects: map[string]*project{}}
}

// Watch has the guard ask the store what is active. It must be the store that
// the guard is the gate of, or one with the same series.
func (g *Guard) Watch(store tsdb.Surveyor) { g.store.Store(&store) }

// Enforce has the bounds hold from now on. What was acknowledged before a crash
// and comes again must not meet a bound, so it is to be called after that.
func (g *Guard) Enforce() {
	g.enforcing.Store(true)
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, p := range g.projects {
		p.generation.Add(1)
	}
}

// Retention implements tsdb.Gate.
func (g *Guard) Retention(project, metric string) time.Duration {
	if g.options.Bounds == nil {
		return 0
	}
	return g.options.Bounds.Retention(project, metric)
}

// Admit implements tsdb.Gate.
func (g *Guard) Admit(s *tsdb.Series) (time.Duration, string) {
	// It is in one of two neighbours.
	at := maphash.Comparable(g.seed, s) % passes
	for _, i := range [...]uint64{at, at ^ 1} {
		if p := g.passes[i].Load(); p != nil && p.series == s && p.valid() {
			return p.kept, ""
		}
	}
	p := g.project(s.Project)
	generation := p.generation.Load()
	if refused := p.admit(g, s); refused != "" {
		return 0, refused
	}
	kept := g.Retention(s.Project, s.Metric)
	if other := g.passes[at].Load(); other != nil && other.series != s && other.valid() {
		at ^= 1
	}
	g.passes[at].Store(&pass{series: s, kept: kept, project: p, generation: generation})
	return kept, ""
}

// Changed has the guard look at the bounds of a project anew.
func (g *Guard) Changed(project string) { g.project(project).generation.Add(1) }

// Forget has the guard ask the storage anew what is active in a project: series
// of it were deleted.
func (g *Guard) Forget(project string) { g.project(project).forget(g) }

// Active is how many series of a project are active, and how many may be.
func (g *Guard) Active(project string) (active, limit int) { return g.project(project).count(g) }

// project finds or makes a project.
func (g *Guard) project(id string) *project {
	g.mu.RLock()
	p := g.projects[id]
	g.mu.RUnlock()
	if p != nil {
		return p
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if p = g.projects[id]; p == nil {
		p = &project{id: id}
		g.projects[id] = p
	}
	return p
}

// hash is what a series is remembered by in its project.
func (g *Guard) hash(s *tsdb.Series) uint64 {
	var h maphash.Hash
	h.SetSeed(g.seed)
	// No name or value may hold a NUL byte, so NUL separates.
	add := func(text string) {
		_, _ = h.WriteString(text) // a Hash takes everything
		_ = h.WriteByte(0)
	}
	add(s.Metric)
	add(s.Resource)
	for _, ls := range [...]tsdb.Labels{s.MetricLabels, s.ResourceLabels} {
		for i := range ls {
			add(ls[i].Name)
			add(ls[i].Value)
		}
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// load has see called with the series of a project that are active by the
// storage, and reports whether it could.
func (g *Guard) load(project string, see func(*tsdb.Series)) bool {
	store := g.store.Load()
	if store == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	now := g.options.Now()
	err := (*store).Survey(ctx, tsdb.Selection{
		Project: project, MaxSeries: g.options.MaxTracked,
		Interval: tsdb.Interval{Start: tsdb.Millis(now.Add(-g.options.Window).UnixMilli()), End: tsdb.Millis(now.Add(g.options.Window).UnixMilli())},
	}, func(s *tsdb.Series) error { see(s); return nil })
	return err == nil
}
