package ingest

import (
	"strings"
	"unicode/utf8"

	"selvedge.dev/tsdb"
)

// Bounds of names, in bytes, and how many labels a series may have of its metric and
// of its resource each. Those of labels are Cloud Monitoring's. A metric
// type may be longer than there (200), since it is made of an event type and a
// path; tsdb/catalog has the same bound.
const (
	MaxMetric     = 512
	MaxLabels     = 30
	MaxLabelName  = 100
	MaxLabelValue = 1024
)

// ValidMetric reports whether s can be a metric type: names of printable
// characters with slashes between. That is more than Cloud Monitoring takes,
// since devices name their fields as they like.
func ValidMetric(s string) bool {
	return s != "" && len(s) <= MaxMetric && printable(s) &&
		s[0] != '/' && s[len(s)-1] != '/' && !strings.Contains(s, "//")
}

// ValidLabel reports whether l can be a label.
func ValidLabel(l tsdb.Label) bool {
	return l.Name != "" && len(l.Name) <= MaxLabelName && printable(l.Name) &&
		len(l.Value) <= MaxLabelValue && printable(l.Value)
}

// printable reports whether s is UTF-8 without ASCII control characters; one
// of them, NUL, separates names in tsdb.Series.Key.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}
