package broker_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
)

// of is a trigger of a project and broker for events of type "t".
func of(project, name, in string, s *sink) broker.Trigger {
	t := trigger(name, "t", s)
	t.Project, t.Broker = project, in
	return t
}

// in is e in that broker of that project.
func in(e event.Event, project, name string) event.Event {
	e.SetExtension(event.Project, project)
	if name != "" {
		e.SetExtension(event.Broker, name)
	}
	return e
}

// took is what s got so far, by id and how often.
func (s *sink) took() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.attempts)
}

func TestSetTrigger_BeginsWithWhatComesAndGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	r := newRig(t, broker.Options{}, trigger("always", "t", newSink(nil)))
	r.publish(reading("0", "t"))
	require.NoError(t, r.SetTrigger(t.Context(), of("p", "late", "", s)))
	r.publish(reading("1", "t"))
	require.Equal(t, []string{"1"}, s.ids(t, 1))
	require.NoError(t, r.Settle(t.Context()))
	r.stop()

	r.start(trigger("always", "t", newSink(nil)))
	r.publish(reading("2", "t"))
	require.Equal(t, []broker.Idle{{Project: "p", Name: "late", Pending: 1}}, r.Idle())
	require.NoError(t, r.SetTrigger(t.Context(), of("p", "late", "", s)))
	require.Empty(t, r.Idle())
	require.Equal(t, []string{"2"}, s.ids(t, 1))
	r.stop()
	require.Empty(t, s.got)
}

func TestRemoveTrigger_LetsGoOfTheJournal(t *testing.T) {
	t.Parallel()
	hung := make(chan struct{})
	s := newSink(func(ctx context.Context, _ event.Event, _ int) (*event.Event, error) {
		close(hung)
		<-ctx.Done() // a function that hangs is cut off
		return nil, ctx.Err()
	})
	r := newRig(t, broker.Options{}, trigger("always", "t", newSink(nil)))
	require.NoError(t, r.SetTrigger(t.Context(), of("p", "a", "", s)))
	r.publish(reading("1", "t"))
	<-hung
	begin := time.Now()
	require.NoError(t, r.RemoveTrigger(t.Context(), "p", "a"))
	require.Less(t, time.Since(begin), 10*time.Second)
	for _, c := range r.Journal().Cursors {
		require.NotEqual(t, "trigger-p/a", c.Name)
	}
	require.Empty(t, r.Idle())
	require.Equal(t, fault.NotFound, fault.KindOf(r.RemoveTrigger(t.Context(), "p", "a")))
	require.Equal(t, fault.NotFound, fault.KindOf(r.RemoveTrigger(t.Context(), "", broker.Unrouted)))

	again := newSink(nil)
	require.NoError(t, r.SetTrigger(t.Context(), of("p", "a", "", again)))
	r.publish(reading("2", "t"))
	require.Equal(t, []string{"2"}, again.ids(t, 1), "it begins anew")
}

func TestRemoveTrigger_OfOneThatWasNotSetAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{}, trigger("gone", "t", newSink(nil)), trigger("always", "t", newSink(nil)))
	r.stop()
	r.start(trigger("always", "t", newSink(nil)))
	require.Len(t, r.Idle(), 1)
	require.NoError(t, r.RemoveTrigger(t.Context(), "", "gone"))
	require.Empty(t, r.Idle())
}

func TestSetTrigger_Refuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{}, trigger("a", "t", newSink(nil)))
	f := func(want fault.Kind, change func(tr *broker.Trigger)) {
		t.Helper()
		tr := of("p", "x", "", newSink(nil))
		change(&tr)
		require.Equal(t, want, fault.KindOf(r.SetTrigger(t.Context(), tr)))
	}
	f(fault.Invalid, func(tr *broker.Trigger) { tr.Name = "" })
	f(fault.Invalid, func(tr *broker.Trigger) { tr.Name = "a/b" })
	f(fault.Invalid, func(tr *broker.Trigger) { tr.Project = "a/b" })
	f(fault.Invalid, func(tr *broker.Trigger) { tr.Project, tr.Name = "", broker.Unrouted })
	f(fault.Invalid, func(tr *broker.Trigger) { tr.Project, tr.Broker = "", "mine" })
	f(fault.Internal, func(tr *broker.Trigger) { tr.Sink = nil })
	f(fault.Precondition, func(tr *broker.Trigger) {
		tr.Project, tr.Name, tr.Sink = "", "a", delivery.InProcess(&lateSink{sink: newSink(nil)})
	})
}

