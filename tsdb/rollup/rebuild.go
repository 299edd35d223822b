package rollup

import (
	"context"
	"database/sql"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// rebuildChunk is how many windows are marked at once when a rollup is
// rebuilt.
const rebuildChunk = 4096

// Progress is how far something has come with one rollup.
type Progress struct {
	// Rule is the rollup.
	Rule *Rule
	// Done and Total count windows.
	Done, Total int64
}

// Rebuild computes again all windows of a metric's rollups that have a part in
// the closed interval and were computed before: for data that came into the
// storage past the Keeper. It returns when they are computed, and tells its
// progress on the way; an error of progress ends it. A metric without rollups is
// NotFound.
func (k *Keeper) Rebuild(ctx context.Context, project, metric string, iv tsdb.Interval, progress func(Progress) error) error {
	const op = "tsdb/rollup.Rebuild"
	if err := k.Refresh(ctx); err != nil {
		return &fault.Error{Op: op, Name: metric, Kind: fault.Unavailable, Err: err}
	}
	rules := k.Rules(project, metric)
	if len(rules) == 0 {
		return &fault.Error{Op: op, Name: "projects/" + project + "/metricDescriptors/" + metric + "/rollups", Kind: fault.NotFound}
	}
	for _, rule := range rules {
		if err := k.rebuild(ctx, rule, iv, progress); err != nil {
			return err
		}
	}
	return nil
}

// rebuild is Rebuild of one rollup: chunk by chunk.
func (k *Keeper) rebuild(ctx context.Context, rule *Rule, iv tsdb.Interval, progress func(Progress) error) error {
	const op = "tsdb/rollup.Rebuild"
	unavailable := func(err error) error {
		return &fault.Error{Op: op, Name: rule.Metric.Type, Kind: fault.Unavailable, Err: err}
	}
	after, until, err := k.state.computed(ctx, rule.ID)
	if err != nil {
		return unavailable(err)
	}
	first := max(after+rule.Period, rule.EndOf(max(iv.Start, after)))
	last := min(until, rule.EndOf(min(iv.End, until)))
	p := Progress{Rule: rule, Total: max(0, int64((last-first)/rule.Period)+1)}
	if last < first {
		p.Total = 0
	}
	for from := first; from <= last; {
		to := min(last, from+(rebuildChunk-1)*rule.Period)
		if err := k.state.markAll(ctx, rule, from, to); err != nil {
			return unavailable(err)
		}
		if err := k.settle(ctx, rule, from, to); err != nil {
			return err
		}
		p.Done += int64((to-from)/rule.Period) + 1
		if err := progress(p); err != nil {
			return err
		}
		from = to + rule.Period
	}
	if p.Total == 0 {
		return progress(p)
	}
	return nil
}

// settle computes, or waits for those that do, until no window in the range is
// marked for all series.
func (k *Keeper) settle(ctx context.Context, rule *Rule, from, to tsdb.Millis) error {
	for {
		_, err := k.Step(ctx)
		if err != nil {
			return err
		}
		left, err := k.state.wholeMarks(ctx, rule.ID, from, to)
		if err != nil {
			return &fault.Error{Op: "tsdb/rollup.Rebuild", Kind: fault.Unavailable, Err: err}
		}
		if left == 0 {
			return nil
		}
		held, err := k.state.owns(ctx, k.options.Member)
		if err != nil {
			return &fault.Error{Op: "tsdb/rollup.Rebuild", Kind: fault.Unavailable, Err: err}
		}
		if held == slots {
			continue
		}
		timer := time.NewTimer(k.options.Every / 4)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// computed is from where to where any slot has windows.
func (s state) computed(ctx context.Context, id string) (after, until tsdb.Millis, err error) {
	err = s.db.QueryRowContext(ctx,
		`SELECT r.start, max(s.frontier) FROM rollups r JOIN rollup_slots s ON s.rollup = r.id WHERE r.id = ? GROUP BY r.id`, id).
		Scan(&after, &until)
	return after, until, err
}

// markAll marks windows for all series.
func (s state) markAll(ctx context.Context, rule *Rule, from, to tsdb.Millis) error {
	return s.transaction(ctx, func(tx *sql.Tx) error {
		var all []mark
		for end := from; end <= to; end += rule.Period {
			all = append(all, mark{"", end})
		}
		return s.addMarks(ctx, tx, rule.ID, all, false)
	})
}

// wholeMarks counts the windows that are marked for all series.
func (s state) wholeMarks(ctx context.Context, id string, from, to tsdb.Millis) (n int, err error) {
	err = s.db.QueryRowContext(ctx,
		`SELECT count(*) FROM rollup_marks m JOIN rollup_slots s ON s.rollup = m.rollup AND s.slot = m.slot
		 WHERE m.rollup = ? AND m.series = x'' AND m.stuck = 0 AND m.ending BETWEEN ? AND ? AND m.ending <= s.frontier`,
		id, from, to).Scan(&n)
	return n, err
}

// owns counts the slots that a member has.
func (s state) owns(ctx context.Context, member string) (n int, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM rollup_leases WHERE owner = ?`, member).Scan(&n)
	return n, err
}

// Status is what there is of a rollup.
type Status struct {
	Rule *Rule
	// After and Until bound the windows that were computed of every series,
	// Now is where Until would be if nothing were behind.
	After, Until, Now tsdb.Millis
	// Marked is how many windows of series wait to be computed again, Stuck
	// how many never can be, such as of values whose sum is infinite.
	Marked, Stuck int64
	// Owners are how many writers share the work.
	Owners int64
}

// Statuses are those of the rollups of a metric.
func (k *Keeper) Statuses(ctx context.Context, project, metric string) ([]Status, error) {
	var all []Status
	now := tsdb.Millis(k.options.Now().Add(-k.options.Grace).UnixMilli())
	for _, rule := range k.Rules(project, metric) {
		st := Status{Rule: rule, Now: floor(now, rule.Period)}
		var err error
		if st.After, st.Until, err = k.state.covered(ctx, rule.ID); err == nil {
			err = k.state.db.QueryRowContext(ctx,
				`SELECT coalesce(sum(1 - stuck), 0), coalesce(sum(stuck), 0) FROM rollup_marks WHERE rollup = ?`, rule.ID).
				Scan(&st.Marked, &st.Stuck)
		}
		if err == nil {
			err = k.state.db.QueryRowContext(ctx, `SELECT count(DISTINCT owner) FROM rollup_leases WHERE owner != ''`).Scan(&st.Owners)
		}
		if err != nil {
			return nil, &fault.Error{Op: "tsdb/rollup.Statuses", Name: metric, Kind: fault.Unavailable, Err: err}
		}
		if k.marks.in(rule.ID, tsdb.Interval{Start: st.After, End: 1 << 62}, func(mark) { st.Marked++ }) != 0 {
			st.Marked++ // and more, which are counted no more
		}
		all = append(all, st)
	}
	return all, nil
}
