package promql

import (
	"context"
	"math"
	"slices"

	"selvedge.dev/tsdb"
)

// view is what a range function sees at one step: the samples of one series in
// the window (from, to], at least one.
type view struct {
	times    []int64
	values   []float64
	from, to int64
	// now is the time of the step, which the window may be shifted from.
	now int64
	// param is the scalar argument.
	param float64
}

// rangeFunction is what a function makes of a window; false is no value.
type rangeFunction func(w *view) (float64, bool)

// always is a function of the values that always has a value.
func always(f func(values []float64) float64) rangeFunction {
	return func(w *view) (float64, bool) { return f(w.values), true }
}

// over is a function of one range vector. Its results keep the metric's name
// if keep.
func over(f rangeFunction, keep bool) function {
	return function{args: []kind{matrixKind}, result: vectorKind, eval: func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		return ev.over(ctx, rangeCall{f: f, of: c.args[0], keep: keep}, g)
	}}
}

// ofCounter is over for a function of counters.
func ofCounter(f rangeFunction) function {
	return function{args: []kind{matrixKind}, result: vectorKind, eval: func(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
		if err := ev.list(ctx); err != nil {
			return value{}, err
		}
		last := "" // many steps of one series follow each other
		return ev.over(ctx, rangeCall{f: f, of: c.args[0], check: func(ev *evaluation, ls tsdb.Labels, _ float64) {
			name, _ := ls.Get(nameLabel)
			if name == last {
				return
			}
			if last = name; name != "" && !ev.directory.counter(name) {
				ev.said.note(info, startOf(c.args[0]), "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: %q", name)
			}
		}}, g)
	}}
}

// rangeCall is a range function and what it is called with.
type rangeCall struct {
	f    rangeFunction
	of   node
	keep bool
	// param is the scalar argument, nil if there is none, and params what it is at
	// each step.
	param  node
	params []float64
	// check, if not nil, looks at each step of a series that has a result.
	check func(ev *evaluation, ls tsdb.Labels, param float64)
}

// over evaluates a range function at every step. The samples of a selector are seen
// series by series, and not kept.
func (ev *evaluation) over(ctx context.Context, c rangeCall, g grid) (value, error) {
	if c.param != nil {
		p, err := ev.eval(ctx, c.param, g)
		if err != nil {
			return value{}, err
		}
		c.params = p.scalar
	}
	var made []column
	early := ev.early(c)
	see := func(r ranges, s source) error {
		values, any, err := ev.windows(ctx, c, r, s, g)
		switch {
		case err != nil:
			return err
		case any:
			made = append(made, column{s.labels, values, s.name})
			return early(made[len(made)-1])
		default:
			ev.budget += g.n
		}
		return nil
	}
	if n, ok := c.of.(*selector); ok {
		r := ranges{window: n.window, shift: ev.resolve(n.shift)}
		from, _ := r.span(g, 0)
		_, to := r.span(g, g.n-1)
		if err := ev.each(ctx, n, from+1, to, func(s source) error { return see(r, s.withoutGaps()) }); err != nil {
			return value{}, err
		}
		if err := inOrder(made); err != nil {
			return value{}, err
		}
	} else {
		v, err := ev.eval(ctx, c.of, g)
		if err != nil {
			return value{}, err
		}
		for _, s := range v.ranges.series {
			if err := see(v.ranges, s); err != nil {
				return value{}, err
			}
		}
	}
	if !c.keep {
		for i := range made {
			made[i] = ev.nameless(made[i])
		}
	}
	if ev.delayed {
		return value{vector: made}, nil
	}
	made, err := merge(made)
	return value{vector: made}, err
}

