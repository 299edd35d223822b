package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// testSnapshot reads a snapshot while all else changes.
func testSnapshot(t *testing.T, k *kit) {
	a := k.create("a", "1", entry("labels", "env", "prod"))
	k.create("b", "1", entry("labels", "env", "prod"))
	counts := batch()
	counts.Counts = []store.Count{{Key: "n", Delta: 1, Max: -1}}
	_, err := k.Commit(k.ctx, counts)
	require.NoError(t, err)
	label := store.Scan{Type: thing, Where: []filter.Condition{{Index: "labels", Key: "env", Op: filter.In, Values: [][]byte{[]byte("prod")}}}}

	s, seq, err := k.Snapshot(k.ctx)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Equal(t, k.last(), seq)
	look := func(s store.Snapshot) string {
		recs, err := s.Get(k.ctx, thing, []resource.Name{"a", "b", "c"})
		require.NoError(t, err)
		n, err := s.Count(k.ctx, label)
		require.NoError(t, err)
		c, err := s.Counters(k.ctx, "")
		require.NoError(t, err)
		return fmt.Sprint(recs[0], recs[1], recs[2], n, c, len(k.scan(s, label)))
	}
	before := look(s)
	k.commit(put(a, "a", "2"), put(nil, "c", "1", entry("labels", "env", "prod")), remove(k.get("b"), entry("labels", "env", "prod")))
	counts.ID = newID()
	_, err = k.Commit(k.ctx, counts)
	require.NoError(t, err)
	k.create("d", "1", entry("labels", "env", "prod"))
	require.Equal(t, before, look(s), "a snapshot does not move")
	k.view(func(s store.Snapshot, now store.Seq) {
		require.NotEqual(t, before, look(s))
		require.Greater(t, now, seq)
	})
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = s.Get(k.ctx, thing, []resource.Name{"a"})
	require.Error(t, err)
}

// testGet reads objects by their names.
func testGet(t *testing.T, k *kit) {
	k.view(func(s store.Snapshot, seq store.Seq) {
		require.Zero(t, seq)
		recs, err := s.Get(k.ctx, thing, []resource.Name{"a"})
		require.NoError(t, err)
		require.Equal(t, []*store.Record{nil}, recs, "of a type that nobody has seen")
	})
	a, b := k.create("a", "1"), k.create("b", "2")
	w := put(nil, "a", "other")
	w.Type = other
	k.commit(w)
	k.view(func(s store.Snapshot, _ store.Seq) {
		recs, err := s.Get(k.ctx, thing, []resource.Name{"b", "n", "a", "b"})
		require.NoError(t, err)
		require.Equal(t, []*store.Record{b, nil, a, b}, recs)
		recs, err = s.Get(k.ctx, thing, nil)
		require.NoError(t, err)
		require.Empty(t, recs)
	})
}

// in is the condition that an index has one of some values.
func in(index, key string, values ...string) filter.Condition {
	c := filter.Condition{Index: index, Key: key, Op: filter.In}
	for _, v := range values {
		c.Values = append(c.Values, []byte(v))
	}
	return c
}

// all is the condition that an index has all of some values.
func all(index, key string, values ...string) filter.Condition {
	c := in(index, key, values...)
	c.Op = filter.All
	return c
}

// span is a range of an index: "(x" begins behind x, "[x" with it, "]y" ends with
// y, ")y" before it, "" is no bound.
func span(index, from, to string) filter.Condition {
	c := filter.Condition{Index: index, Op: filter.Range}
	if from != "" {
		c.From, c.FromOpen = []byte(from[1:]), from[0] == '('
	}
	if to != "" {
		c.To, c.ToClosed = []byte(to[1:]), to[0] == ']'
	}
	return c
}

