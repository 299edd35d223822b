package scheduler_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/scheduler"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/schema"
)

// setting is an event that sets a timer.
func setting(t testing.TB, id string, data any) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource(event.Source("functions/reason"))
	e.SetType(schedulerv1.TypeSetTimer)
	e.SetTime(start)
	e.SetExtension(event.Project, "p")
	require.NoError(t, e.SetData("application/json", data))
	return e
}

// A function sets a timer by a reply, moves it and takes it back; and a reply
// that comes twice sets one that fires once. SPEC C7, C8
func TestFunction_SetsTimers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	settings(t, w, s, s)
}

// A process of its own sets them by calls, and it is the same.
func TestFunction_SetsTimersByCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	settings(t, w, s, scheduler.NewRemote(caller{w, s}))
}

// caller calls a service as the administrator.
type caller struct {
	w *world
	s *scheduler.Service
}

// Call does a method.
func (c caller) Call(_ context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	return c.s.Call(c.w.ctx, m, req)
}

// settings sets timers.
func settings(t *testing.T, w *world, s *scheduler.Service, timers scheduler.Timers) {
	t.Helper()
	f := &scheduler.Function{Timers: timers}
	handle := func(id string, data any) {
		t.Helper()
		reply, err := f.Handle(w.ctx, setting(t, id, data))
		require.NoError(t, err)
		require.Nil(t, reply)
	}
	once := schedulerv1.SetTimer{After: "90s", Event: schedulerv1.SetEvent{Type: "com.example.check", Data: map[string]any{"n": 1}}}
	handle("1", once)
	handle("1", once)
	w.pass(90 * time.Second)
	w.step(s)
	require.Len(t, w.posted, 1)
	require.JSONEq(t, `{"n":1}`, string(w.posted[0].Data()))
	require.Equal(t, []string{"2026-03-29T00:01:30Z"}, w.slots())
	handle("1", once) // again, after the timer is gone
	w.step(s)
	require.Empty(t, w.slots())
	require.Equal(t, 1, w.again)

	named := schedulerv1.SetTimer{ID: "watchdog", At: start.Add(time.Hour), Event: schedulerv1.SetEvent{Type: "x"}}
	handle("2", named)
	named.At = start.Add(2 * time.Hour)
	handle("3", named)
	w.pass(90 * time.Minute)
	w.step(s)
	require.Empty(t, w.slots(), "it was moved")
	w.pass(time.Hour)
	w.step(s)
	require.Equal(t, []string{"2026-03-29T02:00:00Z"}, w.slots())
	named.At = start.Add(4 * time.Hour)
	handle("4", named)
	handle("5", schedulerv1.SetTimer{ID: "watchdog", Cancel: true})
	handle("5", schedulerv1.SetTimer{ID: "watchdog", Cancel: true})
	w.pass(5 * time.Hour)
	w.step(s)
	require.Empty(t, w.slots())
}

func TestFunction_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := &scheduler.Function{Timers: w.open(false)}
	ok := schedulerv1.SetTimer{After: "1s", Event: schedulerv1.SetEvent{Type: "x"}}
	check := func(reason string, data any, change func(*event.Event)) {
		t.Helper()
		e := setting(t, "1", data)
		if change != nil {
			change(&e)
		}
		_, err := f.Handle(w.ctx, e)
		require.False(t, fault.Retried(fault.KindOf(err).EventStatus()), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
	}
	check("FROM_OUTSIDE", ok, func(e *event.Event) { e.SetExtension(event.Route, event.RouteProcessor) })
	check("NO_PROJECT", ok, func(e *event.Event) { e.SetExtension(event.Project, nil) })
	check("MALFORMED_TIMER", "x", nil)
	check("MALFORMED_TIMER", map[string]any{"afer": "1s"}, nil)
	check("MALFORMED_TIMER", schedulerv1.SetTimer{After: "1s", At: start, Event: ok.Event}, nil)
	check("MALFORMED_TIMER", schedulerv1.SetTimer{After: "soon", Event: ok.Event}, nil)
	check("MALFORMED_TIMER", schedulerv1.SetTimer{ID: "a/b", Cancel: true}, nil)
	check("INVALID_TIMER", schedulerv1.SetTimer{After: "1s"}, nil)
}
