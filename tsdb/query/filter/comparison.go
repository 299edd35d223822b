package filter

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"selvedge.dev/tsdb"
)

// operator is what stands between a field and a value.
type operator string

// The operators.
const (
	equal          operator = "="
	notEqual       operator = "!="
	has            operator = ":"
	less           operator = "<"
	lessOrEqual    operator = "<="
	greater        operator = ">"
	greaterOrEqual operator = ">="
)

// operators are those that a comparison may have: the first three of anything,
// the others of a label.
var operators = []operator{equal, notEqual, has, less, lessOrEqual, greater, greaterOrEqual}

// orders are the operators that compare numbers.
var orders = map[operator]func(value, bound float64) bool{
	less:           func(v, b float64) bool { return v < b },
	lessOrEqual:    func(v, b float64) bool { return v <= b },
	greater:        func(v, b float64) bool { return v > b },
	greaterOrEqual: func(v, b float64) bool { return v >= b },
}

// orderTest makes the test of a comparison of numbers: a value that is none
// does not match.
func orderTest(op operator, text string) (func(string) bool, error) {
	bound, ok := number(text)
	if !ok {
		return nil, fmt.Errorf("%s compares numbers, and %s is none", op, quote(text))
	}
	inOrder := orders[op]
	return func(v string) bool {
		n, ok := number(v)
		return ok && inOrder(n, bound)
	}, nil
}

// number reads a finite decimal number: digits, a sign, a point, an exponent.
func number(text string) (float64, bool) {
	if strings.Trim(text, "+-.0123456789eE") != "" {
		return 0, false // "inf", "0x1p4" and "1_000" are Go's numbers
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

// present is the argument of ":" that asks for presence instead of a
// substring, when it is not quoted.
const present = "*"

// comparison is one field compared with one value or function.
type comparison struct {
	field Field
	op    operator
	// function is the name of the function on the right-hand side, "" for a
	// plain value, or present.
	function string
	args     []string
	// test decides about the value of the field.
	test func(value string) bool
}

// match compares the field of s.
func (c comparison) match(s *tsdb.Series) bool {
	value, found := c.field.find(s)
	if c.function == present {
		return found
	}
	return c.test(value) != (c.op == notEqual)
}

// only implements expr.
func (c comparison) only(allowed func(Field) bool) bool { return allowed(c.field) }

func (c comparison) print(b *strings.Builder) {
	b.WriteString(c.field.String())
	if c.op == has {
		b.WriteString(string(c.op))
	} else {
		b.WriteString(" " + string(c.op) + " ")
	}
	switch c.function {
	case present:
		b.WriteString(present)
		return
	case "":
		b.WriteString(quote(c.args[0]))
		return
	}
	b.WriteString(c.function)
	b.WriteByte('(')
	for i, arg := range c.args {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(arg))
	}
	b.WriteByte(')')
}

// functions make the tests of comparisons with a function. Each is given at
// least one argument, and those that are not in variadic exactly one.
var functions = map[string]func(args []string) (func(string) bool, error){
	"starts_with": func(args []string) (func(string) bool, error) {
		return func(v string) bool { return strings.HasPrefix(v, args[0]) }, nil
	},
	"ends_with": func(args []string) (func(string) bool, error) {
		return func(v string) bool { return strings.HasSuffix(v, args[0]) }, nil
	},
	"has_substring": func(args []string) (func(string) bool, error) {
		return func(v string) bool { return strings.Contains(v, args[0]) }, nil
	},
	"one_of": func(args []string) (func(string) bool, error) {
		return func(v string) bool { return slices.Contains(args, v) }, nil
	},
	"monitoring.regex.full_match": func(args []string) (func(string) bool, error) {
		// The expression has to be one on its own: anchoring must not turn
		// "a)|(b" into something that compiles.
		if _, err := regexp.Compile(args[0]); err != nil {
			return nil, err
		}
		re, err := regexp.Compile(`^(?:` + args[0] + `)$`)
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	},
}

// variadic are the functions with more than one argument.
var variadic = map[string]bool{"one_of": true}

// plainTest makes the test of a comparison with a value.
func plainTest(op operator, want string) func(string) bool {
	if op != has {
		return func(v string) bool { return v == want }
	}
	want = strings.ToLower(want)
	return func(v string) bool { return strings.Contains(strings.ToLower(v), want) }
}
