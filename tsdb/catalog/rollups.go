package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var _ tsdb.Rolled = (*Catalog)(nil)

// SetRollups implements tsdb.Rolled. Whether the rollups can be is the caller's
// business (tsdb/rollup.Check).
func (c *Catalog) SetRollups(ctx context.Context, project, metric string, rollups []tsdb.Rollup) (tsdb.Descriptor, error) {
	const op = "tsdb/catalog.SetRollups"
	c.creating.Lock()
	defer c.creating.Unlock()
	d, ok := c.Describe(project, metric)
	if !ok {
		return d, &fault.Error{Op: op, Name: name(project, metric), Kind: fault.NotFound}
	}
	var details tsdb.Details
	if d.Details != nil {
		details = *d.Details
	}
	details.Rollups = slices.Clone(rollups)
	d.Details = &details
	err := c.transaction(ctx, func(tx *sql.Tx) error { return c.writeDetails(ctx, tx, d) })
	if err != nil {
		return d, &fault.Error{Op: op, Name: name(project, metric), Kind: fault.Unavailable, Err: fmt.Errorf("write rollups: %w", err)}
	}
	types := (*c.types.Load()).with(d)
	c.types.Store(&types)
	return d, nil
}

// Rolled implements tsdb.Rolled. They are in the order of project and type.
func (c *Catalog) Rolled() []tsdb.Descriptor {
	var all []tsdb.Descriptor
	for _, of := range *c.types.Load() {
		for _, d := range of {
			if d.Details != nil && len(d.Details.Rollups) > 0 {
				all = append(all, d)
			}
		}
	}
	slices.SortFunc(all, func(a, b tsdb.Descriptor) int {
		return strings.Compare(a.Project+"\x00"+a.Type, b.Project+"\x00"+b.Type)
	})
	return all
}
