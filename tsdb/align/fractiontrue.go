package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// fractionTrueAligner is ALIGN_FRACTION_TRUE: which part of the window's
// values is true, from 0 to 1. It weighs points, not time.
//
//   - Source: "Align the time series by returning the ratio of the number of
//     True values to the total number of values in each alignment period."
//   - Valid for GAUGE metrics with Boolean values; the value is DOUBLE (the
//     API). The result has the unit "1".
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets, edges, late data: as ALIGN_COUNT_TRUE.
type fractionTrueAligner struct{}

func (fractionTrueAligner) name() string { return "ALIGN_FRACTION_TRUE" }

func (fractionTrueAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (fractionTrueAligner) value(w *window) (float64, bool) {
	return float64(population.True(w.values)) / float64(len(w.values)), true
}
