package store_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
)

// history is what transactions saw and did, each at its place in the order of
// commits.
type history struct {
	mu  sync.Mutex
	all []event
}

// event is a transaction: the versions that it read, 0 for none, and what its
// list found, if it made one. What it wrote is in the feed.
type event struct {
	seq    store.Seq
	reads  map[resource.Name]store.Seq
	listed map[resource.Name]store.Seq
	power  float64
}

// versions are the versions of objects.
func (w *world) versions(all []proto.Message) map[resource.Name]store.Seq {
	out := map[resource.Name]store.Seq{}
	for _, m := range all {
		r, _ := m.(*samplev1.Robot)
		v, err := store.ParseVersion(r.GetMetadata().GetResourceVersion())
		require.NoError(w.t, err)
		out[resource.Name(r.GetName())] = v
	}
	return out
}

// random does a random transaction and notes it.
func (w *world) random(rng *rand.Rand, h *history) error {
	for {
		e := event{reads: map[resource.Name]store.Seq{}, power: float64(rng.IntN(4))}
		ctx, tx, err := w.Begin(w.ctx, store.Transaction)
		if err != nil {
			return err
		}
		err = w.touch(ctx, rng, &e)
		if err == nil {
			e.seq, err = tx.Commit(ctx)
		}
		tx.Close()
		switch {
		case fault.KindOf(err) == fault.Conflict && err != nil:
			continue
		case err != nil:
			return err
		}
		h.mu.Lock()
		h.all = append(h.all, e)
		h.mu.Unlock()
		return nil
	}
}

