package wire

import (
	"encoding/hex"

	"selvedge.dev/tsdb"
)

// maxPointExemplars bounds the exemplars of a point that are read: an SDK has one
// for each bucket, and not many buckets.
const maxPointExemplars = 1000

// exemplar reads a field with an Exemplar of OTLP:
//
//	Exemplar  2 time_unix_nano: fixed64  3 as_double  4 span_id: bytes
//	          5 trace_id: bytes  6 as_int: sfixed64
//	          7 filtered_attributes: KeyValue*
//
// The attributes that are not those of the point are labels that were dropped. A
// trace without a span, and ids of another length, are none.
func (p *histogramPoint) exemplar(f pbField) error {
	message, err := f.message()
	if err != nil || len(p.exemplars) == maxPointExemplars {
		return err
	}
	var e tsdb.Exemplar
	var trace, span []byte
	labels := map[string]string{}
	err = eachField(message, func(f pbField) (err error) {
		switch f.number {
		case 2:
			var nanos uint64
			nanos, err = f.fixed()
			e.Time = tsdb.Millis(nanos / 1_000_000)
		case 3:
			e.Value, err = f.double()
		case 4:
			span, err = f.message()
		case 5:
			trace, err = f.message()
		case 6:
			var v uint64
			v, err = f.fixed()
			e.Value = float64(int64(v))
		case 7:
			var data []byte
			if data, err = f.message(); err == nil {
				err = attribute(labels, data)
			}
		}
		return err
	})
	if len(trace) == traceBytes && len(span) == spanBytes {
		e.Span = "/traces/" + hex.EncodeToString(trace) + "/spans/" + hex.EncodeToString(span)
	}
	if len(labels) > 0 {
		e.Dropped = tsdb.LabelsOf(labels)
	}
	p.exemplars = append(p.exemplars, e)
	return err
}

// traceBytes and spanBytes are how long the ids of OpenTelemetry are.
const (
	traceBytes = 16
	spanBytes  = 8
)
