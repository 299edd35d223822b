package reduce

import (
	"math"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// meanReducer is REDUCE_MEAN: the arithmetic mean of the values at a time,
// every series weighing the same, whatever number of points was aligned into
// its value.
//
//   - Source: "the mean value across time series for each alignment period."
//   - Valid for DELTA and GAUGE series with numeric and distribution values; the
//     value is DOUBLE (the API). The kind of numbers stays.
//   - Distributions: the mean of all values that they tell of, as GAUGE, since
//     it is no change. Those without values have none.
//   - Gaps: the mean is over the series that have a point at the time.
type meanReducer struct{}

func (meanReducer) name() string { return "REDUCE_MEAN" }

func (meanReducer) value(values []float64) float64 { return population.Mean(values) }

func (meanReducer) measure(of []*tsdb.Distribution) float64 {
	if d := distribution.Merge(of...); d.Count > 0 {
		return d.Mean
	}
	return math.NaN()
}
