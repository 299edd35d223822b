package storetest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// testCommit creates, replaces and deletes.
func testCommit(t *testing.T, k *kit) {
	require.Nil(t, k.get("a"))
	b := batch(put(nil, "a", "1"), put(nil, "b", ""), put(nil, "c", "3"))
	seq, err := k.Commit(k.ctx, b)
	require.NoError(t, err)
	for i, w := range b.Writes {
		require.Equal(t, seq-store.Seq(2-i), w.After.Version, "the changes of a batch have the numbers up to its own, without gaps")
	}
	require.Equal(t, seq, k.last())
	a := k.get("a")
	require.Equal(t, &store.Record{Type: thing, Name: "a", UID: "uid-a", Version: seq - 2, Body: []byte("1")}, a)
	require.Empty(t, k.get("b").Body)

	next := put(a, "a", "2")
	next.After.Deleting, next.After.UID = true, "another"
	is := k.commit(next)[0]
	require.Equal(t, &store.Record{Type: thing, Name: "a", UID: "another", Version: seq + 1, Deleting: true, Body: []byte("2")}, k.get("a"))
	require.Equal(t, seq+1, is.Version)
	k.commit(remove(is))
	require.Nil(t, k.get("a"))
	require.Equal(t, seq+3, k.create("a", "new").Version, "the number of a deletion is no object's")

	last, err := k.Commit(k.ctx, batch())
	require.NoError(t, err)
	require.Equal(t, k.last(), last, "a batch that makes no change returns the newest one")
}

// testConditions has each condition hold and not hold.
func testConditions(t *testing.T, k *kit) {
	a, b := k.create("a", "1"), k.create("b", "1")
	deleting := put(nil, "d", "1")
	deleting.After.Deleting = true
	d := k.commit(deleting)[0]
	stale := *a
	a = k.commit(put(a, "a", "2"))[0]

	changed := func(b *store.Batch, name string) {
		t.Helper()
		b.Writes = append(b.Writes, put(nil, "x", "never"))
		k.refused(b, fault.Conflict, "VERSION_CHANGED", name)
		require.Nil(t, k.get("x"))
	}
	changed(batch(put(nil, "a", "exists")), "a")
	changed(batch(put(&stale, "a", "stale")), "a")
	changed(batch(remove(&stale)), "a")
	changed(batch(put(&store.Record{Name: "n", Version: a.Version}, "n", "is not there")), "n")

	holds := func(ok bool, e store.Expect) {
		t.Helper()
		e.Type = thing
		b := batch(put(k.get("b"), "b", "again"))
		b.Expect = []store.Expect{{Type: thing, Name: "a", Version: a.Version}, e}
		if !ok {
			changed(b, string(e.Name))
			return
		}
		_, err := k.Commit(k.ctx, b)
		require.NoError(t, err)
	}
	holds(true, store.Expect{Name: "n"})
	holds(false, store.Expect{Name: "a"})
	holds(false, store.Expect{Name: "a", Version: stale.Version})
	holds(false, store.Expect{Name: "n", Version: a.Version})
	holds(true, store.Expect{Name: "a", Alive: a.UID})
	holds(true, store.Expect{Name: "a", Alive: a.UID, Version: stale.Version})
	holds(false, store.Expect{Name: "a", Alive: b.UID})
	holds(false, store.Expect{Name: "n", Alive: a.UID})
	holds(false, store.Expect{Name: "d", Alive: d.UID})
	holds(true, store.Expect{Name: "d", Version: d.Version})
	unknown := batch()
	unknown.Expect = []store.Expect{{Type: "never.selvedge.dev/Seen", Name: "a"}}
	_, err := k.Commit(k.ctx, unknown)
	require.NoError(t, err)
	unknown.Expect[0].Version = 1
	k.refused(unknown, fault.Conflict, "VERSION_CHANGED", "a")
}

