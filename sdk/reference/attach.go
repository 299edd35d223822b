package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// maxName bounds a name of a type that is not known here.
const maxName = 1024

// refer checks the references that a write makes: what they point to exists,
// and is not on its way out.
func (r *References) refer(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	foreign := map[Address]*EstablishRequest{}
	for i := range w.Resource.References {
		ref := &w.Resource.References[i]
		before := targets(ref, w.Before)
		for _, s := range targets(ref, w.After) {
			if slices.Contains(before, s) {
				continue
			}
			x, n, err := parse(tx.Types(), ref.Type, s)
			if err != nil {
				return broken(w.Name, ref.Path.String(), err)
			}
			if ref.OnDelete == resourcev1.OnDelete_ALLOW_DANGLING || x != nil && x.Options.GetUnconstrained() {
				continue
			}
			if x, ok := r.here(tx.Types(), ref.Type, n, ""); ok {
				if why, err := alive(ctx, tx, x, n); why != nil || err != nil {
					return errors.Join(broken(w.Name, ref.Path.String(), why), err)
				}
				continue
			}
			a := r.address(ref.Type, n, "")
			q := foreign[a]
			if q == nil {
				q = &EstablishRequest{To: a, Source: Ref{Type: w.Resource.Type, Name: w.Name, Region: r.o.Region}}
				foreign[a] = q
			}
			q.Targets = append(q.Targets, Target{Ref: Ref{Type: ref.Type, Name: n, Region: a.Region}, Path: ref.Path.String(), OnDelete: ref.OnDelete})
		}
	}
	for a, q := range foreign {
		if err := r.peers().Establish(ctx, q); err != nil {
			return fmt.Errorf("referring to %s: %w", a, err)
		}
	}
	return nil
}

// parse reads what refers to a type: the type is nil if it is not known here.
func parse(types *schema.Registry, typ, s string) (*schema.Resource, resource.Name, error) {
	for segment := range strings.SplitSeq(s, "/") {
		if segment == resource.Wildcard || segment == "*" {
			return nil, "", fmt.Errorf("%q is many resources, a reference is to one", s)
		}
	}
	x, ok := types.Type(typ)
	if !ok {
		if len(s) > maxName || s == "" {
			return nil, "", fmt.Errorf("a name has 1 to %d bytes", maxName)
		}
		return nil, resource.Name(s), nil
	}
	n, err := x.Parse(s)
	var bad *fault.Error
	if errors.As(err, &bad) {
		err = fmt.Errorf("%q is no name of a %s: %w", s, x.Singular, bad.Err)
	}
	return x, n, err
}

// alive makes it a condition of the transaction that an object can be referred
// to. It says why not.
func alive(ctx context.Context, tx *store.Tx, x *schema.Resource, n resource.Name) (why, err error) {
	m, err := tx.Get(ctx, x, n)
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return fmt.Errorf("%s does not exist", n), nil
	case deleting(x, m):
		return fmt.Errorf("%s is being deleted", n), nil
	}
	if uid := metadata(x, m).GetUid(); uid != "" {
		tx.Alive(x, n, uid)
	}
	return nil, nil
}

// broken is the fault of a reference that cannot be; nil is none.
func broken(name resource.Name, path string, why error) error {
	if why == nil {
		return nil
	}
	return &fault.Error{
		Op: "reference.Save", Name: string(name), Kind: fault.Invalid, Reason: "BROKEN_REFERENCE", Field: path, Err: fmt.Errorf("%s: %w", path, why),
	}
}

// attach checks the owner references of a write, and notes when each was made.
// Their owners need not exist.
func (r *References) attach(w *store.Pending) error {
	after := metadata(w.Resource, w.After).GetOwnerReferences()
	if len(after) == 0 {
		return nil
	}
	bad := func(err error) error {
		return &fault.Error{Op: "reference.Save", Name: string(w.Name), Kind: fault.Invalid, Reason: "INVALID_OWNER", Field: OwnerPath, Err: err}
	}
	seen, controllers := map[id]bool{}, 0
	for _, o := range after {
		at := id{o.GetType(), resource.Name(o.GetName())}
		service, kind, ok := strings.Cut(o.GetType(), "/")
		switch {
		case !ok || service == "" || kind == "" || len(o.GetType()) > maxName:
			return bad(fmt.Errorf("%q is no type; one is like %q", o.GetType(), w.Resource.Type))
		case o.GetName() == "" || len(o.GetName()) > maxName || slices.Contains(strings.Split(o.GetName(), "/"), resource.Wildcard):
			return bad(fmt.Errorf("%q names no owner", o.GetName()))
		case seen[at]:
			return bad(fmt.Errorf("the owner %s is there twice", at.name))
		case at.typ == w.Resource.Type && at.name == w.Name:
			return bad(errors.New("nothing owns itself"))
		}
		seen[at] = true
		if o.GetController() {
			controllers++
		}
		r.attachOne(o, metadata(w.Resource, w.Before).GetOwnerReferences())
	}
	if controllers > 1 {
		return bad(fmt.Errorf("%d owners are controllers, but one at most is", controllers))
	}
	return nil
}

// attachOne gives an owner reference the time when it was attached, and the uid
// that it was found to have. Only another uid makes it another owner.
func (r *References) attachOne(o *resourcev1.OwnerReference, before []*resourcev1.OwnerReference) {
	now := timestamppb.New(r.o.Now())
	for _, b := range before {
		if b.GetType() != o.GetType() || b.GetName() != o.GetName() || b.GetUid() != "" && o.GetUid() != "" && b.GetUid() != o.GetUid() {
			continue
		}
		if o.Uid == "" {
			o.Uid = b.GetUid()
		}
		if b.GetAttachTime() != nil && (b.GetRequiresOwnerReference() || !o.GetRequiresOwnerReference()) {
			now = b.GetAttachTime() // unless it requires more than it did
		}
	}
	o.AttachTime = now
}
