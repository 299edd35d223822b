package align

import (
	"fmt"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// field is the request field that every error of this package is about.
const field = "aggregation.perSeriesAligner"

// Aligner is one of the aligners of Parse. The zero Aligner is ALIGN_NONE.
type Aligner struct{ method method }

// method is what one aligner's file provides.
type method interface {
	// name is the API's name of the aligner.
	name() string
	// accepts says whether metrics of that kind and value type can be aligned.
	accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool
	// describe changes the kind, value type and unit of an accepted series
	// into those of the result.
	describe(s *tsdb.Series)
	// value is the value of a window that has at least one point, or false
	// when its points do not determine one.
	value(w *window) (float64, bool)
}

// methods are all aligners but ALIGN_NONE, which has nothing to compute.
var methods = []method{deltaAligner{}, rateAligner{}, minAligner{}, maxAligner{}, meanAligner{}, countAligner{}, sumAligner{}}

// Parse returns the aligner of that name; "" means ALIGN_NONE.
func Parse(name string) (Aligner, error) {
	if name == "" || name == none {
		return Aligner{}, nil
	}
	known := []string{none}
	for _, m := range methods {
		if m.name() == name {
			return Aligner{m}, nil
		}
		known = append(known, m.name())
	}
	return Aligner{}, invalid("tsdb/align.Parse", name, "it is none of "+strings.Join(known, ", "))
}

// invalid is the error for an aligner that cannot be used, worded as the API
// words it.
func invalid(op, name, reason string) error {
	return &fault.Error{
		Op: op, Kind: fault.Invalid, Field: field,
		Err: fmt.Errorf("field %s had an invalid value of %q: %s", field, name, reason),
	}
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
// applied to that kind and value type.
func (a Aligner) Output(in *tsdb.Series) (*tsdb.Series, error) {
	if a.None() {
		return in, nil
	}
	if !a.method.accepts(in.Kind, in.ValueType) {
		return nil, invalid("tsdb/align.Output", a.String(), fmt.Sprintf(
			"the aligner cannot be applied to metrics with kind %s and value type %s (%s)", in.Kind, in.ValueType, in.Metric))
	}
	out := *in
	a.method.describe(&out)
	return &out, nil
}

// Reads is the closed interval of the points that Align has to be given for
// the grid.
func (a Aligner) Reads(g Grid) tsdb.Interval {
	switch a.method.(type) {
	case nil:
		return tsdb.Interval{Start: min(g.Start+1, g.End), End: g.End}
	case deltaAligner, rateAligner:
		return tsdb.Interval{Start: g.first() - g.Lookback(), End: g.End}
	}
	return tsdb.Interval{Start: g.first() + 1, End: g.End}
}

// Align returns the aligned points of a series of that kind, in new columns.
// Points outside of Reads do not change the result.
func (a Aligner) Align(g Grid, kind tsdb.MetricKind, points tsdb.Points) tsdb.Points {
	if a.None() {
		return unaligned(a.Reads(g), points)
	}
	from := after(points.Times, g.first())
	size := min(g.Windows(), points.Len()-from)
	out := tsdb.Points{Times: make([]tsdb.Millis, 0, size), Values: make([]float64, 0, size)}
	w := window{kind: kind, period: g.Period, lookback: g.Lookback()}
	for from < points.Len() && points.Times[from] <= g.End {
		w.end = g.endOf(points.Times[from])
		to := from + 1
		for to < points.Len() && points.Times[to] <= w.end {
			to++
		}
		w.all, w.from, w.times, w.values = points, from, points.Times[from:to], points.Values[from:to]
		if v, ok := a.method.value(&w); ok {
			out.Times = append(out.Times, w.end)
			out.Values = append(out.Values, v)
		}
		from = to
	}
	return out
}

// window is what a method sees of a series: the points in (end-period, end],
// never none, and what came before.
type window struct {
	kind             tsdb.MetricKind
	end              tsdb.Millis
	period, lookback tsdb.Millis
	times            []tsdb.Millis
	values           []float64
	// all are the points of the series, and from is the index of the
	// window's first among them.
	all  tsdb.Points
	from int
}

// before is the index of the last point before the window, and whether there
// is one that is not too old.
func (w *window) before() (int, bool) {
	i := w.from - 1
	return i, i >= 0 && w.all.Times[i] >= w.end-w.period-w.lookback
}

// numeric reports whether values of the type can be computed with.
func numeric(valueType tsdb.ValueType) bool {
	return valueType == tsdb.Int64 || valueType == tsdb.Double
}

// measured reports whether each point of the kind stands for itself, so that
// statistics over points mean something.
func measured(kind tsdb.MetricKind) bool { return kind == tsdb.Gauge || kind == tsdb.Delta }

// changing reports whether the kind tells changes.
func changing(kind tsdb.MetricKind) bool { return kind == tsdb.Delta || kind == tsdb.Cumulative }

// sum adds up values.
func sum(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}
