package object_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
)

// The kinds of these tests: a thing has a status, a note is sealed.
var (
	thing = &object.Kind{Group: "test.dev", Version: "v1", Name: "Thing", Plural: "things", Status: true}
	note  = &object.Kind{Version: "v1", Name: "Note", Plural: "notes", Sealed: true}
)

// key is a sealing key.
func key(t require.TestingT, seed byte) cipher.AEAD {
	block, err := aes.NewCipher(bytes.Repeat([]byte{seed}, 32))
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	return aead
}

// database is an empty database.
func database(t *testing.T) (*sql.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "objects.db")
	db, err := sqlite.Open(t.Context(), path, object.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db, path
}

// open opens a store of things and notes.
func open(t *testing.T, db *sql.DB, o object.Options) *object.Store {
	t.Helper()
	if o.Seal == nil {
		o.Seal = key(t, 1)
	}
	s, err := object.Open(t.Context(), db, []*object.Kind{thing, note}, o)
	require.NoError(t, err)
	return s
}

// newThing is a thing with owners.
func newThing(name string, owners ...object.Object) object.Object {
	o := thing.New("p", name)
	list := []any{}
	for _, w := range owners {
		list = append(list, map[string]any{"apiVersion": w.APIVersion(), "kind": w.KindName(), "name": w.Name(), "uid": w.UID()})
	}
	if len(list) > 0 {
		o.Set(list, "metadata", "ownerReferences")
	}
	return o
}

