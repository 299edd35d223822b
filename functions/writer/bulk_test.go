package writer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
)

// arrivedAt is when the broker took the events of a bulk.
var arrivedAt = noon.Add(time.Minute)

// lying are events as they lie in a journal.
func lying(t require.TestingT, events []event.Event) []function.Arrived {
	arrived := make([]function.Arrived, len(events))
	for i := range events {
		record, err := event.AppendRecord(nil, &events[i])
		require.NoError(t, err)
		head, err := event.ReadHead(record)
		require.NoError(t, err)
		arrived[i] = function.Arrived{Head: &head, Time: arrivedAt}
	}
	return arrived
}

// told is what an outcome says that a test can compare.
func told(o function.Outcome) string {
	if o.Err != nil {
		return fmt.Sprint(fault.KindOf(o.Err), " ", fault.ReasonOf(o.Err))
	}
	return fmt.Sprint(o.Losses)
}

// unlucky is a memory store that refuses the value 13, and all of a batch with
// the value 14 as too many.
type unlucky struct{ harness }

// Append implements Appender.
func (u *unlucky) Append(ctx context.Context, samples []tsdb.Sample) error {
	for _, s := range samples {
		if reason := u.Check(s); reason != "" {
			return &fault.Error{Kind: fault.Invalid, Reason: reason}
		}
		if s.Value == 14 {
			return &fault.Error{Kind: fault.Exhausted, Reason: "TOO_MANY"}
		}
	}
	return u.series.Append(ctx, samples)
}

// Check is the reason for which Append refuses s alone.
func (u *unlucky) Check(s tsdb.Sample) string {
	if s.Value == 13 {
		return "UNLUCKY"
	}
	return ""
}

// Sync implements Appender.
func (u *unlucky) Sync(context.Context) error { return nil }

// Many events at once are what they are one by one: the same points, losses and
// errors.
func TestHandleAll_IsHandleOfEach(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var events []event.Event
		for i := range rapid.IntRange(1, 12).Draw(t, "events") {
			e := reading(rapid.SampledFrom([]string{
				`{"a":1,"b":2}`, `{"a":3,"x":{"y":4}}`, `{"a":13,"b":5}`, `{"a":14}`, `{"a":1e999,"b":6}`, `{"b":true}`, `{`, `{}`, `[{"n":"level","v":7,"t":-1.5}]`,
			}).Draw(t, "data"))
			e.SetTime(noon.Add(time.Duration(i) * time.Second))
			switch rapid.SampledFrom([]string{"", "", "", "no time", "senml", "foreign", "other device", "no project", "blueprint", "gone", "number"}).Draw(t, "change") {
			case "no time":
				e.SetTime(time.Time{})
			case "senml":
				e.SetDataContentType(event.MediaSenML)
			case "foreign":
				e.SetExtension(event.Device, "projects/q/devices/d")
			case "other device":
				e.SetExtension(event.Device, "projects/p/devices/other")
			case "no project":
				e.SetExtension(event.Project, nil)
			case "blueprint":
				e.SetExtension(event.Blueprint, "projects/p/blueprints/b")
			case "gone":
				e.SetExtension(event.Blueprint, "projects/p/blueprints/gone")
			case "number":
				e.SetExtension(event.Device, int32(7))
			}
			events = append(events, e)
		}
		one, all := &unlucky{*newHarness()}, &unlucky{*newHarness()}
		for _, u := range []*unlucky{one, all} {
			u.Series = u
			u.registry.blueprints["projects/p/blueprints/b"] = &devicesv1.Blueprint{Name: "projects/p/blueprints/b", Mappings: []*devicesv1.Mapping{{
				EventType: "com.example.climate", Fields: []*devicesv1.FieldMapping{{Field: "a", MetricType: "mapped"}},
			}}}
		}
		outcomes := make([]function.Outcome, len(events))
		all.HandleAll(context.Background(), lying(t, events), outcomes)
		for i, e := range events {
			var drops function.Drops
			e = event.Clone(&e)
			e.SetExtension(event.ArrivalTime, arrivedAt)
			_, err := one.Handle(function.WithDrops(context.Background(), &drops), e)
			want := function.Outcome{Err: err, Losses: drops.Losses()}
			require.Equal(t, told(want), told(outcomes[i]), "event %d", i)
		}
		require.Equal(t, one.stored(t), all.stored(t))
	})
}

// What fails for a reason that has nothing to do with an event comes again, all
// of it, and is not lost yet.
func TestHandleAll_ErrorsOfTheStore(t *testing.T) {
	t.Parallel()
	f := func(cause error, want fault.Kind) {
		t.Helper()
		h := newHarness()
		h.Series = &picky{err: cause}
		outcomes := make([]function.Outcome, 3)
		h.HandleAll(t.Context(), lying(t, []event.Event{reading(`{"a":1,"b":1e999}`), reading(`{`), reading(`{"a":2}`)}), outcomes)
		for _, i := range []int{0, 2} {
			require.ErrorIs(t, outcomes[i].Err, cause)
			require.Equal(t, want, fault.KindOf(outcomes[i].Err))
			require.Empty(t, outcomes[i].Losses)
		}
		require.Equal(t, "MALFORMED_JSON", fault.ReasonOf(outcomes[1].Err))
	}
	f(errors.New("disk"), fault.Unavailable)
	f(context.DeadlineExceeded, fault.Unavailable)
	f(&fault.Error{Kind: fault.Exhausted}, fault.Exhausted)
	f(&fault.Error{Kind: fault.TooLarge}, fault.TooLarge)
}

// More samples than are stored at once are stored in parts.
func TestHandleAll_Many(t *testing.T) {
	t.Parallel()
	h := newHarness()
	events := make([]event.Event, 2*bulkSamples/3)
	for i := range events {
		events[i] = reading(`{"a":1,"b":2,"c":3,"d":4}`)
		events[i].SetTime(noon.Add(time.Duration(i) * time.Second))
		if i%2 == 0 {
			events[i].SetExtension("x", fmt.Sprint(i)) // nobody's business
		}
	}
	outcomes := make([]function.Outcome, len(events))
	h.HandleAll(t.Context(), lying(t, events), outcomes)
	for i, o := range outcomes {
		require.Zero(t, o, "event %d", i)
	}
	require.Len(t, h.stored(t), 4*len(events))
}

// BenchmarkHandleAll measures what BenchmarkHandle does, for events of a bulk.
func BenchmarkHandleAll(b *testing.B) {
	h := newHarness()
	h.Series = &nothing{}
	events := make([]event.Event, 64)
	for i := range events {
		events[i] = reading(`{"temperature":21.53,"humidity":48.2,"pressure":1013.25,"wind":{"speed":3.4,"direction":271,"gust":7.9},"battery":{"volts":3.71,"percent":84},"rain_mm":0.2,"uv_index":3}`)
	}
	arrived, outcomes := lying(b, events), make([]function.Outcome, len(events))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%len(events) == 0 {
			h.HandleAll(context.Background(), arrived, outcomes)
		}
	}
}
