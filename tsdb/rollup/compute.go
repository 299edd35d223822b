package rollup

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// The samples that a pass should read, about: fewer, and the next one takes
// twice the time, more, and it takes half of it. So days without samples cost
// little, and a pass that has to be begun anew loses some seconds.
const (
	fewSamples  = 1_000_000
	manySamples = 16_000_000
	// maxSpan is how much time a pass takes at most.
	maxSpan = 128 * day
	// sliceSamples is how many samples should be read at once, about: a storage
	// on another machine holds them all in memory, 16 bytes each.
	sliceSamples = 4_000_000
)

// writeBatch is how many samples are appended at once.
const writeBatch = 8192

// Run computes, every so often, until ctx ends. What cannot be done is logged and
// tried again.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		wait := k.options.Every
		more, err := k.Step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			k.log.WarnContext(ctx, "computing rollups failed", slog.Any("error", err))
		case more:
			wait = 0
		}
		timer.Reset(wait)
	}
}

// Step computes what there is to compute, in one round: of every rollup one
// pass on, and a batch of what was marked. more says that there is more. An
// error is of one rollup at least; the others were not held up by it.
func (k *Keeper) Step(ctx context.Context) (more bool, err error) {
	k.stepping.Lock()
	defer k.stepping.Unlock()
	if err := k.refresh(ctx); err != nil {
		return false, err
	}
	if len(*k.rules.Load()) == 0 {
		return false, nil
	}
	// Before slots are given away, of which this is.
	if k.settling != nil {
		if k.options.Now().Before(k.settled) {
			return false, nil
		}
		done := k.settling
		k.settling = nil
		if err := done.finish(ctx); err != nil {
			return false, err
		}
	}
	held, err := k.state.acquire(ctx, k.options.Member, k.options.Now(), leaseRounds*k.options.Every)
	if err != nil {
		return false, wrap("take leases", err)
	}
	if err := k.flush(ctx); err != nil {
		return false, err
	}
	if err := k.freshen(ctx); err != nil {
		return false, err
	}
	r := &round{keeper: k, held: held}
	if r.marked, err = k.state.marked(ctx); err != nil {
		return false, wrap("read marks", err)
	}
	for _, of := range *k.rules.Load() {
		for _, rule := range of {
			if err := r.compute(ctx, rule); err != nil {
				r.errs = append(r.errs, wrap("rollup "+rule.String(), err))
			}
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
		}
	}
	if len(r.done) > 0 {
		if err := k.inner.Sync(ctx); err != nil {
			return false, errors.Join(append(r.errs, wrap("sync", err))...)
		}
	}
	if k.options.Settle > 0 && len(r.done) > 0 {
		k.settling, k.settled = r, k.options.Now().Add(k.options.Settle)
		return false, errors.Join(r.errs...)
	}
	return r.more, errors.Join(append(r.errs, r.finish(ctx))...)
}

// freshen has the storage look anew, when others write to it: what a server has
// found for a query it may remember, until the one that asks has written
// something.
func (k *Keeper) freshen(ctx context.Context) error {
	if !k.options.Shared {
		return nil
	}
	now := k.options.Now().UnixMilli()
	beat := &tsdb.Series{Project: hiddenPrefix, Metric: "beat", MetricLabels: tsdb.Labels{{Name: "member", Value: k.options.Member}}}
	return wrap("write a beat", k.inner.Append(ctx, []tsdb.Sample{{Series: beat, Time: tsdb.Millis(now), Value: 1}}))
}

// round is one Step.
type round struct {
	keeper *Keeper
	held   map[int]lease
	// marked are the rollups that have marks.
	marked map[string]bool
	// done are the tasks that were computed.
	done []*computation
	more bool
	errs []error
}

// compute does what there is to do for a rule.
func (r *round) compute(ctx context.Context, rule *Rule) error {
	k := r.keeper
	target := floor(tsdb.Millis(k.options.Now().Add(-k.options.Grace).UnixMilli()), rule.Period)
	var tasks []*task
	var err error
	if k.options.Shared || rule.done.Load() < int64(target) {
		rule.done.Store(0)
		if tasks, err = k.state.allocatePasses(ctx, k.options.Member, r.held, rule, target); err != nil {
			return wrap("begin a pass", err)
		}
	}
	for _, t := range tasks {
		r.more = r.more || t.until < target
	}
	if r.marked[rule.ID] {
		late, err := r.late(ctx, rule)
		if err != nil {
			return wrap("take marks", err)
		}
		tasks = append(tasks, late...)
	}
	k.raise(rule, tasks)
	for _, t := range tasks {
		c := &computation{keeper: k, task: t}
		if err := c.run(ctx); err != nil {
			return err
		}
		r.done = append(r.done, c)
		if t.passes != nil {
			rule.span.Store(rule.pace(rule.span.Load(), c.read, fewSamples, manySamples))
		}
	}
	return nil
}

