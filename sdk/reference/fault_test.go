package reference_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
)

// flaky is a driver that fails a call.
type flaky struct {
	store.Driver
	mu sync.Mutex
	// left is how many calls succeed before one fails; negative is all.
	left int
	on   bool
}

// fail fails the call if it is its turn.
func (d *flaky) fail() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left--; d.on && d.left == 0 {
		return &fault.Error{Op: "test", Kind: fault.Unavailable, Reason: "INJECTED", Err: errors.New("injected")}
	}
	return nil
}

// set makes the n-th call from now fail.
func (d *flaky) set(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left, d.on = n, n > 0
}

// tripped reports whether the call that was to fail came.
func (d *flaky) tripped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left <= 0
}

// Snapshot implements [store.Driver].
func (d *flaky) Snapshot(ctx context.Context) (store.Snapshot, store.Seq, error) {
	if err := d.fail(); err != nil {
		return nil, 0, err
	}
	return d.Driver.Snapshot(ctx)
}

// Commit implements [store.Driver].
func (d *flaky) Commit(ctx context.Context, b *store.Batch) (store.Seq, error) {
	if err := d.fail(); err != nil {
		return 0, err
	}
	return d.Driver.Commit(ctx, b)
}

// Changes implements [store.Driver].
func (d *flaky) Changes(ctx context.Context, after store.Seq, limit int) ([]store.Change, error) {
	if err := d.fail(); err != nil {
		return nil, err
	}
	return d.Driver.Changes(ctx, after, limit)
}

// busy makes a world in which the deletion of robot x has consequences of every
// kind.
func busy(w *world) {
	w.save(robot("x", nil), robot("y", nil), model("m"), secret("s"))
	w.save(
		order("o", modelName("m"), secretName("s"), owner(robotName("master"))),
		robot("master", &samplev1.RobotSpec{Master: robotName("x")}),
		robot("friend", &samplev1.RobotSpec{Friends: []string{robotName("x"), robotName("master"), robotName("y")}}),
		robot("host", &samplev1.RobotSpec{Host: robotName("x"), Secret: secretName("s")}),
		robot("loop", &samplev1.RobotSpec{Master: robotName("master"), Host: robotName("loop")}),
		secret("s", owner(robotName("x"))),
		secret("t", owner(orderName("o")), owner(robotName("y"))),
		secret("u", owner(secretName("s"))),
		model("two", owner(robotName("x")), owner(robotName("y"))),
	)
	w.pass(6 * time.Minute)
}

// Whatever call to a database fails, and whether the controllers die of it or
// not, the end is the same.
func TestController_FailsAnywhere(t *testing.T) {
	t.Parallel()
	end := func(of func(*world) *site, n int, die bool) (picture, bool) {
		w := newWorld(t)
		busy(w)
		require.NoError(t, w.remove(robotType, robotName("x")))
		d := of(w).drv
		d.set(n)
		for _, s := range []*site{w.sample, w.secrets} {
			_ = s.ctl.Settle(ctx) // it may be what fails
		}
		tripped := d.tripped()
		d.set(0)
		if die {
			w.sample.restart()
			w.secrets.restart()
		}
		w.pass(20 * time.Minute)
		return w.picture(), tripped
	}
	first, _ := end(func(w *world) *site { return w.sample }, 0, false)
	require.NotContains(t, first, robotName("x"))
	require.NotContains(t, first, orderName("o"))
	require.NotContains(t, first, secretName("u"))
	require.Equal(t, []string{"metadata.owner_references projects/p/robots/y"}, first[secretName("t")])
	for _, of := range []func(*world) *site{func(w *world) *site { return w.sample }, func(w *world) *site { return w.secrets }} {
		for _, die := range []bool{false, true} {
			for n, more := 1, true; more; n++ {
				var last picture
				last, more = end(of, n, die)
				require.Equal(t, first, last, "call %d, dies %v", n, die)
				require.Less(t, n, 1000)
			}
		}
	}
}