func TestStore_Lifecycle(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := open(t, db, object.Options{})
	ctx := t.Context()
	o := newThing("a")
	o.Set("1", "spec", "x")
	o.Set("ignored", "metadata", "uid")
	made, err := s.Create(ctx, o)
	require.NoError(t, err)
	require.NotEqual(t, "ignored", made.UID())
	require.EqualValues(t, 1, made.Generation())
	require.False(t, made.Created().IsZero())
	_, err = s.Create(ctx, o)
	require.Equal(t, fault.Exists, fault.KindOf(err))

	same, err := s.Update(ctx, made)
	require.NoError(t, err)
	require.Equal(t, made.ResourceVersion(), same.ResourceVersion(), "nothing changed")

	next := made.Clone()
	next.Set("2", "spec", "x")
	next.Set("sneaked", "status", "x")
	next, err = s.Update(ctx, next)
	require.NoError(t, err)
	require.EqualValues(t, 2, next.Generation())
	require.Nil(t, next["status"])
	_, err = s.Update(ctx, made)
	require.Equal(t, fault.Conflict, fault.KindOf(err), "an older version")

	st := next.Clone()
	st.Set("y", "status", "x")
	st.Set("3", "spec", "x")
	st, err = s.UpdateStatus(ctx, st)
	require.NoError(t, err)
	require.Equal(t, "2", st.Text("spec", "x"))
	require.EqualValues(t, 2, st.Generation())

	labelled := st.Clone()
	labelled.Set("v", "metadata", "labels", "l")
	labelled.Unset("metadata", "resourceVersion")
	labelled, err = s.Update(ctx, labelled)
	require.NoError(t, err)
	require.EqualValues(t, 2, labelled.Generation(), "a label is no new generation")
	require.Equal(t, "y", labelled.Text("status", "x"))

	_, err = s.Delete(ctx, thing.Key(), "p", "a", object.Preconditions{UID: "other"})
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	_, err = s.Delete(ctx, thing.Key(), "p", "a", object.Preconditions{UID: made.UID()})
	require.NoError(t, err)
	_, err = s.Get(thing.Key(), "p", "a")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.ErrorContains(t, err, `things.test.dev "a" not found`)
	_, err = s.Update(ctx, labelled)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestStore_Label(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := open(t, db, object.Options{})
	o := newThing("a")
	o.Set("green", "metadata", "labels", "example.com/colour")
	_, err := s.Create(t.Context(), o)
	require.NoError(t, err)
	f := func(name, label, want string, kind fault.Kind) {
		t.Helper()
		got, err := s.Label(thing.Key(), "p", name, label)
		require.Equal(t, kind, fault.KindOf(err))
		require.Equal(t, want, got)
	}
	f("a", "example.com/colour", "green", fault.KindOf(nil))
	f("a", "example.com/size", "", fault.KindOf(nil))
	f("b", "example.com/colour", "", fault.NotFound)
}

func TestStore_Refuses(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := open(t, db, object.Options{MaxObjects: 2, MaxBytes: 1000})
	f := func(want fault.Kind, field string, change func(o object.Object)) {
		t.Helper()
		o := newThing("a")
		change(o)
		_, err := s.Create(t.Context(), o)
		require.Equal(t, want, fault.KindOf(err), "%v", err)
		if field != "" {
			require.ErrorContains(t, err, field)
		}
	}
	f(fault.Invalid, "metadata.name", func(o object.Object) { o.Set("A_b", "metadata", "name") })
	f(fault.Invalid, "metadata.name", func(o object.Object) { o.Unset("metadata", "name") })
	f(fault.Invalid, "metadata.namespace", func(o object.Object) { o.Set("a.b", "metadata", "namespace") })
	f(fault.Invalid, "apiVersion", func(o object.Object) { o["apiVersion"] = "test.dev/v2" })
	f(fault.NotFound, "no kind", func(o object.Object) { o["kind"] = "Other" })
	f(fault.Invalid, "labels", func(o object.Object) { o.Set(true, "metadata", "labels", "x") })
	f(fault.Invalid, "resourceVersion", func(o object.Object) { o.Set("1", "metadata", "resourceVersion") })
	f(fault.TooLarge, "1000", func(o object.Object) { o.Set(fmt.Sprintf("%01000d", 1), "spec", "x") })
	f(fault.Internal, "", func(o object.Object) {
		o.Set("gen-", "metadata", "generateName")
		o.Unset("metadata", "name")
		o.Set(func() {}, "spec")
	})
	for _, n := range []string{"one", "two"} {
		_, err := s.Create(t.Context(), newThing(n))
		require.NoError(t, err)
	}
	f(fault.Exhausted, "2 objects", func(object.Object) {})
	require.Len(t, must(s.List(object.Query{Kind: thing.Key()})), 2, "what was refused left nothing")
}

// must is the first of two values.
func must(list []object.Object, _ int64) []object.Object { return list }

func TestStore_SurvivesARestart(t *testing.T) {
	t.Parallel()
	db, path := database(t)
	s := open(t, db, object.Options{})
	secret := note.New("p", "n")
	secret["data"] = "the very secret"
	secret, err := s.Create(t.Context(), secret)
	require.NoError(t, err)
	_, err = s.Create(t.Context(), newThing("a"))
	require.NoError(t, err)
	_, err = s.Delete(t.Context(), thing.Key(), "p", "a", object.Preconditions{})
	require.NoError(t, err)

	again := open(t, db, object.Options{})
	got, err := again.Get(note.Key(), "p", "n")
	require.NoError(t, err)
	require.Equal(t, text(t, secret), text(t, got))
	require.Equal(t, s.Version(), again.Version())
	_, _, err = again.Watch(t.Context(), object.Query{Kind: thing.Key()}, 1)
	require.ErrorIs(t, err, object.ErrExpired, "what happened before is not known any more")

	for _, f := range []string{path, path + "-wal"} {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NotContains(t, string(data), "very secret", f)
	}
	_, err = object.Open(t.Context(), db, []*object.Kind{thing, note}, object.Options{Seal: key(t, 2)})
	require.ErrorContains(t, err, "another key")
	_, err = object.Open(t.Context(), db, []*object.Kind{note}, object.Options{})
	require.ErrorContains(t, err, "no key")
}

func TestStore_OwnedGoWithTheirLastOwner(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := open(t, db, object.Options{})
	ctx := t.Context()
	create := func(o object.Object) object.Object {
		made, err := s.Create(ctx, o)
		require.NoError(t, err)
		return made
	}
	a, b := create(newThing("a")), create(newThing("b"))
	one := create(newThing("one", a))
	create(newThing("both", a, b))
	create(newThing("deep", one))
	held := newThing("held", one)
	held.Set([]any{"test.dev/hold"}, "metadata", "finalizers")
	create(held)
	names := func() []string {
		out := []string{}
		for _, o := range must(s.List(object.Query{Kind: thing.Key()})) {
			out = append(out, o.Name())
		}
		return out
	}
	_, err := s.Delete(ctx, thing.Key(), "p", "a", object.Preconditions{})
	require.NoError(t, err)
	require.Equal(t, []string{"b", "both", "held"}, names())
	held, err = s.Get(thing.Key(), "p", "held")
	require.NoError(t, err)
	require.True(t, held.Deleting())
	held.Unset("metadata", "finalizers")
	_, err = s.Update(ctx, held)
	require.NoError(t, err)
	_, err = s.Delete(ctx, thing.Key(), "p", "b", object.Preconditions{})
	require.NoError(t, err)
	require.Empty(t, names())
}

// TestStore_WatchesAreTheHistory follows random changes through a selector:
// what a watcher that applies events has is what a list says, whenever.
func TestStore_WatchesAreTheHistory(t *testing.T) {
	t.Parallel()
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		db, err := sqlite.Open(outer.Context(), filepath.Join(outer.TempDir(), "o.db"), object.Schema)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		s, err := object.Open(outer.Context(), db, []*object.Kind{thing, note}, object.Options{Seal: key(t, 1)})
		require.NoError(t, err)
		selector, err := object.ParseSelector("l=1", "")
		require.NoError(t, err)
		q := object.Query{Kind: thing.Key(), Selector: selector}
		seen, at := map[string]string{}, int64(0)
		catchUp := func() {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			for {
				events, head, err := s.Watch(ended, q, at)
				at = head
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
					break
				}
				for _, e := range events {
					_, has := seen[e.Object.Name()]
					require.Equal(t, e.Type == object.Added, !has, "%v", e)
					if e.Type == object.Deleted {
						delete(seen, e.Object.Name())
						continue
					}
					seen[e.Object.Name()] = e.Object.ResourceVersion()
				}
			}
			want := map[string]string{}
			list, version := s.List(q)
			for _, o := range list {
				want[o.Name()] = o.ResourceVersion()
			}
			require.Equal(t, want, seen)
			require.Equal(t, version, at)
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
			o := newThing(name)
			o.Set(strconv.Itoa(rapid.IntRange(0, 1).Draw(t, "label")), "metadata", "labels", "l")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				_, err = s.Create(outer.Context(), o)
			case 1:
				_, err = s.Update(outer.Context(), o)
			case 2:
				_, err = s.Delete(outer.Context(), thing.Key(), "p", name, object.Preconditions{})
			case 3:
				err = nil
				catchUp()
			}
			if err != nil {
				require.Contains(t, []fault.Kind{fault.Exists, fault.NotFound}, fault.KindOf(err))
			}
		}
		catchUp()
	})
}

