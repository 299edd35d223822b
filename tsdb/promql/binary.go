package promql

import (
	"context"
	"math"
	"slices"

	"selvedge.dev/tsdb"
)

// arithmetic are the operators that make a number of two.
var arithmetic = map[string]func(a, b float64) float64{
	"+":     func(a, b float64) float64 { return a + b },
	"-":     func(a, b float64) float64 { return a - b },
	"*":     func(a, b float64) float64 { return a * b },
	"/":     func(a, b float64) float64 { return a / b },
	"%":     math.Mod,
	"^":     math.Pow,
	"atan2": math.Atan2,
}

// comparisons are the operators that filter, or say 0 or 1 with bool.
var comparisons = map[string]func(a, b float64) bool{
	"==": func(a, b float64) bool { return a == b },
	"!=": func(a, b float64) bool { return a != b },
	">":  func(a, b float64) bool { return a > b },
	"<":  func(a, b float64) bool { return a < b },
	">=": func(a, b float64) bool { return a >= b },
	"<=": func(a, b float64) bool { return a <= b },
}

// trims reports whether op is one of those that cut a native histogram, and have
// no result for a number.
func trims(op string) bool { return op == "</" || op == ">/" }

// setOperator reports whether op is one of those between sets of series.
func setOperator(op string) bool { return op == "and" || op == "or" || op == "unless" }

// binary evaluates an operator.
func (ev *evaluation) binary(ctx context.Context, n *binary, g grid) (value, error) {
	l, err := ev.eval(ctx, n.left, g)
	if err != nil {
		return value{}, err
	}
	r, err := ev.eval(ctx, n.right, g)
	if err != nil {
		return value{}, err
	}
	lv, rv := n.left.kind() == vectorKind, n.right.kind() == vectorKind
	if trims(n.op) && len(l.vector)+len(r.vector) > 0 {
		ev.said.note(info, n.start, "incompatible sample types encountered for binary operator %q: float %s float", n.op, n.op)
	}
	switch {
	case !lv && !rv && trims(n.op):
		return value{}, failed("operator %q not allowed for Scalar operations", n.op)
	case !lv && !rv:
		values, err := ev.column(ctx, g)
		for i := range values {
			values[i] = n.apply(l.scalar[i], r.scalar[i])
		}
		return value{scalar: values}, err
	case lv && rv && setOperator(n.op):
		v, err := ev.sets(ctx, n, l.vector, r.vector)
		return value{vector: v}, err
	case lv && rv:
		v, err := ev.match(ctx, n, l.vector, r.vector)
		return value{vector: v}, err
	}
	v, err := ev.withScalar(ctx, n, l, r)
	return value{vector: v}, err
}

// sign evaluates the sign before an expression.
func (ev *evaluation) sign(ctx context.Context, n *sign, g grid) (value, error) {
	of, err := ev.eval(ctx, n.of, g)
	if err != nil || !n.minus {
		return of, err
	}
	negative := func(values []float64) ([]float64, error) {
		made, err := ev.column(ctx, g)
		for i := range made {
			if !missing(values[i]) {
				made[i] = -values[i]
			}
		}
		return made, err
	}
	if n.of.kind() == scalarKind {
		of.scalar, err = negative(of.scalar)
		return of, err
	}
	made := make([]column, len(of.vector))
	for i, c := range of.vector {
		values, err := negative(c.values)
		if err != nil {
			return value{}, err
		}
		made[i] = ev.nameless(column{labels: c.labels, values: values})
	}
	if !ev.delayed {
		made, err = merge(made)
	}
	return value{vector: made}, err
}

// apply is the operator on two numbers; a comparison that filters out is a
// gap, and one that keeps is the left one.
func (n *binary) apply(a, b float64) float64 {
	if f := arithmetic[n.op]; f != nil {
		return f(a, b)
	}
	if trims(n.op) {
		return gap
	}
	switch yes := comparisons[n.op](a, b); {
	case n.boolean && yes:
		return 1
	case n.boolean:
		return 0
	case yes:
		return a
	}
	return gap
}

// drops reports whether results lose the metric's name.
func (n *binary) drops() bool { return n.boolean || arithmetic[n.op] != nil }

// withScalar is an operator between a vector and a scalar. A comparison that
// filters keeps the vector's value on whichever side it is.
func (ev *evaluation) withScalar(ctx context.Context, n *binary, l, r value) ([]column, error) {
	left := n.left.kind() == vectorKind
	vector, scalar := l.vector, r.scalar
	if !left {
		vector, scalar = r.vector, l.scalar
	}
	filter := comparisons[n.op] != nil && !n.boolean
	made := make([]column, 0, len(vector))
	for _, c := range vector {
		values, err := ev.column(ctx, grid{n: len(c.values)})
		if err != nil {
			return nil, err
		}
		for i, v := range c.values {
			if missing(v) {
				continue
			}
			a, b := v, scalar[i]
			if !left {
				a, b = b, a
			}
			if values[i] = n.apply(a, b); filter && !missing(values[i]) {
				values[i] = v
			}
		}
		result := column{c.labels, values, c.name}
		if n.drops() {
			result = ev.nameless(result)
		}
		made = append(made, result)
	}
	return ev.merge(made)
}

// signature is the key of the labels that have to be equal.
func (m *matching) signature(ls tsdb.Labels) string {
	if m.on {
		return labelsKey(only(ls, m.labels))
	}
	names := append([]string{nameLabel}, m.labels...)
	slices.Sort(names)
	return labelsKey(without(ls, names))
}

