package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// The engines keep numbers, so a distribution is kept as the numbers that it is
// made of: its parts. Each part is a series of the engine, with the labels of
// the series and one more that says what it is:
//
//	count LAYOUT   the count, with the layout as distribution.Layout writes it
//	HASH mean      the mean, the sum of squared deviation, and the range, whose
//	HASH deviation minimum is kept as its negative
//	HASH -min
//	HASH max
//	HASH I         the count of bucket I, counted from 0, if it is not empty
//	HASH I mean    the mean of dynamic bucket I
//	HASH xI        number I of the exemplars; see distribution.ExemplarNumbers
//
// HASH is that of the layout. So the parts of each layout are apart, and of
// several distributions for one series and time that the engine has got, the
// greatest of each part is what distribution.Join says. A distribution without
// values has only its count.
//
// Parts reach the engine together but the disk one by one, so after a crash some
// may be missing until what was not synced comes again. Such a distribution is
// not told: its buckets hold fewer values than its count, or its mean,
// deviation or range is missing. Two joined ones hold more than either count.
// Exemplars of which a number is missing are not told, and the rest is.
const (
	partLabel     = "part"
	countPart     = "count"
	meanPart      = "mean"
	deviationPart = "deviation"
	minPart       = "-min"
	maxPart       = "max"
	exemplarPart  = "x"
)

// maxLayout bounds the text of a layout. With it an identity is at most
// 24 KiB, of the 64 that an entry of the index may have when all are doubled.
const maxLayout = 8 << 10

const (
	// LayoutTooLarge is a distribution with more bounds than the store can
	// write into a label.
	LayoutTooLarge = "BUCKET_LAYOUT_TOO_LARGE"
	// NoDistribution is a sample of a series of DISTRIBUTION without one, or
	// one with a distribution in another series.
	NoDistribution = "NO_DISTRIBUTION"
)

// partsVerdict is why the distribution of a sample is refused, or "". The
// layout has to be shorter than limit as a label.
func partsVerdict(sample *tsdb.Sample, limit int) string {
	d := sample.Distribution
	switch {
	case (d != nil) != (sample.Series.ValueType == tsdb.Distributed):
		return NoDistribution
	case d == nil:
		return ""
	}
	if err := distribution.Validate(d); err != nil {
		return fault.ReasonOf(err)
	}
	// A number is at most 24 bytes and a space, the words before them fewer.
	if most := 25 * (4 + len(d.Buckets.Bounds)); most >= limit && len(countPart)+1+len(distribution.Layout(d)) >= limit {
		return LayoutTooLarge
	}
	return ""
}

// checkParts finds the first sample of a batch that is to be refused for its
// distribution.
func checkParts(op string, samples []tsdb.Sample, limit int) error {
	for i := range samples {
		if reason := partsVerdict(&samples[i], limit); reason != "" {
			return &fault.Error{
				Op: op, Name: samples[i].Series.Metric, Kind: fault.Invalid, Reason: reason,
				Err: fmt.Errorf("sample %d of %d, time %d", i+1, len(samples), samples[i].Time),
			}
		}
	}
	return nil
}

// hashOf is the short hash of a layout: 48 bits, among the few layouts of one
// series.
func hashOf(layout string) string {
	sum := sha256.Sum256([]byte(layout))
	return hex.EncodeToString(sum[:6])
}

// exploder takes distributions apart. Those that follow each other mostly have
// one layout, whose names of parts it remembers.
type exploder struct {
	// buckets and ranged are the layout.
	buckets tsdb.Buckets
	ranged  bool
	// count, mean, deviation, least and greatest are the names of parts, hash
	// the hash of the layout; count is "" before the first.
	count, hash, mean, deviation, least, greatest string
	// indexes are the names of buckets, exemplars those of their numbers.
	indexes, exemplars []string
}

// prepare has the exploder know the names for d.
func (e *exploder) prepare(d *tsdb.Distribution) {
	same := distribution.Same(&d.Buckets, &e.buckets) ||
		d.Buckets.Kind == tsdb.DynamicBuckets && e.buckets.Kind == tsdb.DynamicBuckets && d.Buckets.Compression == e.buckets.Compression
	if !same || e.count == "" || (d.Range != nil) != e.ranged {
		layout := distribution.Layout(d)
		e.buckets, e.ranged = d.Buckets, d.Range != nil
		e.count, e.hash = join(countPart, layout), hashOf(layout)
		e.mean, e.deviation = join(e.hash, meanPart), join(e.hash, deviationPart)
		e.least, e.greatest = join(e.hash, minPart), join(e.hash, maxPart)
		e.indexes, e.exemplars = e.indexes[:0], e.exemplars[:0]
	}
	for i := len(e.indexes); i < len(d.Counts); i++ {
		e.indexes = append(e.indexes, join(e.hash, strconv.Itoa(i)))
	}
}