// testRanges has scans select what they did, and not.
func testRanges(t *testing.T, k *kit) {
	label := filter.Condition{Index: "labels", Key: "env", Op: filter.In, Values: [][]byte{[]byte("prod")}}
	q := store.Scan{Type: thing, Where: []filter.Condition{label}}
	a := k.create("a", "1", entry("labels", "env", "prod"))
	k.create("b", "1", entry("labels", "env", "test"))
	ranged := func(q store.Scan, d uint64) *store.Batch {
		b := batch()
		b.Ranges = []store.Range{{Scan: q, Digest: d}}
		b.Counts = []store.Count{{Key: "ranged", Delta: 1, Max: -1}}
		return b
	}
	ok := func(b *store.Batch) {
		t.Helper()
		_, err := k.Commit(k.ctx, b)
		require.NoError(t, err)
	}
	d := k.digest(q)
	ok(ranged(q, d))
	k.refused(ranged(q, d+1), fault.Conflict, "RANGE_CHANGED", "")
	k.create("c", "1", entry("labels", "env", "test"))
	ok(ranged(q, d))
	k.create("d", "1", entry("labels", "env", "prod"))
	k.refused(ranged(q, d), fault.Conflict, "RANGE_CHANGED", "")
	d = k.digest(q)
	k.commit(put(a, "a", "2"))
	k.refused(ranged(q, d), fault.Conflict, "RANGE_CHANGED", "")
	nothing := store.Scan{Type: "never.selvedge.dev/Seen"}
	ok(ranged(nothing, 0))
	// A batch is checked before its own writes.
	b := ranged(q, k.digest(q))
	b.Writes = []store.Write{put(nil, "e", "1", entry("labels", "env", "prod"))}
	ok(b)
	require.Equal(t, int64(4), k.counters("")["ranged"])
}

// testClaims takes, keeps and gives up values.
func testClaims(t *testing.T, k *kit) {
	claim := func(scope, value string) []store.Claim {
		return []store.Claim{{Index: "serial", Scope: scope, Value: []byte(value)}}
	}
	with := func(w store.Write, take, release []store.Claim) store.Write {
		w.Claim, w.Release = take, release
		return w
	}
	a := k.commit(with(put(nil, "a", "1"), claim("", "1"), nil))[0]
	k.refused(batch(with(put(nil, "b", "1"), claim("", "1"), nil)), fault.Exists, "ALREADY_TAKEN", "a")
	b := k.commit(with(put(nil, "b", "1"), claim("p", "1"), nil))[0]
	k.commit(with(put(nil, "c", "1"), claim("", "\x001"), nil), with(put(nil, "d", "1"), claim("\x00", "1"), nil))
	w := with(put(nil, "a", "1"), claim("", "1"), nil)
	w.Type = other
	k.commit(w)
	require.Nil(t, k.get("x"), "another type has claims of its own")

	a = k.commit(with(put(a, "a", "2"), claim("", "1"), nil))[0]
	// What one gives up in a batch, another may take in it, in whatever order.
	recs := k.commit(with(put(b, "b", "2"), claim("", "1"), claim("p", "1")), with(put(a, "a", "3"), claim("", "2"), claim("", "1")))
	k.refused(batch(with(put(nil, "e", "1"), claim("", "1"), nil)), fault.Exists, "ALREADY_TAKEN", "b")
	k.refused(batch(with(put(nil, "e", "1"), claim("", "2"), nil)), fault.Exists, "ALREADY_TAKEN", "a")
	// Only the holder gives up.
	c := k.commit(with(put(nil, "f", "1"), nil, claim("", "1")))[0]
	k.refused(batch(with(put(c, "f", "2"), claim("", "1"), nil)), fault.Exists, "ALREADY_TAKEN", "b")
	k.refused(batch(with(put(nil, "g", "1"), claim("", "9"), nil), with(put(nil, "h", "1"), claim("", "9"), nil)), fault.Exists, "ALREADY_TAKEN", "g")
	k.commit(with(remove(recs[0]), nil, claim("", "1")))
	k.commit(with(put(nil, "g", "1"), claim("", "1"), nil))
}

// testCounts adds to counters, and has one at its bound.
func testCounts(t *testing.T, k *kit) {
	counts := func(all ...store.Count) *store.Batch {
		b := batch()
		b.Counts = all
		return b
	}
	ok := func(b *store.Batch) {
		t.Helper()
		_, err := k.Commit(k.ctx, b)
		require.NoError(t, err)
	}
	require.Empty(t, k.counters(""))
	ok(counts(store.Count{Key: "a", Delta: 3, Max: 3}, store.Count{Key: "b", Delta: -2, Max: 0}))
	require.Equal(t, map[string]int64{"a": 3, "b": -2}, k.counters(""))
	k.refused(counts(store.Count{Key: "b", Delta: 1, Max: -1}, store.Count{Key: "a", Delta: 1, Max: 3}), fault.Exhausted, "LIMIT_REACHED", "a")
	require.Equal(t, int64(-2), k.counters("")["b"])
	ok(counts(store.Count{Key: "a", Delta: 7, Max: -1}))
	ok(counts(store.Count{Key: "a", Delta: -1, Max: 3}, store.Count{Key: "b", Delta: 0, Max: -1}))
	k.refused(counts(store.Count{Key: "a", Delta: 1, Max: 3}), fault.Exhausted, "LIMIT_REACHED", "a")
	ok(counts(store.Count{Key: "a", Delta: 4, Max: 9}, store.Count{Key: "a", Delta: -5, Max: 9}))
	require.Equal(t, int64(8), k.counters("a")["a"], "counts of one key are one count")
	ok(counts(store.Count{Key: "a", Delta: -8, Max: -1}, store.Count{Key: "a/b", Delta: 1, Max: 1}, store.Count{Key: "a\xff", Delta: 2, Max: -1}, store.Count{Key: "a\x00", Delta: 3, Max: -1}))
	require.Equal(t, map[string]int64{"a/b": 1, "a\xff": 2, "a\x00": 3}, k.counters("a"), "a counter at 0 is none")
	require.Equal(t, map[string]int64{"a\xff": 2}, k.counters("a\xff"))
	require.Equal(t, map[string]int64{"a/b": 1}, k.counters("a/"))
	require.Empty(t, k.counters("c"))
	require.Len(t, k.counters(""), 4)
}

