package logstore

import (
	"strconv"

	"selvedge.dev/logstore/filter"
)

// String is Google's name of the severity, or its number if it has none.
func (s Severity) String() string {
	if name := filter.SeverityName(int32(s)); name != "" {
		return name
	}
	return strconv.Itoa(int(s))
}

// ParseSeverity reads a severity: a name in any case, or a number.
func ParseSeverity(text string) (Severity, bool) {
	s, ok := filter.ParseSeverity(text)
	return Severity(s), ok
}
