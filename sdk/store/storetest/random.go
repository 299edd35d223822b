package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// What random objects are made of: few values, so that they meet, and such that
// encodings confuse.
var (
	someNames  = []resource.Name{"a", "a/b", "a/b/c", "a\x00", "a0", "b", "ä", "\xff", "b/a", "b/a/a"}
	someValues = []string{"", "\x00", "\x00\x01", "\x01", "a", "a\x00", "ab", "b", "\xff", "\xff\xff"}
	someKeys   = []string{"", "k", "k\x00", "k\x00\x01a", "l"}
)

// world draws batches and scans for a model.
type world struct {
	*rapid.T
	*model
	// types are those of this run: what others did is of other types.
	types  []string
	prefix string
}

// one draws one of some values.
func one[V any](w *world, name string, of []V) V { return rapid.SampledFrom(of).Draw(w.T, name) }

// chance draws whether something is that happens once in n times.
func (w *world) chance(name string, n int) bool { return rapid.IntRange(1, n).Draw(w.T, name) == 1 }

// entries draws the entries of an object: one in each of s and n, some in l.
func (w *world) entries() []filter.Entry {
	out := []filter.Entry{
		{Index: "s", Value: []byte(one(w, "s", someValues))},
		{Index: "n", Value: []byte(one(w, "n", someValues[:3]))},
	}
	for range rapid.IntRange(0, 3).Draw(w.T, "labels") {
		e := filter.Entry{Index: "l", Key: one(w, "key", someKeys), Value: []byte(one(w, "value", someValues))}
		if !slices.ContainsFunc(out, func(x filter.Entry) bool { return sameEntry(x, e) }) {
			out = append(out, e)
		}
	}
	return out
}

// write draws a write of an object.
func (w *world) write(k id) store.Write {
	was, there := w.objects[k]
	x := store.Write{Type: k.typ, Name: k.name, Quiet: w.chance("quiet", 4), Reason: one(w, "reason", []string{"", "why"})}
	if there {
		x.Before = was.Record
	}
	if w.chance("stale", 12) {
		x.Before = one(w, "before", []*store.Record{nil, {Version: 1}, {Version: 1 << 40}})
	}
	if x.Before != nil && w.chance("delete", 3) {
		x.Drop, x.Release = was.entries, was.claims
		return x
	}
	x.After = &store.Record{
		Type: k.typ, Name: k.name, UID: one(w, "uid", []string{"u1", "u2"}),
		Deleting: w.chance("deleting", 5), Body: []byte(one(w, "body", someValues)),
	}
	entries := w.entries()
	x.Add, x.Drop = missingFrom(was.entries, entries), missingFrom(entries, was.entries)
	if w.chance("claim", 3) {
		c := store.Claim{Index: "u", Scope: one(w, "scope", someKeys), Value: []byte(one(w, "claimed", someValues[:4]))}
		if !slices.ContainsFunc(was.claims, func(h store.Claim) bool { return claimText("", h) == claimText("", c) }) {
			x.Claim = []store.Claim{c}
		}
	}
	if w.chance("release", 3) {
		x.Release = was.claims
	}
	return x
}

// missingFrom are the entries of all that are not in some.
func missingFrom(some, all []filter.Entry) []filter.Entry {
	var out []filter.Entry
	for _, e := range all {
		if !slices.ContainsFunc(some, func(x filter.Entry) bool { return sameEntry(x, e) }) {
			out = append(out, e)
		}
	}
	return out
}

// batch draws a batch.
func (w *world) batch() *store.Batch {
	b := &store.Batch{ID: newID(), Time: now, Info: store.Info{Principal: "p", RequestID: one(w, "request", someValues)}}
	seen := map[id]bool{}
	for range rapid.IntRange(0, 4).Draw(w.T, "writes") {
		if k := (id{one(w, "type", w.types), one(w, "name", someNames)}); !seen[k] {
			seen[k] = true
			b.Writes = append(b.Writes, w.write(k))
		}
	}
	for range rapid.IntRange(-2, 2).Draw(w.T, "notes") {
		b.Notes = append(b.Notes, []byte(one(w, "note", someValues)))
	}
	if w.chance("expect", 3) {
		k := id{one(w, "type", w.types), one(w, "name", someNames)}
		e := store.Expect{Type: k.typ, Name: k.name}
		if o, ok := w.objects[k]; ok {
			e.Version = o.Version
		}
		if w.chance("alive", 2) {
			e.Alive = one(w, "uid", []string{"u1", "u2"})
		}
		b.Expect = append(b.Expect, e)
	}
	if w.chance("range", 4) {
		q := w.scan()
		b.Ranges = append(b.Ranges, store.Range{Scan: q, Digest: w.digest(q)})
		if w.chance("changed", 6) {
			b.Ranges[0].Digest++
		}
	}
	for range rapid.IntRange(0, 2).Draw(w.T, "counts") {
		b.Counts = append(b.Counts, store.Count{
			Key: w.prefix + one(w, "counter", someKeys), Delta: rapid.Int64Range(-3, 5).Draw(w.T, "delta"), Max: one(w, "max", []int64{-1, -1, 0, 7}),
		})
	}
	return b
}

