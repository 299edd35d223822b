package align

import "selvedge.dev/tsdb"

// meanAligner is ALIGN_MEAN: the arithmetic mean of the window's values. It
// weighs points, not time.
//
//   - Valid for GAUGE and DELTA metrics with numeric values; the value is
//     DOUBLE (the API). The result is GAUGE: the mean of changes is no change.
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets: do not exist for these kinds.
//   - A single point is its own mean.
type meanAligner struct{}

func (meanAligner) name() string { return "ALIGN_MEAN" }

func (meanAligner) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return measured(kind) && numeric(valueType)
}

func (meanAligner) describe(s *tsdb.Series) { s.Kind, s.ValueType = tsdb.Gauge, tsdb.Double }

func (meanAligner) value(w *window) (float64, bool) {
	return sum(w.values) / float64(len(w.values)), true
}
