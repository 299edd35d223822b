package monitoring

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// The JSON of google.monitoring.v3.ListTimeSeriesResponse is written by hand:
// an answer has up to 100,000 points of some 118 bytes, which this writes a
// hundred times faster than protobuf reflection does. The tests read it back with
// the generated types.

// chunk is how much is gathered before it is written, in bytes.
const chunk = 64 << 10

// notAUnit is the unit of an answer whose series have different units, or
// none (the API).
const notAUnit = "{not_a_unit}"

// write writes a page as a ListTimeSeriesResponse.
func (e *encoders) write(w io.Writer, page query.Page) error {
	one := e.get()
	defer e.put(one)
	one.w, one.err, one.begun, one.heads = w, nil, false, headsOf(page.Results)
	one.buf = append(one.buf[:0], '{')
	if len(page.Results) > 0 {
		one.raw(`"timeSeries":[`)
		e.results(one, page.Results)
		one.raw(`],"unit":`)
		one.string(unitOf(page))
	}
	if page.Next != "" {
		if len(page.Results) > 0 {
			one.raw(",")
		}
		one.raw(`"nextPageToken":`)
		one.string(page.Next)
	}
	if page.Trace != nil {
		if len(page.Results) > 0 || page.Next != "" {
			one.raw(",")
		}
		one.raw(`"explain":`)
		one.buf = append(one.buf, explain(page.Trace)...)
	}
	one.raw("}\n")
	if all, ok := w.(interface{ whole(text []byte) error }); ok && !one.begun {
		return all.whole(one.buf)
	}
	return one.flush()
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

// encoder gathers JSON and writes it in chunks. The first error stays. It is
// used again for other answers.
type encoder struct {
	w   io.Writer
	buf []byte
	err error
	// begun says that a part of the answer was written.
	begun bool
	// heads is how the points of the answer begin, nil when that is not known.
	heads *heads
	// last is the time that was written last, and lastText how.
	last     tsdb.Millis
	lastText []byte
	// day is the day of the time that was formatted last, in days since 1970,
	// and dayText how it is written.
	day     int64
	dayText []byte
	// known is how numbers were written.
	known numbers
}

// flush writes what is gathered; an encoder without a writer keeps it.
func (e *encoder) flush() error {
	if e.w == nil {
		return nil
	}
	e.begun = true
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
	if plain(text) {
		e.buf = append(append(append(e.buf, '"'), text...), '"')
		return
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic("BUG: a string cannot be marshalled: " + err.Error())
	}
	e.buf = append(e.buf, quoted...)
}

// plain reports whether a string has nothing that package json would escape or
// replace.
func plain(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
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
	e.points(r)
	e.raw("}")
}

// points appends the points of a series, if there are any.
func (e *encoder) points(r query.Result) {
	if r.Points.Distributions != nil {
		e.distributions(r)
		return
	}
	heads := e.heads.of(r)
	open := `,"points":[`
	// In a local slice: storing it in e for each part of a point takes a third
	// of all the time.
	b := e.buf
	for i := len(r.Points.Values) - 1; i >= 0; i-- {
		b = append(b, open...)
		open = ","
		if head := heads.at(r.Points.Times[i]); head != nil {
			b = append(b, head...)
		} else {
			b = e.interval(b, r, r.Points.Times[i])
		}
		b = append(e.value(b, r.Series.ValueType, r.Points.Values[i]), "}}"...)
		if e.w != nil && len(b) > chunk {
			e.buf = b
			if e.flush() != nil {
				break
			}
			b = e.buf
		}
	}
	if open == "," {
		b = append(b, ']')
	}
	e.buf = b
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

// value appends the field of a TypedValue.
func (e *encoder) value(b []byte, t tsdb.ValueType, v float64) []byte {
	switch t {
	case tsdb.Bool:
		return strconv.AppendBool(append(b, `"boolValue":`...), v != 0)
	case tsdb.Int64:
		return append(strconv.AppendInt(append(b, `"int64Value":"`...), wholeNumber(v), 10), '"')
	default:
		return e.known.append(append(b, `"doubleValue":`...), v)
	}
}

// interval appends the beginning of a Point, up to its value. The interval of a
// gauge is an instant; that of an aligned change is its window. When an
// unaligned change or count began is not stored, and then the start, which is
// optional, is left out.
func (e *encoder) interval(b []byte, r query.Result, at tsdb.Millis) []byte {
	b = append(b, `{"interval":{`...)
	switch {
	case r.Series.Kind == tsdb.Gauge:
		b = append(e.time(append(b, `"startTime":`...), at), ',')
	case r.Period > 0:
		b = append(e.time(append(b, `"startTime":`...), at-r.Period), ',')
	}
	return append(e.time(append(b, `"endTime":`...), at), `},"value":{`...)
}

// dayMillis is how long a day is.
const dayMillis = int64(24 * time.Hour / time.Millisecond)

// time appends to a slice a time as protobuf's JSON has it: UTC, with milliseconds if it
// has some. The start and the end of a gauge's point are formatted once, and the
// date once for the points of a day: package time takes longer for one time than
// all the rest of its point.
func (e *encoder) time(to []byte, t tsdb.Millis) []byte {
	if t == e.last && len(e.lastText) > 0 {
		return append(to, e.lastText...)
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
	return append(to, e.lastText...)
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

// appendDouble appends a double as protobuf's JSON has it: the numbers that JSON
// does not know are strings.
func appendDouble(b []byte, v float64) []byte {
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		return append(b, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(b, `"-Infinity"`...)
	case abs != 0 && abs < 1e-6 || abs >= 1e21:
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	default:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
}
