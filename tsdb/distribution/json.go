package distribution

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"selvedge.dev/tsdb"
)

// AppendJSON appends d as protobuf's JSON has a google.api.Distribution: what is
// zero is left out, and integers of 64 bits are text. The API has no dynamic
// buckets; theirs are
//
//	"bucketOptions":{"dynamicBuckets":{"compression":100,"means":[1,2.5]}}
//
// with as many bucketCounts as means.
//
// The attachments of exemplars are google.monitoring.v3.SpanContext,
// google.protobuf.StringValue and google.monitoring.v3.DroppedLabels.
func AppendJSON(dst []byte, d *tsdb.Distribution) []byte {
	w := jsonWriter{dst: append(dst, '{'), first: true}
	w.integer("count", d.Count)
	w.number("mean", d.Mean)
	w.number("sumOfSquaredDeviation", d.SumOfSquaredDeviation)
	if d.Range != nil {
		w.open("range")
		w.number("min", d.Range.Min)
		w.number("max", d.Range.Max)
		w.close()
	}
	if b := &d.Buckets; b.Kind != tsdb.NoBuckets {
		w.open("bucketOptions")
		switch b.Kind {
		case tsdb.LinearBuckets:
			w.open("linearBuckets")
			w.plain("numFiniteBuckets", b.Finite)
			w.number("width", b.Width)
			w.number("offset", b.Offset)
		case tsdb.ExponentialBuckets:
			w.open("exponentialBuckets")
			w.plain("numFiniteBuckets", b.Finite)
			w.number("growthFactor", b.Growth)
			w.number("scale", b.Scale)
		case tsdb.ExplicitBuckets:
			w.open("explicitBuckets")
			w.numbers("bounds", b.Bounds)
		case tsdb.DynamicBuckets:
			w.open("dynamicBuckets")
			w.number("compression", b.Compression)
			w.numbers("means", b.Bounds)
		}
		w.close()
		w.close()
	}
	if len(d.Counts) > 0 {
		w.name("bucketCounts")
		for i, n := range d.Counts {
			w.dst = append(w.dst, "[,"[min(i, 1)], '"')
			w.dst = append(strconv.AppendInt(w.dst, n, 10), '"')
		}
		w.dst = append(w.dst, ']')
	}
	for i := range d.Exemplars {
		if i == 0 {
			w.name("exemplars")
		}
		w.dst = append(w.dst, "[,"[min(i, 1)], '{')
		w.first = true
		w.exemplar(&d.Exemplars[i])
	}
	if len(d.Exemplars) > 0 {
		w.dst = append(w.dst, ']')
	}
	return append(w.dst, '}')
}

// The types of the attachments of an exemplar.
const (
	SpanType    = "type.googleapis.com/google.monitoring.v3.SpanContext"
	TextType    = "type.googleapis.com/google.protobuf.StringValue"
	DroppedType = "type.googleapis.com/google.monitoring.v3.DroppedLabels"
)

// exemplar writes the fields of an exemplar and its end.
func (w *jsonWriter) exemplar(e *tsdb.Exemplar) {
	w.number("value", e.Value)
	w.text("timestamp", time.UnixMilli(int64(e.Time)).UTC().Format(time.RFC3339Nano))
	some := false
	attach := func(typ string) {
		if !some {
			w.name("attachments")
		}
		w.dst = append(w.dst, "[,"[btoi(some)], '{')
		some, w.first = true, true
		w.text("@type", typ)
	}
	if e.Span != "" {
		attach(SpanType)
		w.text("spanName", e.Span)
		w.close()
	}
	if e.Text != "" {
		attach(TextType)
		w.text("value", e.Text)
		w.close()
	}
	if len(e.Dropped) > 0 {
		attach(DroppedType)
		w.open("label")
		for _, l := range e.Dropped {
			w.text(l.Name, l.Value)
		}
		w.close()
		w.close()
	}
	if some {
		w.dst = append(w.dst, ']')
	}
	w.close()
}

// btoi is 1 for true.
func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// text writes a text. Neither it nor the name needs to be plain.
func (w *jsonWriter) text(name, v string) {
	if !w.first {
		w.dst = append(w.dst, ',')
	}
	w.first = false
	w.dst = append(append(append(w.dst, quoted(name)...), ':'), quoted(v)...)
}

// quoted is a text in JSON.
func quoted(text string) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic("BUG: a text that is none in JSON: " + err.Error())
	}
	return b
}

// jsonWriter writes the fields of objects.
type jsonWriter struct {
	dst   []byte
	first bool // whether the next field is the first of its object
}

// name writes the name of a field.
func (w *jsonWriter) name(name string) {
	if !w.first {
		w.dst = append(w.dst, ',')
	}
	w.first = false
	w.dst = append(append(append(w.dst, '"'), name...), `":`...)
}

// open begins an object in a field, close ends it.
func (w *jsonWriter) open(name string) {
	w.name(name)
	w.dst, w.first = append(w.dst, '{'), true
}

// close ends an object.
func (w *jsonWriter) close() { w.dst, w.first = append(w.dst, '}'), false }

// integer writes an integer of 64 bits.
func (w *jsonWriter) integer(name string, v int64) {
	if v != 0 {
		w.name(name)
		w.dst = append(strconv.AppendInt(append(w.dst, '"'), v, 10), '"')
	}
}

// plain writes an integer of 32 bits.
func (w *jsonWriter) plain(name string, v int) {
	if v != 0 {
		w.name(name)
		w.dst = strconv.AppendInt(w.dst, int64(v), 10)
	}
}

// number writes a number.
func (w *jsonWriter) number(name string, v float64) {
	if v != 0 || math.Signbit(v) {
		w.name(name)
		w.dst = strconv.AppendFloat(w.dst, v, 'g', -1, 64)
	}
}

// numbers writes a list of numbers.
func (w *jsonWriter) numbers(name string, list []float64) {
	if len(list) == 0 {
		return
	}
	w.name(name)
	for i, v := range list {
		w.dst = append(w.dst, "[,"[min(i, 1)])
		w.dst = strconv.AppendFloat(w.dst, v, 'g', -1, 64)
	}
	w.dst = append(w.dst, ']')
}
