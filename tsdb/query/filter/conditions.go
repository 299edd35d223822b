package filter

import (
	"slices"

	"selvedge.dev/tsdb"
)

// Conditions are what everything that the filter selects fulfils, as far as it
// is about metric types and labels that have certain values. Others may fulfil
// them too.
func (f Filter) Conditions() []tsdb.Condition {
	parts := all{f.root}
	if a, ok := f.root.(all); ok {
		parts = a
	}
	var conditions []tsdb.Condition
	for _, e := range parts {
		c, ok := e.(comparison)
		// A label that is not there compares like an empty one.
		if !ok || c.op != equal || c.function != "" && c.function != "one_of" || slices.Contains(c.args, "") {
			continue
		}
		condition := tsdb.Condition{Label: c.field.label, Values: c.args}
		switch c.field.kind {
		case metricType:
			condition.Field = tsdb.MetricType
		case metricLabel:
			condition.Field = tsdb.MetricLabel
		case resourceLabel:
			condition.Field = tsdb.ResourceLabel
		default:
			continue
		}
		conditions = append(conditions, condition)
	}
	return conditions
}
