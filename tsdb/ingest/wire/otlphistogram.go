package wire

import (
	"context"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/ingest"
)

// Histograms of OTLP become distributions:
//
//	Histogram, ExponentialHistogram
//	                   1 data_points*  2 aggregation_temporality
//	HistogramDataPoint 3 time_unix_nano: fixed64  4 count: fixed64  5 sum
//	                   6 bucket_counts: fixed64*  7 explicit_bounds: double*
//	                   8 exemplars*  9 attributes  10 flags  11 min  12 max
//	ExponentialHistogramDataPoint
//	                   1 attributes  3 time_unix_nano  4 count  5 sum
//	                   6 scale: sint32  7 zero_count: fixed64  8 positive
//	                   9 negative: Buckets  10 flags  11 exemplars*  12 min  13 max
//	                   14 zero_threshold: double
//	Buckets            1 offset: sint32  2 bucket_counts: uint64*
//
// The mean is sum/count. A sum of squared deviation there is none, so it is
// estimated from the middles of the buckets, and the mean too if there is no
// sum. A value on a bound is counted in the bucket below it by OTLP and above it
// by a distribution; the counts are taken as they are.
//
// An exponential histogram has the buckets (base^i, base^(i+1)], base being
// 2^(2^-scale), from an offset on that may be another in each point. The bounds
// of the distribution begin and end at multiples of 160, so that points of one
// scale mostly have the same ones: a layout costs a series in the storage, an
// empty bucket nothing. The values around zero are in the underflow bucket, as
// in Google's exporter for OpenTelemetry; if there are negative ones too, the
// buckets have explicit bounds on both sides.

// aligned is what the bounds of exponential buckets are multiples of: as many
// as an SDK has by default, so that two layouts do for what moves.
const aligned = 160

// The least and greatest scale of OTLP.
const (
	minScale = -10
	maxScale = 20
)

// histogramPoint is a data point of either form.
type histogramPoint struct {
	time, count    uint64
	sum, min, max  float64
	hasSum         bool
	hasMin, hasMax bool
	flags          int64
	bounds         []float64
	counts         []uint64

	scale              int64
	zero               uint64
	threshold          float64
	positive, negative exponentialBuckets

	exemplars []tsdb.Exemplar
}

// exponentialBuckets are a Buckets message.
type exponentialBuckets struct {
	offset int64
	counts []uint64
}

// held is how many values there are in the buckets.
func (b *exponentialBuckets) held() bool {
	for _, n := range b.counts {
		if n > 0 {
			return true
		}
	}
	return false
}

// histogramKind is the kind of a Histogram.
func histogramKind(histogram []byte) (tsdb.MetricKind, error) {
	kind := tsdb.Cumulative
	err := eachField(histogram, func(f pbField) error {
		if f.number != 2 {
			return nil
		}
		temporality, err := f.varint()
		if kind = tsdb.Cumulative; temporality == temporalityDelta {
			kind = tsdb.Delta
		}
		return err
	})
	return kind, err
}

// histogram decodes a data point.
func (r *run) histogram(ctx context.Context, m *otlpMetric, message []byte) error {
	var p histogramPoint
	spans := r.batch.spans[:0]
	attributes := protowire.Number(9)
	field := p.explicit
	if m.exponential {
		attributes, field = 1, p.exponential
	}
	err := eachField(message, func(f pbField) (err error) {
		switch f.number {
		case attributes:
			var data []byte
			data, err = f.message()
			spans = append(spans, data)
		case 3:
			p.time, err = f.fixed()
		case 4:
			p.count, err = f.fixed()
		case 5:
			p.hasSum = true
			p.sum, err = f.double()
		case 10:
			p.flags, err = f.varint()
		default:
			err = field(f)
		}
		return err
	})
	r.batch.spans = spans
	if err != nil {
		return malformed(err)
	}
	if p.flags&flagNoValue != 0 {
		return nil
	}
	t := r.request.Now // a point without a time, which OTLP forbids
	if p.time != 0 {
		t = tsdb.Millis(p.time / 1_000_000)
	}
	d, reason := p.distribution(m.exponential)
	if reason != "" {
		r.batch.Lose(reason, 1)
		return nil
	}
	if !r.admits(0, t) {
		return nil
	}
	s, reason, err := r.seriesOf(ctx, m, tsdb.Distributed)
	switch {
	case err != nil:
		return err
	case s != nil && s.ValueType != tsdb.Distributed:
		reason = ingest.TypeConflict
	}
	if reason != "" {
		r.batch.Lose(reason, 1)
		return nil
	}
	for i := range p.exemplars {
		if e := &p.exemplars[i]; e.Span != "" {
			e.Span = "projects/" + r.request.Project + e.Span
		}
	}
	if lost := distribution.KeepExemplars(d, p.exemplars); lost > 0 {
		r.batch.Lose(ingest.ExemplarNotKept, lost)
	}
	r.batch.buckets += len(d.Counts) + len(d.Buckets.Bounds)
	r.batch.Samples = append(r.batch.Samples, tsdb.Sample{Series: s, Time: t, Distribution: d})
	return r.room()
}

