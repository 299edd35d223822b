package promql

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"

	"selvedge.dev/tsdb"
)

// aggregationSpec says what an aggregation is called with.
type aggregationSpec struct {
	known bool
	// param is the kind of the first of two arguments, "" when there is one.
	param kind
	// fold makes one value of those of a group at one step; nil for those
	// that keep series or make several.
	fold func(values []float64, param float64) float64
}

// aggregations are those of PromQL.
var aggregations = map[string]aggregationSpec{
	"sum":          {known: true, fold: func(v []float64, _ float64) float64 { return sum(v) }},
	"avg":          {known: true, fold: func(v []float64, _ float64) float64 { return mean(v) }},
	"min":          {known: true, fold: func(v []float64, _ float64) float64 { return minOf(v) }},
	"max":          {known: true, fold: func(v []float64, _ float64) float64 { return maxOf(v) }},
	"count":        {known: true, fold: func(v []float64, _ float64) float64 { return float64(len(v)) }},
	"group":        {known: true, fold: func([]float64, float64) float64 { return 1 }},
	"stddev":       {known: true, fold: func(v []float64, _ float64) float64 { return math.Sqrt(spread(v)) }},
	"stdvar":       {known: true, fold: func(v []float64, _ float64) float64 { return spread(v) }},
	"quantile":     {known: true, param: scalarKind, fold: func(v []float64, q float64) float64 { return quantile(q, slices.Clone(v)) }},
	"topk":         {known: true, param: scalarKind},
	"bottomk":      {known: true, param: scalarKind},
	"count_values": {known: true, param: stringKind},
}

// group are the columns that an aggregation makes one of.
type group struct {
	labels  tsdb.Labels
	members []column
}

