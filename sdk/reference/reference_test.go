package reference_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/storetest/memory"
)

// SPEC 1.F 34
func TestSave_ChecksReferences(t *testing.T) {
	w := newTest(t)
	w.save(model("m"))
	f := func(field, text string, err error) {
		t.Helper()
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, fault.Invalid, e.Kind)
		require.Equal(t, "BROKEN_REFERENCE", e.Reason)
		require.Equal(t, field, e.Field)
		require.Contains(t, e.Message(), text)
	}
	f("spec.model", "projects/p/models/x does not exist", w.try(robot("r", &samplev1.RobotSpec{Model: modelName("x")})))
	f("spec.model", "is no name of a model", w.try(robot("r", &samplev1.RobotSpec{Model: robotName("x")})))
	f("spec.model", "is many resources", w.try(robot("r", &samplev1.RobotSpec{Model: "projects/p/models/-"})))
	f("spec.friends", "projects/p/robots/no", w.try(robot("r", &samplev1.RobotSpec{Friends: []string{robotName("r"), robotName("no")}})))
	f("spec.secret", "projects/p/secrets/no does not exist", w.try(robot("r", &samplev1.RobotSpec{Secret: secretName("no")})))

	require.NoError(t, w.try(robot("r", &samplev1.RobotSpec{Model: modelName("m"), Ancestor: robotName("nobody")})))
	// Created together, in any order, and in a loop.
	require.NoError(t, w.try(robot("a", &samplev1.RobotSpec{Leader: robotName("b"), Model: modelName("n")}), robot("b", &samplev1.RobotSpec{Leader: robotName("a")}), model("n")))

	require.NoError(t, w.try(order("o", modelName("m"), "")))
	require.NoError(t, w.remove(orderType, orderName("o"))) // DELETING, which nothing refers to: finished soon
	w.settle()
	require.False(t, w.has(orderType, orderName("o")))
}

func TestDelete_Blocks(t *testing.T) {
	w := newTest(t)
	w.save(model("m"), robot("a", &samplev1.RobotSpec{Model: modelName("m")}), robot("b", &samplev1.RobotSpec{Model: modelName("m")}))
	err := w.remove(modelType, modelName("m"))
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.ErrorContains(t, err, "projects/p/models/m by projects/p/robots/a (spec.model), projects/p/models/m by projects/p/robots/b (spec.model)")
	p, lines := w.plan(modelType, modelName("m"))
	require.True(t, p.GetBlocked())
	require.Equal(t, []string{
		"DELETED AT_ONCE projects/p/models/m  ",
		"BLOCKS AT_ONCE projects/p/robots/a projects/p/models/m spec.model",
		"BLOCKS AT_ONCE projects/p/robots/b projects/p/models/m spec.model",
	}, lines)
	require.NoError(t, w.remove(robotType, robotName("a"), robotName("b")))
	require.NoError(t, w.remove(modelType, modelName("m")))

	// Not by who goes in the same transaction, nor by itself.
	w.save(robot("s", nil))
	w.save(robot("s", &samplev1.RobotSpec{Host: robotName("s"), Leader: robotName("s")}))
	require.NoError(t, w.remove(robotType, robotName("s")))
	require.False(t, w.has(robotType, robotName("s")))
}

