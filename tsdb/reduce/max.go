package reduce

import (
	"slices"

	"selvedge.dev/tsdb"
)

// maxReducer is REDUCE_MAX: the greatest of the values at a time. Valid for
// DELTA and GAUGE series with numeric values; kind and value type stay (the
// API).
type maxReducer struct{}

func (maxReducer) name() string { return "REDUCE_MAX" }

func (maxReducer) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return reducible(kind) && numeric(valueType)
}

func (maxReducer) describe(*tsdb.Series) {}

func (maxReducer) value(values []float64) float64 { return slices.Max(values) }
