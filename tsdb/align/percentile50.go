package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// percentile50Aligner is ALIGN_PERCENTILE_50: the median of the window's
// values.
//
//   - Source: "The resulting data point in each alignment period is the 50th
//     percentile of all data points in the period."
//   - Valid for GAUGE and DELTA metrics with numeric values; the result is
//     GAUGE and DOUBLE (the API, which names distribution values; the
//     distribution of numeric values is that of the window's points).
//   - Between two values it is interpolated by rank: population.Percentile.
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time.
//   - A single point is its own percentile.
type percentile50Aligner struct{}

func (percentile50Aligner) name() string { return "ALIGN_PERCENTILE_50" }

func (percentile50Aligner) reads(g Grid) tsdb.Interval { return g.own() }

func (percentile50Aligner) value(w *window) (float64, bool) {
	return population.Percentile(w.reorderable(), 50), true
}