func TestDelete_Policies(t *testing.T) {
	w := newTest(t)
	w.save(robot("x", nil))
	w.save(
		robot("leader", &samplev1.RobotSpec{Leader: robotName("x"), Color: "red"}),
		robot("host", &samplev1.RobotSpec{Host: robotName("x")}),
		robot("host2", &samplev1.RobotSpec{Host: robotName("host")}),
		robot("friend", &samplev1.RobotSpec{Friends: []string{robotName("leader"), robotName("x"), robotName("x"), robotName("host")}}),
		robot("master", &samplev1.RobotSpec{Master: robotName("x")}),
		robot("master2", &samplev1.RobotSpec{Host: robotName("master")}),
		robot("ancestor", &samplev1.RobotSpec{Ancestor: robotName("x")}),
	)
	p, lines := w.plan(robotType, robotName("x"))
	require.False(t, p.GetBlocked())
	require.ElementsMatch(t, []string{
		"DELETED AT_ONCE projects/p/robots/x  ",
		"UNSET AT_ONCE projects/p/robots/leader projects/p/robots/x spec.leader",
		"UNSET SOON projects/p/robots/friend projects/p/robots/x spec.friends",
		"DANGLES AT_ONCE projects/p/robots/ancestor projects/p/robots/x spec.ancestor",
		"DELETED AT_ONCE projects/p/robots/host projects/p/robots/x spec.host",
		"UNSET SOON projects/p/robots/friend projects/p/robots/host spec.friends",
		"DELETED AT_ONCE projects/p/robots/host2 projects/p/robots/host spec.host",
		"DELETED SOON projects/p/robots/master projects/p/robots/x spec.master",
		"DELETED SOON projects/p/robots/master2 projects/p/robots/master spec.host",
	}, lines)

	require.NoError(t, w.remove(robotType, robotName("x")))
	x, ok := get(w, robotType, robotName("x"))
	require.True(t, ok)
	require.Equal(t, resourcev1.Lifecycle_DELETING, x.GetMetadata().GetLifecycle().GetState())
	require.NotNil(t, x.GetMetadata().GetDeleteTime())
	require.False(t, w.has(robotType, robotName("host2")))
	l, _ := get(w, robotType, robotName("leader"))
	require.Empty(t, l.GetSpec().GetLeader())
	require.Equal(t, "red", l.GetSpec().GetColor())
	require.Equal(t, "BROKEN_REFERENCE", fault.ReasonOf(w.try(robot("late", &samplev1.RobotSpec{Leader: robotName("x")}))))
	require.NoError(t, w.remove(robotType, robotName("x"))) // again: nothing new
	again, _ := get(w, robotType, robotName("x"))
	require.Equal(t, x.GetMetadata().GetResourceVersion(), again.GetMetadata().GetResourceVersion())

	w.settle()
	for _, s := range []string{"x", "host", "host2", "master", "master2"} {
		require.False(t, w.has(robotType, robotName(s)), s)
	}
	friend, _ := get(w, robotType, robotName("friend"))
	require.Equal(t, []string{robotName("leader")}, friend.GetSpec().GetFriends())
	a, _ := get(w, robotType, robotName("ancestor"))
	require.Equal(t, robotName("x"), a.GetSpec().GetAncestor())
	require.Empty(t, w.sample.ctl.Stats().Waiting)
}

// A blocker anywhere below refuses all, also below what goes later.
func TestDelete_BlockedDeeper(t *testing.T) {
	w := newTest(t)
	w.strict()
	w.save(
		robot("x", nil), robot("host", &samplev1.RobotSpec{Host: robotName("x")}),
		robot("master", &samplev1.RobotSpec{Master: robotName("host")}), robot("free", nil), robot("inner", &samplev1.RobotSpec{Master: robotName("x")}),
	)
	w.save(robot("blocker", &samplev1.RobotSpec{Ancestor: robotName("master")}))
	w.save(robot("inner", &samplev1.RobotSpec{Master: robotName("x"), Ancestor: robotName("host")})) // goes too: no blocker
	before := w.picture()
	err := w.remove(robotType, robotName("x"), robotName("free"))
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.ErrorContains(t, err, "still referred to: projects/p/robots/master by projects/p/robots/blocker (spec.ancestor)")
	w.settle()
	require.Equal(t, before, w.picture())
	require.NoError(t, w.remove(robotType, robotName("blocker")))
	require.NoError(t, w.remove(robotType, robotName("x"), robotName("free")))
	w.settle()
	require.Empty(t, w.picture())

	// One that comes later only makes it wait.
	w.save(robot("x", nil), robot("master", &samplev1.RobotSpec{Master: robotName("x")}))
	require.NoError(t, w.remove(robotType, robotName("x")))
	w.save(robot("late", &samplev1.RobotSpec{Ancestor: robotName("master")}))
	w.pass(time.Hour)
	require.True(t, w.has(robotType, robotName("x")))
	require.Contains(t, w.sample.ctl.Stats().Waiting[resource.Name(robotName("x"))], "projects/p/robots/master by projects/p/robots/late")
	require.NoError(t, w.remove(robotType, robotName("late")))
	w.pass(time.Minute)
	require.Empty(t, w.picture())

	// In another store.
	w.save(secret("s"))
	w.save(robot("holder", &samplev1.RobotSpec{Secret: secretName("s")}))
	err = w.remove(secretType, secretName("s"))
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.ErrorContains(t, err, "projects/p/robots/holder (spec.secret)")
	p, lines := w.plan(secretType, secretName("s"))
	require.True(t, p.GetBlocked())
	require.Equal(t, []string{"DELETED AT_ONCE projects/p/secrets/s  ", "BLOCKS AT_ONCE projects/p/robots/holder projects/p/secrets/s spec.secret"}, lines)
	require.NoError(t, w.remove(robotType, robotName("holder")))
	w.clock.move(time.Hour)
	require.NoError(t, w.remove(secretType, secretName("s")))
	require.False(t, w.has(secretType, secretName("s")))
}

