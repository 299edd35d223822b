package rollup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"

	"selvedge.dev/tsdb"
)

// task is windows of a rule that are to be computed, with the versions that
// were allocated for it before anything was read.
type task struct {
	rule *Rule
	// after and until bound the windows: their ends are in (after, until].
	after, until tsdb.Millis
	// passes are the slots of a first computation, by slot.
	passes map[int]pass
	// again are windows of single series, by series and end.
	again map[mark]again
	// whole are windows of all series of a slot, by slot.
	whole map[int]whole
}

// pass is the first computation of the windows between a slot's frontier and
// target.
type pass struct{ version int64 }

// again is one window that is computed again.
type again struct{ version, seq int64 }

// whole is windows of a slot that are computed again for all its series.
type whole struct {
	version int64
	// seqs are the marks' by the ends of the windows.
	seqs map[tsdb.Millis]int64
}

// wants reports whether the task computes anything of the series or group with
// that key.
func (t *task) wants(key string) bool {
	slot := slotOf(key)
	if _, ok := t.passes[slot]; ok {
		return true
	}
	_, ok := t.whole[slot]
	return ok
}

// version is the version that a window of a series or group is written as, or
// false if it is none of the task's.
func (t *task) version(key string, end tsdb.Millis) (int64, bool) {
	if end <= t.after || end > t.until {
		return 0, false
	}
	if t.again != nil {
		a, ok := t.again[mark{key, end}]
		return a.version, ok
	}
	slot := slotOf(key)
	if p, ok := t.passes[slot]; ok {
		return p.version, true
	}
	w := t.whole[slot]
	_, ok := w.seqs[end]
	return w.version, ok
}

// allocatePasses begins, or takes up again, the first computation of windows up
// to target in the slots that are held. The same windows again are a later
// version, whoever began.
func (s state) allocatePasses(ctx context.Context, member string, held map[int]lease, rule *Rule, target tsdb.Millis) ([]*task, error) {
	var tasks []*task
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		left, err := s.still(ctx, tx, member, held)
		if err != nil {
			return err
		}
		type entry struct {
			slot                               int
			frontier, target, version, reached int64
		}
		var entries []entry
		err = each(ctx, tx, func(scan func(...any) error) error {
			var e entry
			if err := scan(&e.slot, &e.frontier, &e.target, &e.version, &e.reached); err != nil {
				return err
			}
			if _, ok := left[e.slot]; ok {
				entries = append(entries, e)
			}
			return nil
		}, `SELECT slot, frontier, target, version, reached FROM rollup_slots WHERE rollup = ? ORDER BY slot`, rule.ID)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.target > e.frontier {
				e.version++
			} else {
				to := min(int64(target), e.frontier+rule.span.Load()*int64(rule.Period))
				if to <= e.frontier {
					continue
				}
				e.target, e.version = to, 0
				if e.frontier < e.reached { // it was rewound: what is there is overtaken
					e.target = min(to, e.reached)
					again := &task{rule: rule, after: tsdb.Millis(e.frontier), until: tsdb.Millis(e.target)}
					if e.version, err = s.nextBase(ctx, tx, again, e.slot); err != nil {
						return err
					}
				}
			}
			if e.version >= int64(rule.Period)-1 {
				return fmt.Errorf("%s: the windows after %d were begun %d times", rule, e.frontier, e.version)
			}
			const write = `UPDATE rollup_slots SET target = ?, version = ? WHERE rollup = ? AND slot = ?`
			if _, err := tx.ExecContext(ctx, write, e.target, e.version, rule.ID, e.slot); err != nil {
				return err
			}
			tasks = addPass(tasks, &task{
				rule: rule, after: tsdb.Millis(e.frontier), until: tsdb.Millis(e.target), passes: map[int]pass{e.slot: {e.version}},
			})
		}
		return nil
	})
	return tasks, err
}

