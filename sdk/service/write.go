package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// create answers a Create (google.aip.dev/133).
func (s *Service) create(ctx context.Context, c *call) (proto.Message, error) {
	name, err := c.newName()
	if err != nil {
		return nil, err
	}
	on, err := s.ask(ctx, c.m.Permission, name.Parent())
	if err != nil {
		return nil, err
	}
	given, err := c.given()
	if err != nil {
		return nil, err
	}
	return s.write(ctx, c, name, func(tx context.Context) (proto.Message, error) {
		m := proto.Clone(given)
		return m, s.insert(tx, c.m.typ, name, m, on)
	})
}

// newName is the name of what a Create makes.
func (c *call) newName() (resource.Name, error) {
	t, id, parent := c.m.typ, text(c.req, c.m.id), text(c.req, c.m.parent)
	if parent != "" {
		parent += "/"
	}
	var err error
	for _, p := range t.Patterns {
		collection := parent + p.Collection() + "/"
		if _, err = readName(t.Resource, "parent", collection+"a"); err != nil {
			continue // another pattern may have such a parent
		}
		if id == "" {
			id = newID()
		}
		field := "id"
		if c.m.id != nil {
			field = string(c.m.id.Name())
		}
		return readName(t.Resource, field, collection+id)
	}
	return "", err
}

// newID is an id that nobody else has: a UUID that begins with a letter, since
// some names must.
func newID() string {
	id := []byte(uuid.NewString())
	if id[0] <= '9' {
		id[0] = "abcdef"[id[0]%6]
	}
	return string(id)
}

// given is the object of a request.
func (c *call) given() (proto.Message, error) {
	if !c.req.Has(c.m.object) {
		return nil, invalid("service.Write", "INVALID_FIELD", string(c.m.object.Name()), errors.New("value is required"))
	}
	return c.req.Get(c.m.object).Message().Interface(), nil
}

// insert saves a new object that meets the terms.
func (s *Service) insert(tx context.Context, t *typ, name resource.Name, m proto.Message, on ...*terms) error {
	t.hide(m, t.OutputOnly)
	t.SetName(m, name)
	if md := t.MetadataOf(m); md != nil {
		md.ResourceVersion = ""
	}
	if err := s.below(tx, t, name); err != nil {
		return err
	}
	return s.save(tx, t, nil, m, on...)
}

// below holds the transaction to the existence of the nearest object above a
// name that this store would have. It is read by the cache, past the
// transaction: that it is still there is checked at the commit.
func (s *Service) below(tx context.Context, t *typ, name resource.Name) error {
	r, parent := t.parentOf(name)
	handle, ok := s.store.TxOf(tx)
	if r == nil || !ok || slices.ContainsFunc(handle.Pending(), func(w *store.Pending) bool { return w.Resource == r && w.Name == parent && w.After != nil }) {
		return nil
	}
	ctx, reading, err := s.store.Begin(tx, store.ReadOnly)
	if err != nil {
		return err
	}
	defer reading.Close()
	m, err := s.store.GetShared(ctx, r, parent)
	switch {
	case fault.KindOf(err) == fault.NotFound && r.Options.GetImplicit():
		return nil
	case err != nil:
		return atField("parent", err)
	case r.Metadata == nil || !m.ProtoReflect().Has(r.Metadata):
		return nil
	}
	md := r.MetadataOf(m)
	if md.GetLifecycle().GetState() == resourcev1.Lifecycle_DELETING {
		return &fault.Error{
			Op: "service.Create", Name: string(parent), Kind: fault.Precondition, Reason: "PARENT_DELETING", Field: "parent",
			Err: fmt.Errorf("%s is being deleted", parent),
		}
	}
	if md.GetUid() != "" {
		handle.Alive(r, parent, md.GetUid())
	}
	return nil
}

// save saves an object that meets the terms in place of old, nil for none, by
// way of the hooks and the rules.
func (s *Service) save(tx context.Context, t *typ, old, m proto.Message, on ...*terms) error {
	for _, h := range t.hooks {
		if err := h.fill(tx, m); err != nil {
			return err
		}
	}
	for _, terms := range on {
		if err := terms.meet(tx, t.Resource, m); err != nil {
			return err
		}
	}
	if err := s.rules.check("service.Save", m); err != nil {
		return err
	}
	for _, h := range t.hooks {
		if err := h.change(tx, old, m); err != nil {
			return err
		}
	}
	if err := s.store.Save(tx, m, store.SaveOptions{Create: old == nil, Update: old != nil, Presume: old == nil}); err != nil {
		return err
	}
	for _, h := range t.hooks {
		if err := h.saved(tx, old, m); err != nil {
			return err
		}
	}
	return nil
}

