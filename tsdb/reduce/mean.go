package reduce

import "selvedge.dev/tsdb"

// meanReducer is REDUCE_MEAN: the arithmetic mean of the values at a time,
// every series weighing the same, whatever number of points was aligned into
// its value. Valid for DELTA and GAUGE series with numeric values; the value
// is DOUBLE (the API) and the kind stays.
type meanReducer struct{}

func (meanReducer) name() string { return "REDUCE_MEAN" }

func (meanReducer) accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return reducible(kind) && numeric(valueType)
}

func (meanReducer) describe(s *tsdb.Series) { s.ValueType = tsdb.Double }

func (meanReducer) value(values []float64) float64 { return sum(values) / float64(len(values)) }
