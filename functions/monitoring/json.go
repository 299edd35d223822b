package monitoring

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"time"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// The JSON of google.monitoring.v3.ListTimeSeriesResponse is written by hand:
// an answer has up to 100,000 points, which this writes 15 times faster than
// protobuf reflection does, and without it a binary has no gRPC and protobuf in
// it, which are 7 MB. The tests read it back with the generated types.

// chunk is how much is gathered before it is written, in bytes.
const chunk = 64 << 10

// notAUnit is the unit of an answer whose series have different units, or
// none (the API).
const notAUnit = "{not_a_unit}"

// writePage writes a page as a ListTimeSeriesResponse.
func writePage(w io.Writer, page query.Page) error {
	e := encoder{w: w, buf: make([]byte, 0, chunk+chunk/4)}
	e.buf = append(e.buf, '{')
	if len(page.Results) > 0 {
		e.raw(`"timeSeries":[`)
		e.results(page.Results)
		e.raw(`],"unit":`)
		e.string(unitOf(page))
	}
	if page.Next != "" {
		if len(page.Results) > 0 {
			e.raw(",")
		}
		e.raw(`"nextPageToken":`)
		e.string(page.Next)
	}
	e.raw("}\n")
	return e.flush()
}

// separator is what comes before the element i of a list.
func separator(i int, first string) string {
	if i == 0 {
		return first
	}
	return ","
}

// unitOf is the unit of all series of a page.
func unitOf(page query.Page) string {
	unit := page.Results[0].Series.Unit
	for _, r := range page.Results {
		if r.Series.Unit != unit || unit == "" {
			return notAUnit
		}
	}
	return unit
}

// encoder gathers JSON and writes it in chunks. The first error stays.
type encoder struct {
	w   io.Writer
	buf []byte
	err error
	// last is the time that was written last, and lastText how.
	last     tsdb.Millis
	lastText []byte
	// day is the day of the time that was formatted last, in days since 1970,
	// and dayText how it is written.
	day     int64
	dayText []byte
}

// flush writes what is gathered; an encoder without a writer keeps it.
func (e *encoder) flush() error {
	if e.w == nil {
		return nil
	}
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
	return e.err
}

// raw appends JSON.
func (e *encoder) raw(text string) { e.buf = append(e.buf, text...) }

// string appends a JSON string.
func (e *encoder) string(text string) {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic("BUG: a string cannot be marshalled: " + err.Error())
	}
	e.buf = append(e.buf, quoted...)
}

// result appends a TimeSeries.
func (e *encoder) result(r query.Result) {
	s := r.Series
	e.raw(`{"metric":{"type":`)
	e.string(s.Metric)
	e.labels(s.MetricLabels)
	e.raw(`},"resource":{"type":`)
	e.string(s.Resource)
	e.labels(s.ResourceLabels)
	e.raw(`},"metricKind":`)
	e.string(string(s.Kind))
	e.raw(`,"valueType":`)
	e.string(string(s.ValueType))
	if s.Unit != "" {
		e.raw(`,"unit":`)
		e.string(s.Unit)
	}
	i := 0
	for at, v := range r.Newest {
		e.raw(separator(i, `,"points":[`))
		e.point(r, at, v)
		if i++; len(e.buf) > chunk && e.flush() != nil {
			break
		}
	}
	if i > 0 {
		e.raw("]")
	}
	e.raw("}")
}

// labels appends the labels of a metric or a resource, if there are any.
func (e *encoder) labels(labels tsdb.Labels) {
	for i, l := range labels {
		e.raw(separator(i, `,"labels":{`))
		e.string(l.Name)
		e.raw(":")
		e.string(l.Value)
	}
	if len(labels) > 0 {
		e.raw("}")
	}
}

// point appends a Point. The interval of a gauge is an instant; that of an
// aligned change is its window. When an unaligned change or count began is
// not stored, and then the start, which is optional, is left out.
func (e *encoder) point(r query.Result, at tsdb.Millis, v float64) {
	e.raw(`{"interval":{`)
	switch {
	case r.Series.Kind == tsdb.Gauge:
		e.raw(`"startTime":`)
		e.time(at)
		e.raw(",")
	case r.Period > 0:
		e.raw(`"startTime":`)
		e.time(at - r.Period)
		e.raw(",")
	}
	e.raw(`"endTime":`)
	e.time(at)
	e.raw(`},"value":{`)
	switch r.Series.ValueType {
	case tsdb.Bool:
		e.raw(`"boolValue":`)
		e.buf = strconv.AppendBool(e.buf, v != 0)
	case tsdb.Int64:
		e.raw(`"int64Value":"`)
		e.buf = strconv.AppendInt(e.buf, wholeNumber(v), 10)
		e.raw(`"`)
	default:
		e.raw(`"doubleValue":`)
		e.double(v)
	}
	e.raw("}}")
}

// dayMillis is how long a day is.
const dayMillis = int64(24 * time.Hour / time.Millisecond)

// time appends a time as protobuf's JSON has it: UTC, with milliseconds if it
// has some. The start and the end of a gauge's point are formatted once, and the
// date once for the points of a day: package time takes longer for one time than
// all the rest of its point.
func (e *encoder) time(t tsdb.Millis) {
	if t == e.last && len(e.lastText) > 0 {
		e.buf = append(e.buf, e.lastText...)
		return
	}
	day, rest := int64(t)/dayMillis, int64(t)%dayMillis
	if rest < 0 {
		day, rest = day-1, rest+dayMillis
	}
	if day != e.day || len(e.dayText) == 0 {
		e.day, e.dayText = day, time.UnixMilli(day*dayMillis).UTC().AppendFormat(e.dayText[:0], `"2006-01-02T`)
	}
	second, ms := rest/1000, rest%1000
	b := append(e.lastText[:0], e.dayText...)
	b = append(twoDigits(b, second/3600), ':')
	b = append(twoDigits(b, second/60%60), ':')
	b = twoDigits(b, second%60)
	if ms != 0 {
		b = twoDigits(append(b, '.', byte('0'+ms/100)), ms%100)
	}
	e.last, e.lastText = t, append(b, 'Z', '"')
	e.buf = append(e.buf, e.lastText...)
}

// twoDigits appends a number below 100.
func twoDigits(b []byte, n int64) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// wholeNumber is v as an integer: rounded, and the nearest that there is for
// sums that are too large.
func wholeNumber(v float64) int64 {
	switch v = math.Round(v); {
	case v >= math.MaxInt64:
		return math.MaxInt64
	case v <= math.MinInt64:
		return math.MinInt64
	}
	return int64(v)
}

// double appends a double as protobuf's JSON has it: the numbers that JSON
// does not know are strings.
func (e *encoder) double(v float64) {
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		e.raw(`"NaN"`)
	case math.IsInf(v, 1):
		e.raw(`"Infinity"`)
	case math.IsInf(v, -1):
		e.raw(`"-Infinity"`)
	case abs != 0 && abs < 1e-6 || abs >= 1e21:
		e.buf = strconv.AppendFloat(e.buf, v, 'e', -1, 64)
	default:
		e.buf = strconv.AppendFloat(e.buf, v, 'f', -1, 64)
	}
}
