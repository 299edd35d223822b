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

// nativeOnly is a function of native histograms, of which there are none here.
func nativeOnly() function {
	return function{args: []kind{vectorKind}, result: vectorKind, eval: func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		_, err := ev.eval(ctx, c.args[0], g)
		return value{}, err
	}}
}

// histograms evaluates a function of scalars and of the classic histograms in
// the vector that follows them.
func histograms(f func(params []float64, buckets []bucket, fixed *fixes) float64) evaluator {
	return func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		last := len(c.args) - 1
		scalars := make([][]float64, last)
		for i := range scalars {
			v, err := ev.eval(ctx, c.args[i], g)
			if err != nil {
				return value{}, err
			}
			scalars[i] = v.scalar
		}
		of, err := ev.eval(ctx, c.args[last], g)
		if err != nil {
			return value{}, err
		}
		if c.name == "histogram_quantile" {
			for _, q := range scalars[0] {
				ev.said.quantile(q, startOf(c.args[0]))
			}
		}
		var made []column
		var buckets []bucket
		var all fixes
		params := make([]float64, last)
		for _, h := range ev.histogramsOf(of.vector, startOf(c.args[last])) {
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
				for p := range params {
					params[p] = scalars[p][i]
				}
				if len(buckets) > 0 {
					var fixed fixes
					values[i] = f(params, buckets, &fixed)
					all.add(fixed, g.at(i))
				}
			}
			made = append(made, ev.nameless(column{labels: h.labels, values: values}))
		}
		all.note(&ev.said, startOf(c.args[last]))
		made, err = ev.merge(made)
		return value{vector: made}, err
	}
}

// histogramsOf are the histograms in columns, which are of the part of the query at
// an offset.
func (ev *evaluation) histogramsOf(columns []column, at int) []*histogram {
	index := map[string]*histogram{}
	var all []*histogram
	for _, col := range columns {
		le, _ := col.labels.Get(bucketLabel)
		upper, err := strconv.ParseFloat(le, 64)
		if err != nil || math.IsNaN(upper) {
			ev.said.note(warning, at, "bucket label %q is missing or has a malformed value of %q", bucketLabel, le)
			continue
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
	return all
}

// ordered sorts buckets by their bounds, and reports whether the last has none.
func ordered(buckets []bucket) bool {
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.upper, b.upper) })
	return math.IsInf(buckets[len(buckets)-1].upper, 1)
}

// bucketFraction is which part of the values of a classic histogram is between
// lower and upper, by linear interpolation in the buckets that they fall into. It
// reorders the buckets.
func bucketFraction(lower, upper float64, buckets []bucket) float64 {
	if !ordered(buckets) {
		return math.NaN()
	}
	buckets = coalesce(buckets)
	count := buckets[len(buckets)-1].count
	switch {
	case count == 0 || math.IsNaN(lower) || math.IsNaN(upper):
		return math.NaN()
	case lower >= upper:
		return 0
	}
	return (countBelow(upper, buckets) - countBelow(lower, buckets)) / count
}

// countBelow is how many values are below v. The first bucket begins at 0, if it
// ends above that. A bucket without end holds nothing that can be told apart.
func countBelow(v float64, buckets []bucket) float64 {
	start, below := 0.0, 0.0
	if buckets[0].upper <= 0 {
		start = math.Inf(-1)
	}
	total := buckets[len(buckets)-1].count
	for _, b := range buckets {
		switch {
		case start >= v:
			return min(below, total)
		case b.upper > v && math.IsInf(start, -1):
			return min(b.count, total)
		case b.upper > v:
			return min(below+(b.count-below)*(v-start)/(b.upper-start), total)
		}
		start, below = b.upper, b.count
	}
	return total
}

// bucketQuantile is the q-quantile of a classic histogram, by linear
// interpolation in the bucket that it falls into. It reorders the buckets.
func bucketQuantile(q float64, buckets []bucket, fixed *fixes) float64 {
	switch {
	case math.IsNaN(q):
		return math.NaN()
	case q < 0:
		return math.Inf(-1)
	case q > 1:
		return math.Inf(1)
	}
	if !ordered(buckets) {
		return math.NaN()
	}
	buckets = monotonic(coalesce(buckets), fixed)
	n := len(buckets)
	if n < 2 || buckets[n-1].count == 0 {
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
// floats are no differences. What else is raised is noted as fixed.
func monotonic(buckets []bucket, fixed *fixes) []bucket {
	const tolerance = 1e-12
	previous := buckets[0].count
	for i := 1; i < len(buckets); i++ {
		c := buckets[i].count
		small := c == previous || math.Abs(c-previous) < tolerance*(math.Abs(c)+math.Abs(previous))
		switch {
		case small:
			buckets[i].count = previous
		case c < previous:
			buckets[i].count = previous
			fixed.bucket(buckets[i].upper, previous-c)
		default:
			previous = c
		}
	}
	return buckets
}
