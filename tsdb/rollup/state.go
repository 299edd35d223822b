package rollup

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"selvedge.dev/tsdb"
)

// Schema are the tables of the rollups, for sqlite.Open. Windows are named by
// their ends, series and groups by their keys; the empty key stands for all
// series of a slot.
const Schema = `
CREATE TABLE IF NOT EXISTS rollups (
	id      TEXT PRIMARY KEY,
	project TEXT NOT NULL,
	metric  TEXT NOT NULL,
	spec    TEXT NOT NULL,
	start   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollup_slots (
	rollup   TEXT NOT NULL,
	slot     INTEGER NOT NULL,
	frontier INTEGER NOT NULL,
	target   INTEGER NOT NULL,
	version  INTEGER NOT NULL,
	reached  INTEGER NOT NULL,
	PRIMARY KEY (rollup, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollup_marks (
	rollup TEXT NOT NULL,
	slot   INTEGER NOT NULL,
	ending INTEGER NOT NULL,
	series BLOB NOT NULL,
	seq    INTEGER NOT NULL,
	stuck  INTEGER NOT NULL,
	PRIMARY KEY (rollup, ending, slot, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollup_versions (
	rollup  TEXT NOT NULL,
	slot    INTEGER NOT NULL,
	ending  INTEGER NOT NULL,
	series  BLOB NOT NULL,
	version INTEGER NOT NULL,
	PRIMARY KEY (rollup, slot, ending, series)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollup_bases (
	rollup   TEXT NOT NULL,
	slot     INTEGER NOT NULL,
	earliest INTEGER NOT NULL,
	latest   INTEGER NOT NULL,
	version  INTEGER NOT NULL,
	PRIMARY KEY (rollup, slot, earliest, latest)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollup_leases (
	slot    INTEGER PRIMARY KEY,
	owner   TEXT NOT NULL,
	fence   INTEGER NOT NULL,
	expires INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS rollup_members (
	member  TEXT PRIMARY KEY,
	expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

// state is the SQL database that the writers of one storage share.
type state struct {
	db *sql.DB
	// selectCovered and selectMarks are what every question about a rollup asks:
	// preparing them takes longer than answering.
	selectCovered, selectMarks *sql.Stmt
}

// newState prepares what is asked often.
func newState(ctx context.Context, db *sql.DB) (s state, err error) {
	s.db = db
	if s.selectCovered, err = db.PrepareContext(ctx,
		`SELECT r.start, min(s.frontier) FROM rollups r JOIN rollup_slots s ON s.rollup = r.id WHERE r.id = ? GROUP BY r.id`); err != nil {
		return s, err
	}
	s.selectMarks, err = db.PrepareContext(ctx, `SELECT series, ending FROM rollup_marks WHERE rollup = ? AND ending BETWEEN ? AND ? LIMIT ?`)
	if err != nil {
		return s, errors.Join(err, s.selectCovered.Close())
	}
	return s, nil
}

// close gives back what was prepared.
func (s state) close() error { return errors.Join(s.selectCovered.Close(), s.selectMarks.Close()) }

// transaction runs f in a transaction.
func (s state) transaction(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each calls f with the rows of a query, as a function that scans one.
func each(ctx context.Context, q querier, f func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return eachOf(rows, f)
}

// eachOf calls f with rows, as a function that scans one, and closes them.
func eachOf(rows *sql.Rows, f func(scan func(...any) error) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// row is a rollup as it is in the database.
type row struct {
	id, project, metric, spec string
	start                     tsdb.Millis
}

// rows reads the rollups.
func (s state) rows(ctx context.Context, q querier) ([]row, error) {
	var all []row
	err := each(ctx, q, func(scan func(...any) error) error {
		var r row
		if err := scan(&r.id, &r.project, &r.metric, &r.spec, &r.start); err != nil {
			return err
		}
		all = append(all, r)
		return nil
	}, `SELECT id, project, metric, spec, start FROM rollups ORDER BY id`)
	return all, err
}

// specOf is what a rollup that keeps the same has the same of.
func specOf(r tsdb.Rollup) (string, error) {
	text, err := json.Marshal(r)
	return string(text), err
}

// reconcile makes the rollups of the database those of the descriptors, and
// returns them. A new one begins with the window that ends after start.
func (s state) reconcile(ctx context.Context, rolled []tsdb.Descriptor, start tsdb.Millis, newID func() string) ([]*Rule, error) {
	var rules []*Rule
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		have, err := s.rows(ctx, tx)
		if err != nil {
			return err
		}
		byName := map[[3]string]string{}
		for _, r := range have {
			byName[[3]string{r.project, r.metric, r.spec}] = r.id
		}
		for _, d := range rolled {
			for _, r := range d.Details.Rollups {
				spec, err := specOf(r)
				if err != nil {
					return err
				}
				name := [3]string{d.Project, d.Type, spec}
				id, known := byName[name]
				delete(byName, name)
				if !known {
					id = newID()
				}
				rule, err := newRule(id, d, r)
				if err != nil {
					return err
				}
				rules = append(rules, rule)
				if known {
					continue
				}
				if err := s.create(ctx, tx, row{id, d.Project, d.Type, spec, floor(start, rule.Period)}); err != nil {
					return err
				}
			}
		}
		for _, id := range byName {
			if err := s.remove(ctx, tx, id); err != nil {
				return err
			}
		}
		return s.loadTargets(ctx, tx, rules)
	})
	return rules, err
}

// create writes a rollup of which nothing is computed.
func (s state) create(ctx context.Context, tx *sql.Tx, r row) error {
	const write = `INSERT INTO rollups (id, project, metric, spec, start) VALUES (?, ?, ?, ?, ?)`
	if _, err := tx.ExecContext(ctx, write, r.id, r.project, r.metric, r.spec, r.start); err != nil {
		return err
	}
	const slot = `INSERT INTO rollup_slots (rollup, slot, frontier, target, version, reached) VALUES (?, ?, ?, ?, 0, ?)`
	for i := range slots {
		if _, err := tx.ExecContext(ctx, slot, r.id, i, r.start, r.start, r.start); err != nil {
			return err
		}
	}
	return nil
}

// remove forgets a rollup. What it wrote stays until its retention, under an id
// that nobody asks for.
func (s state) remove(ctx context.Context, tx *sql.Tx, id string) error {
	for _, statement := range []string{
		`DELETE FROM rollups WHERE id = ?`, `DELETE FROM rollup_slots WHERE rollup = ?`, `DELETE FROM rollup_marks WHERE rollup = ?`,
		`DELETE FROM rollup_versions WHERE rollup = ?`, `DELETE FROM rollup_bases WHERE rollup = ?`,
	} {
		if _, err := tx.ExecContext(ctx, statement, id); err != nil {
			return err
		}
	}
	return nil
}

// forget removes the rollups of a metric.
func (s state) forget(ctx context.Context, id metricID) error {
	return s.transaction(ctx, func(tx *sql.Tx) error {
		all, err := s.rows(ctx, tx)
		if err != nil {
			return err
		}
		for _, r := range all {
			if r.project == id.project && r.metric == id.metric {
				if err := s.remove(ctx, tx, r.id); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// loadTargets sets up to when windows were computed, or are just being.
func (s state) loadTargets(ctx context.Context, q querier, rules []*Rule) error {
	targets := map[string]int64{}
	err := each(ctx, q, func(scan func(...any) error) error {
		var id string
		var target int64
		if err := scan(&id, &target); err != nil {
			return err
		}
		targets[id] = target
		return nil
	}, `SELECT rollup, max(max(frontier, target)) FROM rollup_slots GROUP BY rollup`)
	for _, r := range rules {
		r.target.Store(targets[r.ID])
	}
	return err
}

// covered is the interval whose windows were computed of every series: those
// that end after start, up to the frontier.
func (s state) covered(ctx context.Context, id string) (start, frontier tsdb.Millis, err error) {
	err = s.selectCovered.QueryRowContext(ctx, id).Scan(&start, &frontier)
	if errors.Is(err, sql.ErrNoRows) { // removed: nothing is covered
		return 0, 0, nil
	}
	return start, frontier, err
}

// mark names a window of a series or group that has to be computed again.
type mark struct {
	series string
	end    tsdb.Millis
}

// addMarks writes marks of rollups. A mark that was there is another one then,
// so that who is computing that window does not remove it.
func (s state) addMarks(ctx context.Context, tx *sql.Tx, id string, marks []mark, stuck bool) error {
	stmt, err := tx.PrepareContext(ctx, `INSERT INTO rollup_marks (rollup, slot, ending, series, seq, stuck) VALUES (?, ?, ?, ?, 1, ?)
		ON CONFLICT DO UPDATE SET seq = seq + 1, stuck = max(stuck, excluded.stuck)`)
	if err != nil {
		return err
	}
	for _, m := range marks {
		first, last := slotOf(m.series), slotOf(m.series)
		if m.series == "" {
			first, last = 0, slots-1
		}
		for slot := first; slot <= last; slot++ {
			if _, err := stmt.ExecContext(ctx, id, slot, m.end, []byte(m.series), stuck); err != nil {
				return errors.Join(err, stmt.Close())
			}
		}
	}
	return stmt.Close()
}

// rewind has all windows from the one that ends at end on be computed again, as
// if for the first time but as later versions. A pass that is under way does not
// count then.
func (s state) rewind(ctx context.Context, tx *sql.Tx, rule row, end, period tsdb.Millis) error {
	for _, do := range []struct {
		statement string
		args      []any
	}{
		{
			`INSERT OR REPLACE INTO rollup_bases (rollup, slot, earliest, latest, version)
			 SELECT rollup, slot, frontier + ?, target, version FROM rollup_slots WHERE rollup = ? AND target > frontier`,
			[]any{period, rule.id},
		},
		{
			`UPDATE rollup_slots SET reached = max(reached, target, frontier), frontier = max(?, min(frontier, ?)) WHERE rollup = ?`,
			[]any{rule.start, end - period, rule.id},
		},
		{`UPDATE rollup_slots SET target = frontier, version = 0 WHERE rollup = ?`, []any{rule.id}},
		{`DELETE FROM rollup_marks WHERE rollup = ? AND stuck = 0 AND ending >= ?`, []any{rule.id, end}},
	} {
		if _, err := tx.ExecContext(ctx, do.statement, do.args...); err != nil {
			return err
		}
	}
	return nil
}

// marked are the rollups that have windows to be computed again.
func (s state) marked(ctx context.Context) (map[string]bool, error) {
	ids := map[string]bool{}
	err := each(ctx, s.db, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids[id] = true
		return err
	}, `SELECT DISTINCT rollup FROM rollup_marks WHERE stuck = 0`)
	return ids, err
}

// marksIn reads which windows that end in the closed interval are marked, at
// most limit of them.
func (s state) marksIn(ctx context.Context, id string, iv tsdb.Interval, limit int) ([]mark, error) {
	rows, err := s.selectMarks.QueryContext(ctx, id, iv.Start, iv.End, limit)
	if err != nil {
		return nil, err
	}
	var all []mark
	err = eachOf(rows, func(scan func(...any) error) error {
		var m mark
		var key []byte
		if err := scan(&key, &m.end); err != nil {
			return err
		}
		m.series = string(key)
		all = append(all, m)
		return nil
	})
	return all, err
}

// prune forgets versions of windows that nobody can write to any more.
func (s state) prune(ctx context.Context, before tsdb.Millis) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM rollup_versions WHERE ending < ?`, before)
	return err
}

// unbounded is a bound that nothing reaches, and that may be added to.
const unbounded = math.MaxInt32 - 1

// unboundedPoints is one for points.
const unboundedPoints = 1 << 50

// wrap says what was being done.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