// update answers an Update (google.aip.dev/134).
func (s *Service) update(ctx context.Context, c *call) (proto.Message, error) {
	t := c.m.typ
	given, err := c.given()
	if err != nil {
		return nil, err
	}
	name, err := readName(t.Resource, string(c.m.object.Name())+".name", string(t.NameOf(given)))
	if err != nil {
		return nil, err
	}
	on, err := s.ask(ctx, c.m.Permission, name)
	if err != nil {
		return nil, err
	}
	var toCreate *terms
	if flag(c.req, c.m.allowMissing) {
		if toCreate, err = s.ask(ctx, t.Permission("create"), name.Parent()); err != nil {
			return nil, err
		}
	}
	u := change{etag: t.version(given)}
	if texts := paths(c.req, c.m.updateMask); len(texts) > 0 {
		if u.mask, err = parseMask(t, "update_mask", texts); err != nil {
			return nil, err
		}
	}
	if u.cas, err = c.condition(); err != nil {
		return nil, err
	}
	return s.write(ctx, c, name, func(tx context.Context) (proto.Message, error) {
		old, err := s.store.Get(tx, t.Resource, name)
		missing := fault.KindOf(err) == fault.NotFound && flag(c.req, c.m.allowMissing)
		if !missing {
			if err := on.read(tx, t.Resource, old, err); err != nil {
				return nil, err
			}
		}
		if err := u.holds(t, name, old); err != nil {
			return nil, err
		}
		if missing {
			m := proto.Clone(given)
			return m, s.insert(tx, t, name, m, on, toCreate)
		}
		m := proto.Clone(old)
		if err := u.apply(t, m, given, old); err != nil {
			return nil, err
		}
		if proto.Equal(old, m) {
			return old, nil
		}
		return m, s.save(tx, t, old, m, on)
	})
}

// version is the version that an object says it has.
func (t *typ) version(m proto.Message) string {
	if t.Metadata == nil || !m.ProtoReflect().Has(t.Metadata) {
		return ""
	}
	return t.MetadataOf(m).GetResourceVersion()
}

// change is what an update wants.
type change struct {
	mask fieldmask.Mask
	// etag, if not "", is the version that the object must have.
	etag string
	// cas, if not nil, is what the object must be.
	cas *condition
}

// condition is what an object must be to be changed.
type condition struct {
	// state are the values that it must have, nil for no object.
	state proto.Message
	mask  fieldmask.Mask
}

// condition is the condition of an update, nil if there is none. Secrets are no
// part of it: it would tell who may not read them whether he guessed one.
func (c *call) condition() (*condition, error) {
	if c.m.cas == nil || !c.req.Has(c.m.cas) {
		return nil, nil
	}
	cas := c.req.Get(c.m.cas).Message()
	out := &condition{mask: c.m.typ.compared}
	if cas.Has(c.m.casState) {
		out.state = cas.Get(c.m.casState).Message().Interface()
	}
	texts := paths(cas, c.m.casMask)
	if len(texts) == 0 {
		return out, nil
	}
	var err error
	if out.mask, err = parseMask(c.m.typ, "cas.field_mask", texts); err != nil {
		return nil, err
	}
	if !fieldmask.Intersect(out.mask, c.m.typ.secrets).IsEmpty() {
		return nil, invalid("service.Update", "INVALID_MASK", "cas.field_mask", errors.New("secrets cannot be compared"))
	}
	return out, nil
}

// holds is the Conflict fault of an object, nil for none, that is not as the
// update wants it.
func (u change) holds(t *typ, name resource.Name, old proto.Message) error {
	if u.cas != nil {
		same := (old == nil) == (u.cas.state == nil)
		if same && old != nil {
			same = proto.Equal(fieldmask.Project(u.cas.mask, old), fieldmask.Project(u.cas.mask, u.cas.state))
		}
		if !same {
			return conflict("service.Update", "CAS_MISMATCH", name, errors.New("it is not as cas.conditional_state says"))
		}
	}
	if u.etag != "" && (old == nil || t.version(old) != u.etag) {
		return conflict("service.Update", "ETAG_MISMATCH", name, errors.New("its metadata.resource_version is another: it was changed since"))
	}
	return nil
}

// conflict is the fault of an object that is not as a caller thinks.
func conflict(op, reason string, name resource.Name, err error) error {
	return &fault.Error{Op: op, Name: string(name), Kind: fault.Conflict, Reason: reason, Err: fmt.Errorf("%s: %w", name, err)}
}

// apply does the update to m, a copy of old.
func (u change) apply(t *typ, m, given, old proto.Message) error {
	t.hide(given, t.OutputOnly)
	if err := fieldmask.Merge(u.mask, m, given); err != nil {
		return atField("update_mask", err)
	}
	if err := fieldmask.Merge(t.kept, m, old); err != nil {
		return fmt.Errorf("keeping what is no input: %w", err)
	}
	for _, p := range t.Immutable {
		if !unchanged(p, old.ProtoReflect(), m.ProtoReflect()) {
			return invalid("service.Update", "IMMUTABLE_FIELD", p.JSON(), fmt.Errorf("%s cannot be changed", p.JSON()))
		}
	}
	return nil
}

