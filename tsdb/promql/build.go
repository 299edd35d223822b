package promql

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nameLabel is the label that holds the metric's name.
const nameLabel = "__name__"

// anchored compiles an expression that the whole text has to match.
func anchored(expr string) (*regexp.Regexp, error) {
	return regexp.Compile("^(?s:" + expr + ")$")
}

// maxDuration bounds durations, in milliseconds, as in Prometheus.
const maxDuration = math.MaxInt64 / 1e6

// units are the units of durations in milliseconds, in their order.
var units = []float64{365 * 24 * 3600e3, 7 * 24 * 3600e3, 24 * 3600e3, 3600e3, 60e3, 1e3, 1}

// milliseconds is a duration literal, 1h30m.
func milliseconds(s string) (int64, error) {
	parts := durationForm.FindStringSubmatch(s)
	if parts == nil || s == "" {
		return 0, fmt.Errorf("not a valid duration string: %q", s)
	}
	total := 0.0
	for i, p := range parts[1:] {
		if n, err := strconv.ParseFloat(p, 64); err == nil {
			total += n * units[i]
		}
	}
	if total > maxDuration {
		return 0, fmt.Errorf("duration out of range: %q", s)
	}
	return int64(total), nil
}

// ParseDuration reads a duration as queries write it, 1h30m, or as a number of
// seconds.
func ParseDuration(s string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		if ns := seconds * float64(time.Second); math.Abs(ns) < math.MaxInt64 {
			return time.Duration(ns), nil
		}
		return 0, fmt.Errorf("duration out of range: %q", s)
	}
	ms, err := milliseconds(s)
	return time.Duration(ms) * time.Millisecond, err
}

// list reads labels in parentheses.
func (p *parser) list() []string {
	var labels []string
	p.expect("(")
	for !p.is(")") && p.err == nil {
		p.count()
		switch t := p.tok; {
		case t.kind == wordToken && !p.is("without"):
			labels = append(labels, p.advance().text)
		case t.kind == stringToken:
			name := p.string()
			if !validLabel(name) {
				p.fail(t.at, "invalid label name for grouping: %q", name)
			}
			labels = append(labels, name)
		default:
			p.unexpected("label")
		}
		if !p.is(")") && !p.accept(",") {
			p.unexpected(`"," or ")"`)
		}
	}
	p.expect(")")
	return labels
}

// arguments reads expressions in parentheses.
func (p *parser) arguments() []node {
	var all []node
	p.expect("(")
	for more := !p.is(")"); more && p.err == nil; more = p.accept(",") {
		all = append(all, unwrap(p.expression(0)))
	}
	if !p.accept(")") {
		p.unexpected(`"," or ")"`)
	}
	return all
}

// call reads the arguments of the function that t names.
func (p *parser) call(t token) node {
	f, known := functions[t.text]
	switch {
	case disabled[t.text] || keywords[strings.ToLower(t.text)]:
		p.fail(t.at, "function %q is not enabled", t.text)
	case !known:
		p.fail(t.at, "unknown function with name %q", t.text)
	}
	c := &call{name: t.text, f: f, args: p.arguments(), start: t.at}
	least := len(f.args) - f.optional
	switch n := len(c.args); {
	case p.err != nil:
		return c
	case n < least && f.optional > 0:
		p.fail(t.at, "expected at least %d argument(s) in call to %q, got %d", least, t.text, n)
	case n > len(f.args) && !f.variadic && f.optional > 0:
		p.fail(t.at, "expected at most %d argument(s) in call to %q, got %d", len(f.args), t.text, n)
	case n < least || n > len(f.args) && !f.variadic:
		p.fail(t.at, "expected %d argument(s) in call to %q, got %d", len(f.args), t.text, n)
	}
	for i, a := range c.args {
		if p.err != nil {
			return c
		}
		if want := f.args[min(i, len(f.args)-1)]; a.kind() != want {
			p.fail(startOf(a), "expected type %s in call to function %q, got %s", want, t.text, a.kind())
		}
	}
	return c
}

