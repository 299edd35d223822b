package reference

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// in runs f in a transaction with a reader.
func (c *Controller) in(ctx context.Context, m store.Mode, f func(ctx context.Context, v reader) error) error {
	return c.st.Run(ctx, m, func(ctx context.Context) error {
		tx, _ := c.st.TxOf(ctx)
		return f(ctx, reader{References: c.References, tx: tx, types: c.st.Types()})
	})
}

// own is the type of a resource that this store must have, since it was asked
// about it. Anything else is no answer about it.
func (c *Controller) own(r Ref) (*schema.Resource, error) {
	x, ok := c.here(c.st.Types(), r.Type, r.Name, r.Region)
	if !ok {
		return nil, &fault.Error{
			Op: "reference.Serve", Name: string(r.Name), Kind: fault.Unavailable, Reason: "WRONG_STORE",
			Err: fmt.Errorf("%s is not a resource of this store", r.Name),
		}
	}
	return x, nil
}

// Establish implements [Peers].
func (c *Controller) Establish(ctx context.Context, q *EstablishRequest) error {
	err := c.in(ctx, store.Transaction, func(ctx context.Context, v reader) error {
		for _, t := range q.Targets {
			x, err := c.own(t.Ref)
			if err != nil {
				return err
			}
			n, why := x.Parse(string(t.Name))
			if why == nil && t.Path != OwnerPath {
				why, err = alive(ctx, v.tx, x, n)
			}
			if err != nil {
				return err
			}
			if why != nil {
				return broken(q.Source.Name, t.Path, why)
			}
			if err := v.tx.Put(ctx, record(q.Source, t, c.o.Now()), "", true); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range q.Targets {
		c.add(c.o.Now().Add(c.o.Grace), task{verify, id{recordType, recordName(q.Source, t)}})
	}
	return nil
}

// record is a back reference.
func record(source Ref, t Target, now time.Time) *resourcev1.BackReference {
	return &resourcev1.BackReference{
		Name: string(recordName(source, t)), TargetType: t.Type, TargetName: string(t.Name),
		SourceType: source.Type, SourceName: string(source.Name), SourceRegion: source.Region,
		Path: t.Path, OnDelete: t.OnDelete, TargetUid: t.UID, EstablishTime: timestamppb.New(now),
	}
}

// recordName is the name of a back reference.
func recordName(source Ref, t Target) resource.Name {
	sum := sha256.Sum256([]byte(strings.Join([]string{t.Type, string(t.Name), source.Type, string(source.Name), source.Region, t.Path}, "\n")))
	return resource.Name("backReferences/" + hex.EncodeToString(sum[:16]))
}

// Lookup implements [Peers].
func (c *Controller) Lookup(ctx context.Context, q *LookupRequest) (*LookupReply, error) {
	reply := &LookupReply{Answers: make([]Answer, len(q.Items))}
	err := c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
		for i, item := range q.Items {
			x, err := c.own(item.Ref)
			if err != nil {
				return err
			}
			m, err := v.get(ctx, x, item.Name)
			if err != nil {
				return err
			}
			if m == nil {
				continue
			}
			if !c.mine(x, m) {
				return &fault.Error{Op: "reference.Lookup", Name: string(item.Name), Kind: fault.Unavailable, Reason: "WRONG_STORE", Err: errors.New("this store has a copy of it")}
			}
			a := Answer{Found: true, Object: v.object(x, m), Refers: refers(x, m, item)}
			if a.Object.Leaving, err = v.leaving(ctx, x, m, map[id]bool{}); err != nil {
				return err
			}
			reply.Answers[i] = a
		}
		return nil
	})
	return reply, err
}

// Dependants implements [Peers].
func (c *Controller) Dependants(ctx context.Context, q *DependantsRequest) (*DependantsReply, error) {
	if _, err := c.own(q.Of); err != nil {
		return nil, err
	}
	reply := &DependantsReply{}
	err := c.in(ctx, store.Consistent, func(ctx context.Context, v reader) (err error) {
		reply.Dependants, err = v.dependants(ctx, q.Of, want{strong: true, weak: true, soft: q.Owners})
		return err
	})
	for i := range reply.Dependants {
		reply.Dependants[i].local = nil
	}
	return reply, err
}

// Release implements [Peers].
func (c *Controller) Release(ctx context.Context, q *ReleaseRequest) (*ReleaseReply, error) {
	if !q.Owner {
		left, held, err := c.letGo(ctx, q.Target)
		return &ReleaseReply{Left: left, Held: held}, err
	}
	c.end(q.Gone)
	err := c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
		return v.ownees(ctx, q.Target.id(), func(x *schema.Resource, m proto.Message) bool {
			c.now(look, id{x.Type, x.NameOf(m)})
			return true
		})
	})
	return &ReleaseReply{}, err
}

// verify asks the source of a back reference, and drops it if the source does
// not refer to the target.
func (c *Controller) verify(ctx context.Context, n resource.Name) (time.Time, error) {
	x, _ := c.st.Types().Type(recordType)
	m, err := c.read(ctx, x, n)
	b, ok := m.(*resourcev1.BackReference)
	if err != nil || !ok {
		return time.Time{}, err
	}
	if c.young(b) {
		return b.GetEstablishTime().AsTime().Add(c.o.Grace), nil
	}
	target := id{b.GetTargetType(), resource.Name(b.GetTargetName())}
	if t, ok := c.st.Types().Type(target.typ); ok && b.GetPath() == OwnerPath {
		m, err := c.read(ctx, t, target.name)
		if err != nil {
			return time.Time{}, err
		}
		if m == nil || metadata(t, m).GetUid() != b.GetTargetUid() {
			c.now(tell, target) // which drops it
			return c.o.Now().Add(c.o.Recheck), nil
		}
	}
	answers, err := c.ask(ctx, []*resourcev1.BackReference{b})
	if err != nil {
		return time.Time{}, err
	}
	if answers[0].Refers {
		return c.o.Now().Add(c.o.Recheck), nil
	}
	c.now(look, target) // may have waited for it
	return time.Time{}, c.dropRecord(ctx, b)
}

// maxPage is how many resources a walk looks at in one transaction.
const maxPage = 200

// walk makes tasks of the resources of a type, from a name on, that are owned or
// DELETING, or are back references.
func (c *Controller) walk(ctx context.Context, from id) error {
	x, ok := c.st.Types().Type(from.typ)
	if !ok {
		return nil
	}
	page := store.Scan{Type: x.Type, From: from.name, Limit: maxPage}
	scans, kind := []store.Scan{page}, verify
	if x.Type != recordType {
		kind = look
		page.Where = []filter.Condition{indexed(x, OwnerPath+".*.name")}
		scans = []store.Scan{page}
		if from.name == "" {
			scans = append(scans, store.Scan{Type: x.Type, Where: []filter.Condition{indexed(x, "metadata.delete_time")}})
		}
	}
	var found []resource.Name
	n := 0
	err := c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
		found, n = nil, 0
		for i, s := range scans {
			err := v.scan(ctx, s, func(x *schema.Resource, m proto.Message) bool {
				if found = append(found, x.NameOf(m)); i == 0 {
					n++
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range found {
		c.now(kind, id{x.Type, name})
	}
	if n == maxPage {
		c.now(walk, id{x.Type, found[n-1] + "\x00"})
	}
	return nil
}

// indexed is the condition that an object has any text, or any time, at a path.
func indexed(x *schema.Resource, path string) filter.Condition {
	i, ok := x.Index(path)
	if !ok {
		panic("BUG: reference: " + x.Type + " has no index of " + path)
	}
	return always(i.Path)
}
