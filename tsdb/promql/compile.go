package promql

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metricsql"
)

// nameLabel is the label that holds the metric's name.
const nameLabel = "__name__"

// compile parses and checks a query.
func compile(query string) (node, error) {
	if err := gate(query); err != nil {
		return nil, err
	}
	e, err := metricsql.Parse(query)
	if err != nil {
		return nil, bad("parse error: %w", err)
	}
	return convert(e)
}

// convert checks an expression of the parser's and everything below it.
func convert(e metricsql.Expr) (node, error) {
	switch e := e.(type) {
	case *metricsql.NumberExpr:
		return number{e.N}, nil
	case *metricsql.StringExpr:
		return text{e.S}, nil
	case *metricsql.DurationExpr:
		ms, err := duration(string(e.AppendString(nil)))
		return number{float64(ms) / 1000}, err
	case *metricsql.MetricExpr:
		return convertSelector(e)
	case *metricsql.RollupExpr:
		return convertRollup(e)
	case *metricsql.FuncExpr:
		return convertCall(e)
	case *metricsql.AggrFuncExpr:
		return convertAggregation(e)
	case *metricsql.BinaryOpExpr:
		return convertBinary(e)
	}
	return nil, bad("unexpected expression %s", e.AppendString(nil))
}

// convertSelector is an instant selector.
func convertSelector(e *metricsql.MetricExpr) (*selector, error) {
	if len(e.LabelFilterss) > 1 {
		return nil, bad(`"or" between matchers is no PromQL: %s`, e.AppendString(nil))
	}
	s := &selector{key: string(e.AppendString(nil))}
	selective := false
	if len(e.LabelFilterss) == 1 {
		for _, f := range e.LabelFilterss[0] {
			m := matcher{label: f.Label, value: f.Value, negative: f.IsNegative}
			if f.IsRegexp {
				var err error
				if m.re, err = anchored(f.Value); err != nil {
					return nil, err
				}
			}
			if f.Label == nameLabel && !f.IsRegexp && !f.IsNegative {
				s.name = f.Value
			}
			selective = selective || !m.matches("")
			s.matchers = append(s.matchers, m)
		}
	}
	if !selective {
		return nil, bad("vector selector must contain at least one non-empty matcher")
	}
	return s, nil
}

// anchored compiles an expression that the whole text has to match.
func anchored(expr string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("^(?s:" + expr + ")$")
	if err != nil {
		return nil, bad("invalid regular expression %q: %w", expr, err)
	}
	return re, nil
}

// duration is a literal in milliseconds: 1h30m, or a number of seconds.
func duration(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	ms, err := milliseconds(digits)
	if err != nil {
		return 0, err
	}
	if negative {
		ms = -ms
	}
	return ms, nil
}

// maxDuration bounds durations to a thousand years, so that sums of them
// cannot overflow.
const maxDuration = 1000 * 365 * 24 * 3600 * 1000

// units are the units of durations in milliseconds, in their order.
var units = []float64{365 * 24 * 3600e3, 7 * 24 * 3600e3, 24 * 3600e3, 3600e3, 60e3, 1e3, 1}

// milliseconds is a duration without sign.
func milliseconds(s string) (int64, error) {
	total := 0.0
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		total = seconds * 1000
	} else {
		parts := durationForm.FindStringSubmatch(s)
		if parts == nil || s == "" {
			return 0, bad("not a valid duration string: %q", s)
		}
		for i, p := range parts[1:] {
			if n, err := strconv.ParseFloat(strings.TrimRight(p, "ywdhms"), 64); err == nil {
				total += n * units[i]
			}
		}
	}
	if !(math.Abs(total) <= maxDuration) {
		return 0, bad("duration out of range: %q", s)
	}
	return int64(math.Round(total)), nil
}

