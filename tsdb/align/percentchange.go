package align

import (
	"math"
	"time"

	"selvedge.dev/tsdb"
)

// smoothing is the width of the moving mean of ALIGN_PERCENT_CHANGE (the API).
const smoothing = tsdb.Millis(10 * time.Minute / time.Millisecond)

// percentChangeAligner is ALIGN_PERCENT_CHANGE: how much greater than one
// period ago the metric is, in percent.
//
//   - Source: "((current - previous)/previous) * 100, where the value of
//     previous is determined based on the alignment_period", of values that a
//     "10-minute moving mean" has smoothed.
//   - Valid for GAUGE and DELTA metrics with numeric values; the result is
//     GAUGE and DOUBLE (the API) and has the unit "%".
//   - The smoothed value of a point is the mean of the points of the ten
//     minutes up to and with it, (t - 10 min, t], whatever the period. Current
//     is that of the window's last point, previous that of the last point
//     before the window, which may be up to Lookback older than its start.
//   - Negative values are treated as missing, everywhere (the API).
//   - Zeroes: 0 if both are 0, infinity if only previous is (the API).
//   - Gaps: a window without points, or with negative ones only, gives none,
//     and so does one without a point before it. After a gap the change is
//     that since the last point before it.
//   - Resets: do not exist for these kinds.
//   - Edges: a point exactly on the window's start is before the window, and
//     so is the previous one; one on the end is the current one.
//   - Late data counts as if it had come in time: in its own window, in the
//     one after it, and in the ten minutes after it.
type percentChangeAligner struct{}

func (percentChangeAligner) name() string { return "ALIGN_PERCENT_CHANGE" }

func (percentChangeAligner) reads(g Grid) tsdb.Interval {
	return tsdb.Interval{Start: g.first() - g.Lookback() - smoothing, End: g.End}
}

func (percentChangeAligner) value(w *window) (float64, bool) {
	start := w.end - w.period
	// The previous one comes first, since what was computed last is kept.
	previous, before := w.smoothed(w.from-1, start-w.lookback)
	current, ok := w.smoothed(w.from+len(w.values)-1, start+1)
	switch {
	case !before || !ok:
		return 0, false
	case previous != 0:
		return (current - previous) / previous * 100, true
	case current == 0:
		return 0, true
	}
	return math.Inf(1), true
}

// smoothed is the smoothed value of the last point that is not negative, from
// the one with index i back to the time since, or false if there is none.
func (w *window) smoothed(i int, since tsdb.Millis) (float64, bool) {
	times, values := w.all.Times, w.all.Values
	for i >= 0 && times[i] >= since && values[i] < 0 {
		i--
	}
	if i < 0 || times[i] < since {
		return 0, false
	}
	if w.smoothedAt == i+1 { // the window before this one has computed it
		return w.smoothedValue, true
	}
	w.smoothedAt = i + 1
	total, n := 0.0, 0
	for from := times[i] - smoothing; i >= 0 && times[i] > from; i-- {
		if values[i] >= 0 {
			total += values[i]
			n++
		}
	}
	w.smoothedValue = total / float64(n)
	return w.smoothedValue, true
}
