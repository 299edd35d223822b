package reference_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
)

// The owner need not exist when it is named, never is blocked, and takes its
// ownee along: here and in another store. SPEC 1.F 16, 17, 20
func TestOwner_Gone(t *testing.T) {
	w := newTest(t)
	w.save(model("o"), robot("r", nil, owner(orderName("o"))), secret("s", owner(orderName("o"))))
	w.save(order("o", modelName("o"), ""))
	w.settle()
	r, _ := get(w, robotType, robotName("r"))
	require.NotNil(t, r.GetMetadata().GetOwnerReferences()[0].GetAttachTime())
	w.pass(5 * time.Minute) // both are found and known by uid now
	o, _ := get(w, orderType, orderName("o"))
	s, _ := get(w, secretType, secretName("s"))
	require.Equal(t, o.GetMetadata().GetUid(), s.GetMetadata().GetOwnerReferences()[0].GetUid())

	_, lines := w.plan(orderType, orderName("o"))
	require.ElementsMatch(t, []string{
		"DELETED AT_ONCE projects/p/orders/o  ",
		"DELETED COLLECTED projects/p/robots/r projects/p/orders/o metadata.owner_references",
		"DELETED COLLECTED projects/p/secrets/s projects/p/orders/o metadata.owner_references",
	}, lines)
	require.NoError(t, w.remove(orderType, orderName("o")))
	w.settle()
	require.False(t, w.has(robotType, robotName("r")))
	require.False(t, w.has(secretType, secretName("s")))
	require.Contains(t, w.reasons(), "projects/p/secrets/s: owner projects/p/orders/o of sample.selvedge.dev is gone (uid "+o.GetMetadata().GetUid()+"); it was the last of 1")
	require.EqualValues(t, 1, w.secrets.ctl.Stats().Collected)
}

// Who looked for an owner of another store just before that was committed finds
// it soon after: the deletion of the owner is forecast rightly, and takes its
// ownee along at once. SPEC 1.F 16
func TestOwner_FoundSoonAfter(t *testing.T) {
	w := newTest(t)
	w.save(model("o"), secret("s", owner(orderName("o"))))
	w.settle() // and it is missing
	w.save(order("o", modelName("o"), ""))
	w.pass(100 * time.Millisecond)
	_, lines := w.plan(orderType, orderName("o"))
	require.ElementsMatch(t, []string{
		"DELETED AT_ONCE projects/p/orders/o  ",
		"DELETED COLLECTED projects/p/secrets/s projects/p/orders/o metadata.owner_references",
	}, lines)
	require.NoError(t, w.remove(orderType, orderName("o")))
	w.settle()
	require.False(t, w.has(secretType, secretName("s")))
}

// An owner that stays away is asked for less and less.
func TestOwner_MissingIsAskedForLess(t *testing.T) {
	w := newTest(t)
	w.save(secret("s", owner(orderName("nobody"))))
	for range 5 * 60 {
		w.pass(time.Second)
	}
	require.False(t, w.has(secretType, secretName("s")))
	require.Less(t, w.secrets.ctl.Stats().Checked, int64(20))
}

// SPEC 1.F 18
func TestOwner_Missing(t *testing.T) {
	w := newTest(t)
	w.save(robot("r", nil, owner(robotName("nobody"))), secret("s", owner(robotName("nobody"))), robot("keeper", nil))
	w.save(robot("both", nil, owner(robotName("nobody")), owner(robotName("keeper"))))
	w.pass(5*time.Minute - time.Second)
	require.True(t, w.has(robotType, robotName("r")))
	require.True(t, w.has(secretType, secretName("s")))
	w.pass(time.Second)
	require.False(t, w.has(robotType, robotName("r")))
	require.False(t, w.has(secretType, secretName("s")))
	both, ok := get(w, robotType, robotName("both"))
	require.True(t, ok)
	require.Len(t, both.GetMetadata().GetOwnerReferences(), 1)

	// The clock starts when the reference is attached, not with the resource.
	// SPEC 1.E 3
	w.save(robot("later", nil))
	w.pass(time.Hour)
	w.save(robot("later", nil, owner(robotName("nobody"))))
	w.pass(5*time.Minute - time.Second)
	require.True(t, w.has(robotType, robotName("later")))
	w.pass(time.Second)
	require.False(t, w.has(robotType, robotName("later")))
}

