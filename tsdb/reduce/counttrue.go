package reduce

import "selvedge.dev/tsdb/population"

// countTrueReducer is REDUCE_COUNT_TRUE: how many series are true at a time.
//
//   - Source: "the number of True-valued data points across time series for
//     each alignment period."
//   - Valid for DELTA and GAUGE series with Boolean values, which only
//     ALIGN_NEXT_OLDER makes; the value is INT64 (the API), the kind GAUGE and
//     the unit "1".
//   - Gaps: not counted. Where all that have a point are false it is zero.
type countTrueReducer struct{}

func (countTrueReducer) name() string { return "REDUCE_COUNT_TRUE" }

func (countTrueReducer) value(values []float64) float64 { return float64(population.True(values)) }
