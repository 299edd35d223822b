package logstore

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"selvedge.dev/logstore/filter"
)

// compare is the probe of a comparison: it compares a value by the value's
// own type with what is written, converted to that type. What cannot be
// converted makes the comparison fail.
type compare struct {
	op     filter.Op
	null   bool
	folded string
	// The others are what is written as values of other types, with whether
	// it is one.
	number                                                    float64
	boolean                                                   bool
	duration                                                  time.Duration
	time                                                      time.Time
	severity                                                  Severity
	integer                                                   int64
	isInteger, isNumber, isBool, isDuration, isTime, isSevere bool
}

// newCompare prepares the comparison with a value.
func newCompare(op filter.Op, v filter.Value) *compare {
	c := &compare{op: op, null: v.IsNull(), folded: Fold(v.Text)}
	c.number, c.isNumber = filter.ParseNumber(v.Text)
	integer, err := strconv.ParseInt(v.Text, 10, 64)
	c.integer, c.isInteger = integer, err == nil
	c.boolean, c.isBool = filter.ParseBool(v.Text)
	c.duration, c.isDuration = filter.ParseDuration(v.Text)
	c.time, c.isTime = filter.ParseTimestamp(v.Text)
	c.severity, c.isSevere = ParseSeverity(v.Text)
	return c
}

// object implements probe: no object is equal to what can be written.
func (c *compare) object() (enough, deep bool) { return false, false }

// scalar implements probe.
func (c *compare) scalar(v scalar) bool {
	if c.null {
		return v.kind == aNull && c.op == filter.Equal || v.kind != aNull && c.op == filter.NotEqual
	}
	switch v.kind {
	case aText:
		return c.holds(compareFold(v.text, c.folded))
	case aNumber:
		return c.isNumber && c.numbers(v.number())
	case aInteger:
		return c.isNumber && c.integers(v)
	case aBool:
		return c.isBool && c.holds(order(v.boolean())-order(c.boolean))
	case aTime:
		return c.isTime && c.holds(v.time.Compare(c.time))
	case aDuration:
		return c.isDuration && c.holds(cmp.Compare(v.duration, c.duration))
	case aSeverity:
		return c.isSevere && c.holds(cmp.Compare(v.severity, c.severity))
	}
	return false
}

// numbers compares numbers. NaN is not less, equal or greater than anything.
func (c *compare) numbers(f float64) bool {
	if math.IsNaN(c.number) || math.IsNaN(f) {
		return c.op == filter.NotEqual
	}
	return c.holds(cmp.Compare(f, c.number))
}

// integers compares integers, exactly if what is written is one too.
func (c *compare) integers(v scalar) bool {
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil || !c.isInteger {
		return c.numbers(v.number())
	}
	return c.holds(cmp.Compare(n, c.integer))
}

// order is the order of Booleans.
func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

// holds reports whether the operator holds if the entry's value is less than,
// equal to or greater than the other, by the sign of n.
func (c *compare) holds(n int) bool {
	switch c.op {
	case filter.Equal:
		return n == 0
	case filter.NotEqual:
		return n != 0
	case filter.Less:
		return n < 0
	case filter.LessOrEqual:
		return n <= 0
	case filter.Greater:
		return n > 0
	case filter.GreaterOrEqual:
		return n >= 0
	}
	return false
}

// match is the probe of a regular expression, which matches only text.
type match struct {
	re  *regexp.Regexp
	not bool
}

// newMatch compiles a regular expression.
func newMatch(text string, not bool) (*match, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression: %w", text, err)
	}
	return &match{re: re, not: not}, nil
}

// object implements probe.
func (m *match) object() (enough, deep bool) { return false, false }

// scalar implements probe.
func (m *match) scalar(v scalar) bool {
	return v.kind == aText && m.re.MatchString(v.text) != m.not
}

// exists is the probe that asks whether a field is there.
type exists struct{}

// object implements probe.
func (exists) object() (enough, deep bool) { return true, false }

// scalar implements probe.
func (exists) scalar(v scalar) bool { return !v.unset }

// contains is the probe that looks for a text in values and in all that is
// in objects.
type contains struct{ finder }

// newContains makes a contains of a text, which counts only where it begins
// and ends as words do if words is true.
func newContains(text string, words bool) contains { return contains{newFinder(text, words)} }

// absent reports whether it is plain to see that no value of a JSON text has
// the text in it: without escapes values are written as they are.
func (c *contains) absent(data []byte) bool {
	return bytes.IndexByte(data, '\\') < 0 && !c.somewhere(view(data))
}

// object implements probe.
func (*contains) object() (enough, deep bool) { return false, true }

// scalar implements probe.
func (c *contains) scalar(v scalar) bool { return v.kind != aNull && c.in(v.String()) }
