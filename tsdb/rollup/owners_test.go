package rollup_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/rollup"
)

// sums are the sums that are kept of some devices in the window that ends
// at that time before noon, as far as nothing is marked.
func sums(tb testing.TB, k *rollup.Keeper, before time.Duration, devices int) []float64 {
	tb.Helper()
	out := make([]float64, devices)
	for i := range out {
		out[i] = kept(tb, k, rollup.Sum, device(i))[millis(noon.Add(-before))].Sum
	}
	return out
}

// gated is a storage whose next Select of the time three hours before noon waits,
// after it has read.
type gated struct {
	*memory.Store

	// waiting is told when it waits, go has it go on; nil lets it pass.
	waiting, resume chan struct{}
}

// Select implements tsdb.Store.
func (g *gated) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	err := g.Store.Select(ctx, sel, visit)
	if at := millis(noon.Add(-3 * time.Hour)); g.waiting != nil && sel.Project == "p" && sel.Interval.Start <= at && at <= sel.Interval.End {
		waiting := g.waiting
		g.waiting = nil
		close(waiting)
		<-g.resume
	}
	return err
}

// Two writers of one storage divide the series; each marks what it writes, and
// its owner computes it.
func TestOwners_Share(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
	one, two := b.keeper(t, true), b.keeper(t, true)
	const devices = 40
	var batch []tsdb.Sample
	for i := range devices {
		batch = append(batch, at(i, 3*time.Hour, float64(i+1)))
	}
	require.NoError(t, one.Append(t.Context(), batch[:20]))
	require.NoError(t, two.Append(t.Context(), batch[20:]))
	settle(t, one)
	b.pass(5 * time.Minute) // all slots were the first one's: it gives the second its share
	for range 3 {
		settle(t, two)
		settle(t, one)
	}
	statuses, err := one.Statuses(t.Context(), "p", "m")
	require.NoError(t, err)
	require.EqualValues(t, 2, statuses[0].Owners)
	want := sums(t, one, 3*time.Hour, devices)
	for i, v := range want {
		require.Equal(t, float64(i+1), v)
	}

	// Each is told of late points of all series, and has them computed by the
	// owner.
	for i := range batch {
		batch[i].Time++
		batch[i].Time -= 2
		want[i] *= 2
	}
	require.NoError(t, one.Append(t.Context(), batch[20:]))
	require.NoError(t, two.Append(t.Context(), batch[:20]))
	require.NoError(t, one.Sync(t.Context()))
	require.NoError(t, two.Sync(t.Context()))
	settle(t, one)
	require.NotEqual(t, want, sums(t, one, 3*time.Hour, devices), "half of them are the other one's")
	settle(t, two)
	require.Equal(t, want, sums(t, one, 3*time.Hour, devices))
}

// When an owner dies, the other one computes its series when the lease is over.
func TestOwners_Death(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
	dead, heir := b.keeper(t, true), b.keeper(t, true)
	require.NoError(t, dead.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1)}))
	settle(t, dead)
	require.NoError(t, heir.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour+time.Minute, 2), at(2, 3*time.Hour+time.Minute, 5)}))
	require.NoError(t, heir.Sync(t.Context()))
	settle(t, heir)
	require.Equal(t, []float64{0, 1, 0}, sums(t, heir, 3*time.Hour, 3), "the lease is not over")
	b.pass(5 * time.Minute)
	settle(t, heir)
	require.Equal(t, []float64{0, 3, 5}, sums(t, heir, 3*time.Hour, 3))
}

