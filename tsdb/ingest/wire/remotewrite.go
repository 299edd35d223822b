package wire

import (
	"context"
	"math"
	"strings"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// Prometheus remote write 1.0, after prompb/remote.proto and types.proto:
//
//	WriteRequest   1 timeseries: TimeSeries*    3 metadata: MetricMetadata*
//	TimeSeries     1 labels: Label*  2 samples: Sample*  3 exemplars  4 histograms*
//	Label          1 name  2 value
//	Sample         1 value: double  2 timestamp: int64, milliseconds
//	MetricMetadata 1 type: enum  2 metric_family_name  4 help  5 unit
//
// A metric has the name that it has there. A sample with Prometheus' staleness
// marker says that there is no value, so it is no point and no loss. Exemplars
// are left out.
//
// The kind comes from metadata, which the client sends now and then in requests
// of their own, so mostly after the first sample. Until it came, what OpenMetrics
// names like a counter is one: NAME_total, and NAME_bucket with a label le. For
// the same reason what metadata says later does not refuse a sample.

// staleNaN is the value that Prometheus writes when a series ended.
const staleNaN = 0x7ff0000000000002

// labelName is the label that holds the metric's name.
const labelName = "__name__"

// maxFamilies bounds the metric families of one project whose kind is known.
const maxFamilies = 20_000

// family is what is known of a metric family.
type family struct {
	// kind is that of the metrics of the family's own name.
	kind tsdb.MetricKind
	// parts says that there are counters NAME_count, NAME_sum and NAME_bucket.
	parts bool
	unit  string
}

// The types of metrics in metadata that say something, in both versions.
const (
	typeCounter   = 1
	typeGauge     = 2
	typeHistogram = 3
	typeSummary   = 5
)

// remoteWrite1 decodes a WriteRequest.
func (r *run) remoteWrite1(ctx context.Context) error {
	if err := eachField(r.request.Data, func(f pbField) error {
		if f.number == 3 {
			return r.metadata1(&f)
		}
		return nil
	}); err != nil {
		return malformed(err)
	}
	for message := r.request.Data; len(message) > 0; {
		f, rest, err := nextField(message)
		if err != nil {
			return malformed(err)
		}
		message = rest
		if f.number != 1 {
			continue
		}
		data, err := f.message()
		if err != nil {
			return malformed(err)
		}
		if err := r.timeSeries1(ctx, data); err != nil {
			return err
		}
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// metadata1 remembers the kind of a metric family.
func (r *run) metadata1(f *pbField) error {
	data, err := f.message()
	if err != nil {
		return err
	}
	var kind int64
	var name, unit string
	if err := eachField(data, func(f pbField) error {
		switch f.number {
		case 1:
			kind, err = f.varint()
		case 2:
			name = string(f.data)
		case 5:
			unit = string(f.data)
		}
		return err
	}); err != nil {
		return err
	}
	have := familyOf(kind, unit)
	p := r.project
	if p.kinds[name] == have || name == "" || len(name) > ingest.MaxMetric || len(unit) > ingest.MaxLabelName {
		return nil
	}
	p.mu.RUnlock()
	defer p.mu.RLock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kinds) < maxFamilies {
		p.kinds[name] = have
	}
	return nil
}

// familyOf is a family of the type that metadata has.
func familyOf(kind int64, unit string) family {
	switch kind {
	case typeCounter:
		return family{kind: tsdb.Cumulative, unit: unit}
	case typeHistogram, typeSummary:
		return family{kind: tsdb.Gauge, parts: true, unit: unit}
	case typeGauge:
		return family{kind: tsdb.Gauge, unit: unit}
	}
	return family{unit: unit}
}

// of is the kind and unit of a metric of the family, whose name is the family's
// and the suffix.
func (f family) of(suffix string) (tsdb.MetricKind, string) {
	switch {
	case f.parts && (suffix == "_count" || suffix == "_bucket"):
		return tsdb.Cumulative, ""
	case f.parts && suffix == "_sum":
		return tsdb.Cumulative, f.unit
	}
	return f.kind, f.unit
}

// kindOf is the kind and unit of a metric by what is known of its family, or
// else by its name.
func (p *project) kindOf(name string, labels tsdb.Labels) (tsdb.MetricKind, string) {
	if f, ok := p.kinds[name]; ok {
		return f.of("")
	}
	for _, suffix := range []string{"_total", "_count", "_sum", "_bucket"} {
		base, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		if f, known := p.kinds[base]; known && (f.parts || suffix == "_total") {
			return f.of(suffix)
		}
		if suffix == "_total" || suffix == "_bucket" && hasLabel(labels, "le") {
			return tsdb.Cumulative, ""
		}
	}
	return tsdb.Gauge, ""
}

// hasLabel reports whether labels, which need not be sorted, have the name.
func hasLabel(labels tsdb.Labels, name string) bool {
	for _, l := range labels {
		if l.Name == name {
			return true
		}
	}
	return false
}

// timeSeries1 decodes a TimeSeries. Clients write the labels first, so the key
// is the part of the message that they take; otherwise it is put together.
func (r *run) timeSeries1(ctx context.Context, data []byte) error {
	labels, points, err := r.shape(data, 4)
	if err != nil {
		return malformed(err)
	}
	var key []byte
	if labels >= 0 {
		key = data[:labels]
	} else {
		labels = 0
		if key, err = r.gather(data); err != nil {
			return malformed(err)
		}
	}
	if points == 0 {
		return nil
	}
	s, reason, known := (*tsdb.Series)(nil), "", r.project.series[RemoteWrite1][string(key)]
	if known != nil {
		s = known.series
	}
	for message := data[labels:]; len(message) > 0; {
		var f pbField
		if f, message, err = nextField(message); err != nil {
			return malformed(err)
		}
		if f.number == 4 {
			r.batch.Lose(ingest.DistributionNotSupported, 1)
		}
		if f.number != 2 {
			continue
		}
		v, t, err := sample(f.data)
		if err != nil {
			return malformed(err)
		}
		if !r.admits(v, t) {
			continue
		}
		if s == nil && reason == "" {
			if s, reason, err = r.learn1(ctx, key); err != nil {
				return err
			}
		}
		r.add(s, reason, v, t)
	}
	return nil
}

// shape looks a TimeSeries over: how long the run of labels at its start is, -1
// if there are labels elsewhere, and how many samples and histograms it has.
func (r *run) shape(data []byte, histograms int32) (labels, points int, err error) {
	others := false
	for message := data; len(message) > 0; {
		f, rest, err := nextField(message)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case f.number == 1 && others:
			labels = -1
		case f.number == 1:
			labels = len(data) - len(rest)
		case f.number == 2, int32(f.number) == histograms:
			points++
			others = true
		default:
			others = true
		}
		if f.number == 1 || f.number == 2 {
			if _, err := f.message(); err != nil {
				return 0, 0, err
			}
		}
		message = rest
	}
	return labels, points, nil
}

// gather puts the labels of a TimeSeries together, as they are written.
func (r *run) gather(data []byte) ([]byte, error) {
	key := r.batch.key[:0]
	for len(data) > 0 {
		f, rest, err := nextField(data)
		if err != nil {
			return nil, err
		}
		if f.number == 1 {
			key = append(key, data[:len(data)-len(rest)]...)
		}
		data = rest
	}
	r.batch.key = key
	return key, nil
}

// sample decodes a Sample. It is written out, since it runs for every one.
func sample(data []byte) (v float64, t tsdb.Millis, err error) {
	for len(data) > 0 {
		var f pbField
		if f, data, err = nextField(data); err != nil {
			return 0, 0, err
		}
		switch f.number {
		case 1:
			v, err = f.double()
		case 2:
			var n int64
			n, err = f.varint()
			t = tsdb.Millis(n)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return v, t, nil
}

// admits decides by value and time alone whether there is such a point; it
// counts the loss if not.
func (r *run) admits(v float64, t tsdb.Millis) bool {
	if !finite(v) {
		if math.Float64bits(v) != staleNaN {
			r.batch.Lose(ingest.NotFinite, 1)
		}
		return false
	}
	if reason := r.inTime(t); reason != "" {
		r.batch.Lose(reason, 1)
		return false
	}
	return true
}

// add adds an admitted point of s, which is nil for the reason.
func (r *run) add(s *tsdb.Series, reason string, v float64, t tsdb.Millis) {
	if s != nil && !fits(v, s.ValueType) {
		reason = ingest.TypeConflict
	}
	if reason != "" {
		r.batch.Lose(reason, 1)
		return
	}
	r.batch.Samples = append(r.batch.Samples, tsdb.Sample{Series: s, Time: t, Value: v})
}

// learn1 makes the series of a key, which is its labels as they are written.
func (r *run) learn1(ctx context.Context, key []byte) (*tsdb.Series, string, error) {
	labels, metric := r.batch.labels[:0], ""
	err := eachField(key, func(f pbField) error {
		var l tsdb.Label
		if err := eachField(f.data, func(f pbField) error {
			text, err := f.message()
			switch f.number {
			case 1:
				l.Name = string(text)
			case 2:
				l.Value = string(text)
			}
			return err
		}); err != nil {
			return err
		}
		if l.Name == labelName {
			metric = l.Value
			return nil
		}
		if len(labels) <= 2*ingest.MaxLabels { // one over the bound is as good as many
			labels = append(labels, l)
		}
		return nil
	})
	r.batch.labels = labels
	if err != nil {
		return nil, "", malformed(err)
	}
	kind, unit := r.project.kindOf(metric, labels)
	return r.learn(ctx, key, declaration{metric: metric, labels: labels, kind: kind, unit: unit, valueType: tsdb.Double})
}
