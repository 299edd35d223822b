package align

import (
	"slices"

	"selvedge.dev/tsdb"
)

// minAligner is ALIGN_MIN: the smallest of the window's values.
//
//   - Valid for GAUGE and DELTA metrics with numeric values; the value type
//     stays (the API). The result is GAUGE: the smallest change is no longer
//     the change over the window.
//   - Gaps: windows without points give none.
//   - Resets: do not exist for these kinds.
//   - A single point is its own minimum.
type minAligner struct{}

func (minAligner) name() string { return "ALIGN_MIN" }

func (minAligner) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return measured(kind) && numeric(valueType)
}

func (minAligner) describe(s *tsdb.Series) { s.Kind = tsdb.Gauge }

func (minAligner) value(w *window) (float64, bool) { return slices.Min(w.values), true }
