// Package reduce makes one time series of many: at every time that any of
// them has a point, the value is computed from the values that there are.
// Which series are reduced together is the caller's business (tsdb/query).
//
// The reducers are those of Google Cloud Monitoring v3 ("the API" here is
// google/monitoring/v3/common.proto) and SUMMARY of SPEKTRA Edge. They are applied to aligned series,
// whose points share times; edges, resets and late data are the aligner's
// business. A series without a point at a time takes no part there: it counts
// neither as zero nor as its last value. A time at which no series has a point
// has none in the result.
//
// Which reducer can be applied to which series, and what results, is the table
// of tsdb/validity.
//
// The order of the series decides how sums are rounded, so a caller who wants
// the same answer twice gives the same order twice.
//
// Everything here is a pure function of its arguments.
package reduce

import (
	"math"
	"slices"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/validity"
)

// field is the request field that errors are about when the caller names none.
const field = "aggregation.crossSeriesReducer"

// none is REDUCE_NONE: the aligned series as they are.
const none = "REDUCE_NONE"

// Reducer is one of the reducers of Parse. The zero Reducer is REDUCE_NONE.
type Reducer struct {
	method method
	// field is the request field that named the reducer.
	field string
}

// method is what one reducer's file provides. Which series it accepts, and
// what it makes of them, is its row in tsdb/validity.
type method interface {
	// name is the API's name of the reducer.
	name() string
	// value is the value at a time from those of the series that have a point
	// there: never none, in the order of the series. They may be reordered.
	value(values []float64) float64
}

// measurer is a method that makes a number of distributions.
type measurer interface {
	// measure is the value at a time, which may be NaN for none, from the
	// distributions of the series that have a point there.
	measure(of []*tsdb.Distribution) float64
}

// merger is a method that makes a distribution of distributions.
type merger interface {
	// merge is the distribution at a time from those of the series that have a
	// point there.
	merge(of []*tsdb.Distribution) *tsdb.Distribution
}

// methods are all reducers but REDUCE_NONE, which has nothing to compute.
var methods = []method{
	meanReducer{},
	minReducer{},
	maxReducer{},
	sumReducer{},
	stddevReducer{},
	countReducer{},
	countTrueReducer{},
	countFalseReducer{},
	fractionTrueReducer{},
	percentile99Reducer{},
	percentile95Reducer{},
	percentile50Reducer{},
	percentile05Reducer{},
	summaryReducer{},
}

// Parse returns the reducer of that name; "" means REDUCE_NONE.
func Parse(name string) (Reducer, error) { return ParseField(field, name) }

// ParseField is Parse for a name that stands in another field of the request,
// which errors are then about.
func ParseField(field, name string) (Reducer, error) {
	if name == "" || name == none {
		return Reducer{field: field}, nil
	}
	for _, m := range methods {
		if m.name() == name {
			return Reducer{m, field}, nil
		}
	}
	return Reducer{}, validity.Unknown(validity.Reducer, name, field)
}

// String is the API's name of the reducer.
func (r Reducer) String() string {
	if r.None() {
		return none
	}
	return r.method.name()
}

// None reports whether r is REDUCE_NONE.
func (r Reducer) None() bool { return r.method == nil }

// Output is the series that reducing series like in makes: in with the kind,
// value type and unit of the result. It is an Invalid error when the reducer
// cannot be applied to that kind and value type (tsdb/validity).
func (r Reducer) Output(in *tsdb.Series) (*tsdb.Series, error) {
	if r.None() {
		return in, nil
	}
	return validity.Check(validity.Reducer, r.String(), r.field, in)
}

