package broker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
)

// trace is the trace of an event of project p.
func (r *rig) trace(id string) *broker.Trace {
	r.t.Helper()
	tr, err := r.Trace(r.t.Context(), broker.TraceQuery{Project: "p", ID: id})
	require.NoError(r.t, err)
	return tr
}

// by is what the trigger made of a traced event.
func by(t *testing.T, e broker.TracedEvent, trigger string) broker.TracedTrigger {
	t.Helper()
	for _, x := range e.Triggers {
		if x.Trigger == trigger {
			return x
		}
	}
	require.FailNow(t, "the trigger did not consider the event", trigger)
	return broker.TracedTrigger{}
}

func TestTrace_EveryTriggerThatConsideredIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := letterStore(t)
		flaky := newSink(func(_ context.Context, e event.Event, attempt int) (*event.Event, error) {
			if attempt == 0 {
				return nil, &fault.Error{Kind: fault.Unavailable, Err: errors.New("store away")}
			}
			reply := reading("reply-to-"+e.ID(), "reply")
			return &reply, nil
		})
		slow := newSink(func(context.Context, event.Event, int) (*event.Event, error) { return nil, errors.New("secret") })
		refuse := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
			return nil, &fault.Error{Kind: fault.Invalid, Reason: "NO_NUMBERS", Err: errors.New("no numbers")}
		})
		with := func(tr broker.Trigger, p delivery.Policy) broker.Trigger { tr.Policy = p; return tr }
		dead := of("p", "dead-lettered", "", refuse)
		dead.DeadLetter = delivery.InProcess(newSink(nil))
		r := newRig(t, broker.Options{DeadLetters: store},
			trigger("platform", "reply", newSink(nil)),
			with(of("p", "flaky", "", flaky), delivery.Policy{Retry: 1, Delay: time.Second}),
			with(of("p", "slow", "", slow), delivery.Policy{Retry: 5, Delay: time.Hour}),
			of("p", "refuse", "", refuse), dead, of("p", "elsewhere", "mine", newSink(nil)), of("q", "foreign", "", newSink(nil)))
		begin := time.Now()
		r.publish(reading("other", "t"))
		r.publish(reading("1", "t"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.NoError(t, r.SetTrigger(t.Context(), of("p", "later", "", newSink(nil))))

		tr := r.trace("1")
		require.Len(t, tr.Events, 2, "the event and its reply")
		e := tr.Events[0]
		require.Equal(t, "default", e.Broker)
		require.Equal(t, 255, e.TTL)
		require.False(t, e.Unrouted)
		require.Len(t, e.Triggers, 6, "neither that of another broker nor that of another project")

		x := by(t, e, "platform")
		require.Equal(t, broker.StateNotMatched, x.State)
		require.Equal(t, []string{`exact type "reply": type is "t"`}, x.Why)

		x = by(t, e, "p/flaky")
		require.Equal(t, broker.StateDelivered, x.State)
		require.Equal(t, []string{`exact type "t": type is "t"`}, x.Why)
		require.Equal(t, []string{"reply-to-1"}, x.Replies)
		require.Len(t, x.Attempts, 2)
		require.Equal(t, "RETRIED", x.Attempts[0].Outcome)
		require.Equal(t, "store away", x.Attempts[0].Answer)
		require.Equal(t, 503, x.Attempts[0].Status)
		require.Equal(t, "TAKEN", x.Attempts[1].Outcome)
		require.Equal(t, 2, x.Attempts[1].Number)
		require.WithinDuration(t, begin.Add(time.Second), x.Attempts[1].Time, 100*time.Millisecond)

		x = by(t, e, "p/slow")
		require.Equal(t, broker.StatePending, x.State)
		require.WithinDuration(t, begin.Add(time.Hour), *x.NextAttempt, time.Second)
		require.NotContains(t, x.Attempts[0].Answer, "secret", "the cause of an internal error is not shown")

		x = by(t, e, "p/refuse")
		require.Equal(t, broker.StateGivenUp, x.State)
		require.NotEmpty(t, x.DeadLetter)
		require.Equal(t, broker.StateDeadLettered, by(t, e, "p/dead-lettered").State)
		require.Equal(t, broker.StateBeganLater, by(t, e, "p/later").State)

		reply := tr.Events[1]
		require.Equal(t, "reply-to-1", reply.ID)
		require.Equal(t, e.Offset, *reply.ReplyTo)
		require.Equal(t, "p/flaky", reply.RepliedBy)
		require.Equal(t, 254, reply.TTL)
		require.Equal(t, broker.StateDelivered, by(t, reply, "platform").State)
		r.stop()
	})
}

func TestTrace_Isolation(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{}, of("p", "a", "", newSink(nil)), of("q", "a", "", newSink(nil)))
	r.publish(in(reading("1", "t"), "p", ""), in(reading("1", "t"), "q", ""), in(reading("2", "t"), "q", ""))
	require.NoError(t, r.Settle(t.Context()))
	tr := r.trace("1")
	require.Len(t, tr.Events, 1)
	require.Equal(t, "p/a", tr.Events[0].Triggers[0].Trigger)
	_, err := r.Trace(t.Context(), broker.TraceQuery{Project: "p", ID: "2"})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = r.Trace(t.Context(), broker.TraceQuery{Project: "p", ID: "1", Source: "/elsewhere"})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// After a restart the verdicts are there, and so is what is pending; of what
// was done before only that it was.
func TestTrace_AfterARestart(t *testing.T) {
	t.Parallel()
	tr := of("p", "a", "", newSink(nil))
	r := newRig(t, broker.Options{}, tr)
	r.publish(reading("1", "t"), reading("nobody's", "u"))
	require.NoError(t, r.Settle(t.Context()))
	r.stop()
	r.start(tr)
	e := r.trace("1").Events[0]
	require.Equal(t, broker.StateDone, e.Triggers[0].State)
	require.True(t, e.Triggers[0].Matched)
	require.True(t, r.trace("nobody's").Events[0].Unrouted)
}

func TestTrace_LoopIsBounded(t *testing.T) {
	t.Parallel()
	loop := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		e.SetID(fmt.Sprint(e.ID(), "x"))
		return &e, nil
	})
	store := letterStore(t)
	r := newRig(t, broker.Options{DeadLetters: store}, of("p", "a", "", loop))
	r.publish(reading("1", "t"))
	loop.ids(t, 255)
	letters(t, store, 1)
	tr := r.trace("1")
	require.Len(t, tr.Events, 255)
	last := tr.Events[254]
	require.Equal(t, 1, last.TTL)
	require.Equal(t, broker.StateGivenUp, last.Triggers[0].State)
	require.Equal(t, "the event and its replies passed the broker too often", last.Triggers[0].Attempts[0].Answer)
}