// explicit reads a field of a HistogramDataPoint.
func (p *histogramPoint) explicit(f pbField) (err error) {
	switch f.number {
	case 6:
		p.counts, err = fixeds(p.counts, f)
	case 7:
		var bits []uint64
		bits, err = fixeds(nil, f)
		for _, b := range bits {
			p.bounds = append(p.bounds, math.Float64frombits(b))
		}
	case 8:
		err = p.exemplar(f)
	case 11:
		p.hasMin = true
		p.min, err = f.double()
	case 12:
		p.hasMax = true
		p.max, err = f.double()
	}
	return err
}

// exponential reads a field of an ExponentialHistogramDataPoint.
func (p *histogramPoint) exponential(f pbField) (err error) {
	switch f.number {
	case 6:
		p.scale, err = f.zigzag()
	case 7:
		p.zero, err = f.fixed()
	case 8:
		err = p.positive.read(f)
	case 9:
		err = p.negative.read(f)
	case 11:
		err = p.exemplar(f)
	case 12:
		p.hasMin = true
		p.min, err = f.double()
	case 13:
		p.hasMax = true
		p.max, err = f.double()
	case 14:
		p.threshold, err = f.double()
	}
	return err
}

// read reads a Buckets message.
func (b *exponentialBuckets) read(f pbField) error {
	message, err := f.message()
	if err != nil {
		return err
	}
	return eachField(message, func(f pbField) (err error) {
		switch f.number {
		case 1:
			b.offset, err = f.zigzag()
		case 2:
			b.counts, err = varints(b.counts, f)
		}
		return err
	})
}

// zigzag is the value of a field of type sint32.
func (f *pbField) zigzag() (int64, error) {
	v, err := f.varint()
	return protowire.DecodeZigZag(uint64(v)), err
}

// fixeds appends the values of a repeated field of eight bytes each, packed or
// not.
func fixeds(dst []uint64, f pbField) ([]uint64, error) {
	if f.kind == protowire.Fixed64Type {
		return append(dst, f.value), nil
	}
	data, err := f.message()
	for err == nil && len(data) > 0 {
		v, n := protowire.ConsumeFixed64(data)
		if n < 0 {
			return dst, protowire.ParseError(n)
		}
		dst, data = append(dst, v), data[n:]
	}
	return dst, err
}

// varints appends the values of a repeated field of varints, packed or not.
func varints(dst []uint64, f pbField) ([]uint64, error) {
	if f.kind == protowire.VarintType {
		return append(dst, f.value), nil
	}
	data, err := f.message()
	for err == nil && len(data) > 0 {
		v, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return dst, protowire.ParseError(n)
		}
		dst, data = append(dst, v), data[n:]
	}
	return dst, err
}

