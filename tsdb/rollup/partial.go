package rollup

import (
	"math"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// Partial is what is known of some points that follow each other in one series:
// enough that two Partials can be made one as if their points had been looked at
// together, and that an aligner can be answered. Of several series only the
// fields that do not depend on an order mean something.
type Partial struct {
	// Count is how many points there are; the others mean nothing when it is 0.
	Count float64
	// Sum is their sum, M2 the sum of the squared deviations from their mean.
	Sum, M2 float64
	// Min and Max are the least and the greatest value.
	Min, Max float64
	// True is how many are not zero.
	True float64
	// First and Last are the values of the first and the last point, FirstAt
	// and LastAt their times.
	First, Last     float64
	FirstAt, LastAt tsdb.Millis
	// Increase is how much a counter grew from First to Last, resets counted
	// as tsdb/align does.
	Increase float64
	// Distributions are what is known of points that are distributions, of
	// which only the count and the times are above; nil of numbers.
	Distributions *Distributions
}

// Of is the Partial of points, which are in ascending order of time.
func Of(times []tsdb.Millis, values []float64) Partial {
	if len(values) == 0 {
		return Partial{}
	}
	n := len(values)
	p := Partial{
		Count: float64(n), Sum: population.Sum(values), Min: values[0], Max: values[0], True: float64(population.True(values)),
		First: values[0], Last: values[n-1], FirstAt: times[0], LastAt: times[n-1],
	}
	mean, last := p.Sum/p.Count, p.First
	for _, v := range values {
		p.M2 += (v - mean) * (v - mean)
		p.Min, p.Max = min(p.Min, v), max(p.Max, v)
		p.Increase += growth(last, v)
		last = v
	}
	return p
}

// growth is how much a counter grew between two points: after a reset it began
// again at zero.
func growth(from, to float64) float64 {
	if to < from {
		return to
	}
	return to - from
}

// Add makes p the Partial of its points and those of q, which are later.
func (p *Partial) Add(q *Partial) {
	switch {
	case q.Count == 0:
		return
	case p.Count == 0:
		*p = *q
		return
	}
	if q.Distributions != nil {
		p.Distributions = p.Distributions.with(q.Distributions)
	}
	apart := q.Sum/q.Count - p.Sum/p.Count
	p.M2 += q.M2 + apart*apart*p.Count*q.Count/(p.Count+q.Count)
	p.Increase += growth(p.Last, q.First) + q.Increase
	p.Count += q.Count
	p.Sum += q.Sum
	p.Min, p.Max = min(p.Min, q.Min), max(p.Max, q.Max)
	p.True += q.True
	p.Last, p.LastAt = q.Last, q.LastAt
}

// Point is the Partial of one point.
func Point(at tsdb.Millis, v float64) Partial {
	p := Partial{Count: 1, Sum: v, Min: v, Max: v, First: v, Last: v, FirstAt: at, LastAt: at}
	if v != 0 {
		p.True = 1
	}
	return p
}

// Before is the last point before a window, if there is one to measure from.
type Before struct {
	At    tsdb.Millis
	Value float64
	Known bool
}

// Value is what a method makes of the points of a window of that width, as its
// aligner would, or false when they do not determine a value.
func (m Method) Value(p *Partial, width tsdb.Millis, before Before) (float64, bool) {
	if p.Count == 0 {
		return 0, false
	}
	v, ok := m.value(p, width, before)
	return v, ok && !math.IsNaN(v)
}

// Method is what a rollup can answer: an aligner, of metrics of one kind.
type Method struct {
	// Aligner is the API's name.
	Aligner string
	// Needs are the fields of a Partial that it is computed from.
	Needs Fields
	// Reducers are those that may be applied to the values of all series in
	// one go with the aligner, none when there is no such one: the value of
	// points of several series is then what the reducer makes of each one's
	// value.
	Reducers []string
	// Before says that it measures from the last point before the window.
	Before bool
	value  func(p *Partial, width tsdb.Millis, before Before) (float64, bool)
}

// MethodOf is the method of an aligner for metrics of a kind and value type, or
// false when rollups cannot answer it. Whether it is valid for the metric is the
// business of tsdb/validity.
func MethodOf(aligner string, kind tsdb.MetricKind, valueType tsdb.ValueType) (Method, bool) {
	all := methods
	switch {
	case valueType == tsdb.Distributed && kind == tsdb.Cumulative:
		all = growing
	case valueType == tsdb.Distributed:
		all = merging
	case kind == tsdb.Cumulative:
		all = counters
	}
	m, ok := all[aligner]
	m.Aligner = aligner
	return m, ok
}

// always is a value that every window with points has.
func always(f func(p *Partial) float64) func(*Partial, tsdb.Millis, Before) (float64, bool) {
	return func(p *Partial, _ tsdb.Millis, _ Before) (float64, bool) { return f(p), true }
}

// sum is the sum of the points.
func sum(p *Partial) float64 { return p.Sum }

// methods are those for GAUGE and DELTA metrics.
var methods = map[string]Method{
	"ALIGN_COUNT":       {Needs: Count, Reducers: []string{"REDUCE_SUM"}, value: always(func(p *Partial) float64 { return p.Count })},
	"ALIGN_SUM":         {Needs: Sum, Reducers: []string{"REDUCE_SUM"}, value: always(sum)},
	"ALIGN_MEAN":        {Needs: Count | Sum, value: always(func(p *Partial) float64 { return p.Sum / p.Count })},
	"ALIGN_MIN":         {Needs: Min, Reducers: []string{"REDUCE_MIN"}, value: always(func(p *Partial) float64 { return p.Min })},
	"ALIGN_MAX":         {Needs: Max, Reducers: []string{"REDUCE_MAX"}, value: always(func(p *Partial) float64 { return p.Max })},
	"ALIGN_STDDEV":      {Needs: Count | Sum | M2, value: always(func(p *Partial) float64 { return math.Sqrt(p.M2 / p.Count) })},
	"ALIGN_COUNT_TRUE":  {Needs: True, Reducers: []string{"REDUCE_SUM"}, value: always(func(p *Partial) float64 { return p.True })},
	"ALIGN_COUNT_FALSE": {Needs: Count | True, Reducers: []string{"REDUCE_SUM"}, value: always(func(p *Partial) float64 { return p.Count - p.True })},
	"ALIGN_FRACTION_TRUE": {Needs: Count | True, value: always(func(p *Partial) float64 {
		return p.True / p.Count
	})},
	"ALIGN_NEXT_OLDER": {Needs: Last, value: always(func(p *Partial) float64 { return p.Last })},
	"ALIGN_DELTA":      {Needs: Sum, Reducers: []string{"REDUCE_SUM"}, value: always(sum)},
	"ALIGN_RATE": {Needs: Sum, Reducers: []string{"REDUCE_SUM"}, value: func(p *Partial, width tsdb.Millis, _ Before) (float64, bool) {
		return p.Sum * 1000 / float64(width), true
	}},
}

// counters are those for CUMULATIVE metrics.
var counters = map[string]Method{
	"ALIGN_NEXT_OLDER": methods["ALIGN_NEXT_OLDER"],
	"ALIGN_DELTA": {Needs: First | Last | FirstAt | LastAt | Increase, Before: true, value: func(p *Partial, _ tsdb.Millis, before Before) (float64, bool) {
		total, _, ok := p.increase(before)
		return total, ok
	}},
	"ALIGN_RATE": {Needs: First | Last | FirstAt | LastAt | Increase, Before: true, value: func(p *Partial, _ tsdb.Millis, before Before) (float64, bool) {
		total, over, ok := p.increase(before)
		return total * 1000 / float64(over), ok
	}},
}

// increase is how much a counter grew up to the last point, and over how many
// milliseconds; false when one point is all there is.
func (p *Partial) increase(before Before) (total float64, over tsdb.Millis, ok bool) {
	if before.Known {
		return growth(before.Value, p.First) + p.Increase, p.LastAt - before.At, true
	}
	return p.Increase, p.LastAt - p.FirstAt, p.FirstAt != p.LastAt
}
