package watch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/watch"
)

// robot is a robot with a power to filter by.
func robot(id, display string, power float64) *samplev1.Robot {
	return &samplev1.Robot{Name: name(id), DisplayName: display, Spec: &samplev1.RobotSpec{Power: power, Pin: "secret"}}
}

// SPEC 1.F 39: the snapshot comes in chunks, of which the last is current, with
// the number of objects and a token; then the changes do.
func TestStateless_SnapshotInChunks(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		w.write(func(ctx context.Context) {
			for i := range 25 {
				w.set(ctx, robot(fmt.Sprintf("r%02d", i), "x", 1))
			}
		})
		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", MaxChunkSize: 10}, nil)
		got := x.take()
		require.Len(w.t, got, 3)
		for i, r := range got {
			require.Len(w.t, r.GetRobotChanges(), []int{10, 10, 5}[i])
			require.Equal(w.t, i == 2, r.GetIsCurrent())
			require.Equal(w.t, []int64{-1, -1, 25}[i], r.GetSnapshotSize())
		}
		c := newReceiver().apply(w.t, got...)
		c.has(w.t, w.list("projects/p", "", nil))

		// A transaction is one set, however large.
		w.write(func(ctx context.Context) {
			for i := range 20 {
				w.set(ctx, robot(fmt.Sprintf("r%02d", i+10), "y", 1))
			}
		})
		got = x.take()
		require.Len(w.t, got, 2)
		require.False(w.t, got[0].GetIsCurrent())
		require.True(w.t, got[1].GetIsCurrent())
		c.apply(w.t, got...).has(w.t, w.list("projects/p", "", nil))

		none := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/none"}, nil).take()
		require.Len(w.t, none, 1)
		require.True(w.t, none[0].GetIsCurrent())
		require.Zero(w.t, none[0].GetSnapshotSize())
		newReceiver().apply(w.t, none...)
	})
}

// SPEC 1.F 39: a token goes on exactly after what it came with, for the same
// watch and no other.
func TestStateless_Resume(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		w.save(robot("a", "1", 1), robot("b", "1", 5))
		req := func() *samplev1.WatchRobotsRequest {
			return &samplev1.WatchRobotsRequest{Parent: "projects/p", Filter: "spec.power > 2"}
		}
		x := w.stateless(req(), nil)
		c := newReceiver().apply(w.t, x.take()...)
		x.stop()
		w.save(robot("c", "1", 5), robot("b", "2", 5), robot("a", "1", 7))
		w.remove("b")
		again := req()
		again.ResumeToken = c.token
		y := w.stateless(again, nil)
		c.order = nil
		c.apply(w.t, y.take()...).has(w.t, w.list("projects/p", "spec.power > 2", nil))
		require.Len(w.t, c.order, 4)
		require.Zero(w.t, c.hards)

		token := c.token
		f := func(edit func(*samplev1.WatchRobotsRequest)) {
			w.t.Helper()
			r := req()
			r.ResumeToken, r.Type = token, resourcev1.WatchType_STATELESS
			edit(r)
			err := open[*samplev1.WatchRobotsResponse](w, w.all, r, nil).err()
			require.Equal(w.t, "INVALID_RESUME_TOKEN", fault.ReasonOf(err))
		}
		f(func(r *samplev1.WatchRobotsRequest) { r.Filter = "" })
		f(func(r *samplev1.WatchRobotsRequest) { r.Parent = "projects/-" })
		f(func(r *samplev1.WatchRobotsRequest) { r.ReadMask = &fieldmaskpb.FieldMask{Paths: []string{"name"}} })
		f(func(r *samplev1.WatchRobotsRequest) { r.ResumeToken = token[1:] })
		// The same filter in other words is the same watch.
		again.Filter, again.ResumeToken = "(spec.power>2.0)", token
		require.Len(w.t, w.stateless(again, nil).take(), 1)
	})
}

