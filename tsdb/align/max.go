package align

import (
	"slices"

	"selvedge.dev/tsdb"
)

// maxAligner is ALIGN_MAX: the greatest of the window's values.
//
//   - Source: "Align the time series by returning the maximum value in each
//     alignment period."
//   - Valid for GAUGE and DELTA metrics with numeric values; the value type
//     stays (the API). The result is GAUGE: the greatest change is no longer
//     the change over the window.
//   - Gaps: windows without points give none.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time.
//   - A single point is its own maximum.
type maxAligner struct{}

func (maxAligner) name() string { return "ALIGN_MAX" }

func (maxAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (a maxAligner) value(w *window) (float64, bool) { return a.of(w.values), true }

func (maxAligner) of(values []float64) float64 { return slices.Max(values) }