// SPEC 1.F 19, 25
func TestOwner_LastOfSeveral(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil), robot("b", nil))
	w.save(robot("two", nil, owner(robotName("a")), owner(robotName("b"))))
	w.save(robot("unsetting", nil, owner(robotName("a"), unsetting)))
	w.settle()
	require.NoError(t, w.remove(robotType, robotName("a")))
	w.settle()
	two, ok := get(w, robotType, robotName("two"))
	require.True(t, ok)
	require.Equal(t, robotName("b"), two.GetMetadata().GetOwnerReferences()[0].GetName())
	u, ok := get(w, robotType, robotName("unsetting"))
	require.True(t, ok)
	require.Empty(t, u.GetMetadata().GetOwnerReferences())
	require.NoError(t, w.remove(robotType, robotName("b")))
	w.pass(time.Hour)
	require.False(t, w.has(robotType, robotName("two")))
	require.True(t, w.has(robotType, robotName("unsetting")))
}

// What never had an owner, or was detached by an update, is never collected.
// SPEC 1.F 21, 1.E 4
func TestOwner_NoneIsNoReason(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil), robot("free", nil))
	w.save(robot("detached", nil, owner(robotName("a"))))
	w.settle()
	d, _ := get(w, robotType, robotName("detached"))
	d.Metadata.OwnerReferences = nil
	w.save(d)
	require.NoError(t, w.remove(robotType, robotName("a")))
	w.pass(time.Hour)
	require.True(t, w.has(robotType, robotName("free")))
	require.True(t, w.has(robotType, robotName("detached")))
}

// The transaction that makes an order is aborted after it made the secret, and
// tried again: one secret survives. SPEC 1.F 22, 23
func TestOwner_RequiresReference(t *testing.T) {
	w := newTest(t)
	w.save(model("m"))
	tries := 0
	err := w.sample.st.Run(ctx, store.Transaction, func(ctx context.Context) error {
		tries++
		if _, err := w.sample.st.Get(ctx, w.sample.st.Types().Of(modelType), "projects/p/models/m"); err != nil {
			return err
		}
		s := secret([]string{"", "first", "second"}[tries], owner(orderName("o"), requires))
		w.save(s)
		if tries == 1 { // somebody else is faster
			m := model("m")
			m.Price = 1
			w.save(m)
		}
		return w.sample.st.Save(ctx, order("o", modelName("m"), s.GetName()), store.SaveOptions{})
	})
	require.NoError(t, err)
	require.Equal(t, 2, tries)
	w.pass(4 * time.Minute)
	require.True(t, w.has(secretType, secretName("first")))
	w.pass(2 * time.Minute)
	require.False(t, w.has(secretType, secretName("first")))
	w.pass(time.Hour)
	require.True(t, w.has(secretType, secretName("second")))

	// The owner lets go of it.
	o, _ := get(w, orderType, orderName("o"))
	o.Secret = ""
	w.save(o)
	w.settle()
	require.False(t, w.has(secretType, secretName("second")))
	require.True(t, w.has(orderType, orderName("o")))
}

// The owner refers to its ownee with a reference that blocks. SPEC 1.F 24
func TestOwner_Loop(t *testing.T) {
	w := newTest(t)
	w.save(secret("s", owner(robotName("r"), requires)), model("m", owner(robotName("r"), requires)))
	w.save(robot("r", &samplev1.RobotSpec{Secret: secretName("s"), Model: modelName("m")}))
	w.pass(10 * time.Minute)
	require.Equal(t, fault.Precondition, fault.KindOf(w.remove(secretType, secretName("s"))))
	_, lines := w.plan(robotType, robotName("r"))
	require.Len(t, lines, 3, lines)
	require.NoError(t, w.remove(robotType, robotName("r")))
	w.pass(2 * time.Minute)
	require.False(t, w.has(robotType, robotName("r")))
	require.False(t, w.has(modelType, modelName("m")))
	require.False(t, w.has(secretType, secretName("s")))
}

// Another life of the owner's name is not the owner.
func TestOwner_AnotherLife(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil))
	w.save(robot("r", nil, owner(robotName("a"))), secret("s", owner(robotName("a"))))
	w.settle()
	require.NoError(t, w.remove(robotType, robotName("a")))
	w.save(robot("a", nil))
	w.settle()
	require.False(t, w.has(robotType, robotName("r")))
	require.False(t, w.has(secretType, secretName("s")))
}

