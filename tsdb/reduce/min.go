package reduce

import "slices"

// minReducer is REDUCE_MIN: the smallest of the values at a time.
//
//   - Source: "the minimum value across time series for each alignment
//     period."
//   - Valid for DELTA and GAUGE series with numeric values; value type and
//     kind stay (the API).
//   - Gaps: of the series that have a point at the time.
type minReducer struct{}

func (minReducer) name() string { return "REDUCE_MIN" }

func (minReducer) value(values []float64) float64 { return slices.Min(values) }
