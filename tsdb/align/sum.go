package align

import "selvedge.dev/tsdb"

// sumAligner is ALIGN_SUM: the sum of the window's values.
//
//   - Valid for GAUGE and DELTA metrics with numeric values; the value type
//     stays (the API). The kind stays too: a sum of changes is the change over
//     the window.
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets: do not exist for these kinds.
//   - A single point is its own sum.
type sumAligner struct{}

func (sumAligner) name() string { return "ALIGN_SUM" }

func (sumAligner) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return measured(kind) && numeric(valueType)
}

func (sumAligner) describe(*tsdb.Series) {}

func (sumAligner) value(w *window) (float64, bool) { return sum(w.values), true }
