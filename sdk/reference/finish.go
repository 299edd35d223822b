package reference

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// maxBatch is how many dependants one transaction changes or deletes; maxCycle
// is how many DELETING resources one removes together.
const (
	maxBatch = 100
	maxCycle = 1000
)

// look does what is to be done with a resource.
func (c *Controller) look(ctx context.Context, at id) (time.Time, error) {
	x, ok := c.st.Types().Type(at.typ)
	if !ok {
		return time.Time{}, nil
	}
	m, err := c.read(ctx, x, at.name)
	switch {
	case err != nil:
		return time.Time{}, err
	case m == nil:
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.missing, at)
		return time.Time{}, nil
	case !c.mine(x, m):
		return time.Time{}, nil
	case deleting(x, m):
		return time.Time{}, c.finish(ctx, x, at.name)
	case len(metadata(x, m).GetOwnerReferences()) > 0:
		return c.check(ctx, x, at.name)
	}
	return time.Time{}, nil
}

// read returns an object as it is now, nil if there is none.
func (c *Controller) read(ctx context.Context, x *schema.Resource, n resource.Name) (m proto.Message, err error) {
	err = c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
		m, err = v.tx.Get(ctx, x, n)
		return err
	})
	return m, err
}

// finish lets go of a resource that is DELETING, and removes it when nothing
// refers to it any more.
func (c *Controller) finish(ctx context.Context, x *schema.Resource, n resource.Name) error {
	target := Ref{Type: x.Type, Name: n, Region: c.o.Region}
	_, held, err := c.letGo(ctx, target)
	if err != nil {
		return err
	}
	if held == "" {
		if held, err = c.askToLetGo(ctx, target); err != nil {
			return err
		}
	}
	gone, err := c.removeAll(ctx, target)
	if err != nil || gone {
		return err
	}
	if held == "" {
		held = "what refers to it is not gone yet, or the platform holds it"
	}
	return &errWait{held}
}

// letGo does with the objects of this store that refer to a target what their
// policies say, and returns how many it had to leave, and why one of them.
func (c *Controller) letGo(ctx context.Context, target Ref) (left int, held string, err error) {
	refused, n := map[id]error{}, maxBatch
	for {
		did, rest, err := c.letSome(ctx, target, n, refused)
		switch {
		case fault.KindOf(err) == fault.Precondition && n > 1:
			n = 1 // to find out which of them
		case fault.KindOf(err) == fault.Precondition:
			refused[did[0]] = err
		case err != nil:
			return 0, "", err
		case len(did) == 0:
			for _, d := range rest {
				if held = fmt.Sprintf("%s refers to it (%s)", d.Name, d.Path); !d.Deleting {
					break
				}
			}
			for at, err := range refused {
				held = fmt.Sprintf("%s cannot be deleted: %v", at.name, err)
			}
			return len(rest), held, nil
		}
	}
}

// letSome is letGo for up to n objects, in one transaction. What needs nothing,
// or was refused before, is the rest.
func (c *Controller) letSome(ctx context.Context, target Ref, n int, refused map[id]error) (did []id, rest []Dependant, err error) {
	var unsets, cascades int64
	err = c.in(ctx, store.Transaction, func(ctx context.Context, v reader) error {
		did, rest, unsets, cascades, v.loose = nil, nil, 0, 0, true
		deps, err := v.dependants(ctx, target, want{strong: true, weak: true, here: true, limit: n + len(refused), skip: func(d Dependant) bool {
			return d.Deleting && !weak(d.OnDelete) || d.OnDelete == resourcev1.OnDelete_BLOCK
		}, rest: &rest})
		if err != nil {
			return err
		}
		for i := range deps {
			d := &deps[i]
			if refused[d.id()] != nil {
				rest = append(rest, *d)
				continue
			}
			if len(did) == n {
				break
			}
			did = append(did, d.id())
			if weak(d.OnDelete) {
				unsets++
				err = v.unset(ctx, d.local, target.Name)
			} else {
				cascades++
				err = v.tx.Remove(ctx, d.local.r, d.Name, fmt.Sprintf("%s is deleted, which %s refers to", target.Name, d.Path))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		c.count(func(s *Stats) { s.Unset, s.Cascaded = s.Unset+unsets, s.Cascaded+cascades })
	}
	return did, rest, err
}

// askToLetGo asks the other stores that refer to a target.
func (c *Controller) askToLetGo(ctx context.Context, target Ref) (held string, err error) {
	sources := map[Address]bool{}
	err = c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
		clear(sources)
		return v.records(ctx, target.id(), func(b *resourcev1.BackReference) bool {
			if s := source(b); b.GetOnDelete() != resourcev1.OnDelete_ON_DELETE_UNSPECIFIED {
				sources[c.address(s.Type, s.Name, s.Region)] = true
			}
			return true
		})
	})
	if err != nil {
		return "", err
	}
	for a := range sources {
		reply, err := c.peers().Release(ctx, &ReleaseRequest{To: a, Target: target})
		if err != nil {
			return "", fmt.Errorf("asking %s to let go of %s: %w", a, target.Name, err)
		}
		if reply.Left > 0 {
			held = reply.Held
		}
	}
	return held, nil
}

// removeAll removes a resource that is DELETING, together with what refers to
// it and is DELETING too, since they may refer to each other. The plugin keeps
// those that cannot go yet.
func (c *Controller) removeAll(ctx context.Context, target Ref) (gone bool, err error) {
	var removed int64
	err = c.in(ctx, store.Transaction, func(ctx context.Context, v reader) error {
		v.loose = true
		all, err := v.following(ctx, target)
		if err != nil {
			return err
		}
		for _, at := range all {
			x, _ := c.st.Types().Type(at.Type)
			if err := v.tx.Remove(ctx, x, at.Name, "nothing refers to it any more"); err != nil {
				return err
			}
		}
		removed = int64(len(all))
		return nil
	})
	if err != nil {
		return false, err
	}
	x, _ := c.st.Types().Type(target.Type)
	m, err := c.read(ctx, x, target.Name)
	if gone = m == nil && err == nil; gone {
		c.count(func(s *Stats) { s.Finished += removed })
	}
	return gone, err
}

// following are a target and what refers to it, over and over, as far as it is
// DELETING.
func (v reader) following(ctx context.Context, target Ref) ([]Ref, error) {
	all, seen := []Ref{target}, map[id]bool{target.id(): true}
	for i := 0; i < len(all) && len(all) < maxCycle; i++ {
		deps, err := v.dependants(ctx, all[i], want{strong: true, here: true})
		if err != nil {
			return nil, err
		}
		for _, d := range deps {
			if d.Deleting && !seen[d.id()] {
				seen[d.id()] = true
				all = append(all, d.Ref)
			}
		}
	}
	return all, nil
}