// convertRollup is what has a window, an offset or an @.
func convertRollup(e *metricsql.RollupExpr) (node, error) {
	s, err := convertShift(e)
	if err != nil {
		return nil, err
	}
	of, err := convert(e.Expr)
	if err != nil {
		return nil, err
	}
	window, step := int64(0), int64(0)
	if e.Window != nil {
		if window, err = duration(string(e.Window.AppendString(nil))); err != nil {
			return nil, err
		}
		if window <= 0 {
			return nil, bad("duration must be greater than 0")
		}
	}
	if e.Step != nil {
		if step, err = duration(string(e.Step.AppendString(nil))); err != nil {
			return nil, err
		}
		if step <= 0 {
			return nil, bad("duration must be greater than 0")
		}
	}
	if e.ForSubquery() {
		switch {
		case e.Window == nil:
			return nil, bad("a subquery needs a range: %s", e.AppendString(nil))
		case of.kind() != vectorKind && of.kind() != scalarKind:
			return nil, bad("subquery is only allowed on instant vector, got %s instead", of.kind())
		}
		return &subquery{of: of, window: window, step: step, shift: s}, nil
	}
	sel, ok := of.(*selector)
	if _, bare := e.Expr.(*metricsql.MetricExpr); !ok || !bare {
		if e.Window != nil {
			return nil, bad("ranges only allowed for vector selectors")
		}
		return nil, bad("offset and @ must be preceded by an instant vector selector or range vector selector or a subquery")
	}
	sel.window, sel.shift = window, s
	return sel, nil
}

// convertShift is the offset and the @ of e.
func convertShift(e *metricsql.RollupExpr) (shift, error) {
	var s shift
	var err error
	if e.Offset != nil {
		if s.offset, err = duration(string(e.Offset.AppendString(nil))); err != nil {
			return s, err
		}
	}
	switch at := e.At.(type) {
	case nil:
	case *metricsql.DurationExpr:
		t, err := duration(string(at.AppendString(nil)))
		if err != nil {
			return s, err
		}
		s.at = &t
	case *metricsql.NumberExpr:
		if !(math.Abs(at.N*1000) <= maxTime) {
			return s, bad("timestamp out of bounds for @ modifier: %v", at.N)
		}
		t := int64(math.Round(at.N * 1000))
		s.at = &t
	case *metricsql.FuncExpr:
		if len(at.Args) > 0 || at.KeepMetricNames || at.Name != "start" && at.Name != "end" {
			return s, bad("@ must be followed by a number, start() or end()")
		}
		s.edge = at.Name[0]
	default:
		return s, bad("@ must be followed by a number, start() or end()")
	}
	return s, nil
}

// convertCall is a function's call.
func convertCall(e *metricsql.FuncExpr) (node, error) {
	f, ok := functions[e.Name]
	switch {
	case e.Name == "":
		return nil, bad("a list in parentheses is no PromQL: %s", e.AppendString(nil))
	case !ok:
		return nil, bad("unknown function with name %q", e.Name)
	case e.KeepMetricNames:
		return nil, bad("keep_metric_names is no PromQL")
	case len(e.Args) < len(f.args)-f.optional:
		return nil, bad("expected at least %d argument(s) in call to %q, got %d", len(f.args)-f.optional, e.Name, len(e.Args))
	case len(e.Args) > len(f.args) && !f.variadic:
		return nil, bad("expected at most %d argument(s) in call to %q, got %d", len(f.args), e.Name, len(e.Args))
	}
	c := &call{name: e.Name, f: f}
	for i, a := range e.Args {
		n, err := convert(a)
		if err != nil {
			return nil, err
		}
		if want := f.args[min(i, len(f.args)-1)]; n.kind() != want {
			return nil, bad("expected type %s in call to function %q, got %s", want, e.Name, n.kind())
		}
		c.args = append(c.args, n)
	}
	return c, nil
}

