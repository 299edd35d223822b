package distribution

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"selvedge.dev/tsdb"
)

// Layout is the layout of d as a text: equal for equal layouts, different for
// different ones. Distributions that know their range have another than those
// that do not. The text of no buckets and no range is "".
//
//	[range] [linear FINITE WIDTH OFFSET | exponential FINITE GROWTH SCALE |
//	explicit BOUND... | dynamic COMPRESSION]
func Layout(d *tsdb.Distribution) string {
	var b []byte
	add := func(texts ...string) {
		for _, t := range texts {
			if len(b) > 0 {
				b = append(b, ' ')
			}
			b = append(b, t...)
		}
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	if d.Range != nil {
		add(rangeWord)
	}
	switch o := &d.Buckets; o.Kind {
	case tsdb.NoBuckets:
	case tsdb.LinearBuckets:
		add(linearWord, strconv.Itoa(o.Finite), number(o.Width), number(o.Offset))
	case tsdb.ExponentialBuckets:
		add(exponentialWord, strconv.Itoa(o.Finite), number(o.Growth), number(o.Scale))
	case tsdb.ExplicitBuckets:
		add(explicitWord)
		for _, v := range o.Bounds {
			add(number(v))
		}
	case tsdb.DynamicBuckets:
		add(dynamicWord, number(o.Compression))
	}
	return string(b)
}

// The words of a layout.
const (
	rangeWord       = "range"
	linearWord      = "linear"
	exponentialWord = "exponential"
	explicitWord    = "explicit"
	dynamicWord     = "dynamic"
)

// ParseLayout is the inverse of Layout: the buckets, and whether there is a
// range. It is false for what Layout does not write.
func ParseLayout(text string) (b tsdb.Buckets, ranged, ok bool) {
	words := strings.Fields(text)
	if len(words) > 0 && words[0] == rangeWord {
		ranged, words = true, words[1:]
	}
	if len(words) == 0 {
		return b, ranged, true
	}
	numbers := make([]float64, len(words)-1)
	for i, w := range words[1:] {
		v, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return b, ranged, false
		}
		numbers[i] = v
	}
	n := len(numbers)
	switch word := words[0]; {
	case word == explicitWord && n > 0:
		b = tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: numbers}
	case word == dynamicWord && n == 1:
		b = tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: numbers[0]}
	case word == linearWord && n == 3:
		b = tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: int(numbers[0]), Width: numbers[1], Offset: numbers[2]}
	case word == exponentialWord && n == 3:
		b = tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: int(numbers[0]), Growth: numbers[1], Scale: numbers[2]}
	default:
		return b, ranged, false
	}
	reason, _ := layoutFault(&b)
	return b, ranged, reason == ""
}

// Join is which distribution stays of two for the same series and time. It is
// the rule of numbers, that the greatest stays, for every number of them: of
// different layouts the one with the greater text (so one with a range before
// one without); of one layout the greatest of each bucket's counts, of the
// means and of the deviations, the least minimum and the greatest maximum. The
// count is that of the buckets. Of two lists of exemplars one stays whole; see
// ExemplarNumbers. For counts since a beginning that is the later
// one; for others it is neither of the two, but the same whatever the order of
// arrival, which is what counts: somebody has to answer for two truths, and no
// order of arrival may decide.
func Join(a, b *tsdb.Distribution) *tsdb.Distribution {
	switch cmp.Compare(Layout(a), Layout(b)) {
	case 1:
		return Canonical(a)
	case -1:
		return Canonical(b)
	}
	if a.Count == 0 {
		return Canonical(b)
	}
	if b.Count == 0 {
		return Canonical(a)
	}
	out := &tsdb.Distribution{
		Count: max(a.Count, b.Count), Mean: max(a.Mean, b.Mean),
		SumOfSquaredDeviation: max(a.SumOfSquaredDeviation, b.SumOfSquaredDeviation), Buckets: a.Buckets,
		Exemplars: joinExemplars(a.Exemplars, b.Exemplars),
	}
	if a.Range != nil && b.Range != nil {
		out.Range = &tsdb.Range{Min: min(a.Range.Min, b.Range.Min), Max: max(a.Range.Max, b.Range.Max)}
	}
	if a.Buckets.Kind == tsdb.NoBuckets {
		return out
	}
	if len(a.Counts) < len(b.Counts) {
		a, b = b, a
	}
	out.Counts = slices.Clone(a.Counts)
	for i, n := range b.Counts {
		out.Counts[i] = max(out.Counts[i], n)
	}
	out.Counts = trimmed(out.Counts)
	if a.Buckets.Kind == tsdb.DynamicBuckets {
		means := slices.Clone(a.Buckets.Bounds)
		for i, v := range b.Buckets.Bounds {
			means[i] = max(means[i], v)
		}
		out.Buckets.Bounds = Ascending(means)
	}
	out.Count = 0
	for _, n := range out.Counts {
		out.Count += n
	}
	return out
}

// Ascending makes the means of centroids that were joined one by one ascend, in
// place: none is below the one before it.
func Ascending(means []float64) []float64 {
	for i := 1; i < len(means); i++ {
		means[i] = max(means[i], means[i-1])
	}
	return means
}
