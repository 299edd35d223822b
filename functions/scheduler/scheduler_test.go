package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"selvedge.dev/functions/scheduler"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// every is a schedule of an interval.
func every(d time.Duration) *schedulerv1.Timer_Interval {
	return &schedulerv1.Timer_Interval{Interval: &schedulerv1.Interval{Period: durationpb.New(d)}}
}

// crontab is a schedule in Zurich.
func crontab(expression string) *schedulerv1.Timer_Cron {
	return &schedulerv1.Timer_Cron{Cron: &schedulerv1.Cron{Expression: expression, TimeZone: "Europe/Zurich"}}
}

// A timer posts the event that it says, once for a slot. SPEC C8
func TestTimer_Event(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	made := w.create(s, "t", &schedulerv1.Timer{Schedule: at(start.Add(time.Minute)), Event: &schedulerv1.TimerEvent{
		Type: "com.example.go", Subject: "gate", Content: &schedulerv1.TimerEvent_Data{Data: `{"n":1}`}, Extensions: map[string]string{"color": "red"},
	}})
	require.Equal(t, schedulerv1.TimerStatus_WAITING, made.GetStatus().GetState())
	w.step(s)
	w.pass(time.Minute - time.Millisecond)
	w.step(s)
	require.Empty(t, w.slots())
	w.pass(time.Millisecond)
	w.step(s)
	require.Len(t, w.posted, 1)
	e := w.posted[0]
	require.Equal(t, []string{"com.example.go", "gate", "//selvedge.dev/projects/p/timers/t", "application/json", `{"n":1}`, "red", "p", made.GetMetadata().GetUid() + "-2026-03-29T00:01:00Z"},
		[]string{e.Type(), e.Subject(), e.Source(), e.DataContentType(), string(e.Data()), event.Extension(&e, "color"), event.Extension(&e, event.Project), e.ID()})
	w.pass(time.Hour)
	w.step(s)
	require.Equal(t, []string{"2026-03-29T00:01:00Z"}, w.slots())
	status := w.get(s, "t").GetStatus()
	require.Equal(t, schedulerv1.TimerStatus_DONE, status.GetState())
	require.Equal(t, int64(1), status.GetFired())
	require.Nil(t, status.GetNextFire())
	require.Equal(t, start.Add(time.Minute), status.GetLastFire().AsTime())
}

// What becomes of the slots of a downtime, and of the clock's jumps. SPEC D4c
func TestTimer_Missed(t *testing.T) {
	t.Parallel()
	f := func(name string, timer *schedulerv1.Timer, down time.Duration, skipped int64, want ...string) {
		t.Helper()
		w := newWorld(t)
		w.create(w.open(false), "t", timer)
		w.pass(down)
		s := w.open(false)
		w.step(s)
		require.Equal(t, append([]string{}, want...), w.slots(), name)
		require.Equal(t, skipped, w.get(s, "t").GetStatus().GetSkipped(), name)
		w.step(s)
		require.Empty(t, w.slots(), name)
	}
	hourly := func(m *schedulerv1.Missed) *schedulerv1.Timer {
		return &schedulerv1.Timer{Schedule: every(time.Hour), Missed: m}
	}
	f("one for all", hourly(nil), 4*time.Hour+30*time.Minute, 3, "2026-03-29T04:00:00Z +3")
	f("on time too", hourly(nil), 4*time.Hour+30*time.Second, 2, "2026-03-29T03:00:00Z +2", "2026-03-29T04:00:00Z")
	f("none", hourly(&schedulerv1.Missed{Policy: schedulerv1.Missed_SKIP}), 4*time.Hour, 3, "2026-03-29T04:00:00Z")
	f("each", hourly(&schedulerv1.Missed{Policy: schedulerv1.Missed_EACH}), 3*time.Hour+5*time.Minute, 0,
		"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z", "2026-03-29T03:00:00Z")
	f("each, the last two", hourly(&schedulerv1.Missed{Policy: schedulerv1.Missed_EACH, MaxEach: 2}), 3*time.Hour+5*time.Minute, 1,
		"2026-03-29T02:00:00Z +1", "2026-03-29T03:00:00Z")
	f("grace", hourly(&schedulerv1.Missed{Policy: schedulerv1.Missed_SKIP, Grace: durationpb.New(time.Hour)}), 2*time.Hour, 0,
		"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")
	f("years of seconds", &schedulerv1.Timer{Schedule: every(time.Second), Missed: &schedulerv1.Missed{Grace: durationpb.New(0)}}, 50_000*time.Second, 49_998,
		"2026-03-29T13:53:19Z +9998", "2026-03-29T13:53:20Z")
	f("the end", &schedulerv1.Timer{Schedule: every(time.Hour), EndTime: timestamppb.New(start.Add(2 * time.Hour))}, 10*time.Hour, 1, "2026-03-29T02:00:00Z +1")
	f("a number", &schedulerv1.Timer{Schedule: every(time.Hour), MaxFires: 2, Missed: &schedulerv1.Missed{Policy: schedulerv1.Missed_EACH}}, 10*time.Hour, 0,
		"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")
	f("an hour that is left out", &schedulerv1.Timer{Schedule: crontab("30 2 * * *")}, time.Hour, 0, "2026-03-29T01:00:00Z")
	f("once, long ago", &schedulerv1.Timer{Schedule: at(start.Add(-24 * time.Hour))}, 0, 0, "2026-03-28T00:00:00Z")
	f("once, skipped", &schedulerv1.Timer{Schedule: at(start.Add(time.Hour)), Missed: &schedulerv1.Missed{Policy: schedulerv1.Missed_SKIP}}, 2*time.Hour, 1)
}

