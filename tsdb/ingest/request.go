package ingest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"selvedge.dev/sdk/jsonscan"
	"selvedge.dev/tsdb"
)

// MalformedTimeSeries is the reason for refusing JSON that is no
// CreateTimeSeriesRequest.
const MalformedTimeSeries = "MALFORMED_TIME_SERIES"

// request is what is read of a google.monitoring.v3.CreateTimeSeriesRequest.
// The JSON follows the mapping of proto3: names in lowerCamelCase or as in
// the .proto file, null for absent, 64-bit integers as strings or numbers.
type request struct {
	name   string
	series []series
}

// series is a google.monitoring.v3.TimeSeries.
type series struct {
	metric, resource             string
	metricLabels, resourceLabels map[string]string
	// kind and valueType are "" when unspecified; valueType may be one that
	// is not stored.
	kind      tsdb.MetricKind
	valueType tsdb.ValueType
	unit      string
	points    []point
}

// point is a google.monitoring.v3.Point.
type point struct {
	start, end string
	value      value
	// distribution is the value if it is one, else nil.
	distribution *tsdb.Distribution
	// lost is how many exemplars the distribution is without.
	lost int
	// refused is the reason why the value cannot be stored, "" if it can.
	refused string
}

// The values of the two enums by their numbers, which JSON may use as well.
var (
	metricKinds = []tsdb.MetricKind{"", tsdb.Gauge, tsdb.Delta, tsdb.Cumulative}
	valueTypes  = []tsdb.ValueType{"", tsdb.Bool, tsdb.Int64, tsdb.Double, "STRING", tsdb.Distributed, "MONEY"}
)

// parseRequest reads data. An error is Invalid.
func parseRequest(data []byte) (*request, error) {
	p := parser{jsonscan.New(data)}
	var req request
	err := p.message([]byte("the request"), func(name []byte) error {
		switch string(name) {
		case "name":
			return p.string(name, &req.name)
		case "timeSeries", "time_series":
			return p.list(name, func() error {
				req.series = append(req.series, series{})
				return p.series(&req.series[len(req.series)-1])
			})
		}
		return p.Skip()
	})
	if err == nil {
		err = p.End()
	}
	if err != nil {
		return nil, malformed(MalformedTimeSeries, err)
	}
	return &req, nil
}

// parser reads the parts of a request. The target of a null is left as it is.
type parser struct {
	jsonscan.Scanner
}

// series reads a TimeSeries.
func (p *parser) series(ts *series) error {
	return p.message([]byte("timeSeries"), func(name []byte) error {
		switch string(name) {
		case "metric":
			return p.typed(name, &ts.metric, &ts.metricLabels)
		case "resource":
			return p.typed(name, &ts.resource, &ts.resourceLabels)
		case "metricKind", "metric_kind":
			return enum(p, name, metricKinds, &ts.kind)
		case "valueType", "value_type":
			return enum(p, name, valueTypes, &ts.valueType)
		case "unit":
			return p.string(name, &ts.unit)
		case "points":
			return p.list(name, func() error {
				ts.points = append(ts.points, point{refused: NoValue})
				return p.point(&ts.points[len(ts.points)-1])
			})
		}
		return p.Skip()
	})
}

// typed reads a Metric or a MonitoredResource.
func (p *parser) typed(field []byte, typ *string, labels *map[string]string) error {
	return p.message(field, func(name []byte) error {
		switch string(name) {
		case "type":
			return p.string(name, typ)
		case "labels":
			return p.message(name, func(name []byte) error {
				if *labels == nil {
					*labels = map[string]string{}
				}
				var v string
				err := p.string(name, &v)
				(*labels)[string(name)] = v
				return err
			})
		}
		return p.Skip()
	})
}

// point reads a Point.
func (p *parser) point(pt *point) error {
	return p.message([]byte("points"), func(name []byte) error {
		switch string(name) {
		case "interval":
			return p.message(name, func(name []byte) error {
				switch string(name) {
				case "startTime", "start_time":
					return p.string(name, &pt.start)
				case "endTime", "end_time":
					return p.string(name, &pt.end)
				}
				return p.Skip()
			})
		case "value":
			return p.message(name, func(name []byte) error { return p.typedValue(name, pt) })
		}
		return p.Skip()
	})
}