// testScan selects by names and conditions.
func testScan(t *testing.T, k *kit) {
	for name, entries := range map[resource.Name][]filter.Entry{
		"p/a":  {entry("l", "env", "prod"), entry("l", "tier", "1"), entry("w", "", "x"), entry("w", "", "y")},
		"p/b":  {entry("l", "env", "prod"), entry("w", "", "y")},
		"p/c":  {entry("l", "env", "test"), entry("l", "tier", "")},
		"q/a":  {entry("l", "env", "prod"), entry("l", "tier", "2"), entry("w", "", "\x00"), entry("w", "", "\xff")},
		"q/a0": {entry("l", "en", "vprod")},
		"qq":   {entry("l", "", "env")},
	} {
		k.create(name, string(name), entries...)
	}
	w := put(nil, "p/a", "other", entry("l", "env", "prod"))
	w.Type = other
	k.commit(w)
	f := func(want []string, from, to resource.Name, where ...filter.Condition) {
		t.Helper()
		q := store.Scan{Type: thing, From: from, To: to, Where: where}
		require.Equal(t, want, k.names(q))
		k.view(func(s store.Snapshot, _ store.Seq) {
			n, err := s.Count(k.ctx, q)
			require.NoError(t, err)
			require.Equal(t, len(want), int(n))
		})
	}
	f([]string{"p/a", "p/b", "p/c", "q/a", "q/a0", "qq"}, "", "")
	f([]string{"p/b", "p/c"}, "p/b", "q/a")
	f([]string{"q/a", "q/a0"}, "q/", "q/\xff")
	f([]string{"q/a"}, "q/a", "q/a\x00")
	f(nil, "x", "")
	f([]string{"p/a", "p/b", "q/a"}, "", "", in("l", "env", "prod"))
	f([]string{"p/b"}, "p/b", "q", in("l", "env", "prod"))
	f([]string{"p/a", "p/b", "p/c", "q/a"}, "", "", in("l", "env", "prod", "test"))
	f([]string{"p/a"}, "", "", in("l", "env", "prod"), in("l", "tier", "1"))
	f([]string{"p/a", "q/a"}, "", "", in("l", "env", "prod", "x"), in("l", "tier", "1", "2"))
	f([]string{"p/c"}, "", "", in("l", "tier", ""))
	f(nil, "", "", in("l", "env"))
	f(nil, "", "", in("never", "", "x"))
	f([]string{"p/a"}, "", "", all("w", "", "x", "y"))
	f([]string{"p/a", "p/b"}, "", "", all("w", "", "y"))
	f([]string{"p/a", "p/b", "p/c", "q/a", "q/a0", "qq"}, "", "", all("never", ""))
	f([]string{"p/a", "p/b", "q/a"}, "", "", span("w", "", ""))
	f([]string{"p/a", "q/a"}, "", "", span("w", "", ")y"))
	f([]string{"p/a", "p/b", "q/a"}, "", "", span("w", "", "]y"))
	f([]string{"q/a"}, "", "", span("w", "(y", ""))
	f([]string{"p/a", "p/b"}, "", "", span("w", "(x", "]y"))
	f([]string{"p/a", "p/b"}, "", "", span("w", "[y", "]y"))
	f(nil, "", "", span("w", "(y", ")y"))
	f(nil, "", "", span("w", "[y", "]x"))
	f([]string{"p/a"}, "", "", span("w", "[x", "]y"), in("l", "tier", "1", "2"))
	f([]string{"qq"}, "", "", in("l", "", "env"))

	q := store.Scan{Type: thing, Limit: 2, Where: []filter.Condition{in("l", "env", "prod", "test")}}
	require.Equal(t, []string{"p/a", "p/b"}, k.names(q))
	k.view(func(s store.Snapshot, _ store.Seq) {
		n := 0
		require.NoError(t, s.Scan(k.ctx, store.Scan{Type: thing}, func(rec *store.Record) bool {
			n++
			require.Equal(t, string(rec.Name), string(rec.Body))
			require.Equal(t, thing, rec.Type)
			require.Equal(t, "uid-"+string(rec.Name), rec.UID)
			require.Positive(t, rec.Version)
			return n < 3
		}))
		require.Equal(t, 3, n)
		require.NoError(t, s.Scan(k.ctx, store.Scan{Type: thing}, func(*store.Record) bool {
			_, err := s.Get(k.ctx, thing, []resource.Name{"p/a"})
			require.Equal(t, fault.Internal, fault.KindOf(err), "what is given the records must not use the snapshot")
			return false
		}))
		for _, bad := range []store.Scan{
			{Type: thing, Limit: -1},
			{Type: thing, After: &store.Position{Values: [][]byte{{1}}, Name: "a"}},
			{Type: thing, Where: []filter.Condition{{Index: "l", Op: filter.All + 1}}},
		} {
			require.Equal(t, fault.Invalid, fault.KindOf(s.Scan(k.ctx, bad, func(*store.Record) bool { return true })))
		}
	})
}

// testScanOrder selects in orders, from positions.
func testScanOrder(t *testing.T, k *kit) {
	for _, x := range [][3]string{{"a", "2", "x"}, {"b", "1", "y"}, {"c", "2", "x"}, {"d", "", "x"}, {"e", "1", "x"}, {"f", "11", "y"}} {
		k.create(resource.Name(x[0]), "", entry("n", "", x[1]), entry("m", "", x[2]))
	}
	f := func(want string, order ...store.OrderKey) {
		t.Helper()
		var sorted []string
		for _, c := range want {
			sorted = append(sorted, string(c))
		}
		backwards := slices.Clone(sorted)
		slices.Reverse(backwards)
		require.Equal(t, sorted, k.names(store.Scan{Type: thing, Order: order}))
		require.Equal(t, backwards, k.names(store.Scan{Type: thing, Order: order, Reverse: true}))
	}
	n, m := store.OrderKey{Index: "n"}, store.OrderKey{Index: "m"}
	nDesc, mDesc := store.OrderKey{Index: "n", Desc: true}, store.OrderKey{Index: "m", Desc: true}
	f("abcdef")
	f("dbefac", n)
	f("acfbed", nDesc)
	f("deacbf", m, n)
	f("acedfb", m, nDesc)
	f("bfdeac", mDesc, n)
}
