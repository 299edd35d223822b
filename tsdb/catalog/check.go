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
	// Those of details, and how many labels there may be, are Cloud
	// Monitoring's as far as it tells.
	maxNameBytes        = 512
	maxDescriptionBytes = 8 << 10
	maxLabels           = 30
	maxKeyBytes         = 100
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
	case tsdb.Bool, tsdb.Int64, tsdb.Double, tsdb.Distributed:
	default:
		return bad("valueType", "there is no value type %.40q", d.ValueType)
	}
	return checkDetails(d.Details, bad)
}

// checkDetails checks what people are told of a metric.
func checkDetails(d *tsdb.Details, bad func(field, format string, args ...any) error) error {
	if d == nil {
		return nil
	}
	switch {
	case !visible(d.DisplayName, maxNameBytes):
		return bad("displayName", "it is over %d bytes, not UTF-8, or has control characters", maxNameBytes)
	case len(d.Description) > maxDescriptionBytes || !utf8.ValidString(d.Description):
		return bad("description", "it is over %d bytes or not UTF-8", maxDescriptionBytes)
	case d.IngestDelay < 0:
		return bad("metadata.ingestDelay", "it is negative")
	case d.SamplePeriod < 0:
		return bad("metadata.samplePeriod", "it is negative")
	}
	if err := checkLabels(d.Labels); err != nil {
		return bad("labels", "%w", err)
	}
	return nil
}

// checkLabels is why labels cannot be those of a descriptor, if they cannot.
func checkLabels(labels []tsdb.LabelDescriptor) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("there are %d labels, and at most %d can be", len(labels), maxLabels)
	}
	seen := map[string]bool{}
	for _, l := range labels {
		switch {
		case l.Key == "" || !visible(l.Key, maxKeyBytes):
			return fmt.Errorf("the key %.40q is empty, over %d bytes, not UTF-8, or has control characters", l.Key, maxKeyBytes)
		case seen[l.Key]:
			return fmt.Errorf("the key %q is there twice", l.Key)
		case len(l.Description) > maxDescriptionBytes || !utf8.ValidString(l.Description):
			return fmt.Errorf("the description of %q is over %d bytes or not UTF-8", l.Key, maxDescriptionBytes)
		}
		switch l.Type {
		case "", tsdb.StringLabel, tsdb.BoolLabel, tsdb.Int64Label:
		default:
			return fmt.Errorf("there is no type %.40q of labels", l.Type)
		}
		seen[l.Key] = true
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