// typedValue reads the one field of a TypedValue that is there.
func (p *parser) typedValue(name []byte, pt *point) error {
	switch string(name) {
	case "distributionValue", "distribution_value":
		if p.Peek() == 'n' {
			return p.Skip()
		}
		return p.distribution(pt)
	case "boolValue", "bool_value", "int64Value", "int64_value", "doubleValue", "double_value", "stringValue", "string_value":
	default:
		return p.Skip()
	}
	v, err := p.plain(name)
	if err != nil || v.Kind == jsonscan.Null {
		return err
	}
	pt.refused = ""
	ok := false
	switch name[0] {
	case 'b':
		if ok = v.Kind == jsonscan.Bool; ok {
			pt.value = v.value()
		}
	case 'i':
		pt.value, ok = v.int64()
	case 'd':
		pt.value, ok = v.double()
	default:
		ok, pt.refused = v.Kind == jsonscan.String, StringNotSupported
	}
	if !ok {
		return wrongType(name)
	}
	return nil
}

// jsonNumber is the number that v is, or that its text spells.
func (v scalar) jsonNumber() ([]byte, bool) {
	raw := v.Raw
	switch v.Kind {
	case jsonscan.Number:
		return raw, true
	case jsonscan.String:
		raw = v.text()
	default:
		return nil, false
	}
	return raw, jsonscan.IsNumber(raw)
}

// int64 is v as an int64 in the JSON of proto3: also as text, also as 1e3.
func (v scalar) int64() (value, bool) {
	raw, ok := v.jsonNumber()
	if !ok {
		return value{}, false
	}
	if i, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return value{number: float64(i), integer: true}, true
	}
	f := parseFloat(raw)
	// -2^63 is an int64, 2^63 is the first float64 that is none.
	if f != math.Trunc(f) || f < -(1<<63) || f >= 1<<63 {
		return value{}, false
	}
	return value{number: f, integer: true}, true
}

// double is v as a double in the JSON of proto3: also as text, which can say
// NaN and the infinities.
func (v scalar) double() (value, bool) {
	if v.Kind == jsonscan.String {
		switch string(v.text()) {
		case "NaN":
			return value{number: math.NaN()}, true
		case "Infinity":
			return value{number: math.Inf(1)}, true
		case "-Infinity":
			return value{number: math.Inf(-1)}, true
		}
	}
	raw, ok := v.jsonNumber()
	if !ok {
		return value{}, false
	}
	return value{number: parseFloat(raw)}, true
}

// message reads an object, or null.
func (p *parser) message(field []byte, member func(name []byte) error) error {
	switch p.Peek() {
	case '{':
		return p.Object(member)
	case 'n':
		return p.Skip()
	}
	return wrongType(field)
}

// list reads an array, or null.
func (p *parser) list(field []byte, element func() error) error {
	switch p.Peek() {
	case '[':
		return p.Array(element)
	case 'n':
		return p.Skip()
	}
	return wrongType(field)
}

// string reads a string, or null.
func (p *parser) string(field []byte, into *string) error {
	v, err := p.plain(field)
	switch {
	case err != nil:
		return err
	case v.Kind == jsonscan.String:
		*into = string(v.text())
	case v.Kind != jsonscan.Null:
		return wrongType(field)
	}
	return nil
}

// enum reads a value of an enum, by name or by number, or null.
func enum[T ~string](p *parser, field []byte, values []T, into *T) error {
	v, err := p.plain(field)
	switch {
	case err != nil || v.Kind == jsonscan.Null:
		return err
	case v.Kind == jsonscan.String:
		name := T(v.text())
		if strings.HasSuffix(string(name), "_UNSPECIFIED") {
			name = ""
		}
		if slices.Contains(values, name) {
			*into = name
			return nil
		}
	case v.Kind == jsonscan.Number:
		if i, err := strconv.Atoi(string(v.Raw)); err == nil && i >= 0 && i < len(values) {
			*into = values[i]
			return nil
		}
	}
	return wrongType(field)
}

// plain reads a value that is no object and no array.
func (p *parser) plain(field []byte) (scalar, error) {
	if c := p.Peek(); c == '{' || c == '[' {
		return scalar{}, wrongType(field)
	}
	v, err := p.Scalar()
	return scalar(v), err
}

// wrongType is the error of a field that has not the form it should have.
func wrongType(field []byte) error {
	return invalid(MalformedTimeSeries, fmt.Errorf("the field %q has a value of the wrong type", field))
}
