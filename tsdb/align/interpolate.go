package align

import (
	"math"

	"selvedge.dev/tsdb"
)

// interpolateAligner is ALIGN_INTERPOLATE: what the metric was at the window's
// end, on the straight line between the points around it.
//
//   - Source: "Align by interpolating between adjacent points around the
//     alignment period boundary."
//   - Valid for GAUGE metrics with numeric values; the value type stays (the
//     API). An INT64 result is rounded to the nearest whole number, halves away
//     from zero.
//   - The points are the window's last and the first one after the window,
//     which may be up to Lookback after its end.
//   - Gaps: a window without points gives none, although there is a line above
//     it: what was measured there is not known. Without a point after the
//     window there is nothing to interpolate to, and no point.
//   - Resets: do not exist for this kind.
//   - Edges: a point exactly on the window's end is the value.
//   - Late data: the newest window mostly has no value until the next point
//     comes, and a late point near an edge moves the value there.
type interpolateAligner struct{}

func (interpolateAligner) name() string { return "ALIGN_INTERPOLATE" }

func (interpolateAligner) reads(g Grid) tsdb.Interval {
	iv := g.own()
	iv.End += g.Lookback()
	return iv
}

func (interpolateAligner) value(w *window) (float64, bool) {
	last := len(w.values) - 1
	t0, y0 := w.times[last], w.values[last]
	if t0 == w.end {
		return y0, true
	}
	i, ok := w.after()
	if !ok {
		return 0, false
	}
	t1, y1 := w.all.Times[i], w.all.Values[i]
	v := y0 + (y1-y0)*float64(w.end-t0)/float64(t1-t0)
	if w.valueType == tsdb.Int64 {
		v = math.Round(v)
	}
	return v, true
}
