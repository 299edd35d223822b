package promql

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"selvedge.dev/tsdb"
)

// Browse says which series are asked about.
type Browse struct {
	// Project is the id of the project that is read; never "".
	Project string
	// Match are selectors, of which a series meets at least one; none means
	// all series.
	Match []string
	// Start and End bound the points that a series must have one of.
	Start, End tsdb.Millis
	// Limit is how many answers are enough; 0 means no limit.
	Limit int
}

// Series are the labels of the series, sorted.
func (e *Engine) Series(ctx context.Context, b Browse) ([]tsdb.Labels, error) {
	found := map[string]tsdb.Labels{}
	err := e.browse(ctx, b, func(ls tsdb.Labels) { found[labelsKey(ls)] = ls })
	if err != nil {
		return nil, err
	}
	all := slices.SortedFunc(maps.Values(found), compareLabels)
	return limited(all, b.Limit), nil
}

// LabelNames are the names of the labels that the series have, sorted.
func (e *Engine) LabelNames(ctx context.Context, b Browse) ([]string, error) {
	found := map[string]bool{}
	err := e.browse(ctx, b, func(ls tsdb.Labels) {
		for _, l := range ls {
			found[l.Name] = true
		}
	})
	return limited(slices.Sorted(maps.Keys(found)), b.Limit), err
}

// LabelValues are the values that a label has, sorted.
func (e *Engine) LabelValues(ctx context.Context, b Browse, name string) ([]string, error) {
	found := map[string]bool{}
	err := e.browse(ctx, b, func(ls tsdb.Labels) {
		if v, ok := ls.Get(name); ok {
			found[v] = true
		}
	})
	return limited(slices.Sorted(maps.Keys(found)), b.Limit), err
}

// limited are the first items, all for 0.
func limited[T any](all []T, limit int) []T {
	if limit > 0 && len(all) > limit {
		return all[:limit]
	}
	return all
}

// browse calls see with the labels of every series, some more than once.
func (e *Engine) browse(ctx context.Context, b Browse, see func(tsdb.Labels)) error {
	ctx, cancel := context.WithTimeout(ctx, e.options.Timeout)
	defer cancel()
	ev := &evaluation{engine: e, project: b.Project, budget: e.options.MaxSamples}
	selectors := []*selector{{}}
	if len(b.Match) > 0 {
		selectors = nil
	}
	for _, m := range b.Match {
		n, err := compile(m)
		if err != nil {
			return err
		}
		s, ok := n.(*selector)
		if !ok || s.window > 0 || s.shift != (shift{}) {
			return badField("match[]", "it must be a selector of series: %s", m)
		}
		selectors = append(selectors, s)
	}
	for _, s := range selectors {
		sel, err := ev.selection(ctx, s, int64(max(b.Start, -maxTime)), int64(min(b.End, maxTime)))
		if err != nil {
			return err
		}
		err = e.store.Select(ctx, sel, func(s *tsdb.Series, _ tsdb.Points) error {
			see(labelsOf(s))
			return ctx.Err()
		})
		if err != nil {
			return tooMuch(err)
		}
	}
	return nil
}

// Metadata is what is known of a metric, in the words of Prometheus.
type Metadata struct {
	// Metric is the metric's type.
	Metric string
	// Type is "counter" for what is cumulative, else "gauge".
	Type string
	// Help is the description, Unit the UCUM unit.
	Help, Unit string
}

// Metadata are the metrics of a project, sorted, or the one that is named, by
// its type or as a query can name it.
func (e *Engine) Metadata(ctx context.Context, project, metric string) ([]Metadata, error) {
	ds, err := e.descriptors.List(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("listing metrics: %w", err)
	}
	if metric != "" {
		names := make([]string, len(ds))
		for i, d := range ds {
			names[i] = d.Type
		}
		if metric, err = typeOf(metric, names); err != nil {
			return nil, err
		}
	}
	var all []Metadata
	for _, d := range ds {
		if metric != "" && d.Type != metric {
			continue
		}
		m := Metadata{Metric: d.Type, Type: "gauge", Unit: d.Unit}
		if d.Kind == tsdb.Cumulative {
			m.Type = "counter"
		}
		if d.Details != nil {
			m.Help = d.Details.Description
		}
		all = append(all, m)
	}
	return all, nil
}