// touch reads some robots, perhaps lists some, and changes some.
func (w *world) touch(ctx context.Context, rng *rand.Rand, e *event) error {
	var names []resource.Name
	for _, i := range rng.Perm(12)[:1+rng.IntN(3)] {
		names = append(names, robot(fmt.Sprintf("r%d", i)))
	}
	all, err := w.BatchGet(ctx, w.robots, names)
	if err != nil {
		return err
	}
	var there []proto.Message
	for i, m := range all {
		if e.reads[names[i]] = 0; m != nil {
			there = append(there, m)
		}
	}
	maps.Copy(e.reads, w.versions(there))
	if rng.IntN(3) == 0 {
		page, err := w.List(ctx, w.robots, w.query("", fmt.Sprintf("spec.power = %v", e.power), "", 100))
		if err != nil {
			return err
		}
		e.listed = w.versions(page.Objects)
	}
	for i, n := range names[:1+rng.IntN(len(names))] {
		switch {
		case all[i] == nil || rng.IntN(3) > 0:
			m := machine(string(n), float64(rng.IntN(4)), fmt.Sprint(rng.Int()))
			err = w.Save(ctx, m, store.SaveOptions{})
		default:
			err = w.Delete(ctx, w.robots, n, store.DeleteOptions{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Transactions that run at the same time do what they would one after the other
// in the order of their commits: each saw what the ones before it had made, by
// name and by condition.
func TestTransactions_AreSerial(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, w *world) {
		const workers, each = 6, 60
		h := &history{}
		var all sync.WaitGroup
		for i := range workers {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				for range each {
					if err := w.random(rng, h); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		changes, err := w.Driver().Changes(w.ctx, 0, 100_000)
		require.NoError(t, err)
		slices.SortFunc(h.all, func(a, b event) int { return cmp.Compare(a.seq, b.seq) })
		now, power := map[resource.Name]store.Seq{}, map[resource.Name]float64{}
		for _, e := range h.all {
			var mine []store.Change
			for len(changes) > 0 && changes[0].Seq <= e.seq {
				mine, changes = append(mine, changes[0]), changes[1:]
			}
			for n, v := range e.reads {
				require.Equal(t, now[n], v, "%s as read by the transaction of %d", n, e.seq)
			}
			if e.listed != nil {
				want := map[resource.Name]store.Seq{}
				for n, v := range now {
					if power[n] == e.power {
						want[n] = v
					}
				}
				require.Equal(t, want, e.listed, "the list of the transaction of %d", e.seq)
			}
			for _, c := range mine {
				require.Equal(t, now[c.Name], c.BeforeVersion)
				delete(now, c.Name)
				if c.After != nil {
					m, err := store.Decode(w.robots, &store.Record{Body: c.After, Version: c.Seq})
					require.NoError(t, err)
					r, _ := m.(*samplev1.Robot)
					now[c.Name], power[c.Name] = c.Seq, r.GetSpec().GetPower()
				}
			}
			if len(mine) > 0 {
				require.True(t, mine[len(mine)-1].Last)
			}
		}
		require.Empty(t, changes)
		page := w.list(store.Query{Limit: 100})
		require.Equal(t, now, w.versions(page.Objects))

		// The counter of the quota is right at every moment, so at the end.
		snap, _, err := w.Driver().Snapshot(w.ctx)
		require.NoError(t, err)
		counters, err := snap.Counters(w.ctx, "quota projects/p ")
		require.NoError(t, errorsOf(err, snap.Close()))
		require.Equal(t, map[string]int64{"quota projects/p sample.selvedge.dev/Robot eu": int64(len(now))}, counters)
	})
}

// errorsOf is the first error.
func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// What moves from one to another is never seen in both or in neither, and no
// move is lost.
func TestTransactions_SnapshotsAreWhole(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, w *world) {
		const robots, movers, each = 5, 4, 40
		for i := range robots {
			w.save(machine(string(robot(fmt.Sprint("r", i))), 100, "red"))
		}
		ctx, stop := context.WithCancel(w.ctx)
		var move, read sync.WaitGroup
		for i := range movers {
			move.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 2))
				for range each {
					pick := rng.Perm(robots)
					from, to := robot(fmt.Sprint("r", pick[0])), robot(fmt.Sprint("r", pick[1]))
					for {
						err := w.do(func(ctx context.Context) error { return w.move(ctx, from, to) })
						if err == nil {
							break
						}
						if fault.KindOf(err) != fault.Conflict {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		read.Go(func() {
			for ctx.Err() == nil {
				sum := 0.0
				err := w.Run(w.ctx, store.Consistent, func(ctx context.Context) error {
					sum = 0
					for i := range robots {
						m, err := w.Get(ctx, w.robots, robot(fmt.Sprint("r", i)))
						if err != nil {
							return err
						}
						r, _ := m.(*samplev1.Robot)
						sum += r.GetSpec().GetPower()
					}
					return nil
				})
				if err != nil || sum != 100*robots {
					t.Errorf("a snapshot has %v: %v", sum, err)
					return
				}
			}
		})
		move.Wait()
		stop()
		read.Wait()
		moved := int64(0)
		for _, m := range w.list(store.Query{Limit: 100}).Objects {
			r, _ := m.(*samplev1.Robot)
			moved += r.GetMetadata().GetGeneration() - 1
		}
		require.Equal(t, int64(2*movers*each), moved)
	})
}

// move moves one unit of power.
func (w *world) move(ctx context.Context, from, to resource.Name) error {
	all, err := w.BatchGet(ctx, w.robots, []resource.Name{from, to})
	if err != nil {
		return err
	}
	a, _ := all[0].(*samplev1.Robot)
	b, _ := all[1].(*samplev1.Robot)
	a.Spec.Power--
	b.Spec.Power++
	if err := w.Save(ctx, a, store.SaveOptions{}); err != nil {
		return err
	}
	return w.Save(ctx, b, store.SaveOptions{})
}

// A cached answer is never older than the commits before the question.
func TestCache_IsExact(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, w *world) {
		const each = 100
		var all sync.WaitGroup
		for i := range 3 {
			name := robot(fmt.Sprint("r", i))
			for range 2 {
				all.Go(func() { // who reads all the time fills the cache with what is old soon
					for range 20 * each {
						_ = w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
							_, err := w.GetShared(ctx, w.robots, name)
							return err
						})
					}
				})
			}
			all.Go(func() {
				for n := range each {
					err := w.do(func(ctx context.Context) error {
						if n%7 == 6 {
							return w.Delete(ctx, w.robots, name, store.DeleteOptions{})
						}
						return w.Save(ctx, machine(string(name), float64(n), "red"), store.SaveOptions{})
					})
					got := w.get(name)
					if err != nil || (got == nil) != (n%7 == 6) || got != nil && got.GetSpec().GetPower() != float64(n) {
						t.Errorf("after the write %d there is %v: %v", n, got, err)
						return
					}
				}
			})
		}
		all.Wait()
	})
}

// What is handed out is the caller's own, but for what is said to be shared.
func TestCache_HandsOutClones(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.save(machine(string(robot("a")), 1, "red"))
	w.get(robot("a")).DisplayName = "mine"
	require.Equal(t, "the red robot", w.get(robot("a")).GetDisplayName())
	require.NoError(t, w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
		a, err := w.GetShared(ctx, w.robots, robot("a"))
		require.NoError(t, err)
		b, err := w.GetShared(ctx, w.robots, robot("a"))
		require.NoError(t, err)
		require.Same(t, a, b)
		return nil
	}))
}
