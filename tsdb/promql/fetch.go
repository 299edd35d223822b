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

// fetch reads the series that the selector matches with their samples in
// [from, to], sorted by labels. The same selector and interval is read once;
// what is returned is shared.
func (ev *evaluation) fetch(ctx context.Context, n *selector, from, to int64) ([]source, error) {
	key := fmt.Sprintf("%d %d %s", from, to, n.key)
	if sources, ok := ev.read[key]; ok {
		return sources, nil
	}
	if to < 0 {
		return nil, nil
	}
	sel, err := ev.selection(ctx, n, from, to)
	if err != nil {
		return nil, err
	}
	sources := []source{}
	err = ev.engine.store.Select(ctx, sel, func(s *tsdb.Series, p tsdb.Points) error {
		if err := ev.spend(ctx, p.Len()); err != nil {
			return err
		}
		src := source{labels: labelsOf(s), times: make([]int64, p.Len()), values: slices.Clone(p.Values)}
		for i, t := range p.Times {
			src.times[i] = int64(t)
		}
		sources = append(sources, src)
		return nil
	})
	if err != nil {
		return nil, tooMuch(err)
	}
	slices.SortFunc(sources, func(a, b source) int { return compareLabels(a.labels, b.labels) })
	ev.read[key] = sources
	return sources, nil
}

// tooMuch gives the bounds of the store the reason of ours.
func tooMuch(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Exhausted && f.Reason == "" {
		return &fault.Error{Op: "promql.Query", Kind: fault.Exhausted, Reason: ReasonTooMuch, Err: err}
	}
	return fmt.Errorf("reading series: %w", err)
}

// selection is what the store is asked for.
func (ev *evaluation) selection(ctx context.Context, n *selector, from, to int64) (tsdb.Selection, error) {
	o := ev.engine.options
	sel := tsdb.Selection{
		// There are no points before 1970, and storages need not know such times.
		Project: ev.project, Interval: tsdb.Interval{Start: tsdb.Millis(max(from, 0)), End: tsdb.Millis(max(to, 0))},
		MaxSeries: o.MaxSeries, MaxPoints: o.MaxSamples,
	}
	matchers := n.matchers
	if n.name != "" {
		if !ev.asked {
			described, err := ev.engine.descriptors.List(ctx, ev.project)
			if err != nil {
				return sel, fmt.Errorf("listing metrics: %w", err)
			}
			for _, d := range described {
				ev.names = append(ev.names, d.Type)
			}
			ev.asked = true
		}
		var err error
		if sel.Metric, err = typeOf(n.name, ev.names); err != nil {
			return sel, err
		}
		matchers = slices.Clone(matchers)
		for i, m := range matchers {
			if m.label == nameLabel && m.re == nil && !m.negative && m.value == n.name {
				matchers[i].value = sel.Metric
			}
		}
	}
	sel.Keep = func(s *tsdb.Series) bool { return keeps(matchers, s) }
	return sel, nil
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
