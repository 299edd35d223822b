package distribution

import (
	"math"

	"selvedge.dev/tsdb"
)

// Percentile is the value below which percent (0 to 100) of the values lie, and
// NaN when d does not say: it has no values, or neither buckets nor a range.
//
// Within a bucket the values are taken to lie evenly: of a bucket from a to b
// with n values, of which the rank r = percent/100·Count is the k-th, it is
// a + (b-a)·k/n. That is how Cloud Monitoring does it (its page "Percentiles and
// distribution-valued metrics": the 50th percentile of a single value is the
// middle of its bucket).
//
// The underflow bucket begins, and the overflow bucket ends, at the range. When
// there is none, the percentile in them is their one bound, as in Prometheus'
// histogram_quantile. The range also narrows the buckets that it ends in, so
// that no percentile is outside of it.
func Percentile(d *tsdb.Distribution, percent int) float64 {
	switch {
	case d.Count == 0:
		return math.NaN()
	case d.Range != nil && d.Range.Min == d.Range.Max:
		return d.Range.Min
	case d.Buckets.Kind == tsdb.DynamicBuckets:
		return digestPercentile(d, percent)
	}
	counts := d.Counts
	if d.Buckets.Kind == tsdb.NoBuckets {
		if d.Range == nil {
			return math.NaN()
		}
		counts = []int64{d.Count}
	}
	bounds := Bounds(&d.Buckets)
	rank := float64(percent) * float64(d.Count) / 100
	before, last := 0.0, 0.0
	for i, n := range counts {
		if n == 0 {
			continue
		}
		low, high := ends(d, bounds, i)
		if before+float64(n) >= rank {
			return low + (high-low)*((rank-before)/float64(n))
		}
		before, last = before+float64(n), high
	}
	return last
}

// ends are the lower and the upper end of bucket i as far as they are known;
// one that is not is the other.
func ends(d *tsdb.Distribution, bounds []float64, i int) (low, high float64) {
	low, high = math.Inf(-1), math.Inf(1)
	if i > 0 {
		low = bounds[i-1]
	}
	if i < len(bounds) {
		high = bounds[i]
	}
	if r := d.Range; r != nil {
		// A range that contradicts the buckets does not turn one around.
		if r.Min < high {
			low = max(low, r.Min)
		}
		if r.Max >= low {
			high = min(high, r.Max)
		}
	}
	switch {
	case math.IsInf(low, -1):
		low = high
	case math.IsInf(high, 1):
		high = low
	}
	return low, high
}
