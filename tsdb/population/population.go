// Package population computes what describes a set of values: their sum, mean,
// standard deviation and percentiles. Aligners use it over the points of a
// window (tsdb/align), reducers over the values of many series at one time
// (tsdb/reduce), so that both mean the same by the same word.
//
// No function allocates, and none accepts an empty set. Sums are added up in
// the order of the values; the order decides how they are rounded.
package population

import (
	"math"
	"math/bits"
	"slices"
)

// Sum adds up values.
func Sum(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}

// Mean is the arithmetic mean.
func Mean(values []float64) float64 { return Sum(values) / float64(len(values)) }

// StdDev is the standard deviation of the values as a whole population: the
// root of the mean squared deviation from the mean, so that a single value has
// the deviation 0. The sum of squared deviations is the one that
// google.api.Distribution keeps; it is taken around the mean in a second pass,
// since the difference of two large sums would leave nothing of a small
// deviation.
func StdDev(values []float64) float64 {
	mean, squares := Mean(values), 0.0
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return math.Sqrt(squares / float64(len(values)))
}

// True counts the values that are true: those that are not zero.
func True(values []float64) int {
	n := 0
	for _, v := range values {
		if v != 0 {
			n++
		}
	}
	return n
}

// Percentile is the value below which percent (0 to 100) of the values lie: of
// n values in ascending order the one with the rank percent/100*(n-1), counted
// from 0, and between two ranks what lies linearly between their values. A
// single value is each of its percentiles. The values are reordered.
func Percentile(values []float64, percent int) float64 {
	rank := percent * (len(values) - 1) // in hundredths, so that whole ranks are exact
	k, part := rank/100, rank%100
	placeRank(values, k)
	if part == 0 {
		return values[k]
	}
	next := slices.Min(values[k+1:])
	if next == values[k] {
		return next // also of two infinities, whose difference is no number
	}
	return values[k] + (next-values[k])*float64(part)/100
}

// smallRange is how many values are sorted rather than partitioned: as many
// as slices.Sort sorts by insertion.
const smallRange = 12

// placeRank reorders values so that the one of rank k is at k, none that is
// greater is before it and none that is smaller is behind it. It takes linear
// time for nearly every order; after too many partitions that made little
// difference the rest is sorted.
func placeRank(values []float64, k int) {
	from, to := 0, len(values)
	for tries := 2 * bits.Len(uint(len(values))); to-from > smallRange && tries > 0; tries-- {
		pivot := middle(values[from], values[from+(to-from)/2], values[to-1])
		less, more := partition(values[from:to], pivot)
		switch {
		case k < from+less:
			to = from + less
		case k >= from+more:
			from += more
		default:
			return // k is among those equal to the pivot
		}
	}
	slices.Sort(values[from:to])
}

// partition reorders values into those below the pivot, those equal to it, and
// those above it: [0, less), [less, more) and the rest.
func partition(values []float64, pivot float64) (less, more int) {
	more = len(values)
	for i := 0; i < more; {
		switch v := values[i]; {
		case v < pivot:
			values[i], values[less] = values[less], v
			less++
			i++
		case v > pivot:
			more--
			values[i], values[more] = values[more], v
		default:
			i++
		}
	}
	return less, more
}

// middle is the one of three values that is neither the smallest nor the
// greatest.
func middle(a, b, c float64) float64 { return max(min(a, b), min(max(a, b), c)) }
