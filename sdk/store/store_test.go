package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/storetest/memory"
)

// world is a store of the sample services with what tests say about it.
type world struct {
	*store.Store
	t      testing.TB
	driver *memory.Driver
	ctx    context.Context
	robots *schema.Resource
}

// open makes a world with the usual plugins and more.
func open(t testing.TB, more ...store.Plugin) *world {
	d := memory.New()
	return openOn(t, d, d, more...)
}

// openOn makes a world over a driver.
func openOn(t testing.TB, d store.Driver, m *memory.Driver, more ...store.Plugin) *world {
	types := &schema.Registry{}
	samplev1.AddTo(types)
	secretsv1.AddTo(types)
	w := &world{t: t, driver: m}
	w.Store = store.New(d, types, store.Options{Cached: 100, Plugins: append(plugins.Standard(plugins.Options{}), more...)})
	w.robots = types.Of(&samplev1.Robot{})
	w.ctx = policy.With(t.Context(), &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu", "us"}, DefaultControlRegion: "eu"})
	return w
}

// robot is the name of a robot.
func robot(id string) resource.Name { return resource.Name("projects/p/robots/" + id) }

// do runs a transaction.
func (w *world) do(f func(ctx context.Context) error) error {
	return w.Run(w.ctx, store.Transaction, f)
}

// save saves objects in one transaction.
func (w *world) save(all ...proto.Message) {
	w.t.Helper()
	require.NoError(w.t, w.do(func(ctx context.Context) error {
		for _, m := range all {
			if err := w.Save(ctx, m, store.SaveOptions{}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// get reads a robot; nil if there is none.
func (w *world) get(name resource.Name) *samplev1.Robot {
	w.t.Helper()
	var got *samplev1.Robot
	require.NoError(w.t, w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
		m, err := w.Get(ctx, w.robots, name)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		got, _ = m.(*samplev1.Robot)
		return err
	}))
	return got
}

// refused requires an error of that kind and reason.
func refused(t testing.TB, err error, kind fault.Kind, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), err)
	require.Equal(t, reason, fault.ReasonOf(err), err)
}

func TestStore_WantsAHandle(t *testing.T) { // SPEC 1.F 30
	t.Parallel()
	w := open(t)
	_, err := w.Get(w.ctx, w.robots, robot("a"))
	refused(t, err, fault.Internal, "NO_HANDLE")
	_, err = w.BatchGet(w.ctx, w.robots, nil)
	refused(t, err, fault.Internal, "NO_HANDLE")
	_, err = w.List(w.ctx, w.robots, store.Query{Limit: 1})
	refused(t, err, fault.Internal, "NO_HANDLE")
	refused(t, w.Save(w.ctx, &samplev1.Robot{}, store.SaveOptions{}), fault.Internal, "NO_HANDLE")
	refused(t, w.Delete(w.ctx, w.robots, robot("a"), store.DeleteOptions{}), fault.Internal, "NO_HANDLE")

	// Nor is the handle of another store one, or a closed one.
	other := open(t)
	require.NoError(t, other.do(func(ctx context.Context) error {
		_, err := w.Get(ctx, w.robots, robot("a"))
		refused(t, err, fault.Internal, "NO_HANDLE")
		return nil
	}))
	ctx, tx, err := w.Begin(w.ctx, store.Transaction)
	require.NoError(t, err)
	tx.Close()
	_, err = w.Get(ctx, w.robots, robot("a"))
	refused(t, err, fault.Internal, "NO_HANDLE")
	_, err = tx.Commit(ctx)
	refused(t, err, fault.Internal, "NO_HANDLE")
}

func TestStore_ReadsBeforeWrites(t *testing.T) { // SPEC 1.F 29
	t.Parallel()
	w := open(t)
	for _, write := range []func(context.Context) error{
		func(ctx context.Context) error {
			return w.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{})
		},
		func(ctx context.Context) error {
			return w.Delete(ctx, w.robots, robot("a"), store.DeleteOptions{AllowMissing: true})
		},
	} {
		require.NoError(t, w.do(func(ctx context.Context) error {
			_, err := w.Get(ctx, w.robots, robot("b"))
			refused(t, err, fault.NotFound, "NOT_FOUND")
			require.NoError(t, write(ctx))
			_, err = w.Get(ctx, w.robots, robot("b"))
			refused(t, err, fault.Internal, "READ_AFTER_WRITE")
			_, err = w.BatchGet(ctx, w.robots, []resource.Name{robot("b")})
			refused(t, err, fault.Internal, "READ_AFTER_WRITE")
			_, err = w.List(ctx, w.robots, store.Query{Limit: 1})
			refused(t, err, fault.Internal, "READ_AFTER_WRITE")
			return nil
		}))
	}
}

func TestStore_ReadersDoNotWrite(t *testing.T) {
	t.Parallel()
	w := open(t)
	for _, m := range []store.Mode{store.ReadOnly, store.Consistent} {
		require.NoError(t, w.Run(w.ctx, m, func(ctx context.Context) error {
			refused(t, w.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{}), fault.Internal, "READ_ONLY")
			refused(t, w.Delete(ctx, w.robots, robot("a"), store.DeleteOptions{}), fault.Internal, "READ_ONLY")
			return nil
		}))
	}
}

func TestSave_CreatesUpdatesAndRefuses(t *testing.T) {
	t.Parallel()
	w := open(t)
	save := func(m *samplev1.Robot, o store.SaveOptions) error {
		return w.do(func(ctx context.Context) error { return w.Save(ctx, m, o) })
	}
	a := &samplev1.Robot{Name: string(robot("a")), DisplayName: "A"}
	refused(t, save(proto.CloneOf(a), store.SaveOptions{Update: true}), fault.NotFound, "NOT_FOUND")
	refused(t, save(&samplev1.Robot{Name: "robots/a"}, store.SaveOptions{}), fault.Invalid, "INVALID_NAME")
	require.NoError(t, save(a, store.SaveOptions{Create: true}))
	refused(t, save(proto.CloneOf(a), store.SaveOptions{Create: true}), fault.Exists, "ALREADY_EXISTS")

	// What was saved is what is read, with its version.
	v1, err := store.ParseVersion(a.GetMetadata().GetResourceVersion())
	require.NoError(t, err)
	require.Positive(t, v1)
	require.True(t, proto.Equal(a, w.get(robot("a"))), "%v\n%v", a, w.get(robot("a")))

	b := proto.CloneOf(a)
	b.DisplayName = "B"
	require.NoError(t, save(b, store.SaveOptions{Update: true, Version: v1}))
	refused(t, save(a, store.SaveOptions{Version: v1}), fault.Conflict, "OTHER_VERSION")
	require.Equal(t, "B", w.get(robot("a")).GetDisplayName())

	del := func(o store.DeleteOptions) error {
		return w.do(func(ctx context.Context) error { return w.Delete(ctx, w.robots, robot("a"), o) })
	}
	refused(t, del(store.DeleteOptions{Version: v1}), fault.Conflict, "OTHER_VERSION")
	require.NoError(t, del(store.DeleteOptions{}))
	refused(t, del(store.DeleteOptions{}), fault.NotFound, "NOT_FOUND")
	require.NoError(t, del(store.DeleteOptions{AllowMissing: true}))
	require.Nil(t, w.get(robot("a")))
}

func TestSave_ThatChangesNothingIsNone(t *testing.T) {
	t.Parallel()
	w := open(t)
	a := &samplev1.Robot{Name: string(robot("a")), DisplayName: "A", Metadata: &resourcev1.Metadata{Labels: map[string]string{"x": "y"}}}
	w.save(a)
	before := w.get(robot("a"))
	again := proto.CloneOf(before)
	again.Metadata.Uid, again.Metadata.Generation, again.Metadata.UpdateTime = "forged", 7, nil
	w.save(again)
	require.True(t, proto.Equal(before, w.get(robot("a"))))
	require.True(t, proto.Equal(before, again), "the saved object is as it is in the store")
	changes, err := w.Driver().Changes(w.ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, changes, 1)
}

func TestSave_TwiceIsOneWrite(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.save(&samplev1.Robot{Name: string(robot("a")), DisplayName: "1"}, &samplev1.Robot{Name: string(robot("a")), DisplayName: "2"})
	require.Equal(t, "2", w.get(robot("a")).GetDisplayName())
	require.NoError(t, w.do(func(ctx context.Context) error {
		// What was deleted in the transaction can be created in it, and what was
		// created can be deleted.
		require.NoError(t, w.Delete(ctx, w.robots, robot("a"), store.DeleteOptions{}))
		require.NoError(t, w.Save(ctx, &samplev1.Robot{Name: string(robot("a")), DisplayName: "3"}, store.SaveOptions{Create: true}))
		require.NoError(t, w.Save(ctx, &samplev1.Robot{Name: string(robot("b"))}, store.SaveOptions{Create: true}))
		return w.Delete(ctx, w.robots, robot("b"), store.DeleteOptions{})
	}))
	require.Equal(t, "3", w.get(robot("a")).GetDisplayName())
	require.Nil(t, w.get(robot("b")))
	changes, err := w.Driver().Changes(w.ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, changes, 2)
}

// A refused Save that the caller lives with leaves nothing behind.
func TestSave_RefusedIsNothing(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.save(&samplev1.Robot{Name: string(robot("a"))})
	require.NoError(t, w.do(func(ctx context.Context) error {
		refused(t, w.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{Create: true}), fault.Exists, "ALREADY_EXISTS")
		refused(t, w.Delete(ctx, w.robots, robot("a"), store.DeleteOptions{Version: 99}), fault.Conflict, "OTHER_VERSION")
		return w.Save(ctx, &samplev1.Robot{Name: string(robot("b"))}, store.SaveOptions{})
	}))
	require.NotNil(t, w.get(robot("a")))
}

