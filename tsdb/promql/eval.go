package promql

import (
	"context"
	"fmt"
	"math"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// staleBits is the NaN that Prometheus ends a series with. In a column it is
// the value of a step at which the series is not there.
const staleBits = 0x7ff0000000000002

// gap is the value of a step without one.
var gap = math.Float64frombits(staleBits)

// missing reports whether v is a gap.
func missing(v float64) bool { return math.Float64bits(v) == staleBits }

// grid are the times that an expression is evaluated at.
type grid struct {
	start, step int64
	n           int
}

// at is the time of step i.
func (g grid) at(i int) int64 { return g.start + int64(i)*g.step }

// column is a series of a vector: one value for each step, or a gap.
type column struct {
	labels tsdb.Labels
	values []float64
	name   nameMark
}

// value is what an expression is on a grid; which field counts follows from
// the kind of the node.
type value struct {
	scalar []float64
	vector []column
	ranges ranges
	text   string
}

// evaluation is one query under way.
type evaluation struct {
	engine  *Engine
	project string
	// start and end are those of the query.
	start, end int64
	// ranged says that the query is of more than one instant.
	ranged bool
	// directory has the metrics of the project, once they were asked for.
	directory *directory
	// instants are the instant selectors that were evaluated, by what they are and
	// when, since queries often have one twice.
	instants map[string][]column
	// budget is how many more samples there may be at once, and kept how many of
	// those that there are stay until the end.
	budget, kept int
	// reach is told how many bytes there are; nil when nobody wants to know.
	reach func(bytes int64) error
	// delayed says that names are removed at the end (delayed.go), and single that
	// this part of the query is evaluated for a single instant.
	delayed, single bool
	// said is what is strange.
	said notes
}

// spend takes n samples from the budget, and ends a query that is out of it or
// out of time.
func (ev *evaluation) spend(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("evaluating the query: %w", err)
	}
	if ev.budget -= n; ev.budget < 0 {
		return overBudget(ev.engine.options.MaxSamples)
	}
	if ev.reach != nil {
		return ev.reach(int64(ev.engine.options.MaxSamples-ev.budget) * sampleBytes)
	}
	return nil
}

// sampleBytes is what a sample takes: its time and its value.
const sampleBytes = 16

// overBudget is the fault of a query that needs more samples than that.
func overBudget(most int) error {
	return &fault.Error{
		Op: "promql.Query", Kind: fault.Exhausted, Reason: ReasonTooMuch,
		Err: fmt.Errorf("query processing would load too many samples into memory in query execution; the bound is %d", most),
	}
}

// column is a new column of gaps.
func (ev *evaluation) column(ctx context.Context, g grid) ([]float64, error) {
	if err := ev.spend(ctx, g.n); err != nil {
		return nil, err
	}
	values := make([]float64, g.n)
	for i := range values {
		values[i] = gap
	}
	return values, nil
}

// eval evaluates n at every step of g. What was made on the way is given back to
// the budget.
func (ev *evaluation) eval(ctx context.Context, n node, g grid) (value, error) {
	if err := ev.spend(ctx, 0); err != nil {
		return value{}, err
	}
	budget, kept := ev.budget, ev.kept
	v, err := ev.evaluate(ctx, n, g)
	if _, selects := n.(*selector); err == nil && !selects {
		ev.budget = budget - v.size() - (ev.kept - kept)
	}
	return v, err
}

// size is how many samples v is.
func (v value) size() int {
	n := len(v.scalar)
	for _, c := range v.vector {
		n += len(c.values)
	}
	for _, s := range v.ranges.series {
		n += len(s.values)
	}
	return n
}

// evaluate is eval without the budget.
func (ev *evaluation) evaluate(ctx context.Context, n node, g grid) (value, error) {
	switch n := n.(type) {
	case number:
		values, err := ev.column(ctx, g)
		for i := range values {
			values[i] = n.value
		}
		return value{scalar: values}, err
	case text:
		return value{text: n.value}, nil
	case *selector:
		if n.matrix {
			r, err := ev.window(ctx, n, g)
			return value{ranges: r}, err
		}
		v, err := ev.instant(ctx, n, g, false)
		return value{vector: v}, err
	case *subquery:
		r, err := ev.subquery(ctx, n, g)
		return value{ranges: r}, err
	case *call:
		return n.f.eval(ctx, ev, n, g)
	case *aggregation:
		v, err := ev.aggregate(ctx, n, g)
		return value{vector: v}, err
	case *binary:
		return ev.binary(ctx, n, g)
	case *sign:
		return ev.sign(ctx, n, g)
	}
	panic(fmt.Sprintf("BUG: a node of type %T", n))
}

// resolve is the shift with its edge replaced by the time that it stands for.
func (ev *evaluation) resolve(s shift) shift {
	switch s.edge {
	case 's':
		s.at = &ev.start
	case 'e':
		s.at = &ev.end
	}
	return s
}

// time is when step i of g reads.
func (s shift) time(g grid, i int) int64 {
	if s.at != nil {
		return *s.at - s.offset
	}
	return g.at(i) - s.offset
}

