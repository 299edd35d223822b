package promql

import (
	"cmp"
	"errors"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Functions and operators drop the names of metrics, and fail when nothing else
// tells two results apart. A query that fails so is evaluated once more with the
// names only marked, as by Prometheus with the flag promql-delayed-name-removal:
// aggregations, matches and functions of labels still see them, and what is marked is
// removed at the end.
//
// Prometheus then still fails for sum by (__name__) (rate({job="a"}[5m])). Here, if
// the answer cannot do without them, names that an aggregation asks for stay.

// nameMark is what is to become of the name of a series.
type nameMark byte

// What becomes of names, the less of them stays the greater.
const (
	// nameStays: nothing dropped it.
	nameStays nameMark = iota
	// nameAsked: it was dropped before an aggregation by it.
	nameAsked
	// nameDropped: a function or an operator dropped it.
	nameDropped
)

// after is the mark after a function of labels set a label.
func (m nameMark) after(label string) nameMark {
	if label == nameLabel {
		return nameStays
	}
	return m
}

// alikeError says that two results have the same labels.
type alikeError struct{}

// Error says so in the words of Prometheus.
func (*alikeError) Error() string { return "vector cannot contain metrics with the same labelset" }

// sameLabels is the fault of a query of which two results have the same labels.
func sameLabels() error {
	return &fault.Error{Op: "promql.Query", Kind: fault.Invalid, Reason: ReasonExecution, Field: "query", Err: &alikeError{}}
}

// nameless is c after its name was dropped.
func (ev *evaluation) nameless(c column) column {
	if ev.delayed {
		c.name = nameDropped
	} else {
		c.labels = nameless(c.labels)
	}
	return c
}

// merge is merge of what an operation made. With delayed removal Prometheus leaves
// two results of a single instant with the same labels as they are.
func (ev *evaluation) merge(columns []column) ([]column, error) {
	if ev.delayed && ev.single {
		return columns, nil
	}
	return merge(columns)
}

// early is what over tells about each result, and fails as soon as two are the same
// but for their names, so that not everything is read in vain.
func (ev *evaluation) early(c rangeCall) func(column) error {
	if s, ok := c.of.(*selector); !ok || s.name != "" || c.keep || ev.delayed {
		return func(column) error { return nil }
	}
	taken := map[string][]bool{}
	return func(c column) error {
		if !take(taken, labelsKey(nameless(c.labels)), c.values) {
			return sameLabels()
		}
		return nil
	}
}

// name is the mark of a group with those values: as at its last step in Prometheus.
func (n *aggregation) name(members []column, values []float64) nameMark {
	mark := nameStays
	for i := len(values) - 1; i >= 0; i-- {
		if missing(values[i]) {
			continue
		}
		for _, m := range members {
			if !missing(m.values[i]) {
				mark = max(mark, m.name)
			}
		}
		break
	}
	if mark == nameDropped && !n.without && slices.Contains(n.labels, nameLabel) {
		return nameAsked
	}
	return mark
}

// begins is the first step with a value.
func begins(values []float64) int {
	for i, v := range values {
		if !missing(v) {
			return i
		}
	}
	return len(values)
}

// named is the value of a query with its names removed: all that were dropped, or,
// if that makes two results the same, those that no aggregation asked for.
func (ev *evaluation) named(v value, g grid) (value, error) {
	if !ev.delayed {
		return v, nil
	}
	made, err := v.without(g, nameAsked)
	if alike := (*alikeError)(nil); errors.As(err, &alike) {
		return v.without(g, nameDropped)
	}
	return made, err
}

// without is v without the names whose mark is at least that, of a range vector
// what the only step of g sees.
func (v value) without(g grid, least nameMark) (value, error) {
	labels := func(ls tsdb.Labels, m nameMark) tsdb.Labels {
		if m >= least {
			return nameless(ls)
		}
		return ls
	}
	columns := make([]column, len(v.vector))
	for i, c := range v.vector {
		columns[i] = column{labels: labels(c.labels, c.name), values: c.values}
	}
	sources := make([]source, len(v.ranges.series))
	for i, s := range v.ranges.series {
		sources[i] = s.between(v.ranges.span(g, 0))
		sources[i].labels = labels(s.labels, s.name)
	}
	var err error
	if v.ranges.series, err = mergeSources(sources); err != nil {
		return v, err
	}
	v.vector, err = merge(columns)
	return v, err
}

// sample is a value and its time.
type sample struct {
	time  int64
	value float64
}

// mergeSources joins sources with equal labels. Two values at one time are an
// error.
func mergeSources(sources []source) ([]source, error) {
	slices.SortStableFunc(sources, func(a, b source) int { return compareLabels(a.labels, b.labels) })
	var kept []source
	for len(sources) > 0 {
		n := 1
		for n < len(sources) && compareLabels(sources[0].labels, sources[n].labels) == 0 {
			n++
		}
		var all []sample
		for _, s := range sources[:n] {
			for i, t := range s.times {
				all = append(all, sample{t, s.values[i]})
			}
		}
		slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.time, b.time) })
		into := source{labels: sources[0].labels}
		for i, one := range all {
			if i > 0 && all[i-1].time == one.time {
				return nil, sameLabels()
			}
			into.times, into.values = append(into.times, one.time), append(into.values, one.value)
		}
		kept, sources = append(kept, into), sources[n:]
	}
	return kept, nil
}