// condition draws a condition.
func (w *world) condition() filter.Condition {
	c := filter.Condition{Index: one(w, "index", []string{"s", "n", "l", "l", "l", "never"}), Op: one(w, "op", []filter.Op{filter.In, filter.Range, filter.All})}
	if c.Index == "l" {
		c.Key = one(w, "key", someKeys)
	}
	if c.Op == filter.Range {
		if w.chance("from", 2) {
			c.From, c.FromOpen = []byte(one(w, "low", someValues)), w.chance("open", 2)
		}
		if w.chance("to", 2) {
			c.To, c.ToClosed = []byte(one(w, "high", someValues)), w.chance("closed", 2)
		}
		return c
	}
	values := map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(w.T, "values") {
		values[one(w, "value", someValues)] = true
	}
	for _, v := range slices.Sorted(maps.Keys(values)) {
		c.Values = append(c.Values, []byte(v))
	}
	return c
}

// scan draws a scan.
func (w *world) scan() store.Scan {
	q := store.Scan{Type: one(w, "type", w.types), Reverse: w.chance("reverse", 3), Limit: one(w, "limit", []int{0, 0, 1, 3})}
	if w.chance("from", 4) {
		q.From = one(w, "low", someNames)
	}
	if w.chance("to", 4) {
		q.To = one(w, "high", someNames)
	}
	for range rapid.IntRange(0, 3).Draw(w.T, "conditions") {
		q.Where = append(q.Where, w.condition())
	}
	for _, index := range []string{"s", "n"} {
		if w.chance("by", 3) {
			q.Order = append(q.Order, store.OrderKey{Index: index, Desc: w.chance("desc", 2)})
		}
	}
	if len(q.Order) == 2 && w.chance("swap", 2) {
		slices.Reverse(q.Order)
	}
	if w.chance("after", 3) {
		q.After = &store.Position{Name: one(w, "at", someNames)}
		for range q.Order {
			q.After.Values = append(q.After.Values, []byte(one(w, "at", someValues)))
		}
	}
	return q
}

// testModel does random batches, each of which does what the model says, and
// random scans, which select what the model does.
func testModel(t *testing.T, k *kit) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		k := &kit{rt, k.ctx, k.Driver}
		w := &world{T: rt, model: newModel(), prefix: fmt.Sprint("run", run, "/")}
		w.types = []string{fmt.Sprint("test.selvedge.dev/A", run), fmt.Sprint("test.selvedge.dev/B", run)}
		begin := k.last()
		held, at := []store.Snapshot{}, []*model{}
		defer func() {
			for _, s := range held {
				require.NoError(rt, s.Close())
			}
		}()
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			w.commit(k)
			if w.chance("hold", 8) && len(held) < 2 {
				s, _, err := k.Snapshot(k.ctx)
				require.NoError(rt, err)
				held, at = append(held, s), append(at, &model{objects: maps.Clone(w.objects), counters: maps.Clone(w.counters)})
			}
		}
		k.view(func(s store.Snapshot, _ store.Seq) { w.look(k, s, w.model) })
		for i, s := range held {
			w.look(k, s, at[i])
		}
		got := k.changes(begin)
		require.Equal(rt, w.changes, got)
	})
}

// commit commits a random batch.
func (w *world) commit(k *kit) {
	b := w.batch()
	before := k.last()
	reason := w.refuses(b)
	seq, err := k.Commit(k.ctx, b)
	if reason != "" {
		// Which of several reasons is given is the driver's choice.
		require.Error(w.T, err, reason)
		require.Equal(w.T, kinds[fault.ReasonOf(err)], fault.KindOf(err), "%v", err)
		require.Equal(w.T, before, k.last())
		return
	}
	require.NoError(w.T, err)
	w.do(b, seq)
}

