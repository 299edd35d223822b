package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// percentile50Aligner is ALIGN_PERCENTILE_50: the median of the window's
// values.
//
//   - Source: "The resulting data point in each alignment period is the 50th
//     percentile of all data points in the period."
//   - Valid for GAUGE and DELTA metrics with distribution values; the result is
//     GAUGE and DOUBLE (the API). Here also with numeric values, whose
//     distribution is that of the window's points.
//   - Distributions are merged, and the percentile is that of the buckets:
//     distribution.Percentile.
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
	if w.distributions != nil {
		return distribution.Percentile(distribution.Merge(w.distributions...), 50), true
	}
	return population.Percentile(w.reorderable(), 50), true
}
