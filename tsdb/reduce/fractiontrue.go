package reduce

import "selvedge.dev/tsdb/population"

// fractionTrueReducer is REDUCE_FRACTION_TRUE: which part of the series is
// true at a time, from 0 to 1.
//
//   - Source: "the ratio of the number of True-valued data points to the total
//     number of data points for each alignment period."
//   - Valid for DELTA and GAUGE series with Boolean values, which only
//     ALIGN_NEXT_OLDER makes; the value is DOUBLE (the API), the kind GAUGE
//     and the unit "1".
//   - Gaps: of the series that have a point at the time.
type fractionTrueReducer struct{}

func (fractionTrueReducer) name() string { return "REDUCE_FRACTION_TRUE" }

func (fractionTrueReducer) value(values []float64) float64 {
	return float64(population.True(values)) / float64(len(values))
}
