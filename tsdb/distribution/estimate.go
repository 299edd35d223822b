package distribution

import "selvedge.dev/tsdb"

// Estimate sets the sum of squared deviation of a histogram that comes without
// one, as if all values of a bucket were in its middle, as far as the range
// tells; and the mean likewise, unless it is known. It changes d.
func Estimate(d *tsdb.Distribution, meanKnown bool) {
	if d.Count == 0 || d.Buckets.Kind == tsdb.NoBuckets {
		return
	}
	middles := centroids(d)
	if !meanKnown {
		d.Mean = 0
		before := 0.0
		for _, c := range middles {
			n := float64(c.count)
			d.Mean = weighted(d.Mean, before, c.mean, n)
			before += n
		}
	}
	d.SumOfSquaredDeviation = 0
	for _, c := range middles {
		d.SumOfSquaredDeviation += float64(c.count) * (c.mean - d.Mean) * (c.mean - d.Mean)
	}
}
