package audit_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/sdk/audit"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlite"
)

// discard takes records and counts them.
type discard struct{ n atomic.Int64 }

// take counts records.
func (d *discard) take(_ context.Context, records []audit.Record) error {
	d.n.Add(int64(len(records)))
	return nil
}

// BenchmarkUpdate is updates on a disk, by 64 at a time, each of a robot of its
// own: without an audit, with one, and with a relay beside it.
func BenchmarkUpdate(b *testing.B) {
	for _, mode := range []string{"plain", "noted", "relayed"} {
		b.Run(mode, func(b *testing.B) {
			w := benchWorld(b, mode != "plain")
			const robots = 256
			for i := range robots {
				w.robot(fmt.Sprint("r", i), &samplev1.Robot{DisplayName: "a robot", Spec: &samplev1.RobotSpec{Color: "red"}})
			}
			var sink discard
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			if mode == "relayed" {
				go func() { done <- audit.NewRelay(w.store, sink.take, audit.RelayOptions{}).Run(ctx) }()
			} else {
				done <- nil
			}
			var n atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			used := cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				id := n.Add(1)
				for i := 0; pb.Next(); i++ {
					_, err := w.try(w.ctx, "RobotService.UpdateRobot", &samplev1.UpdateRobotRequest{
						Robot:      &samplev1.Robot{Name: fmt.Sprint("projects/p/robots/r", id%robots), Spec: &samplev1.RobotSpec{Power: float64(i + 1)}},
						UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"spec.power"}},
					})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			cancel()
			require.NoError(b, <-done)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpuTime is what the process has used of the processors, which on a busy machine
// says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchWorld is a world with or without an audit.
func benchWorld(b *testing.B, audited bool) *world {
	d, err := sqlite.OpenDriver(b.Context(), filepath.Join(b.TempDir(), "x.db"), sqlite.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, d.Close()) })
	w := newWorld(b, d)
	if audited {
		w.reads = audit.DefaultReads
		return w
	}
	plain := *w
	plain.store = store.New(w.driver, w.store.Types(), store.Options{Plugins: w.plugins[:len(w.plugins)-1], Cached: 1000})
	o := w.options
	o.Audit, o.Methods = nil, fleet(&plain)
	plain.Service, err = service.New(w.Schema(), plain.store, o)
	require.NoError(b, err)
	return &plain
}

// nowhere is a driver that says it did what it is asked to and does nothing: a
// benchmark over it measures everything else.
type nowhere struct {
	store.Driver
	seq store.Seq
}

// Commit implements [store.Driver].
func (d *nowhere) Commit(_ context.Context, b *store.Batch) (store.Seq, error) {
	for _, w := range b.Writes {
		d.seq++
		if w.After != nil {
			w.After.Version = d.seq
		}
	}
	return d.seq, nil
}

// BenchmarkUpdateNowhere is an update but for the database, without an audit and
// with one.
func BenchmarkUpdateNowhere(b *testing.B) {
	for _, audited := range []bool{false, true} {
		b.Run(fmt.Sprint("audited=", audited), func(b *testing.B) {
			w := benchWorld(b, audited)
			w.robot("r", &samplev1.Robot{DisplayName: "a robot", Spec: &samplev1.RobotSpec{Color: "red"}})
			w.driver.Driver = &nowhere{Driver: w.driver.Driver, seq: 100}
			b.ReportAllocs()
			used := cpuTime(b)
			for i := 0; b.Loop(); i++ {
				_, err := w.try(w.ctx, "RobotService.UpdateRobot", &samplev1.UpdateRobotRequest{
					Robot:      &samplev1.Robot{Name: "projects/p/robots/r", Spec: &samplev1.RobotSpec{Power: float64(i + 1)}},
					UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"spec.power"}},
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// BenchmarkRecords makes the records of an update: what the relay does for each.
func BenchmarkRecords(b *testing.B) {
	w := benchWorld(b, true)
	w.robot("r", &samplev1.Robot{DisplayName: "a robot", Spec: &samplev1.RobotSpec{Color: "red"}})
	at, err := w.store.Driver().Changes(b.Context(), 0, 1000)
	require.NoError(b, err)
	w.do("RobotService.UpdateRobot", &samplev1.UpdateRobotRequest{
		Robot:      &samplev1.Robot{Name: "projects/p/robots/r", Spec: &samplev1.RobotSpec{Power: 1}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"spec.power"}},
	})
	changes, err := w.store.Driver().Changes(b.Context(), at[len(at)-1].Seq, 1000)
	require.NoError(b, err)
	bytes := 0
	b.ReportAllocs()
	for b.Loop() {
		records, err := w.relay.Records(b.Context(), changes)
		require.NoError(b, err)
		bytes = 0
		for _, r := range records {
			bytes += len(r.JSON)
		}
	}
	b.ReportMetric(float64(bytes), "JSON-bytes")
	b.ReportMetric(float64(len(changes[len(changes)-1].After)), "note-bytes")
}

// BenchmarkGet is reads that the cache answers: without an audit and with one
// that records a part of them.
func BenchmarkGet(b *testing.B) {
	for _, audited := range []bool{false, true} {
		b.Run(fmt.Sprint("audited=", audited), func(b *testing.B) {
			w := benchWorld(b, audited)
			w.robot("r", &samplev1.Robot{DisplayName: "a robot"})
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- w.recorder.Run(ctx, w.store) }()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.try(w.ctx, "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/r"}); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			require.NoError(b, <-done)
		})
	}
}
