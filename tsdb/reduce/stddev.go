package reduce

import (
	"math"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// stddevReducer is REDUCE_STDDEV: the standard deviation of the values at a
// time, around their own mean and divided by their number, as ALIGN_STDDEV.
//
//   - Source: "the standard deviation across time series for each alignment
//     period."
//   - Valid for DELTA and GAUGE series with numeric and distribution values; the
//     value is DOUBLE (the API). The result is GAUGE, since the spread of changes is no
//     change, and has the metric's unit.
//   - Distributions: the deviation of all values that they tell of. Those
//     without values have none.
//   - Gaps: over the series that have a point at the time; one alone deviates
//     by zero.
type stddevReducer struct{}

func (stddevReducer) name() string { return "REDUCE_STDDEV" }

func (stddevReducer) value(values []float64) float64 { return population.StdDev(values) }

func (stddevReducer) measure(of []*tsdb.Distribution) float64 {
	if d := distribution.Merge(of...); d.Count > 0 {
		return math.Sqrt(d.SumOfSquaredDeviation / float64(d.Count))
	}
	return math.NaN()
}
