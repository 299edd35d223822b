package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// UpgradeOwners writes a new API version of a service of this store into the
// references to its resources as owners, wherever they are. It is the service's
// to do after it was upgraded, and may be repeated.
func (c *Controller) UpgradeOwners(ctx context.Context, service, instead, version string) error {
	q := UpgradeRequest{Service: service, Version: version, Instead: instead}
	if err := c.Upgrade(ctx, &q); err != nil {
		return err
	}
	to := map[Address]bool{}
	x, _ := c.st.Types().Type(recordType)
	err := c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
		return v.scan(ctx, store.Scan{Type: x.Type}, func(_ *schema.Resource, m proto.Message) bool {
			if b, ok := m.(*resourcev1.BackReference); ok && b.GetPath() == OwnerPath && domain(b.GetTargetType()) == service {
				s := source(b)
				to[c.address(s.Type, s.Name, s.Region)] = true
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	for a := range to {
		q.To = a
		if err := c.peers().Upgrade(ctx, &q); err != nil {
			return fmt.Errorf("upgrading owner references in %s: %w", a, err)
		}
	}
	return nil
}

// Upgrade implements [Peers].
func (c *Controller) Upgrade(ctx context.Context, q *UpgradeRequest) error {
	for x := range constrained(c.st.Types()) {
		if x.Metadata == nil {
			continue
		}
		var names []resource.Name
		err := c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
			return v.scan(ctx, store.Scan{Type: x.Type, Where: []filter.Condition{indexed(x, OwnerPath+".*.name")}}, func(_ *schema.Resource, m proto.Message) bool {
				if v.mine(x, m) && q.apply(metadata(x, m)) {
					names = append(names, x.NameOf(m))
				}
				return true
			})
		})
		for batch := range slices.Chunk(names, maxBatch) {
			err = errors.Join(err, c.in(ctx, store.Transaction, func(ctx context.Context, v reader) error { return v.upgrade(ctx, x, batch, q) }))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// upgrade is Upgrade for some objects of a type.
func (v reader) upgrade(ctx context.Context, x *schema.Resource, names []resource.Name, q *UpgradeRequest) error {
	for _, n := range names {
		m, err := v.get(ctx, x, n)
		if err != nil {
			return err
		}
		if m == nil || !q.apply(metadata(x, m)) {
			continue
		}
		if err := v.tx.Put(ctx, m, fmt.Sprintf("%s is %s now", q.Service, q.Version), false); err != nil {
			return err
		}
	}
	return nil
}

// apply changes the owner references that it is about, and reports whether there
// are any.
func (q *UpgradeRequest) apply(md *resourcev1.Metadata) bool {
	hit := false
	for _, o := range md.GetOwnerReferences() {
		if domain(o.GetType()) == q.Service && o.GetVersion() == q.Instead {
			o.Version, hit = q.Version, true
		}
	}
	return hit
}