// Nothing fires twice when the clock goes back a little, and timers go by the new
// time when it was corrected by much. SPEC D4c
func TestTimer_ClockSetBack(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		w := newWorld(t)
		s := w.open(false)
		again := func() *scheduler.Service {
			if restarted {
				s = w.open(false)
			}
			return s
		}
		w.create(s, "t", &schedulerv1.Timer{Schedule: every(time.Hour)})
		w.step(s)
		w.pass(time.Hour)
		w.step(s)
		w.slots()
		w.pass(-30 * time.Minute)
		w.step(again())
		w.pass(30 * time.Minute)
		w.step(again())
		require.Empty(t, w.slots())
		w.pass(4 * 365 * 24 * time.Hour) // a machine that begins without the time
		w.step(again())
		require.Len(t, w.slots(), 2) // missed, and on time
		w.pass(-4*365*24*time.Hour + 10*time.Minute)
		w.step(again())
		w.pass(50 * time.Minute)
		w.step(again())
		require.Equal(t, []string{"2026-03-29T02:00:00Z"}, w.slots())
	}
}

// A timer may be changed, paused and deleted at any time. SPEC C8
func TestTimer_Changed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	update := func(timer *schedulerv1.Timer, paths ...string) {
		t.Helper()
		timer.Name = "projects/p/timers/t"
		_, err := call[*schedulerv1.Timer](w, s, "UpdateTimer", &schedulerv1.UpdateTimerRequest{Timer: timer, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		require.NoError(t, err)
	}
	w.create(s, "t", &schedulerv1.Timer{Schedule: every(time.Hour)})
	w.step(s)
	update(&schedulerv1.Timer{Paused: true}, "paused")
	w.pass(90 * time.Minute)
	w.step(s)
	require.Equal(t, schedulerv1.TimerStatus_PAUSED, w.get(s, "t").GetStatus().GetState())
	update(&schedulerv1.Timer{}, "paused")
	w.step(s)
	require.Empty(t, w.slots(), "what a pause holds back is not missed")
	update(&schedulerv1.Timer{Schedule: crontab("45 * * * *")}, "cron")
	w.pass(15 * time.Minute)
	w.step(s)
	require.Equal(t, []string{"2026-03-29T01:45:00Z"}, w.slots())
	update(&schedulerv1.Timer{DisplayName: "x"}, "display_name")
	w.pass(time.Hour)
	w.step(s)
	require.Equal(t, []string{"2026-03-29T02:45:00Z"}, w.slots())
	require.Equal(t, int64(2), w.get(s, "t").GetStatus().GetFired())
	_, err := s.Call(w.ctx, w.methods["DeleteTimer"], &schedulerv1.DeleteTimerRequest{Name: "projects/p/timers/t"})
	require.NoError(t, err)
	w.pass(time.Hour)
	w.step(s)
	require.Empty(t, w.slots())

	// Jitter is the same for whoever computes it.
	w.create(s, "j", &schedulerv1.Timer{Schedule: every(time.Hour), Jitter: durationpb.New(30 * time.Minute), DeleteWhenDone: true, MaxFires: 1})
	next := w.get(s, "j").GetStatus()
	late := next.GetNextFire().AsTime().Sub(next.GetNextSlot().AsTime())
	require.True(t, late > 0 && late < 30*time.Minute, late)
	w.pass(next.GetNextFire().AsTime().Sub(w.clock()))
	s = w.open(false)
	w.step(s)
	require.Len(t, w.slots(), 1)
	_, err = call[*schedulerv1.Timer](w, s, "GetTimer", &schedulerv1.GetTimerRequest{Name: "projects/p/timers/j"})
	require.Equal(t, fault.NotFound, fault.KindOf(err), "it is done, and gone")
}

func TestTimer_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	ok := func() *schedulerv1.Timer {
		return &schedulerv1.Timer{Schedule: every(time.Hour), Event: &schedulerv1.TimerEvent{Type: "x"}}
	}
	for field, change := range map[string]func(*schedulerv1.Timer){
		"schedule":        func(x *schedulerv1.Timer) { x.Schedule = nil },
		"interval.period": func(x *schedulerv1.Timer) { x.Schedule = every(time.Millisecond) },
		"expression":      func(x *schedulerv1.Timer) { x.Schedule = crontab("a") },
		"time_zone": func(x *schedulerv1.Timer) {
			x.Schedule = &schedulerv1.Timer_Cron{Cron: &schedulerv1.Cron{Expression: "@daily", TimeZone: "Here"}}
		},
		"jitter":                  func(x *schedulerv1.Timer) { x.Jitter = durationpb.New(-1) },
		"missed.grace":            func(x *schedulerv1.Timer) { x.Missed = &schedulerv1.Missed{Grace: durationpb.New(2 * time.Hour)} },
		"event.extensions":        func(x *schedulerv1.Timer) { x.Event.Extensions = map[string]string{"selvedgeroute": "writer"} },
		"event.ping_source":       func(x *schedulerv1.Timer) { x.Event.PingSource = "//selvedge.dev/projects/p/devices/d" },
		"event.data":              func(x *schedulerv1.Timer) { x.Event.Content = &schedulerv1.TimerEvent_Data{Data: "{"} },
		"event.data_content_type": func(x *schedulerv1.Timer) { x.Event.DataContentType = "?" },
		"event.type":              func(x *schedulerv1.Timer) { x.Event.Type = "a\nb" },
	} {
		timer := ok()
		change(timer)
		_, err := call[*schedulerv1.Timer](w, s, "CreateTimer", &schedulerv1.CreateTimerRequest{Parent: "projects/p", TimerId: "t", Timer: timer})
		var f *fault.Error
		require.ErrorAs(t, err, &f, field)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s: %v", field, err)
		require.Equal(t, field, f.Field, "%v", err)
	}
}

