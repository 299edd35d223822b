package watch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// chaos is a Stream that breaks: before, in the middle of a set of changes, and
// after it. It is of one goroutine at a time, and of a world without others.
type chaos struct {
	watch.Stream
	mu     sync.Mutex
	r      *rand.Rand
	broken bool // from now on it holds
}

// errBroken is how it breaks.
var errBroken = errors.New("the connection broke")

// breaks decides whether it does now.
func (c *chaos) breaks() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken && c.r.IntN(4) == 0
}

// Watch implements watch.Stream.
func (c *chaos) Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	if c.breaks() {
		return errBroken
	}
	return c.Stream.Watch(ctx, m, req, func(msg proto.Message) error {
		if c.breaks() {
			return errBroken
		}
		if err := recv(msg); err != nil {
			return err
		}
		if c.breaks() {
			return errBroken
		}
		return nil
	})
}

// TestWatcher_Converges shows that a follower of random disconnections, trims
// and changes has what a list gives in the end, that the versions of an object
// never go back, and that the events lead from nothing to what it has.
// SPEC 1.F 40, 41, 42, 44.
func TestWatcher_Converges(t *testing.T) {
	t.Parallel()
	seeds(t, 150, func(t *testing.T, r *rand.Rand) {
		w := newWorld(t, newMemory(), watch.HubOptions{Recent: oneOf(r, 0, 2), Behind: oneOf(r, 0, 1), Probe: oneOf(r, 0, 3)})
		s := &sight{hidden: map[string]bool{}}
		filters := oneOf(r, nil, []string{"spec.power > 0"}, []string{"spec.power > 2", "display_name = \"x\"", "spec.power < 1"})
		net := &chaos{Stream: watch.Local{Hub: w.hub, Visible: s.visible}, r: rand.New(rand.NewPCG(r.Uint64(), 0)), broken: true}
		x := watch.NewWatcher[*samplev1.Robot](net, w.all, watch.WatcherOptions{
			Parent: "projects/p", Filters: filters, ReadMask: oneOf(r, nil, []string{"*"}), RecoveryDeadline: oneOf(r, 0, time.Minute),
		})
		told := map[string]*samplev1.Robot{}
		versions := map[string]store.Seq{}
		lost := false
		w.run(func(ctx context.Context) error {
			return x.Run(ctx, func(_ context.Context, e watch.Event[*samplev1.Robot]) error {
				switch e.Kind {
				case watch.LostSync:
					require.False(t, lost)
					lost = true
				case watch.Resync:
					require.True(t, lost)
					lost = false
				case watch.InSync:
					require.False(t, lost)
				case watch.Removed:
					require.False(t, lost)
					require.True(t, proto.Equal(told[e.Old.GetName()], e.Old))
					delete(told, e.Old.GetName())
				case watch.Set:
					require.False(t, lost)
					require.True(t, proto.Equal(told[e.New.GetName()], e.Old))
					told[e.New.GetName()] = e.New
					v, err := store.ParseVersion(e.New.GetMetadata().GetResourceVersion())
					require.NoError(t, err)
					require.GreaterOrEqual(t, v, versions[e.New.GetName()])
					versions[e.New.GetName()] = v
				}
				return nil
			})
		})
		for range 60 {
			for range r.IntN(4) {
				id := strconv.Itoa(r.IntN(8))
				switch r.IntN(8) {
				case 0:
					w.drop(id)
				case 1:
					s.hide(id, false)
				default:
					w.save(robot(id, oneOf(r, "x", "y"), float64(r.IntN(5))))
				}
			}
			if r.IntN(20) == 0 {
				require.NoError(t, w.st.Driver().Trim(t.Context(), 1<<40))
			}
			later(time.Duration(r.IntN(40)) * time.Second)
		}
		net.mu.Lock()
		net.broken = false
		net.mu.Unlock()
		later(time.Hour)
		want := map[string]*samplev1.Robot{}
		for _, text := range append(slices.Clone(filters), "false")[:max(1, len(filters))] {
			if text == "false" {
				text = ""
			}
			for _, o := range w.list("projects/p", text, nil) {
				want[o.GetName()] = o
			}
		}
		all := x.All()
		require.Len(t, all, len(want))
		for _, o := range all {
			require.True(t, proto.Equal(want[o.GetName()], o), "%v\n%v", want[o.GetName()], o)
			require.True(t, proto.Equal(told[o.GetName()], o))
		}
		require.Len(t, told, len(want))
	})
}

// TestStateless_ExactlyOnce shows that with several writers, and a receiver that
// goes on by his last token again and again, every change is received once and
// in the order of the commits. SPEC 1.F 39.
func TestStateless_ExactlyOnce(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{Recent: 16, Behind: 8}, func(w *world) {
		const writers, writes = 4, 50
		var done sync.WaitGroup
		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", MaxChunkSize: 3}, nil)
		c := newReceiver().apply(w.t, x.take()...)
		for i := range writers {
			done.Go(func() {
				for j := range writes {
					w.write(func(ctx context.Context) { // two robots at once, in step
						for _, id := range []string{"a", "b"} {
							w.set(ctx, robot(fmt.Sprint(id, i), strconv.Itoa(j), 1))
						}
					})
					time.Sleep(time.Duration(i) * time.Millisecond) // of the bubble
				}
			})
		}
		for range 60 {
			time.Sleep(3 * time.Millisecond)
			c.apply(w.t, x.take()...)
			x.stop()
			c.pending = nil
			x = w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", MaxChunkSize: 3, ResumeToken: c.token}, nil)
			for i := range writers { // what is committed is of whole transactions
				require.Equal(w.t, c.robots[name(fmt.Sprint("a", i))].GetDisplayName(), c.robots[name(fmt.Sprint("b", i))].GetDisplayName())
			}
		}
		done.Wait()
		c.apply(w.t, x.take()...).has(w.t, w.list("projects/p", "", nil))
		changes, err := w.st.Driver().Changes(w.t.Context(), 0, 1<<20)
		require.NoError(w.t, err)
		var want []string
		for _, x := range changes {
			want = append(want, string(x.Name)+"@"+store.FormatVersion(x.Seq))
		}
		require.Len(w.t, want, 2*writers*writes)
		require.Equal(w.t, want, c.order)
		require.Zero(w.t, c.hards)
		synctest.Wait()
	})
}

// failing is a Driver whose feed of changes fails for a while.
type failing struct {
	store.Driver
	mu   sync.Mutex
	down bool
}

// set makes it fail, or work again.
func (f *failing) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Changes implements store.Driver.
func (f *failing) Changes(ctx context.Context, after store.Seq, limit int) ([]store.Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errBroken
	}
	return f.Driver.Changes(ctx, after, limit)
}

// TestHub_SurvivesItsDatabase shows that watches go on after the changes could
// not be read for a while, and that a Relay does.
func TestHub_SurvivesItsDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &failing{Driver: newMemory()}
		w := newWorld(t, d, watch.HubOptions{})
		b := new(broker)
		defer w.relay(b, watch.RelayOptions{})()
		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p"}, nil)
		c := newReceiver().apply(t, x.take()...)
		d.set(true)
		w.save(robot("a", "1", 1), robot("a", "2", 1))
		later(time.Minute)
		require.Empty(t, x.take())
		d.set(false)
		later(time.Minute)
		c.apply(t, x.take()...).has(t, w.list("projects/p", "", nil))
		require.Len(t, c.order, 2)
		require.Len(t, b.ids(), 2)
	})
}
