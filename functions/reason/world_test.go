package reason_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/reason"
	reasonv1 "selvedge.dev/functions/reason/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/function"
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
)

// world is the service over a database, with a clock, and the function with what
// it posts.
type world struct {
	*reason.Service
	t        testing.TB
	ctx      context.Context
	store    *store.Store
	methods  map[string]*schema.Method
	function *reason.Function

	mu     sync.Mutex
	now    time.Time
	posted []event.Event
}

// newWorld makes a world. What it is told of the environment is REASON_ALLOW.
func newWorld(t testing.TB, allow string) *world {
	t.Helper()
	p, err := iam.ParsePrincipal("admin")
	require.NoError(t, err)
	w := &world{t: t, ctx: iam.WithPrincipal(t.Context(), p), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), methods: map[string]*schema.Method{}}
	driver, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "resources.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	types := new(schema.Registry)
	for _, m := range reasonv1.AddTo(types).Methods {
		w.methods[string(m.Desc.Name())] = m
	}
	require.NoError(t, types.Check())
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"local"}, DefaultControlRegion: "local"},
		func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
			return policy.Local(w.store)(ctx, typ, name)
		})
	references := reference.New(reference.Options{Region: "local"})
	w.store = store.New(driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: policies}), references), Cached: 1 << 12, Now: w.clock,
	})
	w.Service, err = reason.NewService(w.store, service.Options{
		Authorize: service.Allow, Policies: policies, Planner: references, Hub: watch.NewHub(w.store, watch.HubOptions{}), Now: w.clock,
	})
	require.NoError(t, err)
	w.function = &reason.Function{Scripts: w.Service, Publish: w.publish, Functions: map[string]function.Handler{}}
	require.NoError(t, w.function.Start(t.Context(), map[string]string{"REASON_ALLOW": allow}))
	return w
}

// clock is what time it is.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass sets the clock forward.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// publish takes what is posted.
func (w *world) publish(_ context.Context, events []event.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.posted = append(w.posted, events...)
	return nil
}

// caller calls the service as the administrator.
type caller struct{ w *world }

// Call does a method.
func (c caller) Call(_ context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	return c.w.Call(c.w.ctx, m, req)
}

// do does a method.
func do[M proto.Message](w *world, method string, req proto.Message) (M, error) {
	m, err := w.Call(w.ctx, w.methods[method], req)
	out, _ := m.(M)
	return out, err
}

// create makes a script of the project p.
func (w *world) create(id string, s *reasonv1.Script) *reasonv1.Script {
	w.t.Helper()
	out, err := do[*reasonv1.Script](w, "CreateScript", &reasonv1.CreateScriptRequest{Parent: "projects/p", ScriptId: id, Script: s})
	require.NoError(w.t, err)
	return out
}

// user makes a script of that id whose function is of this process.
func (w *world) user(id string, s *reasonv1.Script, f func(event.Event) (*event.Event, error)) {
	w.t.Helper()
	s.Sink = &reasonv1.Script_Function{Function: id}
	w.function.Functions[id] = handler(f)
	w.create(id, s)
}

// handler is a function of a user.
type handler func(event.Event) (*event.Event, error)

// Handle implements function.Handler.
func (h handler) Handle(_ context.Context, e event.Event) (*event.Event, error) { return h(e) }

// message is what a device sent, on its way to a route.
func message(t testing.TB, route string) event.Event {
	t.Helper()
	e := event.New()
	e.SetID("m1")
	e.SetSource(event.Source("projects/p/devices/d"))
	e.SetType("com.example.climate")
	e.SetTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	e.SetExtension(event.Project, "p")
	e.SetExtension(event.Device, "projects/p/devices/d")
	e.SetExtension(event.Route, route)
	require.NoError(t, e.SetData("application/json", map[string]any{"temperature": 20}))
	return e
}

// reply is an event of a type with data.
func reply(t testing.TB, typ string, data any) *event.Event {
	t.Helper()
	e := event.New()
	e.SetID("r")
	e.SetSource("user")
	e.SetType(typ)
	require.NoError(t, e.SetData("application/json", data))
	return &e
}