// windows evaluates a range function on one series, and reports whether there is
// any result.
func (ev *evaluation) windows(ctx context.Context, c rangeCall, r ranges, s source, g grid) (values []float64, any bool, err error) {
	if values, err = ev.column(ctx, g); err != nil {
		return nil, false, err
	}
	lo, hi := 0, 0
	for i := range values {
		w := view{now: g.at(i)}
		w.from, w.to = r.span(g, i)
		for hi < len(s.times) && s.times[hi] <= w.to {
			hi++
		}
		for lo < hi && s.times[lo] <= w.from {
			lo++
		}
		if lo == hi {
			continue
		}
		if c.params != nil {
			w.param = c.params[i]
		}
		w.times, w.values = s.times[lo:hi], s.values[lo:hi]
		if x, ok := c.f(&w); ok {
			values[i], any = x, true
			if c.check != nil {
				c.check(ev, s.labels, w.param)
			}
		}
		if i%64 == 63 {
			if err := ev.spend(ctx, 0); err != nil {
				return nil, false, err
			}
		}
	}
	return values, any, nil
}

// extrapolated is rate, increase and delta: the change between the first and
// the last sample of the window, extended towards the window's edges as far as
// samples can be expected there, which is half of their mean distance beyond
// 1.1 of it, and for a counter not further than where it was zero.
func extrapolated(counter, perSecond bool) rangeFunction {
	return func(w *view) (float64, bool) {
		n := len(w.values)
		if n < 2 {
			return 0, false
		}
		first, last := w.values[0], w.values[n-1]
		change := last - first
		if counter {
			for i := 1; i < n; i++ {
				if w.values[i] < w.values[i-1] {
					change += w.values[i-1]
				}
			}
		}
		toStart := float64(w.times[0]-w.from) / 1000
		toEnd := float64(w.to-w.times[n-1]) / 1000
		sampled := float64(w.times[n-1]-w.times[0]) / 1000
		distance := sampled / float64(n-1)
		threshold := distance * 1.1
		if toStart >= threshold {
			toStart = distance / 2
		}
		if counter && change > 0 && first >= 0 {
			toStart = min(toStart, sampled*(first/change))
		}
		if toEnd >= threshold {
			toEnd = distance / 2
		}
		factor := (sampled + toStart + toEnd) / sampled
		if perSecond {
			factor /= float64(w.to-w.from) / 1000
		}
		return change * factor, true
	}
}

// immediate is irate and idelta: the change between the last two samples.
func immediate(rate bool) rangeFunction {
	return func(w *view) (float64, bool) {
		n := len(w.values)
		if n < 2 {
			return 0, false
		}
		change := w.values[n-1] - w.values[n-2]
		if !rate {
			return change, true
		}
		if change < 0 {
			change = w.values[n-1] // a counter that was reset
		}
		return change / (float64(w.times[n-1]-w.times[n-2]) / 1000), true
	}
}

// changes counts the changes of value.
func changes(values []float64) float64 {
	n := 0.0
	for i := 1; i < len(values); i++ {
		a, b := values[i-1], values[i]
		if a != b && !(math.IsNaN(a) && math.IsNaN(b)) {
			n++
		}
	}
	return n
}

// resets counts the falls of a counter.
func resets(values []float64) float64 {
	n := 0.0
	for i := 1; i < len(values); i++ {
		if values[i] < values[i-1] {
			n++
		}
	}
	return n
}

// deriv is the slope of the line through the samples.
func deriv(w *view) (float64, bool) {
	if len(w.values) < 2 {
		return 0, false
	}
	slope, _ := regression(w.times, w.values, w.times[0])
	return slope, true
}

// predictLinear is where the line through the samples is param seconds from
// now.
func predictLinear(w *view) (float64, bool) {
	if len(w.values) < 2 {
		return 0, false
	}
	slope, intercept := regression(w.times, w.values, w.now)
	return slope*w.param + intercept, true
}

// quantileOver is the quantile of a window.
func quantileOver(w *view) (float64, bool) {
	return quantile(w.param, slices.Clone(w.values)), true
}

// absentOver is 1 at the steps at which no series has a sample in the window.
func absentOver(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	there, err := ev.over(ctx, rangeCall{f: func(*view) (float64, bool) { return 1, true }, of: c.args[0], keep: true}, g)
	if err != nil {
		return value{}, err
	}
	return ev.absent(ctx, there.vector, c.args[0], g)
}