// What is presumed new is not looked for, and found all the same.
func TestSave_PresumedNew(t *testing.T) {
	t.Parallel()
	w := open(t)
	tries := 0
	create := func(ids ...string) error {
		tries = 0
		return w.do(func(ctx context.Context) error {
			tries++
			for _, id := range ids {
				if err := w.Save(ctx, &samplev1.Robot{Name: string(robot(id))}, store.SaveOptions{Create: true, Presume: true}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, create("a", "b"))
	require.Equal(t, 1, tries)
	refused(t, create("c", "a"), fault.Exists, "ALREADY_EXISTS")
	require.Equal(t, 2, tries)
	require.Nil(t, w.get(robot("c")))
	refused(t, create("d", "d"), fault.Exists, "ALREADY_EXISTS")
	require.Equal(t, 1, tries, "what the transaction itself created is no presumption")

	// Whoever looked knows.
	err := w.do(func(ctx context.Context) error {
		if _, err := w.Get(ctx, w.robots, robot("a")); err != nil {
			return err
		}
		return w.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{Create: true, Presume: true})
	})
	refused(t, err, fault.Exists, "ALREADY_EXISTS")
}

func TestSave_UniqueValues(t *testing.T) {
	t.Parallel()
	w := open(t)
	alias := func(keys ...string) *samplev1.RobotSpec {
		s := &samplev1.RobotSpec{}
		for _, k := range keys {
			s.Aliases = append(s.Aliases, &samplev1.Alias{Network: "lora", Key: k})
		}
		return s
	}
	w.save(&samplev1.Robot{Name: string(robot("a")), Spec: alias("1", "2")}, &samplev1.Robot{Name: "projects/q/regions/eu/robots/a", Spec: alias("1")})
	err := w.do(func(ctx context.Context) error {
		return w.Save(ctx, &samplev1.Robot{Name: "projects/p/regions/eu/robots/b", Spec: alias("2", "3")}, store.SaveOptions{})
	})
	refused(t, err, fault.Exists, "ALREADY_TAKEN")
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, string(robot("a")), f.Name)

	// A value can go from one to the other in one transaction.
	w.save(&samplev1.Robot{Name: string(robot("b")), Spec: alias("2", "3")}, &samplev1.Robot{Name: string(robot("a")), Spec: alias("1")})
	w.save(&samplev1.Robot{Name: string(robot("a")), Spec: alias("1")}, &samplev1.Robot{Name: string(robot("c"))}, &samplev1.Robot{Name: string(robot("d"))})
}

func TestRun_TriesAgainAfterItLost(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.save(&samplev1.Robot{Name: string(robot("a"))})
	tries := 0
	err := w.do(func(ctx context.Context) error {
		m, err := w.Get(ctx, w.robots, robot("a"))
		require.NoError(t, err)
		if tries++; tries < 4 {
			w.save(&samplev1.Robot{Name: string(robot("a")), DisplayName: fmt.Sprint(tries)}) // comes between
		}
		a, _ := m.(*samplev1.Robot)
		a.DisplayName += "+"
		return w.Save(ctx, a, store.SaveOptions{})
	})
	require.NoError(t, err)
	require.Equal(t, 4, tries)
	require.Equal(t, "3+", w.get(robot("a")).GetDisplayName())

	// But not forever, and not for other reasons.
	tries = 0
	w.driver.Fail = func(*store.Batch) error {
		tries++
		return &fault.Error{Kind: fault.Conflict, Reason: "RANGE_CHANGED"}
	}
	change := func(ctx context.Context) error {
		return w.Save(ctx, &samplev1.Robot{Name: string(robot("z"))}, store.SaveOptions{})
	}
	refused(t, w.do(change), fault.Conflict, "RANGE_CHANGED")
	require.Equal(t, 10, tries)
	for _, e := range []*fault.Error{{Kind: fault.Conflict, Reason: "OTHER"}, {Kind: fault.Unavailable, Reason: "VERSION_CHANGED"}, {Kind: fault.Exists, Reason: "ALREADY_TAKEN"}} {
		tries = 0
		w.driver.Fail = func(*store.Batch) error { tries++; return e }
		refused(t, w.do(change), e.Kind, e.Reason)
		require.Equal(t, 1, tries)
	}
	w.driver.Fail = nil
	tries = 0
	err = w.do(func(context.Context) error {
		tries++
		return &fault.Error{Kind: fault.Conflict, Reason: "VERSION_CHANGED"} // of f itself
	})
	refused(t, err, fault.Conflict, "VERSION_CHANGED")
	require.Equal(t, 1, tries)
}

// What a list found is a condition too: an object that would be in it now is a
// conflict, and so is one that would not, or that changed.
func TestRun_RangesAreConditions(t *testing.T) {
	t.Parallel()
	f := func(between func(w *world), again bool) {
		t.Helper()
		w := open(t)
		w.save(&samplev1.Robot{Name: string(robot("a")), Spec: &samplev1.RobotSpec{Power: 1}}, &samplev1.Robot{Name: string(robot("x")), Spec: &samplev1.RobotSpec{Power: 9}})
		tries := 0
		where, err := filter.Parse(w.robots, "spec.power < 5")
		require.NoError(t, err)
		require.NoError(t, w.do(func(ctx context.Context) error {
			page, err := w.List(ctx, w.robots, store.Query{Filter: where, Limit: 10})
			require.NoError(t, err)
			if tries++; tries == 1 {
				between(w)
			}
			return w.Save(ctx, &samplev1.Robot{Name: string(robot("sum")), DisplayName: fmt.Sprint(len(page.Objects)), Spec: &samplev1.RobotSpec{Power: 99}}, store.SaveOptions{})
		}))
		require.Equal(t, again, tries == 2)
	}
	f(func(*world) {}, false)
	f(func(w *world) {
		w.save(&samplev1.Robot{Name: string(robot("b")), Spec: &samplev1.RobotSpec{Power: 2}})
	}, true)
	f(func(w *world) {
		w.save(&samplev1.Robot{Name: string(robot("b")), Spec: &samplev1.RobotSpec{Power: 7}})
	}, false)
	f(func(w *world) {
		w.save(&samplev1.Robot{Name: string(robot("a")), Spec: &samplev1.RobotSpec{Power: 7}})
	}, true)
	f(func(w *world) {
		w.save(&samplev1.Robot{Name: string(robot("x")), Spec: &samplev1.RobotSpec{Power: 8}})
	}, false)
	f(func(w *world) {
		require.NoError(w.t, w.do(func(ctx context.Context) error { return w.Delete(ctx, w.robots, robot("a"), store.DeleteOptions{}) }))
	}, true)
}

func TestRun_Nested(t *testing.T) {
	t.Parallel()
	w := open(t)
	boom := errors.New("boom")
	err := w.do(func(ctx context.Context) error {
		require.NoError(t, w.Run(ctx, store.Transaction, func(ctx context.Context) error {
			return w.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{})
		}))
		return boom
	})
	require.ErrorIs(t, err, boom)
	require.Nil(t, w.get(robot("a")), "the inner one is part of the outer one")
}

func TestBegin_IsManual(t *testing.T) {
	t.Parallel()
	w := open(t)
	ctx, tx, err := w.Begin(w.ctx, store.Transaction)
	require.NoError(t, err)
	defer tx.Close()
	require.NoError(t, w.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{}))
	require.Nil(t, w.get(robot("a")))
	seq, err := tx.Commit(ctx)
	require.NoError(t, err)
	require.Equal(t, store.FormatVersion(seq), w.get(robot("a")).GetMetadata().GetResourceVersion())
}

