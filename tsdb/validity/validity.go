// Package validity is the one table that says which aligner and which reducer
// can be applied to series of which metric kind and value type, and what kind,
// value type and unit the result has.
//
// # Source
//
// The rows are those of Google Cloud Monitoring v3 ("the API"): the comments
// of Aggregation.Aligner and Aggregation.Reducer in
// google/monitoring/v3/common.proto. They say which kinds and value types are
// valid and which value type results. The two rows SUMMARY are SPEKTRA Edge's.
// Where they are silent, this table says:
//
//   - The kind of a result. It is GAUGE for what is no longer a change of the
//     metric over the window: the least or mean change, a count, a spread. A
//     reducer that picks or adds up values of one time keeps the kind. A number
//     that describes the values of distributions is GAUGE.
//   - The unit of a result. It is the metric's, but "1" for counts and
//     fractions, "%" for ALIGN_PERCENT_CHANGE, and the metric's per second for
//     ALIGN_RATE.
//   - ALIGN_DELTA names no value types; it needs numeric ones or distributions.
//
// REDUCE_COUNT counts data points, so a distribution is one. ALIGN_COUNT, _MEAN
// and _STDDEV are not for distributions: the API names numeric values only.
//
// One row is wider than the API's: ALIGN_PERCENTILE_* are said to be valid for
// distributions; here they also take numeric values, whose distribution is
// that of the window's points, as REDUCE_PERCENTILE_* do in the API.
package validity

import (
	"fmt"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Operation is what a table has the rows of.
type Operation string

// The operations, named as errors name them.
const (
	Aligner Operation = "aligner"
	Reducer Operation = "reducer"
)

// Rule is a row: what an aligner or reducer accepts, and what it makes.
type Rule struct {
	// Name is the API's: "ALIGN_MEAN".
	Name string
	// Kinds and Types are accepted in every combination.
	Kinds []tsdb.MetricKind
	Types []tsdb.ValueType
	// Kind and Type are those of the result, "" for those of the series; a
	// number that is made of distributions is GAUGE whatever Kind says.
	Kind tsdb.MetricKind
	Type tsdb.ValueType
	// Unit is that of the result, with unitOfMetric standing for the series'.
	Unit string
}

// unitOfMetric in a rule's unit stands for the unit of the series. When that
// is unknown, so is the result's.
const unitOfMetric = "METRIC"

// Rules is the table of an operation, in the API's order.
func Rules(op Operation) []Rule {
	if op == Reducer {
		return reducers
	}
	return aligners
}

// Of is the row of an aligner or reducer, and whether there is one.
func Of(op Operation, name string) (Rule, bool) {
	for _, r := range Rules(op) {
		if r.Name == name {
			return r, true
		}
	}
	return Rule{}, false
}

// Accepts reports whether series of that kind and value type are valid.
func (r Rule) Accepts(kind tsdb.MetricKind, valueType tsdb.ValueType) bool {
	return slices.Contains(r.Kinds, kind) && slices.Contains(r.Types, valueType)
}

// Output is in with the kind, value type and unit of the result; in must be
// accepted.
func (r Rule) Output(in *tsdb.Series) *tsdb.Series {
	out := *in
	if r.Kind != "" {
		out.Kind = r.Kind
	}
	if r.Type != "" {
		out.ValueType = r.Type
	}
	if in.ValueType == tsdb.Distributed && out.ValueType != tsdb.Distributed {
		out.Kind = tsdb.Gauge
	}
	switch unit, known := strings.CutPrefix(r.Unit, unitOfMetric); {
	case !known:
		out.Unit = r.Unit
	case in.Unit != "":
		out.Unit = in.Unit + unit
	}
	return &out
}

// Check is Output, and an Invalid error about the request's field when the
// series is not accepted. It names what was asked of what, and what is allowed.
func Check(op Operation, name, field string, in *tsdb.Series) (*tsdb.Series, error) {
	r, ok := Of(op, name)
	if !ok {
		return nil, Invalid(op, name, field, "it has no rule")
	}
	if !r.Accepts(in.Kind, in.ValueType) {
		return nil, Invalid(op, name, field, fmt.Sprintf(
			"the %s cannot be applied to metrics with kind %s and value type %s (%s); it can be to %s metrics with %s values",
			op, in.Kind, in.ValueType, in.Metric, either(r.Kinds), either(r.Types)))
	}
	return r.Output(in), nil
}

// Invalid is the error for an aligner or reducer that cannot be used, worded
// as the API words it. A name that nobody has checked is shortened.
func Invalid(op Operation, name, field, reason string) error {
	const shown = 100
	return &fault.Error{
		Op: "tsdb/validity.Check", Kind: fault.Invalid, Reason: "AGGREGATION_INVALID", Field: field,
		Err: fmt.Errorf("field %s had an invalid value of %.*q: %s", field, shown, name, reason),
	}
}

// Unknown is the error for a name that is none of the table's.
func Unknown(op Operation, name, field string) error {
	var known []string
	for _, r := range Rules(op) {
		known = append(known, r.Name)
	}
	return Invalid(op, name, field, "it is none of "+strings.Join(known, ", "))
}

// either joins names as alternatives.
func either[T ~string](names []T) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(name))
	}
	return b.String()
}
