package reference

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fieldpath"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// OwnerPath is the path of owner references.
const OwnerPath = "metadata.owner_references"

// recordType is the type of back references, which every store has.
const recordType = "records.selvedge.dev/BackReference"

// local is an object of this store.
type local struct {
	r   *schema.Resource
	msg proto.Message
	// ref is the reference by which it was found, nil for owner references.
	ref *schema.Reference
}

// reader reads this store for a decision, in a transaction.
type reader struct {
	*References
	tx    *store.Tx
	types *schema.Registry
	// roots are deletions that are being decided: what they delete still
	// refers.
	roots []*store.Pending
	// loose reads are no condition of the transaction: what they say is a
	// forecast.
	loose bool
}

// scan calls yield with the objects of x that the scan selects.
func (v reader) scan(ctx context.Context, s store.Scan, yield func(*schema.Resource, proto.Message) bool) error {
	if v.loose {
		return v.tx.Look(ctx, s, yield)
	}
	return v.tx.Scan(ctx, s, yield)
}

// get returns an object, nil if there is none.
func (v reader) get(ctx context.Context, x *schema.Resource, n resource.Name) (proto.Message, error) {
	return v.tx.Get(ctx, x, n)
}

// referrers calls yield with the objects of this store that refer to a name by
// one reference.
func (v reader) referrers(ctx context.Context, x *schema.Resource, ref *schema.Reference, n resource.Name, yield func(proto.Message) bool) error {
	s := store.Scan{Type: x.Type}
	if i, ok := x.Index(ref.Path.String()); ok && !i.Keyed {
		s.Where = []filter.Condition{{Index: i.Path.String(), Op: filter.In, Values: [][]byte{key(i.Path, string(n))}}}
	} // the values of a map are found by its keys alone, so all objects are looked at
	for _, p := range v.roots {
		if p.Resource == x && slices.Contains(targets(ref, p.Before), string(n)) && !yield(p.Before) {
			return nil
		}
	}
	return v.scan(ctx, s, func(_ *schema.Resource, m proto.Message) bool {
		return !v.mine(x, m) || !slices.Contains(targets(ref, m), string(n)) || yield(m)
	})
}