// Every slot enters the broker once, however often the scheduler crashes between
// posting and saving, and however many schedulers there are. SPEC C8, D4c
func TestTimer_OnceForASlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := []*scheduler.Service{w.open(true), w.open(true)}
	crash, round := error(&fault.Error{Kind: fault.Unavailable, Err: errors.New("the process ends here")}), 0
	rapid.Check(t, func(r *rapid.T) {
		begin := w.clock()
		end := begin.Add(4 * time.Hour)
		want := []string{}
		for range rapid.IntRange(1, 3).Draw(r, "timers") {
			round++
			period := time.Duration(rapid.IntRange(7, 90).Draw(r, "minutes")) * time.Minute
			w.create(all[0], fmt.Sprint("t", round), &schedulerv1.Timer{
				Schedule: every(period), Missed: &schedulerv1.Missed{Policy: schedulerv1.Missed_EACH, MaxEach: 1000}, EndTime: timestamppb.New(end),
			})
			for at := begin.Add(period); !at.After(end); at = at.Add(period) {
				want = append(want, at.Format(time.RFC3339))
			}
		}
		for w.clock().Before(end) {
			w.pass(min(end.Sub(w.clock()), time.Duration(rapid.IntRange(300, 9000).Draw(r, "seconds"))*time.Second))
			i := rapid.IntRange(0, 1).Draw(r, "which")
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0: // it crashes after the events are in the broker
				w.fail = crash
				if _, err := all[i].Step(w.ctx); err != nil {
					require.ErrorIs(t, err, crash)
				}
				w.fail = nil
				all[i] = w.open(true)
			case 1: // it gives the lease to the other
				require.NoError(t, all[i].Release(w.ctx))
				w.step(all[1-i])
			default:
				w.step(all[i])
			}
		}
		w.pass(16 * time.Second) // the lease of one that crashed ends
		w.step(all[0])
		w.step(all[1])
		got := w.slots()
		slices.Sort(got)
		slices.Sort(want)
		require.True(t, slices.Equal(want, got), "want %d, got %d", len(want), len(got))
	})
	require.Positive(t, w.again, "no crash had the broker drop anything")
}