func TestStore_WatchWaits(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := open(t, db, object.Options{History: 2})
	got := make(chan []object.Event)
	go func() {
		events, _, _ := s.Watch(t.Context(), object.Query{Kind: thing.Key(), Namespace: "p"}, 0)
		got <- events
	}()
	n := note.New("p", "unseen")
	_, err := s.Create(t.Context(), n)
	require.NoError(t, err)
	_, err = s.Create(t.Context(), newThing("a"))
	require.NoError(t, err)
	events := <-got
	require.Len(t, events, 1)
	require.Equal(t, "a", events[0].Object.Name())

	_, err = s.Create(t.Context(), newThing("b"))
	require.NoError(t, err)
	_, _, err = s.Watch(t.Context(), object.Query{Kind: thing.Key()}, 0)
	require.ErrorIs(t, err, object.ErrExpired, "two changes are kept, and three were made")
	_, _, err = s.Watch(t.Context(), object.Query{Kind: thing.Key()}, 99)
	require.ErrorIs(t, err, object.ErrExpired, "of another life")
}

func TestStore_ListsInOrder(t *testing.T) {
	t.Parallel()
	db, _ := database(t)
	s := open(t, db, object.Options{Now: func() time.Time { return time.Unix(0, 0) }})
	for _, at := range []string{"b/x", "a/z", "b/a"} {
		_, err := s.Create(t.Context(), thing.New(at[:1], at[2:]))
		require.NoError(t, err)
	}
	var got []string
	for _, o := range must(s.List(object.Query{Kind: thing.Key()})) {
		got = append(got, o.Namespace()+"/"+o.Name())
	}
	require.Equal(t, []string{"a/z", "b/a", "b/x"}, got)
	require.Len(t, must(s.List(object.Query{Kind: thing.Key(), Namespace: "b"})), 2)
}
