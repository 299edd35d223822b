// Package memory is a driver of [store.Store] that keeps everything in maps and
// does one thing at a time: the model that transactions are held against, and
// what tests of packages above the store run on. It panics on a batch that no
// store should make.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// Driver is one; make it with New. It is safe for concurrent use.
type Driver struct {
	mu      sync.Mutex
	now     state
	seq     store.Seq
	changes []store.Change
	trimmed store.Seq
	more    chan struct{}
	// Fail, if not nil, is asked before each commit, which its error ends. It
	// must not be changed while the driver is in use.
	Fail func(*store.Batch) error
}

// state is all that there is at one moment; it is copied, not changed.
type state struct {
	objects  map[string]row
	claims   map[string]resource.Name
	counters map[string]int64
}

// row is an object with its entries.
type row struct {
	rec     *store.Record
	entries []filter.Entry
}

var _ store.Driver = (*Driver)(nil)

// New makes an empty one.
func New() *Driver {
	return &Driver{now: state{map[string]row{}, map[string]resource.Name{}, map[string]int64{}}, more: make(chan struct{})}
}

// id is the key of an object.
func id(typ string, name resource.Name) string { return typ + "|" + string(name) }

// Snapshot implements [store.Driver].
func (d *Driver) Snapshot(context.Context) (store.Snapshot, store.Seq, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return snapshot{d.now}, d.seq, nil
}

// Commit implements [store.Driver].
func (d *Driver) Commit(_ context.Context, b *store.Batch) (store.Seq, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Fail != nil {
		if err := d.Fail(b); err != nil {
			return 0, err
		}
	}
	next := state{maps.Clone(d.now.objects), maps.Clone(d.now.claims), maps.Clone(d.now.counters)}
	if err := check(snapshot{d.now}, b); err != nil {
		return 0, err
	}
	seq := d.seq
	var made []store.Change
	for i := range b.Writes {
		w := &b.Writes[i]
		seq++
		c := store.Change{Seq: seq, Time: b.Time, Type: w.Type, Name: w.Name, Reason: w.Reason, Info: b.Info}
		entries := next.objects[id(w.Type, w.Name)].entries
		if w.Before != nil {
			c.Before, c.BeforeVersion = w.Before.Body, w.Before.Version
		}
		for _, e := range w.Drop {
			n := len(entries)
			entries = slices.DeleteFunc(slices.Clone(entries), func(x filter.Entry) bool { return same(x, e) })
			if len(entries) != n-1 {
				panic(fmt.Sprintf("BUG: %s has not the entry %v", w.Name, e))
			}
		}
		for _, e := range w.Add {
			if slices.ContainsFunc(entries, func(x filter.Entry) bool { return same(x, e) }) {
				panic(fmt.Sprintf("BUG: %s has the entry %v already", w.Name, e))
			}
			entries = append(entries, e)
		}
		if w.After == nil {
			delete(next.objects, id(w.Type, w.Name))
			if len(entries) > 0 {
				panic(fmt.Sprintf("BUG: %s is gone but has entries", w.Name))
			}
		} else {
			w.After.Version = seq
			rec := *w.After
			c.After = rec.Body
			next.objects[id(w.Type, w.Name)] = row{&rec, entries}
		}
		if !w.Quiet {
			made = append(made, c)
		}
	}
	for _, release := range []bool{true, false} {
		for _, w := range b.Writes {
			if err := claim(next.claims, w, release); err != nil {
				return 0, err
			}
		}
	}
	for _, c := range b.Counts {
		next.counters[c.Key] += c.Delta
		if next.counters[c.Key] == 0 {
			delete(next.counters, c.Key)
		}
		if c.Max >= 0 && c.Delta > 0 && next.counters[c.Key] > c.Max {
			return 0, &fault.Error{Op: "memory.Commit", Name: c.Key, Kind: fault.Exhausted, Reason: "LIMIT_REACHED"}
		}
	}
	for _, n := range b.Notes {
		seq++
		made = append(made, store.Change{Seq: seq, Time: b.Time, Type: store.NoteType, After: n, Info: b.Info})
	}
	if len(made) > 0 {
		made[len(made)-1].Last = true
	}
	d.now, d.seq, d.changes = next, seq, append(d.changes, made...)
	close(d.more)
	d.more = make(chan struct{})
	return seq, nil
}

// same reports whether two entries are.
func same(a, b filter.Entry) bool {
	return a.Index == b.Index && a.Key == b.Key && bytes.Equal(a.Value, b.Value)
}

// claim releases or takes the claims of a write.
func claim(claims map[string]resource.Name, w store.Write, release bool) error {
	of := func(c store.Claim) string { return fmt.Sprintf("%s|%s|%s|%x", w.Type, c.Index, c.Scope, c.Value) }
	if release {
		for _, c := range w.Release {
			delete(claims, of(c))
		}
		return nil
	}
	for _, c := range w.Claim {
		if holder, taken := claims[of(c)]; taken {
			return &fault.Error{Op: "memory.Commit", Name: string(holder), Kind: fault.Exists, Reason: "ALREADY_TAKEN"}
		}
		claims[of(c)] = w.Name
	}
	return nil
}

