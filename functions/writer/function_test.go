package writer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/vm"
)

// The storage of the platform is both: a change of its Check must not go
// unseen.
var (
	_ Appender       = (*vm.Store)(nil)
	_ ingest.Checker = (*vm.Store)(nil)
)

// registry has blueprints by name; err is what it answers instead.
type registry struct {
	devicesv1.Reader
	blueprints map[string]*devicesv1.Blueprint
	err        error
}

// Blueprint implements devicesv1.Reader.
func (r *registry) Blueprint(_ context.Context, name string) (*devicesv1.Blueprint, error) {
	if r.err != nil {
		return nil, r.err
	}
	if b := r.blueprints[name]; b != nil {
		return b, nil
	}
	return nil, &fault.Error{Kind: fault.NotFound, Name: name}
}

// harness is a writer with what it writes to.
type harness struct {
	*Function
	series   *memory.Store
	registry *registry
}

// newHarness makes a writer on memory engines.
func newHarness() *harness {
	descriptors := &memory.Descriptors{}
	h := &harness{series: memory.New(descriptors), registry: &registry{blueprints: map[string]*devicesv1.Blueprint{}}}
	h.Function = &Function{Series: h.series, Descriptors: descriptors, Devices: h.registry}
	return h
}

// noon is the time of most events.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// reading is an event as the processor replies it.
func reading(data string) event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("//selvedge.dev/projects/p/devices/d")
	e.SetType("com.example.climate")
	e.SetTime(noon)
	e.SetExtension(event.Project, "p")
	e.SetExtension(event.Device, "projects/p/devices/d")
	e.SetExtension(event.Route, event.RouteWriter)
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(data)
	return e
}

// stored are the points of the project, one a line, sorted.
func (h *harness) stored(t require.TestingT) []string {
	var got []string
	sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: math.MinInt64, End: math.MaxInt64}}
	require.NoError(t, h.series.Select(context.Background(), sel, func(s *tsdb.Series, p tsdb.Points) error {
		device, _ := s.ResourceLabels.Get("device_id")
		for i, at := range p.Times {
			got = append(got, fmt.Sprintf("%s %s %s %v %v", device, s.Metric, s.Kind, p.Values[i], time.UnixMilli(int64(at)).UTC().Sub(noon)))
		}
		return nil
	}))
	slices.Sort(got)
	return got
}

// handle handles e and returns what was dropped.
func (h *harness) handle(t *testing.T, e event.Event) []function.Loss {
	t.Helper()
	var drops function.Drops
	reply, err := h.Handle(function.WithDrops(t.Context(), &drops), e)
	require.NoError(t, err)
	require.Nil(t, reply)
	return drops.Losses()
}

func TestHandle_StoresReadings(t *testing.T) {
	t.Parallel()
	h := newHarness()
	e := reading(`{"temperature": 21.5, "door": {"open": true}}`)
	for range 2 { // a redelivery changes nothing
		require.Empty(t, h.handle(t, e))
		require.Equal(t, []string{
			"d com.example.climate/door/open GAUGE 1 0s",
			"d com.example.climate/temperature GAUGE 21.5 0s",
		}, h.stored(t))
	}
	e = reading(`[{"n":"level","v":7,"t":-1.5}]`)
	e.SetDataContentType(event.MediaSenML)
	require.Empty(t, h.handle(t, e))
	require.Contains(t, h.stored(t), "d com.example.climate/level GAUGE 7 -1.5s")
	e = reading(`{"timeSeries":[{"metric":{"type":"m"},"points":[{"interval":{"endTime":"2026-06-01T12:00:01Z"},"value":{"int64Value":"3"}}]}]}`)
	e.SetType(event.TypeTimeSeries)
	require.Empty(t, h.handle(t, e))
	require.Contains(t, h.stored(t), "d m GAUGE 3 1s")
}

func TestHandle_DropsPointsAndKeepsTheOthers(t *testing.T) {
	t.Parallel()
	h := newHarness()
	require.Equal(t, []function.Loss{{Reason: "NOT_FINITE", Count: 2}}, h.handle(t, reading(`{"a": 1e999, "b": 2, "c": -1e999}`)))
	require.Equal(t, []string{"d com.example.climate/b GAUGE 2 0s"}, h.stored(t))
	// An event of which nothing is left is counted, and no error.
	require.Equal(t, []function.Loss{{Reason: "TYPE_CONFLICT", Count: 1}}, h.handle(t, reading(`{"b": true}`)))
}

