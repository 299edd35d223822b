package vm

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"

	"selvedge.dev/tsdb"
)

// maxAlternatives is how many values of a condition are handed to the engine,
// which looks up as many one by one and beyond that tries a regular expression
// on every value that there is.
const maxAlternatives = 100

// indexEscapes are the bytes that the engine's index escapes, and does not find
// by a regular expression.
const indexEscapes = "\x00\x01\x02"

// labelOf is the key of the label that a condition is about.
func labelOf(c tsdb.Condition) string {
	switch c.Field {
	case tsdb.MetricLabel:
		return metricPrefix + c.Label
	case tsdb.ResourceLabel:
		return resourcePrefix + c.Label
	default:
		return ""
	}
}

// alternatives is a regular expression for the values of a condition as they
// are stored, or "" when there are too many or a regular expression cannot say
// it.
func alternatives(c tsdb.Condition) string {
	if len(c.Values) > maxAlternatives {
		return ""
	}
	quoted := make([]string, len(c.Values))
	for i, v := range c.Values {
		v = storedValue(c, v)
		if !utf8.ValidString(v) || strings.ContainsAny(v, indexEscapes) {
			return ""
		}
		quoted[i] = regexp.QuoteMeta(v)
	}
	return strings.Join(quoted, "|")
}

// storedValue is a value of a condition as it is stored: metric types are kept
// verbatim.
func storedValue(c tsdb.Condition, value string) string {
	if c.Field == tsdb.MetricType {
		return value
	}
	return escapeOf(value) + value
}

// addCondition narrows what the engine looks at.
func addCondition(filters *storage.TagFilters, c tsdb.Condition) error {
	var key []byte // nil is the metric type
	if label := labelOf(c); label != "" {
		key = []byte(label)
	}
	if len(c.Values) == 1 {
		return filters.Add(key, []byte(storedValue(c, c.Values[0])), false, false)
	}
	if expression := alternatives(c); expression != "" {
		return filters.Add(key, []byte(expression), false, true)
	}
	return nil
}
