// Package query answers requests for time series: those of Google Cloud
// Monitoring v3's timeSeries.list ("the API"), as plain Go values.
//
// A Request is validated into a plan; the plan selects from a tsdb.Store,
// aligns every series as it is visited (tsdb/align), reduces groups of them
// (tsdb/reduce), and cuts the page that was asked for.
//
// # Two aggregations
//
// A secondary aggregation takes the series that the first one made, as if they
// were metrics of their kind and value type with points at the ends of the
// first one's windows, and aligns and reduces them again. Its windows hang on
// the end of the interval too, and each is computed from all of the first
// one's windows that end in it, also from those that end before the interval's
// start. Whether an aligner or reducer can be applied is asked of
// tsdb/validity for every metric that is read, before anything is computed.
//
// # Order and pages
//
// Series come in the order of their keys, and of each series the newest point
// first. A page holds at most a number of points, over all of its series, or
// of series when only headers are asked for (the API). It ends anywhere,
// within a series too: the next page then begins with the same series.
//
// The page token holds the last series' key and the last point's time, and
// not a number of results: what comes in between two pages cannot shift what
// follows. Nothing that was there at the first page is left out or told
// twice; what was added since then is told if it lies behind the token. The
// token also holds a hash of the request, so that it is refused with any
// other; only the page size may change.
//
// # Differences from the API
//
// A filter need not name one metric type: it may select several, such as all
// metrics of a device. Series of different metric types or resource types are
// never reduced together. The shortest alignment period is one second, not
// 60: devices report more often than that.
//
// # Rollups
//
// If the first stage can be answered from a rollup (tsdb/rollup), what is read
// is the rollup where its windows fit into those of the grid, and the points
// elsewhere: at the edges, where it was not computed yet, and where something
// late has come since. The answer is the same; see docs/rollups.md for how
// exactly. Request.Explain tells what was read.
//
// # Bounds
//
// A query that would read more series or points than Options allow ends with
// an Exhausted error, and never with a part of the answer.
//
// An Engine may be used concurrently.
package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"selvedge.dev/tsdb"
)

// Options bound what one query may read.
type Options struct {
	// MaxSeries is how many series may match; 0 means 100,000.
	MaxSeries int
	// MaxPoints is how many points may be read; 0 means 50 million, which
	// take about a second.
	MaxPoints int
	// MaxBytes bounds the memory of a query, for the points that it holds in all
	// of its stages; 0 means 1 GiB.
	MaxBytes int64
	// Budget bounds the memory of all queries together; nil does not.
	Budget *Budget
	// MaxTime bounds how long the making of a page may take, with the wait for
	// memory; 0 means 2 minutes. A context may bound it further.
	MaxTime time.Duration
	// Rollups are what is kept of the points of the store; nil for nothing.
	Rollups Rollups
	// Block is how many points of a series the store reads at least, which
	// says when a rollup saves reading; 0 means DefaultBlock.
	Block int
}

// Engine answers requests from one store.
type Engine struct {
	store tsdb.Store
	opts  Options
	asked asked
}

// New makes an engine over store, which it does not close.
func New(store tsdb.Store, opts Options) *Engine {
	opts.MaxSeries = cmp.Or(opts.MaxSeries, 100_000)
	opts.MaxPoints = cmp.Or(opts.MaxPoints, 50_000_000)
	opts.MaxBytes = cmp.Or(opts.MaxBytes, 1<<30)
	opts.MaxTime = cmp.Or(opts.MaxTime, 2*time.Minute)
	opts.Block = cmp.Or(opts.Block, DefaultBlock)
	return &Engine{store: store, opts: opts}
}

// Page is an answer, or a part of one.
type Page struct {
	Results []Result
	// Next is the token of the page after this one, "" after the last.
	Next string
	// Trace says how the page was made, if the request asked for it.
	Trace *Trace
}

// Result is one series of an answer.
type Result struct {
	// Series says what the points are: after an aggregation, Kind, ValueType
	// and Unit are those of the result, and only the labels that were grouped
	// by are there.
	Series *tsdb.Series
	// Points are in ascending order; see Newest. None when only headers were
	// asked for.
	Points tsdb.Points
	// Period is the width of the windows that the points are the ends of, 0
	// for unaligned points.
	Period tsdb.Millis
}

