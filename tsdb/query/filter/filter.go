// Package filter is the language in which a query says which time series it
// wants: the monitoring filters of Google Cloud Monitoring v3, as far as they
// are about time series.
//
//	metric.type = "com.example.climate/temperature" AND
//	    resource.labels.device_id = one_of("d1", "d2") AND
//	    NOT metric.labels.state = starts_with("off")
//
// # Grammar
//
//	filter     = [ sequence ] .
//	sequence   = factor { [ "AND" ] factor } .
//	factor     = term { "OR" term } .
//	term       = { "NOT" | "-" } ( "(" sequence ")" | comparison ) .
//	comparison = field ( "=" | "!=" ) ( string | word | function ) .
//	comparison = field ":" ( string | word ) .
//	comparison = field ( "<" | "<=" | ">" | ">=" ) number .
//	function   = name "(" string { "," string } ")" .
//	field      = "project" | "metric.type" | "resource.type"
//	           | ( "metric" | "resource" ) ( ".labels" | ".label" ) [ "." label ]
//	           | "metadata" ( ".system_labels" | ".user_labels" ) [ "." label ] .
//	label      = word | string .
//	number     = string | word .
//
// OR binds tighter than AND, as in all of Google's filter languages
// (google.aip.dev/160 and the Logging query language): a AND b OR c is
// a AND (b OR c). Comparisons that follow each other without an operator are
// joined by AND; Google's own console writes its filters so. The operators
// are upper case.
//
// A string is quoted with " or ', with the escapes \\ \" \' \n \r \t and
// \uXXXX. A word is unquoted text of letters, digits and _ - . / * and stands
// for itself where a string is expected.
//
// # Meaning
//
// =, != and : compare strings; <, <=, > and >= compare numbers, and a value that
// is no number matches none of them. A label that a series does not have equals
// "", so != is always the opposite of =. The functions are starts_with,
// ends_with, has_substring, one_of and monitoring.regex.full_match, whose
// argument is an RE2 expression that must match the whole value; all are case
// sensitive. The has-operator ":" looks for a substring and ignores case;
// metric.labels.x:* asks whether there is a label x, and so does
// metric.labels:x.
//
// Metadata are labels that no series here has, as of a resource that nobody
// described. Groups (group.id) do not exist here, and a filter that names one
// is refused: it would select nothing, and not because there is nothing.
//
// A parsed Filter is immutable and may be used concurrently.
package filter

import (
	"strings"

	"selvedge.dev/tsdb"
)

// Filter is a parsed filter. The zero Filter matches everything.
type Filter struct {
	root expr // nil matches everything
}

// Match reports whether the filter selects the series.
func (f Filter) Match(s *tsdb.Series) bool { return f.root == nil || f.root.match(s) }

// String is the filter in its canonical form, which parses into an equal
// filter and prints the same again.
func (f Filter) String() string {
	if f.root == nil {
		return ""
	}
	var b strings.Builder
	f.root.print(&b)
	return b.String()
}

// Metric is the one metric type that everything the filter selects has, or ""
// when the filter does not say.
func (f Filter) Metric() string {
	parts := all{f.root}
	if a, ok := f.root.(all); ok {
		parts = a
	}
	for _, e := range parts {
		if c, ok := e.(comparison); ok && c.field == (Field{kind: metricType}) && c.op == equal && c.function == "" {
			return c.args[0]
		}
	}
	return ""
}

// Only reports whether the filter names no other fields than those allowed.
func (f Filter) Only(allowed func(Field) bool) bool {
	return f.root == nil || f.root.only(allowed)
}

// expr is a node of a parsed filter.
type expr interface {
	match(s *tsdb.Series) bool
	only(allowed func(Field) bool) bool
	// print writes the canonical form.
	print(b *strings.Builder)
}

// all is a conjunction of at least two; none of them is an all.
type all []expr

// match reports whether every operand does.
func (a all) match(s *tsdb.Series) bool {
	for _, e := range a {
		if !e.match(s) {
			return false
		}
	}
	return true
}

// only implements expr.
func (a all) only(allowed func(Field) bool) bool { return only(a, allowed) }

func (a all) print(b *strings.Builder) { join(b, a, " AND ") }

// either is a disjunction of at least two; none of them is an either.
type either []expr

// match reports whether some operand does.
func (o either) match(s *tsdb.Series) bool {
	for _, e := range o {
		if e.match(s) {
			return true
		}
	}
	return false
}

// only implements expr.
func (o either) only(allowed func(Field) bool) bool { return only(o, allowed) }

func (o either) print(b *strings.Builder) { join(b, o, " OR ") }

// not is a negation; its operand is no not.
type not struct{ expr }

// match reports whether the operand does not.
func (n not) match(s *tsdb.Series) bool { return !n.expr.match(s) }

func (n not) print(b *strings.Builder) {
	b.WriteString("NOT ")
	operand(b, n.expr)
}

// only reports whether every operand names allowed fields only.
func only(operands []expr, allowed func(Field) bool) bool {
	for _, e := range operands {
		if !e.only(allowed) {
			return false
		}
	}
	return true
}

// join prints operands with an operator between them.
func join(b *strings.Builder, operands []expr, operator string) {
	for i, e := range operands {
		if i > 0 {
			b.WriteString(operator)
		}
		operand(b, e)
	}
}

// operand prints e, in parentheses if it is a list: not every reader knows
// that OR binds tighter than AND.
func operand(b *strings.Builder, e expr) {
	switch e.(type) {
	case all, either:
		b.WriteByte('(')
		e.print(b)
		b.WriteByte(')')
	default:
		e.print(b)
	}
}
