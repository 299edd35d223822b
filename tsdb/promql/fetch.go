package promql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// each calls f with every series that the selector matches and that has samples in
// [from, to], in no order. What f gets is valid until it returns.
func (ev *evaluation) each(ctx context.Context, n *selector, from, to int64, f func(source) error) error {
	if to < 0 {
		return nil
	}
	sel, matchers, err := ev.selection(ctx, n, from, to)
	if err != nil {
		return err
	}
	var times []int64
	room := 0
	u := unfolding{matchers: matchers, spend: func(n int) error {
		if room -= n; room < 0 {
			return overBudget(ev.engine.options.MaxSamples)
		}
		return ev.spend(ctx, 0)
	}, see: func(ls tsdb.Labels, at []tsdb.Millis, values []float64) error {
		times = times[:0]
		for _, t := range at {
			times = append(times, int64(t))
		}
		return f(source{labels: ls, times: times, values: values})
	}}
	err = ev.engine.store.Select(ctx, sel, func(s *tsdb.Series, p tsdb.Points) error {
		room = ev.engine.options.MaxSamples
		return u.series(s, p)
	})
	return tooMuch(err)
}

// fetch keeps the series that the selector matches with their samples in
// [from, to], sorted by labels.
func (ev *evaluation) fetch(ctx context.Context, n *selector, from, to int64) ([]source, error) {
	var sources []source
	err := ev.each(ctx, n, from, to, func(s source) error {
		sources = append(sources, source{labels: s.labels, times: slices.Clone(s.times), values: slices.Clone(s.values)})
		return ev.spend(ctx, len(s.times))
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(sources, func(a, b source) int { return compareLabels(a.labels, b.labels) })
	return sources, nil
}

// inOrder sorts columns by their labels, of which none may be there twice.
func inOrder(columns []column) error {
	slices.SortFunc(columns, func(a, b column) int { return compareLabels(a.labels, b.labels) })
	for i := 1; i < len(columns); i++ {
		if compareLabels(columns[i-1].labels, columns[i].labels) == 0 {
			return failed("two series of the project are the same for queries: %v", columns[i].labels)
		}
	}
	return nil
}

// tooMuch gives the bounds of the store the reason of ours.
func tooMuch(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Exhausted && f.Reason == "" {
		return &fault.Error{Op: "promql.Query", Kind: fault.Exhausted, Reason: ReasonTooMuch, Err: err}
	}
	return fmt.Errorf("reading series: %w", err)
}

// list reads which metrics there are, once.
func (ev *evaluation) list(ctx context.Context) error {
	if ev.directory != nil {
		return nil
	}
	described, err := ev.engine.descriptors.List(ctx, ev.project)
	if err != nil {
		return fmt.Errorf("listing metrics: %w", err)
	}
	ev.directory = directoryOf(described)
	return nil
}

// selection is what the store is asked for, and the matchers with the name that is
// meant.
func (ev *evaluation) selection(ctx context.Context, n *selector, from, to int64) (tsdb.Selection, []matcher, error) {
	o := ev.engine.options
	sel := tsdb.Selection{
		// There are no points before 1970, and storages need not know such times.
		Project: ev.project, Interval: tsdb.Interval{Start: tsdb.Millis(max(from, 0)), End: tsdb.Millis(max(to, 0))},
		MaxSeries: o.MaxSeries,
	}
	matchers := n.matchers
	if n.name != "" {
		if err := ev.list(ctx); err != nil {
			return sel, nil, err
		}
		exact, metric, err := ev.directory.find(n.name)
		if err != nil {
			return sel, nil, err
		}
		sel.Metric = metric
		matchers = slices.Clone(matchers)
		for i, m := range matchers {
			if m.label == nameLabel && m.re == nil && !m.negative && m.value == n.name {
				matchers[i].value = exact
			}
		}
	}
	sel.Keep = func(s *tsdb.Series) bool { return keeps(matchers, s) }
	return sel, matchers, nil
}

// compareLabels orders label sets by their names and values in turn.
func compareLabels(a, b tsdb.Labels) int {
	return slices.CompareFunc(a, b, func(x, y tsdb.Label) int {
		if c := strings.Compare(x.Name, y.Name); c != 0 {
			return c
		}
		return strings.Compare(x.Value, y.Value)
	})
}
