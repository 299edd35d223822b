package reduce

import "selvedge.dev/tsdb"

// sumReducer is REDUCE_SUM: the sum of the values at a time. Valid for DELTA
// and GAUGE series with numeric values; kind and value type stay (the API).
type sumReducer struct{}

func (sumReducer) name() string { return "REDUCE_SUM" }

func (sumReducer) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return reducible(kind) && numeric(valueType)
}

func (sumReducer) describe(*tsdb.Series) {}

func (sumReducer) value(values []float64) float64 { return sum(values) }