func TestHandle_MapsByTheBlueprint(t *testing.T) {
	t.Parallel()
	h := newHarness()
	const name = "projects/p/blueprints/b"
	blueprint := func(fields ...*devicesv1.FieldMapping) {
		h.registry.blueprints[name] = &devicesv1.Blueprint{Name: name, Mappings: []*devicesv1.Mapping{{
			EventType: "com.example.climate", TimestampField: "at", Fields: fields,
		}}}
	}
	e := reading(`{"t": 21.5, "kwh": 7, "at": 1780315201}`)
	e.SetExtension(event.Blueprint, name)
	blueprint(
		&devicesv1.FieldMapping{Field: "t", MetricType: "temperature", Unit: "Cel", Labels: map[string]string{"where": "=roof"}},
		&devicesv1.FieldMapping{Field: "kwh", Kind: "CUMULATIVE", ValueType: "INT64"},
	)
	require.Empty(t, h.handle(t, e))
	want := []string{"d com.example.climate/kwh CUMULATIVE 7 1s", "d temperature GAUGE 21.5 1s"}
	require.Equal(t, want, h.stored(t))

	// A change of the blueprint holds for the next event.
	blueprint(&devicesv1.FieldMapping{Field: "t", MetricType: "warmth"})
	require.Empty(t, h.handle(t, e))
	require.Equal(t, append(want, "d warmth GAUGE 21.5 1s"), h.stored(t))

	// Types without a mapping are plain JSON.
	other := reading(`{"x": 1}`)
	other.SetType("com.example.other")
	other.SetExtension(event.Blueprint, name)
	require.Empty(t, h.handle(t, other))
	require.Contains(t, h.stored(t), "d com.example.other/x GAUGE 1 0s")
}

func TestPlans_SurviveACopyOfTheBlueprint(t *testing.T) {
	t.Parallel()
	var p plans
	blueprint := func(field string) *devicesv1.Blueprint {
		return &devicesv1.Blueprint{Name: "b", Mappings: []*devicesv1.Mapping{{EventType: "t", Fields: []*devicesv1.FieldMapping{{Field: field}}}}}
	}
	of := func(b *devicesv1.Blueprint) any {
		byType, err := p.of(b)
		require.NoError(t, err)
		return byType["t"]
	}
	first := blueprint("a")
	plan := of(first)
	require.Same(t, plan, of(first))
	require.Same(t, plan, of(blueprint("a")))
	require.NotSame(t, plan, of(blueprint("b")))
	for i := range maxPlans {
		b := blueprint("a")
		b.Name = fmt.Sprint(i)
		of(b)
	}
	require.LessOrEqual(t, len(p.byName), maxPlans)
}