// An owner that cannot be asked for is not missing. SPEC 1.F 28
func TestOwner_Unreachable(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil), secret("s", owner(robotName("a"))), secret("nobody", owner(robotName("nobody"))))
	w.settle()
	w.peers.Cut(sampleAt, true)
	require.NoError(t, w.sample.ctl.Settle(ctx))
	w.save(secret("late", owner(robotName("a"))))
	w.pass(24 * time.Hour)
	for _, s := range []string{"s", "nobody", "late"} {
		require.True(t, w.has(secretType, secretName(s)), s)
	}
	require.Contains(t, w.secrets.ctl.Stats().Waiting["projects/p/secrets/late"], "sample.selvedge.dev cannot be reached")
	// Nor after a restart, nor for what was never known.
	w.secrets.restart()
	w.pass(24 * time.Hour)
	require.True(t, w.has(secretType, secretName("nobody")))
	w.peers.Cut(sampleAt, false)
	w.pass(6 * time.Minute)
	require.True(t, w.has(secretType, secretName("s")))
	require.True(t, w.has(secretType, secretName("late")))
	require.False(t, w.has(secretType, secretName("nobody")))
}

// SPEC 1.F 27
func TestOwner_Upgrade(t *testing.T) {
	w := newTest(t)
	v := func(s string) func(*resourcev1.OwnerReference) {
		return func(o *resourcev1.OwnerReference) { o.Version = s }
	}
	w.save(robot("a", nil), robot("r", nil, owner(robotName("a"), v("v1"))), secret("s", owner(robotName("a"), v("v1")), owner(secretName("t"), v("v1"))), secret("t"))
	w.settle()
	require.NoError(t, w.sample.ctl.UpgradeOwners(ctx, "sample.selvedge.dev", "v1", "v2"))
	r, _ := get(w, robotType, robotName("r"))
	require.Equal(t, "v2", r.GetMetadata().GetOwnerReferences()[0].GetVersion())
	s, _ := get(w, secretType, secretName("s"))
	require.Equal(t, "v2", s.GetMetadata().GetOwnerReferences()[0].GetVersion())
	require.Equal(t, "v1", s.GetMetadata().GetOwnerReferences()[1].GetVersion())
}

// Owner references are checked for sense.
func TestOwner_Invalid(t *testing.T) {
	w := newTest(t)
	f := func(text string, owners ...*resourcev1.OwnerReference) {
		t.Helper()
		err := w.try(robot("r", nil, owners...))
		require.Equal(t, "INVALID_OWNER", fault.ReasonOf(err))
		require.ErrorContains(t, err, text)
	}
	controls := func(o *resourcev1.OwnerReference) { o.Controller = true }
	f("nothing owns itself", owner(robotName("r")))
	f("there twice", owner(robotName("a")), owner(robotName("a")))
	f("controllers", owner(robotName("a"), controls), owner(robotName("b"), controls))
	f("names no owner", owner("projects/-/robots/r"))
	f("is no type", &resourcev1.OwnerReference{Name: "projects/p/robots/r"})
	f("names no owner", owner(robotName("a"), func(o *resourcev1.OwnerReference) { o.Name = "" }))
}

// What the ownee needs to be held back by is reported, and it goes when it can.
func TestOwner_CollectionBlocked(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil), model("m", owner(robotName("a"))))
	w.save(robot("holder", &samplev1.RobotSpec{Model: modelName("m")}))
	w.settle()
	_, lines := w.plan(robotType, robotName("a"))
	require.Equal(t, []string{"DELETED AT_ONCE projects/p/robots/a  ", "BLOCKS COLLECTED projects/p/robots/holder projects/p/models/m spec.model"}, lines)
	require.NoError(t, w.remove(robotType, robotName("a")))
	w.settle()
	require.True(t, w.has(modelType, modelName("m")))
	require.Contains(t, w.sample.ctl.Stats().Waiting["projects/p/models/m"], "projects/p/robots/holder")
	require.NoError(t, w.remove(robotType, robotName("holder")))
	w.settle()
	require.False(t, w.has(modelType, modelName("m")))
}