// SPEC 1.F 41: a token whose changes are gone, or that is of a store with more
// changes than there are, makes for a hard reset and a snapshot.
func TestStateless_HardReset(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{Recent: 1}, func(w *world) {
		w.save(robot("a", "1", 1), robot("b", "1", 1))
		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p"}, nil)
		c := newReceiver().apply(w.t, x.take()...)
		x.stop()
		w.save(robot("c", "1", 1), robot("d", "1", 1))
		w.remove("a")
		require.NoError(w.t, w.st.Driver().Trim(context.Background(), 4))
		y := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", ResumeToken: c.token}, nil)
		c.apply(w.t, y.take()...).has(w.t, w.list("projects/p", "", nil))
		require.Equal(w.t, 1, c.hards)
		w.save(robot("a", "2", 1))
		c.apply(w.t, y.take()...).has(w.t, w.list("projects/p", "", nil))
		require.Equal(w.t, 1, c.hards)

		other := newWorld(w.t, newMemory(), watch.HubOptions{})
		other.save(robot("z", "1", 1))
		z := other.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", ResumeToken: c.token}, nil)
		c.apply(w.t, z.take()...).has(w.t, other.list("projects/p", "", nil))
		require.Equal(w.t, 2, c.hards)
	})
}

// SPEC 1.F 40: what happens while a snapshot is sent goes into it; if that is
// gone because the receiver is slow, he drops what he has not committed.
func TestStateless_SlowSnapshot(t *testing.T) {
	t.Parallel()
	f := func(t *testing.T, trim bool) {
		t.Helper()
		each(t, watch.HubOptions{Recent: 1}, func(w *world) {
			for i := range 30 {
				w.save(robot(fmt.Sprintf("r%02d", i), "1", 1))
			}
			gate := make(chan struct{})
			var once sync.Once
			held := func(context.Context, *schema.Resource, proto.Message) bool {
				once.Do(func() { <-gate })
				return true
			}
			x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", MaxChunkSize: 10}, held)
			release := x.block()
			close(gate)
			synctest.Wait() // the first chunk is on its way
			w.save(robot("r00", "2", 1), robot("r05x", "1", 1), robot("r25", "2", 1))
			w.remove("r01")
			w.remove("r20")
			if trim {
				require.NoError(w.t, w.st.Driver().Trim(context.Background(), 33))
			}
			release()
			c := newReceiver().apply(w.t, x.take()...)
			c.has(w.t, w.list("projects/p", "", nil))
			require.Len(w.t, c.sizes, 1)
			require.Zero(w.t, c.hards)
			if trim {
				require.Equal(w.t, 1, c.softs)
			} else {
				require.Zero(w.t, c.softs)
				require.Contains(w.t, strings.Join(c.order, " "), name("r01")+" ")
			}
			w.save(robot("r07", "3", 1))
			c.apply(w.t, x.take()...).has(w.t, w.list("projects/p", "", nil))
		})
	}
	t.Run("kept", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("trimmed", func(t *testing.T) { t.Parallel(); f(t, true) })
}

// SPEC 1.B B20: a watch from a time on has no snapshot; from one that the
// changes do not reach back to, it has.
func TestStateless_StartingTime(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		var times []time.Time
		for i := range 20 {
			later(time.Minute)
			times = append(times, time.Now())
			w.save(robot(fmt.Sprintf("r%02d", i), "1", 1))
		}
		f := func(since time.Time, want int, hards int) {
			w.t.Helper()
			x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", StartingTime: timestamppb.New(since)}, nil)
			c := newReceiver().apply(w.t, x.take()...)
			require.Len(w.t, c.robots, want)
			require.Equal(w.t, hards, c.hards)
			require.NotEmpty(w.t, c.token)
			x.stop()
		}
		f(times[0].Add(-time.Hour), 20, 0)
		f(times[0], 19, 0)
		f(times[0].Add(time.Second), 19, 0)
		f(times[9], 10, 0)
		f(times[18], 1, 0)
		f(times[19], 0, 0)
		f(time.Now().Add(time.Hour), 0, 0)
		require.NoError(w.t, w.st.Driver().Trim(context.Background(), 10))
		hub := watch.NewHub(w.st, watch.HubOptions{})
		w.run(hub.Run)
		w.hub = hub
		f(times[15], 4, 0)
		f(times[2], 20, 1)

		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", StartingTime: timestamppb.Now()}, nil)
		require.Len(w.t, x.take(), 1)
		later(time.Second)
		w.save(robot("r00", "2", 1))
		w.remove("r01")
		var changes []*samplev1.RobotChange
		for _, r := range x.take() {
			changes = append(changes, r.GetRobotChanges()...)
		}
		require.Len(w.t, changes, 2)
		require.Equal(w.t, "2", changes[0].GetSet().GetRobot().GetDisplayName())
		require.Equal(w.t, name("r01"), changes[1].GetRemoved().GetName())
	})
}

