package sqlstore

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// Keys are what has to be known to check batches.
type Keys struct {
	Objects  []Key
	Claims   [][]byte
	Counters []string
}

// Found is what a database has of keys: what is not there is not in the maps.
type Found struct {
	Head     Head
	Objects  map[Key]*Object
	Claims   map[string]resource.Name // by the term
	Counters map[string]int64
}

// Object is what has to be known of an object to check and replace it.
type Object struct {
	UID      string
	Version  store.Seq
	Deleting bool
	Terms    [][]byte
	// Body is only that of one that is to be written. It is not nil.
	Body []byte
}

// Rows are what is to be written. Each key is in them once, and they are in the
// order of their keys.
type Rows struct {
	// Objects come to be; they may be there already.
	Objects []ObjectRow
	// Removed are no more.
	Removed []Key
	// Add come to be, none of which is there; Drop are no more.
	Add, Drop []EntryRow
	// Claims are whose they are from now on, "" nobody's.
	Claims []ClaimRow
	// Counters have these values from now on, which for none is 0.
	Counters []CounterRow
	// Changes are new, in their order.
	Changes []ChangeRow
}

// ObjectRow is a row of the table object.
type ObjectRow struct {
	Key
	*Object
	// Stored is whether the database has the row already.
	Stored bool
}

// EntryRow is a row of the table entry.
type EntryRow struct {
	Term []byte
	Name resource.Name
}

// ClaimRow is a row of the table claim.
type ClaimRow struct {
	Term   []byte
	Holder resource.Name
}

// CounterRow is a row of the table counter.
type CounterRow struct {
	Key   string
	Value int64
}

// ChangeRow is a row of the table change.
type ChangeRow struct {
	Seq           store.Seq
	Time          time.Time
	Last          bool
	Kind          int64
	Name          resource.Name
	Before, After []byte // nil is no object
	BeforeVersion store.Seq
	Reason        string
	Info          store.Info
}

// entryKey is the key of a row of the table entry.
type entryKey struct {
	term string
	name resource.Name
}

// compare is the order of the table.
func (k entryKey) compare(o entryKey) int {
	return cmp.Or(strings.Compare(k.term, o.term), strings.Compare(string(k.name), string(o.name)))
}

// state is the database as it is for the next batch of a group: what was found
// with what the batches so far did.
type state struct {
	Found
	syms *Symbols
	// stored are the objects that the database has.
	stored map[Key]bool
	// entries, objects, claims, counters and changes are what is not written
	// yet; of an entry, whether it comes to be.
	entries  map[entryKey]bool
	objects  map[Key]bool
	claims   map[string]bool
	counters map[string]bool
	changes  []ChangeRow
	// made are all changes of the group.
	made []store.Change
	// dirty is whether anything was done at all.
	dirty bool
}

// newState is the state of a database in which that was found.
func newState(found Found, syms *Symbols) *state {
	s := &state{Found: found, syms: syms, stored: make(map[Key]bool, len(found.Objects))}
	for k := range found.Objects {
		s.stored[k] = true
	}
	s.clear()
	return s
}

// clear forgets what was to be written.
func (s *state) clear() {
	s.entries, s.objects = map[entryKey]bool{}, map[Key]bool{}
	s.claims, s.counters, s.changes = map[string]bool{}, map[string]bool{}, nil
}

// do does a batch that was checked. It returns the versions of what it writes
// and the Seq of its last change.
func (s *state) do(b *store.Batch) ([]store.Seq, store.Seq) {
	versions := make([]store.Seq, len(b.Writes))
	for _, quiet := range []bool{false, true} {
		for i := range b.Writes {
			if w := &b.Writes[i]; w.Quiet == quiet {
				versions[i] = s.write(b, w)
			}
		}
	}
	for _, n := range b.Notes {
		s.note(b, n)
	}
	for i := range b.Writes {
		s.release(&b.Writes[i])
	}
	for i := range b.Writes {
		s.claim(&b.Writes[i])
	}
	for key, delta := range deltas(b) {
		if delta != 0 {
			s.Counters[key] += delta
			s.counters[key], s.dirty = true, true
		}
	}
	s.end()
	return versions, s.Head.Change
}

// end notes the changes of a batch, which is done.
func (s *state) end() {
	n := len(s.changes)
	if n == 0 || s.changes[n-1].Last {
		return
	}
	s.changes[n-1].Last = true
	first := n - 1
	for first > 0 && !s.changes[first-1].Last {
		first--
	}
	for _, c := range s.changes[first:] {
		typ, _ := s.syms.Type(c.Kind)
		s.made = append(s.made, store.Change{
			Seq: c.Seq, Time: c.Time.Round(0).UTC(), Last: c.Last, Type: typ, Name: c.Name,
			Before: c.Before, After: c.After, BeforeVersion: c.BeforeVersion, Reason: c.Reason, Info: c.Info,
		})
	}
}

