package wire

import (
	"bytes"
	"context"
	"math"
	"strconv"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
)

// Influx line protocol:
//
//	measurement[,tag=value…] field=value[,field=value…] [timestamp]
//
// Field F of measurement M is the metric M_F, as VictoriaMetrics has it, so
// that its dashboards and PromQL find it. A float is a DOUBLE, 1i and 1u are
// INT64, true and false BOOL. Text is no point, and so no loss either. A
// backslash escapes a comma, a space, an equals sign and itself; within quotes
// a quote and itself.

// influxField is a field of the line in hand, as it is written.
type influxField struct {
	key   []byte
	value float64
	// valueType is that of value, "" for text.
	valueType tsdb.ValueType
}

// influx decodes lines.
func (r *run) influx(ctx context.Context) error {
	data := r.request.Data
	for len(data) > 0 {
		switch data[0] {
		case '\n', '\r', ' ':
			data = data[1:]
			continue
		case '#':
			data = afterLine(data)
			continue
		}
		var err error
		if data, err = r.line(ctx, data); err != nil {
			return err
		}
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// afterLine is what comes after the first line of data.
func afterLine(data []byte) []byte {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return nil
	}
	return data[i+1:]
}

// line decodes the first line of data and returns what comes after it. A line
// that is not well formed is one loss, and nothing of it is kept.
func (r *run) line(ctx context.Context, data []byte) ([]byte, error) {
	n := keyLength(data)
	if n <= 0 {
		r.batch.Lose(InvalidLine, 1)
		return afterLine(data), nil
	}
	key, rest := data[:n], data[n:]
	for len(rest) > 0 && rest[0] == ' ' {
		rest = rest[1:]
	}
	r.batch.fields = r.batch.fields[:0]
	for {
		var ok bool
		if rest, ok = r.field(rest); !ok {
			r.batch.Lose(InvalidLine, 1)
			return afterLine(rest), nil
		}
		if len(rest) == 0 || rest[0] != ',' {
			break
		}
		rest = rest[1:]
	}
	stamp := rest
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		stamp, rest = rest[:i], rest[i+1:]
	} else {
		rest = nil
	}
	t, ok := r.stamp(bytes.Trim(stamp, " \r"))
	if !ok {
		r.batch.Lose(InvalidLine, 1)
		return rest, nil
	}
	return rest, r.put(ctx, key, t)
}

// keyLength is the length of measurement and tags: up to the first space that
// is not escaped, -1 if the line has none.
func keyLength(data []byte) int {
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case ' ':
			return i
		case '\n':
			return -1
		case '\\':
			if i++; i < len(data) && data[i] == '\n' {
				return -1
			}
		}
	}
	return -1
}

// field reads key=value into the batch's fields, and returns what follows,
// which begins with a comma, a space or the line's end. If it is not well formed,
// what is returned still holds the end of the line.
func (r *run) field(data []byte) ([]byte, bool) {
	i := 0
	for ; i < len(data) && data[i] != '='; i++ {
		switch data[i] {
		case '\\':
			if i+1 < len(data) && data[i+1] != '\n' {
				i++
			}
		case ' ', ',', '\n':
			return data[i:], false
		}
	}
	if i == 0 || i >= len(data)-1 {
		return data, false
	}
	f := influxField{key: data[:i]}
	data = data[i+1:]
	if data[0] == '"' {
		n := quoted(data)
		if n < 0 {
			return data, false
		}
		data = data[n:]
		r.batch.fields = append(r.batch.fields, f)
		return data, len(data) == 0 || data[0] == ',' || data[0] == ' ' || data[0] == '\n' || data[0] == '\r'
	}
	n := 0
	for n < len(data) && data[n] != ',' && data[n] != ' ' && data[n] != '\n' && data[n] != '\r' {
		n++
	}
	var ok bool
	f.value, f.valueType, ok = influxValue(data[:n])
	r.batch.fields = append(r.batch.fields, f)
	return data[n:], ok
}

// quoted is the length of the quoted text at the start of data, -1 if it does
// not end. It may hold line breaks.
func quoted(data []byte) int {
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// influxValue is the value of a field that is no text.
func influxValue(raw []byte) (float64, tsdb.ValueType, bool) {
	if len(raw) == 0 {
		return 0, "", false
	}
	switch last := raw[len(raw)-1]; {
	case last >= '0' && last <= '9' || last == '.':
		v, ok := number(raw)
		return v, tsdb.Double, ok
	case last == 'i':
		v, err := strconv.ParseInt(string(raw[:len(raw)-1]), 10, 64)
		return float64(v), tsdb.Int64, err == nil
	case last == 'u':
		v, err := strconv.ParseUint(string(raw[:len(raw)-1]), 10, 64)
		return float64(v), tsdb.Int64, err == nil
	}
	switch string(raw) {
	case "t", "T", "true", "True", "TRUE":
		return 1, tsdb.Bool, true
	case "f", "F", "false", "False", "FALSE":
		return 0, tsdb.Bool, true
	case "NaN", "nan", "+Inf", "-Inf", "Inf", "inf", "+inf", "-inf":
		return math.NaN(), tsdb.Double, true
	}
	return 0, "", false
}

// pow10 are the powers of ten that a float64 has exactly and that number needs.
var pow10 = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// number is the float64 nearest to a decimal number. Up to 15 digits without
// exponent the mantissa and the power of ten are exact, and so the quotient is
// the nearest; all others are left to strconv.
func number(raw []byte) (float64, bool) {
	i, negative := 0, false
	if raw[0] == '-' || raw[0] == '+' {
		negative, i = raw[0] == '-', 1
	}
	mantissa, digits, point := uint64(0), 0, -1
	for ; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c >= '0' && c <= '9':
			mantissa = mantissa*10 + uint64(c-'0')
			digits++
		case c == '.' && point < 0:
			point = digits
		case c == 'e' || c == 'E' || c == '+' || c == '-':
			digits = len(pow10) // strconv
		default:
			return 0, false
		}
	}
	if digits == 0 {
		return 0, false
	}
	if digits >= len(pow10) {
		// An error of range still comes with the infinity that is refused.
		v, err := strconv.ParseFloat(string(raw), 64)
		return v, err == nil || math.IsInf(v, 0)
	}
	v := float64(mantissa)
	if point >= 0 {
		v /= pow10[digits-point]
	}
	if negative {
		v = -v
	}
	return v, true
}

