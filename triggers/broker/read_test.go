package broker_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
)

// A trigger that is so far behind that nothing of it is in memory any more gets
// every event whole and in its order, one that failed among them later.
func TestBehind_GetsEverythingFromTheJournal(t *testing.T) {
	t.Parallel()
	const n = 40_000 // more than are kept in memory
	release := make(chan struct{})
	s := newSink(func(_ context.Context, e event.Event, attempt int) (*event.Event, error) {
		<-release
		if e.ID() == "7" && attempt < 2 {
			return nil, &fault.Error{Op: "test", Kind: fault.Unavailable}
		}
		return nil, nil
	})
	slow := trigger("slow", "t", s)
	slow.Policy = delivery.Policy{Retry: 5, Delay: time.Millisecond}
	keeping := newSink(nil)
	r := newRig(t, broker.Options{}, slow, trigger("keeping", "u", keeping))
	for from := 0; from < n; from += 1000 {
		events := make([]event.Event, 0, 1001)
		for i := range 1000 {
			e := reading(fmt.Sprint(from+i), "t")
			e.DataEncoded = fmt.Appendf(nil, `{"a":%d}`, from+i)
			events = append(events, e)
		}
		r.publish(append(events, reading(fmt.Sprint("u", from), "u"))...)
	}
	keeping.ids(t, n/1000)
	close(release)
	next, failed := 0, 0
	for range n + 2 {
		e := <-s.got
		require.JSONEq(t, fmt.Sprintf(`{"a":%s}`, e.ID()), string(e.Data()))
		if e.ID() == "7" {
			if failed++; failed > 1 {
				continue // it comes when it comes
			}
		}
		require.Equal(t, fmt.Sprint(next), e.ID())
		next++
	}
	require.Equal(t, 3, failed)
	require.NoError(t, r.Settle(t.Context()))
}

// An event that cannot be decoded costs itself, and is counted.
func TestUnreadable_IsALossAndNothingMore(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	r := newRig(t, broker.Options{DeadLetters: letterStore(t)}, trigger("a", "t", s))
	bad := reading("bad", "t")
	c, ok := bad.Context.(*ce.EventContextV1)
	require.True(t, ok)
	c.Source = types.URIRef{URL: url.URL{Host: "no host", Path: "/x"}} // whose text is no URL
	r.publish(bad, reading("good", "t"))
	require.Equal(t, []string{"good"}, s.ids(t, 1))
	r.losses(map[string]int64{"a EVENT_UNREADABLE": 1})
	require.NoError(t, r.Settle(t.Context()))
}

// Every attempt of a trigger may take as long as its policy says, also those
// that share a step with one that took all of its time.
func TestAttempts_AreBoundedEach(t *testing.T) {
	t.Parallel()
	s := newSink(func(ctx context.Context, e event.Event, _ int) (*event.Event, error) {
		if e.ID() == "1" {
			<-ctx.Done()
			return nil, &fault.Error{Op: "test", Kind: fault.Invalid, Reason: "CUT_OFF", Err: ctx.Err()}
		}
		return nil, ctx.Err()
	})
	a := trigger("a", "t", s)
	a.Lanes = 1
	a.Policy = delivery.Policy{Timeout: 50 * time.Millisecond}
	r := newRig(t, broker.Options{}, a)
	r.publish(readings(5, "t")...)
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, s.ids(t, 5))
	r.losses(map[string]int64{"a CUT_OFF": 1})
}
