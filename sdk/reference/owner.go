package reference

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// check looks for the owners of an ownee, and does what follows: those found
// are noted with their uid, those gone are removed, and with the last of them
// the ownee. It says when to look again.
func (c *Controller) check(ctx context.Context, x *schema.Resource, n resource.Name) (time.Time, error) {
	var o *ownee
	err := c.in(ctx, store.Transaction, func(ctx context.Context, v reader) (err error) {
		o = &ownee{Controller: c, v: v, x: x, now: c.o.Now(), gone: map[id]string{}}
		if o.m, err = v.tx.Get(ctx, x, n); err != nil || o.m == nil || deleting(x, o.m) {
			return err
		}
		if err := o.judge(ctx); err != nil {
			return err
		}
		return o.write(ctx)
	})
	c.count(func(s *Stats) { s.Checked++ })
	if fault.KindOf(err) == fault.Precondition {
		return time.Time{}, &errWait{err.Error()}
	}
	if err != nil {
		return time.Time{}, err
	}
	o.done()
	return o.again, o.unknown
}

// ownee is one check of an ownee.
type ownee struct {
	*Controller
	v   reader
	x   *schema.Resource
	m   proto.Message
	now time.Time
	// gone is why, of the owners that are; found is how many got their uid.
	gone  map[id]string
	found int
	// again is when to look again, unknown why an owner could not be asked for.
	again     time.Time
	unknown   error
	dropped   []life
	collected bool
}

// refs are the owner references.
func (o *ownee) refs() []*resourcev1.OwnerReference {
	return metadata(o.x, o.m).GetOwnerReferences()
}