func TestHandle_RefusesEvents(t *testing.T) {
	t.Parallel()
	f := func(kind fault.Kind, reason string, change func(*event.Event)) {
		t.Helper()
		h := newHarness()
		h.registry.blueprints["broken"] = &devicesv1.Blueprint{Name: "broken", Mappings: []*devicesv1.Mapping{{EventType: "t"}}}
		e := reading(`{"a": 1}`)
		change(&e)
		_, err := h.Handle(t.Context(), e)
		require.Equal(t, kind, fault.KindOf(err), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
		require.Empty(t, h.stored(t))
	}
	f(fault.Invalid, "NO_PROJECT", func(e *event.Event) { e.SetExtension(event.Project, nil) })
	f(fault.Invalid, "NO_DEVICE", func(e *event.Event) { e.SetExtension(event.Device, nil) })
	f(fault.Invalid, "FOREIGN_DEVICE", func(e *event.Event) { e.SetExtension(event.Device, "projects/q/devices/d") })
	f(fault.Invalid, "FOREIGN_DEVICE", func(e *event.Event) { e.SetExtension(event.Device, "d") })
	f(fault.NotFound, "UNKNOWN_BLUEPRINT", func(e *event.Event) { e.SetExtension(event.Blueprint, "projects/p/blueprints/gone") })
	f(fault.Invalid, "INVALID_MAPPING", func(e *event.Event) { e.SetExtension(event.Blueprint, "broken") })
	f(fault.Invalid, "MALFORMED_JSON", func(e *event.Event) { e.DataEncoded = []byte("{") })
	f(fault.Invalid, "NO_NUMERIC_FIELD", func(e *event.Event) { e.DataEncoded = []byte("{}") })
	f(fault.Invalid, "UNSUPPORTED_CONTENT_TYPE", func(e *event.Event) { e.SetDataContentType("text/plain") })
}

func TestHandle_RegistryThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	h := newHarness()
	h.registry.err = &fault.Error{Kind: fault.Unavailable}
	e := reading(`{"a": 1}`)
	e.SetExtension(event.Blueprint, "projects/p/blueprints/b")
	_, err := h.Handle(t.Context(), e)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

// TestHandle_EventWithoutATimeIsOfItsArrival delivers an event without a time
// twice: it must not become two points.
func TestHandle_EventWithoutATimeIsOfItsArrival(t *testing.T) {
	t.Parallel()
	h := newHarness()
	e := reading(`{"a": 1}`)
	e.SetTime(time.Time{})
	e.SetExtension(event.ArrivalTime, noon.Add(time.Minute))
	require.Empty(t, h.handle(t, event.Clone(&e)))
	require.Empty(t, h.handle(t, event.Clone(&e)))
	require.Equal(t, []string{"d com.example.climate/a GAUGE 1 1m0s"}, h.stored(t))
}

// picky is a store that takes no sample with the value 13.
type picky struct {
	*memory.Store
	mu   sync.Mutex
	err  error
	last []float64
}

// Check is the reason for which Append would refuse s.
func (p *picky) Check(s tsdb.Sample) string {
	if s.Value == 13 {
		return "UNLUCKY"
	}
	return ""
}

// Append implements Appender.
func (p *picky) Append(_ context.Context, samples []tsdb.Sample) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.last = nil
	for _, s := range samples {
		if reason := p.Check(s); reason != "" {
			return &fault.Error{Kind: fault.Invalid, Reason: reason}
		}
		p.last = append(p.last, s.Value)
	}
	return nil
}

func TestHandle_DropsWhatTheStoreRefuses(t *testing.T) {
	t.Parallel()
	h, store := newHarness(), &picky{}
	h.Series = store
	require.Equal(t, []function.Loss{{Reason: "NOT_FINITE", Count: 1}, {Reason: "UNLUCKY", Count: 2}}, h.handle(t, reading(`{"a": 1, "b": 13, "c": 2, "d": 13, "e": 1e999}`)))
	require.Equal(t, []float64{1, 2}, store.last)
	require.Equal(t, []function.Loss{{Reason: "UNLUCKY", Count: 1}}, h.handle(t, reading(`{"b": 13}`)))
}

func TestHandle_ErrorsOfTheStore(t *testing.T) {
	t.Parallel()
	f := func(cause error, want fault.Kind) {
		t.Helper()
		h := newHarness()
		h.Series = &picky{err: cause}
		var drops function.Drops
		_, err := h.Handle(function.WithDrops(t.Context(), &drops), reading(`{"a": 1, "b": 1e999}`))
		require.ErrorIs(t, err, cause)
		require.Equal(t, want, fault.KindOf(err))
		require.Empty(t, drops.Losses(), "what comes again is not lost yet")
	}
	f(errors.New("disk"), fault.Unavailable)
	f(context.DeadlineExceeded, fault.Unavailable)
	f(&fault.Error{Kind: fault.Internal}, fault.Unavailable)
	f(&fault.Error{Kind: fault.Denied}, fault.Unavailable)
	f(&fault.Error{Kind: fault.Exhausted}, fault.Exhausted)
	f(&fault.Error{Kind: fault.Invalid}, fault.Invalid)
}

// BenchmarkHandle measures an event of ten readings with a store that does
// nothing.
func BenchmarkHandle(b *testing.B) {
	h := newHarness()
	h.Series = &nothing{}
	e := reading(`{"temperature":21.53,"humidity":48.2,"pressure":1013.25,"wind":{"speed":3.4,"direction":271,"gust":7.9},"battery":{"volts":3.71,"percent":84},"rain_mm":0.2,"uv_index":3}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(context.Background(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// nothing is a store that keeps nothing.
type nothing struct{}

// Append implements Appender.
func (*nothing) Append(context.Context, []tsdb.Sample) error { return nil }

// Sync implements Appender.
func (*nothing) Sync(context.Context) error { return nil }
