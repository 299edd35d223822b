package embedded

import (
	"math"
	"strconv"
	"strings"

	"selvedge.dev/logstore"
	"selvedge.dev/logstore/filter"
)

// place is where the rows have a field.
type place struct {
	// column is its column, "" also for the text of a payload; shape is the
	// column that says of what type its values are, if they may be of several.
	column, shape string
	// key is the last element of its path, as shapes have it.
	key string
	// arrays are the columns of arrays that may have it.
	arrays []string
	// object says that it is a map or an object of which any value is meant.
	object bool
}

// placeOf finds the place of a field by its canonical path.
func placeOf(path []string) (place, bool) {
	if canonical, _, err := filter.Field(path); err == nil {
		path = canonical
	}
	switch strings.Join(path[:min(len(path), 2)], ".") {
	case "insertId":
		return place{column: columnInsertID}, true
	case "trace":
		return place{column: columnTrace}, true
	case "spanId":
		return place{column: columnSpan}, true
	case "textPayload":
		return place{column: columnMessage}, true
	case "resource.type":
		return place{column: columnType}, true
	case "resource.labels":
		return mapPlace(resourcePrefix, path[2:])
	case "protoPayload.@type":
		return place{column: columnTypeURL}, true
	}
	switch path[0] {
	case "labels":
		return mapPlace(labelPrefix, path[1:])
	case "jsonPayload":
		return jsonPlace(columnShape, jsonPrefix, path[1:])
	case "protoPayload":
		if len(path) > 1 {
			break // names of its fields may be written in several ways
		}
		return jsonPlace(columnShape, protoPrefix, nil)
	case "httpRequest", "operation", "sourceLocation", "split", "errorGroups":
		return jsonPlace(columnExtras, extraPrefix, path)
	}
	return place{}, false
}

// mapPlace is the place of a label, or of all of them.
func mapPlace(prefix string, key []string) (place, bool) {
	if len(key) == 0 {
		return place{column: prefix, object: true}, true
	}
	return place{column: prefix + key[0]}, plainName(key[0])
}

// jsonPlace is the place of a value in JSON, or of all of them.
func jsonPlace(shape, prefix string, path []string) (place, bool) {
	if len(path) == 0 {
		return place{column: prefix, shape: shape, object: true}, true
	}
	p := place{shape: shape, key: path[len(path)-1]}
	name := []byte(prefix)
	for i, key := range path {
		if !plainName(key) {
			return place{}, false
		}
		if i > 0 {
			name = append(name, '.')
		}
		name = appendKey(name, key)
		p.arrays = append(p.arrays, named(string(name)+arraySuffix)+everything)
	}
	p.column = string(name)
	return p, len(name) <= maxName
}

// text reports whether it is one column, whose values are texts.
func (p place) text() bool { return p.shape == "" && !p.object }

// there finds the rows that have a text, of textPayload also an empty one.
func (p place) there() string {
	if p.column == columnMessage {
		return named(columnKind) + "=" + strconv.Quote(strconv.Itoa(int(logstore.Text)))
	}
	return named(p.column) + everything
}

// texts are the columns to look for a text in.
func (p place) texts() columns {
	fold := named(columnFold)
	switch {
	case p.object && p.column == protoPrefix:
		return columns{prefixed(p.column), named(columnTypeURL), fold}
	case p.object:
		return columns{prefixed(p.column), fold}
	}
	c := columns{named(p.column), fold}
	if p.shape == "" {
		return c
	}
	// What is looked for may be deeper than the path.
	c = append(c, prefixed(p.column+"."))
	for _, a := range p.arrays {
		c = append(c, strings.TrimSuffix(a, everything))
	}
	return c
}

// compare finds what a comparison selects; nothing if that cannot be said.
func (p place) compare(f *filter.Comparison, typ filter.Type) found {
	switch f.Op {
	case filter.Has:
		return p.has(f)
	case filter.Equal:
		if p.shape == "" {
			return compileEqual(p.column, f.Value.Text)
		}
		return found{query: p.orArrays(p.equal(f, typ))}
	case filter.Less, filter.LessOrEqual, filter.Greater, filter.GreaterOrEqual:
		if p.shape == "" {
			return found{query: p.there()}
		}
		// A text is compared as such, with a number too.
		if numbers, ok := p.numbers(f); ok && typ != filter.Duration {
			return found{query: p.orArrays(numbers, p.marked(`"`))}
		}
		return found{query: p.orArrays(p.marked(""))}
	case filter.Matches:
		return found{query: p.orArrays(named(p.column) + "~" + strconv.Quote(f.Value.Text))}
	}
	return found{}
}

// has finds what has a text in it, or is there at all.
func (p place) has(f *filter.Comparison) found {
	switch {
	case !f.Value.IsAny() && p.text() && f.Value.Text != "" && isASCII(f.Value.Text):
		return found{query: part(p.column, f.Value.Text), exact: inASCII}
	case !f.Value.IsAny():
		return found{query: p.texts().contain(f.Value.Text, false)}
	case p.text():
		return found{query: p.there()}
	case p.object:
		return found{}
	}
	return found{query: p.orArrays(p.marked(""))}
}

// equal finds the values of JSON that are equal to what is written, of any
// type that it can be of.
func (p place) equal(f *filter.Comparison, typ filter.Type) string {
	_, isBool := filter.ParseBool(f.Value.Text)
	if f.Value.Text == "" || f.Value.IsNull() || isBool || typ == filter.Duration {
		return p.marked("")
	}
	texts, _ := equal(p.column, f.Value.Text)
	if _, ok := filter.ParseNumber(f.Value.Text); !ok {
		return texts
	}
	numbers, ok := p.numbers(f)
	if !ok {
		return p.marked("")
	}
	return texts + " or " + numbers
}

// maxExact is the first integer that has neighbours which are the same as a
// floating-point number.
const maxExact = 1 << 53

// numbers finds the numbers that a comparison with a number selects.
func (p place) numbers(f *filter.Comparison) (string, bool) {
	n, ok := filter.ParseNumber(f.Value.Text)
	if !ok || !(math.Abs(n) < maxExact) {
		return "", false
	}
	text := strconv.FormatFloat(n, 'f', -1, 64)
	bounds := map[filter.Op]string{
		filter.Equal: "[" + text + ", " + text + "]", filter.Less: "(-inf, " + text + ")", filter.LessOrEqual: "(-inf, " + text + "]",
		filter.Greater: "(" + text + ", inf)", filter.GreaterOrEqual: "[" + text + ", inf)",
	}
	// The engine does not read numbers with exponents.
	return named(p.column) + "range" + bounds[f.Op] + " or " + p.marked(markExponent), true
}

// marked finds the rows in whose shape the key has a mark, or is at all; the
// key may be at another place too.
func (p place) marked(mark string) string {
	return named(p.shape) + "*" + strconv.Quote(`"`+p.key+`":`+mark) + "*"
}

// orArrays adds what may be in arrays.
func (p place) orArrays(queries ...string) string {
	return strings.Join(append(queries, p.arrays...), " or ")
}