// instant is the latest sample of every series at every step, or the time of
// it in seconds.
func (ev *evaluation) instant(ctx context.Context, n *selector, g grid, stamps bool) ([]column, error) {
	s := ev.resolve(n.shift)
	key := fmt.Sprint(s.time(g, 0), s.time(g, g.n-1), g.step, g.n, stamps, n.key)
	if columns, ok := ev.instants[key]; ok {
		return columns, nil
	}
	lookback := ev.engine.options.Lookback.Milliseconds()
	var columns []column
	err := ev.each(ctx, n, s.time(g, 0)-lookback+1, s.time(g, g.n-1), func(src source) error {
		values, err := ev.column(ctx, g)
		if err != nil {
			return err
		}
		next, any := 0, false
		for i := range values {
			t := s.time(g, i)
			for next < len(src.times) && src.times[next] <= t {
				next++
			}
			if next == 0 || src.times[next-1] <= t-lookback || missing(src.values[next-1]) {
				continue
			}
			any = true
			if values[i] = src.values[next-1]; stamps {
				values[i] = float64(src.times[next-1]) / 1000
			}
		}
		if any {
			columns = append(columns, column{labels: src.labels, values: values})
		} else {
			ev.budget += g.n
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ev.kept += len(columns) * g.n
	ev.instants[key] = columns
	return columns, inOrder(columns)
}

// ranges are the series of a range vector: all samples that any step sees, and
// what each step sees of them.
type ranges struct {
	series []source
	window int64
	shift  shift
}

// source is a series with its samples, times ascending.
type source struct {
	labels tsdb.Labels
	times  []int64
	values []float64
	name   nameMark
}

// span is the window (from, to] of step i.
func (r ranges) span(g grid, i int) (from, to int64) {
	to = r.shift.time(g, i)
	return to - r.window, to
}

// between are the samples in (from, to].
func (s source) between(from, to int64) source {
	lo, hi := after(s.times, from), after(s.times, to)
	return source{s.labels, s.times[lo:hi], s.values[lo:hi], s.name}
}

// after is the index of the first time that is after t.
func after(times []int64, t int64) int {
	lo, hi := 0, len(times)
	for lo < hi {
		if mid := (lo + hi) / 2; times[mid] <= t {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// window reads a range selector whose samples are the answer.
func (ev *evaluation) window(ctx context.Context, n *selector, g grid) (ranges, error) {
	r := ranges{window: n.window, shift: ev.resolve(n.shift)}
	from, _ := r.span(g, 0)
	_, to := r.span(g, g.n-1)
	sources, err := ev.fetch(ctx, n, from+1, to)
	for _, s := range sources {
		r.series = append(r.series, s.withoutGaps())
	}
	return r, err
}

// withoutGaps is s without stale markers, which windows do not hold.
func (s source) withoutGaps() source {
	for i, v := range s.values {
		if !missing(v) {
			continue
		}
		kept := source{s.labels, append([]int64(nil), s.times[:i]...), append([]float64(nil), s.values[:i]...), s.name}
		for j := i; j < len(s.values); j++ {
			if !missing(s.values[j]) {
				kept.times, kept.values = append(kept.times, s.times[j]), append(kept.values, s.values[j])
			}
		}
		return kept
	}
	return s
}

// subquery evaluates the expression at the multiples of the step that the
// windows hold.
func (ev *evaluation) subquery(ctx context.Context, n *subquery, g grid) (ranges, error) {
	r := ranges{window: n.window, shift: ev.resolve(n.shift)}
	step := n.step
	if step == 0 {
		step = ev.engine.options.Interval.Milliseconds()
	}
	from, _ := r.span(g, 0)
	_, to := r.span(g, g.n-1)
	first := from - from%step
	for first <= from {
		first += step
	}
	if first > to {
		return r, nil
	}
	steps := (to-first)/step + 1
	if err := ev.spend(ctx, int(min(steps, math.MaxInt32))); err != nil {
		return r, err
	}
	inner := grid{first, step, int(steps)}
	single := ev.single
	ev.single = first == to
	v, err := ev.eval(ctx, n.of, inner)
	ev.single = single
	if err != nil {
		return r, err
	}
	for _, c := range v.vector {
		if err := ev.spend(ctx, len(c.values)); err != nil {
			return r, err
		}
		s := source{labels: c.labels, name: c.name}
		for i, x := range c.values {
			if !missing(x) {
				s.times, s.values = append(s.times, inner.at(i)), append(s.values, x)
			}
		}
		if len(s.times) > 0 {
			r.series = append(r.series, s)
		}
	}
	return r, nil
}

// merge joins columns with equal labels, which operations that drop labels
// make. Two values at one step are an error. What is known of the name is that of the
// first value.
func merge(columns []column) ([]column, error) {
	if len(columns) < 2 {
		return columns, nil
	}
	index := make(map[string]int, len(columns))
	kept := columns[:0:0]
	for _, c := range columns {
		key := labelsKey(c.labels)
		i, found := index[key]
		if !found {
			index[key] = len(kept)
			kept = append(kept, c)
			continue
		}
		if begins(c.values) < begins(kept[i].values) {
			kept[i].name = c.name
		}
		into := append([]float64(nil), kept[i].values...)
		for k, v := range c.values {
			switch {
			case missing(v):
			case !missing(into[k]):
				return nil, sameLabels()
			default:
				into[k] = v
			}
		}
		kept[i].values = into
	}
	return kept, nil
}
