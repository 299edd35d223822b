package plugins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// Limit is how many resources of a type there may be in each region under a
// scope, "projects/p"; not ok is any number.
type Limit interface {
	Limit(ctx context.Context, scope resource.Name, typ string) (limit int64, ok bool)
}

// Limits counts the resources of each project, type and region in the
// transaction that creates or deletes them, and refuses what is too many
// (Exhausted, LIMIT_REACHED). A limit below what there is refuses no more than
// new ones. What is being deleted still counts.
type Limits struct {
	// Limit is as in [Options].
	Limit Limit
}

var (
	_ store.Plugin    = (*Limits)(nil)
	_ store.Finisher  = (*Limits)(nil)
	_ store.Explainer = (*Limits)(nil)
)

// Prepare implements [store.Plugin]. What a write comes to is seen at the end.
func (l *Limits) Prepare(context.Context, *store.Tx, *store.Pending) error { return nil }

// Finish implements [store.Finisher].
func (l *Limits) Finish(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	before, after := counter(w.Resource, w.Before), counter(w.Resource, w.After)
	if before == after {
		return nil
	}
	if before != "" {
		tx.Count(before, -1, -1)
	}
	if after == "" {
		return nil
	}
	limit := int64(-1)
	if l.Limit != nil && w.Before == nil {
		if n, ok := l.Limit.Limit(ctx, scope(w.Name), w.Resource.Type); ok {
			limit = n
		}
	}
	tx.Count(after, 1, limit)
	return nil
}

// counter is the key of the counter that counts an object; "" if none does.
func counter(r *schema.Resource, m proto.Message) string {
	if m == nil || r.Metadata == nil || r.Options.GetHidden() || scope(r.NameOf(m)) == "" {
		return ""
	}
	return Quota{Scope: scope(r.NameOf(m)), Type: r.Type, Region: r.MetadataOf(m).GetSyncing().GetOwningRegion()}.key()
}

// scope is the project that a name is in, "" for other names and for the
// project itself.
func scope(name resource.Name) resource.Name {
	p := resource.Name("projects/" + name.Project())
	if name.Project() == "" || name == p {
		return ""
	}
	return p
}

// Quota is how much of a limit is used.
type Quota struct {
	// Scope, Type and Region are what is counted.
	Scope        resource.Name
	Type, Region string
	// Used is how many there are, Drift by how much the counter was wrong.
	Used, Drift int64
	// Limit is how many there may be, negative for any number.
	Limit int64
}

// quotas begins the keys of counters.
const quotas = "quota "

// key is the key of the counter. It is shown to who has reached his limit.
func (q Quota) key() string {
	return quotas + string(q.Scope) + " " + q.Type + " " + q.Region
}

// parseQuota reads a key.
func parseQuota(key string) (Quota, bool) {
	rest, ok := strings.CutPrefix(key, quotas)
	p := strings.Split(rest, " ")
	if !ok || len(p) != 3 {
		return Quota{}, false
	}
	return Quota{Scope: resource.Name(p[0]), Type: p[1], Region: p[2]}, true
}

// recountReason is why a recount writes.
const recountReason = "RECOUNT"

// Recount counts what there is under a project, repairs counters that differ,
// and returns what of each limit is used. Others may write meanwhile: both the
// objects and the counters are of one snapshot, and what they differ by is the
// same in every later one. Two recounts at a time do not both repair.
func (l *Limits) Recount(ctx context.Context, st *store.Store, project resource.Name) (out []Quota, err error) {
	err = st.Run(ctx, store.Transaction, func(ctx context.Context) error {
		tx, _ := st.TxOf(ctx)
		lock := &resourcev1.Cursor{Name: "cursors/recount"}
		cursors := st.Types().Of(lock)
		old, err := tx.Get(ctx, cursors, resource.Name(lock.GetName()))
		if err != nil {
			return err
		}
		if c, ok := old.(*resourcev1.Cursor); ok {
			lock = c
		}
		found, err := count(ctx, st, project)
		if err != nil {
			return err
		}
		out = nil
		for _, key := range slices.Sorted(maps.Keys(found)) {
			q := found[key]
			if q.Drift != 0 {
				tx.Count(key, q.Drift, -1)
				lock.Origin = st.NewUID() // so that another recount loses against this one
			}
			q.Limit = -1
			if l.Limit != nil {
				if n, ok := l.Limit.Limit(ctx, q.Scope, q.Type); ok {
					q.Limit = n
				}
			}
			out = append(out, q)
		}
		return tx.Put(ctx, lock, recountReason, true)
	})
	if err != nil {
		return nil, fmt.Errorf("counting the resources of %s: %w", project, err)
	}
	return out, nil
}

// count compares what there is under a project with what is counted, by the key
// of the counter. All of it is of one snapshot.
func count(ctx context.Context, st *store.Store, project resource.Name) (found map[string]Quota, err error) {
	snap, _, err := st.Driver().Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	found = map[string]Quota{}
	add := func(key string, used, drift int64) {
		if q, ok := parseQuota(key); ok {
			q.Used, q.Drift = found[key].Used+used, found[key].Drift+drift
			found[key] = q
		}
	}
	for _, s := range st.Types().Services() {
		for _, r := range s.Resources {
			var failed error
			err := snap.Scan(ctx, store.Scan{Type: r.Type, From: project + "/", To: project + "0"}, func(rec *store.Record) bool {
				m, err := store.Decode(r, rec)
				if failed = err; err == nil {
					add(counter(r, m), 1, 1)
				}
				return err == nil
			})
			if err := errors.Join(err, failed); err != nil {
				return nil, err
			}
		}
	}
	counted, err := snap.Counters(ctx, quotas+string(project)+" ")
	for key, n := range counted {
		add(key, 0, -n)
	}
	return found, err
}

// Explain implements [store.Explainer]: it says to the caller of which type
// there are too many, and where.
func (l *Limits) Explain(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) || f.Reason != "LIMIT_REACHED" {
		return err
	}
	q, ok := parseQuota(f.Name)
	if !ok {
		return err
	}
	return &fault.Error{
		Op: "plugins.Limits", Name: string(q.Scope), Kind: fault.Exhausted, Reason: "LIMIT_REACHED",
		Err: fmt.Errorf("%s has reached its limit of %s in the region %s", q.Scope, q.Type, q.Region),
	}
}