// TestStateless_Filter shows that objects come and go as they match, and 43,
// that what is masked out is not told.
func TestStateless_FilterAndMask(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		w.save(robot("a", "1", 1), robot("b", "1", 5))
		x := w.stateless(&samplev1.WatchRobotsRequest{
			Parent: "projects/-", Filter: "spec.power > 2", ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name", "metadata.resource_version", "spec.pin"}},
		}, nil)
		next := func() string {
			var out []string
			for _, r := range x.take() {
				for _, c := range r.GetRobotChanges() {
					if set := c.GetSet(); set != nil {
						out = append(out, fmt.Sprint(resource.Name(set.GetRobot().GetName()).ID(), "=", set.GetRobot().GetDisplayName(), set.GetIsNew()))
						require.Empty(w.t, set.GetRobot().GetSpec().GetPin())
					} else {
						out = append(out, "-"+resource.Name(c.GetRemoved().GetName()).ID())
					}
				}
			}
			return strings.Join(out, " ")
		}
		require.Equal(w.t, "b=1true", next())
		w.save(robot("a", "1", 7))
		require.Equal(w.t, "a=1true", next())
		w.save(robot("a", "1", 8), robot("a", "1", 9))
		require.Empty(w.t, next()) // SPEC 1.F 43
		w.save(robot("a", "2", 9))
		require.Equal(w.t, "a=2false", next())
		w.save(robot("a", "2", 0), robot("a", "3", 0))
		require.Equal(w.t, "-a", next())
		w.remove("a")
		w.remove("b")
		require.Equal(w.t, "-b", next())
		region := robot("x", "1", 5)
		region.Name = "projects/q/regions/r/robots/x"
		w.save(region)
		require.Empty(w.t, next()) // of another pattern than projects/-
	})
}

// sight is who sees what: all names but some.
type sight struct {
	mu     sync.Mutex
	hidden map[string]bool
}

// visible implements watch.Visible.
func (s *sight) visible(_ context.Context, r *schema.Resource, m proto.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.hidden[r.NameOf(m).ID()]
}

// hide and show change what is seen.
func (s *sight) hide(id string, hidden bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[id] = hidden
}

// TestStateless_Visible shows that of what one may not see nothing is told, not
// even that it went, unless he was shown it; also after a resumption.
func TestStateless_Visible(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		s := &sight{hidden: map[string]bool{"h": true}}
		w.save(robot("a", "1", 1), robot("b", "1", 1), robot("h", "1", 1))
		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p"}, s.visible)
		c := newReceiver().apply(w.t, x.take()...)
		require.Len(w.t, c.robots, 2)
		w.save(robot("h", "2", 1))
		require.Empty(w.t, x.take())
		s.hide("a", true)
		w.save(robot("a", "2", 1), robot("a", "3", 1))
		c.apply(w.t, x.take()...)
		require.Len(w.t, c.robots, 1)
		require.Len(w.t, c.order, 3) // a was removed once
		w.remove("a")
		s.hide("h", false)
		w.save(robot("h", "3", 1))
		c.apply(w.t, x.take()...)
		require.Len(w.t, c.robots, 2)
		require.Len(w.t, c.order, 4)

		// After a resumption it is not known who saw what.
		s.hide("h", true)
		w.save(robot("g", "1", 1))
		c.apply(w.t, x.take()...)
		x.stop()
		w.remove("h")
		y := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", ResumeToken: c.token}, s.visible)
		c.apply(w.t, y.take()...)
		require.Equal(w.t, 1, c.hards)
		require.Len(w.t, c.robots, 2)
		for _, o := range c.order[5:] {
			require.NotContains(w.t, o, name("h"))
		}
		require.Zero(w.t, c.wrong)

		// From a time on, what was never shown goes without a word.
		s.hide("k", true)
		z := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", StartingTime: timestamppb.Now()}, s.visible)
		later(time.Second)
		w.save(robot("k", "1", 1), robot("l", "1", 1))
		w.remove("k")
		d := newReceiver().apply(w.t, z.take()...)
		s.hide("l", true)
		w.save(robot("l", "2", 1))
		d.apply(w.t, z.take()...)
		require.Zero(w.t, d.hards)
		require.Equal(w.t, name("l"), d.order[1])
		require.Len(w.t, d.order, 2)
	})
}