// check checks the conditions of a batch.
func check(s snapshot, b *store.Batch) error {
	lost := func(reason string, name resource.Name) error {
		return &fault.Error{Op: "memory.Commit", Name: string(name), Kind: fault.Conflict, Reason: reason}
	}
	version := func(typ string, name resource.Name) store.Seq {
		if x, ok := s.objects[id(typ, name)]; ok {
			return x.rec.Version
		}
		return 0
	}
	for _, w := range b.Writes {
		var want store.Seq
		if w.Before != nil {
			want = w.Before.Version
		}
		if version(w.Type, w.Name) != want {
			return lost("VERSION_CHANGED", w.Name)
		}
	}
	for _, e := range b.Expect {
		x := s.objects[id(e.Type, e.Name)].rec
		if e.Alive == "" && version(e.Type, e.Name) != e.Version || e.Alive != "" && (x == nil || x.UID != e.Alive || x.Deleting) {
			return lost("VERSION_CHANGED", e.Name)
		}
	}
	for _, r := range b.Ranges {
		var digest uint64
		for _, rec := range s.selected(r.Scan) {
			digest = store.Digest(digest, rec)
		}
		if digest != r.Digest {
			return lost("RANGE_CHANGED", "")
		}
	}
	return nil
}

// Changes implements [store.Driver].
func (d *Driver) Changes(_ context.Context, after store.Seq, limit int) ([]store.Change, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if after < d.trimmed {
		return nil, &fault.Error{Op: "memory.Changes", Kind: fault.NotFound, Reason: "CHANGES_EXPIRED"}
	}
	i, _ := slices.BinarySearchFunc(d.changes, after+1, func(c store.Change, s store.Seq) int { return cmp.Compare(c.Seq, s) })
	return slices.Clone(d.changes[i:min(i+limit, len(d.changes))]), nil
}

// Wait implements [store.Driver].
func (d *Driver) Wait(ctx context.Context, after store.Seq) error {
	for {
		d.mu.Lock()
		more, there := d.more, len(d.changes) > 0 && d.changes[len(d.changes)-1].Seq > after || d.trimmed > after
		d.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}

// Trim implements [store.Driver].
func (d *Driver) Trim(_ context.Context, through store.Seq) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trimmed = max(d.trimmed, through)
	d.changes = slices.DeleteFunc(slices.Clone(d.changes), func(c store.Change) bool { return c.Seq <= through })
	return nil
}

// snapshot is a state that is read.
type snapshot struct{ state }

// Get implements [store.Snapshot].
func (s snapshot) Get(_ context.Context, typ string, names []resource.Name) ([]*store.Record, error) {
	out := make([]*store.Record, len(names))
	for i, n := range names {
		out[i] = s.objects[id(typ, n)].rec
	}
	return out, nil
}

// selected are the records that a scan selects.
func (s snapshot) selected(q store.Scan) []*store.Record {
	var rows []row
	for _, x := range s.objects {
		if x.rec.Type != q.Type || x.rec.Name < q.From || q.To != "" && x.rec.Name >= q.To {
			continue
		}
		if slices.ContainsFunc(q.Where, func(c filter.Condition) bool { return !c.Holds(x.entries) }) {
			continue
		}
		rows = append(rows, x)
	}
	value := func(x row, index string) []byte {
		i := slices.IndexFunc(x.entries, func(e filter.Entry) bool { return e.Index == index })
		return x.entries[i].Value
	}
	at := func(x row) store.Position {
		p := store.Position{Name: x.rec.Name}
		for _, k := range q.Order {
			p.Values = append(p.Values, value(x, k.Index))
		}
		return p
	}
	compare := func(a, b store.Position) int {
		c := 0
		for i, k := range q.Order {
			if c = bytes.Compare(a.Values[i], b.Values[i]); c != 0 {
				if k.Desc {
					c = -c
				}
				break
			}
		}
		c = cmp.Or(c, strings.Compare(string(a.Name), string(b.Name)))
		if q.Reverse {
			return -c
		}
		return c
	}
	slices.SortFunc(rows, func(a, b row) int { return compare(at(a), at(b)) })
	var out []*store.Record
	for _, x := range rows {
		if q.After != nil && compare(at(x), *q.After) <= 0 {
			continue
		}
		if q.Limit > 0 && len(out) == q.Limit {
			break
		}
		out = append(out, x.rec)
	}
	return out
}

// Scan implements [store.Snapshot].
func (s snapshot) Scan(_ context.Context, q store.Scan, yield func(*store.Record) bool) error {
	for _, rec := range s.selected(q) {
		if !yield(rec) {
			break
		}
	}
	return nil
}

// Count implements [store.Snapshot].
func (s snapshot) Count(_ context.Context, q store.Scan) (int64, error) {
	q.Limit, q.After, q.Reverse = 0, nil, false
	return int64(len(s.selected(q))), nil
}

// Counters implements [store.Snapshot].
func (s snapshot) Counters(_ context.Context, prefix string) (map[string]int64, error) {
	out := map[string]int64{}
	for k, v := range s.counters {
		if strings.HasPrefix(k, prefix) {
			out[k] = v
		}
	}
	return out, nil
}

// Close implements [store.Snapshot].
func (s snapshot) Close() error { return nil }
