package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// model is what a driver does, in the plainest way: everything is in maps, and
// one thing happens at a time. Batches in it are as the generator makes them.
type model struct {
	objects  map[id]object
	claims   map[string]resource.Name
	counters map[string]int64
	changes  []store.Change
}

// id is whose object.
type id struct {
	typ  string
	name resource.Name
}

// object is an object with its entries and claims.
type object struct {
	*store.Record
	entries []filter.Entry
	claims  []store.Claim
}

// newModel is an empty one.
func newModel() *model {
	return &model{objects: map[id]object{}, claims: map[string]resource.Name{}, counters: map[string]int64{}}
}

// refuses is why the model refuses a batch, "" if it does not.
func (m *model) refuses(b *store.Batch) string {
	version := func(k id) store.Seq {
		if o, ok := m.objects[k]; ok {
			return o.Version
		}
		return 0
	}
	for _, w := range b.Writes {
		if w.Before == nil && version(id{w.Type, w.Name}) != 0 || w.Before != nil && version(id{w.Type, w.Name}) != w.Before.Version {
			return "VERSION_CHANGED"
		}
	}
	for _, e := range b.Expect {
		o, ok := m.objects[id{e.Type, e.Name}]
		if e.Alive != "" && (!ok || o.UID != e.Alive || o.Deleting) || e.Alive == "" && version(id{e.Type, e.Name}) != e.Version {
			return "VERSION_CHANGED"
		}
	}
	for _, r := range b.Ranges {
		if r.Digest != m.digest(r.Scan) {
			return "RANGE_CHANGED"
		}
	}
	after := maps.Clone(m.claims)
	m.claim(after, b)
	for _, w := range b.Writes {
		for _, c := range w.Claim {
			if after[claimText(w.Type, c)] != w.Name {
				return "ALREADY_TAKEN"
			}
		}
	}
	sums := map[string]int64{}
	for _, c := range b.Counts {
		sums[c.Key] += c.Delta
	}
	for _, c := range b.Counts {
		if sums[c.Key] > 0 && c.Max >= 0 && m.counters[c.Key]+sums[c.Key] > c.Max {
			return "LIMIT_REACHED"
		}
	}
	return ""
}

// claim does the claims of a batch, as far as they are free.
func (m *model) claim(claims map[string]resource.Name, b *store.Batch) {
	for _, w := range b.Writes {
		for _, c := range w.Release {
			if claims[claimText(w.Type, c)] == w.Name {
				delete(claims, claimText(w.Type, c))
			}
		}
	}
	for _, w := range b.Writes {
		for _, c := range w.Claim {
			if _, taken := claims[claimText(w.Type, c)]; !taken {
				claims[claimText(w.Type, c)] = w.Name
			}
		}
	}
}

// claimText tells claims apart.
func claimText(typ string, c store.Claim) string {
	return fmt.Sprintf("%q %q %q %q", typ, c.Index, c.Scope, c.Value)
}

// do does a batch that the driver did, whose objects have their versions.
func (m *model) do(b *store.Batch, seq store.Seq) {
	m.claim(m.claims, b)
	for _, c := range b.Counts {
		if m.counters[c.Key] += c.Delta; m.counters[c.Key] == 0 {
			delete(m.counters, c.Key)
		}
	}
	loud, quiet := len(b.Notes), 0
	for _, w := range b.Writes {
		if !w.Quiet {
			loud++
		} else if len(b.Notes) > 0 {
			quiet++ // their numbers are before those of notes
		}
	}
	loud += quiet
	for _, w := range b.Writes {
		k := id{w.Type, w.Name}
		o := object{Record: w.After}
		for _, e := range m.objects[k].entries {
			if !slices.ContainsFunc(w.Drop, func(x filter.Entry) bool { return sameEntry(x, e) }) {
				o.entries = append(o.entries, e)
			}
		}
		o.entries = append(o.entries, w.Add...)
		for _, c := range m.objects[k].claims {
			if !slices.ContainsFunc(w.Release, func(x store.Claim) bool { return claimText("", x) == claimText("", c) }) {
				o.claims = append(o.claims, c)
			}
		}
		o.claims = append(o.claims, w.Claim...)
		if w.After == nil {
			delete(m.objects, k)
		} else {
			m.objects[k] = o
		}
		if w.Quiet {
			continue
		}
		loud--
		c := store.Change{
			Seq: seq - store.Seq(loud), Last: loud == 0, Time: b.Time, Type: w.Type, Name: w.Name, Reason: w.Reason, Info: b.Info,
		}
		if w.Before != nil {
			c.Before, c.BeforeVersion = w.Before.Body, w.Before.Version
		}
		if w.After != nil {
			c.After = w.After.Body
		}
		m.changes = append(m.changes, c)
	}
	loud -= quiet
	for _, n := range b.Notes {
		loud--
		m.changes = append(m.changes, store.Change{
			Seq: seq - store.Seq(loud), Last: loud == 0, Time: b.Time, Type: store.NoteType, After: n, Info: b.Info,
		})
	}
}

