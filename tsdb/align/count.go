package align

import "selvedge.dev/tsdb"

// countAligner is ALIGN_COUNT: how many points the window has.
//
//   - Valid for GAUGE and DELTA metrics with numeric or Boolean values; the
//     value is INT64 (the API). The result is GAUGE and has the unit "1".
//   - Gaps: windows without points give none, not a zero: that nothing came
//     is told by the missing point.
//   - Resets: do not exist for these kinds.
//   - A single point counts one.
type countAligner struct{}

func (countAligner) name() string { return "ALIGN_COUNT" }

func (countAligner) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return measured(kind) && (numeric(valueType) || valueType == tsdb.Bool)
}

func (countAligner) describe(s *tsdb.Series) {
	s.Kind, s.ValueType, s.Unit = tsdb.Gauge, tsdb.Int64, "1"
}

func (countAligner) value(w *window) (float64, bool) { return float64(len(w.values)), true }