func TestPreview_WritesNothing(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.save(&samplev1.Robot{Name: string(robot("same"))})
	all, err := w.Preview(w.ctx, func(ctx context.Context) error {
		require.NoError(t, w.Save(ctx, &samplev1.Robot{Name: string(robot("same"))}, store.SaveOptions{}))
		return w.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{})
	})
	require.NoError(t, err)
	require.Len(t, all, 1)
	a, _ := all[0].After.(*samplev1.Robot)
	require.Equal(t, int64(1), a.GetMetadata().GetGeneration())
	require.Equal(t, "eu", a.GetMetadata().GetSyncing().GetOwningRegion())
	require.Nil(t, w.get(robot("a")))
}

// What the commit would refuse, the preview does.
func TestPreview_Refuses(t *testing.T) {
	t.Parallel()
	w := open(t)
	named := func(id, alias string) *samplev1.Robot {
		return &samplev1.Robot{Name: string(robot(id)), Spec: &samplev1.RobotSpec{Aliases: []*samplev1.Alias{{Network: alias}}}}
	}
	w.save(named("a", "x"))
	f := func(reason string, all ...proto.Message) {
		t.Helper()
		_, err := w.Preview(w.ctx, func(ctx context.Context) error {
			for _, m := range all {
				require.NoError(t, w.Save(ctx, m, store.SaveOptions{}))
			}
			tx, _ := w.TxOf(ctx)
			tx.Count("n", int64(len(all)), 3)
			return nil
		})
		if reason == "" {
			require.NoError(t, err)
			return
		}
		require.Equal(t, reason, fault.ReasonOf(err))
	}
	f("", named("b", "y"), named("c", "z"))
	f("", named("b", "x"), named("a", "z"))
	f("ALREADY_TAKEN", named("b", "x"))
	f("ALREADY_TAKEN", named("b", "y"), named("c", "y"))
	f("LIMIT_REACHED", named("b", "1"), named("c", "2"), named("d", "3"), named("e", "4"))
}

func TestVersion_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, v := range []store.Seq{0, 1, 35, 36, 1 << 40, 1<<63 - 1} {
		got, err := store.ParseVersion(store.FormatVersion(v))
		require.NoError(t, err)
		require.Equal(t, v, got)
	}
	for _, s := range []string{"0", "-1", "01", "A", "é", "zzzzzzzzzzzzzzzz", " 1"} {
		_, err := store.ParseVersion(s)
		refused(t, err, fault.Invalid, "INVALID_VERSION")
	}
}

// FuzzParseVersion holds that every version has one text.
func FuzzParseVersion(f *testing.F) {
	f.Add("1z")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := store.ParseVersion(s); err == nil {
			require.Equal(t, s, store.FormatVersion(v))
		}
	})
}