// addPass adds the slots of a task to the one that has the same windows.
func addPass(tasks []*task, one *task) []*task {
	for _, t := range tasks {
		if t.after == one.after && t.until == one.until {
			maps.Copy(t.passes, one.passes)
			return tasks
		}
	}
	return append(tasks, one)
}

// markBatch bounds the marks that one task takes: some milliseconds of a
// transaction.
const markBatch = 4096

// ofMember are the marks of slots that a member owns.
const ofMember = `m.slot IN (SELECT slot FROM rollup_leases WHERE owner = ?)`

// allocateAgain takes marked windows of single series, and gives each its next
// version. more says that there are more than fit.
func (s state) allocateAgain(ctx context.Context, member string, held map[int]lease, rule *Rule) (marks map[mark]again, more bool, err error) {
	marks = map[mark]again{}
	err = s.transaction(ctx, func(tx *sql.Tx) error {
		left, err := s.still(ctx, tx, member, held)
		if err != nil {
			return err
		}
		err = each(ctx, tx, func(scan func(...any) error) error {
			var m mark
			var a again
			var key []byte
			var slot int
			if err := scan(&slot, &key, &m.end, &a.seq); err != nil {
				return err
			}
			if _, ok := left[slot]; ok {
				m.series = string(key)
				marks[m] = a
			}
			return nil
		}, `SELECT m.slot, m.series, m.ending, m.seq FROM rollup_marks m JOIN rollup_slots s ON s.rollup = m.rollup AND s.slot = m.slot
			WHERE m.rollup = ? AND m.stuck = 0 AND m.series != x'' AND m.ending <= s.frontier AND `+ofMember+` ORDER BY m.ending LIMIT ?`,
			rule.ID, member, markBatch)
		if err != nil {
			return err
		}
		more = len(marks) == markBatch
		for m, a := range marks {
			if a.version, err = s.nextVersion(ctx, tx, rule.ID, m); err != nil {
				return err
			}
			marks[m] = a
			if a.version >= int64(rule.Period)-1 { // no room for another one: it is read raw from now on
				delete(marks, m)
				if err := s.addMarks(ctx, tx, rule.ID, []mark{m}, true); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return marks, more, err
}

// baseVersion is the greatest version that a window was given together with
// others.
const baseVersion = `coalesce((SELECT max(version) FROM rollup_bases WHERE rollup = ?1 AND slot = ?2 AND earliest <= ?3 AND latest >= ?3), 0)`

// nextVersion allocates a version of one window.
func (s state) nextVersion(ctx context.Context, tx *sql.Tx, id string, m mark) (v int64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO rollup_versions (rollup, slot, ending, series, version) VALUES (?1, ?2, ?3, ?4, `+baseVersion+` + 1)
		ON CONFLICT DO UPDATE SET version = max(version, `+baseVersion+`) + 1 RETURNING version`,
		id, slotOf(m.series), m.end, []byte(m.series)).Scan(&v)
	return v, err
}

// allocateWhole takes windows that are marked for all series of a slot, of as
// much time as a pass takes, and gives them their next version.
func (s state) allocateWhole(ctx context.Context, member string, held map[int]lease, rule *Rule) (*task, error) {
	t := &task{rule: rule, whole: map[int]whole{}}
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		left, err := s.still(ctx, tx, member, held)
		if err != nil {
			return err
		}
		const read = ` FROM rollup_marks m JOIN rollup_slots s ON s.rollup = m.rollup AND s.slot = m.slot
			WHERE m.rollup = ? AND m.stuck = 0 AND m.series = x'' AND m.ending <= s.frontier AND ` + ofMember
		err = each(ctx, tx, func(scan func(...any) error) error {
			var slot int
			var end tsdb.Millis
			var seq int64
			if err := scan(&slot, &end, &seq); err != nil {
				return err
			}
			if _, ok := left[slot]; !ok {
				return nil
			}
			if t.until == 0 {
				t.after = end - rule.Period
			}
			if end > t.after+tsdb.Millis(rule.span.Load())*rule.Period {
				return nil
			}
			t.until = end
			w, ok := t.whole[slot]
			if !ok {
				w.seqs = map[tsdb.Millis]int64{}
			}
			w.seqs[end] = seq
			t.whole[slot] = w
			return nil
		}, `SELECT m.slot, m.ending, m.seq`+read+` ORDER BY m.ending LIMIT ?`, rule.ID, member, markBatch)
		if err != nil {
			return err
		}
		for slot, w := range t.whole {
			if w.version, err = s.nextBase(ctx, tx, t, slot); err != nil {
				return err
			}
			t.whole[slot] = w
		}
		return nil
	})
	return t, err
}

// nextBase allocates a version of all windows of a task in a slot.
func (s state) nextBase(ctx context.Context, tx *sql.Tx, t *task, slot int) (v int64, err error) {
	first := t.after + t.rule.Period
	err = tx.QueryRowContext(ctx, `SELECT 1 + max(
		coalesce((SELECT max(version) FROM rollup_bases WHERE rollup = ?1 AND slot = ?2 AND earliest <= ?4 AND latest >= ?3), 0),
		coalesce((SELECT max(version) FROM rollup_versions WHERE rollup = ?1 AND slot = ?2 AND ending BETWEEN ?3 AND ?4), 0))`,
		t.rule.ID, slot, first, t.until).Scan(&v)
	if err != nil {
		return 0, err
	}
	if v >= int64(t.rule.Period)-1 {
		return 0, fmt.Errorf("%s: the windows up to %d were computed %d times", t.rule, t.until, v)
	}
	return v, s.addBase(ctx, tx, t, slot, v)
}

// addBase writes that all windows of a task were given a version.
func (s state) addBase(ctx context.Context, tx *sql.Tx, t *task, slot int, v int64) error {
	_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO rollup_bases (rollup, slot, earliest, latest, version) VALUES (?, ?, ?, ?, ?)`,
		t.rule.ID, slot, t.after+t.rule.Period, t.until, v)
	return err
}

// errLost is why what was computed does not count: somebody else owns the slot.
var errLost = errors.New("the lease was lost")

// finish writes that a task is done, for the slots that are still held: others
// are somebody else's by now, who has begun anew. What was computed must be
// durable. unfit are windows that cannot be kept.
func (s state) finish(ctx context.Context, member string, held map[int]lease, t *task, unfit []mark) error {
	return s.transaction(ctx, func(tx *sql.Tx) error {
		left, err := s.still(ctx, tx, member, held)
		if err != nil {
			return err
		}
		for slot, p := range t.passes {
			if _, ok := left[slot]; !ok {
				return errLost
			}
			// Not if it was rewound in the meantime.
			const write = `UPDATE rollup_slots SET frontier = target, version = 0, reached = max(reached, target)
				WHERE rollup = ? AND slot = ? AND target = ? AND frontier = ? AND version = ?`
			if _, err := tx.ExecContext(ctx, write, t.rule.ID, slot, t.until, t.after, p.version); err != nil {
				return err
			}
			if p.version > 0 {
				if err := s.addBase(ctx, tx, t, slot, p.version); err != nil {
					return err
				}
			}
		}
		const remove = `DELETE FROM rollup_marks WHERE rollup = ? AND slot = ? AND ending = ? AND series = ? AND seq = ?`
		for m, a := range t.again {
			if _, ok := left[slotOf(m.series)]; !ok {
				return errLost
			}
			if _, err := tx.ExecContext(ctx, remove, t.rule.ID, slotOf(m.series), m.end, []byte(m.series), a.seq); err != nil {
				return err
			}
		}
		for slot, w := range t.whole {
			if _, ok := left[slot]; !ok {
				return errLost
			}
			for end, seq := range w.seqs {
				if _, err := tx.ExecContext(ctx, remove, t.rule.ID, slot, end, []byte{}, seq); err != nil {
					return err
				}
			}
		}
		return s.addMarks(ctx, tx, t.rule.ID, unfit, true)
	})
}
