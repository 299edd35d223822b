package store

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// reader is the handle of a context for a read.
func (s *Store) reader(ctx context.Context, op string) (*Tx, error) {
	t, err := s.handle(ctx, op)
	if err == nil && t.wrote {
		return nil, &fault.Error{
			Op: op, Kind: fault.Internal, Reason: "READ_AFTER_WRITE",
			Err: errors.New("a transaction reads before it writes: its snapshot does not have what was written"),
		}
	}
	return t, err
}

// Get reads an object; NotFound if there is none.
func (s *Store) Get(ctx context.Context, r *schema.Resource, name resource.Name) (proto.Message, error) {
	m, shared, err := s.get(ctx, r, name)
	if shared {
		m = proto.Clone(m)
	}
	return m, err
}

// GetShared is Get of an object that must not be changed: in ReadOnly it can be
// the cache's own.
func (s *Store) GetShared(ctx context.Context, r *schema.Resource, name resource.Name) (proto.Message, error) {
	m, _, err := s.get(ctx, r, name)
	return m, err
}

// get is Get, and whether the object is the cache's.
func (s *Store) get(ctx context.Context, r *schema.Resource, name resource.Name) (m proto.Message, shared bool, err error) {
	const op = "store.Get"
	t, err := s.reader(ctx, op)
	if err != nil {
		return nil, false, err
	}
	s.observe(r, scopeOf(name), "get", 1)
	if c := s.keep.Load(); c != nil && t.mode == ReadOnly && !r.Options.GetHidden() {
		m, err := s.cached(ctx, c, t, r, name)
		return m, true, err
	}
	all, err := t.objects(ctx, r, []resource.Name{name})
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", name, err)
	}
	if all[0] == nil {
		return nil, false, notFound(op, name)
	}
	return all[0], false, nil
}

// notFound is the fault of a name that nothing has.
func notFound(op string, name resource.Name) error {
	return &fault.Error{Op: op, Name: string(name), Kind: fault.NotFound, Err: fmt.Errorf("there is no %s", name)}
}

// BatchGet reads objects in the order of their names, nil where there is none.
func (s *Store) BatchGet(ctx context.Context, r *schema.Resource, names []resource.Name) ([]proto.Message, error) {
	t, err := s.reader(ctx, "store.BatchGet")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		s.observe(r, scopeOf(n), "get", 1)
	}
	out, err := t.objects(ctx, r, names)
	if err != nil {
		return nil, fmt.Errorf("reading %d of %s: %w", len(names), r.Type, err)
	}
	return out, nil
}

// objects reads objects for others than plugins, nil where there is none.
func (t *Tx) objects(ctx context.Context, r *schema.Resource, names []resource.Name) ([]proto.Message, error) {
	recs, err := t.records(ctx, r, names)
	if err != nil {
		return nil, err
	}
	out := make([]proto.Message, len(names))
	for i, rec := range recs {
		if t.mode == Transaction {
			if t.byUser == nil {
				t.byUser = map[key]bool{}
			}
			t.byUser[key{r.Type, names[i]}] = true
		}
		if rec == nil {
			continue
		}
		if out[i], err = Decode(r, rec); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Save writes an object, the whole of it. The object is the store's from now
// on; after the commit it is as it was committed, with its metadata. A Save that
// changes nothing is none: there is no new version, and no change.
func (s *Store) Save(ctx context.Context, m proto.Message, o SaveOptions) error {
	const op = "store.Save"
	t, err := s.handle(ctx, op)
	if err != nil {
		return err
	}
	r := s.types.Of(m)
	name, err := r.Parse(string(r.NameOf(m)))
	if err != nil {
		return err
	}
	if o.Create && o.Presume && t.hasty {
		t.presume(key{r.Type, name})
	}
	is, version, err := t.state(ctx, r, name)
	switch {
	case err != nil:
		return err
	case o.Create && is:
		return &fault.Error{Op: op, Name: string(name), Kind: fault.Exists, Reason: "ALREADY_EXISTS", Err: errors.New("it exists already")}
	case !is && (o.Update || o.Version != 0):
		return notFound(op, name)
	case o.Version != 0 && o.Version != version:
		return otherVersion(op, name)
	}
	t.wrote = true
	return t.Put(ctx, m, o.Reason, r.Options.GetHidden())
}

// Delete deletes an object.
func (s *Store) Delete(ctx context.Context, r *schema.Resource, name resource.Name, o DeleteOptions) error {
	const op = "store.Delete"
	t, err := s.handle(ctx, op)
	if err != nil {
		return err
	}
	is, version, err := t.state(ctx, r, name)
	switch {
	case err != nil:
		return err
	case !is && o.AllowMissing:
		t.wrote = true
		return nil
	case !is:
		return notFound(op, name)
	case o.Version != 0 && o.Version != version:
		return otherVersion(op, name)
	}
	t.wrote = true
	return t.Remove(ctx, r, name, o.Reason)
}

// otherVersion is the fault of a write that asked for another version than
// there is. Trying again does not help.
func otherVersion(op string, name resource.Name) error {
	return &fault.Error{
		Op: op, Name: string(name), Kind: fault.Conflict, Reason: "OTHER_VERSION", Field: "metadata.resource_version",
		Err: errors.New("it was changed since that version"),
	}
}
