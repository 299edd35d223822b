package align

import (
	"slices"

	"selvedge.dev/tsdb"
)

// maxAligner is ALIGN_MAX: the greatest of the window's values.
//
//   - Valid for GAUGE and DELTA metrics with numeric values; the value type
//     stays (the API). The result is GAUGE: the greatest change is no longer
//     the change over the window.
//   - Gaps: windows without points give none.
//   - Resets: do not exist for these kinds.
//   - A single point is its own maximum.
type maxAligner struct{}

func (maxAligner) name() string { return "ALIGN_MAX" }

func (maxAligner) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return measured(kind) && numeric(valueType)
}

func (maxAligner) describe(s *tsdb.Series) { s.Kind = tsdb.Gauge }

func (maxAligner) value(w *window) (float64, bool) { return slices.Max(w.values), true }
