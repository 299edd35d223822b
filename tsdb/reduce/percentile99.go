package reduce

import "selvedge.dev/tsdb/population"

// percentile99Reducer is REDUCE_PERCENTILE_99: the value that 99 in 100 of the
// values at a time are below.
//
//   - Source: "the 99th percentile of data points across time series for each
//     alignment period."
//   - Valid for DELTA and GAUGE series with numeric values; the value is
//     DOUBLE (the API) and the kind stays.
//   - Between two values it is interpolated by rank: population.Percentile.
//   - Gaps: of the series that have a point at the time; one alone is its own
//     percentile.
type percentile99Reducer struct{}

func (percentile99Reducer) name() string { return "REDUCE_PERCENTILE_99" }

func (percentile99Reducer) value(values []float64) float64 { return population.Percentile(values, 99) }