// write does one write, but for its claims, and returns its version.
func (s *state) write(b *store.Batch, w *store.Write) store.Seq {
	kind, _ := s.syms.Kind(w.Type)
	key := Key{kind, w.Name}
	s.objects[key], s.dirty = true, true
	var terms [][]byte
	was := s.Objects[key]
	if was != nil {
		terms = was.Terms
	}
	if w.Reindex {
		next := s.edited(w, nil)
		s.setTerms(w.Name, terms, next)
		s.Objects[key] = &Object{UID: was.UID, Version: was.Version, Deleting: was.Deleting, Terms: next, Body: present(w.After.Body)}
		return was.Version
	}
	s.Head.Seq++
	if w.After == nil {
		s.setTerms(w.Name, terms, nil)
		delete(s.Objects, key)
	} else {
		next := s.edited(w, terms)
		s.setTerms(w.Name, terms, next)
		s.Objects[key] = &Object{UID: w.After.UID, Version: s.Head.Seq, Deleting: w.After.Deleting, Terms: next, Body: present(w.After.Body)}
	}
	if w.Quiet {
		return s.Head.Seq
	}
	c := ChangeRow{Seq: s.Head.Seq, Time: b.Time, Kind: kind, Name: w.Name, Reason: w.Reason, Info: b.Info}
	if w.Before != nil {
		c.Before, c.BeforeVersion = present(w.Before.Body), w.Before.Version
	}
	if w.After != nil {
		c.After = present(w.After.Body)
	}
	s.changes, s.Head.Change = append(s.changes, c), c.Seq
	return c.Seq
}

// note puts a note of a batch into the feed.
func (s *state) note(b *store.Batch, body []byte) {
	kind, _ := s.syms.Kind(store.NoteType)
	s.Head.Seq++
	s.dirty, s.Head.Change = true, s.Head.Seq
	s.changes = append(s.changes, ChangeRow{Seq: s.Head.Seq, Time: b.Time, Kind: kind, After: present(body), Info: b.Info})
}

// present is a body that is not nil, which would be no object.
func present(body []byte) []byte {
	if body == nil {
		return []byte{}
	}
	return body
}

// edited are the terms of an object after a write, sorted.
func (s *state) edited(w *store.Write, terms [][]byte) [][]byte {
	next := make([][]byte, 0, len(terms)+len(w.Add))
	drop := make(map[string]bool, len(w.Drop))
	for _, e := range w.Drop {
		drop[string(s.syms.entry(w.Type, e))] = true
	}
	for _, t := range terms {
		if !drop[string(t)] {
			next = append(next, t)
		}
	}
	for _, e := range w.Add {
		next = append(next, s.syms.entry(w.Type, e))
	}
	slices.SortFunc(next, bytes.Compare)
	return slices.CompactFunc(next, bytes.Equal)
}

// setTerms notes which entries an object gets and loses. Both are sorted.
func (s *state) setTerms(name resource.Name, was, is [][]byte) {
	for len(was) > 0 || len(is) > 0 {
		c := 0
		switch {
		case len(was) == 0:
			c = 1
		case len(is) == 0:
			c = -1
		default:
			c = bytes.Compare(was[0], is[0])
		}
		switch {
		case c < 0:
			s.setEntry(was[0], name, false)
			was = was[1:]
		case c > 0:
			s.setEntry(is[0], name, true)
			is = is[1:]
		default:
			was, is = was[1:], is[1:]
		}
	}
}

// setEntry notes that an object gets or loses an entry. One that it both gets
// and loses in a group is as it was.
func (s *state) setEntry(term []byte, name resource.Name, there bool) {
	k := entryKey{string(term), name}
	if is, ok := s.entries[k]; ok && is != there {
		delete(s.entries, k)
		return
	}
	s.entries[k] = there
}

// release gives up the claims of a write that its object holds.
func (s *state) release(w *store.Write) {
	for _, c := range w.Release {
		if t := s.syms.claim(w.Type, c); t != nil && s.Claims[string(t)] == w.Name {
			delete(s.Claims, string(t))
			s.claims[string(t)] = true
		}
	}
}

// claim takes the claims of a write.
func (s *state) claim(w *store.Write) {
	for _, c := range w.Claim {
		t := string(s.syms.claim(w.Type, c))
		s.Claims[t], s.claims[t] = w.Name, true
	}
}

// deltas are what a batch adds to each counter.
func deltas(b *store.Batch) map[string]int64 {
	if len(b.Counts) == 0 {
		return nil
	}
	out := make(map[string]int64, len(b.Counts))
	for _, c := range b.Counts {
		out[c.Key] += c.Delta
	}
	return out
}

// take is what is not written yet. It is for the caller to write.
func (s *state) take() *Rows {
	r := &Rows{Changes: s.changes}
	for k := range s.objects {
		switch o := s.Objects[k]; {
		case o != nil:
			r.Objects = append(r.Objects, ObjectRow{k, o, s.stored[k]})
			s.stored[k] = true
		case s.stored[k]:
			r.Removed = append(r.Removed, k)
			delete(s.stored, k)
		}
	}
	slices.SortFunc(r.Objects, func(a, b ObjectRow) int { return compareKeys(a.Key, b.Key) })
	slices.SortFunc(r.Removed, compareKeys)
	for _, k := range slices.SortedFunc(maps.Keys(s.entries), entryKey.compare) {
		if e := (EntryRow{[]byte(k.term), k.name}); s.entries[k] {
			r.Add = append(r.Add, e)
		} else {
			r.Drop = append(r.Drop, e)
		}
	}
	for _, t := range slices.Sorted(maps.Keys(s.claims)) {
		r.Claims = append(r.Claims, ClaimRow{[]byte(t), s.Claims[t]})
	}
	for _, k := range slices.Sorted(maps.Keys(s.counters)) {
		r.Counters = append(r.Counters, CounterRow{k, s.Counters[k]})
	}
	s.clear()
	return r
}

// compareKeys is the order of keys.
func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(string(a.Name), string(b.Name)))
}