// sameEntry reports whether two entries are the same.
func sameEntry(a, b filter.Entry) bool {
	return a.Index == b.Index && a.Key == b.Key && bytes.Equal(a.Value, b.Value)
}

// holds reports whether a condition holds for an object.
func (o object) holds(c filter.Condition) bool {
	var values [][]byte
	for _, e := range o.entries {
		if e.Index == c.Index && e.Key == c.Key {
			values = append(values, e.Value)
		}
	}
	has := func(v []byte) bool {
		return slices.ContainsFunc(values, func(x []byte) bool { return bytes.Equal(x, v) })
	}
	switch c.Op {
	case filter.In:
		return slices.ContainsFunc(c.Values, has)
	case filter.All:
		return !slices.ContainsFunc(c.Values, func(v []byte) bool { return !has(v) })
	}
	return slices.ContainsFunc(values, func(v []byte) bool {
		low, high := 1, -1
		if c.From != nil {
			low = bytes.Compare(v, c.From)
		}
		if c.To != nil {
			high = bytes.Compare(v, c.To)
		}
		return (low > 0 || low == 0 && !c.FromOpen) && (high < 0 || high == 0 && c.ToClosed)
	})
}

// position is the place of an object in an order.
func (o object) position(order []store.OrderKey) *store.Position {
	p := &store.Position{Name: o.Name}
	for _, k := range order {
		i := slices.IndexFunc(o.entries, func(e filter.Entry) bool { return e.Index == k.Index && e.Key == "" })
		p.Values = append(p.Values, o.entries[i].Value)
	}
	return p
}

// compare is the order of a scan.
func compare(q store.Scan, a, b *store.Position) int {
	c := 0
	for i, k := range q.Order {
		if c = bytes.Compare(a.Values[i], b.Values[i]); k.Desc {
			c = -c
		}
		if c != 0 {
			break
		}
	}
	if c = cmp.Or(c, strings.Compare(string(a.Name), string(b.Name))); q.Reverse {
		c = -c
	}
	return c
}

// scan is what a scan selects.
func (m *model) scan(q store.Scan) []object {
	var out []object
	for k, o := range m.objects {
		if k.typ != q.Type || k.name < q.From || q.To != "" && k.name >= q.To ||
			slices.ContainsFunc(q.Where, func(c filter.Condition) bool { return !o.holds(c) }) ||
			q.After != nil && compare(q, o.position(q.Order), q.After) <= 0 {
			continue
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b object) int { return compare(q, a.position(q.Order), b.position(q.Order)) })
	if q.Limit > 0 {
		out = out[:min(q.Limit, len(out))]
	}
	return out
}

// digest is that of what a scan selects.
func (m *model) digest(q store.Scan) (d uint64) {
	for _, o := range m.scan(q) {
		d = store.Digest(d, o.Record)
	}
	return d
}

// kinds are the kinds of the reasons for which a batch is refused.
var kinds = map[string]fault.Kind{
	"VERSION_CHANGED": fault.Conflict, "RANGE_CHANGED": fault.Conflict, "ALREADY_TAKEN": fault.Exists, "LIMIT_REACHED": fault.Exhausted,
}