// aggregate evaluates an aggregation.
func (ev *evaluation) aggregate(ctx context.Context, n *aggregation, g grid) ([]column, error) {
	of, err := ev.eval(ctx, n.of, g)
	if err != nil {
		return nil, err
	}
	var param value
	if n.param != nil {
		if param, err = ev.eval(ctx, n.param, g); err != nil {
			return nil, err
		}
	}
	if n.op == "count_values" {
		return ev.countValues(ctx, n, of.vector, g)
	}
	if n.op == "quantile" && len(of.vector) > 0 {
		for _, q := range extremesOf(param.scalar) {
			ev.said.quantile(q, startOf(n.param))
		}
	}
	groups := n.groups(of.vector)
	if n.op == "topk" || n.op == "bottomk" {
		return ev.extremes(ctx, n.op == "topk", groups, param.scalar)
	}
	fold := aggregations[n.op].fold
	made := make([]column, 0, len(groups))
	var values []float64
	for _, gr := range groups {
		col, err := ev.column(ctx, g)
		if err != nil {
			return nil, err
		}
		for i := range col {
			values = values[:0]
			for _, m := range gr.members {
				if v := m.values[i]; !missing(v) {
					values = append(values, v)
				}
			}
			if len(values) == 0 {
				continue
			}
			p := 0.0
			if param.scalar != nil {
				p = param.scalar[i]
			}
			col[i] = fold(values, p)
		}
		made = append(made, column{gr.labels, col, n.name(gr.members, col)})
		if err := ev.spend(ctx, 0); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// grouping makes the labels of a group of those of a series; kept are names that
// are kept beside those that the query says.
func (n *aggregation) grouping(kept ...string) func(tsdb.Labels) tsdb.Labels {
	if n.without {
		dropped := append([]string{nameLabel}, n.labels...)
		slices.Sort(dropped)
		return func(ls tsdb.Labels) tsdb.Labels { return without(ls, dropped) }
	}
	names := append(kept, n.labels...)
	slices.Sort(names)
	return func(ls tsdb.Labels) tsdb.Labels { return only(ls, names) }
}

// groups sorts columns into groups by their labels, in order of appearance.
func (n *aggregation) groups(columns []column) []*group {
	index := map[string]*group{}
	var all []*group
	grouped := n.grouping()
	for _, c := range columns {
		labels := grouped(c.labels)
		key := labelsKey(labels)
		gr := index[key]
		if gr == nil {
			gr = &group{labels: labels}
			index[key] = gr
			all = append(all, gr)
		}
		gr.members = append(gr.members, c)
	}
	return all
}

// extremesOf are a NaN, if there is one, the least and the greatest of values.
func extremesOf(values []float64) []float64 {
	var found []float64
	if slices.ContainsFunc(values, math.IsNaN) {
		found = append(found, math.NaN())
	}
	return append(found, minOf(values), maxOf(values))
}

// extremes keeps the k greatest or least values of each group at each step. At
// a single step they come in their order.
func (ev *evaluation) extremes(ctx context.Context, top bool, groups []*group, ks []float64) ([]column, error) {
	if maxOf(ks) < 1 {
		return nil, nil
	}
	for _, k := range extremesOf(ks) {
		switch {
		case math.IsNaN(k):
			return nil, failed("Parameter value is NaN")
		case k <= math.MinInt64:
			return nil, failed("Scalar value %v underflows int64", k)
		case k >= math.MaxInt64:
			return nil, failed("Scalar value %v overflows int64", k)
		}
	}
	var made []column
	for _, gr := range groups {
		kept := make([]column, len(gr.members))
		for m := range kept {
			values, err := ev.column(ctx, grid{n: len(ks)})
			if err != nil {
				return nil, err
			}
			kept[m] = column{gr.members[m].labels, values, gr.members[m].name}
		}
		var order []int
		for i, k := range ks {
			if err := ev.spend(ctx, 0); err != nil {
				return nil, err
			}
			if k < 1 {
				continue
			}
			order = order[:0]
			for m := range gr.members {
				if !missing(gr.members[m].values[i]) {
					order = append(order, m)
				}
			}
			slices.SortStableFunc(order, func(a, b int) int {
				return compareValues(gr.members[a].values[i], gr.members[b].values[i], top)
			})
			for _, m := range order[:min(int64(k), int64(len(order)))] {
				kept[m].values[i] = gr.members[m].values[i]
			}
		}
		if len(ks) == 1 {
			for _, m := range order {
				if !missing(kept[m].values[0]) {
					made = append(made, kept[m])
				}
			}
			continue
		}
		made = append(made, kept...)
	}
	return made, nil
}

// compareValues orders values, NaN last in either direction.
func compareValues(a, b float64, descending bool) int {
	switch aNaN, bNaN := math.IsNaN(a), math.IsNaN(b); {
	case aNaN && bNaN:
		return 0
	case aNaN:
		return 1
	case bNaN:
		return -1
	case descending:
		return cmp.Compare(b, a)
	}
	return cmp.Compare(a, b)
}

// countValues counts how many series of a group have each value, which becomes
// a label of the series before they are grouped.
func (ev *evaluation) countValues(ctx context.Context, n *aggregation, columns []column, g grid) ([]column, error) {
	label := textOf(n.param)
	if !validLabel(label) {
		return nil, failed("invalid label name %q", label)
	}
	grouped := n.grouping(label)
	index := map[string]int{}
	var made []column
	for _, c := range columns {
		places := map[uint64]int{} // of the values of this series
		for i, v := range c.values {
			if missing(v) {
				continue
			}
			at, ok := places[math.Float64bits(v)]
			if !ok {
				labels := grouped(with(c.labels, label, strconv.FormatFloat(v, 'f', -1, 64)))
				key := labelsKey(labels)
				if at, ok = index[key]; !ok {
					col, err := ev.column(ctx, g)
					if err != nil {
						return nil, err
					}
					at = len(made)
					index[key] = at
					made = append(made, column{labels: labels, values: col})
				}
				places[math.Float64bits(v)] = at
			}
			if missing(made[at].values[i]) {
				made[at].values[i] = 0
			}
			made[at].values[i]++
		}
	}
	return made, nil
}
