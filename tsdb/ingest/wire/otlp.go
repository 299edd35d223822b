package wire

import (
	"context"
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// OTLP metrics 1.x, after opentelemetry/proto/metrics/v1/metrics.proto:
//
//	ExportMetricsServiceRequest 1 resource_metrics: ResourceMetrics*
//	ResourceMetrics 1 resource: Resource  2 scope_metrics: ScopeMetrics*
//	Resource        1 attributes: KeyValue*
//	ScopeMetrics    2 metrics: Metric*
//	Metric          1 name  3 unit  5 gauge  7 sum  9 histogram
//	                10 exponential_histogram  11 summary
//	Gauge           1 data_points*
//	Sum             1 data_points*  2 aggregation_temporality  3 is_monotonic
//	NumberDataPoint 3 time_unix_nano: fixed64  4 as_double  6 as_int: sfixed64
//	                7 attributes: KeyValue*  8 flags
//	KeyValue        1 key  2 value: AnyValue
//	AnyValue        1 string  2 bool  3 int  4 double  5 array  6 kvlist  7 bytes
//
// The attributes of the resource and of the point are the labels; the point's
// win. As OpenTelemetry maps them for Prometheus, service.name (behind
// service.namespace and a slash) is the job and service.instance.id the
// instance; device.id names a device. Lists and bytes are left out, and so is
// what says who measured, the scope.
//
// Histograms are in otlphistogram.go. A gauge is GAUGE, a monotonic sum CUMULATIVE or DELTA, and a sum that may
// fall is GAUGE when it is cumulative and DELTA when it is not.

// The bits and numbers that matter.
const (
	temporalityDelta = 1
	// flagNoValue says that there is no value: OTLP's staleness marker.
	flagNoValue = 1
)

// otlp decodes an ExportMetricsServiceRequest.
func (r *run) otlp(ctx context.Context) error {
	return r.within(r.request.Data, 1, func(resource []byte) error {
		key := r.batch.text[:0]
		if err := r.within(resource, 1, func(data []byte) error {
			return r.within(data, 1, func(attribute []byte) error {
				key = appendPart(key, attribute)
				return nil
			})
		}); err != nil {
			return err
		}
		r.batch.text = key
		return r.within(resource, 2, func(scope []byte) error {
			return r.within(scope, 2, func(metric []byte) error { return r.metric(ctx, metric) })
		})
	})
}

// within calls f with every message that field number of message holds. The
// error of a message that is not well formed is that of Decode.
func (r *run) within(message []byte, number protowire.Number, f func([]byte) error) error {
	for len(message) > 0 {
		field, rest, err := nextField(message)
		if err != nil {
			return malformed(err)
		}
		message = rest
		if field.number != number {
			continue
		}
		data, err := field.message()
		if err != nil {
			return malformed(err)
		}
		if err := f(data); err != nil {
			return err
		}
	}
	return nil
}

// appendPart appends a part of a key behind its length.
func appendPart(key, part []byte) []byte {
	return append(binary.AppendUvarint(key, uint64(len(part))), part...)
}

// otlpMetric is a Metric but for its points.
type otlpMetric struct {
	name, unit []byte
	// data are Gauge, Sum, Histogram, ExponentialHistogram or Summary, in which
	// field 1 are the points.
	data []byte
	form protowire.Number // the number of the field
	kind tsdb.MetricKind
	// exponential says that it is an ExponentialHistogram.
	exponential bool
}

// The numbers of the fields of a Metric that hold points.
const (
	formGauge       = 5
	formSum         = 7
	formHistogram   = 9
	formExponential = 10
	formSummary     = 11
)

// metric decodes a Metric.
func (r *run) metric(ctx context.Context, message []byte) error {
	var m otlpMetric
	err := eachField(message, func(f pbField) (err error) {
		switch f.number {
		case 1:
			m.name, err = f.message()
		case 3:
			m.unit, err = f.message()
		case formGauge, formSum, formHistogram, formExponential, formSummary:
			m.form = f.number
			m.data, err = f.message()
		}
		return err
	})
	if err == nil {
		err = m.setKind()
	}
	if err != nil {
		return malformed(err)
	}
	return r.within(m.data, 1, func(point []byte) error {
		switch m.form {
		case formSummary:
			r.batch.Lose(ingest.DistributionNotSupported, 1)
			return nil
		case formHistogram, formExponential:
			return r.histogram(ctx, &m, point)
		}
		return r.point(ctx, &m, point)
	})
}

// setKind finds out the kind.
func (m *otlpMetric) setKind() (err error) {
	m.kind, m.exponential = tsdb.Gauge, m.form == formExponential
	switch m.form {
	case formSum:
		m.kind, err = sumKind(m.data)
	case formHistogram, formExponential:
		m.kind, err = histogramKind(m.data)
	}
	return err
}

// sumKind is the kind of a Sum.
func sumKind(sum []byte) (tsdb.MetricKind, error) {
	var temporality, monotonic int64
	err := eachField(sum, func(f pbField) (err error) {
		switch f.number {
		case 2:
			temporality, err = f.varint()
		case 3:
			monotonic, err = f.varint()
		}
		return err
	})
	switch {
	case temporality == temporalityDelta:
		return tsdb.Delta, err
	case monotonic != 0:
		return tsdb.Cumulative, err
	}
	return tsdb.Gauge, err
}

// numberPoint is a NumberDataPoint but for its attributes.
type numberPoint struct {
	time      uint64
	value     float64
	valueType tsdb.ValueType
	flags     int64
}

// point decodes a NumberDataPoint.
func (r *run) point(ctx context.Context, m *otlpMetric, message []byte) error {
	var p numberPoint
	spans := r.batch.spans[:0]
	for len(message) > 0 {
		f, rest, err := nextField(message)
		if err != nil {
			return malformed(err)
		}
		message = rest
		switch f.number {
		case 3:
			p.time, err = f.fixed()
		case 4:
			p.valueType = tsdb.Double
			p.value, err = f.double()
		case 6:
			p.valueType = tsdb.Int64
			var n uint64
			n, err = f.fixed()
			p.value = float64(int64(n))
		case 7:
			var data []byte
			data, err = f.message()
			spans = append(spans, data)
		case 8:
			p.flags, err = f.varint()
		}
		if err != nil {
			return malformed(err)
		}
	}
	r.batch.spans = spans
	if p.flags&flagNoValue != 0 {
		return nil
	}
	if p.valueType == "" {
		r.batch.Lose(ingest.NoValue, 1)
		return nil
	}
	t := r.request.Now // a point without a time, which OTLP forbids
	if p.time != 0 {
		t = tsdb.Millis(p.time / 1_000_000)
	}
	if !r.admits(p.value, t) {
		return nil
	}
	s, reason, err := r.seriesOf(ctx, m, p.valueType)
	if err != nil {
		return err
	}
	r.add(s, reason, p.value, t)
	return r.room()
}

// seriesOf is the series of the point whose attributes are in the batch. Its key
// is the resource's attributes, the metric, its kind and unit, and the point's
// attributes, as they are written.
func (r *run) seriesOf(ctx context.Context, m *otlpMetric, valueType tsdb.ValueType) (*tsdb.Series, string, error) {
	key := appendPart(r.batch.key[:0], r.batch.text)
	key = appendPart(appendPart(appendPart(key, m.name), m.unit), []byte(m.kind))
	for _, s := range r.batch.spans {
		key = appendPart(key, s)
	}
	r.batch.key = key
	if known := r.project.series[OTLP][string(key)]; known != nil {
		return known.series, "", nil
	}
	return r.learnPoint(ctx, m, valueType)
}

// learnPoint makes the series of the point whose key and attributes are in the
// batch.
func (r *run) learnPoint(ctx context.Context, m *otlpMetric, valueType tsdb.ValueType) (*tsdb.Series, string, error) {
	labels := map[string]string{}
	for rest := r.batch.text; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		if err := attribute(labels, rest[size:size+int(n)]); err != nil {
			return nil, "", malformed(err)
		}
		rest = rest[size+int(n):]
	}
	promote(labels)
	for _, s := range r.batch.spans {
		if err := attribute(labels, s); err != nil {
			return nil, "", malformed(err)
		}
	}
	return r.learn(ctx, r.batch.key, declaration{
		metric: string(m.name), labels: tsdb.LabelsOf(labels), kind: m.kind, unit: string(m.unit), must: true, valueType: valueType,
	})
}