// Newest yields the points as the API returns them: the newest first. Those of
// a series of DISTRIBUTION have no number, and it yields none of them.
func (r Result) Newest(yield func(tsdb.Millis, float64) bool) {
	for i := len(r.Points.Values) - 1; i >= 0; i-- {
		if !yield(r.Points.Times[i], r.Points.Values[i]) {
			return
		}
	}
}

// List answers a request. A request that cannot be answered is Invalid with
// the field at fault, one that reads too much is Exhausted, and one whose
// context ended is Unavailable.
func (e *Engine) List(ctx context.Context, req Request) (Page, error) {
	return e.list(ctx, req, 0)
}

// list is List with pages of another size, unless 0.
func (e *Engine) list(ctx context.Context, req Request, size int) (Page, error) {
	const op = "tsdb/query.List"
	p, err := e.newPlan(req)
	if err != nil {
		return Page{}, fmt.Errorf("%s: %w", op, err)
	}
	p.pageSize = cmp.Or(size, p.pageSize)
	c := collector{plan: p, groups: make([]map[string]*group, len(p.stages)), tracer: newTracer(req.Explain)}
	ctx, cancel := context.WithTimeout(ctx, e.opts.MaxTime)
	defer cancel()
	if c.lease, err = e.lease(ctx); err != nil {
		return Page{}, fmt.Errorf("%s: %w", op, err)
	}
	defer c.lease.release()
	if err := c.answer(ctx, e, req.Project); err != nil {
		return Page{}, fmt.Errorf("%s: %w", op, err)
	}
	page := c.page()
	c.tracer.stage("page")
	page.Trace = c.tracer.trace()
	return page, nil
}

// answer reads what the plan needs, from a rollup or the points, and takes it
// through the stages.
func (c *collector) answer(ctx context.Context, e *Engine, project string) error {
	sel := tsdb.Selection{
		Project: project, Metric: c.filter.metric, Where: c.filter.conditions, Keep: c.keep, Interval: c.reads(),
		MaxSeries: e.opts.MaxSeries, MaxPoints: e.opts.MaxPoints,
	}
	by, why, err := e.choose(ctx, &c.plan, project)
	c.tracer.stage("plan")
	switch {
	case err != nil:
		return err
	case by != nil:
		err = c.assembled(ctx, e, by, sel)
	default:
		err = c.read(ctx, e.store, sel)
		c.tracer.raw(sel.Interval, why)
		c.tracer.stage("read and align points")
	}
	if err != nil {
		return err
	}
	err = c.reduce(ctx)
	c.tracer.stage("reduce")
	return err
}

// collected is a result with the key that orders it.
type collected struct {
	Result
	key string
}

// group are the series that a stage reduces into one.
type group struct {
	into    *tsdb.Series // before the reducer changed kind, value type and unit
	members []collected
}

// checked is what the validity of a series depends on.
type checked struct {
	metric    string
	kind      tsdb.MetricKind
	valueType tsdb.ValueType
}

// collector gathers what a selection visits into an answer.
type collector struct {
	plan
	// checked is the kind of series that was last found to be one that every
	// stage can be applied to: those of a metric come one after the other.
	checked atomic.Pointer[checked]
	// groups are what the reducers of the stages wait for, by the key of the
	// reduced series. Those of a stage that does not reduce are nil.
	groups  []map[string]*group
	results []collected
	size    int // of all results together, as pages count
	tracer  *tracer
	// lease is the memory of what is held in groups and results.
	lease *lease
}

// add takes a visited series through the stages.
func (c *collector) add(s *tsdb.Series, points tsdb.Points) error {
	if err := c.check(s); err != nil {
		return err
	}
	return c.feed(0, collected{Result{Series: s, Points: points}, s.Key()})
}

// check is the plan's, done once for the series of a metric. It may be called
// concurrently.
func (c *collector) check(s *tsdb.Series) error {
	as := checked{s.Metric, s.Kind, s.ValueType}
	if last := c.checked.Load(); last != nil && *last == as {
		return nil
	}
	if err := c.plan.check(s); err != nil {
		return err
	}
	c.checked.Store(&as)
	return nil
}

// feed takes a series through the stages from i on, until one where it has to
// wait for others, or into the answer.
func (c *collector) feed(i int, r collected) error {
	if i == len(c.stages) {
		held := len(c.results)
		c.keepFrom(r)
		if len(c.results) > held {
			if err := c.lease.charge(&c.results[held]); err != nil {
				return err
			}
		}
		// After a trim it is at most 2*pageSize+1, so sorting is rare; and a
		// long answer costs the memory of a few pages.
		if c.size > 4*c.pageSize {
			before := bytesOf(c.results)
			c.trim()
			c.lease.refund(before - bytesOf(c.results))
		}
		return nil
	}
	r, err := c.stages[i].align(r)
	if err != nil {
		return err
	}
	return c.gather(i, r)
}