// distribution is the point as one, or the reason why it can be none.
func (p *histogramPoint) distribution(exponential bool) (*tsdb.Distribution, string) {
	d := &tsdb.Distribution{}
	if d.Count = int64(p.count); p.count > distribution.MaxCount {
		return nil, distribution.CountTooLarge
	}
	switch {
	case exponential:
		if p.scale < minScale || p.scale > maxScale || len(p.positive.counts)+len(p.negative.counts) > distribution.MaxBuckets {
			return nil, distribution.InvalidBuckets
		}
		p.exponentialInto(d)
	case len(p.bounds) > 0 && len(p.counts) > 0:
		d.Buckets = tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: p.bounds}
		for _, n := range p.counts {
			d.Counts = append(d.Counts, clamped(n))
		}
	}
	if d.Count > 0 {
		if p.hasSum {
			d.Mean = p.sum / float64(d.Count)
		}
		if p.hasMin && p.hasMax {
			d.Range = &tsdb.Range{Min: p.min, Max: p.max}
		}
	}
	if err := distribution.Validate(d); err != nil {
		return nil, fault.ReasonOf(err)
	}
	distribution.Estimate(d, p.hasSum)
	if err := distribution.Validate(d); err != nil { // an estimate that is no number
		return nil, fault.ReasonOf(err)
	}
	return distribution.Canonical(d), ""
}

// clamped is a count that is refused later when it is too large.
func clamped(n uint64) int64 { return int64(min(n, distribution.MaxCount+1)) }

// exponentialInto gives d the buckets of an exponential histogram.
func (p *histogramPoint) exponentialInto(d *tsdb.Distribution) {
	exponent := math.Exp2(-float64(p.scale)) // base is 2 to the power of it
	base := math.Exp2(exponent)
	bound := func(i int64) float64 { return math.Exp2(float64(i) * exponent) }
	// The indexes whose bounds are normal numbers.
	least, greatest := int64(math.Ceil(-1022/exponent)), int64(math.Floor(1023/exponent))
	if !p.negative.held() && finite(base) {
		if !p.positive.held() { // all around zero
			d.Buckets = tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0}}
			d.Counts = []int64{0, clamped(p.zero)}
			return
		}
		first, last := p.positive.window(least, greatest)
		if p.zero > 0 && bound(first) < p.threshold {
			first = max(first, min(p.positive.offset, last-1))
		}
		d.Buckets = tsdb.Buckets{Kind: tsdb.ExponentialBuckets, Finite: int(last - first), Growth: base, Scale: bound(first)}
		d.Counts = make([]int64, d.Buckets.Finite+2)
		d.Counts[0] = clamped(p.zero)
		for i, n := range p.positive.counts {
			at := min(max(p.positive.offset+int64(i)-first+1, 0), int64(len(d.Counts)-1))
			d.Counts[at] += clamped(n)
		}
		return
	}
	// From the most negative on: bucket i of the negative ones has the bounds
	// -base^(i+1) and -base^i.
	b := tsdb.Buckets{Kind: tsdb.ExplicitBuckets}
	counts := []int64{0}
	add := func(lower float64, n uint64) {
		if len(b.Bounds) == 0 || lower > b.Bounds[len(b.Bounds)-1] {
			b.Bounds, counts = append(b.Bounds, lower), append(counts, 0)
		}
		counts[len(counts)-1] += clamped(n)
	}
	within := func(i int64) float64 { return bound(min(max(i, least), greatest)) }
	for i := len(p.negative.counts) - 1; i >= 0; i-- {
		add(-within(p.negative.offset+int64(i)+1), p.negative.counts[i])
	}
	add(-within(p.negative.offset), p.zero)
	for i, n := range p.positive.counts {
		add(within(p.positive.offset+int64(i)), n)
	}
	if len(p.positive.counts) > 0 {
		add(within(p.positive.offset+int64(len(p.positive.counts))), 0)
	}
	d.Buckets, d.Counts = b, counts
}

// window are the indexes of the first and the last bound, of those from least to
// greatest: multiples of aligned with the buckets between them.
func (b *exponentialBuckets) window(least, greatest int64) (first, last int64) {
	floor := func(i int64) int64 {
		if i %= aligned; i < 0 {
			i += aligned
		}
		return i
	}
	first = b.offset - floor(b.offset)
	end := b.offset + int64(len(b.counts))
	last = end + (aligned-floor(end))%aligned
	first = min(max(first, least), greatest-1)
	return first, max(min(last, greatest), first+1)
}
