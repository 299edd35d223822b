package wire_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest/wire"
)

// real appends a double.
func real(dst []byte, number protowire.Number, v float64) []byte {
	return fixed2(dst, number, math.Float64bits(v))
}

// histogram is a HistogramDataPoint with packed buckets.
func histogram(count uint64, sum float64, counts []uint64, bounds []float64) []byte {
	out := real(fixed2(fixed2(nil, 3, uint64(now)*1_000_000), 4, count), 5, sum)
	var packed []byte
	for _, n := range counts {
		packed = binary.LittleEndian.AppendUint64(packed, n)
	}
	out = msg2(out, 6, packed)
	packed = nil
	for _, b := range bounds {
		packed = binary.LittleEndian.AppendUint64(packed, math.Float64bits(b))
	}
	return msg2(out, 7, packed)
}

// exponential is an ExponentialHistogramDataPoint, its count and sum left out.
func exponential(scale, offset int64, positive, negative []uint64) []byte {
	out := int2(fixed2(nil, 3, uint64(now)*1_000_000), 6, protowire.EncodeZigZag(scale))
	for number, counts := range map[protowire.Number][]uint64{8: positive, 9: negative} {
		var packed []byte
		for _, n := range counts {
			packed = protowire.AppendVarint(packed, n)
		}
		if counts != nil {
			out = msg2(out, number, msg2(int2(nil, 1, protowire.EncodeZigZag(offset)), 2, packed))
		}
	}
	return out
}

// one decodes a metric of one point in the field.
func one(t *testing.T, field protowire.Number, options, point []byte) (tsdb.Sample, string) {
	t.Helper()
	b, err := decode(t, newDecoder(wire.Options{}), wire.OTLP, exported(nil, metric("h", "s", field, options, point)))
	require.NoError(t, err)
	if len(b.Samples) == 0 {
		return tsdb.Sample{}, losses(b)
	}
	require.NoError(t, distribution.Validate(b.Samples[0].Distribution))
	return b.Samples[0], losses(b)
}

// SPEC A6: histograms of OTLP are distributions.
func TestOTLP_Histograms(t *testing.T) {
	t.Parallel()
	// 1 value below 1 (unknown where, so at 1), 2 from 1 to 3 (so at 2), of sum 6.
	s, lost := one(t, 9, int2(nil, 2, 1), histogram(3, 6, []uint64{1, 2, 0}, []float64{1, 3}))
	require.Empty(t, lost)
	require.Equal(t, tsdb.Delta, s.Series.Kind)
	require.Equal(t, tsdb.Distributed, s.Series.ValueType)
	require.Equal(t, "s", s.Series.Unit)
	require.Equal(t, &tsdb.Distribution{
		Count: 3, Mean: 2, SumOfSquaredDeviation: 1, Buckets: tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{1, 3}}, Counts: []int64{1, 2},
	}, s.Distribution)

	// With a range, the first is between 0 and 1.
	s, _ = one(t, 9, int2(nil, 2, 2), real(real(histogram(3, 6, []uint64{1, 2, 0}, []float64{1, 3}), 11, 0), 12, 3))
	require.Equal(t, tsdb.Cumulative, s.Series.Kind)
	require.Equal(t, &tsdb.Range{Min: 0, Max: 3}, s.Distribution.Range)
	require.InDelta(t, 2.25, s.Distribution.SumOfSquaredDeviation, 1e-12)

	// Without buckets, and empty.
	s, _ = one(t, 9, nil, histogram(3, 6, nil, nil))
	require.Equal(t, &tsdb.Distribution{Count: 3, Mean: 2}, s.Distribution)
	s, _ = one(t, 9, nil, real(histogram(0, 0, []uint64{0, 0}, []float64{1}), 11, 7))
	require.Equal(t, &tsdb.Distribution{Buckets: tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{1}}}, s.Distribution)

	f := func(want string, field protowire.Number, point []byte) {
		t.Helper()
		_, lost := one(t, field, nil, point)
		require.Equal(t, want, lost)
	}
	f("BUCKET_COUNTS_DO_NOT_SUM=1", 9, histogram(4, 6, []uint64{1, 2}, []float64{1}))
	f("BUCKET_COUNTS_DO_NOT_SUM=1", 9, histogram(4, 6, []uint64{math.MaxUint64, 2}, []float64{1}))
	f("TOO_MANY_BUCKET_COUNTS=1", 9, histogram(3, 6, []uint64{1, 1, 1}, []float64{1}))
	f("BOUNDS_NOT_ASCENDING=1", 9, histogram(3, 6, []uint64{1, 1, 1}, []float64{1, 1}))
	f("NOT_FINITE=1", 9, histogram(3, math.NaN(), []uint64{1, 2}, []float64{1}))
	f("NOT_FINITE=1", 9, histogram(3, 6, []uint64{1, 2}, []float64{math.Inf(1)}))
	f("COUNT_TOO_LARGE=1", 9, histogram(math.MaxUint64, 6, nil, nil))
	f("INVALID_BUCKETS=1", 10, exponential(50, 0, []uint64{1}, nil))
	f("INVALID_BUCKETS=1", 10, exponential(0, 0, make([]uint64, 2000), nil))
	f("BUCKET_COUNTS_DO_NOT_SUM=1", 10, exponential(0, 0, []uint64{1}, nil))
	f("", 9, int2(histogram(3, 6, nil, nil), 10, 1)) // no value
}

