package reduce

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// percentile50Reducer is REDUCE_PERCENTILE_50: the median of the values at a
// time.
//
//   - Source: "the 50th percentile of data points across time series for each
//     alignment period."
//   - Valid for DELTA and GAUGE series with numeric and distribution values; the
//     value is DOUBLE (the API). The kind of numbers stays.
//   - Distributions are merged, and the percentile is that of the buckets, as
//     GAUGE, since it is no change: distribution.Percentile.
//   - Between two values it is interpolated by rank: population.Percentile.
//   - Gaps: of the series that have a point at the time; one alone is its own
//     percentile.
type percentile50Reducer struct{}

func (percentile50Reducer) name() string { return "REDUCE_PERCENTILE_50" }

func (percentile50Reducer) value(values []float64) float64 { return population.Percentile(values, 50) }

func (percentile50Reducer) measure(of []*tsdb.Distribution) float64 {
	return distribution.Percentile(distribution.Merge(of...), 50)
}
