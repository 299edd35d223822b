package align

import (
	"math"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/validity"
)

// field is the request field that errors are about when the caller names none.
const field = "aggregation.perSeriesAligner"

// Aligner is one of the aligners of Parse. The zero Aligner is ALIGN_NONE.
type Aligner struct {
	method method
	// field is the request field that named the aligner.
	field string
}

// method is what one aligner's file provides. Which series it accepts, and
// what it makes of them, is its row in tsdb/validity.
type method interface {
	// name is the API's name of the aligner.
	name() string
	// reads is the closed interval of the points that the windows of the grid
	// need.
	reads(g Grid) tsdb.Interval
	// value is the value of a window that has at least one point, or false
	// when its points do not determine one.
	value(w *window) (float64, bool)
}

// distributor is a method that makes distributions: of those of a window, or, if
// it is SUMMARY, of its numbers.
type distributor interface {
	// distribution is that of a window that has at least one point, or nil when
	// its points do not determine one.
	distribution(w *window) *tsdb.Distribution
}

// methods are all aligners but ALIGN_NONE, which has nothing to compute.
var methods = []method{
	deltaAligner{},
	rateAligner{},
	interpolateAligner{},
	nextOlderAligner{},
	minAligner{},
	maxAligner{},
	meanAligner{},
	countAligner{},
	sumAligner{},
	stddevAligner{},
	countTrueAligner{},
	countFalseAligner{},
	fractionTrueAligner{},
	percentile99Aligner{},
	percentile95Aligner{},
	percentile50Aligner{},
	percentile05Aligner{},
	percentChangeAligner{},
	summaryAligner{},
}

// Parse returns the aligner of that name; "" means ALIGN_NONE.
func Parse(name string) (Aligner, error) { return ParseField(field, name) }

// ParseField is Parse for a name that stands in another field of the request,
// which errors are then about.
func ParseField(field, name string) (Aligner, error) {
	if name == "" || name == none {
		return Aligner{field: field}, nil
	}
	for _, m := range methods {
		if m.name() == name {
			return Aligner{m, field}, nil
		}
	}
	return Aligner{}, validity.Unknown(validity.Aligner, name, field)
}

// String is the API's name of the aligner.
func (a Aligner) String() string {
	if a.None() {
		return none
	}
	return a.method.name()
}

// None reports whether a is ALIGN_NONE, which needs no period.
func (a Aligner) None() bool { return a.method == nil }

// Output is the series that aligning in makes: in with the kind, value type
// and unit of the result. It is an Invalid error when the aligner cannot be
// applied to that kind and value type (tsdb/validity).
func (a Aligner) Output(in *tsdb.Series) (*tsdb.Series, error) {
	if a.None() {
		return in, nil
	}
	return validity.Check(validity.Aligner, a.String(), a.field, in)
}

// Reads is the closed interval of the points that Align has to be given for
// the grid.
func (a Aligner) Reads(g Grid) tsdb.Interval {
	if a.None() {
		return tsdb.Interval{Start: min(g.Start+1, g.End), End: g.End}
	}
	return a.method.reads(g)
}

// Own reports whether the value of each window is a number, if the points are, and
// depends on the points in it alone.
func (a Aligner) Own(g Grid) bool {
	return !a.None() && a.method != summaryAligner{} && a.method.reads(g) == g.own()
}

