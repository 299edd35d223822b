package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// countFalseAligner is ALIGN_COUNT_FALSE: how many of the window's values are
// false.
//
//   - Source: "Align the time series by returning the number of False values
//     in each alignment period."
//   - Valid for GAUGE metrics with Boolean values; the value is INT64 (the
//     API). The result has the unit "1".
//   - Gaps: windows without points give none; one with points that are all
//     true gives a zero.
//   - Resets, edges, late data: as ALIGN_COUNT_TRUE. The two add up to
//     ALIGN_COUNT.
type countFalseAligner struct{}

func (countFalseAligner) name() string { return "ALIGN_COUNT_FALSE" }

func (countFalseAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (countFalseAligner) value(w *window) (float64, bool) {
	return float64(len(w.values) - population.True(w.values)), true
}
