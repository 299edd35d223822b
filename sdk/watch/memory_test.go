package watch_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// memory is a store.Driver for tests of time, which a database does not pass in,
// and of the Hub's own speed. It is as slow as it is simple.
type memory struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every commit
	seq     store.Seq
	objects map[id]*object
	changes []store.Change
	trimmed store.Seq
}

// id identifies an object.
type id struct {
	typ  string
	name resource.Name
}

// object is a record with its entries.
type object struct {
	*store.Record
	entries []filter.Entry
}

var _ store.Driver = (*memory)(nil)

// newMemory makes an empty database.
func newMemory() *memory {
	return &memory{changed: make(chan struct{}), objects: map[id]*object{}}
}

// Snapshot implements store.Driver.
func (m *memory) Snapshot(context.Context) (store.Snapshot, store.Seq, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return memorySnapshot(maps.Clone(m.objects)), m.seq, nil
}

// Commit implements store.Driver. Ranges are not checked.
func (m *memory) Commit(_ context.Context, b *store.Batch) (store.Seq, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := &fault.Error{Op: "memory.Commit", Kind: fault.Conflict, Reason: "VERSION_CHANGED"}
	for _, e := range b.Expect {
		if x := m.objects[id{e.Type, e.Name}]; e.Alive == "" && (x == nil && e.Version != 0 || x != nil && x.Version != e.Version) {
			return 0, lost
		}
	}
	for _, w := range b.Writes {
		if x := m.objects[id{w.Type, w.Name}]; (x == nil) != (w.Before == nil) || x != nil && x.Version != w.Before.Version {
			return 0, lost
		}
	}
	for _, w := range b.Writes {
		m.seq++
		c := store.Change{Seq: m.seq, Time: b.Time, Type: w.Type, Name: w.Name, Reason: w.Reason, Info: b.Info}
		var entries []filter.Entry
		if w.Before != nil {
			c.Before, c.BeforeVersion, entries = w.Before.Body, w.Before.Version, m.objects[id{w.Type, w.Name}].entries
			delete(m.objects, id{w.Type, w.Name})
		}
		if w.After != nil {
			same := func(e filter.Entry) func(filter.Entry) bool {
				return func(x filter.Entry) bool {
					return x.Index == e.Index && x.Key == e.Key && bytes.Equal(x.Value, e.Value)
				}
			}
			kept := slices.DeleteFunc(slices.Clone(entries), func(e filter.Entry) bool { return slices.ContainsFunc(w.Drop, same(e)) })
			w.After.Version, c.After = m.seq, w.After.Body
			rec := *w.After
			m.objects[id{w.Type, w.Name}] = &object{&rec, append(kept, w.Add...)}
		}
		if !w.Quiet {
			m.changes = append(m.changes, c)
		}
	}
	if n := len(m.changes); n > 0 {
		m.changes[n-1].Last = true
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return m.seq, nil
}

// Changes implements store.Driver.
func (m *memory) Changes(_ context.Context, after store.Seq, limit int) ([]store.Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if after < m.trimmed {
		return nil, &fault.Error{Op: "memory.Changes", Kind: fault.NotFound, Reason: "CHANGES_EXPIRED", Err: errors.New("trimmed")}
	}
	i, _ := slices.BinarySearchFunc(m.changes, after+1, func(c store.Change, s store.Seq) int { return cmp.Compare(c.Seq, s) })
	return slices.Clone(m.changes[i:min(i+limit, len(m.changes))]), nil
}

// Wait implements store.Driver.
func (m *memory) Wait(ctx context.Context, after store.Seq) error {
	for {
		m.mu.Lock()
		n, changed := len(m.changes), m.changed
		there := n > 0 && m.changes[n-1].Seq > after || after < m.trimmed
		m.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Trim implements store.Driver.
func (m *memory) Trim(_ context.Context, through store.Seq) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trimmed = max(m.trimmed, min(through, m.seq))
	m.changes = slices.DeleteFunc(m.changes, func(c store.Change) bool { return c.Seq <= through })
	return nil
}

// memorySnapshot is a store.Snapshot of a memory.
type memorySnapshot map[id]*object

// Get implements store.Snapshot.
func (s memorySnapshot) Get(_ context.Context, typ string, names []resource.Name) ([]*store.Record, error) {
	out := make([]*store.Record, len(names))
	for i, n := range names {
		if x := s[id{typ, n}]; x != nil {
			out[i] = x.Record
		}
	}
	return out, nil
}

// Scan implements store.Snapshot.
func (s memorySnapshot) Scan(_ context.Context, scan store.Scan, yield func(*store.Record) bool) error {
	var found []*object
	for k, x := range s {
		in := k.typ == scan.Type && k.name >= scan.From && (scan.To == "" || k.name < scan.To)
		if in && !slices.ContainsFunc(scan.Where, func(c filter.Condition) bool { return !x.holds(c) }) {
			found = append(found, x)
		}
	}
	sign := 1
	if scan.Reverse {
		sign = -1
	}
	order := func(a, b *store.Position) int { return sign * comparePositions(scan.Order, a, b) }
	slices.SortFunc(found, func(a, b *object) int { return order(a.at(scan.Order), b.at(scan.Order)) })
	n := 0
	for _, x := range found {
		if scan.After != nil && order(x.at(scan.Order), scan.After) <= 0 {
			continue
		}
		if n++; !yield(x.Record) || n == scan.Limit {
			return nil
		}
	}
	return nil
}

// Count implements store.Snapshot.
func (s memorySnapshot) Count(ctx context.Context, scan store.Scan) (n int64, err error) {
	scan.After, scan.Limit = nil, 0
	err = s.Scan(ctx, scan, func(*store.Record) bool { n++; return true })
	return n, err
}

// Counters implements store.Snapshot.
func (memorySnapshot) Counters(context.Context, string) (map[string]int64, error) { return nil, nil }

// Close implements store.Snapshot.
func (memorySnapshot) Close() error { return nil }

// at is where an object is in an order.
func (x *object) at(order []store.OrderKey) *store.Position {
	p := &store.Position{Name: x.Name}
	for _, k := range order {
		i := slices.IndexFunc(x.entries, func(e filter.Entry) bool { return e.Index == k.Index })
		p.Values = append(p.Values, x.entries[i].Value)
	}
	return p
}

// comparePositions compares two places in an order.
func comparePositions(order []store.OrderKey, a, b *store.Position) int {
	for i, k := range order {
		c := bytes.Compare(a.Values[i], b.Values[i])
		if k.Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return strings.Compare(string(a.Name), string(b.Name))
}

// holds reports whether a condition holds for the entries of an object.
func (x *object) holds(c filter.Condition) bool {
	found := map[string]bool{}
	for _, e := range x.entries {
		if e.Index != c.Index || e.Key != c.Key {
			continue
		}
		found[string(e.Value)] = true
		low := c.From == nil || bytes.Compare(e.Value, c.From) > 0 || !c.FromOpen && bytes.Equal(e.Value, c.From)
		high := c.To == nil || bytes.Compare(e.Value, c.To) < 0 || c.ToClosed && bytes.Equal(e.Value, c.To)
		if c.Op == filter.Range && low && high {
			return true
		}
	}
	has := func(v []byte) bool { return found[string(v)] }
	switch c.Op {
	case filter.In:
		return slices.ContainsFunc(c.Values, has)
	case filter.All:
		return !slices.ContainsFunc(c.Values, func(v []byte) bool { return !has(v) })
	default:
		return false
	}
}
