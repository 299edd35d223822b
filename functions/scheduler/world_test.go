package scheduler_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/functions/scheduler"
	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/ledger"
)

// world is a database and a broker, with the clock that the schedulers over them
// go by.
type world struct {
	t      require.TestingT
	ctx    context.Context
	driver *sqlite.Driver
	broker *broker.Broker
	// store is the one of the last scheduler.
	store   *store.Store
	methods map[string]*schema.Method
	// refuse is the type of the events that nobody wants.
	refuse string
	// fail is what the next publishing does after it was done.
	fail error

	mu  sync.Mutex
	now time.Time
	// posted are the events that entered the broker, again those that it dropped.
	posted []event.Event
	again  int
}

// start is when the worlds of tests begin: an hour before the clock in Zurich is
// set forward.
var start = time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC)

// newWorld makes a world in a folder that lasts until the test ends.
func newWorld(t testing.TB) *world {
	t.Helper()
	p, err := iam.ParsePrincipal("admin")
	require.NoError(t, err)
	w := &world{t: t, ctx: iam.WithPrincipal(t.Context(), p), now: start, methods: map[string]*schema.Method{}}
	dir := t.TempDir()
	w.driver, err = sqlite.OpenDriver(t.Context(), filepath.Join(dir, "resources.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.driver.Close()) })
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "ledger.db"), ledger.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w.broker, err = broker.Open(t.Context(), broker.Options{Dir: dir, Ledger: ledger.New(db)}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.broker.Close()) })
	return w
}

// clock is what time it is.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass sets the clock forward, or back.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// publish has the events enter the broker, and fails then if it should.
func (w *world) publish(ctx context.Context, events []event.Event) error {
	copies := make([]event.Event, len(events))
	for i := range events {
		if events[i].Type() == w.refuse {
			return &fault.Error{Kind: fault.Invalid}
		}
		copies[i] = event.Clone(&events[i])
	}
	verdicts, err := w.broker.Publish(ctx, events)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, v := range verdicts {
		if v == broker.Accepted {
			w.posted = append(w.posted, copies[i])
		} else {
			w.again++
		}
	}
	err, w.fail = w.fail, nil
	return err
}

// open is a scheduler as a platform sets it up.
func (w *world) open(shared bool) *scheduler.Service {
	types := new(schema.Registry)
	desc := schedulerv1.AddTo(types)
	require.NoError(w.t, types.Check())
	for _, m := range desc.Methods {
		w.methods[string(m.Desc.Name())] = m
	}
	var st *store.Store
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"local"}, DefaultControlRegion: "local"},
		func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
			return policy.Local(st)(ctx, typ, name)
		})
	references := reference.New(reference.Options{Region: "local"})
	st = store.New(w.driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: policies}), references), Cached: 1 << 12, Now: w.clock,
	})
	w.store = st
	s, err := scheduler.NewService(st, scheduler.Options{
		Service: service.Options{
			Authorize: service.Allow, Policies: policies, Planner: references, Hub: watch.NewHub(st, watch.HubOptions{}), Now: w.clock,
		},
		Publish: w.publish, Shared: shared,
	})
	require.NoError(w.t, err)
	return s
}

// call does a method.
func call[M proto.Message](w *world, s *scheduler.Service, method string, req proto.Message) (M, error) {
	m, err := s.Call(w.ctx, w.methods[method], req)
	out, _ := m.(M)
	return out, err
}

// create makes a timer of the project p.
func (w *world) create(s *scheduler.Service, id string, t *schedulerv1.Timer) *schedulerv1.Timer {
	if t.Event == nil {
		t.Event = &schedulerv1.TimerEvent{Type: "x"}
	}
	out, err := call[*schedulerv1.Timer](w, s, "CreateTimer", &schedulerv1.CreateTimerRequest{Parent: "projects/p", TimerId: id, Timer: t})
	require.NoError(w.t, err)
	return out
}

// get is a timer of the project p.
func (w *world) get(s *scheduler.Service, id string) *schedulerv1.Timer {
	out, err := call[*schedulerv1.Timer](w, s, "GetTimer", &schedulerv1.GetTimerRequest{Name: "projects/p/timers/" + id})
	require.NoError(w.t, err)
	return out
}

// step does what is due.
func (w *world) step(s *scheduler.Service) {
	_, err := s.Step(w.ctx)
	require.NoError(w.t, err)
}

// slots are the slots of the events that were posted since the last call, with
// how many were missed.
func (w *world) slots() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := []string{}
	for _, e := range w.posted {
		text := event.Extension(&e, schedulerv1.Slot)
		if n := event.Extension(&e, schedulerv1.MissedSlots); n != "" {
			text += " +" + n
		}
		out = append(out, text)
	}
	w.posted = nil
	return out
}

// at is a schedule of once.
func at(t time.Time) *schedulerv1.Timer_At { return &schedulerv1.Timer_At{At: timestamppb.New(t)} }
