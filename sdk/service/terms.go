package service

import (
	"context"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// terms are what a permission depends on that nothing grants without conditions
// on the fields of the resource. Nil are those of one that does not.
//
// Who has such a permission is asked about again with the resource as it was
// read in the transaction of the call. If it is not one of his, or there is none,
// he is told what everybody else is told, so that he does not learn which.
type terms struct {
	s          *Service
	permission string
	// name is what the permission is asked for on, denied what those are told who
	// do not have it.
	name   resource.Name
	denied error
}

// ask asks whether the caller has a permission on a name, and on what terms. Who
// has none on any terms is refused before anything is read.
func (s *Service) ask(ctx context.Context, permission string, name resource.Name) (*terms, error) {
	err := s.allow(ctx, permission, name)
	if err == nil {
		audit.Of(ctx).Asked(ctx, permission, name, true)
		return nil, nil
	}
	kind := fault.KindOf(err)
	if kind != fault.Denied && kind != fault.Unauthenticated || s.allow(iam.WithAnyResource(ctx), permission, name) != nil {
		audit.Of(ctx).Asked(ctx, permission, name, false)
		return nil, err
	}
	audit.Of(ctx).Asked(ctx, permission, name, true)
	return &terms{s, permission, name, err}, nil
}

// Fields are the fields of an object, for [iam.WithResource]. Secrets are not
// among them: who may not read one could find it out by roles that depend on it.
func Fields(r *schema.Resource, m proto.Message) func(path string) []string {
	return func(path string) []string { return valuesAt(m.ProtoReflect(), path, r.Secrets) }
}

// meet is the denial unless the object, nil for none, is one that the permission
// is for.
func (t *terms) meet(ctx context.Context, r *schema.Resource, m proto.Message) error {
	switch {
	case t == nil:
		return nil
	case m == nil || t.s.allow(iam.WithResource(ctx, Fields(r, m)), t.permission, t.name) != nil:
		audit.Of(ctx).Asked(ctx, t.permission, t.name, false)
		return t.denied
	}
	return nil
}

// read is the fault of a read of an object that came with a fault or nil: that
// there is none is not told to who would be denied it.
func (t *terms) read(ctx context.Context, r *schema.Resource, m proto.Message, err error) error {
	if t == nil || err != nil && fault.KindOf(err) != fault.NotFound {
		return err
	}
	if err != nil {
		m = nil
	}
	return t.meet(ctx, r, m)
}

// stored is read of the object of a name, which the transaction of the context
// reads.
func (t *terms) stored(ctx context.Context, r *schema.Resource, name resource.Name) error {
	if t == nil {
		return nil
	}
	m, err := t.s.store.GetShared(ctx, r, name)
	return t.read(ctx, r, m, err)
}

// left is the denial if the transaction of the context leaves the object of a
// name as one that the permission is not for.
func (t *terms) left(tx context.Context, r *schema.Resource, name resource.Name) error {
	if t == nil {
		return nil
	}
	handle, ok := t.s.store.TxOf(tx)
	if !ok {
		return nil // which writes nothing
	}
	for _, w := range handle.Pending() {
		if w.Resource == r && w.Name == name && w.After != nil {
			if err := t.meet(tx, r, w.After); err != nil {
				return err
			}
		}
	}
	return nil
}

// before is stored in a transaction of its own, for what has none or makes its
// own.
func (t *terms) before(ctx context.Context, r *schema.Resource, name resource.Name) error {
	if t == nil {
		return nil
	}
	return t.s.store.Run(ctx, store.ReadOnly, func(ctx context.Context) error { return t.stored(ctx, r, name) })
}
