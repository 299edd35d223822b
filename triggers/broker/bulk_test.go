package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
)

// crowd is a function that takes many events at once. Of the events by id,
// "panic" has it panic when there are others, "bad" is refused, "away" is not
// taken the first time, "part" only in part, and "reply" has a reply.
type crowd struct {
	mu sync.Mutex
	// taken are the ids in the order that they were taken, together how often
	// some came at once, tries how often each came.
	taken    []string
	together int
	tries    map[string]int
	gate     chan struct{}
}

// take is what becomes of an event. The caller holds mu.
func (c *crowd) take(id string) function.Outcome {
	c.tries[id]++
	switch {
	case id == "bad":
		return function.Outcome{Err: &fault.Error{Kind: fault.Invalid, Reason: "BAD"}}
	case id == "away" && c.tries[id] == 1:
		return function.Outcome{Err: &fault.Error{Kind: fault.Unavailable}}
	case id == "reply", id == "last":
		reply := reading("the reply", "b")
		c.taken = append(c.taken, id)
		return function.Outcome{Reply: &reply}
	case id == "part":
		c.taken = append(c.taken, id)
		return function.Outcome{Losses: []function.Loss{{Reason: "PART", Count: 3}}}
	}
	c.taken = append(c.taken, id)
	return function.Outcome{}
}

// Handle implements function.Handler.
func (c *crowd) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	<-c.gate
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.take(e.ID())
	for _, l := range o.Losses {
		function.Drop(ctx, l.Reason, l.Count)
	}
	return o.Reply, o.Err
}

// HandleAll implements function.Bulk.
func (c *crowd) HandleAll(_ context.Context, events []function.Arrived, outcomes []function.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.together++
	for _, e := range events {
		if string(e.Head.ID()) == "panic" {
			panic("boom")
		}
	}
	for i, e := range events {
		outcomes[i] = c.take(string(e.Head.ID()))
	}
}

// Events that are delivered many at once have each its own outcome, come in
// their order, and are counted and traced as if they had come alone.
func TestBulk_EachHasItsOwnOutcome(t *testing.T) {
	t.Parallel()
	const n = 600
	c := &crowd{tries: map[string]int{}, gate: make(chan struct{})}
	a := trigger("a", "t", nil)
	a.Sink = delivery.InProcess(c)
	a.Lanes = 1
	a.Policy = delivery.Policy{Retry: 1, Delay: time.Millisecond}
	replies := newSink(nil)
	r := newRig(t, broker.Options{}, a, trigger("b", "b", replies))
	r.publish(reading("first", "t")) // alone, and it waits until the others are there
	events := readings(n, "t")
	for i, id := range map[int]string{7: "bad", 100: "away", 300: "part", 301: "reply", 302: "last", 500: "panic"} {
		events[i] = reading(id, "t")
		if id == "last" {
			events[i].SetExtension(event.BrokerTTL, 2) // which a reply would be one too many for
		}
	}
	r.publish(events...)
	close(c.gate)
	r.losses(map[string]int64{"a BAD": 1, "a PART": 3, "a TTL_EXPIRED": 1})
	require.NoError(t, r.Settle(t.Context()))
	require.Equal(t, []string{"the reply"}, replies.ids(t, 1))

	c.mu.Lock()
	defer c.mu.Unlock()
	require.Positive(t, c.together)
	want := map[string]int{"first": 1, "away": 1} // and once more below
	var order []string
	for _, e := range events {
		want[e.ID()]++
		if id := e.ID(); id != "bad" && id != "away" {
			order = append(order, id)
		}
	}
	require.Equal(t, want, c.tries)
	var taken []string
	for _, id := range c.taken {
		if id != "away" && id != "first" {
			taken = append(taken, id)
		}
	}
	require.Equal(t, order, taken)

	for id, state := range map[string]string{"0": broker.StateDelivered, "away": broker.StateDelivered, "bad": broker.StateGivenUp, "panic": broker.StateDelivered} {
		trace := r.trace(id)
		require.Equal(t, state, by(t, trace.Events[0], "a").State, id)
		require.NotEmpty(t, by(t, trace.Events[0], "a").Attempts, id)
	}
	for _, s := range r.Stats() {
		if s.Trigger == "a" {
			require.EqualValues(t, n-1, s.Delivered)
			require.EqualValues(t, 2, s.Failed)
			require.EqualValues(t, 1, s.Retried)
		}
	}
}

// A trigger that is replaced while events are delivered many at once loses and
// doubles none of them.
func TestBulk_ReplacedTrigger(t *testing.T) {
	t.Parallel()
	const n = 3000
	open := make(chan struct{})
	close(open)
	c := &crowd{tries: map[string]int{}, gate: open}
	a := trigger("a", "t", nil)
	a.Sink = delivery.InProcess(c)
	r := newRig(t, broker.Options{}, a)
	for from := 0; from < n; from += 300 {
		var events []event.Event
		for i := range 300 {
			events = append(events, reading(fmt.Sprint(from+i), "t"))
		}
		r.publish(events...)
		require.NoError(t, r.SetTrigger(t.Context(), a))
	}
	require.NoError(t, r.Settle(t.Context()))
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.tries, n)
	for id, tries := range c.tries {
		require.Equal(t, 1, tries, id)
	}
}