// judge asks for every owner and concludes.
func (o *ownee) judge(ctx context.Context) error {
	answers, err := o.answers(ctx)
	if err != nil {
		return err
	}
	for i, ref := range o.refs() {
		a := answers[i]
		at := id{ref.GetType(), resource.Name(ref.GetName())}
		life := ref.GetUid() == "" || a.Object.UID == "" || a.Object.UID == ref.GetUid()
		switch {
		case a.unknown != nil:
			o.unknown = &errWait{fmt.Sprintf("owner %s: %v", at.name, a.unknown)}
		case a.Found && life:
			err = o.present(ctx, ref, a)
		default:
			o.absent(ref, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// answers are those about the owners, of this store as the transaction reads
// it, of others as they say now.
func (o *ownee) answers(ctx context.Context) ([]Answer, error) {
	self := Ref{Type: o.x.Type, Name: o.x.NameOf(o.m), Region: o.o.Region}
	answers := make([]Answer, len(o.refs()))
	var items []LookupItem
	var at []int
	for i, ref := range o.refs() {
		item := LookupItem{Ref: Ref{Type: ref.GetType(), Name: resource.Name(ref.GetName()), Region: ref.GetRegion()}, Target: self}
		x, ok := o.here(o.v.types, item.Type, item.Name, item.Region)
		if !ok {
			items, at = append(items, item), append(at, i)
			continue
		}
		m, err := o.v.get(ctx, x, item.Name)
		if err != nil {
			return nil, err
		}
		if m != nil {
			answers[i] = Answer{Found: true, Object: o.v.object(x, m), Refers: refers(x, m, item)}
		}
		if uid := answers[i].Object.UID; uid != "" && !deleting(x, m) && (answers[i].Refers || !ref.GetRequiresOwnerReference()) {
			o.v.tx.Alive(x, item.Name, uid) // whatever else becomes of it
		}
	}
	for j, a := range o.lookup(ctx, items) {
		answers[at[j]] = a
	}
	return answers, nil
}

// foreign reports whether an owner is of another store.
func (o *ownee) foreign(ref *resourcev1.OwnerReference) bool {
	_, here := o.here(o.v.types, ref.GetType(), resource.Name(ref.GetName()), ref.GetRegion())
	return !here
}

// present is the conclusion about an owner that is there.
func (o *ownee) present(ctx context.Context, ref *resourcev1.OwnerReference, a Answer) error {
	o.seen(lifeOf(ref))
	if ref.GetRequiresOwnerReference() && !a.Refers {
		if due := ref.GetAttachTime().AsTime().Add(o.o.OwnerTimeout); o.now.Before(due) {
			o.at(due) // its transaction may still be running
		} else {
			o.gone[id{ref.GetType(), resource.Name(ref.GetName())}] = "does not refer to it"
			return nil
		}
	}
	if o.foreign(ref) {
		// The owner's store tells when it goes; from time to time we ask.
		o.at(o.now.Add(o.o.Recheck))
		q := &EstablishRequest{
			To:      o.address(ref.GetType(), resource.Name(ref.GetName()), ref.GetRegion()),
			Source:  Ref{Type: o.x.Type, Name: o.x.NameOf(o.m), Region: o.o.Region},
			Targets: []Target{{Ref: a.Object.Ref, Path: OwnerPath, UID: a.Object.UID}},
		}
		if err := o.peers().Establish(ctx, q); err != nil {
			o.unknown = &errWait{fmt.Sprintf("owner %s: %v", ref.GetName(), err)}
			return nil
		}
	}
	if ref.GetUid() == "" && a.Object.UID != "" {
		ref.Uid = a.Object.UID
		o.found++
	}
	return nil
}

// soon is the first pause before an owner of another store is looked for again;
// each further one is as long as it has been missing.
const soon = 100 * time.Millisecond

// absent is the conclusion about an owner that its store does not have: it is
// gone if it was seen to be deleted, or if that is the second answer of the
// kind, a timeout after the first and after it was attached.
func (o *ownee) absent(ref *resourcev1.OwnerReference, a Answer) {
	at := id{ref.GetType(), resource.Name(ref.GetName())}
	attached := ref.GetAttachTime().AsTime()
	first, again, died := o.missed(lifeOf(ref))
	switch {
	case died:
		o.gone[at] = fmt.Sprintf("is gone (uid %s)", ref.GetUid())
		return
	case attached.After(first):
		first = attached
	}
	if due := first.Add(o.o.OwnerTimeout); !again || o.now.Before(due) {
		o.at(due)
		if pause := max(o.now.Sub(first), soon); o.foreign(ref) && o.now.Add(pause).Before(due) {
			o.at(o.now.Add(pause)) // its transaction may end any moment, and nobody here is told
		}
		return
	}
	o.gone[at] = fmt.Sprintf("has been missing for %s", o.now.Sub(first).Round(time.Second))
	if a.Found {
		o.gone[at] = fmt.Sprintf("is another one now (uid %s, not %s)", a.Object.UID, ref.GetUid())
	}
}

// lifeOf is the owner that a reference names.
func lifeOf(ref *resourcev1.OwnerReference) life {
	return life{id{ref.GetType(), resource.Name(ref.GetName())}, ref.GetUid()}
}

// missed is since when an owner is missing, whether that was known before, and
// whether it was seen to be deleted.
func (o *ownee) missed(l life) (first time.Time, again, died bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := id{o.x.Type, o.x.NameOf(o.m)}
	if first, again = o.missing[at][l]; !again {
		if o.missing[at] == nil {
			o.missing[at] = map[life]time.Time{}
		}
		first = o.now
		o.missing[at][l] = first
	}
	if len(o.awaited) >= maxDied {
		clear(o.awaited)
	}
	o.awaited[l.id] = true
	return first, again, o.died[l.uid]
}

// seen forgets that an owner was missing.
func (o *ownee) seen(l life) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := id{o.x.Type, o.x.NameOf(o.m)}
	delete(o.missing[at], l)
	if len(o.missing[at]) == 0 {
		delete(o.missing, at)
	}
}

// at makes the ownee be looked at again, at that time or before.
func (o *ownee) at(t time.Time) {
	if o.again.IsZero() || t.Before(o.again) {
		o.again = t
	}
}

// write writes the conclusions.
func (o *ownee) write(ctx context.Context) error {
	if len(o.gone) == 0 && o.found == 0 {
		return nil
	}
	md := o.x.MetadataOf(o.m)
	var owners []Owner
	var why []string
	for _, ref := range md.GetOwnerReferences() {
		owners = append(owners, ownerOf(ref))
		if s, ok := o.gone[ownerOf(ref).id()]; ok {
			o.dropped = append(o.dropped, lifeOf(ref))
			why = append(why, fmt.Sprintf("owner %s of %s %s", ref.GetName(), domain(ref.GetType()), s))
		}
	}
	isGone := func(x Owner) bool { _, ok := o.gone[x.id()]; return ok }
	keep, collected := verdict(owners, isGone)
	o.collected = collected
	reason := strings.Join(why, ", ")
	if collected {
		return o.v.tx.Remove(ctx, o.x, o.x.NameOf(o.m), fmt.Sprintf("%s; it was the last of %d", reason, len(owners)))
	}
	if len(why) > 0 {
		reason = fmt.Sprintf("%s; %d remain", reason, len(keep))
	} else {
		reason = "its owners were found"
	}
	md.OwnerReferences = slices.DeleteFunc(md.GetOwnerReferences(), func(ref *resourcev1.OwnerReference) bool { return isGone(ownerOf(ref)) })
	return o.v.tx.Put(ctx, o.m, reason, false)
}

// done counts what was committed.
func (o *ownee) done() {
	if o.m == nil {
		return
	}
	for _, l := range o.dropped {
		o.seen(l)
	}
	o.count(func(s *Stats) {
		s.Confirmed += int64(o.found)
		s.Detached += int64(len(o.gone))
		if o.collected {
			s.Collected++
		}
	})
	if o.collected {
		o.o.Logger.Info("a resource was collected", slog.String("type", o.x.Type), slog.String("name", string(o.x.NameOf(o.m))))
	}
}

// tell looks at the ownees of a resource that changed or went: those here, and
// by their back references those of other stores.
func (c *Controller) tell(ctx context.Context, at id) error {
	x, ok := c.st.Types().Type(at.typ)
	if !ok {
		return nil
	}
	var uid string
	var ownees []id
	told := map[ReleaseRequest][]*resourcev1.BackReference{}
	err := c.in(ctx, store.Consistent, func(ctx context.Context, v reader) error {
		m, err := v.get(ctx, x, at.name)
		if err != nil {
			return err
		}
		if m != nil {
			uid = metadata(x, m).GetUid()
		}
		err = v.ownees(ctx, at, func(x *schema.Resource, m proto.Message) bool {
			ownees = append(ownees, id{x.Type, x.NameOf(m)})
			return true
		})
		if err != nil {
			return err
		}
		return v.records(ctx, at, func(b *resourcev1.BackReference) bool {
			if b.GetOnDelete() != resourcev1.OnDelete_ON_DELETE_UNSPECIFIED {
				return true
			}
			s := source(b)
			q := ReleaseRequest{To: c.address(s.Type, s.Name, s.Region), Target: Ref{Type: at.typ, Name: at.name, Region: c.o.Region}, Owner: true}
			if b.GetTargetUid() != uid {
				q.Gone = b.GetTargetUid()
			}
			told[q] = append(told[q], b)
			return true
		})
	})
	if err != nil {
		return err
	}
	for _, o := range ownees {
		c.now(look, o)
	}
	for q, records := range told {
		if _, err := c.peers().Release(ctx, &q); err != nil {
			return fmt.Errorf("telling %s about %s: %w", q.To, at.name, err)
		}
		for _, b := range records {
			if q.Gone == "" {
				continue
			}
			if err := c.dropRecord(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropRecord removes a back reference unless it was established again.
func (c *Controller) dropRecord(ctx context.Context, b *resourcev1.BackReference) error {
	return c.in(ctx, store.Transaction, func(ctx context.Context, v reader) error {
		x, _ := c.st.Types().Type(recordType)
		m, err := v.get(ctx, x, resource.Name(b.GetName()))
		if err != nil || m == nil || !proto.Equal(m, b) {
			return err
		}
		return v.tx.Remove(ctx, x, resource.Name(b.GetName()), "")
	})
}
