package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/ledger"
)

// rig is a broker in a folder, with a ledger, that can be stopped and opened
// again.
type rig struct {
	t       *testing.T
	dir     string
	options broker.Options
	*broker.Broker
	ledger *ledger.SQL
	stop   func()
}

// newRig opens a broker with these triggers and runs it until the test ends.
func newRig(t *testing.T, o broker.Options, triggers ...broker.Trigger) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), options: o}
	r.start(triggers...)
	t.Cleanup(func() { r.stop() })
	return r
}

// start opens and runs the broker.
func (r *rig) start(triggers ...broker.Trigger) {
	r.t.Helper()
	db, err := sqlite.Open(r.t.Context(), filepath.Join(r.dir, "db"), ledger.Schema)
	require.NoError(r.t, err)
	r.ledger = ledger.New(db)
	o := r.options
	o.Dir, o.Ledger = filepath.Join(r.dir, "broker"), r.ledger
	r.Broker, err = broker.Open(r.t.Context(), o, triggers)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(r.t, <-done)
		require.NoError(r.t, r.Broker.Close())
		require.NoError(r.t, db.Close())
	})
}

// publish publishes events and returns their verdicts.
func (r *rig) publish(events ...event.Event) []broker.Verdict {
	r.t.Helper()
	verdicts, err := r.Publish(r.t.Context(), events)
	require.NoError(r.t, err)
	return verdicts
}

// losses waits until the ledger of project p is this.
func (r *rig) losses(want map[string]int64) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		totals, err := r.ledger.Totals(context.Background(), "p")
		require.NoError(r.t, err)
		got := map[string]int64{}
		for _, x := range totals {
			got[x.Stream+" "+x.Reason] = x.Count
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	}, 10*time.Second, 10*time.Millisecond, "%v", want)
}

// reading is an event of project p with this id and type.
func reading(id, typ string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetSource("//selvedge.dev/projects/p/devices/d")
	e.SetType(typ)
	e.SetExtension(event.Project, "p")
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(`{"a":1}`)
	return e
}

// readings are n events of type typ with ids from "0" on.
func readings(n int, typ string) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = reading(fmt.Sprint(i), typ)
	}
	return events
}

// sink is a function that tells the test what it gets and does what it says.
type sink struct {
	got chan event.Event
	do  func(ctx context.Context, e event.Event, attempt int) (*event.Event, error)

	mu       sync.Mutex
	attempts map[string]int
}

// newSink is a sink that takes everything; do may be nil.
func newSink(do func(ctx context.Context, e event.Event, attempt int) (*event.Event, error)) *sink {
	return &sink{got: make(chan event.Event, 100_000), do: do, attempts: map[string]int{}}
}

// Handle implements function.Handler.
func (s *sink) Handle(ctx context.Context, e event.Event) (*event.Event, error) {
	s.mu.Lock()
	attempt := s.attempts[e.ID()]
	s.attempts[e.ID()]++
	s.mu.Unlock()
	var reply *event.Event
	var err error
	if s.do != nil {
		reply, err = s.do(ctx, e, attempt)
	}
	s.got <- e
	return reply, err
}

// ids takes n deliveries and returns the ids in order.
func (s *sink) ids(t *testing.T, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		select {
		case e := <-s.got:
			ids[i] = e.ID()
		case <-time.After(20 * time.Second):
			require.FailNow(t, "missing deliveries", "got %d of %d", i, n)
		}
	}
	return ids
}

// trigger is a trigger of that name for events of that type.
func trigger(name, typ string, s *sink) broker.Trigger {
	f, err := filter.ParseAll([]filter.Spec{{Exact: map[string]string{"type": typ}}})
	if err != nil {
		panic(err)
	}
	return broker.Trigger{Name: name, Filter: f, Sink: delivery.InProcess(s), Dest: name}
}

