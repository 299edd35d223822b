package cron

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a database of zones

	"selvedge.dev/sdk/fault"
)

// field is one of the fields of a schedule.
type field struct {
	name     string
	min, max int
	// words are what its numbers may be called.
	words map[string]int
}

// The fields, in their order.
var (
	seconds  = field{"second", 0, 59, nil}
	minutes  = field{"minute", 0, 59, nil}
	hours    = field{"hour", 0, 23, nil}
	days     = field{"day of month", 1, 31, nil}
	months   = field{"month", 1, 12, numbered(1, "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")}
	weekdays = field{"day of week", 0, 7, numbered(0, "sun", "mon", "tue", "wed", "thu", "fri", "sat")}
)

// numbered gives words the numbers from first on.
func numbered(first int, words ...string) map[string]int {
	m := map[string]int{}
	for i, w := range words {
		m[w] = first + i
	}
	return m
}

// short is what a schedule may be called.
func short(name string) (string, bool) {
	switch name {
	case "@yearly", "@annually":
		return "0 0 1 1 *", true
	case "@monthly":
		return "0 0 1 * *", true
	case "@weekly":
		return "0 0 * * 0", true
	case "@daily", "@midnight":
		return "0 0 * * *", true
	case "@hourly":
		return "0 * * * *", true
	}
	return "", false
}

// invalid is the fault of an expression.
func invalid(format string, args ...any) error {
	return &fault.Error{Op: "cron.Parse", Kind: fault.Invalid, Reason: "INVALID_CRON", Field: "expression", Err: fmt.Errorf(format, args...)}
}

// Parse reads a schedule: minute, hour, day of month, month and day of week,
// each "*", a number, a word such as MON, a range, a step ("*/15", "8-18/2"), or
// several of these with commas; with six fields, the first is the second; or one
// of @hourly, @daily, @weekly, @monthly and @yearly. "?" is "*". "CRON_TZ=ZONE "
// or "TZ=ZONE " before it sets the zone. What is never due is refused.
func Parse(expression string) (*Schedule, error) {
	text := strings.TrimSpace(expression)
	s := &Schedule{}
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			zone, after, _ := strings.Cut(rest, " ")
			var err error
			if s.Zone, err = Zone(zone); err != nil {
				return nil, err
			}
			text = strings.TrimSpace(after)
			break
		}
	}
	if long, ok := short(strings.ToLower(text)); ok {
		text = long
	}
	parts := strings.Fields(text)
	switch len(parts) {
	case 5:
		parts = append([]string{"0"}, parts...)
	case 6:
	default:
		return nil, invalid("%q has %d fields: it takes minute, hour, day of month, month and day of week, with the second before them if need be", expression, len(parts))
	}
	var err error
	for i, of := range []struct {
		field field
		to    *set
		open  *bool
	}{
		{seconds, &s.second, nil},
		{minutes, &s.minute, nil},
		{hours, &s.hour, &s.openHour},
		{days, &s.day, &s.openDay},
		{months, &s.month, nil},
		{weekdays, &s.weekday, &s.openWeekday},
	} {
		if *of.to, err = of.field.parse(parts[i]); err != nil {
			return nil, err
		}
		if of.open != nil {
			*of.open = strings.HasPrefix(parts[i], "*") || parts[i] == "?"
		}
	}
	if s.weekday.has(7) {
		s.weekday = s.weekday&^(1<<7) | 1
	}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return nil, invalid("%q is never due: no such day", expression)
	}
	return s, nil
}

// Zone is the time zone of that name; "" is UTC. Local is none: it is another on
// each machine.
func Zone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, &fault.Error{Op: "cron.Zone", Kind: fault.Invalid, Reason: "UNKNOWN_TIME_ZONE", Field: "time_zone", Err: fmt.Errorf("%q is no time zone of the IANA database", name)}
	}
	return zone, nil
}

// parse reads a field.
func (f field) parse(text string) (set, error) {
	var all set
	for part := range strings.SplitSeq(text, ",") {
		one, err := f.item(part)
		if err != nil {
			return 0, err
		}
		all |= one
	}
	return all, nil
}

// item reads one of the items of a field.
func (f field) item(text string) (set, error) {
	span, stepText, stepped := strings.Cut(text, "/")
	low, high := f.min, f.max
	if span != "*" && span != "?" {
		lowText, highText, ranged := strings.Cut(span, "-")
		var err error
		if low, err = f.number(lowText); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if high, err = f.number(highText); err != nil {
				return 0, err
			}
		case !stepped:
			high = low
		}
	} else if f.max == 7 {
		high = 6 // Sunday is 0 and 7, once is enough
	}
	step := 1
	if stepped {
		n, err := strconv.Atoi(stepText)
		if err != nil || n < 1 || n > 99 || stepText[0] == '+' {
			return 0, invalid("%s: %q is no step", f.name, stepText)
		}
		step = n
	}
	if low > high {
		return 0, invalid("%s: the range %q goes backwards", f.name, span)
	}
	var s set
	for n := low; n <= high; n += step {
		s |= 1 << n
	}
	return s, nil
}

// number reads a number of a field, or a word for one.
func (f field) number(text string) (int, error) {
	if n, ok := f.words[strings.ToLower(text)]; ok {
		return n, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.min || n > f.max || text[0] == '+' || text[0] == '-' || len(text) > 2 {
		return 0, invalid("%s: %q is not between %d and %d", f.name, text, f.min, f.max)
	}
	return n, nil
}
