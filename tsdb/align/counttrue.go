package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// countTrueAligner is ALIGN_COUNT_TRUE: how many of the window's values are
// true.
//
//   - Source: "Align the time series by returning the number of True values
//     in each alignment period."
//   - Valid for GAUGE metrics with Boolean values; the value is INT64 (the
//     API). The result has the unit "1".
//   - Gaps: windows without points give none; one with points that are all
//     false gives a zero.
//   - Resets: do not exist for this kind.
//   - Edges: the package's; late data counts as if it had come in time, and a
//     point that came twice counts once. True is greater than false, so it
//     stays when both came for one time.
type countTrueAligner struct{}

func (countTrueAligner) name() string { return "ALIGN_COUNT_TRUE" }

func (countTrueAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (countTrueAligner) value(w *window) (float64, bool) {
	return float64(population.True(w.values)), true
}
