package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// listed is how many objects the benchmark of lists has.
const listed = 1_000_000

// Bench measures a driver. Each call of open makes a new, empty database.
func Bench(b *testing.B, open Open) {
	for _, sorted := range []bool{true, false} {
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("Create/%s/committers=%d", map[bool]string{true: "ascending", false: "random"}[sorted], n), func(b *testing.B) {
				benchCreate(b, newKit(b, open(b)), sorted, n)
			})
		}
	}
	b.Run("Update/committers=16", func(b *testing.B) { benchUpdate(b, newKit(b, open(b)), 16) })
	b.Run("Get/readers=4", func(b *testing.B) { benchGet(b, newKit(b, open(b)), 4) })
	b.Run("List", func(b *testing.B) { benchList(b, newKit(b, open(b))) })
}

// device is a write that creates an object of 400 bytes with 6 entries as a
// device of a fleet has them: three labels of few values, one that is its own,
// a time and a state.
func device(name resource.Name, n uint64) store.Write {
	body := make([]byte, 400)
	binary.BigEndian.PutUint64(body, n)
	when := binary.BigEndian.AppendUint64(nil, 1_770_000_000_000_000_000+n)
	return put(nil, name, string(body),
		entry("metadata.labels", "env", fmt.Sprint("env", n%3)),
		entry("metadata.labels", "site", fmt.Sprint("site", n%100)),
		entry("metadata.labels", "model", fmt.Sprint("model", n%10)),
		entry("spec.serial", "", fmt.Sprintf("%016x", n*0x9E3779B97F4A7C15)),
		entry("metadata.create_time", "", string(when)),
		entry("status.state", "", fmt.Sprint(n%4)),
	)
}

// concurrently calls f b.N times from so many goroutines, with the number of the
// goroutine.
func concurrently(b *testing.B, goroutines int, f func(worker int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	b.ResetTimer()
	for n := range goroutines {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// benchCreate has committers create objects, each in a batch of its own.
func benchCreate(b *testing.B, k *kit, ascending bool, committers int) {
	var n atomic.Uint64
	b.ReportAllocs()
	concurrently(b, committers, func(int) error {
		i := n.Add(1)
		name := resource.Name(fmt.Sprintf("projects/p/devices/d%09d", i))
		if !ascending {
			name = resource.Name(fmt.Sprintf("projects/p/devices/%016x", rand.Uint64()))
		}
		_, err := k.Commit(k.ctx, batch(device(name, i)))
		return err
	})
}

// benchUpdate has committers replace objects of their own.
func benchUpdate(b *testing.B, k *kit, committers int) {
	const each = 64
	recs := make([][]*store.Record, committers)
	for w := range recs {
		for i := range each {
			n := uint64(w*each + i)
			x := batch(device(resource.Name(fmt.Sprintf("projects/p/devices/d%09d", n)), n))
			_, err := k.Commit(k.ctx, x)
			require.NoError(b, err)
			recs[w] = append(recs[w], x.Writes[0].After)
		}
	}
	concurrently(b, committers, func(w int) error {
		i := rand.IntN(each)
		was := recs[w][i]
		x := batch(put(was, was.Name, string(was.Body)))
		_, err := k.Commit(k.ctx, x)
		recs[w][i] = x.Writes[0].After
		return err
	})
}

// Fill creates so many objects as the benchmarks have them, and returns their
// names.
func Fill(t testing.TB, d store.Driver, n int) []resource.Name {
	t.Helper()
	k := newKit(t, d)
	var names []resource.Name
	for len(names) < n {
		var writes []store.Write
		for range min(2000, n-len(names)) {
			i := uint64(len(names))
			name := resource.Name(fmt.Sprintf("projects/p%d/devices/d%09d", i%10, i))
			names, writes = append(names, name), append(writes, device(name, i))
		}
		k.commit(writes...)
	}
	require.NoError(t, k.Trim(k.ctx, k.last()))
	return names
}

// benchGet reads one object by a snapshot of its own.
func benchGet(b *testing.B, k *kit, readers int) {
	names := Fill(b, k.Driver, 100_000)
	b.ReportAllocs()
	concurrently(b, readers, func(int) error {
		s, _, err := k.Snapshot(k.ctx)
		if err != nil {
			return err
		}
		recs, err := s.Get(k.ctx, thing, []resource.Name{names[rand.IntN(len(names))]})
		if err != nil || recs[0] == nil {
			return errors.Join(errors.New("no object"), err)
		}
		return s.Close()
	})
}

// benchList reads pages of 100 of a million objects.
func benchList(b *testing.B, k *kit) {
	names := Fill(b, k.Driver, listed)
	page := func(q store.Scan) func(*testing.B) {
		return func(b *testing.B) {
			q.Type, q.Limit = thing, 100
			for b.Loop() {
				k.view(func(s store.Snapshot, _ store.Seq) {
					n := 0
					if err := s.Scan(k.ctx, q, func(*store.Record) bool { n++; return true }); err != nil || n != 100 {
						b.Fatal(n, err)
					}
				})
			}
		}
	}
	middle := names[len(names)/2]
	newest := []store.OrderKey{{Index: "metadata.create_time", Desc: true}}
	b.Run("Label", page(store.Scan{Where: []filter.Condition{in("metadata.labels", "site", "site42")}, After: &store.Position{Name: middle}}))
	b.Run("Parent", page(store.Scan{From: "projects/p5/", To: "projects/p50", After: &store.Position{Name: "projects/p5/devices/d0005"}}))
	b.Run("TwoLabels", page(store.Scan{Where: []filter.Condition{in("metadata.labels", "site", "site42"), in("metadata.labels", "env", "env1")}}))
	b.Run("Newest", page(store.Scan{Order: newest}))
	b.Run("NewestOfLabel", page(store.Scan{Order: newest, Where: []filter.Condition{in("metadata.labels", "site", "site42")}}))
	b.Run("NewestOfParent", page(store.Scan{Order: newest, From: "projects/p5/", To: "projects/p50"}))
	b.Run("ByState", page(store.Scan{Order: []store.OrderKey{{Index: "status.state"}}}))
	b.Run("CountOfLabel", func(b *testing.B) {
		for b.Loop() {
			k.view(func(s store.Snapshot, _ store.Seq) {
				n, err := s.Count(k.ctx, store.Scan{Type: thing, Where: []filter.Condition{in("metadata.labels", "site", "site42")}})
				require.NoError(b, err)
				require.Equal(b, listed/100, int(n))
			})
		}
	})
}
