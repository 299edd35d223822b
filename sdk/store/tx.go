package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// Tx is a handle: what was read and is to be written. One goroutine at a time
// may use it. Its own methods are for plugins, which read and write by turns:
// they see the snapshot with the pending writes over it.
type Tx struct {
	st   *Store
	mode Mode
	info Info
	now  time.Time
	// snap is what is read, nil in ReadOnly and until the first read of a hasty
	// handle; seq is its last change.
	snap Snapshot
	seq  Seq
	// hasty is whether this is the first try of Run, which takes no snapshot
	// before it must: a transaction that only creates what nobody has needs
	// none.
	hasty bool
	// wrote is whether Save or Delete was called, closed whether it is over.
	wrote, closed bool
	// reading is the objects that were read, found those that a scan brought
	// along. Only what was read by name must stay as it is by itself.
	reading, found map[key]*Record
	// byUser are the objects that others than plugins read.
	byUser map[key]bool
	ranges []Range
	writes map[key]*Pending
	order  []*Pending
	alive  []Expect
	counts []Count
	notes  [][]byte
	// current is the write that is being prepared.
	current *Pending
	// kept is what plugins keep until it is over.
	kept map[any]any
	// last is called when the plugins are done.
	last []func(ctx context.Context) error
}

// key identifies an object.
type key struct {
	typ  string
	name resource.Name
}

// Store is the store of the handle.
func (t *Tx) Store() *Store { return t.st }

// Now is the time of the transaction, the same for all its writes.
func (t *Tx) Now() time.Time {
	if t.now.IsZero() {
		t.now = t.st.o.Now()
	}
	return t.now
}

// Info is who makes the transaction.
func (t *Tx) Info() Info { return t.info }

// Types are the types of the store.
func (t *Tx) Types() *schema.Registry { return t.st.types }

// Keep is what a plugin keeps for the time of the transaction, made when it is
// first asked for. The key is of a type of its own.
func (t *Tx) Keep(key any, make func() any) any {
	v, ok := t.kept[key]
	if !ok {
		if t.kept == nil {
			t.kept = map[any]any{}
		}
		v = make()
		t.kept[key] = v
	}
	return v
}

// Last has f called when the plugins are done with all writes. It may change
// quiet ones in place, but write nothing more.
func (t *Tx) Last(f func(ctx context.Context) error) { t.last = append(t.last, f) }

// Note puts a note into the feed, after the changes of the transaction: see
// [Batch]. A transaction of notes alone is committed too.
func (t *Tx) Note(body []byte) { t.notes = append(t.notes, body) }

// Version is the version of an object that was read, 0 if it was not or there
// is none.
func (t *Tx) Version(r *schema.Resource, name resource.Name) Seq {
	if rec := t.reading[key{r.Type, name}]; rec != nil {
		return rec.Version
	}
	return 0
}

// Seq is the last change that is in the snapshot, 0 before there is one.
func (t *Tx) Seq() Seq { return t.seq }

// Pending are the writes so far, in their order.
func (t *Tx) Pending() []*Pending {
	return slices.DeleteFunc(slices.Clone(t.order), func(w *Pending) bool { return w.Before == nil && w.After == nil })
}

// Close ends the handle. What was not committed is forgotten.
func (t *Tx) Close() {
	if t.closed {
		return
	}
	t.closed = true
	if t.snap != nil {
		if err := t.snap.Close(); err != nil {
			t.st.o.Logger.Warn("a snapshot could not be closed", slog.Any("error", err))
		}
	}
}

// open takes the snapshot of the handle, if it has none.
func (t *Tx) open(ctx context.Context) (err error) {
	if t.snap == nil {
		t.snap, t.seq, err = t.st.driver.Snapshot(ctx)
	}
	return err
}

// view calls f with what is read: the snapshot of the handle, or one of its own.
func (t *Tx) view(ctx context.Context, f func(Snapshot, Seq) error) error {
	if t.mode != ReadOnly {
		if err := t.open(ctx); err != nil {
			return err
		}
		return f(t.snap, t.seq)
	}
	snap, seq, err := t.st.driver.Snapshot(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(snap, seq), snap.Close())
}

