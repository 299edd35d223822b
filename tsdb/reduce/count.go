package reduce

import "selvedge.dev/tsdb"

// countReducer is REDUCE_COUNT: how many series have a point at a time.
//
//   - Source: "the number of data points across time series for each alignment
//     period."
//   - Valid for DELTA and GAUGE series with values of every type; the value is
//     INT64 (the API), the kind GAUGE and the unit "1".
//   - A distribution is one data point, however many values it tells of.
//   - Gaps: not counted. A time at which no series has a point gives none, not
//     a zero.
type countReducer struct{}

func (countReducer) name() string { return "REDUCE_COUNT" }

func (countReducer) value(values []float64) float64 { return float64(len(values)) }

func (countReducer) measure(of []*tsdb.Distribution) float64 { return float64(len(of)) }