// promote gives the attributes that name a resource the names that they have in
// the other formats.
func promote(labels map[string]string) {
	rename := func(from, to string) {
		if v, ok := labels[from]; ok && labels[to] == "" {
			labels[to] = v
			delete(labels, from)
		}
	}
	if space := labels["service.namespace"]; space != "" && labels["service.name"] != "" {
		labels["service.name"] = space + "/" + labels["service.name"]
		delete(labels, "service.namespace")
	}
	rename("service.name", wireJob)
	rename("service.instance.id", wireInstance)
	rename("device.id", wireDevice)
}

// attribute adds a KeyValue to labels; more than can be wanted are left out.
func attribute(labels map[string]string, message []byte) error {
	var key, value string
	err := eachField(message, func(f pbField) error {
		text, err := f.message()
		switch f.number {
		case 1:
			key = string(text)
		case 2:
			if err == nil {
				value, err = anyValue(text)
			}
		}
		return err
	})
	if value != "" && len(labels) <= 2*ingest.MaxLabels {
		labels[key] = value
	}
	return err
}

// anyValue is an AnyValue as text, "" for lists and bytes.
func anyValue(message []byte) (value string, err error) {
	err = eachField(message, func(f pbField) error {
		switch f.number {
		case 1:
			text, err := f.message()
			value = string(text)
			return err
		case 2:
			n, err := f.varint()
			value = strconv.FormatBool(n != 0)
			return err
		case 3:
			n, err := f.varint()
			value = strconv.FormatInt(n, 10)
			return err
		case 4:
			v, err := f.double()
			value = strconv.FormatFloat(v, 'g', -1, 64)
			if math.Trunc(v) == v && math.Abs(v) < 1<<53 {
				value = strconv.FormatFloat(v, 'f', -1, 64)
			}
			return err
		}
		return nil
	})
	return value, err
}
