package distribution

import (
	"math"
	"slices"

	"selvedge.dev/tsdb"
)

// sameBound is how far two bounds may be apart, relative to the greater, that
// are the same one: those of exponential buckets are rounded when they are
// computed, and differ in the last digits when they are computed another way.
const sameBound = 1e-11

// Merge is the distribution of the values of all, nil for none.
//
//   - Count and range are exact; the range is known if all are.
//   - Mean and deviation: the pairwise formula of Chan et al.
//   - Buckets of one layout keep it, and their counts are added. Otherwise the
//     result has explicit buckets with the bounds that all of them have, and
//     none when there is no such bound: a value that is known to lie between two
//     of those bounds is known to lie there in all of them.
//   - With a dynamic one, the result is dynamic, with the least compression
//     there is; the buckets of the others become centroids in their middles.
//   - Of each bucket of the result the newest exemplar stays; dynamic ones have
//     none.
//   - One without values changes nothing.
//
// So the order changes nothing but rounding and dynamic buckets.
func Merge(all ...*tsdb.Distribution) *tsdb.Distribution {
	var out *tsdb.Distribution
	owned := false // whether the counts of out may be changed
	for _, d := range all {
		switch {
		case out == nil:
			out = d
		case d.Count == 0:
			if out.Count == 0 && Layout(d) > Layout(out) {
				out = d
			}
		case out.Count == 0:
			out = d
		default:
			if !owned {
				c := *out
				out, owned = &c, true
				out.Counts = slices.Clone(c.Counts)
			}
			add(out, d)
		}
	}
	if owned {
		out.Counts = trimmed(out.Counts)
	}
	return out
}

// add adds b to a, whose counts may be changed. Both have values.
func add(a, b *tsdb.Distribution) {
	addBuckets(a, b)
	a.Exemplars = newest(&a.Buckets, a.Exemplars, b.Exemplars)
	na, nb := float64(a.Count), float64(b.Count)
	delta := b.Mean - a.Mean
	a.SumOfSquaredDeviation += b.SumOfSquaredDeviation + delta*delta*(na*nb/(na+nb))
	a.Mean = weighted(a.Mean, na, b.Mean, nb)
	a.Count += b.Count
	if a.Range != nil && b.Range != nil {
		a.Range = &tsdb.Range{Min: min(a.Range.Min, b.Range.Min), Max: max(a.Range.Max, b.Range.Max)}
	} else {
		a.Range = nil
	}
}

// weighted is the mean of two means, between them. It is counted from the one
// that stands for more, as Chan et al. do it, which loses the least.
func weighted(a, na, b, nb float64) float64 {
	if na < nb {
		a, na, b, nb = b, nb, a, na
	}
	return a + (b-a)*(nb/(na+nb))
}

// addBuckets adds the buckets of b to those of a, whose count and mean are
// still its own.
func addBuckets(a, b *tsdb.Distribution) {
	switch {
	case a.Buckets.Kind == tsdb.DynamicBuckets || b.Buckets.Kind == tsdb.DynamicBuckets:
		mergeDigests(a, b)
	case Same(&a.Buckets, &b.Buckets):
		addCounts(a, b.Counts)
	default:
		bounds := common(Bounds(&a.Buckets), Bounds(&b.Buckets))
		if len(bounds) == 0 {
			a.Buckets, a.Counts = tsdb.Buckets{}, nil
			return
		}
		other := coarsened(b, bounds)
		a.Counts = coarsened(a, bounds)
		a.Buckets = tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: bounds}
		addCounts(a, other)
	}
}

// addCounts adds counts to those of a.
func addCounts(a *tsdb.Distribution, counts []int64) {
	if len(a.Counts) < len(counts) {
		a.Counts = append(a.Counts, make([]int64, len(counts)-len(a.Counts))...)
	}
	for i, n := range counts {
		a.Counts[i] += n
	}
}

// compareBounds compares bounds, of which those are equal that are the same
// one.
func compareBounds(a, b float64) int {
	switch {
	case math.Abs(a-b) <= sameBound*max(math.Abs(a), math.Abs(b)):
		return 0
	case a < b:
		return -1
	}
	return 1
}

// common are the bounds that are in both lists.
func common(a, b []float64) []float64 {
	var both []float64
	for len(a) > 0 && len(b) > 0 {
		switch compareBounds(a[0], b[0]) {
		case -1:
			a = a[1:]
		case 1:
			b = b[1:]
		default:
			both = append(both, min(a[0], b[0]))
			a, b = a[1:], b[1:]
		}
	}
	return both
}

// coarsened are the counts of d between bounds, which are all bounds of d.
func coarsened(d *tsdb.Distribution, bounds []float64) []int64 {
	counts := make([]int64, len(bounds)+1)
	own := Bounds(&d.Buckets)
	at := 0
	for i, n := range d.Counts {
		for i > 0 && at < len(bounds) && compareBounds(bounds[at], own[i-1]) <= 0 {
			at++
		}
		counts[at] += n
	}
	return counts
}

// Subtract is what later, a count since some beginning, has in addition to
// earlier, the same count before; and false when later did not grow out of
// earlier: it has fewer values, or a bucket of it has. Then it began anew.
//
// Counts are exact; buckets of different bounds go to those that both have, as
// in Merge, and dynamic buckets are left out, since what a centroid stands for
// changes. Mean and deviation are those of Merge, solved for the second
// population: the difference of two large sums, which is as exact as they leave
// it, and never negative. Exemplars are those that earlier has not. The range of the difference is known only if there
// was nothing before.
func Subtract(later, earlier *tsdb.Distribution) (*tsdb.Distribution, bool) {
	if later.Count < earlier.Count {
		return nil, false
	}
	if earlier.Count == 0 {
		return later, true
	}
	out := &tsdb.Distribution{Count: later.Count - earlier.Count}
	if !subtractBuckets(out, later, earlier) {
		return nil, false
	}
	if out.Count == 0 {
		return out, true
	}
	out.Exemplars = newest(&out.Buckets, without(later.Exemplars, earlier.Exemplars))
	n, before, rest := float64(later.Count), float64(earlier.Count), float64(out.Count)
	out.Mean = later.Mean + (later.Mean-earlier.Mean)*(before/rest)
	delta := out.Mean - earlier.Mean
	out.SumOfSquaredDeviation = max(0, later.SumOfSquaredDeviation-earlier.SumOfSquaredDeviation-delta*delta*(before*rest/n))
	return out, true
}

// subtractBuckets sets the buckets of out to the difference, and reports whether
// there can be one.
func subtractBuckets(out, later, earlier *tsdb.Distribution) bool {
	if later.Buckets.Kind == tsdb.DynamicBuckets || earlier.Buckets.Kind == tsdb.DynamicBuckets {
		return true
	}
	after, before := later.Counts, earlier.Counts
	out.Buckets = later.Buckets
	if !Same(&later.Buckets, &earlier.Buckets) {
		bounds := common(Bounds(&later.Buckets), Bounds(&earlier.Buckets))
		out.Buckets = tsdb.Buckets{}
		if len(bounds) == 0 {
			return true
		}
		out.Buckets = tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: bounds}
		after, before = coarsened(later, bounds), coarsened(earlier, bounds)
	}
	counts := slices.Clone(after)
	for i, n := range before {
		if n == 0 {
			continue
		}
		if i >= len(counts) || counts[i] < n {
			return false
		}
		counts[i] -= n
	}
	out.Counts = trimmed(counts)
	return true
}
