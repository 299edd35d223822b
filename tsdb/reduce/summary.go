package reduce

import (
	"math"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// summaryReducer is REDUCE_SUMMARY: the distribution of the values at a time.
//
//   - Source: SPEKTRA Edge's monitoring service, which has it beside the API's
//     reducers; see ALIGN_SUMMARY.
//   - Valid for DELTA and GAUGE series with numeric and distribution values; the
//     result is GAUGE and DISTRIBUTION.
//   - Numbers: dynamic buckets (distribution.Summarize). Distributions are
//     merged.
//   - Gaps: over the series that have a point at the time.
type summaryReducer struct{}

func (summaryReducer) name() string { return "REDUCE_SUMMARY" }

func (summaryReducer) value([]float64) float64 { panic("BUG: a summary is no number") }

func (summaryReducer) merge(of []*tsdb.Distribution) *tsdb.Distribution {
	return distribution.Merge(of...)
}

// summaries are the distributions of the runs of values that end at ends.
func summaries(times []tsdb.Millis, runs []float64, ends []int) tsdb.Points {
	var out tsdb.Points
	start := 0
	for slot, end := range ends {
		d := distribution.Summarize(runs[start:end]...)
		start = end
		if sum := d.Mean + d.SumOfSquaredDeviation; !math.IsNaN(sum - sum) { // no infinities either
			out.Times, out.Distributions = append(out.Times, times[slot]), append(out.Distributions, d)
		}
	}
	return out
}
