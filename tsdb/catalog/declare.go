package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var _ tsdb.Declarations = (*Catalog)(nil)

// execer is the database or a transaction in it.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Declare implements tsdb.Declarations.
func (c *Catalog) Declare(ctx context.Context, d tsdb.Descriptor) (tsdb.Descriptor, error) {
	const op = "tsdb/catalog.Declare"
	d = withDefaults(d)
	made, err := c.create(ctx, d)
	if err != nil {
		return made, err
	}
	c.creating.Lock()
	defer c.creating.Unlock()
	have, ok := c.Describe(d.Project, d.Type)
	if !ok { // deleted in between
		have = d
	}
	next, err := Merge(have, d)
	if err != nil {
		return tsdb.Descriptor{}, err
	}
	if err := Check(next); err != nil {
		return tsdb.Descriptor{}, err
	}
	err = c.transaction(ctx, func(tx *sql.Tx) error {
		const write = `INSERT OR REPLACE INTO metric_descriptors (project, type, kind, value_type, unit) VALUES (?, ?, ?, ?, ?)`
		if _, err := tx.ExecContext(ctx, write, next.Project, next.Type, next.Kind, next.ValueType, next.Unit); err != nil {
			return err
		}
		return c.writeDetails(ctx, tx, next)
	})
	if err != nil {
		return tsdb.Descriptor{}, &fault.Error{Op: op, Name: name(d.Project, d.Type), Kind: fault.Unavailable, Err: fmt.Errorf("write descriptor: %w", err)}
	}
	types := (*c.types.Load()).with(next)
	c.types.Store(&types)
	return next, nil
}

// Merge is what the descriptor have becomes when d is declared: its unit and
// details are those of d, with the labels of both. Another kind or value type
// is Invalid.
func Merge(have, d tsdb.Descriptor) (tsdb.Descriptor, error) {
	conflict := func(field string, was, is any) error {
		return &fault.Error{
			Op: "tsdb/catalog.Declare", Name: name(d.Project, d.Type), Kind: fault.Invalid, Reason: "DESCRIPTOR_CONFLICT", Field: field,
			Err: fmt.Errorf("the metric is %v and cannot become %v: delete its descriptor first", was, is),
		}
	}
	switch {
	case have.Kind != d.Kind:
		return have, conflict("metricKind", have.Kind, d.Kind)
	case have.ValueType != d.ValueType:
		return have, conflict("valueType", have.ValueType, d.ValueType)
	}
	if d.Details == nil {
		d.Details = &tsdb.Details{}
	}
	if have.Details != nil {
		details := *d.Details
		details.Labels = withLabels(details.Labels, have.Details.Labels)
		details.Rollups = have.Details.Rollups // see SetRollups
		d.Details = &details
	}
	return d, nil
}

// withLabels are labels and those of more that have other keys.
func withLabels(labels, more []tsdb.LabelDescriptor) []tsdb.LabelDescriptor {
	labels = slices.Clone(labels)
	for _, l := range more {
		if !slices.ContainsFunc(labels, func(have tsdb.LabelDescriptor) bool { return have.Key == l.Key }) {
			labels = append(labels, l)
		}
	}
	return labels
}

// Delete implements tsdb.Declarations.
func (c *Catalog) Delete(ctx context.Context, project, metric string) error {
	const op = "tsdb/catalog.Delete"
	c.creating.Lock()
	defer c.creating.Unlock()
	if _, ok := c.Describe(project, metric); !ok {
		return &fault.Error{Op: op, Name: name(project, metric), Kind: fault.NotFound}
	}
	err := c.transaction(ctx, func(tx *sql.Tx) error {
		for _, statement := range []string{
			`DELETE FROM metric_details WHERE project = ? AND type = ?`,
			`DELETE FROM series_bounds WHERE project = ? AND type = ?`,
			`DELETE FROM metric_descriptors WHERE project = ? AND type = ?`,
		} {
			if _, err := tx.ExecContext(ctx, statement, project, metric); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return &fault.Error{Op: op, Name: name(project, metric), Kind: fault.Unavailable, Err: fmt.Errorf("delete descriptor: %w", err)}
	}
	types := maps.Clone(*c.types.Load())
	types[project] = maps.Clone(types[project])
	delete(types[project], metric)
	c.types.Store(&types)
	c.holdBounds(project, metric, tsdb.Bounds{})
	n, _ := c.deletions.LoadOrStore(project, new(atomic.Uint64))
	n.(*atomic.Uint64).Add(1)
	return nil
}

// Deletions is how many descriptors of a project were deleted by this Catalog:
// who remembers what a descriptor was looks at it to know when to forget.
func (c *Catalog) Deletions(project string) uint64 {
	n, ok := c.deletions.Load(project)
	if !ok {
		return 0
	}
	return n.(*atomic.Uint64).Load()
}

// writeDetails writes the details of d, which are not nil.
func (c *Catalog) writeDetails(ctx context.Context, db execer, d tsdb.Descriptor) error {
	text, err := json.Marshal(d.Details)
	if err != nil {
		return fmt.Errorf("write details: %w", err)
	}
	const write = `INSERT OR REPLACE INTO metric_details (project, type, details) VALUES (?, ?, ?)`
	if _, err := db.ExecContext(ctx, write, d.Project, d.Type, string(text)); err != nil {
		return fmt.Errorf("write details: %w", err)
	}
	return nil
}

// transaction runs f in a transaction.
func (c *Catalog) transaction(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
