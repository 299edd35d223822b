package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// sumAligner is ALIGN_SUM: the sum of the window's values.
//
//   - Source: "Align the time series by returning the sum of the values in
//     each alignment period."
//   - Valid for GAUGE and DELTA metrics with numeric and distribution values;
//     the value type stays (the API). The kind stays too: a sum of changes is the change over
//     the window.
//   - Distributions are merged: the sum is that of their counts, not of their
//     values.
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time.
//   - A single point is its own sum.
type sumAligner struct{}

func (sumAligner) name() string { return "ALIGN_SUM" }

func (sumAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (sumAligner) distribution(w *window) *tsdb.Distribution {
	return distribution.Merge(w.distributions...)
}

func (a sumAligner) value(w *window) (float64, bool) { return a.of(w.values), true }

func (sumAligner) of(values []float64) float64 { return population.Sum(values) }