func TestOTLP_ExponentialHistograms(t *testing.T) {
	t.Parallel()
	// Base 2 from offset 2 on: (4, 8] and (8, 16].
	s, lost := one(t, 10, int2(nil, 2, 1), fixed2(fixed2(exponential(0, 2, []uint64{1, 2}, nil), 4, 5), 7, 2))
	require.Empty(t, lost)
	require.Equal(t, tsdb.Delta, s.Series.Kind)
	d := s.Distribution
	require.Equal(t, tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: 160, Growth: 2, Scale: 1}, d.Buckets)
	require.Equal(t, []int64{2, 0, 0, 1, 2}, d.Counts)
	require.Equal(t, int64(5), d.Count)
	require.InDelta(t, (1+1+6+12+12)/5.0, d.Mean, 1e-9) // without a sum, from the middles

	// Points of one scale have one layout although their offsets differ.
	other, _ := one(t, 10, nil, fixed2(exponential(0, 130, []uint64{0, 1}, nil), 4, 1))
	require.True(t, distribution.Same(&d.Buckets, &other.Distribution.Buckets))
	// And of another scale they share bounds.
	other, _ = one(t, 10, nil, fixed2(exponential(1, 4, []uint64{1, 2, 3, 4}, nil), 4, 10))
	merged := distribution.Merge(d, other.Distribution)
	require.Equal(t, int64(15), merged.Count)
	bounds := distribution.Bounds(&merged.Buckets)
	require.InDeltaSlice(t, []float64{1, 2, 4, 8, 16}, bounds[:5], 1e-9)
	require.Equal(t, []int64{2, 0, 0, 1 + 3, 2 + 7}, merged.Counts[:5])

	// Negative values: (-16, -8] (-8, -4], around zero, (4, 8].
	s, lost = one(t, 10, nil, fixed2(fixed2(exponential(0, 2, []uint64{1}, []uint64{3, 4}), 4, 10), 7, 2))
	require.Empty(t, lost)
	require.Equal(t, []float64{-16, -8, -4, 4, 8}, s.Distribution.Buckets.Bounds)
	require.Equal(t, []int64{0, 4, 3, 2, 1}, s.Distribution.Counts)

	// Only zeros, and the ends of what a double can be.
	s, _ = one(t, 10, nil, fixed2(fixed2(exponential(0, 2, nil, nil), 4, 2), 7, 2))
	require.Equal(t, []int64{0, 2}, s.Distribution.Counts)
	for _, scale := range []int64{-10, -5, 0, 7, 20} {
		for _, offset := range []int64{-1 << 31, -1_072_693_248, -160, -1, 0, 159, 1 << 20, 1<<31 - 1} {
			s, lost = one(t, 10, nil, fixed2(exponential(scale, offset, []uint64{1, 2}, nil), 4, 3))
			if lost == "" {
				require.Equal(t, int64(3), s.Distribution.Count)
			} else { // over 1e154 no square of a deviation is a number
				require.Equal(t, "NOT_FINITE=1", lost, "%d %d", scale, offset)
				require.Greater(t, float64(offset), 500*math.Exp2(float64(scale)))
			}
			_, lost = one(t, 10, nil, fixed2(exponential(scale, offset, []uint64{1, 2}, []uint64{3}), 4, 6))
			require.Contains(t, []string{"", "NOT_FINITE=1"}, lost, "%d %d", scale, offset)
		}
	}
}

