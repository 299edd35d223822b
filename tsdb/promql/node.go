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

// number is a literal. The start of a node is where it is in the query.
type number struct {
	value float64
	start int
}

// text is a literal string.
type text struct {
	value string
	start int
}

// parens are parentheses around an expression. There are none in a query that
// was parsed: they only say that a window is not directly after a selector.
type parens struct {
	of    node
	start int
}

// sign is the sign before an expression.
type sign struct {
	of    node
	minus bool
	start int
}

// selector reads series: the latest sample of each, or all of a window.
type selector struct {
	// name is the metric's name if the matchers name one, else "".
	name     string
	matchers []matcher
	// matrix says that it is a range selector, and window how long in
	// milliseconds.
	matrix bool
	window int64
	shift  shift
	// key is equal for selectors of the same series.
	key   string
	start int
}

// subquery evaluates an expression at the steps of a window.
type subquery struct {
	of           node
	window, step int64
	shift        shift
	start        int
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

// fixed reports whether there is an @.
func (s shift) fixed() bool { return s.at != nil || s.edge != 0 }

// call is a function's.
type call struct {
	name string
	f    function
	args []node

	start int
}

// aggregation makes one series of many.
type aggregation struct {
	op string
	// param is the first argument of those that have two, else nil.
	param, of node
	without   bool
	labels    []string
	start     int
}

// binary is an operator between two expressions.
type binary struct {
	op          string
	left, right node
	// boolean asks for 0 or 1 of a comparison.
	boolean bool
	match   matching
	start   int
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
func (p *parens) kind() kind    { return p.of.kind() }
func (s *sign) kind() kind      { return s.of.kind() }
func (*aggregation) kind() kind { return vectorKind }

func (s *selector) kind() kind {
	if s.matrix {
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

// unwrap is n without parentheses.
func unwrap(n node) node {
	for {
		p, ok := n.(*parens)
		if !ok {
			return n
		}
		n = p.of
	}
}

// startOf is where n is in the query.
func startOf(n node) int {
	switch n := n.(type) {
	case number:
		return n.start
	case text:
		return n.start
	case *parens:
		return n.start
	case *sign:
		return n.start
	case *selector:
		return n.start
	case *subquery:
		return n.start
	case *call:
		return n.start
	case *aggregation:
		return n.start
	case *binary:
		return n.start
	}
	return 0
}