// look compares what a snapshot has with a model.
func (w *world) look(k *kit, s store.Snapshot, m *model) {
	for _, typ := range w.types {
		recs, err := s.Get(k.ctx, typ, someNames)
		require.NoError(w.T, err)
		for i, n := range someNames {
			require.Equal(w.T, m.objects[id{typ, n}].Record, filled(recs[i]))
		}
	}
	for range 8 {
		q := w.scan()
		var want []*store.Record
		for _, o := range m.scan(q) {
			want = append(want, o.Record)
		}
		var got []*store.Record
		for _, rec := range k.scan(s, q) {
			got = append(got, filled(rec))
		}
		require.Equal(w.T, want, got, "%+v", q)
		n, err := s.Count(k.ctx, q)
		require.NoError(w.T, err)
		q.Limit, q.After = 0, nil
		require.Equal(w.T, len(m.scan(q)), int(n), "%+v", q)
	}
	c, err := s.Counters(k.ctx, w.prefix)
	require.NoError(w.T, err)
	require.Equal(w.T, m.counters, c)
}

// filled is a record whose body is not nil, which is as good as empty.
func filled(rec *store.Record) *store.Record {
	if rec != nil && rec.Body == nil {
		rec.Body = []byte{}
	}
	return rec
}

// testPages turns pages forwards and backwards while others write: whatever was
// there all the time is seen once, in the order.
func testPages(t *testing.T, k *kit) {
	const still, moving = 60, 20
	var steady []string
	for i := range still {
		name := fmt.Sprintf("still%02d", i)
		steady = append(steady, name)
		k.create(resource.Name(name), name, entry("s", "", fmt.Sprint(i%7)), entry("l", "", "x"))
	}
	slices.SortFunc(steady, func(a, b string) int {
		var i, j int
		_, _ = fmt.Sscanf(a, "still%d", &i)
		_, _ = fmt.Sscanf(b, "still%d", &j)
		return cmp.Or(-cmp.Compare(i%7, j%7), cmp.Compare(a, b))
	})
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- move(k, moving, stop) }()
	for range 10 {
		for _, reverse := range []bool{false, true} {
			q := store.Scan{
				Type: thing, Order: []store.OrderKey{{Index: "s", Desc: true}}, Reverse: reverse, Limit: 7,
				Where: []filter.Condition{in("l", "", "x")},
			}
			var seen []string
			for {
				var page []*store.Record
				k.view(func(s store.Snapshot, _ store.Seq) { page = k.scan(s, q) })
				if len(page) == 0 {
					break
				}
				for _, rec := range page {
					if rec.Name[0] == 's' {
						seen = append(seen, string(rec.Name))
					}
				}
				last := page[len(page)-1]
				q.After = &store.Position{Values: [][]byte{[]byte(sValue(last))}, Name: last.Name}
			}
			if reverse {
				slices.Reverse(seen)
			}
			require.Equal(t, steady, seen)
		}
	}
	close(stop)
	require.NoError(t, <-done)
}

// sValue is the value in the index s of an object of testPages.
func sValue(rec *store.Record) string {
	var i int
	if n, _ := fmt.Sscanf(string(rec.Body), "still%d", &i); n == 0 {
		return string(rec.Body)
	}
	return fmt.Sprint(i % 7)
}

// move creates, moves in the order, and deletes objects until it is stopped.
// Their body is their value in the index s.
func move(k *kit, n int, stop chan struct{}) error {
	have := map[int]*store.Record{}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		name := resource.Name(fmt.Sprint("moving", i%n))
		value := fmt.Sprint(i % 7)
		w := put(have[i%n], name, value, entry("s", "", value), entry("l", "", "x"))
		if was := have[i%n]; was != nil {
			w.Drop = []filter.Entry{entry("s", "", string(was.Body))}
			w.Add = w.Add[:1]
			if i%3 == 0 {
				w = remove(was, w.Drop[0], entry("l", "", "x"))
			}
			if w.After != nil && string(was.Body) == value {
				w.Add, w.Drop = nil, nil
			}
		}
		b := batch(w)
		if _, err := k.Commit(k.ctx, b); err != nil {
			return err
		}
		have[i%n] = b.Writes[0].After
	}
}