// explode calls f with every part of d.
func (e *exploder) explode(d *tsdb.Distribution, f func(part string, value float64)) {
	e.prepare(d)
	f(e.count, float64(d.Count))
	if d.Count == 0 {
		return
	}
	f(e.mean, d.Mean)
	f(e.deviation, d.SumOfSquaredDeviation)
	if d.Range != nil {
		f(e.least, -d.Range.Min)
		f(e.greatest, d.Range.Max)
	}
	for i, n := range d.Counts {
		if n == 0 {
			continue
		}
		f(e.indexes[i], float64(n))
		if d.Buckets.Kind == tsdb.DynamicBuckets {
			f(join(e.indexes[i], meanPart), d.Buckets.Bounds[i])
		}
	}
	for i, n := range distribution.ExemplarNumbers(d.Exemplars) {
		if i == len(e.exemplars) {
			e.exemplars = append(e.exemplars, join(e.hash, exemplarPart+strconv.Itoa(i)))
		}
		f(e.exemplars[i], n)
	}
}

// join joins two words, of which the second may be empty.
func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + " " + b
}

// addParts is add for samples of which some are distributions. The parts of one
// are given to the engine at once.
func (s *Store) addParts(b *batch, samples []tsdb.Sample) {
	b.rows, b.names = b.rows[:0], b.names[:0]
	var e exploder
	for i := range samples {
		sample := &samples[i]
		base := len(b.names)
		b.names = appendName(b.names, sample.Series)
		// When names grows, the earlier names stay where they were.
		name := b.names[base:]
		row := storage.MetricRow{MetricNameRaw: name, Timestamp: int64(sample.Time), Value: sample.Value}
		if sample.Distribution == nil {
			b.rows = append(b.rows, row)
		} else {
			e.explode(sample.Distribution, func(part string, value float64) {
				start := len(b.names)
				b.names = append(b.names, name...)
				b.names = appendText(b.names, "", partLabel)
				b.names = appendValue(b.names, part)
				row.MetricNameRaw, row.Value = b.names[start:], value
				b.rows = append(b.rows, row)
			})
		}
		if len(b.rows) >= batchRows || i == len(samples)-1 {
			s.addRows(b)
			b.rows, b.names = b.rows[:0], b.names[:0]
		}
	}
}

// partOf is the part that the engine's series with a name is.
func partOf(mn *storage.MetricName) string {
	for i := range mn.Tags {
		if string(mn.Tags[i].Key) == partLabel {
			return labelValue(mn.Tags[i].Value)
		}
	}
	return ""
}

// partsWithin is how many of the samples, at least one, have no more than limit
// parts together.
func partsWithin(samples []tsdb.Sample, limit int) int {
	parts := 0
	for i := range samples {
		if parts++; samples[i].Distribution != nil {
			parts += distribution.Parts(samples[i].Distribution) - 1
		}
		if parts > limit {
			return max(1, i)
		}
	}
	return len(samples)
}

// requestOfParts is the request that writes samples of which some are
// distributions.
func requestOfParts(samples []tsdb.Sample) prompb.WriteRequest {
	request := prompb.WriteRequest{}
	var last *tsdb.Series
	var base []prompb.Label
	places := map[string]int{} // of the parts of last in the request
	add := func(part string, point prompb.Sample) {
		at, known := places[part]
		if !known {
			at = len(request.Timeseries)
			places[part] = at
			labels := slices.Clip(base)
			if part != "" {
				labels = append(labels, prompb.Label{Name: partLabel, Value: part})
			}
			request.Timeseries = append(request.Timeseries, prompb.TimeSeries{Labels: labels})
		}
		request.Timeseries[at].Samples = append(request.Timeseries[at].Samples, point)
	}
	var e exploder
	for i := range samples {
		sample := &samples[i]
		if sample.Series != last {
			last, base = sample.Series, labelsOf(sample.Series)
			clear(places)
		}
		if sample.Distribution == nil {
			add("", prompb.Sample{Value: sample.Value, Timestamp: int64(sample.Time)})
			continue
		}
		e.explode(sample.Distribution, func(part string, value float64) {
			add(part, prompb.Sample{Value: value, Timestamp: int64(sample.Time)})
		})
	}
	return request
}