// late are the tasks for windows of a rule that are marked.
func (r *round) late(ctx context.Context, rule *Rule) ([]*task, error) {
	k := r.keeper
	marked, more, err := k.state.allocateAgain(ctx, k.options.Member, r.held, rule)
	if err != nil {
		return nil, err
	}
	r.more = r.more || more
	tasks := clusters(rule, marked)
	t, err := k.state.allocateWhole(ctx, k.options.Member, r.held, rule)
	if err == nil && len(t.whole) > 0 {
		r.more = true
		tasks = append(tasks, t)
	}
	return tasks, err
}

// raise has what is appended from now on be marked, if it is of windows that
// are about to be computed. When it returns, all else is in the storage.
func (k *Keeper) raise(rule *Rule, tasks []*task) {
	to := rule.target.Load()
	for _, t := range tasks {
		to = max(to, int64(t.until))
	}
	if to == rule.target.Load() {
		return
	}
	k.barrier.Lock()
	defer k.barrier.Unlock()
	rule.target.Store(to)
}

// pace is how many windows are taken next, when so many samples were read in as
// many as windows.
func (r *Rule) pace(windows int64, read, few, many int) int64 {
	switch {
	case read < few:
		return min(2*windows, max(1, int64(maxSpan/time.Millisecond)/int64(r.Period)))
	case read > many:
		return max(1, windows/2)
	}
	return windows
}

// clusters are marked windows in tasks, each of which reads no long time
// between its windows in vain.
func clusters(rule *Rule, marked map[mark]again) []*task {
	all := make([]mark, 0, len(marked))
	for m := range marked {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b mark) int { return cmp.Or(cmp.Compare(a.end, b.end), strings.Compare(a.series, b.series)) })
	apart := max(8*rule.Period, tsdb.Millis(time.Hour/time.Millisecond))
	var tasks []*task
	for _, m := range all {
		n := len(tasks)
		if n == 0 || m.end-tasks[n-1].until > apart {
			tasks = append(tasks, &task{rule: rule, after: m.end - rule.Period, again: map[mark]again{}})
			n++
		}
		t := tasks[n-1]
		t.until, t.again[m] = m.end, marked[m]
	}
	return tasks
}

// finish says that what was computed is, which is durable.
func (r *round) finish(ctx context.Context) error {
	k := r.keeper
	var errs []error
	for _, c := range r.done {
		if err := k.state.finish(ctx, k.options.Member, r.held, c.task, c.unfit); err != nil {
			errs = append(errs, wrap("finish "+c.task.rule.String(), err))
		} else if len(c.passes) == slots {
			c.rule.done.CompareAndSwap(0, int64(c.until)) // unless it was set back
		}
	}
	return errors.Join(errs...)
}

// computation is a task under way.
type computation struct {
	keeper *Keeper
	*task

	batch []tsdb.Sample
	// groups are what is known of groups, by key.
	groups map[string]*groupOf
	unfit  []mark
	// read is how many samples were read.
	read int
}

// groupOf is the windows of a group, by end.
type groupOf struct {
	series  *tsdb.Series
	windows map[tsdb.Millis]*Partial
}

// window is a Partial of a window.
type window struct {
	end tsdb.Millis
	Partial
}

// aligned is what was made of one series.
type aligned struct {
	into    *tsdb.Series
	key     string
	windows []window
	read    int
}

// run reads, computes and writes, slice by slice.
func (c *computation) run(ctx context.Context) error {
	for from := c.after; from < c.until; {
		slice := c.rule.slice.Load()
		to := min(c.until, from+tsdb.Millis(slice)*c.rule.Period)
		before := c.read
		if err := c.runSlice(ctx, tsdb.Interval{Start: from + 1, End: to}); err != nil {
			return err
		}
		c.rule.slice.Store(c.rule.pace(slice, c.read-before, sliceSamples/8, sliceSamples))
		from = to
	}
	return nil
}

// runSlice does the windows of an interval.
func (c *computation) runSlice(ctx context.Context, iv tsdb.Interval) error {
	var series map[string]bool
	if c.again != nil {
		series = map[string]bool{}
		for m := range c.again {
			series[m.series] = true
		}
	}
	d := c.rule.Metric
	sel := tsdb.Selection{
		Project: d.Project, Metric: d.Type, Interval: iv,
		MaxSeries: unbounded, MaxPoints: unboundedPoints,
		Keep: func(s *tsdb.Series) bool {
			key := c.rule.Of(s).Key()
			return series[key] || series == nil && c.wants(key)
		},
	}
	err := scan(ctx, c.keeper.inner, sel, func(s *tsdb.Series, points tsdb.Points) (any, error) {
		into := c.rule.Of(s)
		return aligned{into, into.Key(), c.rule.windows(points), sizeOf(points)}, nil
	}, func(_ *tsdb.Series, made any) (bool, error) {
		return true, c.take(ctx, made.(aligned))
	})
	if err != nil {
		return wrap("compute", err)
	}
	for key, g := range c.groups {
		windows := make([]window, 0, len(g.windows))
		for end, p := range g.windows {
			windows = append(windows, window{end, *p})
		}
		if err := c.write(ctx, aligned{into: g.series, key: key, windows: windows}); err != nil {
			return err
		}
	}
	c.groups = nil
	return c.send(ctx)
}

