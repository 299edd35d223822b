package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// testChanges reads what was committed.
func testChanges(t *testing.T, k *kit) {
	require.Empty(t, k.changes(0))
	b := batch(put(nil, "a", "1"), put(nil, "b", ""))
	b.Info = store.Info{Principal: "users/u", RequestID: "r"}
	b.Writes[1].Reason = "because"
	first, err := k.Commit(k.ctx, b)
	require.NoError(t, err)
	a, empty := b.Writes[0].After, b.Writes[1].After
	a2 := k.commit(put(a, "a", ""))[0]
	k.commit(remove(empty), remove(a2))

	all := k.changes(0)
	require.Equal(t, []store.Change{
		{Seq: first - 1, Time: now, Type: thing, Name: "a", After: []byte("1"), Info: b.Info},
		{Seq: first, Time: now, Last: true, Type: thing, Name: "b", After: []byte{}, Reason: "because", Info: b.Info},
		{Seq: first + 1, Time: now, Last: true, Type: thing, Name: "a", Before: []byte("1"), After: []byte{}, BeforeVersion: first - 1},
		{Seq: first + 2, Time: now, Type: thing, Name: "b", Before: []byte{}, BeforeVersion: first},
		{Seq: first + 3, Time: now, Last: true, Type: thing, Name: "a", Before: []byte{}, BeforeVersion: first + 1},
	}, all)
	for after := range first + 4 {
		some, err := k.Changes(k.ctx, after, 2)
		require.NoError(t, err)
		from := max(0, int(after-first)+2)
		require.Equal(t, all[from:min(from+2, len(all))], append([]store.Change{}, some...))
	}
}

// testNotes puts notes into the feed: with writes, and alone.
func testNotes(t *testing.T, k *kit) {
	b := batch(put(nil, "a", "1"))
	b.Notes, b.Info = [][]byte{[]byte("one"), {}}, store.Info{Principal: "users/u", RequestID: "r"}
	quiet := put(nil, "q", "1")
	quiet.Quiet = true
	b.Writes = append(b.Writes, quiet)
	last, err := k.Commit(k.ctx, b)
	require.NoError(t, err)
	alone := batch()
	alone.Notes = [][]byte{[]byte("alone")}
	seq, err := k.Commit(k.ctx, alone)
	require.NoError(t, err)
	require.Equal(t, last+1, seq)
	require.Equal(t, []store.Change{
		{Seq: last - 3, Time: now, Type: thing, Name: "a", After: []byte("1"), Info: b.Info},
		{Seq: last - 1, Time: now, Type: store.NoteType, After: []byte("one"), Info: b.Info},
		{Seq: last, Time: now, Last: true, Type: store.NoteType, After: []byte{}, Info: b.Info},
		{Seq: seq, Time: now, Last: true, Type: store.NoteType, After: []byte("alone")},
	}, k.changes(0))
	require.Equal(t, seq, k.last())
	b = batch(put(&store.Record{Version: 1 << 40}, "a", "2"))
	b.Notes = [][]byte{[]byte("refused")}
	_, err = k.Commit(k.ctx, b)
	is(t, err, fault.Conflict, "VERSION_CHANGED")
	require.Len(t, k.changes(0), 4)
}

// testTrim forgets changes.
func testTrim(t *testing.T, k *kit) {
	var seqs []store.Seq
	for i := range 5 {
		seqs = append(seqs, k.create(resource.Name(fmt.Sprint(i)), "1").Version)
	}
	quiet := put(nil, "q", "1")
	quiet.Quiet = true
	k.commit(quiet)
	expired := func(after store.Seq) {
		t.Helper()
		_, err := k.Changes(k.ctx, after, 10)
		is(t, err, fault.NotFound, "CHANGES_EXPIRED")
	}
	require.NoError(t, k.Trim(k.ctx, 0))
	require.Len(t, k.changes(0), 5)
	require.NoError(t, k.Trim(k.ctx, seqs[1]))
	require.NoError(t, k.Trim(k.ctx, seqs[0]), "once more is nothing")
	expired(0)
	expired(seqs[0])
	require.Len(t, k.changes(seqs[1]), 3)
	require.NoError(t, k.Trim(k.ctx, seqs[4]+1000))
	expired(seqs[3])
	require.Empty(t, k.changes(seqs[4]))
	require.Equal(t, seqs[4], k.last())
	require.NotNil(t, k.get("0"), "objects are not forgotten")
	next := k.create("next", "1").Version
	require.Equal(t, next, k.changes(seqs[4])[0].Seq, "what came later is there")
	var many []store.Write
	for i := range 2100 { // more than are forgotten at once
		many = append(many, put(nil, resource.Name(fmt.Sprint("many", i)), ""))
	}
	k.commit(many...)
	require.NoError(t, k.Trim(k.ctx, k.last()-1))
	expired(k.last() - 2)
	require.Len(t, k.changes(k.last()-1), 1)
}

