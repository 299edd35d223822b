package catalog

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// The bounds of what a descriptor may hold, in bytes. A metric type is the type
// of an event and the path of a field of its data; UCUM units and project ids
// are short.
const (
	maxTypeBytes    = 512
	maxProjectBytes = 128
	maxUnitBytes    = 64
)

// InvalidMetric is the reason of the fault for a descriptor that Check refuses.
const InvalidMetric = "INVALID_METRIC"

// Check returns an Invalid fault that names the field at fault, unless d can be
// created. Cloud Monitoring allows letters, digits and "/_.-" in a metric type;
// here it is made from field names of other people's JSON, so it may be any
// text of up to 512 bytes that can be seen: UTF-8 without control characters.
// Kind and value type may be left to their defaults.
func Check(d tsdb.Descriptor) error {
	d = withDefaults(d)
	bad := func(field, format string, args ...any) error {
		return &fault.Error{
			Op: "tsdb/catalog.Check", Name: name(d.Project, d.Type), Kind: fault.Invalid,
			Reason: InvalidMetric, Field: field, Err: fmt.Errorf(format, args...),
		}
	}
	switch {
	case d.Project == "" || !visible(d.Project, maxProjectBytes) || strings.Contains(d.Project, "/"):
		return bad("project", "the project id %.40q is not one", d.Project)
	case d.Type == "":
		return bad("type", "the metric type is empty")
	case !visible(d.Type, maxTypeBytes):
		return bad("type", "the metric type %.40q is over %d bytes, not UTF-8, or has control characters", d.Type, maxTypeBytes)
	case !visible(d.Unit, maxUnitBytes):
		return bad("unit", "the unit %.40q is over %d bytes, not UTF-8, or has control characters", d.Unit, maxUnitBytes)
	}
	switch d.Kind {
	case tsdb.Gauge, tsdb.Delta, tsdb.Cumulative:
	default:
		return bad("metricKind", "there is no metric kind %.40q", d.Kind)
	}
	switch d.ValueType {
	case tsdb.Bool, tsdb.Int64, tsdb.Double:
	default:
		return bad("valueType", "there is no value type %.40q", d.ValueType)
	}
	return nil
}

// visible reports whether s is UTF-8 without control characters, and not too
// long.
func visible(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// withDefaults is d with its kind and value type filled in.
func withDefaults(d tsdb.Descriptor) tsdb.Descriptor {
	d.Kind, d.ValueType = cmp.Or(d.Kind, tsdb.Gauge), cmp.Or(d.ValueType, tsdb.Double)
	return d
}
