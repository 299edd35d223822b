package reference

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Plan says what the deletion of a resource leads to, at once and later, in
// this store and in others, and changes nothing. It is NotFound if there is no
// such resource, and Exhausted (PLAN_TOO_LARGE) beyond 10,000 consequences.
//
// Besides what happens there can be BLOCKS with the timing COLLECTED: an ownee,
// the cause, would be collected but for this resource, which refers to it or to
// what would go with it. What was to be collected before, and waits until this
// deletion lets go of it, is not in the plan.
func (r *References) Plan(ctx context.Context, st *store.Store, typ *schema.Resource, name resource.Name) (*resourcev1.DeletionPlan, error) {
	plan := &resourcev1.DeletionPlan{}
	err := st.Run(ctx, store.Consistent, func(ctx context.Context) error {
		tx, _ := st.TxOf(ctx)
		v := reader{References: r, tx: tx, types: st.Types(), loose: true}
		m, err := tx.Get(ctx, typ, name)
		if err != nil {
			return err
		}
		if m == nil {
			return &fault.Error{Op: "reference.Plan", Name: string(name), Kind: fault.NotFound, Err: fmt.Errorf("%s does not exist", name)}
		}
		f := &forecast{look: v.everything}
		if typ.Options.GetUnconstrained() {
			f.look = func(context.Context, *fate) ([]Dependant, error) { return nil, nil }
		}
		f.doom(&fate{Object: v.object(typ, m), timing: resourcev1.Consequence_AT_ONCE, local: &local{r: typ, msg: m}})
		if err := f.follow(ctx); err != nil {
			return err
		}
		plan.Blocked = len(f.blocks(0)) > 0
		if !plan.Blocked {
			err = f.collect(ctx)
		}
		plan.Consequences = f.consequences()
		return err
	})
	return plan, err
}

// everything are the dependants of what goes, for a plan.
func (v reader) everything(ctx context.Context, d *fate) ([]Dependant, error) {
	if d.local == nil {
		return v.remote(ctx, d, true)
	}
	return v.dependants(ctx, d.Ref, want{strong: true, weak: true, soft: true})
}

// consequences is the forecast as a plan.
func (f *forecast) consequences() []*resourcev1.Consequence {
	var out []*resourcev1.Consequence
	add := func(o Ref, e resourcev1.Consequence_Effect, t resourcev1.Consequence_Timing, cause *fate, path string) *resourcev1.Consequence {
		c := &resourcev1.Consequence{Name: string(o.Name), Type: o.Type, Effect: e, Timing: t, Path: path}
		if cause != nil {
			c.Cause = string(cause.Name)
		}
		out = append(out, c)
		return c
	}
	for _, d := range f.list {
		add(d.Ref, resourcev1.Consequence_DELETED, d.timing, d.cause, d.path)
		for i := range d.deps {
			dep := &d.deps[i]
			if f.doomed[dep.id()] != nil || dep.Unsure {
				continue
			}
			switch dep.OnDelete {
			case resourcev1.OnDelete_UNSET:
				add(dep.Ref, resourcev1.Consequence_UNSET, d.timing, d, dep.Path)
			case resourcev1.OnDelete_ASYNC_UNSET:
				add(dep.Ref, resourcev1.Consequence_UNSET, max(d.timing, resourcev1.Consequence_SOON), d, dep.Path)
			case resourcev1.OnDelete_ALLOW_DANGLING:
				add(dep.Ref, resourcev1.Consequence_DANGLES, d.timing, d, dep.Path)
			case resourcev1.OnDelete_ON_DELETE_UNSPECIFIED:
				if dep.Unreached || f.held[dep.id()] == nil && f.detaches(dep, d) {
					add(dep.Ref, resourcev1.Consequence_DETACHED, resourcev1.Consequence_COLLECTED, d, dep.Path)
				}
			default: // what blocks is below
			}
		}
	}
	for _, b := range f.blocks(0) {
		add(b.dep.Ref, resourcev1.Consequence_BLOCKS, b.d.timing, b.d, b.dep.Path)
	}
	byName := func(a, b id) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.typ, b.typ)) }
	for _, at := range slices.SortedFunc(maps.Keys(f.held), byName) {
		for _, b := range f.held[at] {
			c := add(b.dep.Ref, resourcev1.Consequence_BLOCKS, resourcev1.Consequence_COLLECTED, b.d, b.dep.Path)
			c.Cause = string(at.name) // which b.d would go with
		}
	}
	return out
}

// detaches reports whether an ownee loses its reference to what goes.
func (f *forecast) detaches(dep *Dependant, d *fate) bool {
	for _, o := range dep.Owners {
		if o.id() == d.id() {
			return f.gone(o)
		}
	}
	return false
}
