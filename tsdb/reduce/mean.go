package reduce

import "selvedge.dev/tsdb/population"

// meanReducer is REDUCE_MEAN: the arithmetic mean of the values at a time,
// every series weighing the same, whatever number of points was aligned into
// its value.
//
//   - Source: "the mean value across time series for each alignment period."
//   - Valid for DELTA and GAUGE series with numeric values; the value is
//     DOUBLE (the API) and the kind stays.
//   - Gaps: the mean is over the series that have a point at the time.
type meanReducer struct{}

func (meanReducer) name() string { return "REDUCE_MEAN" }

func (meanReducer) value(values []float64) float64 { return population.Mean(values) }
