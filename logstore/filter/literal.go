package filter

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Null is the text of the value that JSON's null is compared with, unquoted.
const Null = "NULL_VALUE"

// IsNull reports whether v stands for JSON's null.
func (v Value) IsNull() bool { return v.Text == Null && !v.Quoted }

// IsAny reports whether v is the star that Has asks with whether a field is
// there at all.
func (v Value) IsAny() bool { return v.Text == "*" && !v.Quoted }

// ParseNumber reads a number: with or without a sign, a fraction and an
// exponent, or NaN, Infinity, -Infinity in any case.
func ParseNumber(text string) (float64, bool) {
	switch {
	case strings.EqualFold(text, "NaN"):
		return math.NaN(), true
	case strings.EqualFold(strings.TrimPrefix(text, "+"), "Infinity"):
		return math.Inf(1), true
	case strings.EqualFold(text, "-Infinity"):
		return math.Inf(-1), true
	case strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789+-.eE", r) }):
		return 0, false // strconv takes more: hexadecimal digits, underscores
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil || math.IsInf(f, 0)
}

// ParseBool reads true or false in any case.
func ParseBool(text string) (value, ok bool) {
	value = strings.EqualFold(text, "true")
	return value, value || strings.EqualFold(text, "false")
}

// ParseDuration reads a signed decimal number and one of the units ns, us, ms,
// s, m, h: "3.2s".
func ParseDuration(text string) (time.Duration, bool) {
	d, err := time.ParseDuration(text)
	return d, err == nil
}

// layouts are the forms of a timestamp. Without a zone it is UTC.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02", "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	"2006-01-02T15:04:05.999999999Z0700", "20060102T150405Z0700", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
}

// ParseTimestamp reads a time in RFC 3339 or in one of the commoner forms of
// ISO 8601; "2014-10-02" is that day's begin in UTC. The result is in UTC.
func ParseTimestamp(text string) (time.Time, bool) { return ParseTimestampIn(text, time.UTC) }

// ParseTimestampIn is ParseTimestamp with another zone for what does not say its
// own.
func ParseTimestampIn(text string, zone *time.Location) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// severities are the names of severities by their number divided by 100.
var severities = [...]string{"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"}

// ParseSeverity reads a severity: one of Google's names in any case, or a
// number from 0 to 999.
func ParseSeverity(text string) (int32, bool) {
	for i, name := range severities {
		if strings.EqualFold(text, name) {
			return int32(i) * 100, true
		}
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return int32(n), err == nil && n < 1000
}

// SeverityName is the name of a severity, "" if it has none.
func SeverityName(severity int32) string {
	if i := severity / 100; severity%100 == 0 && i >= 0 && int(i) < len(severities) {
		return severities[i]
	}
	return ""
}