// windows are the Partials of the windows that have points.
func (r *Rule) windows(points tsdb.Points) []window {
	var all []window
	if (points.Distributions != nil) != r.Distributed() {
		return nil
	}
	for from := 0; from < points.Len(); {
		end, to := r.EndOf(points.Times[from]), from+1
		for to < points.Len() && points.Times[to] <= end {
			to++
		}
		if r.Distributed() {
			all = append(all, window{end, ofDistributions(r.fields, points.Slice(from, to))})
		} else {
			all = append(all, window{end, Of(points.Times[from:to], points.Values[from:to])})
		}
		from = to
	}
	return all
}

// sizeOf is as how many samples points count.
func sizeOf(points tsdb.Points) int {
	n := points.Len()
	for _, d := range points.Distributions {
		n += distribution.Parts(d) - 1
	}
	return n
}

// take writes what was made of a series, or adds it to its group.
func (c *computation) take(ctx context.Context, a aligned) error {
	c.read += a.read
	if !c.rule.Grouped() {
		return c.write(ctx, a)
	}
	if c.groups == nil {
		c.groups = map[string]*groupOf{}
	}
	g := c.groups[a.key]
	if g == nil {
		g = &groupOf{a.into, map[tsdb.Millis]*Partial{}}
		c.groups[a.key] = g
	}
	for i := range a.windows {
		w := &a.windows[i]
		if g.windows[w.end] == nil {
			g.windows[w.end] = &Partial{}
		}
		g.windows[w.end].Add(&w.Partial)
	}
	return nil
}

// write writes the windows of a series or group that are the task's.
func (c *computation) write(ctx context.Context, a aligned) error {
	versions := c.versions(&a)
	for i := range layout {
		f := &layout[i]
		if c.rule.fields&f.field == 0 {
			continue
		}
		into := c.rule.hidden(a.into, f.name)
		var rest *tsdb.Series
		for j := range a.windows {
			w := &a.windows[j]
			if versions[j] < 0 {
				continue
			}
			start := w.end - c.rule.Period
			at := start + 1 + tsdb.Millis(versions[j])
			if f.distribution != nil {
				c.writeDistribution(f, a.into, w, at)
				continue
			}
			v := f.value(&w.Partial, start)
			if f.exact {
				kept, left := split(v)
				if left != 0 {
					if rest == nil {
						rest = c.rule.hidden(a.into, f.name+restSuffix)
					}
					c.batch = append(c.batch, tsdb.Sample{Series: rest, Time: at, Value: left})
				}
				v = kept
			}
			c.batch = append(c.batch, tsdb.Sample{Series: into, Time: at, Value: v})
		}
		if len(c.batch) >= writeBatch {
			if err := c.send(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// versions are those that the windows of a series or group are written as, -1
// for one that is none of the task's or cannot be kept.
func (c *computation) versions(a *aligned) []int64 {
	versions := make([]int64, len(a.windows))
	for j := range a.windows {
		w := &a.windows[j]
		version, ok := c.version(a.key, w.end)
		if ok && (w.Distributions != nil && !c.fitted(a.into, w) || !w.finite(c.rule.fields)) {
			c.unfit = append(c.unfit, mark{a.key, w.end})
			ok = false
		}
		if versions[j] = version; !ok {
			versions[j] = -1
		}
	}
	return versions
}

// send appends what has gathered.
func (c *computation) send(ctx context.Context) error {
	if len(c.batch) == 0 {
		return nil
	}
	err := c.keeper.inner.Append(ctx, c.batch)
	c.batch = c.batch[:0]
	return wrap("write", err)
}

// scan is Scan, also of a storage that is no tsdb.Scanner.
func scan(ctx context.Context, store tsdb.Store, sel tsdb.Selection, work func(*tsdb.Series, tsdb.Points) (any, error), visit func(*tsdb.Series, any) (bool, error)) error {
	if s, ok := store.(tsdb.Scanner); ok {
		return s.Scan(ctx, sel, work, visit)
	}
	type result struct {
		series *tsdb.Series
		key    string
		made   any
	}
	var all []result
	err := store.Select(ctx, sel, func(s *tsdb.Series, points tsdb.Points) error {
		made, err := work(s, points)
		all = append(all, result{s, s.Key(), made})
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b result) int { return strings.Compare(a.key, b.key) })
	for _, r := range all {
		if more, err := visit(r.series, r.made); err != nil || !more {
			return err
		}
	}
	return nil
}
