// Package policy says which MultiRegionPolicy a resource is subject to. The
// types with such a policy are policy holders, such as a project, and what is
// under one of them, by name, follows the policy of the nearest. The holder
// itself does not: like everything that is under none it follows the policy of
// the service, so that where a holder is can be told without knowing it.
//
// Whoever writes resources puts the policy of their names into the context
// ([With]); the store refuses to guess it. Everything here is safe for
// concurrent use.
package policy

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/readcache"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// policyKey finds the policy of a context.
type policyKey struct{}

// With returns a context for writes of resources that follow p.
func With(ctx context.Context, p *resourcev1.MultiRegionPolicy) context.Context {
	return context.WithValue(ctx, policyKey{}, p)
}

// Of is the policy of a context, nil if nobody put one there.
func Of(ctx context.Context) *resourcev1.MultiRegionPolicy {
	p, _ := ctx.Value(policyKey{}).(*resourcev1.MultiRegionPolicy)
	return p
}

// Source reads the policy of a holder; nil if the holder has none. A holder
// that does not exist is a NotFound fault. Policies are asked for before every
// write, so a Source answers from memory: [Local] or [Cached].
type Source func(ctx context.Context, holder *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error)

// Policies know the policy of every name.
type Policies struct {
	service *resourcev1.MultiRegionPolicy
	source  Source
	holders []holder
}

// holder is one form of the names of a policy holder.
type holder struct {
	typ      *schema.Resource
	pattern  resource.Pattern
	segments int
}

// New makes Policies. The holders are the types of the registry that have a
// policy, of every service that is in it; service is the policy of what is
// under none.
func New(types *schema.Registry, service *resourcev1.MultiRegionPolicy, source Source) *Policies {
	p := &Policies{service: service, source: source}
	for _, s := range types.Services() {
		for _, r := range s.Resources {
			if r.Policy == nil {
				continue
			}
			for _, x := range r.Patterns {
				p.holders = append(p.holders, holder{r, x, strings.Count(string(x), "/") + 1})
			}
		}
	}
	return p
}

// Holder is the nearest policy holder that the name is under, false if there is
// none: the resource is global, or itself a holder.
func (p *Policies) Holder(name resource.Name) (*schema.Resource, resource.Name, bool) {
	for n := name.Parent(); n != ""; n = n.Parent() {
		segments := strings.Count(string(n), "/") + 1
		for _, h := range p.holders {
			if h.segments != segments {
				continue
			}
			if _, err := h.pattern.Parse(string(n)); err == nil {
				return h.typ, n, true
			}
		}
	}
	return nil, "", false
}

// Managing is the policy that the holder of a name sets, nil for a global
// resource. A holder that does not exist is a NotFound fault.
func (p *Policies) Managing(ctx context.Context, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
	typ, holder, ok := p.Holder(name)
	if !ok {
		return nil, nil
	}
	m, err := p.source(ctx, typ, holder)
	if err != nil {
		return nil, fmt.Errorf("reading the policy of %s: %w", holder, err)
	}
	return m, nil
}

// For is the policy that a resource follows: Managing, or that of the service.
func (p *Policies) For(ctx context.Context, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
	m, err := p.Managing(ctx, name)
	if m == nil && err == nil {
		m = p.service
	}
	return m, err
}

// Read is the policy in a holder, nil if it has none.
func Read(typ *schema.Resource, m proto.Message) *resourcev1.MultiRegionPolicy {
	r := m.ProtoReflect()
	if !r.Has(typ.Policy) {
		return nil
	}
	p, _ := r.Get(typ.Policy).Message().Interface().(*resourcev1.MultiRegionPolicy)
	return p
}

// Local reads holders that are in a store, by its cache: what it answers is as
// the last commit left it. Inside of a handle it reads by that.
func Local(st *store.Store) Source {
	return func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
		var m proto.Message
		var err error
		if tx, ok := st.TxOf(ctx); ok { // which may be beyond Store.Get
			m, err = tx.Get(ctx, typ, name)
		} else {
			err = st.Run(ctx, store.ReadOnly, func(ctx context.Context) error {
				m, err = st.GetShared(ctx, typ, name)
				return err
			})
		}
		if err == nil && m == nil {
			err = &fault.Error{Op: "policy.Local", Name: string(name), Kind: fault.NotFound}
		}
		if err != nil {
			return nil, err
		}
		return Read(typ, m), nil
	}
}

// Cached keeps the answers for holders of another service. Who watches those
// drops what changes.
type Cached struct {
	cache *readcache.Cache[resource.Name, *resourcev1.MultiRegionPolicy]
	from  Source
}

// NewCached keeps at most size answers of a Source.
func NewCached(size int, from Source) *Cached {
	return &Cached{readcache.New[resource.Name, *resourcev1.MultiRegionPolicy](size, 0), from}
}

// Source is the Source that answers from memory. That there is no such holder
// is not kept, since nobody watches for what is not there.
func (c *Cached) Source(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
	if p, ok, err := c.cache.Get(name); ok && fault.KindOf(err) != fault.NotFound {
		return p, err
	}
	p, err := c.cache.Load(name, func() (*resourcev1.MultiRegionPolicy, error) { return c.from(ctx, typ, name) })
	if fault.KindOf(err) == fault.NotFound {
		c.cache.Drop(name)
	}
	return p, err
}

// Drop forgets the policies of holders that changed.
func (c *Cached) Drop(holders ...resource.Name) { c.cache.Drop(holders...) }
