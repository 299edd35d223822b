package tsdb

// Distribution is what is known of a population of values without the values
// (google.api.Distribution): how many there were, their mean and spread, their
// range, and how many fell into each bucket of a histogram. Two of them can be
// made one as if their values had been counted together; tsdb/distribution has
// the operations.
type Distribution struct {
	// Count is how many values there are.
	Count int64
	// Mean is their arithmetic mean, SumOfSquaredDeviation the sum of
	// (value-Mean)²; both are 0 when there are none.
	Mean, SumOfSquaredDeviation float64
	// Range is the least and the greatest of them, nil when that is not known
	// and when there are none.
	Range *Range
	// Buckets say which buckets there are; the zero value is no histogram.
	Buckets Buckets
	// Counts are the numbers of values in the buckets; those at the end may be
	// left out when they are 0. They add up to Count when there are buckets.
	Counts []int64
	// Exemplars are some of the values, with what is known of them: at most one
	// of each bucket, ascending by value; see distribution.KeepExemplars.
	Exemplars []Exemplar
}

// Exemplar is one of the values of a distribution, and where it came from
// (google.api.Distribution.Exemplar).
type Exemplar struct {
	Value float64
	// Time is when it was measured.
	Time Millis
	// Span is the span in which it was, "projects/P/traces/T/spans/S", Text is
	// what somebody said of it, and Dropped are labels that it had and the
	// series has not; each is empty when there is none.
	Span, Text string
	Dropped    Labels
}

// Range is the least and the greatest of some values.
type Range struct{ Min, Max float64 }

// BucketKind says how the bounds of buckets are given.
type BucketKind uint8

// The kinds of buckets. All but dynamic ones have, as in the API, an underflow
// bucket in front of the first bound and an overflow bucket from the last one
// on; a bucket holds the values from its lower bound on and below its upper.
const (
	// NoBuckets is no histogram.
	NoBuckets BucketKind = iota
	// LinearBuckets have the bounds Offset + i·Width, for i from 0 to Finite.
	LinearBuckets
	// ExponentialBuckets have the bounds Scale·Growth^i, for i from 0 to Finite.
	ExponentialBuckets
	// ExplicitBuckets have the bounds Bounds.
	ExplicitBuckets
	// DynamicBuckets are the centroids of a t-digest (SPEKTRA Edge's dynamic
	// buckets): Bounds are their means, ascending, and the counts are how many
	// values each stands for. They say nothing of where a value ended.
	DynamicBuckets
)

// Buckets are the buckets of a histogram. Only the fields of their kind are set.
type Buckets struct {
	Kind BucketKind
	// Finite is how many buckets of linear or exponential ones have two bounds.
	Finite int
	// Width and Offset are of linear buckets.
	Width, Offset float64
	// Growth and Scale are of exponential buckets.
	Growth, Scale float64
	// Bounds are of explicit and of dynamic buckets.
	Bounds []float64
	// Compression is of dynamic buckets: the more, the more centroids there are.
	Compression float64
}
