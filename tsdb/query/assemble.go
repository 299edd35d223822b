package query

import (
	"cmp"
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/align"
	"selvedge.dev/tsdb/rollup"
)

// assembly answers the first stage of a plan from a rollup and the points that
// it does not cover.
type assembly struct {
	*collector
	*choice

	engine *Engine
	sel    tsdb.Selection
	// kept is what the rollup has, by key.
	kept map[string]*rollup.Kept
	// dirty are the ends of the windows that are read from the points, by the
	// key of their series.
	dirty map[string]map[tsdb.Millis]bool

	mu sync.Mutex
	// points are those that were read, by key.
	points map[string]*pieces
	// room is how many points may still be read.
	room int
}

// pieces are points of one series or group.
type pieces struct {
	series *tsdb.Series
	all    tsdb.Points
	sorted bool
	// bytes is what they were held for.
	bytes int64
}

// assemble takes all series of the selection through the stages. What it is
// about was looked at (choose) before anything is read here.
func (c *collector) assemble(ctx context.Context, e *Engine, by *choice, sel tsdb.Selection) error {
	a := &assembly{
		collector: c, choice: by, engine: e, sel: sel,
		dirty: map[string]map[tsdb.Millis]bool{}, points: map[string]*pieces{}, room: sel.MaxPoints,
	}
	for _, read := range []func(context.Context) error{a.readRuns, a.readRest, a.readDirty} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return a.fold(ctx)
}

// readRuns reads the rollup.
func (a *assembly) readRuns(ctx context.Context) error {
	keep := a.sel.Keep
	if a.rule.Grouped() {
		keep = a.filter.Match
	}
	first, last := a.runs[0], a.runs[len(a.runs)-1]
	var stored int
	var err error
	a.kept, stored, err = a.engine.opts.Rollups.Read(ctx, rollup.Read{
		Rule: a.rule, Fields: a.method.Needs, After: first.Start, Until: last.End,
		Exemplars: a.exemplars, Keep: keep, Where: a.sel.Where, MaxSeries: a.sel.MaxSeries, MaxPoints: a.sel.MaxPoints, Hold: a.lease.hold,
	})
	if err != nil {
		return err
	}
	for key, ends := range a.view.Marked {
		for _, end := range ends {
			a.markDirty(key, end)
		}
	}
	windows := 0
	for key, k := range a.kept {
		torn, n := k.Torn()
		windows += n
		for _, end := range torn {
			a.markDirty(key, end)
		}
	}
	if t := a.tracer; t != nil {
		t.Stored, t.Windows = stored, windows
		for _, run := range a.runs {
			t.Spans = append(t.Spans, Span{
				Start: run.Start, End: run.End, Rollup: &a.rule.Rollup, Series: len(a.kept),
				Windows: len(a.kept) * int((run.End-run.Start)/a.rule.Period),
			})
		}
		if len(a.runs) == 1 {
			t.Spans[0].Windows = windows
		}
	}
	a.tracer.stage("read the rollup")
	return nil
}

// markDirty has a window be read from the points, if it is in a run.
func (a *assembly) markDirty(key string, end tsdb.Millis) {
	if _, used := a.uses(end); !used {
		return
	}
	if a.dirty[key] == nil {
		a.dirty[key] = map[tsdb.Millis]bool{}
	}
	a.dirty[key][end] = true
}

// readRest reads the points outside of the runs.
func (a *assembly) readRest(ctx context.Context) error {
	for _, span := range a.rest() {
		if err := a.readPoints(ctx, span, a.sel.Keep, nil); err != nil {
			return err
		}
		if t := a.tracer; t != nil {
			series, samples := t.counted()
			t.Samples += samples
			t.Spans = append(t.Spans, Span{Start: span.Start, End: span.End, Series: series, Samples: samples})
		}
	}
	a.tracer.stage("read points")
	return nil
}

// readDirty reads the points of windows within the runs that the rollup cannot
// tell, of the series concerned alone.
func (a *assembly) readDirty(ctx context.Context) error {
	if len(a.dirty) == 0 {
		return nil
	}
	var ends []tsdb.Millis
	for _, of := range a.dirty {
		ends = slices.AppendSeq(ends, maps.Keys(of))
	}
	slices.Sort(ends)
	keep := func(s *tsdb.Series) bool { return a.dirty[a.rule.Of(s).Key()] != nil && a.sel.Keep(s) }
	for from := 0; from < len(ends); {
		to := from + 1
		for to < len(ends) && ends[to]-ends[to-1] <= max(a.block, a.rule.Period) {
			to++
		}
		span := tsdb.Interval{Start: ends[from] - a.rule.Period, End: ends[to-1]}
		if err := a.readPoints(ctx, span, keep, a.dirty); err != nil {
			return err
		}
		from = to
	}
	if t := a.tracer; t != nil {
		_, samples := t.counted()
		t.Samples += samples
		t.Spans[0].Samples = samples
	}
	a.tracer.stage("read points of late windows")
	return nil
}