// unchanged reports whether the values of a path are as they were; what is not
// set is as it was in a message that is not set. Items of lists and maps may
// come and go: what they have is not to be changed as long as all of them stay.
func unchanged(p fieldpath.Path, old, m protoreflect.Message) bool {
	if goesThrough(p) && len(p.Get(old)) != len(p.Get(m)) || !p.Has(old) && !p.Has(m) {
		return true
	}
	return p.Equal(old, m)
}

// delete answers a Delete (google.aip.dev/135) with what becomes of others.
func (s *Service) delete(ctx context.Context, c *call) (proto.Message, error) {
	t := c.m.typ
	name, err := readName(t.Resource, "name", text(c.req, c.m.name))
	if err != nil {
		return nil, err
	}
	on, err := s.ask(ctx, c.m.Permission, name)
	if err != nil {
		return nil, err
	}
	etag := text(c.req, c.m.etag)
	return s.write(ctx, c, name, func(tx context.Context) (proto.Message, error) {
		old, err := s.store.Get(tx, t.Resource, name)
		if refused := on.read(tx, t.Resource, old, err); on != nil && refused != nil {
			return nil, refused
		}
		switch {
		case fault.KindOf(err) == fault.NotFound && flag(c.req, c.m.allowMissing):
			return &resourcev1.DeletionPlan{}, nil
		case err != nil:
			return nil, err
		case etag != "" && t.version(old) != etag:
			return nil, conflict("service.Delete", "ETAG_MISMATCH", name, errors.New("its metadata.resource_version is not the etag: it was changed since"))
		}
		plan, err := s.plan(tx, t, name)
		if err != nil {
			return nil, err
		}
		for _, h := range t.hooks {
			if err := h.deleting(tx, old); err != nil {
				return nil, err
			}
		}
		plan.Consequences = append(plan.GetConsequences(), s.taken(tx, name)...)
		child, err := s.child(tx, t, name)
		switch {
		case err != nil:
			return nil, err
		case child != nil && !flag(c.req, c.m.validateOnly):
			return nil, &fault.Error{
				Op: "service.Delete", Name: string(name), Kind: fault.Precondition, Reason: "HAS_CHILDREN",
				Err: fmt.Errorf("%s has %s and maybe more below it: delete those first", name, child.GetName()),
			}
		case child != nil:
			plan.Blocked, plan.Consequences = true, append(plan.Consequences, child)
		}
		if plan.GetBlocked() && flag(c.req, c.m.validateOnly) {
			return plan, nil
		}
		return plan, s.store.Delete(tx, t.Resource, name, store.DeleteOptions{})
	})
}

// plan is what the deletion of an object leads to, as the transaction sees it.
func (s *Service) plan(tx context.Context, t *typ, name resource.Name) (*resourcev1.DeletionPlan, error) {
	if s.options.Planner != nil {
		return s.options.Planner.Plan(tx, s.store, t.Resource, name)
	}
	return &resourcev1.DeletionPlan{Consequences: []*resourcev1.Consequence{{
		Name: string(name), Type: t.Type, Effect: resourcev1.Consequence_DELETED, Timing: resourcev1.Consequence_AT_ONCE,
	}}}, nil
}

// taken are the objects below a name that go with it, by what hooks did.
func (s *Service) taken(tx context.Context, name resource.Name) (out []*resourcev1.Consequence) {
	handle, ok := s.store.TxOf(tx)
	if !ok {
		return nil
	}
	for _, w := range handle.Pending() {
		if w.After == nil && strings.HasPrefix(string(w.Name), string(name)+"/") {
			out = append(out, &resourcev1.Consequence{
				Name: string(w.Name), Type: w.Resource.Type, Effect: resourcev1.Consequence_DELETED, Timing: resourcev1.Consequence_AT_ONCE, Cause: string(name),
			})
		}
	}
	return out
}

// child is the first object that is below a name, which may not go before it;
// nil if there is none. That there is none is checked at the commit.
func (s *Service) child(tx context.Context, t *typ, name resource.Name) (*resourcev1.Consequence, error) {
	handle, ok := s.store.TxOf(tx)
	if !ok {
		return nil, errors.New("BUG: service: a deletion without a handle")
	}
	var found *resourcev1.Consequence
	limit := 1 + len(handle.Pending()) // hooks may have deleted some
	for _, r := range t.children {
		// "0" comes after "/", so that these are all names with the prefix.
		err := handle.Scan(tx, store.Scan{Type: r.Type, From: name + "/", To: name + "0", Limit: limit}, func(r *schema.Resource, m proto.Message) bool {
			found = &resourcev1.Consequence{
				Name: string(r.NameOf(m)), Type: r.Type, Effect: resourcev1.Consequence_BLOCKS, Timing: resourcev1.Consequence_AT_ONCE,
				Cause: string(name), Path: "name",
			}
			return false
		})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}