// TestStateless_Bookmark shows that who watches what does not change has a token
// that does not expire, and is told his size.
func TestStateless_Bookmark(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{Recent: 1}, func(w *world) {
		w.save(robot("a", "1", 1))
		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p"}, nil)
		c := newReceiver().apply(w.t, x.take()...)
		later(time.Hour)
		require.Empty(w.t, x.take()) // nothing is new
		for i := range 10 {
			w.save(&samplev1.Robot{Name: fmt.Sprintf("projects/other/robots/r%d", i)})
		}
		require.Empty(w.t, x.take())
		later(31 * time.Second)
		got := x.take()
		require.Len(w.t, got, 1)
		require.EqualValues(w.t, 1, got[0].GetSnapshotSize())
		c.apply(w.t, got...)
		x.stop()
		require.NoError(w.t, w.st.Driver().Trim(context.Background(), 11))
		y := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p", ResumeToken: c.token}, nil)
		c.apply(w.t, y.take()...)
		require.Zero(w.t, c.hards)
	})
}

// TestHub_SlowWatcher shows that one who does not take his messages holds up
// nobody, and has everything in the end.
func TestHub_SlowWatcher(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{Recent: 8, Behind: 4}, func(w *world) {
		slow := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p"}, nil)
		fast := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p"}, nil)
		c, d := newReceiver().apply(w.t, slow.take()...), newReceiver().apply(w.t, fast.take()...)
		release := slow.block()
		for i := range 100 {
			w.save(robot(fmt.Sprintf("r%02d", i%10), fmt.Sprint(i), 1))
			d.apply(w.t, fast.take()...).has(w.t, w.list("projects/p", "", nil))
		}
		release()
		c.apply(w.t, slow.take()...).has(w.t, w.list("projects/p", "", nil))
		require.Equal(w.t, d.order, c.order) // none missed, none doubled

		release = slow.block()
		for i := range 100 {
			w.save(robot(fmt.Sprintf("r%02d", i%7), fmt.Sprint("x", i), 1))
			fast.take()
		}
		w.remove("r09")
		fast.take()
		require.NoError(w.t, w.st.Driver().Trim(context.Background(), 190))
		release()
		c.apply(w.t, slow.take()...).has(w.t, w.list("projects/p", "", nil))
		require.Equal(w.t, 1, c.hards) // SPEC 1.F 41
	})
}

// TestHub_JumpsOverWhatWasTrimmed shows that a Hub that could not keep up goes
// on, and that nobody misses anything.
func TestHub_JumpsOverWhatWasTrimmed(t *testing.T) {
	t.Parallel()
	each(t, watch.HubOptions{}, func(w *world) {
		x := w.stateless(&samplev1.WatchRobotsRequest{Parent: "projects/p"}, nil)
		c := newReceiver().apply(w.t, x.take()...)
		// All at once for the Hub: it does not run while this does.
		for i := range 10 {
			require.NoError(w.t, w.st.Run(context.Background(), store.Transaction, func(ctx context.Context) error {
				return w.st.Save(ctx, robot(fmt.Sprint("r", i), "1", 1), store.SaveOptions{})
			}))
		}
		require.NoError(w.t, w.st.Driver().Trim(context.Background(), 10))
		c.apply(w.t, x.take()...).has(w.t, w.list("projects/p", "", nil))
		w.save(robot("z", "1", 1))
		c.apply(w.t, x.take()...).has(w.t, w.list("projects/p", "", nil))
	})
}