// TestPublish_EveryMatchingTriggerGetsEachEventOnce covers SPEC 1.F 56: within
// a trigger, whose lanes are its members, one gets an event; every trigger gets
// all.
func TestPublish_EveryMatchingTriggerGetsEachEventOnce(t *testing.T) {
	t.Parallel()
	a, b, other := newSink(nil), newSink(nil), newSink(nil)
	r := newRig(t, broker.Options{}, trigger("a", "t", a), trigger("b", "t", b), trigger("other", "u", other))
	const n = 2000
	verdicts := r.publish(readings(n, "t")...)
	require.Len(t, verdicts, n)
	require.NotContains(t, verdicts, broker.Duplicate)
	for _, s := range []*sink{a, b} {
		ids := s.ids(t, n)
		for i, id := range ids {
			require.Equal(t, fmt.Sprint(i), id, "the events of one source keep their order")
		}
	}
	r.stop() // so that nothing more can come
	require.Empty(t, a.got)
	require.Empty(t, b.got)
	require.Empty(t, other.got)
	for _, st := range r.Stats() {
		require.Zero(t, st.Pending, st.Trigger)
	}
}

func TestPublish_SubscriberSeesArrivalAndNoBrokerInternals(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	r := newRig(t, broker.Options{}, trigger("a", "t", s))
	before := time.Now().Truncate(time.Millisecond)
	r.publish(reading("1", "t"))
	e := <-s.got
	at, err := time.Parse(time.RFC3339Nano, event.Extension(&e, "knativearrivaltime"))
	require.NoError(t, err)
	require.WithinRange(t, at, before, time.Now())
	require.Empty(t, event.Extension(&e, "knativebrokerttl"))
	require.JSONEq(t, `{"a":1}`, string(e.Data()))
}

func TestPublish_NobodyMatchesIsALoss(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{}, trigger("a", "t", newSink(nil)))
	r.publish(reading("1", "unheard"))
	r.losses(map[string]int64{"broker NO_TRIGGER": 1})
}

func TestRetry_BacksOffThenSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		s := newSink(func(_ context.Context, _ event.Event, attempt int) (*event.Event, error) {
			at = append(at, time.Since(start).Round(10*time.Millisecond))
			if attempt < 3 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, nil
		})
		tr := trigger("a", "t", s)
		tr.Policy = delivery.Policy{Retry: 3, Backoff: delivery.Exponential, Delay: 200 * time.Millisecond}
		r := newRig(t, broker.Options{}, tr)
		r.publish(reading("1", "t"))
		s.ids(t, 4)
		r.stop()
		const ms = time.Millisecond
		require.Equal(t, []time.Duration{0, 200 * ms, 600 * ms, 1400 * ms}, at)
	})
}

func TestRetry_OthersPassAFailingEvent(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		select {
		case <-release:
			return nil, nil
		default:
		}
		if e.ID() == "0" {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, nil
	})
	tr := trigger("a", "t", s)
	tr.Policy = delivery.Policy{Retry: 1 << 20, Backoff: delivery.Linear, Delay: time.Millisecond}
	r := newRig(t, broker.Options{}, tr)
	r.publish(readings(50, "t")...)
	seen := map[string]bool{}
	for len(seen) < 50 {
		seen[s.ids(t, 1)[0]] = true
	}
	require.Positive(t, r.Stats()[0].Pending, "the cursor waits for the failing event")
	close(release)
	require.Eventually(t, func() bool { return r.Stats()[0].Pending == 0 }, 10*time.Second, time.Millisecond)
}

func TestPatient_EventsWaitForAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const away = 50
		s := newSink(func(_ context.Context, e event.Event, attempt int) (*event.Event, error) {
			switch {
			case e.ID() == "poison":
				return nil, io.ErrUnexpectedEOF
			case attempt < away:
				return nil, &fault.Error{Kind: fault.Exhausted, Reason: "STORAGE_READ_ONLY"}
			}
			return nil, nil
		})
		tr := trigger("a", "t", s)
		tr.Patient, tr.Policy = true, delivery.Policy{Retry: 1, Delay: time.Millisecond}
		r := newRig(t, broker.Options{}, tr)
		r.publish(reading("1", "t"), reading("poison", "t"))
		s.ids(t, away+1+2)
		synctest.Wait()
		st := r.Stats()[0]
		require.EqualValues(t, 1, st.Delivered)
		require.EqualValues(t, 1, st.Failed, "what fails by itself is given up all the same")
	})
}

