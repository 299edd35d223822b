package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var _ tsdb.Bounded = (*Catalog)(nil)

// The least retention, so that what a device buffered for a while still counts
// and a slip of the unit does not empty a project; and the longest that is not
// a slip of the unit.
const (
	MinRetention = time.Hour
	MaxRetention = 100 * 365 * 24 * time.Hour
)

// InvalidBounds is the reason of the fault for bounds that cannot be.
const InvalidBounds = "INVALID_BOUNDS"

// projectBounds are the bounds of a project.
type projectBounds struct {
	own     tsdb.Bounds
	metrics map[string]tsdb.Bounds
	// longest is the longest retention of any metric, 0 for no bound.
	longest time.Duration
}

// boundsIndex finds bounds by project. What it points to is never written
// again.
type boundsIndex map[string]*projectBounds

// loadBounds reads the whole table.
func loadBounds(ctx context.Context, db *sql.DB) (index boundsIndex, err error) {
	rows, err := db.QueryContext(ctx, `SELECT project, type, bounds FROM series_bounds`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	index = boundsIndex{}
	for rows.Next() {
		var project, metric, text string
		var b tsdb.Bounds
		if err := rows.Scan(&project, &metric, &text); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(text), &b); err != nil {
			return nil, fmt.Errorf("bounds of %s: %w", name(project, metric), err)
		}
		index[project] = index[project].with(metric, b)
	}
	return index, rows.Err()
}

// with are the bounds with those of a metric, or of the project.
func (p *projectBounds) with(metric string, b tsdb.Bounds) *projectBounds {
	next := &projectBounds{metrics: map[string]tsdb.Bounds{}}
	if p != nil {
		next.own = p.own
		maps.Copy(next.metrics, p.metrics)
	}
	switch {
	case metric == "":
		next.own = b
	case b == tsdb.Bounds{}:
		delete(next.metrics, metric)
	default:
		next.metrics[metric] = b
	}
	if next.longest = next.own.Retention; next.longest > 0 {
		for _, m := range next.metrics {
			next.longest = max(next.longest, m.Retention)
		}
	}
	return next
}

// Bounds implements tsdb.Bounded.
func (c *Catalog) Bounds(project, metric string) tsdb.Bounds {
	p := (*c.bounds.Load())[project]
	switch {
	case p == nil:
		return tsdb.Bounds{}
	case metric == "":
		return p.own
	}
	return p.metrics[metric]
}

// Retention is how long the points of a metric are kept, or when it is "" those
// of the metric that are kept the longest; 0 is as long as the storage keeps
// anything.
func (c *Catalog) Retention(project, metric string) time.Duration {
	p := (*c.bounds.Load())[project]
	switch {
	case p == nil:
		return 0
	case metric == "":
		return p.longest
	}
	if b := p.metrics[metric]; b.Retention > 0 {
		return b.Retention
	}
	return p.own.Retention
}

// Retained calls f with every project, and every metric of it that has a
// retention of its own, for which a retention was set.
func (c *Catalog) Retained(f func(project, metric string, retention time.Duration)) {
	for project, p := range *c.bounds.Load() {
		if p.own.Retention > 0 {
			f(project, "", p.own.Retention)
		}
		for metric, b := range p.metrics {
			if b.Retention > 0 {
				f(project, metric, b.Retention)
			}
		}
	}
}

// SetBounds implements tsdb.Bounded.
func (c *Catalog) SetBounds(ctx context.Context, project, metric string, b tsdb.Bounds) error {
	const op = "tsdb/catalog.SetBounds"
	if err := CheckBounds(b); err != nil {
		return err
	}
	c.creating.Lock()
	defer c.creating.Unlock()
	if _, ok := c.Describe(project, metric); !ok && metric != "" {
		return &fault.Error{Op: op, Name: name(project, metric), Kind: fault.NotFound}
	}
	text, err := json.Marshal(b)
	if err == nil {
		_, err = c.db.ExecContext(ctx, `INSERT OR REPLACE INTO series_bounds (project, type, bounds) VALUES (?, ?, ?)`, project, metric, string(text))
	}
	if err != nil {
		return &fault.Error{Op: op, Name: name(project, metric), Kind: fault.Unavailable, Err: fmt.Errorf("write bounds: %w", err)}
	}
	c.holdBounds(project, metric, b)
	return nil
}

// holdBounds remembers bounds; c.creating is held.
func (c *Catalog) holdBounds(project, metric string, b tsdb.Bounds) {
	index := maps.Clone(*c.bounds.Load())
	index[project] = index[project].with(metric, b)
	c.bounds.Store(&index)
}

// CheckBounds returns an Invalid fault that names the field at fault, unless b
// can be set.
func CheckBounds(b tsdb.Bounds) error {
	bad := func(field, format string, args ...any) error {
		return &fault.Error{Op: "tsdb/catalog.CheckBounds", Kind: fault.Invalid, Reason: InvalidBounds, Field: field, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case b.Retention != 0 && (b.Retention < MinRetention || b.Retention > MaxRetention):
		return bad("retention", "a retention of %s is not between %s and %s", b.Retention, MinRetention, MaxRetention)
	case b.MaxSeries < 0:
		return bad("maxSeries", "it is negative")
	}
	return nil
}
