// Package catalog keeps the descriptors of metrics and of monitored resources
// of every project in tables of the embedded database, and all of them in
// memory beside it.
//
// The invariant: a descriptor is in its table, on disk, before anybody is told
// of it. Of a metric only what people are told may change, or all of it by
// deleting it first. Reads need neither the database nor a lock, and writes go
// one after another.
//
// All methods may be called concurrently. A database belongs to one Catalog:
// what a second one creates, the first finds only when it wants to create the
// same.
package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// Schema are the tables of the catalog, for sqlite.Open. Details came later
// than descriptors and are a table of their own, so that databases from before
// need no migration.
const Schema = `
CREATE TABLE IF NOT EXISTS metric_descriptors (
	project    TEXT NOT NULL,
	type       TEXT NOT NULL,
	kind       TEXT NOT NULL,
	value_type TEXT NOT NULL,
	unit       TEXT NOT NULL,
	PRIMARY KEY (project, type)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS metric_details (
	project TEXT NOT NULL,
	type    TEXT NOT NULL,
	details TEXT NOT NULL,
	PRIMARY KEY (project, type)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resource_descriptors (
	project    TEXT NOT NULL,
	type       TEXT NOT NULL,
	descriptor TEXT NOT NULL,
	PRIMARY KEY (project, type)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series_bounds (
	project TEXT NOT NULL,
	type    TEXT NOT NULL,
	bounds  TEXT NOT NULL,
	PRIMARY KEY (project, type)
) STRICT, WITHOUT ROWID;
`

// MaxTypes bounds the metric types of a project. It is what Cloud Monitoring
// allows a project; one that needs more has an id or a time in its field
// names, and no query will ever find its way through.
const MaxTypes = 10_000

// TooManyMetrics is the reason of the fault for a creation over MaxTypes.
const TooManyMetrics = "TOO_MANY_METRICS"

// Catalog is a tsdb.Descriptors over a database; make one with New.
type Catalog struct {
	db *sql.DB

	// creating is held by whoever writes to the database, and then to types.
	creating sync.Mutex
	// types are the descriptors. What it points to is never written again:
	// every sample reads here, and a creation, which waits for the disk, can
	// afford a copy.
	types atomic.Pointer[index]
	// resources are those of monitored resources, in the same way.
	resources atomic.Pointer[resourceIndex]
	// bounds are those that were set, in the same way.
	bounds atomic.Pointer[boundsIndex]
	// deletions counts the descriptors of each project that were deleted:
	// *atomic.Uint64 by project.
	deletions sync.Map
}

// index finds descriptors by project and type.
type index map[string]map[string]tsdb.Descriptor

var _ tsdb.Descriptors = (*Catalog)(nil)

// New reads the catalog of a database that has Schema. The database stays the
// caller's to close.
func New(ctx context.Context, db *sql.DB) (*Catalog, error) {
	const op = "tsdb/catalog.New"
	types, err := load(ctx, db)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Err: fmt.Errorf("read descriptors: %w", err)}
	}
	resources, err := loadResources(ctx, db)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Err: fmt.Errorf("read descriptors of resources: %w", err)}
	}
	bounds, err := loadBounds(ctx, db)
	if err != nil {
		return nil, &fault.Error{Op: op, Kind: fault.Unavailable, Err: fmt.Errorf("read bounds: %w", err)}
	}
	c := &Catalog{db: db}
	c.bounds.Store(&bounds)
	c.types.Store(&types)
	c.resources.Store(&resources)
	return c, nil
}