func TestFailure_IsCountedWithItsReason(t *testing.T) {
	t.Parallel()
	s := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		switch e.ID() {
		case "invalid":
			return nil, &fault.Error{Kind: fault.Invalid, Reason: "NO_NUMBERS", Err: errors.New("no numbers")}
		case "unknown":
			return nil, &fault.Error{Kind: fault.NotFound, Reason: "UNKNOWN_DEVICE"}
		case "poison":
			panic("boom")
		}
		return nil, io.ErrUnexpectedEOF
	})
	tr := trigger("a", "t", s)
	tr.Policy = delivery.Policy{Retry: 2, Backoff: delivery.Linear}
	r := newRig(t, broker.Options{}, tr)
	r.publish(reading("invalid", "t"), reading("unknown", "t"), reading("poison", "t"), reading("broken", "t"))
	r.losses(map[string]int64{"a NO_NUMBERS": 1, "a UNKNOWN_DEVICE": 1, "a RETRIES_EXHAUSTED": 2})
	st := r.Stats()[0]
	require.EqualValues(t, 4, st.Failed)
	require.EqualValues(t, 4, st.Retried, "poison and broken, twice each")
}

func TestDeadLetter_GetsTheEventInsteadOfTheLedger(t *testing.T) {
	t.Parallel()
	dead := newSink(func(_ context.Context, _ event.Event, attempt int) (*event.Event, error) {
		if attempt == 0 {
			return nil, io.ErrUnexpectedEOF // retried by the same policy
		}
		return nil, nil
	})
	s := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		return nil, &fault.Error{Kind: fault.Invalid, Err: errors.New("no numbers")}
	})
	tr := trigger("a", "t", s)
	tr.Policy, tr.DeadLetter = delivery.Policy{Retry: 1}, delivery.InProcess(dead)
	r := newRig(t, broker.Options{}, tr)
	r.publish(reading("1", "t"))
	require.Equal(t, []string{"1", "1"}, dead.ids(t, 2))
	require.Eventually(t, func() bool { return r.Stats()[0].DeadLettered == 1 }, 10*time.Second, time.Millisecond)
	totals, err := r.ledger.Totals(t.Context(), "p")
	require.NoError(t, err)
	require.Empty(t, totals)
}

func TestReply_ReentersOnceInTheProjectOfItsCause(t *testing.T) {
	t.Parallel()
	s := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		e.SetType("u")
		e.SetExtension(event.Project, "somebody-elses")
		return &e, nil // the same id and source: no duplicate of its cause
	})
	next := newSink(nil)
	r := newRig(t, broker.Options{}, trigger("a", "t", s), trigger("b", "u", next))
	r.publish(readings(100, "t")...)
	for range 100 {
		e := <-next.got
		require.Equal(t, "p", event.Extension(&e, event.Project))
	}
	r.stop()
	require.Empty(t, next.got)
}

func TestReply_LoopEnds(t *testing.T) {
	t.Parallel()
	s := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		e.SetID(e.ID() + "x")
		return &e, nil
	})
	r := newRig(t, broker.Options{}, trigger("a", "t", s))
	r.publish(reading("1", "t"))
	s.ids(t, 255)
	r.losses(map[string]int64{"a TTL_EXPIRED": 1})
}

func TestReply_ThatIsNoEventIsALoss(t *testing.T) {
	t.Parallel()
	s := newSink(func(context.Context, event.Event, int) (*event.Event, error) {
		e := event.New()
		return &e, nil
	})
	r := newRig(t, broker.Options{}, trigger("a", "t", s))
	r.publish(reading("1", "t"))
	r.losses(map[string]int64{"a INVALID_REPLY": 1})
}

func TestReply_OverTheBoundIsALossAndManyLargeOnesAreNot(t *testing.T) {
	t.Parallel()
	s := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		size := 1 << 20
		if e.ID() == "0" {
			size = 3 << 20
		}
		e.SetType("u")
		e.DataEncoded = make([]byte, size)
		return &e, nil
	})
	next := newSink(nil)
	tr := trigger("a", "t", s)
	tr.Lanes = 1
	r := newRig(t, broker.Options{}, tr, trigger("b", "u", next))
	r.publish(readings(80, "t")...) // one step, with more replies than one append may have
	next.ids(t, 79)
	r.losses(map[string]int64{"a REPLY_TOO_LARGE": 1})
}

func TestSlowTrigger_DelaysNobodyElse(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := newSink(func(ctx context.Context, _ event.Event, _ int) (*event.Event, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	})
	fast := newSink(nil)
	r := newRig(t, broker.Options{}, trigger("slow", "t", slow), trigger("fast", "t", fast))
	for i := range 20 {
		events := make([]event.Event, 500)
		for j := range events {
			events[j] = reading(fmt.Sprintf("%d-%d", i, j), "t")
		}
		r.publish(events...)
	}
	fast.ids(t, 10_000)
	require.Empty(t, slow.got)
	close(release)
	slow.ids(t, 10_000)
}

