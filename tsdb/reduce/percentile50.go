package reduce

import "selvedge.dev/tsdb/population"

// percentile50Reducer is REDUCE_PERCENTILE_50: the median of the values at a
// time.
//
//   - Source: "the 50th percentile of data points across time series for each
//     alignment period."
//   - Valid for DELTA and GAUGE series with numeric values; the value is
//     DOUBLE (the API) and the kind stays.
//   - Between two values it is interpolated by rank: population.Percentile.
//   - Gaps: of the series that have a point at the time; one alone is its own
//     percentile.
type percentile50Reducer struct{}

func (percentile50Reducer) name() string { return "REDUCE_PERCENTILE_50" }

func (percentile50Reducer) value(values []float64) float64 { return population.Percentile(values, 50) }