// testWait waits for changes.
func testWait(t *testing.T, k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	require.ErrorIs(t, k.Wait(ctx, k.last()), context.Canceled)
	seq := k.create("a", "1").Version
	require.NoError(t, k.Wait(k.ctx, seq-1))
	done := make(chan error)
	for range 3 {
		go func() { done <- k.Wait(k.ctx, seq) }()
	}
	select {
	case err := <-done:
		require.Fail(t, "woken by nothing", "%v", err)
	case <-time.After(10 * time.Millisecond):
	}
	k.create("b", "1")
	for range 3 {
		require.NoError(t, <-done)
	}
	short, cancel := context.WithTimeout(k.ctx, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, k.Wait(short, k.last()), context.DeadlineExceeded)
}

// RunShared tests two drivers of one database, as two processes have them. Each
// call of open opens another driver of the same one.
func RunShared(t *testing.T, open func(t testing.TB) Open) {
	t.Run("Reads", func(t *testing.T) {
		t.Parallel()
		same := open(t)
		a, b := newKit(t, same(t)), newKit(t, same(t))
		testBoth(t, a, b)
	})
	t.Run("Transfers", func(t *testing.T) {
		t.Parallel()
		same := open(t)
		transfers(t, []*kit{newKit(t, same(t)), newKit(t, same(t))})
	})
	t.Run("Followers", func(t *testing.T) {
		t.Parallel()
		same := open(t)
		followers(t, []*kit{newKit(t, same(t)), newKit(t, same(t))})
	})
	t.Run("Reopened", func(t *testing.T) {
		t.Parallel()
		same := open(t)
		a := newKit(t, same(t))
		rec := a.create("a", "1", entry("labels", "env", "prod"))
		require.NoError(t, a.Driver.(interface{ Close() error }).Close())
		b := newKit(t, same(t))
		require.Equal(t, rec, b.get("a"))
		require.Equal(t, rec.Version, b.last())
		require.Len(t, b.changes(0), 1)
		require.Equal(t, rec.Version+1, b.commit(put(rec, "a", "2"))[0].Version)
	})
}

// testBoth has each of two see what the other did.
func testBoth(t *testing.T, a, b *kit) {
	waited := make(chan error)
	go func() { waited <- b.Wait(b.ctx, 0) }()
	rec := a.create("a", "1", entry("labels", "env", "prod"))
	require.NoError(t, <-waited, "a change of another process wakes")
	require.Equal(t, rec, b.get("a"))
	require.Equal(t, a.changes(0), b.changes(0))
	b.refused(batch(put(nil, "a", "2")), fault.Conflict, "VERSION_CHANGED", "a")
	rec = b.commit(put(rec, "a", "2"))[0]
	require.Equal(t, rec, a.get("a"))

	// Types and indexes that only the other has seen until now.
	w := put(nil, "x", "1", entry("new", "", "v"))
	w.Type = other
	b.commit(w)
	w.Name, w.After = "y", &store.Record{Type: other, Name: "y"}
	a.commit(w)
	for _, k := range []*kit{a, b} {
		require.Equal(t, []string{"x", "y"}, k.names(store.Scan{Type: other, Order: []store.OrderKey{{Index: "new"}}}))
	}
	require.NoError(t, a.Trim(a.ctx, rec.Version))
	_, err := b.Changes(b.ctx, 0, 1)
	is(t, err, fault.NotFound, "CHANGES_EXPIRED")
}

// follow reads all changes up to one as they come.
func follow(k *kit, until func([]store.Change) bool) ([]store.Change, error) {
	var all []store.Change
	var after store.Seq
	for !until(all) {
		if err := k.Wait(k.ctx, after); err != nil {
			return all, err
		}
		some, err := k.Changes(k.ctx, after, 7)
		if err != nil {
			return all, err
		}
		if len(some) == 0 {
			return all, errors.New("woken, but there is no change")
		}
		all, after = append(all, some...), some[len(some)-1].Seq
	}
	return all, nil
}
