package promql

import (
	"context"
	"math"
	"slices"

	"selvedge.dev/tsdb"
)

// function is one of PromQL's.
type function struct {
	// args are the kinds of its arguments, of which the last optional ones
	// need not be there; the last may come again if it is variadic.
	args     []kind
	optional int
	variadic bool
	result   kind
	eval     evaluator
}

// evaluator evaluates a call at every step.
type evaluator func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error)

// functions are those of PromQL, by name.
var functions = map[string]function{
	"rate":              ofCounter(extrapolated(true, true)),
	"increase":          ofCounter(extrapolated(true, false)),
	"delta":             over(extrapolated(false, false), false),
	"irate":             over(immediate(true), false),
	"idelta":            over(immediate(false), false),
	"changes":           over(always(changes), false),
	"resets":            over(always(resets), false),
	"deriv":             over(deriv, false),
	"avg_over_time":     over(always(mean), false),
	"min_over_time":     over(always(minOf), false),
	"max_over_time":     over(always(maxOf), false),
	"sum_over_time":     over(always(sum), false),
	"stdvar_over_time":  over(always(variance), false),
	"stddev_over_time":  over(always(func(v []float64) float64 { return math.Sqrt(variance(v)) }), false),
	"count_over_time":   over(always(func(v []float64) float64 { return float64(len(v)) }), false),
	"present_over_time": over(always(func([]float64) float64 { return 1 }), false),
	"last_over_time":    over(always(func(v []float64) float64 { return v[len(v)-1] }), true),
	"first_over_time":   over(always(func(v []float64) float64 { return v[0] }), true),
	"quantile_over_time": {args: []kind{scalarKind, matrixKind}, result: vectorKind, eval: func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		return ev.over(ctx, rangeCall{f: quantileOver, of: c.args[1], param: c.args[0], check: func(ev *evaluation, _ tsdb.Labels, q float64) {
			ev.said.quantile(q, startOf(c.args[0]))
		}}, g)
	}},
	"predict_linear": {args: []kind{matrixKind, scalarKind}, result: vectorKind, eval: func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		return ev.over(ctx, rangeCall{f: predictLinear, of: c.args[0], param: c.args[1]}, g)
	}},
	"absent_over_time": {args: []kind{matrixKind}, result: vectorKind, eval: absentOver},
	"absent":           {args: []kind{vectorKind}, result: vectorKind, eval: absentNow},

	"abs": mapped(math.Abs), "ceil": mapped(math.Ceil), "floor": mapped(math.Floor), "exp": mapped(math.Exp), "sqrt": mapped(math.Sqrt),
	"ln": mapped(math.Log), "log2": mapped(math.Log2), "log10": mapped(math.Log10), "sgn": mapped(signum),
	"sin": mapped(math.Sin), "cos": mapped(math.Cos), "tan": mapped(math.Tan), "asin": mapped(math.Asin), "acos": mapped(math.Acos), "atan": mapped(math.Atan),
	"sinh": mapped(math.Sinh), "cosh": mapped(math.Cosh), "tanh": mapped(math.Tanh), "asinh": mapped(math.Asinh), "acosh": mapped(math.Acosh), "atanh": mapped(math.Atanh),
	"deg": mapped(func(v float64) float64 { return v * (180 / math.Pi) }),
	"rad": mapped(func(v float64) float64 { return v * (math.Pi / 180) }),

	"clamp":     {args: []kind{vectorKind, scalarKind, scalarKind}, result: vectorKind, eval: withParams(clamp)},
	"clamp_min": {args: []kind{vectorKind, scalarKind}, result: vectorKind, eval: withParams(func(v float64, p []float64) float64 { return math.Max(p[0], v) })},
	"clamp_max": {args: []kind{vectorKind, scalarKind}, result: vectorKind, eval: withParams(func(v float64, p []float64) float64 { return math.Min(p[0], v) })},
	"round":     {args: []kind{vectorKind, scalarKind}, optional: 1, result: vectorKind, eval: withParams(round)},

	"time":      {result: scalarKind, eval: times(func(t float64) float64 { return t })},
	"pi":        {result: scalarKind, eval: times(func(float64) float64 { return math.Pi })},
	"scalar":    {args: []kind{vectorKind}, result: scalarKind, eval: scalarOf},
	"vector":    {args: []kind{scalarKind}, result: vectorKind, eval: vectorOf},
	"timestamp": {args: []kind{vectorKind}, result: vectorKind, eval: timestamp},
	"sort":      {args: []kind{vectorKind}, result: vectorKind, eval: sorted(false)},
	"sort_desc": {args: []kind{vectorKind}, result: vectorKind, eval: sorted(true)},

	"minute": dated(minute), "hour": dated(hour), "day_of_week": dated(dayOfWeek), "day_of_month": dated(dayOfMonth),
	"day_of_year": dated(dayOfYear), "days_in_month": dated(daysInMonth), "month": dated(month), "year": dated(year),

	"label_replace":      {args: []kind{vectorKind, stringKind, stringKind, stringKind, stringKind}, result: vectorKind, eval: labelReplace},
	"label_join":         {args: []kind{vectorKind, stringKind, stringKind, stringKind}, optional: 1, variadic: true, result: vectorKind, eval: labelJoin},
	"histogram_quantile": {args: []kind{scalarKind, vectorKind}, result: vectorKind, eval: histograms(func(p []float64, b []bucket, f *fixes) float64 { return bucketQuantile(p[0], b, f) })},
	"histogram_fraction": {args: []kind{scalarKind, scalarKind, vectorKind}, result: vectorKind, eval: histograms(func(p []float64, b []bucket, _ *fixes) float64 { return bucketFraction(p[0], p[1], b) })},

	// These are of native histograms, and pass over everything else.
	"histogram_avg": nativeOnly(), "histogram_count": nativeOnly(), "histogram_sum": nativeOnly(), "histogram_stddev": nativeOnly(), "histogram_stdvar": nativeOnly(),
}

