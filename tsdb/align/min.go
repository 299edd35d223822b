package align

import (
	"slices"

	"selvedge.dev/tsdb"
)

// minAligner is ALIGN_MIN: the smallest of the window's values.
//
//   - Source: "Align the time series by returning the minimum value in each
//     alignment period."
//   - Valid for GAUGE and DELTA metrics with numeric values; the value type
//     stays (the API). The result is GAUGE: the smallest change is no longer
//     the change over the window.
//   - Gaps: windows without points give none.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time.
//   - A single point is its own minimum.
type minAligner struct{}

func (minAligner) name() string { return "ALIGN_MIN" }

func (minAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (a minAligner) value(w *window) (float64, bool) { return a.of(w.values), true }

func (minAligner) of(values []float64) float64 { return slices.Min(values) }
