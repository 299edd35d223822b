package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/align"
	"selvedge.dev/tsdb/query/filter"
	"selvedge.dev/tsdb/rollup"
)

// Rollups are what is kept beside the points; a rollup.Keeper is it.
type Rollups interface {
	// Rules are the rollups of a metric.
	Rules(project, metric string) []*rollup.Rule
	// View is what can be asked of a rule about windows that end in the closed
	// interval; it is asked before what it is about.
	View(ctx context.Context, rule *rollup.Rule, iv tsdb.Interval) (rollup.View, error)
	// Read returns what is kept, by key, and how many stored points hold it.
	Read(ctx context.Context, r rollup.Read) (map[string]*rollup.Kept, int, error)
}

// DefaultBlock is how many points of a series the storage reads at least: it
// keeps them in blocks of that many (tsdb/vm).
const DefaultBlock = 8192

// usualPeriod is how far apart the points of a metric are taken to be if its
// descriptor does not say. It only decides what is the less to read.
const usualPeriod = 10 * tsdb.Millis(time.Second/time.Millisecond)

// maxRuns bounds the parts that an answer is read in.
const maxRuns = 1024

// choice is how a rollup answers the first stage of a plan.
type choice struct {
	rule   *rollup.Rule
	method rollup.Method
	view   rollup.View
	// runs are the parts of the time that are read from the rollup, each
	// (Start, End] and ascending; all else of reads is read from the points.
	runs []tsdb.Interval
	// reads is all that the stage needs, (Start, End].
	reads tsdb.Interval
	// block is how much time the storage reads at least.
	block tsdb.Millis
	cost  float64
	// exemplars says that the answer has those of the distributions.
	exemplars bool
}

// choose is the rollup that answers the first stage with the least reading, or
// why there is none.
func (e *Engine) choose(ctx context.Context, p *plan, project string) (*choice, string, error) {
	if e.opts.Rollups == nil {
		return nil, "there are no rollups", nil
	}
	st := &p.stages[0]
	metric := p.filter.metric
	switch {
	case metric == "":
		return nil, "the filter does not name one metric type", nil
	case st.aligner.None():
		return nil, "the points are not aligned", nil
	}
	rules := e.opts.Rollups.Rules(project, metric)
	if len(rules) == 0 {
		return nil, "the metric has no rollups", nil
	}
	why := "no rollup of the metric keeps what " + st.aligner.String() + " needs"
	reads := p.reads()
	var best *choice
	for _, rule := range rules {
		c := &choice{rule: rule, reads: tsdb.Interval{Start: reads.Start - 1, End: reads.End}}
		var ok bool
		if c.method, ok = rollup.MethodOf(st.aligner.String(), rule.Metric.Kind, rule.Metric.ValueType); !ok || !rule.Has(c.method.Needs) || !c.suits(p) {
			continue
		}
		why = "reading the points is no more than reading a rollup and the edges of its windows"
		var err error
		if c.view, err = e.opts.Rollups.View(ctx, rule, reads); err != nil {
			return nil, "", err
		}
		if c.weigh(st.grid, e.opts.Block) && (best == nil || c.cost < best.cost || c.cost == best.cost && rule.Period > best.rule.Period) {
			best = c
		}
	}
	if best != nil {
		best.exemplars = p.distributes(&best.rule.Metric)
	}
	return best, why, nil
}

// distributes reports whether the stages make distributions of the points of a
// metric, or cannot be applied to it.
func (p *plan) distributes(d *tsdb.Descriptor) bool {
	s := &tsdb.Series{Kind: d.Kind, ValueType: d.ValueType}
	var err error
	for i := range p.stages {
		st := &p.stages[i]
		if s, err = st.aligner.Output(s); err != nil {
			return true
		}
		if s, err = st.reducer.Output(s); err != nil {
			return true
		}
	}
	return s.ValueType == tsdb.Distributed
}

// suits reports whether the series of the rule are those of the plan, or groups
// that its first stage reduces whole.
func (c *choice) suits(p *plan) bool {
	if !c.rule.Grouped() {
		return true
	}
	st := &p.stages[0]
	known := func(f filter.Field) bool {
		return f == filter.MetricType() || f == filter.ResourceType() || f == filter.Project() || slices.Contains(c.rule.GroupBy, f)
	}
	return slices.Contains(c.method.Reducers, st.reducer.String()) && p.filter.Only(known) && !slices.ContainsFunc(st.groupBy, func(f filter.Field) bool { return !known(f) })
}

// weigh finds the runs, and reports whether reading them and the rest is less
// than reading everything from the points. The cost is in time of one series,
// as the points of it are read.
func (c *choice) weigh(g align.Grid, block int) bool {
	between := usualPeriod
	if d := c.rule.Metric.Details; d != nil && d.SamplePeriod > 0 {
		between = max(1, tsdb.Millis(d.SamplePeriod/time.Millisecond))
	}
	c.block = tsdb.Millis(block) * between
	all := c.covered(g)
	for i, run := range all {
		// The points on both sides of a short run are in blocks that hold its
		// own too.
		inside := run.Start > c.reads.Start && run.End < c.reads.End
		if inside && run.End-run.Start < c.block || i >= maxRuns {
			continue
		}
		c.runs = append(c.runs, run)
	}
	if len(c.runs) == 0 {
		return false
	}
	whole := float64(c.reads.End - c.reads.Start + c.block)
	for _, run := range c.runs {
		c.cost += float64((run.End - run.Start) / c.rule.Period * between)
	}
	for _, span := range c.rest() {
		c.cost += float64(span.End - span.Start + c.block)
	}
	return c.cost < whole
}

// covered are the longest runs of windows of the rule that are each within one
// window of the grid, or before the first one, and were computed.
func (c *choice) covered(g align.Grid) []tsdb.Interval {
	var runs []tsdb.Interval
	period := c.rule.Period
	first := g.End - tsdb.Millis(g.Windows())*g.Period
	from := max(c.reads.Start, c.view.After)
	for end := c.rule.EndOf(from) + period; end <= min(c.reads.End, c.view.Until); end += period {
		start := end - period
		if c.view.Whole[end] || start < first && end > first ||
			start >= first && (g.End-start-1)/g.Period != (g.End-end)/g.Period {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].End == start {
			runs[n-1].End = end
			continue
		}
		runs = append(runs, tsdb.Interval{Start: start, End: end})
	}
	return runs
}

// rest is what is not in the runs, each part (Start, End].
func (c *choice) rest() []tsdb.Interval {
	var all []tsdb.Interval
	from := c.reads.Start
	for _, run := range c.runs {
		if run.Start > from {
			all = append(all, tsdb.Interval{Start: from, End: run.Start})
		}
		from = run.End
	}
	if from < c.reads.End {
		all = append(all, tsdb.Interval{Start: from, End: c.reads.End})
	}
	return all
}

// uses is the run that has the window that ends there, or false.
func (c *choice) uses(end tsdb.Millis) (int, bool) {
	i, _ := slices.BinarySearchFunc(c.runs, end, func(run tsdb.Interval, end tsdb.Millis) int { return cmp.Compare(run.End, end) })
	return i, i < len(c.runs) && c.runs[i].Start < end
}
