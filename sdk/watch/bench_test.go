package watch_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/watch"
)

// BenchmarkFanOut is what it takes to tell 1,000 watchers of one collection of
// a change: of everything, by one of 10 filters, and with a message encoded for
// each watcher. Changes come in transactions of 100.
func BenchmarkFanOut(b *testing.B) {
	for _, filters := range []int{1, 10} {
		for _, encode := range []bool{false, true} {
			b.Run(fmt.Sprintf("filters=%d/encode=%t", filters, encode), func(b *testing.B) { fanOut(b, filters, encode) })
		}
	}
}

// fanOut is one case of BenchmarkFanOut.
func fanOut(b *testing.B, filters int, encode bool) {
	const watchers, writes = 1000, 100
	w := newWorld(b, newMemory(), watch.HubOptions{})
	var told atomic.Int64
	idle := make(chan struct{}, 1)
	target := int64(watchers)
	for i := range watchers {
		req := &samplev1.WatchRobotsRequest{Type: resourcev1.WatchType_STATELESS, Parent: "projects/p", Filter: fmt.Sprintf("spec.power >= -%d", i%filters)}
		w.run(func(ctx context.Context) error {
			_ = w.hub.Serve(ctx, w.all, req, nil, func(m proto.Message) error {
				if encode {
					if _, err := proto.Marshal(m); err != nil {
						return err
					}
				}
				n := int64(1)
				if r, ok := m.(*samplev1.WatchRobotsResponse); ok && len(r.GetRobotChanges()) > 0 {
					n = int64(len(r.GetRobotChanges()))
				}
				if told.Add(n) == atomic.LoadInt64(&target) {
					idle <- struct{}{}
				}
				return nil
			})
			return nil
		})
	}
	<-idle // every watch has said that it is current
	round := 0
	b.ReportAllocs()
	for b.Loop() {
		round++
		atomic.AddInt64(&target, watchers*writes)
		w.write(func(ctx context.Context) {
			for i := range writes {
				w.set(ctx, robot(fmt.Sprint("r", i), fmt.Sprint(round), 1))
			}
		})
		<-idle
	}
	b.ReportMetric(float64(b.N)*watchers*writes/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkIdleWatcher is the memory of a watcher to whom nothing happens.
func BenchmarkIdleWatcher(b *testing.B) {
	const watchers = 10_000
	w := newWorld(b, newMemory(), watch.HubOptions{})
	w.save(robot("a", "1", 1))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		before := heap()
		ctx, cancel := context.WithCancel(b.Context())
		current, done := make(chan struct{}, watchers), make(chan struct{}, watchers)
		for range watchers {
			req := &samplev1.WatchRobotsRequest{Type: resourcev1.WatchType_STATELESS, Parent: "projects/p"}
			go func() {
				_ = w.hub.Serve(ctx, w.all, req, nil, func(proto.Message) error { current <- struct{}{}; return nil })
				done <- struct{}{}
			}()
		}
		for range watchers {
			<-current
		}
		b.ReportMetric(float64(heap()-before)/watchers, "bytes/watcher")
		cancel()
		for range watchers {
			<-done
		}
	}
}