// aggregation reads what follows the aggregation that t names.
func (p *parser) aggregation(t token) node {
	a := &aggregation{op: strings.ToLower(t.text), of: number{}, start: t.at}
	spec, known := aggregations[a.op]
	if !known {
		p.fail(t.at, "%s() is experimental and not enabled", a.op)
		return a
	}
	grouped := p.grouping(a)
	args := p.arguments()
	if !grouped {
		p.grouping(a)
	}
	want := 1
	if spec.param != "" {
		want = 2
	}
	switch {
	case p.err != nil:
		return a
	case len(args) == 0:
		p.fail(t.at, "no arguments for aggregate expression provided")
		return a
	case len(args) != want:
		p.fail(t.at, "wrong number of arguments for aggregate expression provided, expected %d, got %d", want, len(args))
		return a
	}
	if a.of = args[want-1]; a.of.kind() != vectorKind {
		p.fail(startOf(a.of), "expected type instant vector in aggregation expression, got %s", a.of.kind())
	}
	if want == 2 {
		if a.param = args[0]; a.param.kind() != spec.param {
			p.fail(startOf(a.param), "expected type %s in aggregation parameter, got %s", spec.param, a.param.kind())
		}
	}
	return a
}

// grouping reads by or without, and reports whether there was one.
func (p *parser) grouping(a *aggregation) bool {
	a.without = p.is("without")
	if !a.without && !p.is("by") {
		return false
	}
	p.advance()
	a.labels = slices.Compact(slices.Sorted(slices.Values(p.list())))
	return true
}

// binary reads an operator and what is right of it.
func (p *parser) binary(left node, op string, binds int) node {
	p.count()
	at := p.advance().at
	b := &binary{op: op, left: unwrap(left), start: startOf(left)}
	p.matching(b)
	if op != "^" {
		binds++ // what is to the right of its like is not its own
	}
	b.right = unwrap(p.expression(binds))
	for _, side := range []node{b.left, b.right} {
		if k := side.kind(); k != scalarKind && k != vectorKind {
			p.fail(startOf(side), "binary expression must contain only scalar and instant vector types")
		}
	}
	vectors := b.left.kind() == vectorKind && b.right.kind() == vectorKind
	switch compares := comparisons[op] != nil; {
	case b.boolean && !compares:
		p.fail(at, "bool modifier can only be used on comparison operators")
	case compares && !b.boolean && b.kind() == scalarKind:
		p.fail(at, "comparisons between scalars must use BOOL modifier")
	case setOperator(op) && !vectors:
		p.fail(at, "set operator %q not allowed in binary scalar expression", op)
	case len(b.match.labels) > 0 && !vectors:
		p.fail(at, "vector matching only allowed between instant vectors")
	case b.match.many != 0 && setOperator(op):
		p.fail(at, "no grouping allowed for %q operation", op)
	}
	for _, l := range b.match.include {
		if b.match.on && slices.Contains(b.match.labels, l) {
			p.fail(at, "label %q must not occur in ON and GROUP clause at once", l)
		}
	}
	return b
}

// matching reads what stands between an operator and its right side.
func (p *parser) matching(b *binary) {
	b.boolean = p.accept("bool")
	b.match.on = p.is("on")
	if b.match.on || p.is("ignoring") {
		p.advance()
		b.match.labels = slices.Sorted(slices.Values(p.list()))
		if p.is("group_left") || p.is("group_right") {
			b.match.many = strings.ToLower(p.advance().text)[len("group_")]
			if p.is("(") {
				b.match.include = p.list()
			}
		}
	}
	// A word that a parenthesis follows is no metric.
	if (p.is("fill") || p.is("fill_left") || p.is("fill_right")) && strings.HasPrefix(strings.TrimLeft(p.text[p.pos:], " \t\r\n"), "(") {
		p.fail(p.tok.at, "fill modifiers are experimental and not enabled")
	}
}