// testReindex gives objects other entries.
func testReindex(t *testing.T, k *kit) {
	a := k.commit(put(nil, "a", "1", entry("old", "", "x"), entry("both", "", "y")))[0]
	other := k.create("b", "2")
	again := func(before *store.Record, add ...filter.Entry) store.Write {
		after := *before
		return store.Write{Type: thing, Name: before.Name, Before: before, After: &after, Reindex: true, Add: add}
	}
	found := func(index, value string) (names []string) {
		k.view(func(s store.Snapshot, _ store.Seq) {
			for _, rec := range k.scan(s, store.Scan{Type: thing, Where: []filter.Condition{in(index, "", value)}}) {
				names = append(names, string(rec.Name))
			}
		})
		return names
	}
	w := again(a, entry("both", "", "z"), entry("new", "", "x"))
	w.Claim = []store.Claim{{Index: "new", Value: []byte("x")}}
	is := k.commit(w)[0]
	require.Equal(t, a.Version, is.Version, "it is the same object")
	require.Equal(t, a, k.get("a"))
	require.Equal(t, other.Version, k.last(), "it is no change")
	require.Len(t, k.changes(0), 2)
	require.Empty(t, found("old", "x"))
	require.Empty(t, found("both", "y"))
	require.Equal(t, []string{"a"}, found("both", "z"))
	require.Equal(t, []string{"a"}, found("new", "x"))
	w = again(other)
	w.Claim = []store.Claim{{Index: "new", Value: []byte("x")}}
	k.refused(batch(w), fault.Exists, "ALREADY_TAKEN", "a")

	next := k.commit(put(a, "a", "3"))[0]
	require.Greater(t, next.Version, a.Version)
	require.Equal(t, []string{"a"}, found("new", "x"))
	k.refused(batch(again(a)), fault.Conflict, "VERSION_CHANGED", "a")
	_, err := k.Commit(k.ctx, batch(store.Write{Type: thing, Name: "c", After: &store.Record{}, Reindex: true}))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// testQuiet makes writes that nobody is told of.
func testQuiet(t *testing.T, k *kit) {
	quiet := func(w store.Write) store.Write {
		w.Quiet = true
		return w
	}
	first := k.create("a", "1")
	q := k.commit(quiet(put(nil, "q", "1")))[0]
	require.Positive(t, q.Version)
	require.Equal(t, first.Version, k.last(), "a quiet write is no change")
	q2 := k.commit(quiet(put(q, "q", "2")))[0]
	require.NotEqual(t, q.Version, q2.Version, "every write has a version of its own")
	k.refused(batch(quiet(put(q, "q", "3"))), fault.Conflict, "VERSION_CHANGED", "q")
	require.Equal(t, "2", string(k.get("q").Body))

	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	require.ErrorIs(t, k.Wait(ctx, first.Version), context.Canceled, "nobody is woken by one")

	b := batch(quiet(put(q2, "q", "4")), put(nil, "b", "1"), quiet(put(nil, "r", "1")), put(nil, "c", "1"), quiet(put(nil, "s", "1")))
	seq, err := k.Commit(k.ctx, b)
	require.NoError(t, err)
	require.Equal(t, []store.Seq{seq - 1, seq}, []store.Seq{b.Writes[1].After.Version, b.Writes[3].After.Version})
	changes := k.changes(first.Version)
	require.Len(t, changes, 2)
	require.Equal(t, []bool{false, true}, []bool{changes[0].Last, changes[1].Last})
	versions := map[store.Seq]bool{}
	for _, w := range b.Writes {
		require.Greater(t, w.After.Version, q2.Version)
		versions[w.After.Version] = true
	}
	require.Len(t, versions, 5)
}

// testBounds commits what is as large as it may be, and larger.
func testBounds(t *testing.T, k *kit) {
	big := strings.Repeat("x", 4<<20)
	rec := k.create("big", big)
	require.Equal(t, big, string(k.get("big").Body))
	k.commit(put(rec, "big", big[1:]))
	f := func(kind fault.Kind, reason string, b *store.Batch) {
		t.Helper()
		k.refused(b, kind, reason, "")
	}
	f(fault.TooLarge, "BATCH_TOO_LARGE", batch(put(nil, "a", big+"x")))
	f(fault.TooLarge, "BATCH_TOO_LARGE", batch(put(nil, "a", "1", entry("i", "", big))))
	f(fault.Invalid, "BATCH_INVALID", batch(put(nil, "", "1")))
	f(fault.Invalid, "BATCH_INVALID", batch(put(nil, resource.Name(big), "1")))
	f(fault.Invalid, "BATCH_INVALID", batch(put(nil, "a", "1"), put(nil, "a", "2")))
	f(fault.Invalid, "BATCH_INVALID", batch(store.Write{Type: thing, Name: "a"}))
	f(fault.Invalid, "BATCH_INVALID", &store.Batch{})
	f(fault.TooLarge, "BATCH_TOO_LARGE", &store.Batch{ID: newID(), Counts: make([]store.Count, 10_001)})

	// An index's row is as long as it can be.
	name := resource.Name(strings.Repeat("n", 1024))
	value := string(bytes.Repeat([]byte{0xFE}, 1024))
	k.create(name, "1", entry("i", strings.Repeat("k", 500), value))
	require.Equal(t, []string{string(name)}, k.names(store.Scan{Type: thing, Where: []filter.Condition{
		{Index: "i", Key: strings.Repeat("k", 500), Op: filter.In, Values: [][]byte{[]byte(value)}},
	}}))
	// Text of any kind is kept.
	b := batch(put(nil, "odd \x00\xff name", "1"))
	b.Info = store.Info{Principal: "a\x00b", RequestID: "\xff"}
	b.Writes[0].Reason = "\x00"
	_, err := k.Commit(k.ctx, b)
	require.NoError(t, err)
	changes := k.changes(k.last() - 1)
	require.Equal(t, b.Info, changes[0].Info)
	require.Equal(t, "\x00", changes[0].Reason)
	require.Equal(t, b.Writes[0].Name, changes[0].Name)
}

// testContext asks with contexts that ended.
func testContext(t *testing.T, k *kit) {
	k.create("a", "1")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	_, err := k.Commit(ctx, batch(put(nil, "b", "1")))
	if err != nil {
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.Nil(t, k.get("b"), "no error leaves a batch done")
	}
	_, _, err = k.Snapshot(ctx)
	if err != nil {
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
	}
	k.view(func(s store.Snapshot, _ store.Seq) {
		err := s.Scan(ctx, store.Scan{Type: thing}, func(*store.Record) bool { return true })
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
	})
	require.NotNil(t, k.get("a"))
}

// testClose closes the driver while it is used.
func testClose(t *testing.T, k *kit) {
	k.create("a", "1")
	var all sync.WaitGroup
	wait := make(chan error, 1)
	all.Go(func() { wait <- k.Wait(k.ctx, 1<<40) })
	for range 4 {
		all.Go(func() {
			for {
				if _, err := k.Commit(k.ctx, batch(put(nil, resource.Name(newID()), "1"))); err != nil {
					if fault.KindOf(err) != fault.Unavailable {
						t.Errorf("commit: %v", err)
					}
					return
				}
			}
		})
	}
	held, _, err := k.Snapshot(k.ctx)
	require.NoError(t, err)
	closer := k.Driver.(io.Closer)
	require.NoError(t, closer.Close())
	require.NoError(t, closer.Close())
	all.Wait()
	require.Equal(t, fault.Unavailable, fault.KindOf(<-wait))
	_, err = k.Commit(k.ctx, batch())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, _, err = k.Snapshot(k.ctx)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_, err = k.Changes(k.ctx, 0, 1)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, fault.Unavailable, fault.KindOf(k.Trim(k.ctx, 1)))
	require.Equal(t, fault.Unavailable, fault.KindOf(k.Wait(k.ctx, 0)))
	_, err = held.Get(k.ctx, thing, []resource.Name{"a"})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	_ = held.Close()
}
