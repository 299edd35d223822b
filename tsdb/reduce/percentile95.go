package reduce

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// percentile95Reducer is REDUCE_PERCENTILE_95: the value that 95 in 100 of the
// values at a time are below.
//
//   - Source: "the 95th percentile of data points across time series for each
//     alignment period."
//   - Valid for DELTA and GAUGE series with numeric and distribution values; the
//     value is DOUBLE (the API). The kind of numbers stays.
//   - Distributions are merged, and the percentile is that of the buckets, as
//     GAUGE, since it is no change: distribution.Percentile.
//   - Between two values it is interpolated by rank: population.Percentile.
//   - Gaps: of the series that have a point at the time; one alone is its own
//     percentile.
type percentile95Reducer struct{}

func (percentile95Reducer) name() string { return "REDUCE_PERCENTILE_95" }

func (percentile95Reducer) value(values []float64) float64 { return population.Percentile(values, 95) }

func (percentile95Reducer) measure(of []*tsdb.Distribution) float64 {
	return distribution.Percentile(distribution.Merge(of...), 95)
}