// align is what the stage's aligner makes of a series.
func (st *stage) align(r collected) (collected, error) {
	out, err := st.aligner.Output(r.Series)
	if err != nil {
		return r, err
	}
	r.Points = st.aligner.Align(st.grid, r.Series, r.Points)
	r.Series = out
	if !st.aligner.None() {
		r.Period = st.grid.Period
	}
	return r, nil
}

// gather takes a series that stage i has aligned to the series that it is
// reduced with, or if there is no reducer to the next stage.
func (c *collector) gather(i int, r collected) error {
	if r.Points.Len() == 0 {
		return nil
	}
	st := &c.stages[i]
	if st.reducer.None() {
		return c.feed(i+1, r)
	}
	into := st.groupOf(r.Series)
	key := into.Key()
	if c.groups[i] == nil {
		c.groups[i] = map[string]*group{}
	}
	if c.groups[i][key] == nil {
		c.groups[i][key] = &group{into: into}
	}
	g := c.groups[i][key]
	g.members = append(g.members, r)
	return c.lease.charge(&r)
}

// reduce makes one series of every group, stage by stage.
func (c *collector) reduce(ctx context.Context) error {
	for i := range c.stages {
		st := &c.stages[i]
		for key, g := range c.groups[i] {
			if err := ctx.Err(); err != nil {
				return err
			}
			out, err := st.reducer.Output(g.into)
			if err != nil {
				return err
			}
			// In the order of their keys, so that sums are always rounded the
			// same way.
			slices.SortFunc(g.members, func(a, b collected) int { return cmp.Compare(a.key, b.key) })
			points := make([]tsdb.Points, len(g.members))
			for j, m := range g.members {
				points[j] = m.Points
			}
			r := collected{Result{Series: out, Points: st.reducer.Reduce(points), Period: g.members[0].Period}, key}
			c.lease.refund(bytesOf(g.members))
			g.members = nil
			if r.Points.Len() == 0 {
				continue
			}
			if err := c.feed(i+1, r); err != nil {
				return err
			}
		}
		c.groups[i] = nil
	}
	return nil
}

// keepFrom keeps what of a result lies behind the page token, and no more
// points than tell that a page is over.
func (c *collector) keepFrom(r collected) {
	switch order := cmp.Compare(r.key, c.cursor.key); {
	case order < 0:
		return
	case order == 0:
		older, _ := slices.BinarySearch(r.Points.Times, c.cursor.before)
		r.Points = r.Points.Slice(0, older)
		if older == 0 {
			return
		}
	}
	if r.Points.Len() > c.pageSize+1 {
		r.Points = newest(r.Points, c.pageSize+1).Clone()
	}
	c.results = append(c.results, r)
	c.size += c.sizeOf(r)
}

// sizeOf is what a page counts a result as.
func (c *collector) sizeOf(r collected) int {
	if c.headers {
		return 1
	}
	return r.Points.Len()
}

// trim sorts the results and drops those that cannot be on the page, keeping
// at least one more than fits, so that it is known that there are more.
func (c *collector) trim() {
	slices.SortFunc(c.results, func(a, b collected) int { return cmp.Compare(a.key, b.key) })
	c.size = 0
	for i, r := range c.results {
		c.size += c.sizeOf(r)
		if c.size > c.pageSize {
			clear(c.results[i+1:])
			c.results = c.results[:i+1]
			return
		}
	}
}

// page cuts the page from the results.
func (c *collector) page() Page {
	c.trim()
	var p Page
	var last cursor
	room := c.pageSize
	for _, r := range c.results {
		if room == 0 {
			p.Next = c.token(last) // the page is full, and here is one more
			break
		}
		last = cursor{r.key, done}
		left := room - c.sizeOf(r)
		if c.headers {
			r.Points = tsdb.Points{}
		} else {
			r.Points = newest(r.Points, room)
			last.before = r.Points.Times[0]
		}
		p.Results = append(p.Results, r.Result)
		if left < 0 {
			p.Next = c.token(last)
			break
		}
		room = left
	}
	return p
}

// newest is the last n of points, or all of them.
func newest(points tsdb.Points, n int) tsdb.Points {
	from := max(0, points.Len()-n)
	return points.Slice(from, points.Len())
}
