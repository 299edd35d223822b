package manifests

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseDuration parses an ISO 8601 duration of days, hours, minutes and
// seconds: "PT0.2S", "PT1M30S", "P1DT12H". A day has 24 hours. Only seconds may
// have a fraction, of up to nine digits. Years, months and weeks, signs, lower
// case and empty durations ("P", "PT") are refused, and so is Go's "5s".
//
//	duration = "P" [ n "D" ] [ "T" [ n "H" ] [ n "M" ] [ n [ "." n ] "S" ] ]
func ParseDuration(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not an ISO 8601 duration such as PT0.2S: %w", text, err)
	}
	return d, nil
}

// parseDuration does the work of ParseDuration.
func parseDuration(text string) (time.Duration, error) {
	rest, ok := strings.CutPrefix(text, "P")
	if !ok {
		return 0, errors.New("it does not begin with P")
	}
	date, clock, hasClock := strings.Cut(rest, "T")
	if (hasClock && clock == "") || (!hasClock && date == "") {
		return 0, errors.New("it has no components")
	}
	var total time.Duration
	for _, part := range [...]struct {
		letter string
		unit   time.Duration
		text   *string
	}{{"D", 24 * time.Hour, &date}, {"H", time.Hour, &clock}, {"M", time.Minute, &clock}, {"S", time.Second, &clock}} {
		number, after, found := strings.Cut(*part.text, part.letter)
		if !found {
			continue
		}
		*part.text = after
		d, err := component(number, part.unit)
		if err != nil {
			return 0, err
		}
		if total += d; total < 0 {
			return 0, errTooLong
		}
	}
	if date+clock != "" {
		return 0, fmt.Errorf("%q is out of place", date+clock)
	}
	return total, nil
}

// errTooLong refuses what a time.Duration cannot hold, some 292 years.
var errTooLong = errors.New("it is too long")

// component is number times unit. A fraction is read for seconds only.
func component(number string, unit time.Duration) (time.Duration, error) {
	whole, fraction, hasFraction := strings.Cut(number, ".")
	if hasFraction && (unit != time.Second || fraction == "" || len(fraction) > 9) {
		return 0, fmt.Errorf("%q has a fraction where it may not", number)
	}
	n, err := digits(whole)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt64/int64(unit) {
		return 0, errTooLong
	}
	d := time.Duration(n) * unit
	if hasFraction {
		nanos, err := digits((fraction + "000000000")[:9])
		if err != nil {
			return 0, err
		}
		d += time.Duration(nanos)
	}
	if d < 0 {
		return 0, errTooLong
	}
	return d, nil
}

// digits is the number that text spells in decimal digits and nothing else.
func digits(text string) (int64, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errTooLong
	}
	return n, nil
}
