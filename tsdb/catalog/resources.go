package catalog

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

var _ tsdb.Resources = (*Catalog)(nil)

// MaxResources bounds the monitored-resource types that are seen in a project:
// one that needs more has an id in their names.
const MaxResources = 1000

// TooManyResources is the reason of the fault for a creation over MaxResources.
const TooManyResources = "TOO_MANY_RESOURCES"

// InvalidResource is the reason of the fault for a type that cannot be one.
const InvalidResource = "INVALID_RESOURCE"

// resourceIndex finds descriptors of monitored resources by project and type.
type resourceIndex map[string]map[string]tsdb.ResourceDescriptor

// BuiltIn are the monitored-resource types that every project has, sorted by
// type: ours, and those of Google's that are for things outside of its cloud.
func BuiltIn() []tsdb.ResourceDescriptor {
	project := tsdb.LabelDescriptor{Key: "project_id", Description: "The id of the project."}
	location := tsdb.LabelDescriptor{Key: "location", Description: "Where it is: a region, a zone, a building."}
	namespace := tsdb.LabelDescriptor{Key: "namespace", Description: "What keeps names of one group apart from those of others."}
	return []tsdb.ResourceDescriptor{
		{
			Type: "device", DisplayName: "Device", Description: "A device that is registered in a project and posts telemetry.",
			Labels: []tsdb.LabelDescriptor{
				{Key: "project_id", Description: "The id of the project that the device is registered in."},
				{Key: "device_id", Description: "The id of the device in its project."},
			},
		},
		{
			Type: "generic_node", DisplayName: "Generic node", Description: "A machine that no other type is for.",
			Labels: []tsdb.LabelDescriptor{project, location, namespace, {Key: "node_id", Description: "What tells it from the others of its namespace."}},
		},
		{
			Type: "generic_task", DisplayName: "Generic task", Description: "A process or an application that no other type is for.",
			Labels: []tsdb.LabelDescriptor{
				project, location, namespace,
				{Key: "job", Description: "What its group is called."},
				{Key: "task_id", Description: "What tells it from the others of its job."},
			},
		},
		{
			Type: "global", DisplayName: "Global", Description: "What belongs to a project as a whole.",
			Labels: []tsdb.LabelDescriptor{project},
		},
		{
			Type: "prometheus_target", DisplayName: "Prometheus target", Description: "What Prometheus scrapes.",
			Labels: []tsdb.LabelDescriptor{
				project, location,
				{Key: "cluster", Description: "The cluster that it runs in."},
				namespace,
				{Key: "job", Description: "The job that scrapes it."},
				{Key: "instance", Description: "The address that is scraped."},
			},
		},
	}
}

// builtIn is the type that every project has by that name.
func builtIn(typ string) (tsdb.ResourceDescriptor, bool) {
	for _, d := range BuiltIn() {
		if d.Type == typ {
			return d, true
		}
	}
	return tsdb.ResourceDescriptor{}, false
}

// loadResources reads the whole table.
func loadResources(ctx context.Context, db *sql.DB) (resources resourceIndex, err error) {
	rows, err := db.QueryContext(ctx, `SELECT project, descriptor FROM resource_descriptors`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	resources = resourceIndex{}
	for rows.Next() {
		var project, text string
		if err := rows.Scan(&project, &text); err != nil {
			return nil, err
		}
		var d tsdb.ResourceDescriptor
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			return nil, fmt.Errorf("descriptor of a resource of project %s: %w", project, err)
		}
		d.Project = project
		if resources[project] == nil {
			resources[project] = map[string]tsdb.ResourceDescriptor{}
		}
		resources[project][d.Type] = d
	}
	return resources, rows.Err()
}

// seen is the descriptor of a type that was seen in a project, or that every
// project has.
func (c *Catalog) seen(project, typ string) (tsdb.ResourceDescriptor, bool) {
	if d, ok := builtIn(typ); ok {
		d.Project = project
		return d, true
	}
	d, ok := (*c.resources.Load())[project][typ]
	return d, ok
}