func TestRestart_DeliversWhatWasNotFinished(t *testing.T) {
	t.Parallel()
	s := newSink(func(_ context.Context, e event.Event, _ int) (*event.Event, error) {
		if e.ID() == "7" {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, nil
	})
	tr := trigger("a", "t", s)
	tr.Policy = delivery.Policy{Retry: 100, Delay: time.Hour}
	r := newRig(t, broker.Options{}, tr)
	r.publish(readings(20, "t")...)
	s.ids(t, 20)
	r.stop()

	again := newSink(nil)
	r.start(trigger("a", "t", again))
	ids := again.ids(t, 13)
	require.Equal(t, "7", ids[0], "from the unfinished one on: %v", ids)
	r.stop()
	require.Empty(t, again.got)
}

func TestNewTrigger_BeginsWithWhatComes(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	r := newRig(t, broker.Options{}, trigger("a", "t", s))
	r.publish(reading("1", "t"))
	s.ids(t, 1)
	r.stop()
	late := newSink(nil)
	r.start(trigger("a", "t", s), trigger("late", "t", late))
	r.publish(reading("2", "t"))
	require.Equal(t, []string{"2"}, late.ids(t, 1))
}

func TestFull_RefusesAndResumes(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newSink(func(ctx context.Context, e event.Event, _ int) (*event.Event, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		e.SetType("u")
		return &e, nil // a reply needs room although the journal is full
	})
	next := newSink(nil)
	r := newRig(t, broker.Options{MaxBytes: 48 << 20}, trigger("a", "t", s), trigger("b", "u", next))
	sent := 0
	var refused error
	for sent < 1000 && refused == nil {
		e := reading(fmt.Sprint(sent), "t")
		e.DataEncoded = []byte(fmt.Sprintf(`"%01000000d"`, sent))
		_, refused = r.Publish(t.Context(), []event.Event{e})
		if refused == nil {
			sent++
		}
	}
	require.Equal(t, fault.Exhausted, fault.KindOf(refused), "%v", refused)
	require.Equal(t, "BROKER_FULL", fault.ReasonOf(refused))
	var ra fault.RetryAfter
	require.ErrorAs(t, refused, &ra)

	close(release)
	next.ids(t, sent)
	require.Eventually(t, func() bool {
		_, err := r.Publish(t.Context(), []event.Event{reading("after", "t")})
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "room is found again")
}

func TestSyncer_CursorWaitsForSync(t *testing.T) {
	t.Parallel()
	s := &lateSink{sink: newSink(nil), fail: true}
	tr := trigger("a", "t", s.sink)
	tr.Sink = delivery.InProcess(s)
	o := broker.Options{SyncEvery: time.Millisecond}
	r := newRig(t, o, tr)
	r.publish(readings(10, "t")...)
	s.ids(t, 10)
	require.Eventually(t, func() bool { return s.calls() > 0 }, 10*time.Second, time.Millisecond)
	for _, c := range r.Journal().Cursors {
		if c.Name == "trigger-a" {
			require.EqualValues(t, 10, c.Lag, "what is not durable is not forgotten")
		}
	}
	s.heal()
	require.Eventually(t, func() bool {
		for _, c := range r.Journal().Cursors {
			if c.Name == "trigger-a" && c.Lag != 0 {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
}

// lateSink is a sink that becomes durable late, and first fails to.
type lateSink struct {
	*sink
	mu    sync.Mutex
	fail  bool
	count int
}

// Sync implements function.Syncer.
func (s *lateSink) Sync(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if s.fail {
		return io.ErrShortWrite
	}
	return nil
}

// calls is how often Sync was called.
func (s *lateSink) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// heal lets Sync succeed.
func (s *lateSink) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = false
}

func TestClosed_RefusesToPublish(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{}, trigger("a", "t", newSink(nil)))
	r.stop()
	_, err := r.Publish(t.Context(), []event.Event{reading("1", "t")})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

func TestOpen_RefusesTwoTriggersOfOneName(t *testing.T) {
	t.Parallel()
	s := newSink(nil)
	_, err := broker.Open(t.Context(), broker.Options{Dir: t.TempDir()}, []broker.Trigger{trigger("a", "t", s), trigger("a", "u", s)})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
