package reduce

import "selvedge.dev/tsdb"

// countReducer is REDUCE_COUNT: how many series have a point at a time. Valid
// for DELTA and GAUGE series of every value type; the value is INT64 (the
// API), the kind GAUGE and the unit "1".
type countReducer struct{}

func (countReducer) name() string { return "REDUCE_COUNT" }

func (countReducer) accepts(kind tsdb.MetricKind, _ tsdb.ValueType) bool { return reducible(kind) }

func (countReducer) describe(s *tsdb.Series) {
	s.Kind, s.ValueType, s.Unit = tsdb.Gauge, tsdb.Int64, "1"
}

func (countReducer) value(values []float64) float64 { return float64(len(values)) }
