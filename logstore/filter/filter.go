// Package filter holds the logging query language: what Google documents as
// the "Logging query language" of Cloud Logging
// (cloud.google.com/logging/docs/view/logging-query-language), as an abstract
// syntax that every backend compiles. Parse reads it, Expr.String writes it
// canonically; logstore.Match says what it means.
//
// An expression knows nothing of entries but the names of their fields, so it
// has no evaluator here.
package filter

// Expr is a filter: an *And, *Or, *Not, *Comparison, *Text or *Call. It is
// not changed after Parse, so all may share it.
type Expr interface {
	// String writes the filter so that Parse reads the same expression.
	String() string
	// expr keeps other packages from adding kinds of expressions.
	expr()
}

// And holds where all of Terms do: written "a AND b", "a b" or on two lines.
type And struct {
	// Terms are two or more, none of them an *And.
	Terms []Expr
}

// Or holds where one of Terms does. It binds closer than And, as the language
// documents: "a OR b AND c" is "(a OR b) AND c".
type Or struct {
	// Terms are two or more, none of them an *Or.
	Terms []Expr
}

// Not holds where Term does not: written "NOT a" or "-a".
type Not struct {
	// Term is no *Not.
	Term Expr
}

// Comparison compares the values that a field has with one that is written
// down: "severity >= ERROR", "jsonPayload.user.name : ann".
type Comparison struct {
	// Path is the field's name: "labels" "device id" for labels."device id".
	// The elements that are names of LogEntry's own are as Fields has them,
	// whatever their case was; case counts in keys of labels and of payloads.
	Path []string
	// Steps are applied to each value of the field, the first one first, before
	// it is compared.
	Steps []Step
	// Op is the operator.
	Op Op
	// Value is what it is compared with; "*" unquoted, with Has, asks
	// whether the field is there at all.
	Value Value
}

// Text is a term without a field, which looks in all of an entry's text:
// "unicorn", "\"of the sea\"".
type Text struct {
	// Value is the term.
	Value Value
}

// Call is a function: "log_id(\"syslog\")", "sample(insertId, 0.1)",
// "ip_in_net(jsonPayload.ip, \"10.0.0.0/8\")", "SEARCH(textPayload, \"a b\")".
type Call struct {
	// Name is one of the Func constants, whatever its case was.
	Name string
	// Path is the first argument where the function takes a field, else nil;
	// SEARCH may have none.
	Path []string
	// Args are the other arguments, of the number and the form that the
	// function needs.
	Args []Value
}

// The functions.
const (
	// FuncLogID compares the log's id: log_id("cloudaudit.googleapis.com/activity").
	FuncLogID = "log_id"
	// FuncSample holds for a part of the entries, chosen by a hash of the
	// field: sample(insertId, 0.01).
	FuncSample = "sample"
	// FuncIPInNet holds where the field is an address in the network.
	FuncIPInNet = "ip_in_net"
	// FuncSearch holds where all words of the query are in the field, or
	// anywhere in the entry: SEARCH("hello world").
	FuncSearch = "SEARCH"
	// FuncSource compares where an entry's project is: source(projects/p).
	FuncSource = "source"
)

// Op is an operator of a Comparison.
type Op int

// The operators, as they are written.
const (
	// Has is ":": the field has the text in it, whatever the case is.
	Has Op = iota + 1
	// Equal is "=".
	Equal
	// NotEqual is "!=": like every comparison it fails where the field is not
	// there; NOT field = value holds there.
	NotEqual
	// Less is "<".
	Less
	// LessOrEqual is "<=".
	LessOrEqual
	// Greater is ">".
	Greater
	// GreaterOrEqual is ">=".
	GreaterOrEqual
	// Matches is "=~": a regular expression of RE2 matches a part of the value.
	Matches
	// NotMatches is "!~": fails where the field is not there.
	NotMatches
)

// Value is what is written to the right of an operator.
type Value struct {
	// Text is what is meant, without quotes and escapes.
	Text string
	// Quoted says that it was in quotes: "*" and "NULL_VALUE" in quotes are only text.
	Quoted bool
}

// expr implements Expr.
func (*And) expr() {}

// expr implements Expr.
func (*Or) expr() {}

// expr implements Expr.
func (*Not) expr() {}

// expr implements Expr.
func (*Comparison) expr() {}

// expr implements Expr.
func (*Text) expr() {}

// expr implements Expr.
func (*Call) expr() {}