// Events in retry go to the new sink, or nowhere when the new filter does not
// want them.
func TestSetTrigger_ReplacesWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := newSink(func(context.Context, event.Event, int) (*event.Event, error) { return nil, io.ErrUnexpectedEOF })
		tr := of("p", "a", "", broken)
		tr.Policy = delivery.Policy{Retry: 3, Delay: time.Minute}
		r := newRig(t, broker.Options{}, tr)
		r.publish(reading("1", "t"))
		broken.ids(t, 1)
		fixed := newSink(nil)
		tr.Sink = delivery.InProcess(fixed)
		require.NoError(t, r.SetTrigger(t.Context(), tr))
		time.Sleep(time.Minute) // the pause goes on
		require.Equal(t, []string{"1"}, fixed.ids(t, 1))

		tr.Sink = delivery.InProcess(broken)
		require.NoError(t, r.SetTrigger(t.Context(), tr))
		r.publish(reading("2", "t"))
		broken.ids(t, 1)
		other := of("p", "a", "", fixed)
		other.Filter = trigger("", "u", nil).Filter
		require.NoError(t, r.SetTrigger(t.Context(), other))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Empty(t, fixed.got)
		require.Zero(t, r.Stats()[0].Pending, "it does not hold the cursor")
		r.stop()
	})
}

// Under a stream of events a trigger is replaced again and again: every event
// comes once, to the one sink or the other.
func TestSetTrigger_ReplaceLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string]int{}
	fail := map[string]bool{}
	do := func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(e.ID())%2 == 0 && !fail[e.ID()] { // some are in retry
			fail[e.ID()] = true
			return nil, io.ErrUnexpectedEOF
		}
		got[e.ID()]++
		return nil, nil
	}
	sinks := []*sink{newSink(do), newSink(do)}
	with := func(i int) broker.Trigger {
		tr := of("p", "a", "", sinks[i%2])
		tr.Policy = delivery.Policy{Retry: 5, Backoff: delivery.Linear, Delay: time.Millisecond}
		return tr
	}
	r := newRig(t, broker.Options{}, with(0))
	const publishers, batches = 4, 60
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				require.NoError(t, r.SetTrigger(t.Context(), with(i)))
			}
		}
	})
	var posting sync.WaitGroup
	for p := range publishers {
		posting.Go(func() {
			for b := range batches {
				events := make([]event.Event, 20)
				for i := range events {
					events[i] = reading(fmt.Sprintf("%d-%d-%d", p, b, i), "t")
				}
				_, err := r.Publish(t.Context(), events)
				require.NoError(t, err)
			}
		})
	}
	posting.Wait()
	close(stop)
	wg.Wait()
	require.NoError(t, r.Settle(t.Context()))
	r.stop()
	require.Len(t, got, publishers*batches*20)
	for id, n := range got {
		require.Equal(t, 1, n, id)
	}
	require.NotEmpty(t, sinks[0].took())
	require.NotEmpty(t, sinks[1].took())
	totals, err := r.ledgerTotals(t)
	require.NoError(t, err)
	require.Empty(t, totals, "nobody saw an event without a trigger")
}

// ledgerTotals is the ledger of project p, after the rig has stopped.
func (r *rig) ledgerTotals(t *testing.T) (map[string]int64, error) {
	t.Helper()
	r.start(of("p", "a", "", newSink(nil)))
	totals, err := r.ledger.Totals(t.Context(), "p")
	out := map[string]int64{}
	for _, x := range totals {
		out[x.Stream+" "+x.Reason] = x.Count
	}
	return out, err
}

// TestSet_Model sets, replaces and removes triggers, publishes and restarts, in
// any order, and holds what came where against a model of it.
func TestSet_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := &setModel{t: rt, sinks: map[string]*sink{}, filters: map[string]string{}, want: map[string]map[string]int{}}
		r := newRig(t, broker.Options{})
		defer r.stop()
		names := rapid.SampledFrom([]string{"a", "b", "c"})
		types := rapid.SampledFrom([]string{"t", "u", "v"})
		set := func(name, typ string) {
			if m.sinks[name] == nil {
				m.sinks[name] = newSink(nil)
			}
			tr := trigger(name, typ, m.sinks[name])
			tr.Project = "p"
			require.NoError(rt, r.SetTrigger(t.Context(), tr))
			m.filters[name] = typ
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"set", "publish", "publish", "remove", "restart"}).Draw(rt, "op") {
			case "set":
				set(names.Draw(rt, "name"), types.Draw(rt, "type"))
			case "publish":
				typ := types.Draw(rt, "type")
				m.publish(typ)
				r.publish(reading(fmt.Sprint(m.published), typ))
				require.NoError(rt, r.Settle(t.Context()))
			case "remove":
				name := names.Draw(rt, "name")
				_, known := m.filters[name]
				err := r.RemoveTrigger(t.Context(), "p", name)
				require.Equal(rt, known, err == nil, "%v", err)
				delete(m.filters, name)
			case "restart":
				r.stop()
				r.start()
				for name, typ := range m.filters {
					set(name, typ)
				}
			}
		}
		for name, s := range m.sinks {
			got := s.took()
			require.Equal(rt, fmt.Sprint(m.want[name]), fmt.Sprint(got), name)
		}
		require.NoError(rt, r.Settle(t.Context()))
		totals, err := r.ledger.Totals(t.Context(), "p")
		require.NoError(rt, err)
		var lost int64
		for _, x := range totals {
			lost += x.Count
		}
		require.Equal(rt, m.lost, lost)
		require.Len(rt, r.Stats(), len(m.filters)+1)
	})
}