// The same in JSON.
func TestOTLP_HistogramsInJSON(t *testing.T) {
	t.Parallel()
	b, err := decode(t, newDecoder(wire.Options{}), wire.OTLPInJSON, []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
		{"name":"h","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[{"attributes":[{"key":"k","value":{"stringValue":"v"}}],
			"count":"3","sum":6,"bucketCounts":["1","2","0"],"explicitBounds":[1,3],"min":0.5,"max":3}]}},
		{"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"attributes":[{"key":"k","value":{"stringValue":"v"}}],
			"count":3,"sum":-6,"scale":-1,"zeroCount":"1","negative":{"offset":-1,"bucketCounts":["2"]},"flags":0}]}}]}]}]}`))
	require.NoError(t, err)
	require.Empty(t, b.Losses)
	require.Equal(t, []string{
		`h{k=v} generic_node{} CUMULATIVE DISTRIBUTION +0 {"count":"3","mean":2,"sumOfSquaredDeviation":1.5625,"range":{"min":0.5,"max":3},` +
			`"bucketOptions":{"explicitBuckets":{"bounds":[1,3]}},"bucketCounts":["1","2"]}`,
		// Base 4, from -1 to -1/4.
		`e{k=v} generic_node{} DELTA DISTRIBUTION +0 {"count":"3","mean":-2,"sumOfSquaredDeviation":6.84375,` +
			`"bucketOptions":{"explicitBuckets":{"bounds":[-1,-0.25]}},"bucketCounts":["0","2","1"]}`,
	}, printed(b))
}

// A metric of numbers takes no histogram, and the reverse.
func TestOTLP_HistogramTypeConflict(t *testing.T) {
	t.Parallel()
	d := newDecoder(wire.Options{})
	b, err := decode(t, d, wire.OTLP, exported(nil,
		metric("a", "", 7, int2(int2(nil, 2, 2), 3, 1), dot(1)), metric("b", "", 9, nil, histogram(1, 1, nil, nil)),
		metric("a", "", 9, nil, histogram(1, 1, nil, nil)), metric("b", "", 7, int2(int2(nil, 2, 2), 3, 1), dot(1))))
	require.NoError(t, err)
	require.Len(t, b.Samples, 2)
	require.Equal(t, "TYPE_CONFLICT=2", losses(b))

	// Buckets count against the bound of points.
	_, err = decode(t, newDecoder(wire.Options{MaxPoints: 100}), wire.OTLP, exported(nil,
		metric("h", "", 10, nil, fixed2(exponential(0, 159, []uint64{1}, nil), 4, 1))))
	require.ErrorContains(t, err, "more than 100 points")
}

// SPEC A6: exemplars of OTLP are those of distributions, in protobuf and in JSON.
func TestOTLP_Exemplars(t *testing.T) {
	t.Parallel()
	trace, span := []byte("0123456789abcdef"), []byte("01234567")
	exemplar := func(v float64, ms uint64, trace, span []byte) []byte {
		return msg2(msg2(real(fixed2(nil, 2, ms*1_000_000+999_999), 3, v), 4, span), 5, trace)
	}
	name := "projects/p/traces/30313233343536373839616263646566/spans/3031323334353637"
	integer := msg2(fixed2(fixed2(nil, 2, 7_000_000), 6, 2), 7, kv("user", str("u")))
	for field, number := range map[protowire.Number]protowire.Number{9: 8, 10: 11} {
		point := histogram(3, 6, []uint64{1, 2, 0}, []float64{1, 3})
		if field == 10 {
			point = fixed2(exponential(0, 0, []uint64{3}, nil), 4, 3)
		}
		for _, e := range [][]byte{exemplar(0.5, 5, trace, span), exemplar(0.25, 4, trace, span), integer, exemplar(4.5, 6, trace[:5], span)} {
			point = msg2(point, number, e)
		}
		s, lost := one(t, field, nil, point)
		require.Equal(t, "EXEMPLAR_NOT_KEPT=1", lost, "two of one bucket")
		require.Equal(t, []tsdb.Exemplar{
			{Value: 0.5, Time: 5, Span: name}, {Value: 2, Time: 7, Dropped: tsdb.Labels{{Name: "user", Value: "u"}}}, {Value: 4.5, Time: 6},
		}, s.Distribution.Exemplars)
	}
	b, err := decode(t, newDecoder(wire.Options{}), wire.OTLPInJSON, []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
		{"name":"h","histogram":{"dataPoints":[{"count":"1","sum":6,"exemplars":[{"timeUnixNano":"5000000","asInt":"6",
			"traceId":"30313233343536373839616263646566","spanId":"3031323334353637","filteredAttributes":[{"key":"k","value":{"intValue":"7"}}]}]}]}}]}]}]}`))
	require.NoError(t, err)
	require.Empty(t, b.Losses)
	require.Equal(t, []tsdb.Exemplar{{Value: 6, Time: 5, Span: name, Dropped: tsdb.Labels{{Name: "k", Value: "7"}}}}, b.Samples[0].Distribution.Exemplars)
	_, err = decode(t, newDecoder(wire.Options{}), wire.OTLPInJSON, []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
		{"name":"h","histogram":{"dataPoints":[{"exemplars":[{"traceId":"no digits"}]}]}}]}]}]}`))
	require.Error(t, err)
}
