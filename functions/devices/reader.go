package devices

import (
	"context"
	"fmt"
	"strings"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/readcache"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// cached bounds the aliases that are kept: at about 200 bytes each that is
// 25 MiB for a fleet that uses as many.
const cached = 1 << 17

// aliasIndex is the index of the external names.
const aliasIndex = "aliases"

// Index remembers which device has which alias, and which alias nobody has.
// The store tells it of every write.
type Index struct {
	cache *readcache.Cache[claim, resource.Name]
}

// claim is an alias in a project: the scope and the value that the store's
// claims have.
type claim struct{ scope, value string }

// NewIndex makes an empty index.
func NewIndex() *Index { return &Index{readcache.New[claim, resource.Name](cached, 0)} }

// Written is to be called with what was written, before the writer is told that
// it was: [store.Options].Written.
func (x *Index) Written(writes []store.Write) {
	for _, w := range writes {
		for _, claims := range [][]store.Claim{w.Claim, w.Release} {
			for _, c := range claims {
				x.cache.Drop(claim{c.Scope, string(c.Value)})
			}
		}
	}
}

// reader reads the registry for its process.
type reader struct {
	store             *store.Store
	device, blueprint *schema.Resource
	index             *Index
}

// newReader makes the reader of a store.
func newReader(st *store.Store, index *Index) (*reader, error) {
	r := &reader{store: st, index: index}
	for typ, to := range map[string]**schema.Resource{
		"devices.selvedge.dev/Device": &r.device, "devices.selvedge.dev/Blueprint": &r.blueprint,
	} {
		x, ok := st.Types().Type(typ)
		if !ok {
			return nil, fmt.Errorf("devices: the store does not have the type %s", typ)
		}
		*to = x
	}
	return r, nil
}

// Device implements [devicesv1.Reader].
func (r *reader) Device(ctx context.Context, name string) (*devicesv1.Device, error) {
	return read[*devicesv1.Device](ctx, r, r.device, name)
}

// Blueprint implements [devicesv1.Reader].
func (r *reader) Blueprint(ctx context.Context, name string) (*devicesv1.Blueprint, error) {
	return read[*devicesv1.Blueprint](ctx, r, r.blueprint, name)
}

// read returns the object of that name, which is shared.
func read[M any](ctx context.Context, r *reader, x *schema.Resource, name string) (M, error) {
	var none M
	if _, err := x.Parse(name); err != nil {
		return none, &fault.Error{Op: "devices.Read", Name: name, Kind: fault.NotFound, Err: fmt.Errorf("there is no %s", name)}
	}
	ctx, tx, err := r.store.Begin(ctx, store.ReadOnly)
	if err != nil {
		return none, err
	}
	defer tx.Close()
	m, err := r.store.GetShared(ctx, x, resource.Name(name))
	if err != nil {
		return none, err
	}
	out, ok := m.(M)
	if !ok {
		return none, fmt.Errorf("BUG: devices: %s is a %T", name, m)
	}
	return out, nil
}

// Resolve implements [devicesv1.Reader].
func (r *reader) Resolve(ctx context.Context, project string, alias devicesv1.External) (*devicesv1.Device, error) {
	scope := "projects/" + project
	key := claim{scope, string(r.value(alias))}
	name, ok, err := r.index.cache.Get(key)
	if !ok {
		name, err = r.index.cache.Load(key, func() (resource.Name, error) { return r.find(ctx, key) })
	}
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, &fault.Error{
			Op: "devices.Resolve", Name: scope, Kind: fault.NotFound,
			Err: fmt.Errorf("no device of %s has the alias %s", scope, alias),
		}
	}
	return r.Device(ctx, string(name))
}

// value is the value of the index that the alias is found by.
func (r *reader) value(alias devicesv1.External) []byte {
	d := &devicesv1.Device{Aliases: []*devicesv1.Alias{alias.Alias()}}
	for _, e := range filter.Entries(r.device, d.ProtoReflect()) {
		if e.Index == aliasIndex {
			return e.Value
		}
	}
	return nil
}

// find looks an alias up in the store; "" is nobody's.
func (r *reader) find(ctx context.Context, key claim) (name resource.Name, err error) {
	if strings.Contains(strings.TrimPrefix(key.scope, "projects/"), "/") {
		return "", nil // no project
	}
	snapshot, _, err := r.store.Driver().Snapshot(ctx)
	if err != nil {
		return "", err
	}
	err = snapshot.Scan(ctx, store.Scan{
		Type: r.device.Type, Limit: 1,
		// "0" follows "/": these are the names below the project.
		From: resource.Name(key.scope + "/"), To: resource.Name(key.scope + "0"),
		Where: []filter.Condition{{Index: aliasIndex, Op: filter.In, Values: [][]byte{[]byte(key.value)}}},
	}, func(rec *store.Record) bool {
		name = rec.Name
		return false
	})
	if closed := snapshot.Close(); err == nil {
		err = closed
	}
	return name, err
}