// ownees calls yield with the objects of this store that name that owner, in
// whatever life.
func (v reader) ownees(ctx context.Context, owner id, yield func(*schema.Resource, proto.Message) bool) error {
	for x := range constrained(v.types) {
		i, ok := x.Index(OwnerPath + ".*.name")
		if !ok {
			continue
		}
		where := filter.Condition{Index: i.Path.String(), Op: filter.In, Values: [][]byte{key(i.Path, string(owner.name))}}
		more := true
		err := v.scan(ctx, store.Scan{Type: x.Type, Where: []filter.Condition{where}}, func(_ *schema.Resource, m proto.Message) bool {
			names := func(o *resourcev1.OwnerReference) bool {
				return o.GetType() == owner.typ && o.GetName() == string(owner.name)
			}
			if v.mine(x, m) && slices.ContainsFunc(metadata(x, m).GetOwnerReferences(), names) {
				more = yield(x, m)
			}
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// constrained yields the types that take part in references.
func constrained(types *schema.Registry) func(yield func(*schema.Resource) bool) {
	return func(yield func(*schema.Resource) bool) {
		for _, s := range types.Services() {
			for _, x := range s.Resources {
				if !x.Options.GetUnconstrained() && !yield(x) {
					return
				}
			}
		}
	}
}

// object is what others need to know of an object of this store.
func (v reader) object(x *schema.Resource, m proto.Message) Object {
	md := metadata(x, m)
	o := Object{Ref: Ref{Type: x.Type, Name: x.NameOf(m), Region: v.o.Region}, UID: md.GetUid(), Deleting: deleting(x, m)}
	for _, ref := range md.GetOwnerReferences() {
		o.Owners = append(o.Owners, ownerOf(ref))
	}
	return o
}

// ownerOf is an owner reference as a deletion looks at it.
func ownerOf(ref *resourcev1.OwnerReference) Owner {
	return Owner{
		Ref: Ref{Type: ref.GetType(), Name: resource.Name(ref.GetName()), Region: ref.GetRegion()},
		UID: ref.GetUid(), Unset: ref.GetUnsetOnDelete(),
	}
}

// want says which dependants are looked for.
type want struct {
	// strong are those that a deletion refuses or deletes, weak those that it
	// changes, soft the ownees and those that may dangle.
	strong, weak, soft bool
	// here leaves out those of other stores.
	here bool
	// skip says which of this store go to rest instead; limit bounds the others
	// by each reference, 0 is no bound.
	skip  func(Dependant) bool
	rest  *[]Dependant
	limit int
}

// weak reports whether a policy changes the dependant, and lets it live.
func weak(p resourcev1.OnDelete) bool {
	return p == resourcev1.OnDelete_UNSET || p == resourcev1.OnDelete_ASYNC_UNSET
}

// takes reports whether a policy is wanted.
func (w want) takes(p resourcev1.OnDelete) bool {
	switch {
	case weak(p):
		return w.weak
	case p == resourcev1.OnDelete_ALLOW_DANGLING || p == resourcev1.OnDelete_ON_DELETE_UNSPECIFIED:
		return w.soft
	}
	return w.strong
}

// policy is what a reference to objects of x does. Those of a type that cannot
// be DELETING go at once.
func policy(x *schema.Resource, p resourcev1.OnDelete) resourcev1.OnDelete {
	switch {
	case x == nil || x.Metadata != nil:
	case p == resourcev1.OnDelete_ASYNC_UNSET:
		return resourcev1.OnDelete_UNSET
	case p == resourcev1.OnDelete_ASYNC_CASCADE_DELETE:
		return resourcev1.OnDelete_CASCADE_DELETE
	}
	return p
}

// dependants are what refers to a resource: objects of this store, and if the
// resource is of this store too, those of others that it knows of.
func (v reader) dependants(ctx context.Context, of Ref, w want) ([]Dependant, error) {
	t, here := v.here(v.types, of.Type, of.Name, of.Region)
	if here && t.Options.GetUnconstrained() {
		return nil, nil
	}
	var out []Dependant
	for x := range constrained(v.types) {
		for i := range x.References {
			ref := &x.References[i]
			p := policy(t, ref.OnDelete)
			if ref.Type != of.Type || !w.takes(p) {
				continue
			}
			n := 0
			err := v.referrers(ctx, x, ref, of.Name, func(m proto.Message) bool {
				d := Dependant{Object: v.object(x, m), Path: ref.Path.String(), OnDelete: p, local: &local{x, m, ref}}
				if w.skip != nil && w.skip(d) {
					*w.rest = append(*w.rest, d)
					return true
				}
				out = append(out, d)
				n++
				return n != w.limit
			})
			if err != nil {
				return nil, err
			}
		}
	}
	for i := range out {
		d, err := &out[i], error(nil)
		if d.OnDelete == resourcev1.OnDelete_BLOCK {
			if d.Leaving, err = v.leaving(ctx, d.local.r, d.local.msg, map[id]bool{}); err != nil {
				return nil, err
			}
		}
	}
	if w.soft {
		err := v.ownees(ctx, of.id(), func(x *schema.Resource, m proto.Message) bool {
			out = append(out, Dependant{Object: v.object(x, m), Path: OwnerPath, local: &local{r: x, msg: m}})
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	if !here || w.here {
		return out, nil
	}
	foreign, err := v.foreign(ctx, of.id(), w)
	return append(out, foreign...), err
}

// leaving reports whether an object will follow something that is DELETING,
// along its own references that cascade.
func (v reader) leaving(ctx context.Context, x *schema.Resource, m proto.Message, seen map[id]bool) (bool, error) {
	if deleting(x, m) {
		return true, nil
	}
	at := id{x.Type, x.NameOf(m)}
	if seen[at] || len(seen) > maxForecast {
		return false, nil
	}
	seen[at] = true
	v.loose = true
	for i := range x.References {
		ref := &x.References[i]
		if ref.OnDelete != resourcev1.OnDelete_CASCADE_DELETE && ref.OnDelete != resourcev1.OnDelete_ASYNC_CASCADE_DELETE {
			continue
		}
		for _, n := range targets(ref, m) {
			t, ok := v.here(v.types, ref.Type, resource.Name(n), "")
			if !ok {
				continue
			}
			next, err := v.get(ctx, t, resource.Name(n))
			if err != nil {
				return false, err
			}
			if next == nil {
				continue
			}
			if is, err := v.leaving(ctx, t, next, seen); is || err != nil {
				return is, err
			}
		}
	}
	return false, nil
}

// records calls yield with the back references of a resource of this store.
func (v reader) records(ctx context.Context, of id, yield func(*resourcev1.BackReference) bool) error {
	x, _ := v.types.Type(recordType)
	i, _ := x.Index("target_name")
	where := filter.Condition{Index: "target_name", Op: filter.In, Values: [][]byte{key(i.Path, string(of.name))}}
	return v.scan(ctx, store.Scan{Type: x.Type, Where: []filter.Condition{where}}, func(_ *schema.Resource, m proto.Message) bool {
		b, ok := m.(*resourcev1.BackReference)
		return !ok || b.GetTargetType() != of.typ || yield(b)
	})
}

// foreign are the dependants of a resource of this store in others: as its back
// references say, and each source then says for itself.
func (v reader) foreign(ctx context.Context, of id, w want) ([]Dependant, error) {
	var found []*resourcev1.BackReference
	err := v.records(ctx, of, func(b *resourcev1.BackReference) bool {
		if w.takes(b.GetOnDelete()) {
			found = append(found, b)
		}
		return true
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	answers := v.confirm(ctx, found)
	var out []Dependant
	for i, b := range found {
		if why := answers[i].unknown; why != nil && !light(b) {
			return nil, why
		} else if why != nil {
			out = append(out, Dependant{Object: Object{Ref: source(b)}, Path: b.GetPath(), OnDelete: b.GetOnDelete(), Unreached: true})
			continue
		}
		d := Dependant{Object: answers[i].Object, Path: b.GetPath(), OnDelete: later(b.GetOnDelete()), Unsure: !answers[i].Refers}
		d.Ref = source(b)
		soft := b.GetOnDelete() == resourcev1.OnDelete_ON_DELETE_UNSPECIFIED
		if d.Unsure && (soft || !v.young(b)) {
			continue // stale
		}
		out = append(out, d)
	}
	return out, nil
}

// light reports whether a back reference never holds up what it points to.
func light(b *resourcev1.BackReference) bool {
	return b.GetOnDelete() == resourcev1.OnDelete_ON_DELETE_UNSPECIFIED || b.GetOnDelete() == resourcev1.OnDelete_ALLOW_DANGLING
}

// source is what a back reference is of.
func source(b *resourcev1.BackReference) Ref {
	return Ref{Type: b.GetSourceType(), Name: resource.Name(b.GetSourceName()), Region: b.GetSourceRegion()}
}

// young reports whether the transaction that a back reference was made for may
// still be running.
func (r *References) young(b *resourcev1.BackReference) bool {
	return r.o.Now().Before(b.GetEstablishTime().AsTime().Add(r.o.Grace))
}

// ask asks the sources of back references if they do refer. One that cannot be
// asked is an error.
func (r *References) ask(ctx context.Context, found []*resourcev1.BackReference) ([]Answer, error) {
	answers := r.confirm(ctx, found)
	for _, a := range answers {
		if a.unknown != nil {
			return nil, a.unknown
		}
	}
	return answers, nil
}

// confirm asks the sources of back references if they do refer. An answer of
// one that cannot be asked says why.
func (r *References) confirm(ctx context.Context, found []*resourcev1.BackReference) []Answer {
	items := make([]LookupItem, len(found))
	for i, b := range found {
		items[i] = LookupItem{Ref: source(b), Target: Ref{Type: b.GetTargetType(), Name: resource.Name(b.GetTargetName()), Region: r.o.Region}, Path: b.GetPath()}
	}
	return r.lookup(ctx, items)
}

// lookup asks for objects of other stores, each store once. An item that could
// not be asked for has the error in its answer.
func (r *References) lookup(ctx context.Context, items []LookupItem) []Answer {
	answers := make([]Answer, len(items))
	by := map[Address][]int{}
	for i, item := range items {
		a := r.address(item.Type, item.Name, item.Region)
		by[a] = append(by[a], i)
	}
	for a, at := range by {
		q := &LookupRequest{To: a}
		for _, i := range at {
			q.Items = append(q.Items, items[i])
		}
		reply, err := r.peers().Lookup(ctx, q)
		if err == nil && len(reply.Answers) != len(at) {
			err = errors.New("a peer gave another number of answers than it was asked for")
		}
		for j, i := range at {
			if err != nil {
				answers[i].unknown = err
			} else {
				answers[i] = reply.Answers[j]
			}
		}
	}
	return answers
}

// peers are those of the options; without any, all are unreachable.
func (r *References) peers() Peers {
	if r.o.Peers == nil {
		return &Local{}
	}
	return r.o.Peers
}

// refers reports whether an object refers to a target as a [LookupItem] asks.
func refers(x *schema.Resource, m proto.Message, item LookupItem) bool {
	if item.Path == OwnerPath {
		return slices.ContainsFunc(metadata(x, m).GetOwnerReferences(), func(o *resourcev1.OwnerReference) bool {
			return o.GetType() == item.Target.Type && o.GetName() == string(item.Target.Name)
		})
	}
	for i := range x.References {
		ref := &x.References[i]
		if (item.Path == "" || item.Path == ref.Path.String()) && ref.Type == item.Target.Type && slices.Contains(targets(ref, m), string(item.Target.Name)) {
			return true
		}
	}
	return false
}

// always is the condition that an index has any text, or any time, at all.
func always(p fieldpath.Path) filter.Condition {
	from := fieldpath.AppendPrefix(nil, "")
	if p.Desc().Message() != nil {
		from = []byte{9} // see fieldpath.AppendKey
	}
	return filter.Condition{Index: p.String(), Op: filter.Range, From: from, To: []byte{from[0] + 1}}
}
