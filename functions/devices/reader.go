package devices

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

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

// claim is an alias in a project, which is an id.
type claim struct {
	project string
	alias   devicesv1.External
}

// NewIndex makes an empty index.
func NewIndex() *Index { return newIndex(0) }

// newIndex makes an empty index that remembers nothing for longer than an age, 0
// being no bound: it may not be told of every write.
func newIndex(age time.Duration) *Index {
	return &Index{readcache.New[claim, resource.Name](cached, age)}
}

// Written is to be called with what was written, before the writer is told that
// it was: [store.Options].Written.
func (x *Index) Written(writes []store.Write) {
	for _, w := range writes {
		if w.Type != deviceType {
			continue
		}
		var before, after []byte
		if w.Before != nil {
			before = w.Before.Body
		}
		if w.After != nil {
			after = w.After.Body
		}
		x.changed(w.Name, before, after)
	}
}

// changed forgets what a device that was so, and is so now, decides: the
// aliases that it has no more, and those that are new to it. A body of nil is no
// device.
func (x *Index) changed(name resource.Name, before, after []byte) {
	differ := map[devicesv1.External]bool{}
	for _, a := range aliasesIn(before) {
		differ[a] = true
	}
	for _, a := range aliasesIn(after) {
		if differ[a] {
			delete(differ, a)
		} else {
			differ[a] = true
		}
	}
	var keys []claim
	for a := range differ {
		keys = append(keys, claim{name.Project(), a})
	}
	if len(keys) > 0 {
		x.cache.Drop(keys...)
	}
}

// aliasesIn are the aliases of the device of that body.
func aliasesIn(body []byte) []devicesv1.External {
	d := &devicesv1.Device{}
	if err := proto.Unmarshal(body, d); err != nil {
		panic("BUG: devices: the store has a device that is none: " + err.Error())
	}
	aliases := make([]devicesv1.External, len(d.GetAliases()))
	for i, a := range d.GetAliases() {
		aliases[i] = a.External()
	}
	return aliases
}

// The names of the types.
const (
	deviceType    = "devices.selvedge.dev/Device"
	blueprintType = "devices.selvedge.dev/Blueprint"
)

// reader reads the registry for its process.
type reader struct {
	store             *store.Store
	device, blueprint *schema.Resource
	index             *Index
}

// newReader makes the reader of a store.
func newReader(st *store.Store, index *Index) (*reader, error) {
	r := &reader{store: st, index: index}
	for typ, to := range map[string]**schema.Resource{deviceType: &r.device, blueprintType: &r.blueprint} {
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
	key := claim{project, alias}
	name, ok, err := r.index.cache.Get(key)
	if !ok {
		name, err = r.load(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	return r.Device(ctx, string(name))
}

// load looks an alias up in the store, and keeps the answer. What no device can
// have is not found, and not kept.
func (r *reader) load(ctx context.Context, key claim) (resource.Name, error) {
	if _, err := resource.Project.Format(key.project); err != nil || key.alias.Check() != nil {
		return "", nobody(key)
	}
	// The texts may be parts of a larger one, which is not to be kept.
	key = claim{strings.Clone(key.project), devicesv1.External{
		Network: strings.Clone(key.alias.Network), Key: strings.Clone(key.alias.Key), Value: strings.Clone(key.alias.Value),
	}}
	return r.index.cache.Load(key, func() (resource.Name, error) { return r.find(ctx, key) })
}

// nobody is the fault of an alias that no device has.
func nobody(key claim) error {
	return &fault.Error{
		Op: "devices.Resolve", Name: "projects/" + key.project, Kind: fault.NotFound,
		Err: fmt.Errorf("no device of project %.64s has the alias %.800s", key.project, key.alias),
	}
}

// value is the value of the index that the alias is found by.
func (r *reader) value(alias devicesv1.External) []byte {
	d := &devicesv1.Device{Aliases: []*devicesv1.Alias{alias.Alias()}}
	for _, e := range filter.Entries(r.device, d.ProtoReflect()) {
		if e.Index == aliasIndex {
			return e.Value
		}
	}
	panic("BUG: devices: aliases have no index")
}

// find looks an alias up in the store.
func (r *reader) find(ctx context.Context, key claim) (name resource.Name, err error) {
	snapshot, _, err := r.store.Driver().Snapshot(ctx)
	if err != nil {
		return "", err
	}
	err = snapshot.Scan(ctx, store.Scan{
		Type: deviceType, Limit: 1,
		// "0" follows "/": these are the names below the project.
		From: resource.Name("projects/" + key.project + "/"), To: resource.Name("projects/" + key.project + "0"),
		Where: []filter.Condition{{Index: aliasIndex, Op: filter.In, Values: [][]byte{r.value(key.alias)}}},
	}, func(rec *store.Record) bool {
		name = rec.Name
		return false
	})
	if err = errors.Join(err, snapshot.Close()); err == nil && name == "" {
		err = nobody(key)
	}
	return name, err
}
