package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// meanAligner is ALIGN_MEAN: the arithmetic mean of the window's values. It
// weighs points, not time.
//
//   - Source: "Align the time series by returning the mean value in each
//     alignment period."
//   - Valid for GAUGE and DELTA metrics with numeric values; the value is
//     DOUBLE (the API). The result is GAUGE: the mean of changes is no change.
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time.
//   - A single point is its own mean.
type meanAligner struct{}

func (meanAligner) name() string { return "ALIGN_MEAN" }

func (meanAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (a meanAligner) value(w *window) (float64, bool) { return a.of(w.values), true }

func (meanAligner) of(values []float64) float64 { return population.Mean(values) }
