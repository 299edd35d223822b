package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/storetest/memory"
)

// cascade is a plugin that deletes the follower of what is deleted, and names
// everything that is created after how many it sees.
type cascade struct{ seen []string }

// Prepare implements [store.Plugin].
func (c *cascade) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	if w.Resource.Singular != "robot" {
		return nil
	}
	c.seen = append(c.seen, w.Name.ID())
	if w.After == nil {
		return tx.Remove(ctx, w.Resource, w.Name+"x", "CASCADE")
	}
	return nil
}

func TestPlugins_SeeWhatTheyAdd(t *testing.T) {
	t.Parallel()
	c := &cascade{}
	w := open(t, c)
	for _, id := range []string{"a", "ax", "axx"} {
		w.save(&samplev1.Robot{Name: string(robot(id))})
	}
	c.seen = nil
	require.NoError(t, w.do(func(ctx context.Context) error { return w.Delete(ctx, w.robots, robot("a"), store.DeleteOptions{}) }))
	require.Equal(t, []string{"a", "ax", "axx"}, c.seen)
	changes, err := w.Driver().Changes(w.ctx, 3, 10)
	require.NoError(t, err)
	require.Len(t, changes, 3)
	require.Empty(t, changes[0].Reason)
	require.Equal(t, "CASCADE", changes[1].Reason)
	require.True(t, changes[2].Last)
}

// endless is a plugin that always wants one write more, or the same again.
type endless struct{ same bool }

// Prepare implements [store.Plugin].
func (e endless) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	name := w.Name + "x"
	if e.same {
		name = w.Name
	}
	if len(name) > 100 {
		name = resource.Name(fmt.Sprintf("projects/p/robots/%d", len(tx.Pending())))
	}
	return tx.Put(ctx, &samplev1.Robot{Name: string(name)}, "ENDLESS", false)
}

func TestPlugins_AreBounded(t *testing.T) {
	t.Parallel()
	f := func(p store.Plugin, kind fault.Kind, reason string) {
		t.Helper()
		d := memory.New()
		types := &schema.Registry{}
		samplev1.AddTo(types)
		st := store.New(d, types, store.Options{Plugins: []store.Plugin{p}})
		err := st.Run(t.Context(), store.Transaction, func(ctx context.Context) error {
			return st.Save(ctx, &samplev1.Robot{Name: string(robot("a"))}, store.SaveOptions{})
		})
		refused(t, err, kind, reason)
	}
	f(endless{same: true}, fault.Internal, "PLUGINS_DISAGREE")
	f(endless{}, fault.Exhausted, "TOO_MANY_WRITES")
}

// overlay is a plugin that looks at what is there while a transaction is made.
type overlay struct {
	f func(ctx context.Context, tx *store.Tx)
}

// Prepare implements [store.Plugin].
func (o *overlay) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	if o.f != nil {
		o.f(ctx, tx)
	}
	return nil
}

func TestTx_ReadsSeePendingWrites(t *testing.T) {
	t.Parallel()
	o := &overlay{}
	w := open(t, o)
	named := func(id string, power float64) *samplev1.Robot {
		return &samplev1.Robot{Name: string(robot(id)), Spec: &samplev1.RobotSpec{Power: power}}
	}
	w.save(named("keeps", 1), named("leaves", 1), named("gone", 1), named("other", 9))
	where, err := filter.Parse(w.robots, "spec.power = 1")
	require.NoError(t, err)
	looked := false
	o.f = func(ctx context.Context, tx *store.Tx) {
		looked = true
		var found []string
		require.NoError(t, tx.Scan(ctx, store.Scan{Type: w.robots.Type, Where: where.Conjuncts()}, func(r *schema.Resource, m proto.Message) bool {
			found = append(found, r.NameOf(m).ID())
			return true
		}))
		require.ElementsMatch(t, []string{"keeps", "comes", "new"}, found)
		for id, there := range map[string]bool{"keeps": true, "gone": false, "new": true, "never": false} {
			m, err := tx.Get(ctx, w.robots, robot(id))
			require.NoError(t, err)
			require.Equal(t, there, m != nil, id)
		}
	}
	require.NoError(t, w.do(func(ctx context.Context) error {
		require.NoError(t, w.Save(ctx, named("leaves", 2), store.SaveOptions{}))
		require.NoError(t, w.Save(ctx, named("new", 1), store.SaveOptions{}))
		require.NoError(t, w.Save(ctx, named("comes", 1), store.SaveOptions{}))
		return w.Delete(ctx, w.robots, robot("gone"), store.DeleteOptions{})
	}))
	require.True(t, looked)
}

// Somebody who needs another object to be alive does not lose against a change
// of it, but does against its end.
func TestTx_AliveIsNoVersion(t *testing.T) {
	t.Parallel()
	o := &overlay{}
	w := open(t, o)
	leader := &samplev1.Robot{Name: string(robot("leader"))}
	w.save(leader)
	tries := 0
	var between func()
	o.f = func(ctx context.Context, tx *store.Tx) {
		if _, changing := ctx.Value(t).(bool); changing {
			return
		}
		m, err := tx.Get(ctx, w.robots, robot("leader"))
		require.NoError(t, err)
		if m != nil {
			l, _ := m.(*samplev1.Robot)
			tx.Alive(w.robots, robot("leader"), l.GetMetadata().GetUid())
		}
		if tries++; tries == 1 {
			between()
		}
	}
	quietly := context.WithValue(w.ctx, t, true) //nolint:staticcheck // the key is this test
	follow := func() {
		tries = 0
		w.save(&samplev1.Robot{Name: string(robot("follower")), DisplayName: fmt.Sprint(w.Now())})
	}
	between = func() {
		require.NoError(t, w.Run(quietly, store.Transaction, func(ctx context.Context) error {
			return w.Save(ctx, &samplev1.Robot{Name: string(robot("leader")), DisplayName: "busy"}, store.SaveOptions{})
		}))
	}
	follow()
	require.Equal(t, 1, tries)
	between = func() {
		require.NoError(t, w.Run(quietly, store.Transaction, func(ctx context.Context) error {
			return w.Delete(ctx, w.robots, robot("leader"), store.DeleteOptions{})
		}))
	}
	follow()
	require.Equal(t, 2, tries)
}
