package rollup

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// marks are those that are not in the database yet.
type marks struct {
	mu sync.Mutex
	// most is how many of a rollup are remembered one by one.
	most int
	// fresh are those of each rollup, by id; moving are on their way to the
	// database.
	fresh, moving map[string]*marked
	// What was marked last: the points of a series mostly come together.
	lastRule   *Rule
	lastSeries *tsdb.Series
	last       mark
}

// marked is what is marked of a rollup.
type marked struct {
	rule *Rule
	one  map[mark]struct{}
	// from, if not 0, says that there were too many: then all windows from the
	// one that ends there on are marked.
	from tsdb.Millis
}

// add marks the window of a rule that ends at end, for the series or its group.
func (m *marks) add(r *Rule, s *tsdb.Series, end tsdb.Millis) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lastRule == r && m.lastSeries == s {
		if m.last.end == end {
			return
		}
	} else {
		m.lastRule, m.lastSeries = r, s
		m.last.series = r.Of(s).Key()
	}
	m.last.end = end
	m.put(r, m.last)
}

// put adds a mark.
func (m *marks) put(r *Rule, one mark) {
	if m.fresh == nil {
		m.fresh = map[string]*marked{}
	}
	of := m.fresh[r.ID]
	if of == nil {
		of = &marked{rule: r, one: map[mark]struct{}{}}
		m.fresh[r.ID] = of
	}
	if of.from != 0 {
		of.from = min(of.from, one.end)
		return
	}
	of.one[one] = struct{}{}
	if len(of.one) > m.most {
		of.from = one.end
		for other := range of.one {
			of.from = min(of.from, other.end)
		}
		of.one = nil
	}
}

// in calls f with the marks of a rule whose windows end in the closed interval,
// and returns the end of the window from which on all are marked, 0 for none.
func (m *marks) in(id string, iv tsdb.Interval, f func(mark)) (from tsdb.Millis) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, part := range []map[string]*marked{m.moving, m.fresh} {
		of := part[id]
		if of == nil {
			continue
		}
		if of.from != 0 && (from == 0 || of.from < from) {
			from = of.from
		}
		for one := range of.one {
			if iv.Start <= one.end && one.end <= iv.End {
				f(one)
			}
		}
	}
	return from
}

// take moves the fresh marks to moving, and reports whether there are any.
// Nothing must be moving.
func (m *marks) take() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moving, m.fresh = m.fresh, nil
	m.lastRule, m.lastSeries = nil, nil // marked again, it is another mark
	return len(m.moving) > 0
}

// settle forgets what was moving, or if it did not arrive makes it fresh again.
func (m *marks) settle(arrived bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !arrived {
		for _, of := range m.moving {
			for one := range of.one {
				m.put(of.rule, one)
			}
			if of.from != 0 {
				m.put(of.rule, mark{"", of.from})
				m.fresh[of.rule.ID].one, m.fresh[of.rule.ID].from = nil, m.fresh[of.rule.ID].least(of.from)
			}
		}
	}
	m.moving = nil
}

// least is the end of the oldest window that is marked, or end.
func (of *marked) least(end tsdb.Millis) tsdb.Millis {
	for one := range of.one {
		end = min(end, one.end)
	}
	if of.from != 0 {
		end = min(end, of.from)
	}
	return end
}

// empty reports whether there is nothing to flush.
func (m *marks) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.fresh) == 0
}

// flush makes all marks durable. Those of an Append that is under way are not
// in the database before it has returned: who computes the window then reads
// its points.
func (k *Keeper) flush(ctx context.Context) error {
	k.flushing.Lock()
	defer k.flushing.Unlock()
	if k.marks.empty() {
		return nil
	}
	k.barrier.Lock()
	some := k.marks.take()
	k.barrier.Unlock()
	if !some {
		return nil
	}
	var err error
	if k.options.Shared { // others must see the points before they see the marks
		err = k.inner.Sync(ctx)
	}
	if err == nil {
		err = k.writeMarks(ctx)
	}
	k.marks.settle(err == nil)
	if err != nil {
		return &fault.Error{Op: "tsdb/rollup.Sync", Kind: fault.Unavailable, Err: errors.Join(errors.New("write marks"), err)}
	}
	return nil
}

// writeMarks writes the marks that are moving.
func (k *Keeper) writeMarks(ctx context.Context) error {
	return k.state.transaction(ctx, func(tx *sql.Tx) error {
		all, err := k.state.rows(ctx, tx)
		if err != nil {
			return err
		}
		for _, r := range all { // and not those of rollups that were removed
			of := k.marks.moving[r.id]
			switch {
			case of == nil:
			case of.from != 0:
				if err = k.state.rewind(ctx, tx, r, of.from, of.rule.Period); err == nil {
					k.rewound(r.id)
				}
			default:
				list := make([]mark, 0, len(of.one))
				for one := range of.one {
					list = append(list, one)
				}
				err = k.state.addMarks(ctx, tx, r.id, list, false)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// rewound has the next round look where a rollup is.
func (k *Keeper) rewound(id string) {
	for _, of := range *k.rules.Load() {
		for _, r := range of {
			if r.ID == id {
				r.done.Store(-1)
			}
		}
	}
}

// lower remembers the oldest sample that was not marked.
func (r *Rule) lower(t tsdb.Millis) {
	for {
		have := r.lowest.Load()
		if have != 0 && have <= int64(t) || r.lowest.CompareAndSwap(have, int64(t)) {
			return
		}
	}
}

// suspect marks what may have been computed by others while an Append was under
// way that took long, such as of a process that was paused: all windows from the
// oldest sample that was not marked on.
func (k *Keeper) suspect(ctx context.Context) error {
	if err := k.Refresh(ctx); err != nil {
		return err
	}
	k.marks.mu.Lock()
	defer k.marks.mu.Unlock()
	for _, of := range *k.rules.Load() {
		for _, r := range of {
			from := tsdb.Millis(r.lowest.Swap(0))
			if from == 0 {
				continue
			}
			for end := r.EndOf(from); end <= tsdb.Millis(r.target.Load()); end += r.Period {
				k.marks.put(r, mark{"", end})
			}
		}
	}
	return nil
}