// Those who make references race with who deletes what they refer to: no
// reference is left that points to nothing.
func TestDelete_Races(t *testing.T) {
	w := newTest(t)
	const targets, makers = 20, 5
	w.strict()
	for i := range targets {
		w.save(robot(names("x", targets)[i], nil), model(names("m", targets)[i]), secret(names("s", targets)[i]))
	}
	var group sync.WaitGroup
	run := func(f func(i int) error) {
		group.Go(func() {
			for i := range targets {
				err := f(i)
				switch fault.KindOf(err) {
				case fault.Invalid, fault.Precondition, fault.Conflict, fault.NotFound:
				default:
					if err != nil {
						t.Errorf("%v", err)
					}
				}
			}
		})
	}
	for k := range makers {
		run(func(i int) error {
			x, m, s := robotName(names("x", targets)[i]), modelName(names("m", targets)[i]), secretName(names("s", targets)[i])
			spec := []*samplev1.RobotSpec{{Leader: x, Secret: s}, {Host: x, Model: m}, {Friends: []string{x}}, {Master: x, Secret: s}, {Ancestor: x}}[k]
			return w.try(robot(names("r", makers)[k]+names("n", targets)[i], spec))
		})
	}
	run(func(i int) error { return w.remove(robotType, robotName(names("x", targets)[i])) })
	run(func(i int) error { return w.remove(modelType, modelName(names("m", targets)[i])) })
	run(func(i int) error { return w.remove(secretType, secretName(names("s", targets)[i])) })
	group.Go(func() { _ = w.sample.ctl.Settle(ctx) })
	group.Wait()
	w.pass(10 * time.Minute)
	w.whole(true)
	require.Empty(t, w.sample.ctl.Stats().Waiting)
}

// Run follows changes as they come and time as it passes.
func TestController_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(context.Background())
		var group sync.WaitGroup
		w.clock.live()
		for _, s := range []*site{w.sample, w.secrets} {
			group.Go(func() {
				if err := s.ctl.Run(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
			})
		}
		w.save(robot("a", nil), robot("r", nil, owner(robotName("a"))), secret("s", owner(robotName("a"))), robot("orphan", nil, owner(robotName("nobody"))), robot("b", nil), robot("c", nil, owner(robotName("b"))))
		synctest.Wait()
		require.NoError(t, w.remove(robotType, robotName("a")))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.False(t, w.has(robotType, robotName("r")))
		require.False(t, w.has(secretType, secretName("s")))
		require.True(t, w.has(robotType, robotName("orphan")))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.False(t, w.has(robotType, robotName("orphan")))
		w.sample.drv.set(1) // the feed fails once
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.EqualValues(t, 1, w.sample.ctl.Stats().Errors["INJECTED"])
		require.NoError(t, w.remove(robotType, robotName("b")))
		synctest.Wait()
		require.False(t, w.has(robotType, robotName("c")))
		cancel()
		group.Wait()
	})
}

// A resource whose deletion is blocked by the platform waits, DELETING.
func TestDelete_BlockDeletion(t *testing.T) {
	w := newTest(t)
	w.save(robot("a", nil))
	block := func(is bool) {
		err := w.sample.st.Run(ctx, store.Transaction, func(ctx context.Context) error {
			tx, _ := w.sample.st.TxOf(ctx)
			x := w.sample.st.Types().Of(robotType)
			m, err := tx.Get(ctx, x, resource.Name(robotName("a")))
			if err != nil {
				return err
			}
			x.MetadataOf(m).Lifecycle.BlockDeletion = is
			return tx.Put(ctx, m, "a copy is made", false)
		})
		require.NoError(t, err)
	}
	block(true)
	require.NoError(t, w.remove(robotType, robotName("a")))
	w.pass(time.Hour)
	require.True(t, w.has(robotType, robotName("a")))
	block(false)
	w.settle()
	require.False(t, w.has(robotType, robotName("a")))
}