// mapped is a function of one value.
func mapped(f func(float64) float64) function {
	return function{args: []kind{vectorKind}, result: vectorKind, eval: withParams(func(v float64, _ []float64) float64 { return f(v) })}
}

// withParams evaluates a function of a value and of the scalars that follow.
func withParams(f func(v float64, params []float64) float64) evaluator {
	return func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		of, err := ev.eval(ctx, c.args[0], g)
		if err != nil {
			return value{}, err
		}
		scalars := make([][]float64, len(c.args)-1)
		for i, a := range c.args[1:] {
			v, err := ev.eval(ctx, a, g)
			if err != nil {
				return value{}, err
			}
			scalars[i] = v.scalar
		}
		params := make([]float64, len(scalars))
		made := make([]column, 0, len(of.vector))
		for _, col := range of.vector {
			values, err := ev.column(ctx, g)
			if err != nil {
				return value{}, err
			}
			for i, v := range col.values {
				if missing(v) {
					continue
				}
				for p := range scalars {
					params[p] = scalars[p][i]
				}
				values[i] = f(v, params)
			}
			made = append(made, ev.nameless(column{labels: col.labels, values: values}))
		}
		if c.name == "clamp" {
			dropInverted(made, scalars)
		}
		made, err = ev.merge(made)
		return value{vector: made}, err
	}
}

// dropInverted removes the steps at which clamp's minimum is over its maximum.
func dropInverted(columns []column, bounds [][]float64) {
	for _, c := range columns {
		for i := range c.values {
			if bounds[1][i] < bounds[0][i] {
				c.values[i] = gap
			}
		}
	}
}

// clamp limits v to [p[0], p[1]].
func clamp(v float64, p []float64) float64 { return math.Max(p[0], math.Min(p[1], v)) }

// signum is -1, 0 or 1, and NaN for NaN.
func signum(v float64) float64 {
	switch {
	case v < 0:
		return -1
	case v > 0:
		return 1
	}
	return v
}

// round is v to the nearest multiple of p[0], or integer; a tie goes up.
func round(v float64, p []float64) float64 {
	inverse := 1.0
	if len(p) > 0 {
		inverse = 1 / p[0] // which multiplies more exactly than p[0] divides
	}
	return math.Floor(v*inverse+0.5) / inverse
}