// What is held back by a reference to what would go with it is the cause, too:
// nothing else in the plan says that it stays.
func TestOwner_CollectionBlockedBehindIt(t *testing.T) {
	w := newTest(t)
	w.strict()
	w.save(model("m"), robot("ownee", nil, owner(modelName("m"))))
	w.save(robot("with", &samplev1.RobotSpec{Master: robotName("ownee")}))
	w.save(robot("holder", &samplev1.RobotSpec{Ancestor: robotName("with")}))
	w.settle()
	_, lines := w.plan(modelType, modelName("m"))
	require.Equal(t, []string{"DELETED AT_ONCE projects/p/models/m  ", "BLOCKS COLLECTED projects/p/robots/holder projects/p/robots/ownee spec.ancestor"}, lines)
	require.NoError(t, w.remove(modelType, modelName("m")))
	w.settle()
	require.True(t, w.has(robotType, robotName("ownee")))
}

// reasons are why the platform changed what, of both stores.
func (w *world) reasons() []string {
	var out []string
	for _, s := range []*site{w.sample, w.secrets} {
		changes, err := s.drv.Changes(ctx, 0, 100_000)
		require.NoError(w.t, err)
		for _, c := range changes {
			if c.Reason != "" {
				out = append(out, string(c.Name)+": "+c.Reason)
			}
		}
	}
	return out
}

// An owner is missing after two answers a timeout apart: a controller that died
// between them begins anew, and finds what happened meanwhile all the same.
func TestOwner_Restart(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil), robot("r", nil, owner(robotName("nobody"))), secret("s", owner(robotName("a"))))
	w.pass(4 * time.Minute)
	w.sample.restart()
	w.secrets.restart()
	require.NoError(t, w.remove(robotType, robotName("a")))
	w.sample.restart() // it will not see that in the feed
	w.pass(4 * time.Minute)
	require.True(t, w.has(robotType, robotName("r")))
	w.pass(2 * time.Minute)
	require.False(t, w.has(robotType, robotName("r")))
	require.False(t, w.has(secretType, secretName("s")))
}

// The owner is known by its uid as soon as it comes into being, and what an
// update of the ownee says about that does not count.
func TestOwner_Confirmed(t *testing.T) {
	w := newTest(t)
	w.save(robot("r", nil, owner(robotName("a"))))
	w.settle()
	w.clock.move(time.Minute)
	w.save(robot("a", nil))
	w.settle()
	a, _ := get(w, robotType, robotName("a"))
	r, _ := get(w, robotType, robotName("r"))
	ref := r.GetMetadata().GetOwnerReferences()[0]
	require.Equal(t, a.GetMetadata().GetUid(), ref.GetUid())

	w.clock.move(time.Hour)
	w.save(robot("r", nil, owner(robotName("a"))))
	r, _ = get(w, robotType, robotName("r"))
	require.Equal(t, ref.GetUid(), r.GetMetadata().GetOwnerReferences()[0].GetUid())
	require.Equal(t, ref.GetAttachTime().AsTime(), r.GetMetadata().GetOwnerReferences()[0].GetAttachTime().AsTime())

	// To require the reference from now on gives the owner time to make it.
	w.save(robot("r", nil, owner(robotName("a"), requires)))
	w.settle()
	require.True(t, w.has(robotType, robotName("r")))
	w.pass(6 * time.Minute)
	require.False(t, w.has(robotType, robotName("r")))
}

// An ownee whose store cannot be asked is in the plan, does not hold its owner
// up, and is collected when its store is back. SPEC 1.F 17
func TestOwner_UnreachableOwneeDoesNotBlock(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil), secret("s", owner(robotName("a"))))
	w.settle()
	w.peers.Cut(secretsAt, true)
	plan, lines := w.plan(robotType, robotName("a"))
	require.False(t, plan.GetBlocked())
	require.Len(t, lines, 2, lines)
	require.NoError(t, w.remove(robotType, robotName("a")))
	require.False(t, w.has(robotType, robotName("a")))
	w.pass(time.Hour)
	require.True(t, w.has(secretType, secretName("s")))
	w.peers.Cut(secretsAt, false)
	w.pass(2 * time.Hour)
	require.False(t, w.has(secretType, secretName("s")))
}
