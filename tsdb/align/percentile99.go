package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// percentile99Aligner is ALIGN_PERCENTILE_99: the value that 99 in 100 of the
// window's values are below; nearly the greatest, but no single outlier.
//
//   - Source: "The resulting data point in each alignment period is the 99th
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
type percentile99Aligner struct{}

func (percentile99Aligner) name() string { return "ALIGN_PERCENTILE_99" }

func (percentile99Aligner) reads(g Grid) tsdb.Interval { return g.own() }

func (percentile99Aligner) value(w *window) (float64, bool) {
	if w.distributions != nil {
		return distribution.Percentile(distribution.Merge(w.distributions...), 99), true
	}
	return population.Percentile(w.reorderable(), 99), true
}
