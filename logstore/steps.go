package logstore

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/logstore/filter"
)

// steps is the probe of a comparison whose field has functions applied to it: it
// looks at what they make of each value. What they cannot make anything of is as
// if it were not there.
type steps struct {
	steps []step
	probe probe
}

// step is a function of values, made ready. The result is false if there is none.
type step func(v scalar) (scalar, bool)

// newSteps makes steps in front of a probe ready.
func newSteps(fs []filter.Step, p probe) (probe, error) {
	if len(fs) == 0 {
		return p, nil
	}
	s := &steps{probe: p}
	for _, f := range fs {
		next, err := newStep(f)
		if err != nil {
			return nil, err
		}
		s.steps = append(s.steps, next)
	}
	return s, nil
}

// object implements probe: functions make nothing of an object.
func (*steps) object() (enough, deep bool) { return false, false }

// scalar implements probe.
func (s *steps) scalar(v scalar) bool {
	unset := v.unset
	for _, f := range s.steps {
		var ok bool
		if v, ok = f(v); !ok {
			return false
		}
	}
	v.unset = unset
	return s.probe.scalar(v)
}

// newStep makes a function ready.
func newStep(f filter.Step) (step, error) {
	if f.Name == filter.FuncExtract {
		re, err := regexp.Compile(f.Pattern)
		if err == nil && re.NumSubexp() != 1 {
			err = fmt.Errorf("it has %d groups", re.NumSubexp())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no regular expression with one group: %w", f.Pattern, err)
		}
		return extract(re), nil
	}
	zone, err := filter.ParseZone(f.Zone)
	if err != nil {
		return nil, err
	}
	switch f.To {
	case filter.ToString:
		return toString(zone), nil
	case filter.ToInteger:
		return toInteger, nil
	case filter.ToFloat:
		return toFloat, nil
	case filter.ToBool:
		return toBool, nil
	case filter.ToTimestamp:
		return toTimestamp(zone), nil
	case filter.ToDuration:
		return toDuration, nil
	}
	return nil, fmt.Errorf("%q is no type", f.To)
}

// extract is the function regexp_extract.
func extract(re *regexp.Regexp) step {
	return func(v scalar) (scalar, bool) {
		if v.kind != aText {
			return v, false
		}
		at := re.FindStringSubmatchIndex(v.text)
		if at == nil || at[2] < 0 {
			return v, false
		}
		return scalar{kind: aText, text: v.text[at[2]:at[3]]}, true
	}
}

// toString is a cast to STRING: a value as JSON has it in an entry, a time in the
// zone.
func toString(zone *time.Location) step {
	return func(v scalar) (scalar, bool) {
		switch v.kind {
		case aNull:
			return v, false
		case aTime:
			return scalar{kind: aText, text: timeText(v.time.In(zone))}, true
		}
		return scalar{kind: aText, text: v.String()}, true
	}
}

// timeText is a time as JSON has it in an entry: with no fraction of a second, or
// one of three, six or nine digits.
func timeText(t time.Time) string {
	layout := "2006-01-02T15:04:05.000000000Z07:00"
	switch n := t.Nanosecond(); {
	case n == 0:
		layout = time.RFC3339
	case n%1e6 == 0:
		layout = "2006-01-02T15:04:05.000Z07:00"
	case n%1e3 == 0:
		layout = "2006-01-02T15:04:05.000000Z07:00"
	}
	return t.Format(layout)
}

// toInteger is a cast to INT64. A number that is none is rounded, half away from
// zero.
func toInteger(v scalar) (scalar, bool) {
	switch v.kind {
	case aText:
		n, err := strconv.ParseInt(strings.TrimPrefix(v.text, "+"), 10, 64)
		return integer(n), err == nil
	case aInteger:
		return v, true
	case aNumber:
		if n, err := strconv.ParseInt(v.text, 10, 64); err == nil {
			return integer(n), true
		}
		f := math.Round(v.number())
		return integer(int64(f)), f >= math.MinInt64 && f < math.MaxInt64
	case aBool:
		return integer(int64(order(v.boolean()))), true
	case aSeverity:
		return integer(int64(v.severity)), true
	}
	return v, false
}

// integer is an integer as a scalar.
func integer(n int64) scalar { return scalar{kind: aInteger, text: strconv.FormatInt(n, 10)} }

// toFloat is a cast to FLOAT64.
func toFloat(v scalar) (scalar, bool) {
	switch v.kind {
	case aText:
		_, ok := filter.ParseNumber(v.text)
		return scalar{kind: aNumber, text: v.text}, ok
	case aNumber, aInteger:
		return scalar{kind: aNumber, text: v.text}, true
	}
	return v, false
}

// toBool is a cast to BOOL: a number is true unless it is 0.
func toBool(v scalar) (scalar, bool) {
	is, ok := false, true
	switch v.kind {
	case aText:
		is, ok = filter.ParseBool(v.text)
	case aNumber, aInteger:
		is = v.number() != 0
	case aBool:
		is = v.boolean()
	default:
		ok = false
	}
	return scalar{kind: aBool, text: strconv.FormatBool(is)}, ok
}

// toTimestamp is a cast to TIMESTAMP. A text that says no zone is in that one.
func toTimestamp(zone *time.Location) step {
	return func(v scalar) (scalar, bool) {
		switch v.kind {
		case aTime:
			return v, true
		case aText:
			t, ok := filter.ParseTimestampIn(v.text, zone)
			return scalar{kind: aTime, time: t}, ok
		}
		return v, false
	}
}

// toDuration is a cast to DURATION.
func toDuration(v scalar) (scalar, bool) {
	switch v.kind {
	case aDuration:
		return v, true
	case aText:
		d, ok := filter.ParseDuration(v.text)
		return scalar{kind: aDuration, duration: d, text: v.text}, ok
	}
	return v, false
}