// Align returns the aligned points of the series in, which Output accepts, in
// new columns. Points outside of Reads do not change the result.
func (a Aligner) Align(g Grid, in *tsdb.Series, points tsdb.Points) tsdb.Points {
	if a.None() {
		return unaligned(a.Reads(g), points)
	}
	first := after(points.Times, g.first())
	c := cutter{grid: g, times: points.Times, from: first, to: first, end: g.first()}
	size := max(0, min(g.Windows(), points.Len()-first))
	out := tsdb.Points{Times: make([]tsdb.Millis, 0, size)}
	merger, merges := a.method.(distributor)
	if merges = merges && (points.Distributions != nil || in.ValueType == tsdb.Distributed || a.method == summaryAligner{}); merges {
		out.Distributions = make([]*tsdb.Distribution, 0, size)
	} else {
		out.Values = make([]float64, 0, size)
	}
	if p, ok := a.method.(plain); ok && points.Distributions == nil {
		for c.next() {
			if v := p.of(points.Values[c.from:c.to]); !math.IsNaN(v) {
				out.Times = append(out.Times, c.end)
				out.Values = append(out.Values, v)
			}
		}
		return out
	}
	w := window{kind: in.Kind, valueType: in.ValueType, period: g.Period, lookback: g.Lookback(), all: points}
	for c.next() {
		w.end, w.from, w.times = c.end, c.from, points.Times[c.from:c.to]
		if points.Distributions == nil {
			w.values = points.Values[c.from:c.to]
		} else {
			w.distributions = points.Distributions[c.from:c.to]
		}
		if merges {
			if d := merger.distribution(&w); d != nil && isNumber(d) {
				out.Times = append(out.Times, w.end)
				out.Distributions = append(out.Distributions, d)
			}
		} else if v, ok := a.method.value(&w); ok && !math.IsNaN(v) {
			out.Times = append(out.Times, w.end)
			out.Values = append(out.Values, v)
		}
	}
	return out
}

// plain is a method whose value is a function of the window's values alone. Such
// a window needs not be described, which takes longer than to add up the values.
type plain interface {
	// of is the value of a window from its values: never none.
	of(values []float64) float64
}

// cutter goes through the windows that have points: times[from:to], up to end.
type cutter struct {
	grid     Grid
	times    []tsdb.Millis
	from, to int
	end      tsdb.Millis
}

// next goes to the next window. The next point is mostly in the next one, and
// there mostly are as many as in the one before: that spares a division and most
// comparisons.
func (c *cutter) next() bool {
	usual := max(1, c.to-c.from)
	c.from = c.to
	if c.from >= len(c.times) || c.times[c.from] > c.grid.End {
		return false
	}
	if c.end += c.grid.Period; c.times[c.from] > c.end {
		c.end = c.grid.endOf(c.times[c.from])
	}
	to := c.from + usual
	if to > len(c.times) || c.times[to-1] > c.end {
		to = c.from + 1
	}
	for to < len(c.times) && c.times[to] <= c.end {
		to++
	}
	c.to = to
	return true
}

// isNumber reports whether what d says is numbers.
func isNumber(d *tsdb.Distribution) bool {
	sum := d.Mean + d.SumOfSquaredDeviation
	return sum-sum == 0
}

// window is what a method sees of a series: the points in (end-period, end],
// never none, and what comes before and after.
type window struct {
	kind             tsdb.MetricKind
	valueType        tsdb.ValueType
	end              tsdb.Millis
	period, lookback tsdb.Millis
	times            []tsdb.Millis
	// values are those of numbers, distributions those of distributions; the
	// other one is nil.
	values        []float64
	distributions []*tsdb.Distribution
	// all are the points of the series, and from is the index of the
	// window's first among them.
	all  tsdb.Points
	from int
	// scratch is a copy of values that may be reordered; see reorderable.
	scratch []float64
	// smoothedValue is the last one that smoothed has computed, smoothedAt the
	// index of its point plus one.
	smoothedAt    int
	smoothedValue float64
}

// before is the index of the last point before the window, and whether there
// is one that is not too old.
func (w *window) before() (int, bool) {
	i := w.from - 1
	return i, i >= 0 && w.all.Times[i] >= w.end-w.period-w.lookback
}

// after is the index of the first point after the window, and whether there is
// one that is not too far away.
func (w *window) after() (int, bool) {
	i := w.from + len(w.times)
	return i, i < w.all.Len() && w.all.Times[i] <= w.end+w.lookback
}

// reorderable is a copy of the window's values that is good until the next
// call. One buffer serves all windows of a series.
func (w *window) reorderable() []float64 {
	w.scratch = append(w.scratch[:0], w.values...)
	return w.scratch
}