// Reduce makes one series of many; the reducer must not be REDUCE_NONE. Every
// value is visited once: the values are sorted by time, counting how many
// there are of each, and then computed with in runs.
func (r Reducer) Reduce(series []tsdb.Points) tsdb.Points {
	if len(series) > 0 && series[0].Distributions != nil {
		return r.reduceDistributions(series)
	}
	if (r.method != summaryReducer{}) && sameTimes(series) {
		return r.reduceColumns(series)
	}
	times := union(series)
	runs, ends := runsOf(times, series, func(p tsdb.Points) []float64 { return p.Values })
	if (r.method == summaryReducer{}) {
		return summaries(times, runs, ends)
	}
	out := tsdb.Points{Times: times[:0], Values: make([]float64, 0, len(times))}
	start := 0
	for slot, end := range ends {
		if v := r.method.value(runs[start:end]); !math.IsNaN(v) {
			out.Times, out.Values = append(out.Times, times[slot]), append(out.Values, v)
		}
		start = end
	}
	return out
}

// sameTimes reports whether all series have points at the same times, as those of
// devices that report all the time mostly do.
func sameTimes(series []tsdb.Points) bool {
	for i := 1; i < len(series); i++ {
		if !slices.Equal(series[i].Times, series[0].Times) {
			return false
		}
	}
	return len(series) > 0
}

// reduceColumns is Reduce for series with the same times, of which no value needs
// a place of its own.
func (r Reducer) reduceColumns(series []tsdb.Points) tsdb.Points {
	n := series[0].Len()
	out := tsdb.Points{Times: make([]tsdb.Millis, 0, n), Values: make([]float64, 0, n)}
	values := make([]float64, len(series))
	for slot, t := range series[0].Times {
		for i := range series {
			values[i] = series[i].Values[slot]
		}
		if v := r.method.value(values); !math.IsNaN(v) {
			out.Times, out.Values = append(out.Times, t), append(out.Values, v)
		}
	}
	return out
}

// runsOf are the values of a column, sorted by time, and where the run of each
// time ends.
func runsOf[V any](times []tsdb.Millis, series []tsdb.Points, column func(tsdb.Points) []V) (runs []V, ends []int) {
	ends = make([]int, len(times)) // first how many values a time has, then where its run ends
	each(times, series, column, func(slot int, _ V) { ends[slot]++ })
	total := 0
	for slot, n := range ends {
		ends[slot] = total
		total += n
	}
	runs = make([]V, total)
	each(times, series, column, func(slot int, v V) {
		runs[ends[slot]] = v
		ends[slot]++
	})
	return runs, ends
}

// reduceDistributions is Reduce for series of distributions.
func (r Reducer) reduceDistributions(series []tsdb.Points) tsdb.Points {
	times := union(series)
	runs, ends := runsOf(times, series, func(p tsdb.Points) []*tsdb.Distribution { return p.Distributions })
	var out tsdb.Points
	start := 0
	for slot, end := range ends {
		run := runs[start:end]
		start = end
		switch m := r.method.(type) {
		case merger:
			out.Times, out.Distributions = append(out.Times, times[slot]), append(out.Distributions, m.merge(run))
		case measurer:
			if v := m.measure(run); !math.IsNaN(v) {
				out.Times, out.Values = append(out.Times, times[slot]), append(out.Values, v)
			}
		default:
			panic("BUG: " + r.String() + " is not for distributions")
		}
	}
	return out
}

// each calls f with every value of a column and the index of its time in times,
// series by series. Aligned series mostly have the next time next.
func each[V any](times []tsdb.Millis, series []tsdb.Points, column func(tsdb.Points) []V, f func(slot int, v V)) {
	for _, points := range series {
		slot, values := 0, column(points)
		for i, t := range points.Times {
			if times[slot] != t {
				skip, _ := slices.BinarySearch(times[slot:], t)
				slot += skip
			}
			f(slot, values[i])
			slot++
		}
	}
}

// union is every time of every series once, ascending, in a new slice.
func union(series []tsdb.Points) []tsdb.Millis {
	switch len(series) {
	case 0:
		return nil
	case 1:
		return slices.Clone(series[0].Times)
	}
	half := len(series) / 2
	a, b := union(series[:half]), union(series[half:])
	if slices.Equal(a, b) {
		return a
	}
	merged := make([]tsdb.Millis, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		next := min(a[0], b[0])
		merged = append(merged, next)
		if a[0] == next {
			a = a[1:]
		}
		if b[0] == next {
			b = b[1:]
		}
	}
	return append(append(merged, a...), b...)
}
