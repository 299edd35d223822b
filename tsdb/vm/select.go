package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Select implements tsdb.Store. It sees what was appended before the call;
// under ingest it waits for its turn to make that visible, up to half a second
// (see revealRest). Cancellation is looked at with every block of up to 8192
// points, but not within the search of the index, which only a deadline of ctx
// ends, to the second.
func (s *Store) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	const op = "tsdb/vm.Select"
	q := &query{store: s, sel: sel, visit: visit}
	q.readAll = q.readInTurn
	return s.answer(ctx, op, q)
}

// answer answers a query.
func (s *Store) answer(ctx context.Context, op string, q *query) error {
	if err := s.use(op); err != nil {
		return err
	}
	defer s.users.Done()
	sel := &q.sel
	if sel.Project == "" {
		return &fault.Error{Op: op, Kind: fault.Invalid, Field: "project", Err: errors.New("a selection needs a project")}
	}
	if err := s.visible.reach(ctx, s.added.Load(), s.reveal); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	fill(&sel.MaxSeries, s.options.MaxSeries)
	fill(&sel.MaxPoints, s.options.MaxPoints)
	some := false
	if q.within, some = s.options.within(*sel); !some {
		return nil
	}
	if err := q.run(ctx); err != nil {
		if q.visitErr != nil {
			return q.visitErr
		}
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// query is one Select or Scan under way.
type query struct {
	store  *Store
	sel    tsdb.Selection
	within storage.TimeRange
	visit  func(*tsdb.Series, tsdb.Points) error
	// readAll reads the blocks that were found.
	readAll func(ctx context.Context) error
	// visitErr is the error of the caller's function, which is returned as it
	// is.
	visitErr error

	// series are those that are kept, and blocks their blocks.
	series []*tsdb.Series
	blocks []blockOf

	// distributed says which blocks are parts of distributions.
	distributed distributed

	// visited and points count for the bounds.
	visited, points int
}

// blockOf is a block of points of a series, by its index in query.series.
type blockOf struct {
	series int
	// part is that of a distribution, 0 for numbers.
	part int32
	ref  storage.BlockRef
}

// run searches, then reads series by series.
func (q *query) run(ctx context.Context) error {
	filters, err := q.store.filtersOf(q.sel)
	if err != nil {
		return err
	}
	search := q.store.search()
	defer q.store.searched(search)
	// The bound of matching series is after Keep, of which the engine does
	// not know.
	search.Init(nil, q.store.engine, []*storage.TagFilters{filters}, q.within, math.MaxInt32, deadline(ctx))
	if err := q.find(ctx, search); err != nil {
		return err
	}
	return q.readAll(ctx)
}

// search is a search of the engine, a used one if there is any.
func (s *Store) search() *storage.Search {
	if search, ok := s.searches.Get().(*storage.Search); ok {
		return search
	}
	return new(storage.Search)
}

// searched ends a search that was begun, and gives it back.
func (s *Store) searched(search *storage.Search) {
	search.MustClose()
	s.searches.Put(search)
}

// readInTurn reads and visits the series whose blocks were found.
func (q *query) readInTurn(ctx context.Context) error {
	c := q.store.columns(len(q.blocks))
	defer q.store.reuse(c)
	for len(q.blocks) > 0 {
		n := 1
		for n < len(q.blocks) && q.blocks[n].series == q.blocks[0].series {
			n++
		}
		if err := q.read(ctx, c, q.blocks[:n]); err != nil {
			return err
		}
		q.blocks = q.blocks[n:]
	}
	return nil
}

// deadline is ctx's deadline as the engine wants it, in whole seconds.
func deadline(ctx context.Context) uint64 {
	if at, ok := ctx.Deadline(); ok {
		return uint64(max(0, at.Unix()+1))
	}
	return math.MaxUint64
}

// find collects the blocks of all series that are kept, by series.
//
// The engine numbers series itself, and after a crash the same series may have
// two numbers: the entries of the first came to disk in part, and when its
// points came again it was new. So what counts is the name.
func (q *query) find(ctx context.Context, search *storage.Search) error {
	var (
		mn      storage.MetricName
		byName  = map[string]int{}
		last    []byte
		current = -1 // the series of the name last, or -1 when it is not kept
		part    int32
		sorted  = true
	)
	for search.NextMetricBlock() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name := search.MetricBlockRef.MetricName; last == nil || string(name) != string(last) {
			last = append(last[:0], name...)
			known := false
			if current, known = byName[string(name)]; known {
				sorted = false
				part = q.distributed.names[string(name)]
			} else {
				series, err := q.identify(&mn, name)
				if err != nil {
					return err
				}
				current, part = -1, 0
				switch {
				case series == nil:
				case series.ValueType == tsdb.Distributed:
					current, part = q.found(series, name, &mn)
					sorted = false
					byName[string(name)] = current
				default:
					current = len(q.series)
					q.series = append(q.series, series)
					byName[string(name)] = current
				}
			}
		}
		if current >= 0 {
			q.blocks = append(q.blocks, blockOf{current, part, *search.MetricBlockRef.BlockRef})
		}
		if err := q.foundTooMuch(); err != nil {
			return err
		}
	}
	if err := search.Error(); err != nil {
		if errors.Is(err, storage.ErrDeadlineExceeded) {
			return context.DeadlineExceeded
		}
		return fmt.Errorf("search: %w", err)
	}
	if !sorted {
		q.sortBlocks()
	}
	return nil
}

// sortBlocks brings the blocks of each series together.
func (q *query) sortBlocks() {
	slices.SortStableFunc(q.blocks, func(a, b blockOf) int { return cmp.Compare(a.series, b.series) })
}

// identify is the described series of a name, or nil if it is not kept.
func (q *query) identify(mn *storage.MetricName, name []byte) (*tsdb.Series, error) {
	return q.store.options.identify(&q.sel, mn, name)
}

// identify is the described series of a name that an engine found for a
// selection, or nil if it is not kept.
func (o *Options) identify(sel *tsdb.Selection, mn *storage.MetricName, name []byte) (*tsdb.Series, error) {
	series, err := parseName(mn, name)
	if err != nil {
		return nil, err
	}
	if series.Project != sel.Project || sel.Metric != "" && series.Metric != sel.Metric {
		return nil, fmt.Errorf("BUG: the engine found %q of project %q, asked for %q of %q",
			series.Metric, series.Project, sel.Metric, sel.Project)
	}
	parts := series.ValueType == tsdb.Distributed
	series.Kind = tsdb.Gauge
	if !parts {
		series.ValueType = tsdb.Double
	}
	if d, ok := o.Describe(series.Project, series.Metric); ok {
		series.Kind, series.ValueType, series.Unit = d.Kind, d.ValueType, d.Unit
		if parts != (d.ValueType == tsdb.Distributed) {
			return nil, nil // from when the metric was of another sort
		}
	}
	if sel.Keep != nil && !sel.Keep(series) {
		return nil, nil
	}
	return series, nil
}

// read reads the blocks of one series and visits it.
func (q *query) read(ctx context.Context, c *columns, blocks []blockOf) error {
	if blocks[0].part != 0 {
		return q.readParts(ctx, c, blocks)
	}
	if err := q.gather(ctx, c, blocks, q.sel.MaxPoints-q.points); err != nil {
		return err
	}
	if c.len() == 0 {
		return nil
	}
	q.points += c.len()
	q.visited++
	if err := bound("series", q.visited, q.sel.MaxSeries); err != nil {
		return err
	}
	q.visitErr = q.visit(q.series[blocks[0].series], c.view())
	return q.visitErr
}

// gather reads the blocks of one series, of which room points are allowed.
func (q *query) gather(ctx context.Context, c *columns, blocks []blockOf, room int) error {
	c.reset()
	rows := 0
	for i := range blocks {
		rows += blocks[i].ref.RowsCount()
	}
	c.grow(min(rows, max(0, room)))
	for i := range blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.add(&blocks[i].ref, q.store.options.withinOf(q.series[blocks[i].series], q.within)); err != nil {
			return err
		}
		if c.len() > room {
			return exhausted("points", q.sel.MaxPoints)
		}
	}
	return nil
}

// bound is Exhausted when n of something are over the limit.
func bound(what string, n, limit int) error {
	if n <= limit {
		return nil
	}
	return exhausted(what, limit)
}

// exhausted is the error of a selection over a limit.
func exhausted(what string, limit int) error {
	return &fault.Error{Kind: fault.Exhausted, Err: fmt.Errorf("the selection holds more than %d %s", limit, what)}
}
