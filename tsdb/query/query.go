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
	"sync"

	"selvedge.dev/tsdb"
)

// Options bound what one query may read.
type Options struct {
	// MaxSeries is how many series may match; 0 means 100,000.
	MaxSeries int
	// MaxPoints is how many points may be read; 0 means 50 million, which
	// take about a second.
	MaxPoints int
}

// Engine answers requests from one store.
type Engine struct {
	store tsdb.Store
	opts  Options
}

// New makes an engine over store, which it does not close.
func New(store tsdb.Store, opts Options) *Engine {
	opts.MaxSeries = cmp.Or(opts.MaxSeries, 100_000)
	opts.MaxPoints = cmp.Or(opts.MaxPoints, 50_000_000)
	return &Engine{store: store, opts: opts}
}

// Page is an answer, or a part of one.
type Page struct {
	Results []Result
	// Next is the token of the page after this one, "" after the last.
	Next string
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

// Newest yields the points as the API returns them: the newest first.
func (r Result) Newest(yield func(tsdb.Millis, float64) bool) {
	for i := r.Points.Len() - 1; i >= 0; i-- {
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
	p, err := newPlan(req)
	if err != nil {
		return Page{}, fmt.Errorf("%s: %w", op, err)
	}
	p.pageSize = cmp.Or(size, p.pageSize)
	c := collector{plan: p, groups: make([]map[string]*group, len(p.stages))}
	err = c.read(ctx, e.store, tsdb.Selection{
		Project: req.Project, Metric: p.filter.Metric(), Where: p.filter.Conditions(), Keep: p.keep, Interval: p.reads(),
		MaxSeries: e.opts.MaxSeries, MaxPoints: e.opts.MaxPoints,
	})
	if err == nil {
		err = c.reduce(ctx)
	}
	if err != nil {
		return Page{}, fmt.Errorf("%s: %w", op, err)
	}
	return c.page(), nil
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
	// checked are the kinds of series that every stage can be applied to, as
	// keys of the type checked.
	checked sync.Map
	// groups are what the reducers of the stages wait for, by the key of the
	// reduced series. Those of a stage that does not reduce are nil.
	groups  []map[string]*group
	results []collected
	size    int // of all results together, as pages count
}

// add takes a visited series through the stages.
func (c *collector) add(s *tsdb.Series, points tsdb.Points) error {
	if err := c.check(s); err != nil {
		return err
	}
	return c.feed(0, collected{Result{Series: s, Points: points}, s.Key()})
}

// check is the plan's, done once for every metric. It may be called
// concurrently.
func (c *collector) check(s *tsdb.Series) error {
	as := checked{s.Metric, s.Kind, s.ValueType}
	if _, ok := c.checked.Load(as); ok {
		return nil
	}
	if err := c.plan.check(s); err != nil {
		return err
	}
	c.checked.Store(as, true)
	return nil
}

// feed takes a series through the stages from i on, until one where it has to
// wait for others, or into the answer.
func (c *collector) feed(i int, r collected) error {
	if i == len(c.stages) {
		c.keepFrom(r)
		// After a trim it is at most 2*pageSize+1, so sorting is rare; and a
		// long answer costs the memory of a few pages.
		if c.size > 4*c.pageSize {
			c.trim()
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
	return nil
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
		r.Points = tsdb.Points{Times: r.Points.Times[:older], Values: r.Points.Values[:older]}
		if older == 0 {
			return
		}
	}
	if r.Points.Len() > c.pageSize+1 {
		short := newest(r.Points, c.pageSize+1)
		r.Points = tsdb.Points{Times: slices.Clone(short.Times), Values: slices.Clone(short.Values)}
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
	return tsdb.Points{Times: points.Times[from:], Values: points.Values[from:]}
}
