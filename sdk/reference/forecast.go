package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// maxForecast bounds the resources that a forecast follows.
const maxForecast = 10_000

// errBeyond ends a forecast that reached its bound.
var errBeyond = &fault.Error{
	Op: "reference.Plan", Kind: fault.Exhausted, Reason: "PLAN_TOO_LARGE",
	Err: fmt.Errorf("the deletion has more than %d consequences", maxForecast),
}

// fate is that a resource goes.
type fate struct {
	Object
	timing resourcev1.Consequence_Timing
	// cause is what goes before, by which path; nil for what was asked for.
	cause *fate
	path  string
	// final is what is DELETING already: its dependants were decided about.
	final bool
	// stays is whether it can only be DELETING for now.
	stays bool
	deps  []Dependant
	local *local
	at    int
}

// forecast follows a deletion to where it leads, across stores. Execution and
// plan are made of the same one; only how far it looks differs.
type forecast struct {
	// look finds the dependants of a resource.
	look func(ctx context.Context, d *fate) ([]Dependant, error)
	// list is all that goes, causes first; doomed finds it.
	list   []*fate
	doomed map[id]*fate
	// held are ownees that lost their owners but are blocked by others.
	held map[id][]block
	// next are those whose dependants are not looked for yet, by timing: what
	// goes at once is known whole before what goes later is looked at.
	next [4][]*fate
}

// block is a reference that refuses the deletion of d.
type block struct {
	d   *fate
	dep *Dependant
}

// id identifies it.
func (r Ref) id() id { return id{r.Type, r.Name} }

// doom adds a resource to what goes.
func (f *forecast) doom(d *fate) {
	if f.doomed[d.id()] != nil {
		return
	}
	if f.doomed == nil {
		f.doomed, f.held = map[id]*fate{}, map[id][]block{}
	}
	d.at = len(f.list)
	f.doomed[d.id()] = d
	f.list = append(f.list, d)
	f.next[d.timing] = append(f.next[d.timing], d)
}

// follow adds what cascades from what was added.
func (f *forecast) follow(ctx context.Context) error {
	for {
		t := slices.IndexFunc(f.next[:], func(q []*fate) bool { return len(q) > 0 })
		if t < 0 {
			return nil
		}
		d := f.next[t][0]
		f.next[t] = f.next[t][1:]
		if len(f.list) > maxForecast {
			return errBeyond
		}
		var err error
		if d.deps, err = f.look(ctx, d); err != nil {
			return err
		}
		for i := range d.deps {
			dep := &d.deps[i]
			timing := d.timing
			switch dep.OnDelete {
			case resourcev1.OnDelete_CASCADE_DELETE:
			case resourcev1.OnDelete_ASYNC_CASCADE_DELETE:
				timing = max(timing, resourcev1.Consequence_SOON)
			default:
				continue
			}
			if !d.final && !dep.Deleting && !dep.Unsure {
				f.doom(&fate{Object: dep.Object, timing: timing, cause: d, path: dep.Path, local: dep.local})
			}
		}
	}
}

// blocks are the references that refuse the deletion of what was added from
// there on: those of what stays.
func (f *forecast) blocks(from int) []block {
	var out []block
	for _, d := range f.list[from:] {
		for i := range d.deps {
			dep := &d.deps[i]
			if !d.final && dep.OnDelete == resourcev1.OnDelete_BLOCK && !dep.Deleting && !dep.Leaving && f.doomed[dep.id()] == nil {
				out = append(out, block{d, dep})
			}
		}
	}
	return out
}

// collect adds the ownees of what goes, as far as they are collected, and what
// cascades from them.
func (f *forecast) collect(ctx context.Context) error {
	for again := true; again; {
		again = false
		for at := 0; at < len(f.list); at++ {
			for _, dep := range f.list[at].deps {
				if dep.Path != OwnerPath || dep.Deleting || f.doomed[dep.id()] != nil {
					continue
				}
				keep, collected := verdict(dep.Owners, f.gone)
				if len(keep) > 0 || !collected {
					continue
				}
				added, err := f.try(ctx, dep)
				if err != nil {
					return err
				}
				again = again || added
			}
		}
	}
	return nil
}

// try adds an ownee that is collected, unless somebody blocks that.
func (f *forecast) try(ctx context.Context, dep Dependant) (bool, error) {
	var last *fate // of its owners, which was the cause
	for _, o := range dep.Owners {
		if d := f.doomed[o.id()]; last == nil || d.at > last.at {
			last = d
		}
	}
	mark := len(f.list)
	f.doom(&fate{Object: dep.Object, timing: resourcev1.Consequence_COLLECTED, cause: last, path: OwnerPath, local: dep.local})
	if err := f.follow(ctx); err != nil {
		return false, err
	}
	if held := f.blocks(mark); len(held) > 0 {
		f.held[dep.id()] = held
		for _, d := range f.list[mark:] {
			delete(f.doomed, d.id())
		}
		f.list = f.list[:mark]
		return false, nil
	}
	delete(f.held, dep.id())
	return true, nil
}

// gone reports whether an owner is among what goes.
func (f *forecast) gone(o Owner) bool {
	d := f.doomed[o.id()]
	return d != nil && (o.UID == "" || o.UID == d.UID)
}

// verdict says which owner references of an ownee remain when some owners are
// gone, and if none does, whether it is collected: not if it was to live on
// without one of those that went.
func verdict(owners []Owner, gone func(Owner) bool) (keep []Owner, collected bool) {
	collected = len(owners) > 0
	for _, o := range owners {
		if !gone(o) {
			keep = append(keep, o)
		} else if o.Unset {
			collected = false
		}
	}
	return keep, collected && len(keep) == 0
}

// maxBlockers is how many blockers an error names.
const maxBlockers = 20

// refusal is the fault of a deletion that is blocked.
func refusal(blocks []block) error {
	var b strings.Builder
	for i, x := range blocks[:min(len(blocks), maxBlockers)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s by %s (%s)", x.d.Name, x.dep.Name, x.dep.Path)
		if x.dep.Unsure {
			b.WriteString(", whose transaction may be running")
		}
	}
	if more := len(blocks) - maxBlockers; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return &fault.Error{
		Op: "reference.Delete", Name: string(blocks[0].d.Name), Kind: fault.Precondition, Reason: "REFERRED_TO",
		Err: errors.New("still referred to: " + b.String()),
	}
}