// convertAggregation is an aggregation over series.
func convertAggregation(e *metricsql.AggrFuncExpr) (node, error) {
	spec := aggregations[e.Name]
	if !spec.known {
		return nil, bad("unknown aggregation %q", e.Name)
	}
	if e.Limit > 0 {
		return nil, bad("limit is no PromQL")
	}
	want := 1
	if spec.param != "" {
		want = 2
	}
	if len(e.Args) != want {
		return nil, bad("wrong number of arguments for aggregate expression provided, expected %d, got %d", want, len(e.Args))
	}
	a := &aggregation{op: e.Name, without: strings.EqualFold(e.Modifier.Op, "without"), labels: slices.Compact(slices.Sorted(slices.Values(e.Modifier.Args)))}
	var err error
	if a.of, err = convert(e.Args[want-1]); err != nil {
		return nil, err
	}
	if a.of.kind() != vectorKind {
		return nil, bad("expected type instant vector in aggregation expression, got %s", a.of.kind())
	}
	if want == 2 {
		if a.param, err = convert(e.Args[0]); err != nil {
			return nil, err
		}
		if a.param.kind() != spec.param {
			return nil, bad("expected type %s in aggregation parameter, got %s", spec.param, a.param.kind())
		}
	}
	return a, nil
}

// convertBinary is an operator.
func convertBinary(e *metricsql.BinaryOpExpr) (node, error) {
	b := &binary{op: e.Op, boolean: e.Bool}
	switch {
	case arithmetic[e.Op] == nil && comparisons[e.Op] == nil && !setOperator(e.Op):
		return nil, bad("the operator %q is no PromQL", e.Op)
	case e.KeepMetricNames:
		return nil, bad("keep_metric_names is no PromQL")
	case e.JoinModifierPrefix != nil:
		return nil, bad("prefix is no PromQL")
	case e.FillLeft != nil || e.FillRight != nil:
		return nil, bad("fill modifiers are not supported")
	}
	var err error
	if b.left, err = convert(e.Left); err != nil {
		return nil, err
	}
	if b.right, err = convert(e.Right); err != nil {
		return nil, err
	}
	for _, k := range []kind{b.left.kind(), b.right.kind()} {
		if k != scalarKind && k != vectorKind {
			return nil, bad("binary expression must contain only scalar and instant vector types, not %s", k)
		}
	}
	vectors := b.left.kind() == vectorKind && b.right.kind() == vectorKind
	switch {
	case comparisons[e.Op] != nil && !e.Bool && b.kind() == scalarKind:
		return nil, bad("comparisons between scalars must use BOOL modifier")
	case setOperator(e.Op) && !vectors:
		return nil, bad("set operator %q not allowed in binary scalar expression", e.Op)
	case e.GroupModifier.Op != "" && !vectors:
		return nil, bad("vector matching only allowed between instant vectors")
	}
	if b.match, err = convertMatching(e); err != nil {
		return nil, err
	}
	return b, nil
}

// convertMatching is how the sides of e match.
func convertMatching(e *metricsql.BinaryOpExpr) (matching, error) {
	m := matching{on: strings.EqualFold(e.GroupModifier.Op, "on"), labels: slices.Sorted(slices.Values(e.GroupModifier.Args)), include: e.JoinModifier.Args}
	switch strings.ToLower(e.JoinModifier.Op) {
	case "group_left":
		m.many = 'l'
	case "group_right":
		m.many = 'r'
	}
	if m.many != 0 && setOperator(e.Op) {
		return m, bad("no grouping allowed for %q operation", e.Op)
	}
	for _, l := range m.include {
		switch {
		case l == "*":
			return m, bad("group_left(*) and group_right(*) are no PromQL")
		case m.on && slices.Contains(m.labels, l):
			return m, bad("label %q must not occur in ON and GROUP clause at once", l)
		}
	}
	return m, nil
}

// ParseDuration reads a duration as queries write it, 1h30m, or as a number of
// seconds.
func ParseDuration(s string) (time.Duration, error) {
	ms, err := milliseconds(s)
	if err == nil && ms > int64(math.MaxInt64/time.Millisecond) {
		err = bad("duration out of range: %q", s)
	}
	return time.Duration(ms) * time.Millisecond, err
}
