package filter

import (
	"fmt"
	"regexp/syntax"
	"strings"
)

// The bounds of regular expressions: how long one may be, and how many steps
// all of a filter's may have, counted repetitions written out. The time to
// match is in proportion to the steps and to the text.
const (
	maxExpression = 1000
	maxSteps      = 5000
)

// expression is an error if the text is no regular expression; else it is how
// many steps it has.
func expression(text string) (int, error) {
	if len(text) > maxExpression {
		return 0, fmt.Errorf("the regular expression has %d bytes, the most are %d", len(text), maxExpression)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0, fmt.Errorf("%q is no regular expression of RE2: %w", clip(text), err)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0, fmt.Errorf("%q is no regular expression of RE2: %w", clip(text), err)
	}
	return len(prog.Inst), nil
}

// expression is an error if the text at a place is no regular expression, or one
// too many.
func (p *parser) expression(text string, at int) error {
	n, err := expression(text)
	if p.steps += n; err == nil && p.steps > maxSteps {
		err = fmt.Errorf("the regular expressions have %d steps up to here, repetitions written out: the most are %d", p.steps, maxSteps)
	}
	if err != nil {
		return p.wrongAt(at, "%w", err)
	}
	return nil
}

// check is an error if the comparison can never hold of a field of the type,
// because what is written is no value of it.
func (c *Comparison) check(typ Type) error {
	v := c.Value
	name := c.left()
	if c.Op == Has {
		return nil // looks in the text that a value has
	}
	if typ == Object {
		return fmt.Errorf("%s has fields of its own: compare one of them, or search in all of them with %s:%q", name, name, v.Text)
	}
	if v.IsNull() && typ != Any {
		return fmt.Errorf("%s is never null; ask with NOT %s:* where it is not there", name, name)
	}
	if c.Op == Matches || c.Op == NotMatches {
		if typ != String && typ != Label && typ != Any {
			return fmt.Errorf("%s is not text: regular expressions match only text", name)
		}
		return nil // expression looks at it
	}
	ok, want := true, ""
	switch typ {
	case Number:
		_, ok = ParseNumber(v.Text)
		want = "a number"
	case Bool:
		_, ok = ParseBool(v.Text)
		want = "true or false"
	case Duration:
		_, ok = ParseDuration(v.Text)
		want = `a duration such as "3.2s", with one of the units ns, us, ms, s, m, h`
	case Timestamp:
		_, ok = ParseTimestamp(v.Text)
		want = `a time such as "2026-10-02T15:01:23.045Z" or "2026-10-02", in double quotes`
	case Enum:
		_, ok = ParseSeverity(v.Text)
		want = "one of " + strings.Join(severities[:], ", ")
	}
	if !ok {
		return fmt.Errorf("%q is no value of %s: expected %s", clip(v.Text), name, want)
	}
	return nil
}
