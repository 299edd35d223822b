package reduce

import (
	"slices"

	"selvedge.dev/tsdb"
)

// minReducer is REDUCE_MIN: the smallest of the values at a time. Valid for
// DELTA and GAUGE series with numeric values; kind and value type stay (the
// API).
type minReducer struct{}

func (minReducer) name() string { return "REDUCE_MIN" }

func (minReducer) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return reducible(kind) && numeric(valueType)
}

func (minReducer) describe(*tsdb.Series) {}

func (minReducer) value(values []float64) float64 { return slices.Min(values) }
