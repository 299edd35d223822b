package distribution

import (
	"cmp"
	"math"
	"slices"

	"selvedge.dev/tsdb"
)

// Compression is that of the summaries that are made here: some hundred
// centroids at most, percentiles to about a hundredth of a percent of the rank
// at the ends, and every value of up to 60 kept as it is.
const Compression = 100

// summary is the layout of summaries.
var summary = tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: Compression}

// Summarize is the distribution of values with dynamic buckets.
func Summarize(values ...float64) *tsdb.Distribution { return Of(summary, values...) }

// centroid is the mean of some values, and how many they are.
type centroid struct {
	mean  float64
	count int64
}

// summarize gives d the centroids of values.
func summarize(d *tsdb.Distribution, values []float64) {
	all := make([]centroid, len(values))
	for i, v := range values {
		all[i] = centroid{v, 1}
	}
	setCentroids(d, all)
}

// mergeDigests makes a dynamic with what b has too.
func mergeDigests(a, b *tsdb.Distribution) {
	all := append(centroids(a), centroids(b)...)
	switch {
	case a.Buckets.Kind != tsdb.DynamicBuckets:
		a.Buckets.Compression = b.Buckets.Compression
	case b.Buckets.Kind == tsdb.DynamicBuckets:
		a.Buckets.Compression = min(a.Buckets.Compression, b.Buckets.Compression)
	}
	setCentroids(a, all)
}

// centroids are those of d. Values of which nothing but the bucket is known lie
// in its middle, as far as the range tells, and all in their mean if there is
// no histogram.
func centroids(d *tsdb.Distribution) []centroid {
	var out []centroid
	switch d.Buckets.Kind {
	case tsdb.NoBuckets:
		return []centroid{{d.Mean, d.Count}}
	case tsdb.DynamicBuckets:
		for i, n := range d.Counts {
			if n > 0 {
				out = append(out, centroid{d.Buckets.Bounds[i], n})
			}
		}
		return out
	}
	bounds := Bounds(&d.Buckets)
	for i, n := range d.Counts {
		if n > 0 {
			low, high := ends(d, bounds, i)
			out = append(out, centroid{low + (high-low)/2, n})
		}
	}
	return out
}

// setCentroids gives d dynamic buckets with what is left of centroids when they
// are merged as the t-digest does it: neighbours become one as long as that is
// not more than one step on the scale k(q) = c/2π·asin(2q-1), whose steps are
// small at both ends, so that what is rare stays sharp.
func setCentroids(d *tsdb.Distribution, all []centroid) {
	slices.SortFunc(all, func(a, b centroid) int { return cmp.Or(cmp.Compare(a.mean, b.mean), cmp.Compare(a.count, b.count)) })
	total := int64(0)
	for _, c := range all {
		total += c.count
	}
	c := d.Buckets.Compression
	scale := func(n int64) float64 {
		return c / (2 * math.Pi) * math.Asin(min(1, max(-1, 2*float64(n)/float64(total)-1)))
	}
	d.Buckets = tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: c}
	d.Counts = nil
	before := int64(0) // how many values are behind the centroid that is being filled
	last := centroid{}
	flush := func() {
		if last.count > 0 {
			d.Buckets.Bounds = append(d.Buckets.Bounds, last.mean)
			d.Counts = append(d.Counts, last.count)
		}
	}
	for _, next := range all {
		if last.count > 0 && scale(before+last.count+next.count)-scale(before) <= 1 {
			last.mean = weighted(last.mean, float64(last.count), next.mean, float64(next.count))
			last.count += next.count
			continue
		}
		flush()
		before += last.count
		last = next
	}
	flush()
}

// digestPercentile is the percentile of a distribution with dynamic buckets. A
// centroid stands at the middle one of the ranks of its values, the range at
// the first and the last, and between two of them it is linear: of values that
// are all there it is population.Percentile.
func digestPercentile(d *tsdb.Distribution, percent int) float64 {
	if len(d.Counts) == 0 {
		return math.NaN()
	}
	rank := float64(percent) * float64(d.Count-1) / 100
	at, v := -1.0, 0.0 // the last place that is known, and the value there
	if d.Range != nil {
		at, v = 0, d.Range.Min
	}
	before := int64(0)
	step := func(to, value float64) (float64, bool) {
		switch {
		case to < rank:
			at, v = to, value
			return 0, false
		case at < 0 || to <= at || value == v:
			return value, true
		}
		return v + (value-v)*((rank-at)/(to-at)), true
	}
	for i, n := range d.Counts {
		if n == 0 {
			continue
		}
		if found, ok := step(float64(before)+float64(n-1)/2, d.Buckets.Bounds[i]); ok {
			return found
		}
		before += n
	}
	if d.Range != nil {
		if found, ok := step(float64(d.Count-1), d.Range.Max); ok {
			return found
		}
	}
	return v
}