// present are the steps at which a group of columns has a value, by signature.
func (m *matching) present(columns []column) map[string][]bool {
	all := map[string][]bool{}
	for _, c := range columns {
		key := m.signature(c.labels)
		steps := all[key]
		if steps == nil {
			steps = make([]bool, len(c.values))
			all[key] = steps
		}
		for i, v := range c.values {
			steps[i] = steps[i] || !missing(v)
		}
	}
	return all
}

// sets evaluates and, or, unless.
func (ev *evaluation) sets(ctx context.Context, n *binary, l, r []column) ([]column, error) {
	// masked is c at the steps that the other side has, or has not.
	masked := func(c column, steps []bool, has bool) (column, error) {
		values, err := ev.column(ctx, grid{n: len(c.values)})
		for i := range values {
			if there := steps != nil && steps[i]; there == has {
				values[i] = c.values[i]
			}
		}
		return column{c.labels, values, c.name}, err
	}
	made := make([]column, 0, len(l))
	if n.op == "or" {
		made = append(made, l...)
		l, r = r, l
	}
	other := n.match.present(r)
	for _, c := range l {
		kept, err := masked(c, other[n.match.signature(c.labels)], n.op == "and")
		if err != nil {
			return nil, err
		}
		made = append(made, kept)
	}
	return ev.merge(made)
}

// match evaluates an operator between two vectors, series by series.
func (ev *evaluation) match(ctx context.Context, n *binary, l, r []column) ([]column, error) {
	many, one := l, r
	if n.match.many == 'r' {
		many, one = r, l
	}
	if len(many) == 0 || len(one) == 0 {
		return nil, nil
	}
	ones := map[string][]column{}
	for _, c := range one {
		key := n.match.signature(c.labels)
		ones[key] = append(ones[key], c)
	}
	if err := unique(n, many, ones); err != nil {
		return nil, err
	}
	var made []column
	taken := map[string][]bool{}
	for _, c := range many {
		key := n.match.signature(c.labels)
		for _, o := range ones[key] {
			values, err := ev.pair(ctx, n, c, o)
			if err != nil {
				return nil, err
			}
			labels := ev.resultLabels(n, c.labels, o.labels)
			// Also what a comparison then filters out may be there once only.
			if err := n.once(taken, key, labels, both(c.values, o.values)); err != nil {
				return nil, err
			}
			result := column{labels: labels, values: values}
			if n.boolean {
				result = ev.nameless(result)
			}
			made = append(made, result)
		}
	}
	return ev.merge(made)
}

// once checks that a result, of which these are the steps, is the only one of
// its labels, or of its signature if both sides have one series of each.
func (n *binary) once(taken map[string][]bool, signature string, labels tsdb.Labels, values []float64) error {
	if n.match.many == 0 {
		if !take(taken, signature, values) {
			return failed("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")
		}
		return nil
	}
	if !take(taken, signature+"\x00"+labelsKey(labels), values) {
		return failed("multiple matches for labels: grouping labels must ensure unique matches")
	}
	return nil
}

// unique checks that the side of one has no two series of one signature at any
// step at which the other side has something.
func unique(n *binary, many []column, ones map[string][]column) error {
	var other []bool
	for key, cs := range ones {
		if len(cs) < 2 {
			continue
		}
		if other == nil {
			other = make([]bool, len(cs[0].values))
			for _, c := range many {
				for i, v := range c.values {
					other[i] = other[i] || !missing(v)
				}
			}
		}
		taken := map[string][]bool{}
		for _, c := range cs {
			values := slices.Clone(c.values)
			for i := range values {
				if !other[i] {
					values[i] = gap
				}
			}
			if !take(taken, key, values) {
				side := "right"
				if n.match.many == 'r' {
					side = "left"
				}
				return failed("found duplicate series for the match group on the %s hand-side of the operation; many-to-many matching not allowed: matching labels must be unique on one side", side)
			}
		}
	}
	return nil
}

// take marks the steps of a signature at which there are values, and reports
// whether none was marked.
func take(taken map[string][]bool, key string, values []float64) bool {
	steps := taken[key]
	if steps == nil {
		steps = make([]bool, len(values))
		taken[key] = steps
	}
	for i, v := range values {
		if missing(v) {
			continue
		}
		if steps[i] {
			return false
		}
		steps[i] = true
	}
	return true
}

// both is a at the steps at which b has a value too.
func both(a, b []float64) []float64 {
	values := slices.Clone(a)
	for i := range values {
		if missing(b[i]) {
			values[i] = gap
		}
	}
	return values
}

// pair is the operator on two series.
func (ev *evaluation) pair(ctx context.Context, n *binary, many, one column) ([]float64, error) {
	values, err := ev.column(ctx, grid{n: len(many.values)})
	if err != nil {
		return nil, err
	}
	l, r := many.values, one.values
	if n.match.many == 'r' {
		l, r = r, l
	}
	for i := range values {
		if !missing(l[i]) && !missing(r[i]) {
			values[i] = n.apply(l[i], r[i])
		}
	}
	return values, nil
}

// resultLabels are the labels of the result of two series. Also Prometheus that
// delays the removal of names does so only for comparisons.
func (ev *evaluation) resultLabels(n *binary, many, one tsdb.Labels) tsdb.Labels {
	ls := many
	if arithmetic[n.op] != nil || n.boolean && !ev.delayed {
		ls = nameless(ls)
	}
	if n.match.many == 0 {
		if n.match.on {
			ls = only(ls, n.match.labels)
		} else {
			ls = without(ls, n.match.labels)
		}
	}
	for _, name := range n.match.include {
		v, _ := one.Get(name)
		ls = with(ls, name, v)
	}
	return ls
}