// times is a scalar made of the time of each step in seconds.
func times(f func(t float64) float64) evaluator {
	return func(ctx context.Context, ev *evaluation, _ *call, g grid) (value, error) {
		values, err := ev.column(ctx, g)
		for i := range values {
			values[i] = f(float64(g.at(i)) / 1000)
		}
		return value{scalar: values}, err
	}
}

// scalarOf is the value of the only series, else NaN.
func scalarOf(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	of, err := ev.eval(ctx, c.args[0], g)
	if err != nil {
		return value{}, err
	}
	values, err := ev.column(ctx, g)
	for i := range values {
		n := 0
		for _, col := range of.vector {
			if !missing(col.values[i]) {
				values[i] = col.values[i]
				n++
			}
		}
		if n != 1 {
			values[i] = math.NaN()
		}
	}
	return value{scalar: values}, err
}

// vectorOf is a scalar as a series without labels.
func vectorOf(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	of, err := ev.eval(ctx, c.args[0], g)
	if err != nil {
		return value{}, err
	}
	return value{vector: []column{{values: of.scalar}}}, nil
}

// timestamp is when the samples of a selector are from, and the time of the
// step for other expressions.
func timestamp(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	var columns []column
	if s, ok := c.args[0].(*selector); ok {
		var err error
		if columns, err = ev.instant(ctx, s, g, true); err != nil {
			return value{}, err
		}
		columns = slices.Clone(columns)
	} else {
		of, err := ev.eval(ctx, c.args[0], g)
		if err != nil {
			return value{}, err
		}
		for _, col := range of.vector {
			values, err := ev.column(ctx, g)
			if err != nil {
				return value{}, err
			}
			for i, v := range col.values {
				if !missing(v) {
					values[i] = float64(g.at(i)) / 1000
				}
			}
			columns = append(columns, column{labels: col.labels, values: values})
		}
	}
	for i := range columns {
		columns[i] = ev.nameless(columns[i])
	}
	made, err := ev.merge(columns)
	return value{vector: made}, err
}

// sorted orders the series of an instant query by value; those of a range query
// stay as they are.
func sorted(descending bool) evaluator {
	return func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		of, err := ev.eval(ctx, c.args[0], g)
		if ev.ranged {
			ev.said.note(warning, c.start, "sort is ineffective for range queries since results are always ordered by labels")
		}
		if err != nil || g.n != 1 {
			return of, err
		}
		columns := slices.DeleteFunc(slices.Clone(of.vector), func(c column) bool { return missing(c.values[0]) })
		slices.SortStableFunc(columns, func(a, b column) int { return compareValues(a.values[0], b.values[0], descending) })
		return value{vector: columns}, nil
	}
}

// absentNow is 1 at the steps at which there is no series.
func absentNow(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	of, err := ev.eval(ctx, c.args[0], g)
	if err != nil {
		return value{}, err
	}
	return ev.absent(ctx, of.vector, c.args[0], g)
}

// absent is 1 at the steps at which no column has a value, with the labels that
// the selector, if it is one, asks for.
func (ev *evaluation) absent(ctx context.Context, columns []column, of node, g grid) (value, error) {
	values, err := ev.column(ctx, g)
	for i := range values {
		if !slices.ContainsFunc(columns, func(c column) bool { return !missing(c.values[i]) }) {
			values[i] = 1
		}
	}
	return value{vector: []column{{labels: absentLabels(of), values: values}}}, err
}

// absentLabels are the labels that a selector names once by equality, and not in
// another way after that, as in Prometheus.
func absentLabels(of node) tsdb.Labels {
	s, ok := of.(*selector)
	if !ok {
		return nil
	}
	found, seen := map[string]string{}, map[string]bool{}
	for _, m := range s.matchers {
		if m.label == nameLabel {
			continue
		}
		if m.re != nil || m.negative || seen[m.label] {
			delete(found, m.label)
			continue
		}
		seen[m.label] = true
		if m.value != "" {
			found[m.label] = m.value
		}
	}
	return tsdb.LabelsOf(found)
}