// readPoints reads the points of (span.Start, span.End], or only those in the
// windows that are within.
func (a *assembly) readPoints(ctx context.Context, span tsdb.Interval, keep func(*tsdb.Series) bool, within map[string]map[tsdb.Millis]bool) error {
	sel := a.sel
	sel.Keep, sel.Interval, sel.MaxPoints = keep, tsdb.Interval{Start: span.Start + 1, End: span.End}, a.room
	take := func(s *tsdb.Series, points tsdb.Points) (any, error) {
		a.tracer.read(points.Len())
		into := a.rule.Of(s)
		return nil, a.take(into, into.Key(), points, within)
	}
	if scanner, ok := a.engine.store.(tsdb.Scanner); ok {
		return scanner.Scan(ctx, sel, take, func(*tsdb.Series, any) (bool, error) { return true, ctx.Err() })
	}
	return a.engine.store.Select(ctx, sel, func(s *tsdb.Series, points tsdb.Points) error {
		_, err := take(s, points)
		return cmp.Or(err, ctx.Err())
	})
}

// take copies points that were read.
func (a *assembly) take(into *tsdb.Series, key string, points tsdb.Points, within map[string]map[tsdb.Millis]bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.ContainsFunc(points.Distributions, rollup.Dynamic) {
		return errDynamic
	}
	bytes := heldBytes(points)
	if err := a.lease.hold(bytes); err != nil {
		return err
	}
	a.room = max(1, a.room-points.Len())
	p := a.points[key]
	if p == nil {
		p = &pieces{series: into, sorted: true}
		a.points[key] = p
	}
	p.bytes += bytes
	if n := p.all.Len(); n > 0 && points.Len() > 0 && points.Times[0] <= p.all.Times[n-1] {
		p.sorted = false
	}
	if within == nil {
		p.all.Times = append(p.all.Times, points.Times...)
		p.all.Values = append(p.all.Values, points.Values...)
		p.all.Distributions = append(p.all.Distributions, points.Distributions...)
		return nil
	}
	for i, t := range points.Times {
		if !within[key][a.rule.EndOf(t)] {
			continue
		}
		p.all.Times = append(p.all.Times, t)
		if points.Distributions != nil {
			p.all.Distributions = append(p.all.Distributions, points.Distributions[i])
		} else {
			p.all.Values = append(p.all.Values, points.Values[i])
		}
	}
	return nil
}

// sort brings the points in order; those of several series may share times.
func (p *pieces) sort() {
	if p.sorted {
		return
	}
	order := make([]int, p.all.Len())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p.all.Times[i], p.all.Times[j]) })
	out := tsdb.Points{Times: make([]tsdb.Millis, 0, len(order))}
	for _, i := range order {
		out.Times = append(out.Times, p.all.Times[i])
		if p.all.Distributions != nil {
			out.Distributions = append(out.Distributions, p.all.Distributions[i])
		} else {
			out.Values = append(out.Values, p.all.Values[i])
		}
	}
	p.all, p.sorted = out, true
}

