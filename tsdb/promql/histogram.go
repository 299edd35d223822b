package promql

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"

	"selvedge.dev/tsdb"
)

// bucketLabel is the label that holds the upper bound of a bucket.
const bucketLabel = "le"

// bucket is one of a classic histogram: how many values are at most its upper
// bound.
type bucket struct{ upper, count float64 }

// histogram is the buckets of one histogram: the column and the bound of each.
type histogram struct {
	labels  tsdb.Labels
	uppers  []float64
	columns []column
}

// histogramQuantile estimates quantiles of classic histograms.
func histogramQuantile(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	q, err := ev.eval(ctx, c.args[0], g)
	if err != nil {
		return value{}, err
	}
	of, err := ev.eval(ctx, c.args[1], g)
	if err != nil {
		return value{}, err
	}
	index := map[string]*histogram{}
	var all []*histogram
	for _, col := range of.vector {
		le, _ := col.labels.Get(bucketLabel)
		upper, err := strconv.ParseFloat(le, 64)
		if err != nil || math.IsNaN(upper) {
			continue // not a bucket
		}
		// Histograms of two metrics are two, and an error if nothing else
		// tells them apart.
		labels := without(col.labels, []string{bucketLabel})
		key := labelsKey(labels)
		h := index[key]
		if h == nil {
			h = &histogram{labels: labels}
			index[key] = h
			all = append(all, h)
		}
		h.uppers, h.columns = append(h.uppers, upper), append(h.columns, col)
	}
	made := make([]column, 0, len(all))
	var buckets []bucket
	for _, h := range all {
		values, err := ev.column(ctx, g)
		if err != nil {
			return value{}, err
		}
		for i := range values {
			buckets = buckets[:0]
			for b, col := range h.columns {
				if v := col.values[i]; !missing(v) {
					buckets = append(buckets, bucket{h.uppers[b], v})
				}
			}
			if len(buckets) > 0 {
				values[i] = bucketQuantile(q.scalar[i], buckets)
			}
		}
		made = append(made, column{nameless(h.labels), values})
	}
	made, err = merge(made)
	return value{vector: made}, err
}

// bucketQuantile is the q-quantile of a classic histogram, by linear
// interpolation in the bucket that it falls into. It reorders the buckets.
func bucketQuantile(q float64, buckets []bucket) float64 {
	switch {
	case math.IsNaN(q):
		return math.NaN()
	case q < 0:
		return math.Inf(-1)
	case q > 1:
		return math.Inf(1)
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.upper, b.upper) })
	if !math.IsInf(buckets[len(buckets)-1].upper, 1) {
		return math.NaN()
	}
	buckets = monotonic(coalesce(buckets))
	n := len(buckets)
	if n < 2 || buckets[n-1].count == 0 || math.IsNaN(buckets[n-1].count) {
		return math.NaN()
	}
	rank := q * buckets[n-1].count
	b, _ := slices.BinarySearchFunc(buckets[:n-1], rank, func(b bucket, r float64) int {
		if b.count >= r {
			return 1
		}
		return -1
	})
	switch {
	case b == n-1:
		return buckets[n-2].upper
	case b == 0 && buckets[0].upper <= 0:
		return buckets[0].upper
	}
	start, count := 0.0, buckets[b].count
	if b > 0 {
		start = buckets[b-1].upper
		count -= buckets[b-1].count
		rank -= buckets[b-1].count
	}
	return start + (buckets[b].upper-start)*(rank/count)
}

// coalesce adds the counts of buckets with the same bound.
func coalesce(buckets []bucket) []bucket {
	kept := buckets[:1]
	for _, b := range buckets[1:] {
		if last := &kept[len(kept)-1]; b.upper == last.upper {
			last.count += b.count
		} else {
			kept = append(kept, b)
		}
	}
	return kept
}

// monotonic raises counts that are below the one before them: the buckets of
// one instant may be of different scrapes. Differences within the error of
// floats are no differences.
func monotonic(buckets []bucket) []bucket {
	const tolerance = 1e-12
	previous := buckets[0].count
	for i := 1; i < len(buckets); i++ {
		c := buckets[i].count
		small := c == previous || math.Abs(c-previous) < tolerance*(math.Abs(c)+math.Abs(previous))
		if small || c < previous {
			buckets[i].count = previous
			continue
		}
		previous = c
	}
	return buckets
}
