package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/triggers/broker"
)

// What was published before Settle is delivered, with the replies to it, and
// does not come again after a crash.
func TestSettle(t *testing.T) {
	t.Parallel()
	const n = 50
	first := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		reply := reading(e.ID()+"-reply", "b")
		return &reply, nil
	})
	second := newSink(nil)
	triggers := []broker.Trigger{
		trigger("first", "a", first),
		trigger("second", "b", second),
	}
	r := newRig(t, broker.Options{SyncEvery: time.Hour}, triggers...)
	for i := range n {
		r.publish(reading(fmt.Sprint(i), "a"))
	}
	require.NoError(t, r.Settle(t.Context()))
	require.Len(t, first.got, n)
	require.Len(t, second.got, n)
}

// Settle waits no longer than its context, and says so.
func TestSettle_Late(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	stuck := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		<-release
		return nil, nil
	})
	r := newRig(t, broker.Options{}, trigger("stuck", "a", stuck))
	r.publish(reading("1", "a"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.Settle(ctx), context.DeadlineExceeded)
	close(release)
	require.NoError(t, r.Settle(t.Context()))
	require.Len(t, stuck.got, 1)
}
