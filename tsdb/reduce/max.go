package reduce

import "slices"

// maxReducer is REDUCE_MAX: the greatest of the values at a time.
//
//   - Source: "the maximum value across time series for each alignment
//     period."
//   - Valid for DELTA and GAUGE series with numeric values; value type and
//     kind stay (the API).
//   - Gaps: of the series that have a point at the time.
type maxReducer struct{}

func (maxReducer) name() string { return "REDUCE_MAX" }

func (maxReducer) value(values []float64) float64 { return slices.Max(values) }
