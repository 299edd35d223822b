package broker_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/ledger"
)

// taker takes every event and does nothing with it.
type taker struct{ taken atomic.Int64 }

// Deliver implements delivery.Sink.
func (s *taker) Deliver(context.Context, event.Event) delivery.Result {
	s.taken.Add(1)
	return delivery.Result{Status: 202}
}

// forgetful is a ledger that keeps nothing.
type forgetful struct{ ledger.Ledger }

// Record implements ledger.Ledger.
func (forgetful) Record(context.Context, []ledger.Loss) error { return nil }

// Passed implements ledger.Ledger.
func (forgetful) Passed(context.Context, string, uint64) error { return nil }

// BenchmarkDeliver is the cost of an event from Publish, durable, to the last
// of three triggers that took it, beside one that did not want it; an op is an
// event. Publishers post batches of 64, as the door does for devices.
func BenchmarkDeliver(b *testing.B) {
	sinks := []*taker{{}, {}, {}}
	var triggers []broker.Trigger
	for i, s := range sinks {
		t := trigger(fmt.Sprint("t", i), "t", nil)
		t.Sink = s
		triggers = append(triggers, t)
	}
	other := trigger("other", "u", nil)
	other.Sink = &taker{}
	br, err := broker.Open(b.Context(), broker.Options{Dir: b.TempDir(), Ledger: forgetful{}}, append(triggers, other))
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- br.Run(ctx) }()
	const batch = 64
	var n atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		events := make([]event.Event, 0, batch)
		flush := func() {
			if _, err := br.Publish(ctx, events); err != nil {
				b.Error(err)
			}
			events = make([]event.Event, 0, batch)
		}
		for pb.Next() {
			i := n.Add(1)
			e := reading(fmt.Sprint(i), "t")
			e.SetSource(fmt.Sprintf("//selvedge.dev/projects/p/devices/d%d", i%100))
			if events = append(events, e); len(events) == batch {
				flush()
			}
		}
		flush()
	})
	require.NoError(b, br.Settle(ctx))
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	for _, s := range sinks {
		require.EqualValues(b, b.N, s.taken.Load())
	}
	stop()
	require.NoError(b, <-done)
	require.NoError(b, br.Close())
}
