package promql

import (
	"context"
	"strings"
	"unicode/utf8"
)

// labelReplace sets a label to what a regular expression finds in another.
func labelReplace(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	of, err := ev.eval(ctx, c.args[0], g)
	if err != nil {
		return value{}, err
	}
	to, replacement, from, expr := textOf(c.args[1]), textOf(c.args[2]), textOf(c.args[3]), textOf(c.args[4])
	if !validLabel(to) {
		return value{}, failed("invalid destination label name in label_replace(): %s", to)
	}
	re, err := anchored(expr)
	if err != nil {
		return value{}, failed("invalid regular expression in label_replace(): %s", expr)
	}
	made := make([]column, len(of.vector))
	for i, col := range of.vector {
		made[i] = col
		v, _ := col.labels.Get(from)
		if found := re.FindStringSubmatchIndex(v); found != nil {
			made[i].labels = with(col.labels, to, string(re.ExpandString(nil, replacement, v, found)))
			made[i].name = col.name.after(to)
		}
	}
	made, err = merge(made)
	return value{vector: made}, err
}

// labelJoin sets a label to the values of others.
func labelJoin(ctx context.Context, ev *evaluation, c *call, g grid) (value, error) {
	of, err := ev.eval(ctx, c.args[0], g)
	if err != nil {
		return value{}, err
	}
	to, separator := textOf(c.args[1]), textOf(c.args[2])
	if !validLabel(to) {
		return value{}, failed("invalid destination label name in label_join(): %s", to)
	}
	made := make([]column, len(of.vector))
	values := make([]string, len(c.args)-3)
	for i, col := range of.vector {
		for k, a := range c.args[3:] {
			name := textOf(a)
			if !validLabel(name) {
				return value{}, failed("invalid source label name in label_join(): %s", name)
			}
			values[k], _ = col.labels.Get(name)
		}
		made[i] = column{with(col.labels, to, strings.Join(values, separator)), col.values, col.name.after(to)}
	}
	made, err = merge(made)
	return value{vector: made}, err
}

// textOf is the string that an argument was checked to be.
func textOf(n node) string { return n.(text).value }

// validLabel reports whether Prometheus, which takes any UTF-8, takes the name.
func validLabel(name string) bool { return name != "" && utf8.ValidString(name) }
