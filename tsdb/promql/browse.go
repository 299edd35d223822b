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
	// Limit is how many answers are enough; 0 means no limit. If there are more, one
	// more is returned.
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

// limited are the first items and one more, all for 0.
func limited[T any](all []T, limit int) []T {
	if limit > 0 && len(all) > limit {
		return all[:limit+1]
	}
	return all
}

// browse calls see with the labels of every series, some more than once.
func (e *Engine) browse(ctx context.Context, b Browse, see func(tsdb.Labels)) error {
	ctx, end, err := e.begin(ctx, b.Project, 0)
	if err != nil {
		return err
	}
	defer end()
	ev := &evaluation{engine: e, project: b.Project, budget: e.options.MaxSamples}
	selectors := []*selector{{}}
	if len(b.Match) > 0 {
		selectors = nil
	}
	for _, m := range b.Match {
		s, err := compileSelector(m)
		if err != nil {
			return err
		}
		selectors = append(selectors, s)
	}
	for _, s := range selectors {
		sel, matchers, err := ev.selection(ctx, s, int64(max(b.Start, -maxTime)), int64(min(b.End, maxTime)))
		if err != nil {
			return err
		}
		if err := e.look(ctx, sel, matchers, see); err != nil {
			return tooMuch(err)
		}
	}
	return nil
}

// look calls see with the labels of the series of a selection. Points are read
// only where a storage cannot do without, and of distributions, which know their
// buckets.
func (e *Engine) look(ctx context.Context, sel tsdb.Selection, matchers []matcher, see func(tsdb.Labels)) error {
	room := 0
	u := unfolding{matchers: matchers, spend: func(n int) error {
		if room -= n; room < 0 {
			return overBudget(e.options.MaxSamples)
		}
		return ctx.Err()
	}, see: func(ls tsdb.Labels, _ []tsdb.Millis, _ []float64) error {
		see(ls)
		return nil
	}}
	read := func(s *tsdb.Series, p tsdb.Points) error {
		room = e.options.MaxSamples
		return u.series(s, p)
	}
	surveyor, ok := e.store.(tsdb.Surveyor)
	if !ok {
		return e.store.Select(ctx, sel, read)
	}
	distributed := false
	err := surveyor.Survey(ctx, sel, func(s *tsdb.Series) error {
		if s.ValueType == tsdb.Distributed {
			distributed = true
		} else {
			see(labelsOf(s, ""))
		}
		return ctx.Err()
	})
	if err != nil || !distributed {
		return err
	}
	keep := sel.Keep
	sel.Keep = func(s *tsdb.Series) bool { return s.ValueType == tsdb.Distributed && keep(s) }
	return e.store.Select(ctx, sel, read)
}

// Metadata is what is known of a metric, in the words of Prometheus.
type Metadata struct {
	// Metric is the metric's type.
	Metric string
	// Type is "histogram" for distributions, "counter" for what else is
	// cumulative, else "gauge".
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
		if _, metric, err = directoryOf(ds).find(metric); err != nil {
			return nil, err
		}
	}
	var all []Metadata
	for _, d := range ds {
		if metric != "" && d.Type != metric {
			continue
		}
		m := Metadata{Metric: d.Type, Type: "gauge", Unit: d.Unit}
		switch {
		case d.ValueType == tsdb.Distributed:
			m.Type = "histogram"
		case d.Kind == tsdb.Cumulative:
			m.Type = "counter"
		}
		if d.Details != nil {
			m.Help = d.Details.Description
		}
		all = append(all, m)
	}
	return all, nil
}
