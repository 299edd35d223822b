package promql

import "regexp"

// kind is the type of an expression.
type kind string

// The kinds, as Prometheus names them in its errors.
const (
	scalarKind kind = "scalar"
	vectorKind kind = "instant vector"
	matrixKind kind = "range vector"
	stringKind kind = "string"
)

// node is an expression that was checked.
type node interface {
	// kind is the type of the expression's values.
	kind() kind
}

// number is a literal.
type number struct{ value float64 }

// text is a literal string.
type text struct{ value string }

// selector reads series: the latest sample of each, or all of a window.
type selector struct {
	// name is the metric's name if the matchers name one, else "".
	name     string
	matchers []matcher
	// window is the length of the window in milliseconds, 0 for an instant
	// selector.
	window int64
	shift  shift
	// key is equal for selectors of the same series.
	key string
}

// subquery evaluates an expression at the steps of a window.
type subquery struct {
	of           node
	window, step int64
	shift        shift
}

// shift moves the time of a selector or of a subquery.
type shift struct {
	// offset is subtracted, in milliseconds.
	offset int64
	// at, if not nil, replaces the time that is asked for.
	at *int64
	// edge is 's' or 'e' when the start or the end of the query does.
	edge byte
}

// call is a function's.
type call struct {
	name string
	f    function
	args []node
}

// aggregation makes one series of many.
type aggregation struct {
	op string
	// param is the first argument of those that have two, else nil.
	param, of node
	without   bool
	labels    []string
}

// binary is an operator between two expressions.
type binary struct {
	op          string
	left, right node
	// boolean asks for 0 or 1 of a comparison.
	boolean bool
	match   matching
}

// matching says which series of two vectors belong together.
type matching struct {
	// on says that labels are those that must be equal, and not those that
	// need not be.
	on     bool
	labels []string
	// many is 'l' or 'r', the side that may have many series, or 0.
	many byte
	// include are the labels that are copied from the side of one.
	include []string
}

// matcher is a condition on a label; a label that is not there is "".
type matcher struct {
	label, value string
	negative     bool
	// re, if not nil, is what the whole label has to match.
	re *regexp.Regexp
}

// matches reports whether the value of the label is right.
func (m *matcher) matches(v string) bool {
	if m.re != nil {
		return m.re.MatchString(v) != m.negative
	}
	return (v == m.value) != m.negative
}

func (number) kind() kind       { return scalarKind }
func (text) kind() kind         { return stringKind }
func (*subquery) kind() kind    { return matrixKind }
func (c *call) kind() kind      { return c.f.result }
func (*aggregation) kind() kind { return vectorKind }

func (s *selector) kind() kind {
	if s.window > 0 {
		return matrixKind
	}
	return vectorKind
}

func (n *binary) kind() kind {
	if n.left.kind() == scalarKind && n.right.kind() == scalarKind {
		return scalarKind
	}
	return vectorKind
}
