package align

import (
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// summaryAligner is ALIGN_SUMMARY: the distribution of the window's values.
//
//   - Source: SPEKTRA Edge's monitoring service, which has it beside the API's
//     aligners; the API does not, so a request in the API's protobuf cannot ask
//     for it, only one in JSON.
//   - Valid for GAUGE and DELTA metrics with numeric and distribution values;
//     the result is GAUGE and DISTRIBUTION.
//   - Numbers: dynamic buckets (distribution.Summarize), count, mean, deviation
//     and range. Of up to 60 values each is there as it was.
//   - Distributions: merged, with their own buckets, since a summary of buckets
//     knows no more than they do; those of dynamic ones are dynamic.
//   - Gaps: windows without points give none, missing points inside a window
//     do not count.
//   - Resets: do not exist for these kinds.
//   - Edges: the package's; late data counts as if it had come in time.
//   - A single point is a distribution of one value.
type summaryAligner struct{}

func (summaryAligner) name() string { return "ALIGN_SUMMARY" }

func (summaryAligner) reads(g Grid) tsdb.Interval { return g.own() }

func (summaryAligner) distribution(w *window) *tsdb.Distribution {
	if w.distributions != nil {
		return distribution.Merge(w.distributions...)
	}
	return distribution.Summarize(w.values...)
}

func (summaryAligner) value(*window) (float64, bool) { panic("BUG: a summary is no number") }