// load reads the whole table.
func load(ctx context.Context, db *sql.DB) (types index, err error) {
	rows, err := db.QueryContext(ctx, `SELECT project, type, kind, value_type, unit, details
		FROM metric_descriptors LEFT JOIN metric_details USING (project, type)`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	types = index{}
	for rows.Next() {
		var d tsdb.Descriptor
		var details sql.NullString
		if err := rows.Scan(&d.Project, &d.Type, &d.Kind, &d.ValueType, &d.Unit, &details); err != nil {
			return nil, err
		}
		if details.Valid {
			d.Details = &tsdb.Details{}
			if err := json.Unmarshal([]byte(details.String), d.Details); err != nil {
				return nil, fmt.Errorf("details of %s: %w", name(d.Project, d.Type), err)
			}
		}
		types.add(d)
	}
	return types, rows.Err()
}

// add puts d into the index, which nobody else must have seen yet.
func (types index) add(d tsdb.Descriptor) {
	if types[d.Project] == nil {
		types[d.Project] = map[string]tsdb.Descriptor{}
	}
	types[d.Project][d.Type] = d
}

// with is the index and d: a copy as far as it is different.
func (types index) with(d tsdb.Descriptor) index {
	types = maps.Clone(types)
	types[d.Project] = maps.Clone(types[d.Project])
	types.add(d)
	return types
}

// Describe returns the descriptor of a metric type, and whether there is one.
func (c *Catalog) Describe(project, metric string) (tsdb.Descriptor, bool) {
	d, ok := (*c.types.Load())[project][metric]
	return d, ok
}

// Ensure implements tsdb.Descriptors. A descriptor that would be created must
// pass Check; in a project with MaxTypes metric types it is Exhausted with
// reason TooManyMetrics.
func (c *Catalog) Ensure(ctx context.Context, d tsdb.Descriptor) (tsdb.Descriptor, error) {
	if have, ok := c.Describe(d.Project, d.Type); ok {
		return have, nil
	}
	return c.create(ctx, withDefaults(d))
}

// create is Ensure for a descriptor that was not in memory.
func (c *Catalog) create(ctx context.Context, d tsdb.Descriptor) (tsdb.Descriptor, error) {
	const op = "tsdb/catalog.Ensure"
	if err := Check(d); err != nil {
		return tsdb.Descriptor{}, err
	}
	c.creating.Lock()
	defer c.creating.Unlock()
	if have, ok := c.Describe(d.Project, d.Type); ok {
		return have, nil
	}
	types := *c.types.Load()
	if n := len(types[d.Project]); n >= MaxTypes {
		return tsdb.Descriptor{}, &fault.Error{
			Op: op, Name: name(d.Project, d.Type), Kind: fault.Exhausted, Reason: TooManyMetrics,
			Err: fmt.Errorf("the project has %d metric types", n),
		}
	}
	made, err := c.insert(ctx, d)
	if err == nil && made.Details != nil {
		err = c.writeDetails(ctx, c.db, made)
	}
	if err != nil {
		return tsdb.Descriptor{}, &fault.Error{Op: op, Name: name(d.Project, d.Type), Kind: fault.Unavailable, Err: err}
	}
	types = types.with(made)
	c.types.Store(&types)
	return made, nil
}

// insert writes d unless the table has its type, and returns what is there.
func (c *Catalog) insert(ctx context.Context, d tsdb.Descriptor) (tsdb.Descriptor, error) {
	const write = `INSERT OR IGNORE INTO metric_descriptors (project, type, kind, value_type, unit) VALUES (?, ?, ?, ?, ?)`
	if _, err := c.db.ExecContext(ctx, write, d.Project, d.Type, d.Kind, d.ValueType, d.Unit); err != nil {
		return d, fmt.Errorf("write descriptor: %w", err)
	}
	const read = `SELECT kind, value_type, unit FROM metric_descriptors WHERE project = ? AND type = ?`
	if err := c.db.QueryRowContext(ctx, read, d.Project, d.Type).Scan(&d.Kind, &d.ValueType, &d.Unit); err != nil {
		return d, fmt.Errorf("read descriptor back: %w", err)
	}
	return d, nil
}

// Descriptor implements tsdb.Descriptors.
func (c *Catalog) Descriptor(_ context.Context, project, metric string) (tsdb.Descriptor, error) {
	d, ok := c.Describe(project, metric)
	if !ok {
		return d, &fault.Error{Op: "tsdb/catalog.Descriptor", Name: name(project, metric), Kind: fault.NotFound}
	}
	return d, nil
}

// List implements tsdb.Descriptors.
func (c *Catalog) List(_ context.Context, project string) ([]tsdb.Descriptor, error) {
	list := slices.Collect(maps.Values((*c.types.Load())[project]))
	slices.SortFunc(list, func(a, b tsdb.Descriptor) int { return strings.Compare(a.Type, b.Type) })
	return list, nil
}

// name is the resource name of a descriptor.
func name(project, metric string) string {
	return "projects/" + project + "/metricDescriptors/" + metric
}
