package scheduler_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/policy"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/store"
)

// million is how many timers the benchmark has; due is how many of them fire at
// once.
const (
	million = 1_000_000
	due     = 50_000
)

// fill makes the timers of the benchmark: the first ones are due in a minute.
func fill(b *testing.B, w *world) {
	b.Helper()
	ctx := policy.With(w.ctx, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"local"}, DefaultControlRegion: "local"})
	for from := 0; from < million; from += 2000 {
		require.NoError(b, w.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
			for i := from; i < from+2000; i++ {
				next := timestamppb.New(start.Add(24*time.Hour + time.Duration(i)*time.Second))
				if i < due {
					next = timestamppb.New(start.Add(time.Minute))
				}
				if err := w.store.Save(ctx, &schedulerv1.Timer{
					Name:     fmt.Sprintf("projects/p/timers/timer-%07d", i),
					Schedule: &schedulerv1.Timer_Interval{Interval: &schedulerv1.Interval{Period: durationpb.New(time.Hour), Anchor: next}},
					Event:    &schedulerv1.TimerEvent{Type: "com.example.tick", Content: &schedulerv1.TimerEvent_Data{Data: `{"n":1}`}},
					Status:   &schedulerv1.TimerStatus{State: schedulerv1.TimerStatus_WAITING, NextSlot: next, NextFire: next},
				}, store.SaveOptions{Create: true, Presume: true}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// heap is the memory in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMillion is what a million timers cost: the start, the memory of each,
// and how many fire a second, into a broker on disk.
func BenchmarkMillion(b *testing.B) {
	w := newWorld(b)
	w.open(false)
	fill(b, w)
	for b.Loop() {
		s := w.open(false)
		before, begin := heap(), time.Now()
		w.step(s)
		b.ReportMetric(time.Since(begin).Seconds(), "s/load")
		b.ReportMetric(float64(heap()-before)/million, "B/timer")
		w.pass(time.Minute)
		begin = time.Now()
		w.step(s)
		b.ReportMetric(float64(due)/time.Since(begin).Seconds(), "fires/s")
		require.Len(b, w.slots(), due)
		w.pass(59 * time.Minute)
	}
}