// Loops of every policy are deletable.
func TestDelete_Loops(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil))
	w.save(robot("b", &samplev1.RobotSpec{Master: robotName("a")}))
	w.save(robot("c", &samplev1.RobotSpec{Master: robotName("b"), Host: robotName("a")}))
	w.save(robot("a", &samplev1.RobotSpec{Master: robotName("c"), Friends: []string{robotName("b")}}))
	_, lines := w.plan(robotType, robotName("a"))
	require.Equal(t, []string{
		"DELETED AT_ONCE projects/p/robots/a  ",
		"DELETED AT_ONCE projects/p/robots/c projects/p/robots/a spec.host",
		"DELETED SOON projects/p/robots/b projects/p/robots/a spec.master",
	}, lines)
	require.NoError(t, w.remove(robotType, robotName("a")))
	w.settle()
	for _, s := range []string{"a", "b", "c"} {
		require.False(t, w.has(robotType, robotName(s)), s)
	}
}

// More depends on it than one transaction does.
func TestDelete_ManyDependants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 250
	w.save(robot("x", nil))
	for _, s := range names("d", n) {
		w.save(robot(s, &samplev1.RobotSpec{Master: robotName("x")}))
		w.save(robot("f"+s, &samplev1.RobotSpec{Friends: []string{robotName("x"), robotName(s)}}))
	}
	require.NoError(t, w.remove(robotType, robotName("x")))
	w.settle()
	p := w.picture()
	require.Len(t, p, n)
	for name, refs := range p {
		require.Empty(t, refs, name)
	}
	s := w.sample.ctl.Stats()
	require.Equal(t, []int64{2 * n, n, 0}, []int64{s.Unset, s.Cascaded, int64(len(s.Waiting))})
}

// A copy of what another region writes is not ours to check, and not to change.
func TestPrepare_Copies(t *testing.T) {
	w := newTest(t)
	at := func(region string) *samplev1.Robot {
		r := robot("copy", &samplev1.RobotSpec{Leader: robotName("elsewhere")}, owner(robotName("nobody")))
		r.Metadata.Syncing = &resourcev1.Syncing{OwningRegion: region}
		return r
	}
	s := w.site(reference.Address{Service: sampleAt.Service, Region: "eu"}, &flaky{Driver: memory.New()}, func(r *schema.Registry) { samplev1.AddTo(r) })
	w.sample = s
	put := func(m *samplev1.Robot) error {
		return s.st.Run(ctx, store.Transaction, func(ctx context.Context) error {
			tx, _ := s.st.TxOf(ctx)
			return tx.Put(ctx, m, "a copy", false)
		})
	}
	require.Equal(t, "BROKEN_REFERENCE", fault.ReasonOf(put(at("eu"))))
	require.NoError(t, put(at("us")))
	w.pass(time.Hour)
	require.True(t, w.has(robotType, robotName("copy")))
	w.save(robot("elsewhere", nil))
	require.NoError(t, w.remove(robotType, robotName("elsewhere")))
	c, _ := get(w, robotType, robotName("copy"))
	require.Equal(t, robotName("elsewhere"), c.GetSpec().GetLeader())
	require.NoError(t, w.remove(robotType, robotName("copy")))
}
