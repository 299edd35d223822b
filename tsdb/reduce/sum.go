package reduce

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/population"
)

// sumReducer is REDUCE_SUM: the sum of the values at a time.
//
//   - Source: "the sum across time series for each alignment period."
//   - Valid for DELTA and GAUGE series with numeric and distribution values;
//     value type and kind stay (the API).
//   - Distributions are merged: distribution.Merge.
//   - Gaps: a series without a point at the time adds nothing, so that the sum
//     falls while a device is silent; REDUCE_COUNT beside it tells.
type sumReducer struct{}

func (sumReducer) name() string { return "REDUCE_SUM" }

func (sumReducer) value(values []float64) float64 { return population.Sum(values) }

func (sumReducer) merge(of []*tsdb.Distribution) *tsdb.Distribution { return distribution.Merge(of...) }