// EnsureResource implements tsdb.Resources. A project with MaxResources types of
// its own can have no more: that is Exhausted with reason TooManyResources.
func (c *Catalog) EnsureResource(ctx context.Context, d tsdb.ResourceDescriptor) (tsdb.ResourceDescriptor, error) {
	if have, ok := c.seen(d.Project, d.Type); ok && covers(have, d) {
		return have, nil
	}
	if err := checkResource(d); err != nil {
		return tsdb.ResourceDescriptor{}, err
	}
	const op = "tsdb/catalog.EnsureResource"
	c.creating.Lock()
	defer c.creating.Unlock()
	have, ok := c.seen(d.Project, d.Type)
	resources := *c.resources.Load()
	switch {
	case ok && covers(have, d):
		return have, nil
	case ok:
		have.Labels = withLabels(have.Labels, d.Labels)
		d = have
	case len(resources[d.Project]) >= MaxResources:
		return tsdb.ResourceDescriptor{}, &fault.Error{
			Op: op, Name: resourceName(d.Project, d.Type), Kind: fault.Exhausted, Reason: TooManyResources,
			Err: fmt.Errorf("the project has %d monitored-resource types", MaxResources),
		}
	}
	if err := checkResource(d); err != nil {
		return tsdb.ResourceDescriptor{}, err
	}
	text, err := json.Marshal(d)
	if err == nil {
		const write = `INSERT OR REPLACE INTO resource_descriptors (project, type, descriptor) VALUES (?, ?, ?)`
		_, err = c.db.ExecContext(ctx, write, d.Project, d.Type, string(text))
	}
	if err != nil {
		return tsdb.ResourceDescriptor{}, &fault.Error{Op: op, Name: resourceName(d.Project, d.Type), Kind: fault.Unavailable, Err: err}
	}
	resources = maps.Clone(resources)
	resources[d.Project] = maps.Clone(resources[d.Project])
	if resources[d.Project] == nil {
		resources[d.Project] = map[string]tsdb.ResourceDescriptor{}
	}
	resources[d.Project][d.Type] = d
	c.resources.Store(&resources)
	return d, nil
}

// covers reports whether have needs no label of d. The types that every project
// has never do.
func covers(have, d tsdb.ResourceDescriptor) bool {
	if _, ok := builtIn(have.Type); ok {
		return true
	}
	return !slices.ContainsFunc(d.Labels, func(l tsdb.LabelDescriptor) bool {
		return !slices.ContainsFunc(have.Labels, func(h tsdb.LabelDescriptor) bool { return h.Key == l.Key })
	})
}

// checkResource returns an Invalid fault unless d can be created.
func checkResource(d tsdb.ResourceDescriptor) error {
	bad := func(field, format string, args ...any) error {
		return &fault.Error{
			Op: "tsdb/catalog.EnsureResource", Name: resourceName(d.Project, d.Type), Kind: fault.Invalid,
			Reason: InvalidResource, Field: field, Err: fmt.Errorf(format, args...),
		}
	}
	switch {
	case d.Project == "" || !visible(d.Project, maxProjectBytes) || strings.Contains(d.Project, "/"):
		return bad("project", "the project id %.40q is not one", d.Project)
	case d.Type == "" || !visible(d.Type, maxTypeBytes) || strings.Contains(d.Type, "/"):
		return bad("type", "the monitored-resource type %.40q is not one", d.Type)
	}
	if err := checkLabels(d.Labels); err != nil {
		return bad("labels", "%w", err)
	}
	return nil
}

// Resource implements tsdb.Resources.
func (c *Catalog) Resource(_ context.Context, project, typ string) (tsdb.ResourceDescriptor, error) {
	d, ok := c.seen(project, typ)
	if !ok {
		return d, &fault.Error{Op: "tsdb/catalog.Resource", Name: resourceName(project, typ), Kind: fault.NotFound}
	}
	return d, nil
}

// ListResources implements tsdb.Resources.
func (c *Catalog) ListResources(_ context.Context, project string) ([]tsdb.ResourceDescriptor, error) {
	list := BuiltIn()
	for i := range list {
		list[i].Project = project
	}
	list = slices.AppendSeq(list, maps.Values((*c.resources.Load())[project]))
	slices.SortFunc(list, func(a, b tsdb.ResourceDescriptor) int { return cmp.Compare(a.Type, b.Type) })
	return list, nil
}

// resourceName is the resource name of a descriptor of a monitored resource.
func resourceName(project, typ string) string {
	return "projects/" + project + "/monitoredResourceDescriptors/" + typ
}
