package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// percentile95Aligner is ALIGN_PERCENTILE_95: the value that 95 in 100 of the
// window's values are below.
//
//   - Source: "The resulting data point in each alignment period is the 95th
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
type percentile95Aligner struct{}

func (percentile95Aligner) name() string { return "ALIGN_PERCENTILE_95" }

func (percentile95Aligner) reads(g Grid) tsdb.Interval { return g.own() }

func (percentile95Aligner) value(w *window) (float64, bool) {
	if w.distributions != nil {
		return distribution.Percentile(distribution.Merge(w.distributions...), 95), true
	}
	return population.Percentile(w.reorderable(), 95), true
}
