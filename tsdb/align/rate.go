package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/population"
)

// rateAligner is ALIGN_RATE: the change over the window, per second.
//
//   - Source: "The result is computed as rate = (y1 - y0)/(t1 - t0)".
//   - Valid for CUMULATIVE and DELTA metrics with numeric values, not for
//     GAUGE; the result is GAUGE and DOUBLE (the API) and has the unit of the
//     metric per second, "By/s". An unknown unit stays unknown.
//   - CUMULATIVE: (y1 - y0) / (t1 - t0), where y1 - y0 is the increase that
//     ALIGN_DELTA counts, t1 the time of the window's last point and t0 the
//     time of the point that was measured from. Dividing by the time between
//     the points, not by the period, keeps the rate right when points do not
//     fall on the edges; the API interpolates to the edges for the same end.
//   - DELTA: the sum of the window's values divided by the period.
//   - Gaps: an empty window gives no point. Where points resume the rate is
//     the mean rate since the last point before the gap.
//   - Resets: as ALIGN_DELTA.
//   - A single point of a CUMULATIVE metric with none before it gives none.
//   - Edges: a point exactly on the window's start is the one measured from.
//   - Late data counts as if it had come in time; see ALIGN_DELTA.
type rateAligner struct{}

func (rateAligner) name() string { return "ALIGN_RATE" }

func (rateAligner) reads(g Grid) tsdb.Interval { return deltaAligner{}.reads(g) }

func (rateAligner) value(w *window) (float64, bool) {
	if w.kind == tsdb.Delta {
		return population.Sum(w.values) * 1000 / float64(w.period), true
	}
	total, over, ok := w.increase()
	if !ok {
		return 0, false
	}
	return total * 1000 / float64(over), true
}
