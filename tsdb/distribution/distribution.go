// Package distribution is what can be done with distributions: whether one is
// valid, what two make together, what one says that another did not yet, its
// percentiles, and how it is written.
//
// The invariant: what is known exactly stays exact. Counts are never
// interpolated and never lost; where two histograms have different bounds, the
// result has the bounds that both have (see Merge). Sums of floating-point
// numbers are rounded, so the order of merging decides about the last digits of
// a mean and a deviation, and about nothing else. Only dynamic buckets, which
// are an approximation from the start, are approximated further.
//
// # Sources
//
// What a distribution is: google/api/distribution.proto and its comments ("the
// API"). Mean and deviation of two populations: Chan, Golub, LeVeque,
// "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances"
// (1979). Dynamic buckets: SPEKTRA Edge's name for the t-digest of Dunning and
// Ertl, "Computing Extremely Accurate Quantiles Using t-Digests" (2019).
//
// Everything here is a pure function of its arguments, which are not changed.
package distribution

import (
	"fmt"
	"math"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// The bounds of a distribution.
const (
	// MaxCount is the greatest count: a float64, which is what storages keep,
	// has every integer up to there.
	MaxCount = 1 << 53
	// MaxBuckets is how many buckets there may be: five times what Cloud
	// Monitoring takes, and the greatest histograms of OpenTelemetry, 160
	// buckets on both sides of zero.
	MaxBuckets = 1000
	// MaxCompression bounds the compression of dynamic buckets, which have no
	// more centroids than that.
	MaxCompression = MaxBuckets
)

// The reasons for which Validate refuses a distribution.
const (
	// NegativeCount is a count, or that of a bucket, below zero.
	NegativeCount = "NEGATIVE_COUNT"
	// CountTooLarge is a count over MaxCount.
	CountTooLarge = "COUNT_TOO_LARGE"
	// NotFinite is a NaN or an infinity anywhere.
	NotFinite = "NOT_FINITE"
	// NotEmpty is a mean, a deviation or a range of no values.
	NotEmpty = "EMPTY_DISTRIBUTION_WITH_VALUES"
	// NegativeDeviation is a sum of squares below zero.
	NegativeDeviation = "NEGATIVE_DEVIATION"
	// InvalidRange is a range whose minimum is over its maximum.
	InvalidRange = "INVALID_RANGE"
	// InvalidBuckets is a layout that cannot be one: no buckets, a width or a
	// scale that is not positive, a growth that is none.
	InvalidBuckets = "INVALID_BUCKETS"
	// TooManyBuckets is a layout with more than MaxBuckets.
	TooManyBuckets = "TOO_MANY_BUCKETS"
	// BoundsNotAscending is a bound that is not greater than the one before.
	BoundsNotAscending = "BOUNDS_NOT_ASCENDING"
	// NoBuckets is counts of buckets without a layout.
	NoBuckets = "COUNTS_WITHOUT_BUCKETS"
	// TooManyCounts is more counts than buckets.
	TooManyCounts = "TOO_MANY_BUCKET_COUNTS"
	// CountsDoNotSum is buckets that do not hold as many values as there are.
	CountsDoNotSum = "BUCKET_COUNTS_DO_NOT_SUM"
)

// Validate is an Invalid error with the field of the API and one of the reasons
// above, unless d can be kept.
func Validate(d *tsdb.Distribution) error {
	bad := func(field, reason, format string, args ...any) error {
		return &fault.Error{
			Op: "tsdb/distribution.Validate", Kind: fault.Invalid, Reason: reason,
			Field: field, Err: fmt.Errorf(format, args...),
		}
	}
	switch {
	case d.Count < 0:
		return bad("count", NegativeCount, "the count is %d", d.Count)
	case d.Count > MaxCount:
		return bad("count", CountTooLarge, "the count is over %d", int64(MaxCount))
	case !finite(d.Mean):
		return bad("mean", NotFinite, "the mean is %v", d.Mean)
	case !finite(d.SumOfSquaredDeviation):
		return bad("sumOfSquaredDeviation", NotFinite, "the sum of squared deviation is %v", d.SumOfSquaredDeviation)
	case d.SumOfSquaredDeviation < 0:
		return bad("sumOfSquaredDeviation", NegativeDeviation, "the sum of squared deviation is %v", d.SumOfSquaredDeviation)
	case d.Count == 0 && d.Mean != 0:
		return bad("mean", NotEmpty, "there are no values, and the mean is %v", d.Mean)
	case d.Count == 0 && d.SumOfSquaredDeviation != 0:
		return bad("sumOfSquaredDeviation", NotEmpty, "there are no values, and their sum of squared deviation is %v", d.SumOfSquaredDeviation)
	}
	if r := d.Range; r != nil {
		switch {
		case d.Count == 0:
			return bad("range", NotEmpty, "there are no values, and they have a range")
		case !finite(r.Min) || !finite(r.Max):
			return bad("range", NotFinite, "the range is from %v to %v", r.Min, r.Max)
		case r.Min > r.Max:
			return bad("range", InvalidRange, "the range is from %v to %v", r.Min, r.Max)
		}
	}
	if reason, text := layoutFault(&d.Buckets); reason != "" {
		return bad("bucketOptions", reason, "%s", text)
	}
	if reason, text := countsFault(d); reason != "" {
		return bad("bucketCounts", reason, "%s", text)
	}
	if reason, text := exemplarsFault(d); reason != "" {
		return bad("exemplars", reason, "%s", text)
	}
	return nil
}

// layoutFault is why b can be no layout, if it cannot.
func layoutFault(b *tsdb.Buckets) (reason, text string) {
	switch b.Kind {
	case tsdb.NoBuckets:
		return "", ""
	case tsdb.LinearBuckets:
		if !finite(b.Width) || !finite(b.Offset) {
			return NotFinite, fmt.Sprintf("linear buckets of the width %v from %v on", b.Width, b.Offset)
		}
		if b.Finite <= 0 || b.Width <= 0 {
			return InvalidBuckets, fmt.Sprintf("%d linear buckets of the width %v: both must be positive", b.Finite, b.Width)
		}
	case tsdb.ExponentialBuckets:
		if !finite(b.Growth) || !finite(b.Scale) {
			return NotFinite, fmt.Sprintf("exponential buckets that grow by %v from %v on", b.Growth, b.Scale)
		}
		if b.Finite <= 0 || b.Growth <= 1 || b.Scale <= 0 {
			return InvalidBuckets, fmt.Sprintf("%d exponential buckets that grow by %v from %v on: "+
				"number and scale must be positive, and the growth over 1", b.Finite, b.Growth, b.Scale)
		}
	case tsdb.ExplicitBuckets:
		if len(b.Bounds) == 0 {
			return InvalidBuckets, "explicit buckets without a bound"
		}
	case tsdb.DynamicBuckets:
		if !(b.Compression > 0 && b.Compression <= MaxCompression) {
			return InvalidBuckets, fmt.Sprintf("a compression of %v: it must be positive and at most %d", b.Compression, MaxCompression)
		}
	default:
		return InvalidBuckets, fmt.Sprintf("there is no kind %d of buckets", b.Kind)
	}
	if Len(b) > MaxBuckets {
		return TooManyBuckets, fmt.Sprintf("%d buckets, and at most %d can be", Len(b), MaxBuckets)
	}
	return boundsFault(b)
}

// boundsFault is why the bounds of b can be none. Two centroids may have one
// mean.
func boundsFault(b *tsdb.Buckets) (reason, text string) {
	bounds := Bounds(b)
	if b.Kind == tsdb.DynamicBuckets {
		bounds = b.Bounds
	}
	for i, v := range bounds {
		switch {
		case !finite(v):
			return NotFinite, fmt.Sprintf("bound %d is %v", i, v)
		case i > 0 && (v < bounds[i-1] || v == bounds[i-1] && b.Kind != tsdb.DynamicBuckets):
			return BoundsNotAscending, fmt.Sprintf("bound %d is %v, after %v", i, v, bounds[i-1])
		}
	}
	return "", ""
}

// countsFault is why the counts of d can be none.
func countsFault(d *tsdb.Distribution) (reason, text string) {
	if d.Buckets.Kind == tsdb.NoBuckets {
		if len(d.Counts) > 0 {
			return NoBuckets, "there are counts of buckets, and no bucket options"
		}
		return "", ""
	}
	if len(d.Counts) > Len(&d.Buckets) {
		return TooManyCounts, fmt.Sprintf("%d counts of %d buckets", len(d.Counts), Len(&d.Buckets))
	}
	if d.Buckets.Kind == tsdb.DynamicBuckets && len(d.Counts) != Len(&d.Buckets) {
		return InvalidBuckets, fmt.Sprintf("%d counts of %d dynamic buckets", len(d.Counts), Len(&d.Buckets))
	}
	left := d.Count
	for i, n := range d.Counts {
		if n < 0 {
			return NegativeCount, fmt.Sprintf("the count of bucket %d is %d", i, n)
		}
		if n == 0 && d.Buckets.Kind == tsdb.DynamicBuckets {
			return InvalidBuckets, fmt.Sprintf("the dynamic bucket %d has no values", i)
		}
		if left >= 0 { // and not over the least int64
			left -= n
		}
	}
	if left != 0 {
		return CountsDoNotSum, fmt.Sprintf("the counts of the buckets do not add up to the count, %d", d.Count)
	}
	return "", ""
}

// finite reports whether v is neither NaN nor infinite.
func finite(v float64) bool { return v-v == 0 }

// Parts is as how many points d counts where points are bounded: the numbers that
// it is made of, empty buckets left out, and half as many as there are places for
// counts, since a point takes 16 bytes in memory and a place 8.
func Parts(d *tsdb.Distribution) int {
	n := 1 + Places(d) + exemplarSize(d.Exemplars)
	if d.Count > 0 {
		n += 2
	}
	if d.Range != nil {
		n += 2
	}
	for _, c := range d.Counts {
		if c != 0 {
			n++
		}
	}
	if d.Buckets.Kind == tsdb.DynamicBuckets {
		n += len(d.Buckets.Bounds)
	}
	return n
}

// Places is the part of Parts that is for the places of counts.
func Places(d *tsdb.Distribution) int { return len(d.Counts) / 2 }

// Len is how many buckets there are.
func Len(b *tsdb.Buckets) int {
	switch b.Kind {
	case tsdb.LinearBuckets, tsdb.ExponentialBuckets:
		return b.Finite + 2
	case tsdb.ExplicitBuckets:
		return len(b.Bounds) + 1
	case tsdb.DynamicBuckets:
		return len(b.Bounds)
	}
	return 0
}

// Bounds are the bounds between the buckets, ascending: one less than there are
// buckets. Dynamic buckets have none.
func Bounds(b *tsdb.Buckets) []float64 {
	var bounds []float64
	switch b.Kind {
	case tsdb.LinearBuckets:
		bounds = make([]float64, b.Finite+1)
		for i := range bounds {
			bounds[i] = b.Offset + b.Width*float64(i)
		}
	case tsdb.ExponentialBuckets:
		bounds = make([]float64, b.Finite+1)
		for i := range bounds {
			power := math.Pow(b.Growth, float64(i))
			if bounds[i] = b.Scale * power; math.IsInf(power, 1) { // and the bound may be none
				half := math.Pow(b.Growth, float64(i/2))
				bounds[i] = b.Scale * half * math.Pow(b.Growth, float64(i-i/2))
			}
		}
	case tsdb.ExplicitBuckets:
		bounds = b.Bounds
	}
	return bounds
}

// Same reports whether two layouts are the same one.
func Same(a, b *tsdb.Buckets) bool {
	return a.Kind == b.Kind && a.Finite == b.Finite && a.Width == b.Width && a.Offset == b.Offset &&
		a.Growth == b.Growth && a.Scale == b.Scale && a.Compression == b.Compression && slices.Equal(a.Bounds, b.Bounds)
}

// Of is the distribution of values with a layout, of which the dynamic one needs
// no bounds yet. It has a range.
func Of(b tsdb.Buckets, values ...float64) *tsdb.Distribution {
	d := &tsdb.Distribution{Count: int64(len(values)), Buckets: b}
	if len(values) == 0 {
		return d
	}
	d.Range = &tsdb.Range{Min: slices.Min(values), Max: slices.Max(values)}
	for i, v := range values {
		// Welford's method, which the API names.
		delta := v - d.Mean
		d.Mean += delta / float64(i+1)
		d.SumOfSquaredDeviation += delta * (v - d.Mean)
	}
	switch b.Kind {
	case tsdb.NoBuckets:
	case tsdb.DynamicBuckets:
		summarize(d, values)
	default:
		bounds := Bounds(&b)
		d.Counts = make([]int64, len(bounds)+1)
		for _, v := range values {
			i, found := slices.BinarySearch(bounds, v)
			if found {
				i++ // a bucket has its lower bound
			}
			d.Counts[i]++
		}
		d.Counts = trimmed(d.Counts)
	}
	return d
}

// trimmed are counts without the zeros at the end.
func trimmed(counts []int64) []int64 {
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	if len(counts) == 0 {
		return nil
	}
	return counts
}

// Canonical is d without zeros at the end of its counts: the form in which
// storages hand one out, so that equal ones are equal.
func Canonical(d *tsdb.Distribution) *tsdb.Distribution {
	if n := len(d.Counts); n == 0 && d.Counts == nil || n > 0 && d.Counts[n-1] != 0 {
		return d
	}
	out := *d
	out.Counts = trimmed(out.Counts)
	return &out
}