// An owner that was paused in the middle of computing, and comes back after
// another one computed the same with more, changes nothing: what it writes has
// been overtaken, and what it would declare done is refused. SPEC A6
func TestOwners_Paused(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} { // in a first computation, and in another one
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
			slow := &gated{Store: b.store.(*memory.Store)}
			b.store = slow
			paused := b.keeper(t, true)
			b.store = slow.Store
			require.NoError(t, paused.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1)}))
			if late {
				settle(t, paused)
				require.NoError(t, paused.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour+1*time.Minute, 1)}))
				require.NoError(t, paused.Sync(t.Context()))
			}
			slow.waiting, slow.resume = make(chan struct{}), make(chan struct{})
			waiting, done := slow.waiting, make(chan error, 1)
			go func() {
				for {
					if more, err := paused.Step(context.Background()); err != nil || !more {
						done <- err
						return
					}
				}
			}()
			<-waiting // it has read the point, and written nothing

			b.pass(5 * time.Minute)
			other := b.keeper(t, true)
			require.NoError(t, other.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour+2*time.Minute, -8)}))
			require.NoError(t, other.Sync(t.Context()))
			settle(t, other)
			want := sums(t, other, 3*time.Hour, 2)
			require.Equal(t, map[bool]float64{false: -7, true: -6}[late], want[1], "less than what the paused one has, which would stay if it were the same version")

			close(slow.resume)
			require.Error(t, <-done)
			require.Equal(t, want, sums(t, other, 3*time.Hour, 2))
			require.NoError(t, other.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour+3*time.Minute, -16)}))
			require.NoError(t, other.Sync(t.Context()))
			settle(t, other)
			require.Equal(t, want[1]-16, sums(t, other, 3*time.Hour, 2)[1])
		})
	}
}

// A writer that was paused in the middle of an Append, while another one
// computed its window, finds out when it syncs.
func TestOwners_PausedAppend(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
	slow, other := b.keeper(t, true), b.keeper(t, true)
	b.pass(time.Second)
	fresh := tsdb.Sample{Series: device(1), Time: millis(b.clock()), Value: 3}
	require.NoError(t, slow.Append(t.Context(), []tsdb.Sample{fresh}))
	// As if it had taken effect only after the other one had read.
	hidden := memory.New(nil)
	inner := b.store
	b.store = hidden
	blind := b.keeper(t, true)
	b.store = inner
	b.pass(2 * time.Hour)
	settle(t, blind)
	require.Empty(t, kept(t, other, rollup.Sum, device(1)))
	require.NoError(t, slow.Sync(t.Context()))
	v, err := slow.View(t.Context(), slow.Rules("p", "m")[0], tsdb.Interval{Start: 0, End: millis(b.clock())})
	require.NoError(t, err)
	require.True(t, v.Whole[millis(noon.Add(time.Hour))], "the window must not be believed")
	b.pass(time.Hour)
	settle(t, other)
	settle(t, other)
	require.Equal(t, 3., kept(t, other, rollup.Sum, device(1))[millis(noon.Add(time.Hour))].Sum)
}

// Whoever writes, computes, dies and returns: in the end every window is what
// its points are, and nothing is left to do.
func TestOwners_AnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
		b.most = rapid.SampledFrom([]int{1, 2, 1000}).Draw(rt, "marks")
		keepers := []*rollup.Keeper{b.keeper(t, true), b.keeper(t, true), b.keeper(t, true)}
		want := map[int]float64{}
		for n := range rapid.IntRange(1, 15).Draw(rt, "steps") {
			i := rapid.IntRange(0, len(keepers)-1).Draw(rt, "who")
			k := keepers[i]
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				d, v := rapid.IntRange(0, 5).Draw(rt, "device"), float64(n+1)
				require.NoError(rt, k.Append(t.Context(), []tsdb.Sample{at(d, 3*time.Hour+time.Duration(n)*time.Second, v)}))
				require.NoError(rt, k.Sync(t.Context()))
				want[d] += v
			case 1:
				_, err := k.Step(t.Context())
				require.NoError(rt, err)
			case 2:
				b.pass(time.Duration(rapid.IntRange(1, 120).Draw(rt, "seconds")) * time.Second)
			case 3:
				keepers[i] = b.keeper(t, true)
			}
		}
		b.pass(10 * time.Minute)
		for range 4 {
			for _, k := range keepers {
				settle(t, k)
			}
		}
		for i, v := range sums(t, keepers[0], 3*time.Hour, 6) {
			require.Equal(rt, want[i], v, "device %d", i)
		}
		statuses, err := keepers[0].Statuses(t.Context(), "p", "m")
		require.NoError(rt, err)
		require.Zero(rt, statuses[0].Marked)
	})
}