// stamp is the time of a line; it is Now if the line has none. Times beyond
// what can be told become ones that are refused.
func (r *run) stamp(raw []byte) (tsdb.Millis, bool) {
	if len(raw) == 0 {
		return r.request.Now, true
	}
	v, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, false
	}
	const milli = 1_000_000
	unit := int64(r.request.Unit)
	switch {
	case unit < milli:
		per := milli / max(unit, 1)
		t := v / per
		if v < 0 && v%per != 0 {
			t-- // truncated towards the past, as all times are
		}
		return tsdb.Millis(t), true
	case v > math.MaxInt64/(unit/milli):
		return math.MaxInt64, true
	case v < math.MinInt64/(unit/milli):
		return math.MinInt64, true
	}
	return tsdb.Millis(v * (unit / milli)), true
}

// put adds the fields of a line.
func (r *run) put(ctx context.Context, key []byte, t tsdb.Millis) error {
	fields := r.batch.fields
	r.batch.fields = fields[:0]
	k := r.project.series[Influx][string(key)]
	refused := r.inTime(t)
	for i := range fields {
		f := &fields[i]
		switch {
		case f.valueType == "":
			continue
		case refused != "":
			r.batch.Lose(refused, 1)
			continue
		case !finite(f.value):
			r.batch.Lose(ingest.NotFinite, 1)
			continue
		}
		s := k.field(i, f.key)
		if s == nil {
			var reason string
			var err error
			if s, reason, err = r.learnField(ctx, key, f); err != nil {
				return err
			}
			if reason != "" {
				r.batch.Lose(reason, 1)
				continue
			}
			k = r.project.series[Influx][string(key)]
		}
		if s.ValueType != f.valueType && ((f.valueType == tsdb.Bool) != (s.ValueType == tsdb.Bool) || !fits(f.value, s.ValueType)) {
			r.batch.Lose(ingest.TypeConflict, 1)
			continue
		}
		r.batch.Samples = append(r.batch.Samples, tsdb.Sample{Series: s, Time: t, Value: f.value})
	}
	return nil
}

// field is the series of a field, nil if it is not known. Clients write the
// fields of a measurement in one order, so it is looked for at its place first.
func (k *known) field(i int, name []byte) *tsdb.Series {
	if k == nil {
		return nil
	}
	if i < len(k.fields) && k.fields[i].name == string(name) {
		return k.fields[i].series
	}
	for i := range k.fields {
		if k.fields[i].name == string(name) {
			return k.fields[i].series
		}
	}
	return nil
}

// learnField makes the series of a field, and remembers it.
func (r *run) learnField(ctx context.Context, key []byte, f *influxField) (*tsdb.Series, string, error) {
	measurement, labels, ok := r.tags(key)
	if !ok {
		return nil, ingest.InvalidLabel, nil
	}
	name := unescape(f.key)
	metric := measurement + "_" + name
	if measurement == "" || name == "" {
		return nil, ingest.InvalidMetric, nil
	}
	s, reason, err := r.declare(ctx, key, declaration{metric: metric, labels: labels, valueType: f.valueType})
	if err != nil || reason != "" {
		return nil, reason, err
	}
	r.remember(func(p *project) bool {
		k := p.series[Influx][string(key)]
		if k.field(0, f.key) != nil {
			return false
		}
		// Readers that hold the old one go on with it.
		next := &known{}
		if k != nil {
			next.fields = append(next.fields, k.fields...)
			if len(k.fields) > 0 {
				s.MetricLabels, s.ResourceLabels = k.fields[0].series.MetricLabels, k.fields[0].series.ResourceLabels
			}
		}
		next.fields = append(next.fields, knownField{name: string(f.key), series: s})
		p.series[Influx][string(key)] = next
		return true
	})
	return s, reason, nil
}

// tags splits a key into the measurement and its tags.
func (r *run) tags(key []byte) (string, tsdb.Labels, bool) {
	part, rest, more := cutUnescaped(key, ',')
	measurement := unescape(part)
	labels := r.batch.labels[:0]
	for more {
		part, rest, more = cutUnescaped(rest, ',')
		name, value, ok := cutUnescaped(part, '=')
		if !ok || len(name) == 0 || len(value) == 0 || len(labels) > 2*ingest.MaxLabels {
			return "", nil, false
		}
		labels = append(labels, tsdb.Label{Name: unescape(name), Value: unescape(value)})
	}
	r.batch.labels = labels
	return measurement, labels, true
}

// cutUnescaped cuts around the first separator that is not escaped.
func cutUnescaped(s []byte, separator byte) (before, after []byte, found bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			return s[:i], s[i+1:], true
		}
	}
	return s, nil, false
}

// unescape removes the backslashes that escape something; the others stay.
func unescape(s []byte) string {
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s)
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == ' ' || s[i+1] == '=' || s[i+1] == '\\') {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}
