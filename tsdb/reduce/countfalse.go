package reduce

import "selvedge.dev/tsdb/population"

// countFalseReducer is REDUCE_COUNT_FALSE: how many series are false at a
// time.
//
//   - Source: "the number of False-valued data points across time series for
//     each alignment period."
//   - Valid for DELTA and GAUGE series with Boolean values, which only
//     ALIGN_NEXT_OLDER makes; the value is INT64 (the API), the kind GAUGE and
//     the unit "1".
//   - Gaps: not counted, so that it and REDUCE_COUNT_TRUE add up to
//     REDUCE_COUNT.
type countFalseReducer struct{}

func (countFalseReducer) name() string { return "REDUCE_COUNT_FALSE" }

func (countFalseReducer) value(values []float64) float64 {
	return float64(len(values) - population.True(values))
}
