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

// Align returns the aligned points of the series in, which Output accepts, in
// new columns. Points outside of Reads do not change the result.
func (a Aligner) Align(g Grid, in *tsdb.Series, points tsdb.Points) tsdb.Points {
	if a.None() {
		return unaligned(a.Reads(g), points)
	}
	from := after(points.Times, g.first())
	size := max(0, min(g.Windows(), points.Len()-from))
	out := tsdb.Points{Times: make([]tsdb.Millis, 0, size), Values: make([]float64, 0, size)}
	w := window{kind: in.Kind, valueType: in.ValueType, period: g.Period, lookback: g.Lookback(), all: points}
	for from < points.Len() && points.Times[from] <= g.End {
		w.end = g.endOf(points.Times[from])
		to := from + 1
		for to < points.Len() && points.Times[to] <= w.end {
			to++
		}
		w.from, w.times, w.values = from, points.Times[from:to], points.Values[from:to]
		if v, ok := a.method.value(&w); ok && !math.IsNaN(v) {
			out.Times = append(out.Times, w.end)
			out.Values = append(out.Values, v)
		}
		from = to
	}
	return out
}

// window is what a method sees of a series: the points in (end-period, end],
// never none, and what comes before and after.
type window struct {
	kind             tsdb.MetricKind
	valueType        tsdb.ValueType
	end              tsdb.Millis
	period, lookback tsdb.Millis
	times            []tsdb.Millis
	values           []float64
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
	i := w.from + len(w.values)
	return i, i < w.all.Len() && w.all.Times[i] <= w.end+w.lookback
}

// reorderable is a copy of the window's values that is good until the next
// call. One buffer serves all windows of a series.
func (w *window) reorderable() []float64 {
	w.scratch = append(w.scratch[:0], w.values...)
	return w.scratch
}
