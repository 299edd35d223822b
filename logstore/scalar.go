package logstore

import (
	"strconv"
	"strings"
	"time"

	"selvedge.dev/logstore/filter"
	"selvedge.dev/sdk/jsonscan"
)

// kind is the type of a scalar.
type kind uint8

// The types of scalars.
const (
	aText kind = iota
	aNumber
	aBool
	aNull
	aTime
	aDuration
	aSeverity
	// aInteger is an integer of 64 bits, which only a cast makes.
	aInteger
)

// scalar is one value of an entry.
type scalar struct {
	kind kind
	// unset says that the entry has no such field and this is what it is
	// taken as.
	unset bool
	// text is the text; of a number, an integer or a Boolean how it is written, of
	// others "".
	text     string
	time     time.Time
	duration time.Duration
	severity Severity
}

// String is the scalar as it is searched and shown.
func (s scalar) String() string {
	switch s.kind {
	case aTime:
		return s.time.Format(time.RFC3339Nano)
	case aSeverity:
		return s.severity.String()
	}
	return s.text
}

// ofJSON is what JSON has for a field of a type.
func ofJSON(s jsonscan.Scalar, typ filter.Type) scalar {
	v := scalar{kind: aText}
	switch s.Kind {
	case jsonscan.Null:
		v.kind = aNull
	case jsonscan.Bool:
		v.kind, v.text = aBool, view(s.Raw)
	case jsonscan.Number:
		v.kind, v.text = aNumber, view(s.Raw)
	case jsonscan.String:
		v.text = view(jsonscan.Unquote(s.Raw))
	}
	switch {
	case typ == filter.Number && v.kind == aText && jsonscan.IsNumber([]byte(v.text)):
		v.kind = aNumber // JSON has 64-bit integers as strings
	case typ == filter.Duration && v.kind == aText:
		if d, ok := filter.ParseDuration(v.text); ok {
			v.kind, v.duration = aDuration, d
		}
	}
	return v
}

// unsetOf is what a field of a type is taken as where it is not set.
func unsetOf(typ filter.Type) scalar {
	v := scalar{kind: aText, unset: true}
	switch typ {
	case filter.Number:
		v.kind, v.text = aNumber, "0"
	case filter.Bool:
		v.kind, v.text = aBool, "false"
	case filter.Duration:
		v.kind, v.text = aDuration, "0s"
	}
	return v
}

// number is the value of a number.
func (s scalar) number() float64 {
	f, err := strconv.ParseFloat(s.text, 64)
	if err != nil && f == 0 {
		return 0 // no number of JSON is
	}
	return f
}

// boolean is the value of a Boolean.
func (s scalar) boolean() bool { return strings.HasPrefix(s.text, "t") }
