// Package devices is the registry of devices and their blueprints: their REST
// service, and the [devicesv1.Reader] of the process that it runs in.
//
// Its one invariant: an alias belongs to one device of its project at a time,
// and a device's blueprint exists. Reads come from a bounded cache that is
// exact, since the process that runs a Service is the only one that writes its
// database: what a write changed is read as it is now by everyone who asks
// after the write returned. All methods may be called concurrently.
//
// It does not watch, search or keep history.
package devices

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"strings"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource/readcache"
)

// cached bounds the answers that are kept of each type of resource: a device
// has one for its name and one for every alias that is in use. At about half a
// kilobyte each that is 64 MiB for a fleet of 100,000 devices, and what a
// smaller one has in use for a smaller one.
const cached = 1 << 17

// Options are what a Service needs besides its database.
type Options struct {
	// Authorize says whether the caller of r has the permission in the
	// project, such as "devices.devices.create". Nil denies everything.
	Authorize func(r *http.Request, project, permission string) error
	// Deleting, if not nil, is called before a device is deleted, to take its
	// credentials from it. An error of it ends the deletion.
	Deleting func(ctx context.Context, device string) error
	// Logger gets internal errors; nil discards them.
	Logger *slog.Logger
}

// Service is the registry.
type Service struct {
	options    Options
	devices    *collection[devicesv1.Device]
	blueprints *collection[devicesv1.Blueprint]
}

var _ devicesv1.Reader = (*Service)(nil)

// New makes the registry in a database that has [Schema]. No other process may
// write to its tables.
func New(db *sql.DB, o Options) *Service {
	if o.Authorize == nil {
		o.Authorize = func(_ *http.Request, _, permission string) error {
			return &fault.Error{Op: "devices.Authorize", Kind: fault.Denied, Field: permission}
		}
	}
	return &Service{
		options: o,
		devices: &collection[devicesv1.Device]{
			kind: deviceKind, storage: &database{db}, cache: readcache.New[lookup, *devicesv1.Device](cached, 0),
		},
		blueprints: &collection[devicesv1.Blueprint]{
			kind: blueprintKind, storage: &database{db}, cache: readcache.New[lookup, *devicesv1.Blueprint](cached, 0),
		},
	}
}

// Device implements [devicesv1.Reader].
func (s *Service) Device(ctx context.Context, name string) (*devicesv1.Device, error) {
	return s.devices.read(ctx, lookup{name: name})
}

// Resolve implements [devicesv1.Reader].
func (s *Service) Resolve(ctx context.Context, project string, alias devicesv1.Alias) (*devicesv1.Device, error) {
	return s.devices.read(ctx, lookup{project: project, alias: alias})
}

// Blueprint implements [devicesv1.Reader].
func (s *Service) Blueprint(ctx context.Context, name string) (*devicesv1.Blueprint, error) {
	return s.blueprints.read(ctx, lookup{name: name})
}

// CreateDevice adds a device under d.Name and returns it with its times. It is
// Exists when the name is taken, or when an alias is, and then names the device
// that has it.
func (s *Service) CreateDevice(ctx context.Context, d devicesv1.Device) (*devicesv1.Device, error) {
	return s.devices.create(ctx, d)
}

// CreateBlueprint adds a blueprint under b.Name and returns it with its times;
// Exists when the name is taken.
func (s *Service) CreateBlueprint(ctx context.Context, b devicesv1.Blueprint) (*devicesv1.Blueprint, error) {
	return s.blueprints.create(ctx, b)
}

// lookup is how a resource is found: by name, or, for a device, by an alias in
// the project of that id.
type lookup struct {
	name, project string
	alias         devicesv1.Alias
}

// clone is a copy that shares no memory with l, whose text may be a piece of a
// large request.
func (l lookup) clone() lookup {
	return lookup{strings.Clone(l.name), strings.Clone(l.project), devicesv1.Alias{
		Network: strings.Clone(l.alias.Network), Key: strings.Clone(l.alias.Key), Value: strings.Clone(l.alias.Value),
	}}
}

// String is what was looked for, for errors.
func (l lookup) String() string {
	if l.name != "" {
		return l.name
	}
	return "projects/" + l.project + " alias " + l.alias.String()
}