// Two schedulers of one store: one fires, and the other goes on when it is away.
func TestTimer_Lease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.open(true), w.open(true)
	w.create(a, "t", &schedulerv1.Timer{Schedule: every(time.Second)})
	w.step(a)
	w.pass(time.Second)
	w.step(b)
	require.Empty(t, w.slots())
	w.step(a)
	require.Len(t, w.slots(), 1)
	w.pass(16 * time.Second) // a is away
	w.step(b)
	require.Len(t, w.slots(), 16)
	w.pass(time.Second)
	w.step(a)
	require.Empty(t, w.slots())
	require.NoError(t, b.Release(t.Context()))
	w.step(a)
	require.Len(t, w.slots(), 1)
	require.Zero(t, w.again)
}

// An event that the broker does not want keeps no other from it.
func TestTimer_UnwantedEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	for _, id := range []string{"a", "bad", "c"} {
		w.create(s, id, &schedulerv1.Timer{Schedule: at(start), Event: &schedulerv1.TimerEvent{Type: id}})
	}
	w.refuse = "bad"
	w.step(s)
	require.Len(t, w.slots(), 2)
	require.Equal(t, schedulerv1.TimerStatus_DONE, w.get(s, "bad").GetStatus().GetState())
}

// Run waits for what is due, and for what is changed.
func TestRun_Fires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	w.create(s, "t", &schedulerv1.Timer{Schedule: at(start)})
	require.Eventually(t, func() bool { return len(w.slots()) == 1 }, 20*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

// What Knative takes as a PingSource is a timer whose events are the same.
func TestPingSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.open(false)
	apply := func(manifest string) (*schedulerv1.Timer, error) {
		return call[*schedulerv1.Timer](w, s, "ApplyPingSource", &schedulerv1.ApplyPingSourceRequest{Parent: "projects/p", Manifest: manifest})
	}
	const head = "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata:\n  name: ping\nspec:\n"
	made, err := apply(head + `
  schedule: "*/2 * * * *"
  timezone: Europe/Zurich
  contentType: application/json
  data: '{"message": "Hello world!"}'
  ceOverrides:
    extensions:
      color: red
  sink:
    ref:
      apiVersion: eventing.knative.dev/v1
      kind: Broker
      name: default
`)
	require.NoError(t, err)
	require.Equal(t, "projects/p/timers/ping", made.GetName())
	w.step(s)
	w.pass(2 * time.Minute)
	w.step(s)
	require.Len(t, w.posted, 1)
	e := w.posted[0]
	require.Equal(t, []string{"dev.knative.sources.ping", "/apis/v1/namespaces/default/pingsources/ping", `{"message": "Hello world!"}`, "red"},
		[]string{e.Type(), e.Source(), string(e.Data()), event.Extension(&e, "color")})

	made, err = apply(head + "  schedule: '@every 1h'\n  contentType: text/plain\n  dataBase64: aGVsbG8=\n")
	require.NoError(t, err)
	require.Equal(t, time.Hour, made.GetInterval().GetPeriod().AsDuration())
	require.Equal(t, "hello", string(made.GetEvent().GetDataBase64()))
	for field, bad := range map[string]string{
		"manifest":                 head + "  scedule: x\n",
		"manifest.kind":            "apiVersion: v1\nkind: Pod\n",
		"manifest.spec.sink":       head + "  schedule: '@daily'\n  sink: {ref: {kind: Service, name: x}}\n",
		"manifest.spec.dataBase64": head + "  schedule: '@daily'\n  data: '1'\n  dataBase64: aGVsbG8=\n",
		"manifest.spec.timezone":   head + "  schedule: CRON_TZ=UTC 0 0 * * *\n  timezone: UTC\n",
		"manifest.spec.schedule":   head + "  schedule: '@every now'\n",
		"expression":               head + "  schedule: often\n",
		"manifest.metadata.name":   "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: a/b}\nspec: {schedule: '@daily'}\n",
	} {
		_, err := apply(bad)
		var f *fault.Error
		require.ErrorAs(t, err, &f, field)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s: %v", field, err)
		require.Equal(t, field, f.Field, "%v", err)
	}
}
