package reference

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// decidedKey finds what was decided in a transaction, by resource.
type decidedKey struct{}

// remove decides about a deletion, together with all others that the
// transaction has by now: they do not block each other.
func (r *References) remove(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	v := reader{References: r, tx: tx, types: tx.Types()}
	decided, _ := tx.Keep(decidedKey{}, func() any { return map[id]*fate{} }).(map[id]*fate)
	at := id{w.Resource.Type, w.Name}
	if decided[at] == nil {
		if err := v.decide(ctx, w.Name, decided); err != nil {
			return err
		}
	}
	if d := decided[at]; d.stays {
		return v.keep(ctx, d)
	}
	return nil
}

// decide decides about the deletions of a transaction, and does what follows
// from them at once.
func (v reader) decide(ctx context.Context, name resource.Name, decided map[id]*fate) error {
	roots := map[id]bool{}
	for _, p := range v.tx.Pending() {
		if p.After == nil && !p.Resource.Options.GetUnconstrained() && v.mine(p.Resource, p.Before) {
			v.roots = append(v.roots, p)
			roots[id{p.Resource.Type, p.Name}] = true
		}
	}
	f := &forecast{look: v.foresee}
	for _, p := range v.roots {
		f.doom(&fate{
			Object: v.object(p.Resource, p.Before), timing: resourcev1.Consequence_AT_ONCE,
			final: deleting(p.Resource, p.Before), local: &local{r: p.Resource, msg: p.Before},
		})
	}
	err := f.follow(ctx)
	if beyond := errors.Is(err, errBeyond); err != nil && (!beyond || len(f.next[resourcev1.Consequence_AT_ONCE]) > 0) {
		return fmt.Errorf("following the deletion of %s: %w", name, err)
	}
	if b := f.blocks(0); len(b) > 0 {
		return refusal(b)
	}
	v.stay(f)
	for _, d := range f.list {
		if d.timing != resourcev1.Consequence_AT_ONCE {
			continue
		}
		asked := roots[d.id()] && decided[d.id()] == nil
		decided[d.id()] = d
		if err := v.end(ctx, d, asked); err != nil {
			return err
		}
		for i := range d.deps {
			dep := &d.deps[i]
			if d.final || dep.OnDelete != resourcev1.OnDelete_UNSET || f.doomed[dep.id()] != nil {
				continue
			}
			if err := v.unset(ctx, dep.local, d.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// foresee are the dependants of what goes. What happens at once is decided by
// reads that the commit checks; what comes later is looked through for
// blockers, so that nothing begins that cannot end.
func (v reader) foresee(ctx context.Context, d *fate) ([]Dependant, error) {
	if d.local == nil {
		return v.remote(ctx, d, false)
	}
	w := want{strong: true, weak: d.timing == resourcev1.Consequence_AT_ONCE}
	v.loose = !w.weak
	return v.dependants(ctx, d.Ref, w)
}

// remote are the dependants of a resource of another store.
func (v reader) remote(ctx context.Context, d *fate, owners bool) ([]Dependant, error) {
	reply, err := v.peers().Dependants(ctx, &DependantsRequest{To: v.address(d.Type, d.Name, d.Region), Of: d.Ref, Owners: owners})
	if err != nil {
		return nil, err
	}
	// What refers to it from here is known here.
	v.loose = true
	here, err := v.dependants(ctx, d.Ref, want{strong: true, weak: true, soft: owners})
	for i := range here {
		here[i].OnDelete = later(here[i].OnDelete)
	}
	out := here
	for _, dep := range reply.Dependants {
		if _, ok := v.here(v.types, dep.Type, dep.Name, dep.Region); !ok {
			out = append(out, dep)
		}
	}
	return out, err
}

// later is the policy of a reference from one store to another.
func later(p resourcev1.OnDelete) resourcev1.OnDelete {
	switch p {
	case resourcev1.OnDelete_CASCADE_DELETE:
		return resourcev1.OnDelete_ASYNC_CASCADE_DELETE
	case resourcev1.OnDelete_UNSET:
		return resourcev1.OnDelete_ASYNC_UNSET
	default:
		return p
	}
}

// unset takes a name out of an object of this store.
func (v reader) unset(ctx context.Context, l *local, name resource.Name) error {
	m, err := v.tx.Get(ctx, l.r, l.r.NameOf(l.msg))
	if err != nil || m == nil {
		return err
	}
	unset(l.ref, m, string(name))
	return v.tx.Put(ctx, m, fmt.Sprintf("%s is deleted, which %s referred to", name, l.ref.Path), false)
}

// stay finds those of what goes at once that cannot yet: something that refers
// to them will only go later. They are DELETING.
func (v reader) stay(f *forecast) {
	holds := map[*fate][]*fate{} // by whom
	var queue []*fate
	hold := func(d *fate) {
		if !d.stays {
			d.stays = true
			queue = append(queue, d)
		}
	}
	for _, d := range f.list {
		if d.timing != resourcev1.Consequence_AT_ONCE {
			continue
		}
		if d.local.r.Options.GetAsyncDeletion() && !d.final || metadata(d.local.r, d.local.msg).GetLifecycle().GetBlockDeletion() {
			hold(d)
		}
		for i := range d.deps {
			dep := &d.deps[i]
			switch by := f.doomed[dep.id()]; {
			case by != nil && by.timing == resourcev1.Consequence_AT_ONCE:
				holds[by] = append(holds[by], d)
			case dep.OnDelete == resourcev1.OnDelete_UNSET && !d.final:
			default:
				hold(d)
			}
		}
	}
	for len(queue) > 0 {
		by := queue[0]
		queue = queue[1:]
		for _, d := range holds[by] {
			hold(d)
		}
	}
}

// end deletes what need not stay. What was asked to be deleted is so already,
// or is kept in its turn.
func (v reader) end(ctx context.Context, d *fate, asked bool) error {
	if d.stays && asked {
		return nil
	}
	if d.stays {
		return v.keep(ctx, d)
	}
	if err := v.drop(ctx, d.id()); err != nil || asked {
		return err
	}
	return v.tx.Remove(ctx, d.local.r, d.Name, d.reason())
}

// reason is why it goes, "" if that was asked for.
func (d *fate) reason() string {
	if d.cause == nil {
		return ""
	}
	return fmt.Sprintf("%s is deleted, which %s refers to", d.cause.Name, d.path)
}

// keep makes an object DELETING.
func (v reader) keep(ctx context.Context, d *fate) error {
	if d.local.r.Metadata == nil {
		return &fault.Error{
			Op: "reference.Delete", Name: string(d.Name), Kind: fault.Precondition, Reason: "REFERRED_TO",
			Err: fmt.Errorf("%s is still referred to, and resources of its type cannot wait for the end of that", d.Name),
		}
	}
	m := proto.Clone(d.local.msg)
	if md := d.local.r.MetadataOf(m); !d.final {
		if md.Lifecycle == nil {
			md.Lifecycle = &resourcev1.Lifecycle{}
		}
		md.Lifecycle.State = resourcev1.Lifecycle_DELETING
		md.DeleteTime = timestamppb.New(v.o.Now())
	}
	return v.tx.Put(ctx, m, d.reason(), false)
}

// drop forgets the back references of what is deleted, none of which is more
// than a trace of a transaction that failed. Those of ownees stay until they
// were told.
func (v reader) drop(ctx context.Context, of id) error {
	var stale []resource.Name
	err := v.records(ctx, of, func(b *resourcev1.BackReference) bool {
		if b.GetOnDelete() != resourcev1.OnDelete_ON_DELETE_UNSPECIFIED {
			stale = append(stale, resource.Name(b.GetName()))
		}
		return true
	})
	if err != nil {
		return err
	}
	x, _ := v.types.Type(recordType)
	for _, n := range stale {
		if err := v.tx.Remove(ctx, x, n, ""); err != nil {
			return err
		}
	}
	return nil
}