// setModel is what TestSet_Model expects.
type setModel struct {
	t       *rapid.T
	sinks   map[string]*sink
	filters map[string]string
	want    map[string]map[string]int
	// published counts events, lost those that no trigger took.
	published int
	lost      int64
}

// publish is the next event, of that type.
func (m *setModel) publish(typ string) {
	m.published++
	matched := false
	for name, want := range m.filters {
		if want != typ {
			continue
		}
		matched = true
		if m.want[name] == nil {
			m.want[name] = map[string]int{}
		}
		m.want[name][fmt.Sprint(m.published)]++
	}
	if !matched {
		m.lost++
	}
}

func TestBrokers_KeepApart(t *testing.T) {
	t.Parallel()
	reply := func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		e.SetType("reply")
		e.SetExtension(event.Project, "q")
		e.SetExtension(event.Broker, "other")
		e.SetExtension(event.Device, "projects/q/devices/d")
		e.SetExtension(event.Route, "writer")
		return &e, nil
	}
	sinks := map[string]*sink{}
	var triggers []broker.Trigger
	add := func(project, name, in, typ string, do func(context.Context, event.Event, int) (*event.Event, error)) {
		sinks[name] = newSink(do)
		tr := trigger(name, typ, sinks[name])
		tr.Project, tr.Broker = project, in
		triggers = append(triggers, tr)
	}
	add("", "platform", "", "t", nil)
	add("p", "p-default", "", "t", reply)
	add("p", "p-mine", "mine", "t", reply)
	add("q", "q-default", "", "t", nil)
	add("q", "q-mine", "mine", "t", nil)
	add("p", "p-default-replies", "default", "reply", nil)
	add("p", "p-mine-replies", "mine", "reply", nil)
	add("q", "q-other-replies", "other", "reply", nil)
	r := newRig(t, broker.Options{}, triggers...)
	r.publish(
		in(reading("1", "t"), "p", ""), in(reading("1", "t"), "p", "mine"), in(reading("1", "t"), "q", ""), in(reading("2", "t"), "p", "unknown"),
	)
	require.NoError(t, r.Settle(t.Context()))
	got := map[string]int{}
	for name, s := range sinks {
		got[name] = len(s.got)
	}
	require.Equal(t, map[string]int{
		"platform": 2, "p-default": 1, "p-mine": 1, "q-default": 1, "q-mine": 0,
		"p-default-replies": 1, "p-mine-replies": 1, "q-other-replies": 0,
	}, got)
	e := <-sinks["p-mine-replies"].got
	require.Equal(t, "p", event.Extension(&e, event.Project))
	require.Equal(t, "mine", event.Extension(&e, event.Broker))
	require.Equal(t, "writer", event.Extension(&e, event.Route))
	require.Empty(t, event.Extension(&e, event.Device), "a function cannot speak for a device")
	e = <-sinks["p-default-replies"].got
	require.Empty(t, event.Extension(&e, event.Broker))
	r.losses(map[string]int64{"broker NO_TRIGGER": 1})
	ids := make([]string, 0, len(triggers))
	for _, st := range r.Stats() {
		ids = append(ids, st.Trigger)
	}
	require.Equal(t, "platform", ids[0])
	require.True(t, slices.Contains(ids, "p/p-mine"))
}

func TestTTL_AsOnKnative(t *testing.T) {
	t.Parallel()
	loop := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		e.SetID(e.ID() + "x")
		return &e, nil
	})
	dead := newSink(nil)
	tr := of("p", "a", "", loop)
	tr.DeadLetter, tr.Dest = delivery.InProcess(dead), "loop"
	r := newRig(t, broker.Options{}, tr)
	e := reading("1", "t")
	e.SetExtension(event.BrokerTTL, 4)
	r.publish(e)
	loop.ids(t, 3)
	last := <-dead.got
	require.Equal(t, "1xx", last.ID(), "passed with 3, 2 and 1")
	require.Equal(t, "1", event.Extension(&last, event.BrokerTTL))
	require.Equal(t, "400", event.Extension(&last, "knativeerrorcode"))
	require.NotEmpty(t, event.Extension(&last, event.ArrivalTime))
	r.stop()
	require.Empty(t, loop.got)
}

// What a trigger would take that was not set again yet is no loss: it waits.
func TestIdle_HoldsWhatItWouldTake(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	r := newRig(t, broker.Options{}, of("p", "a", "", s))
	r.stop()
	r.start()
	r.publish(reading("1", "t"), in(reading("2", "t"), "q", ""))
	require.NoError(t, r.Settle(t.Context()))
	require.NoError(t, r.SetTrigger(t.Context(), of("p", "a", "", s)))
	require.Equal(t, []string{"1"}, s.ids(t, 1))
	r.losses(map[string]int64{})
	require.NoError(t, r.RemoveTrigger(t.Context(), "p", "a"))
	r.publish(reading("3", "t"))
	r.losses(map[string]int64{"broker NO_TRIGGER": 1})
}