// records reads objects of the snapshot, nil where there is none.
func (t *Tx) records(ctx context.Context, r *schema.Resource, names []resource.Name) ([]*Record, error) {
	out := make([]*Record, len(names))
	var missing []resource.Name
	var at []int
	for i, n := range names {
		k := key{r.Type, n}
		rec, ok := t.reading[k]
		if !ok {
			if rec, ok = t.found[k]; ok {
				t.remember(k, rec)
			}
		}
		if ok {
			out[i] = rec
		} else {
			missing, at = append(missing, n), append(at, i)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	err := t.view(ctx, func(s Snapshot, _ Seq) error {
		recs, err := s.Get(ctx, r.Type, missing)
		for i, rec := range recs {
			out[at[i]] = rec
			if t.mode == Transaction {
				t.remember(key{r.Type, missing[i]}, rec)
			}
		}
		return err
	})
	return out, err
}

// presume notes of an object that was not read that there is none.
func (t *Tx) presume(k key) {
	_, read := t.reading[k]
	_, found := t.found[k]
	if !read && !found {
		t.remember(k, nil)
	}
}

// remember notes what was read, nil for nothing.
func (t *Tx) remember(k key, rec *Record) {
	if t.reading == nil {
		t.reading = map[key]*Record{}
	}
	t.reading[k] = rec
}

// Get is the object as it is with the pending writes; nil if there is none. It
// is the caller's own.
func (t *Tx) Get(ctx context.Context, r *schema.Resource, name resource.Name) (proto.Message, error) {
	if w, ok := t.writes[key{r.Type, name}]; ok {
		if w.After == nil {
			return nil, nil
		}
		return proto.Clone(w.After), nil
	}
	recs, err := t.records(ctx, r, []resource.Name{name})
	if err != nil || recs[0] == nil {
		return nil, err
	}
	return Decode(r, recs[0])
}

// Scan calls yield with the objects that the scan selects, until it returns
// false: first those of the pending writes that it selects, by name, unless the
// scan has an After, and then those of the snapshot that are not written, in
// the scan's order, of which there are at most its Limit. That the scan selects
// the same when the transaction is committed becomes a condition of it. What is
// yielded is the caller's own.
func (t *Tx) Scan(ctx context.Context, s Scan, yield func(*schema.Resource, proto.Message) bool) error {
	r, ok := t.st.types.Type(s.Type)
	if !ok {
		panic("BUG: store: a scan of " + s.Type + ", which is not registered")
	}
	if s.After == nil {
		for _, w := range slices.SortedFunc(slices.Values(t.order), func(a, b *Pending) int { return strings.Compare(string(a.Name), string(b.Name)) }) {
			if w.Resource == r && w.After != nil && selects(s, r, w) && !yield(r, proto.Clone(w.After)) {
				return nil
			}
		}
	}
	var failed error
	err := t.scan(ctx, s, func(rec *Record) bool {
		if _, written := t.writes[key{s.Type, rec.Name}]; written {
			return true
		}
		m, err := Decode(r, rec)
		failed = err
		return err == nil && yield(r, m)
	})
	return errors.Join(err, failed)
}

// Look is Scan of what is no condition of the transaction: it may have changed
// when that is committed.
func (t *Tx) Look(ctx context.Context, s Scan, yield func(*schema.Resource, proto.Message) bool) error {
	ranges := t.ranges
	err := t.Scan(ctx, s, yield)
	t.ranges = ranges
	return err
}

// selects reports whether a scan selects what a write makes.
func selects(s Scan, r *schema.Resource, w *Pending) bool {
	if w.Name < s.From || s.To != "" && w.Name >= s.To {
		return false
	}
	entries := filter.Entries(r, w.After.ProtoReflect())
	return !slices.ContainsFunc(s.Where, func(c filter.Condition) bool { return !c.Holds(entries) })
}

// scan scans the snapshot, and makes what it selected a condition.
func (t *Tx) scan(ctx context.Context, s Scan, yield func(*Record) bool) error {
	return t.view(ctx, func(snap Snapshot, _ Seq) error { return t.scanIn(ctx, snap, s, yield) })
}

// scanIn is scan of a given snapshot.
func (t *Tx) scanIn(ctx context.Context, snap Snapshot, s Scan, yield func(*Record) bool) error {
	if t.mode != Transaction {
		return snap.Scan(ctx, s, yield)
	}
	if t.found == nil {
		t.found = map[key]*Record{}
	}
	var digest uint64
	n, stopped := 0, false
	err := snap.Scan(ctx, s, func(rec *Record) bool {
		digest = Digest(digest, rec)
		n++
		t.found[key{s.Type, rec.Name}] = rec
		stopped = !yield(rec)
		return !stopped
	})
	if stopped {
		s.Limit = n // only these were seen
	}
	t.ranges = append(t.ranges, Range{Scan: s, Digest: digest})
	return err
}

// Counters are the counters in the snapshot whose key begins with prefix. They
// are no condition.
func (t *Tx) Counters(ctx context.Context, prefix string) (c map[string]int64, err error) {
	err = t.view(ctx, func(s Snapshot, _ Seq) error {
		c, err = s.Counters(ctx, prefix)
		return err
	})
	return c, err
}

// Alive makes it a condition of the transaction that the object exists with
// this uid and is not being deleted. What else becomes of it does not matter:
// that a plugin read it by Get is no condition any more.
func (t *Tx) Alive(r *schema.Resource, name resource.Name, uid string) {
	e := Expect{Type: r.Type, Name: name, Alive: uid}
	if t.current != nil {
		t.current.alive = append(t.current.alive, e)
	} else {
		t.alive = append(t.alive, e)
	}
}

// Count adds delta to a counter when the transaction is committed, which is
// refused (Exhausted, LIMIT_REACHED) if the counter would grow beyond max;
// negative is no bound.
func (t *Tx) Count(key string, delta, max int64) {
	c := Count{Key: key, Delta: delta, Max: max}
	if t.current != nil {
		t.current.counts = append(t.current.counts, c)
	} else {
		t.counts = append(t.counts, c)
	}
}

// The bounds of a transaction: its writes, with those that plugins add, and how
// often plugins prepare one of them anew.
const (
	maxWrites = 10_000
	maxRounds = 64
)

// Put makes m the object that comes to be: it adds a write or changes a pending
// one. M is the transaction's until it is over.
func (t *Tx) Put(ctx context.Context, m proto.Message, reason string, quiet bool) error {
	r := t.st.types.Of(m)
	w, err := t.pending(ctx, r, r.NameOf(m), reason)
	if err != nil {
		return err
	}
	w.After, w.Quiet, w.prepared = m, quiet, false
	return nil
}

// Remove makes the object not be any more. It is no error if it is not.
func (t *Tx) Remove(ctx context.Context, r *schema.Resource, name resource.Name, reason string) error {
	w, err := t.pending(ctx, r, name, reason)
	if err != nil {
		return err
	}
	w.After, w.prepared = nil, false
	w.Quiet = r.Options.GetHidden()
	return nil
}

// readOnly is the fault of a write by a handle that is one to read, nil for
// other handles.
func (t *Tx) readOnly(name resource.Name) error {
	if t.mode == Transaction {
		return nil
	}
	return &fault.Error{Op: "store.Save", Name: string(name), Kind: fault.Internal, Reason: "READ_ONLY", Err: errors.New("the handle is one to read")}
}

// state is whether an object is there, with the pending writes, and the version
// that it has in the snapshot.
func (t *Tx) state(ctx context.Context, r *schema.Resource, name resource.Name) (is bool, version Seq, err error) {
	if err := t.readOnly(name); err != nil {
		return false, 0, err
	}
	recs, err := t.records(ctx, r, []resource.Name{name})
	if err != nil {
		return false, 0, fmt.Errorf("reading %s: %w", name, err)
	}
	if is = recs[0] != nil; is {
		version = recs[0].Version
	}
	if w, ok := t.writes[key{r.Type, name}]; ok {
		is = w.After != nil
	}
	return is, version, nil
}

// pending is the write of an object, which is made if there is none. What
// somebody asked for has no reason, whatever a plugin says later.
func (t *Tx) pending(ctx context.Context, r *schema.Resource, name resource.Name, reason string) (*Pending, error) {
	if err := t.readOnly(name); err != nil {
		return nil, err
	}
	k := key{r.Type, name}
	if w, ok := t.writes[k]; ok {
		return w, nil
	}
	if len(t.order) == maxWrites {
		return nil, &fault.Error{
			Op: "store.Save", Name: string(name), Kind: fault.Exhausted, Reason: "TOO_MANY_WRITES",
			Err: fmt.Errorf("a transaction writes at most %d resources, with all that follows from it", maxWrites),
		}
	}
	recs, err := t.records(ctx, r, []resource.Name{name})
	if err != nil {
		return nil, err
	}
	w := &Pending{Resource: r, Name: name, Reason: reason, record: recs[0]}
	if w.record == nil {
		w.UID = t.st.o.NewUID()
	} else {
		w.UID = w.record.UID
		if w.Before, err = Decode(r, w.record); err != nil {
			return nil, err
		}
	}
	if t.writes == nil {
		t.writes = map[key]*Pending{}
	}
	t.writes[k] = w
	t.order = append(t.order, w)
	return w, nil
}