// fold aligns every series and takes it on, in the order of their keys.
func (a *assembly) fold(ctx context.Context) error {
	keys := slices.Collect(maps.Keys(a.kept))
	for key := range a.points {
		if a.kept[key] == nil {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if a.tracer != nil {
		a.tracer.Series = len(keys)
	}
	reduces := a.reduces()
	for len(keys) > 0 {
		wave := keys[:min(len(keys), foldWave)]
		keys = keys[len(wave):]
		made, err := a.align(ctx, wave)
		if err != nil {
			return err
		}
		a.forget(wave)
		for i := range made {
			if err := a.gather(0, made[i]); err != nil {
				return err
			}
			if !reduces && a.size > a.pageSize {
				keys = nil
				break
			}
		}
	}
	a.tracer.stage("align")
	return nil
}

// forget drops what was read of the series of some keys.
func (a *assembly) forget(keys []string) {
	for _, key := range keys {
		if k := a.kept[key]; k != nil {
			a.lease.refund(k.Bytes())
			delete(a.kept, key)
		}
		if p := a.points[key]; p != nil {
			a.lease.refund(p.bytes)
			delete(a.points, key)
		}
	}
}

// foldWave is how many series are aligned before they are taken on: enough for
// all processors.
const foldWave = 256

// align aligns the series of some keys, on all processors at once.
func (a *assembly) align(ctx context.Context, keys []string) ([]collected, error) {
	made := make([]collected, len(keys))
	if len(keys) == 1 { // waking another processor would take longer
		var err error
		made[0], err = a.alignOne(keys[0])
		return made, err
	}
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), len(keys)) {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(keys); i = int(next.Add(1)) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				var err error
				if made[i], err = a.alignOne(keys[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return made, g.Wait()
}

// alignOne aligns one series.
func (a *assembly) alignOne(key string) (collected, error) {
	st := &a.stages[0]
	f := folding{grid: st.grid, method: a.method}
	f.first = f.grid.End - tsdb.Millis(f.grid.Windows())*f.grid.Period
	var s *tsdb.Series
	k, p := a.kept[key], a.points[key]
	if k != nil {
		s = k.Series
	}
	if p != nil {
		p.sort()
		f.points, s = p.all, p.series
	}
	if err := a.check(s); err != nil {
		return collected{}, err
	}
	out, err := st.aligner.Output(s)
	if err != nil {
		return collected{}, err
	}
	if a.rule.Distributed() {
		f.out = st.aligner.Align(st.grid, s, a.standing(k, f.points, a.dirty[key]))
	} else {
		f.run(k, a.choice, a.dirty[key])
	}
	return collected{Result{Series: out, Points: f.out, Period: st.grid.Period}, key}, nil
}

// folding is the alignment of one series.
type folding struct {
	grid   align.Grid
	method rollup.Method
	// first is the start of the grid's first window.
	first  tsdb.Millis
	points tsdb.Points
	out    tsdb.Points

	// end is that of the grid's window under way, known of it what part is.
	end    tsdb.Millis
	known  rollup.Partial
	before rollup.Before
	// done is up to where was taken what there is.
	done tsdb.Millis
}

// run takes windows and points in the order of time. They do not overlap.
func (f *folding) run(k *rollup.Kept, c *choice, dirty map[tsdb.Millis]bool) {
	i := 0
	take := func(until tsdb.Millis) {
		for ; i < f.points.Len() && f.points.Times[i] <= until; i++ {
			p := rollup.Point(f.points.Times[i], f.points.Values[i])
			f.add(f.points.Times[i], &p)
		}
	}
	f.end = f.first
	var run tsdb.Interval // that the last window was in
	if k != nil {
		f.out.Times, f.out.Values = make([]tsdb.Millis, 0, f.grid.Windows()), make([]float64, 0, f.grid.Windows())
	}
	for k != nil {
		if dirty == nil && run.End != 0 && (i == f.points.Len() || f.points.Times[i] > run.End) {
			f.straight(k, c.rule.Period, run)
		}
		end, p, ok := k.Next()
		if !ok {
			break
		}
		if end <= run.Start || end > run.End {
			at, used := c.uses(end)
			if !used {
				continue
			}
			run = c.runs[at]
		}
		if p != nil && !dirty[end] {
			take(end)
			f.add(end, p)
		}
	}
	take(f.grid.End)
	f.flush()
}

// straight takes as many whole windows of the grid as there are in the run, when
// the one under way is complete.
func (f *folding) straight(k *rollup.Kept, period tsdb.Millis, run tsdb.Interval) {
	if f.method.Before || f.grid.Period%period != 0 || f.done != f.end {
		return
	}
	f.flush()
	f.out.Values = k.Straight(f.method, rollup.Stretch{Ratio: int(f.grid.Period / period), End: f.end + period, Until: run.End}, f.out.Values)
	for len(f.out.Times) < len(f.out.Values) {
		f.end += f.grid.Period
		f.out.Times = append(f.out.Times, f.end)
	}
	f.done = f.end
}

// add adds what is known of a point or a window that ends at that time.
func (f *folding) add(at tsdb.Millis, p *rollup.Partial) {
	f.done = at
	if at <= f.first {
		f.before = rollup.Before{At: p.LastAt, Value: p.Last, Known: true}
		return
	}
	if at > f.end {
		f.flush()
		if f.end += f.grid.Period; at > f.end { // not the next one
			f.end = f.grid.End - (f.grid.End-at)/f.grid.Period*f.grid.Period
		}
	}
	f.known.Add(p)
}

// flush ends the grid's window under way.
func (f *folding) flush() {
	if f.known.Count == 0 {
		return
	}
	before := f.before
	before.Known = before.Known && before.At >= f.end-f.grid.Period-f.grid.Lookback()
	if v, ok := f.method.Value(&f.known, f.grid.Period, before); ok {
		f.out.Times, f.out.Values = append(f.out.Times, f.end), append(f.out.Values, v)
	}
	f.before = rollup.Before{At: f.known.LastAt, Value: f.known.Last, Known: true}
	f.known.Count = 0 // forgets the rest
}
