package watch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
)

// world is a store with robots, and a Hub that runs.
type world struct {
	t        testing.TB
	st       *store.Store
	hub      *watch.Hub
	robot    *schema.Resource
	one, all *schema.Method
}

// each runs a test in a bubble on every driver.
func each(t *testing.T, o watch.HubOptions, f func(w *world)) {
	t.Helper()
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "store")
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, open(t, path), o)
				f(w)
			})
		})
	}
}

// drivers are what the tests run on.
var drivers = map[string]func(t *testing.T, path string) store.Driver{
	"memory": func(*testing.T, string) store.Driver { return newMemory() },
	"sqlite": func(t *testing.T, path string) store.Driver {
		t.Helper()
		d, err := sqlite.OpenDriver(t.Context(), path, sqlite.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		return d
	},
}

// newWorld makes a world that ends with the test.
func newWorld(tb testing.TB, d store.Driver, o watch.HubOptions) *world {
	tb.Helper()
	types := new(schema.Registry)
	samplev1.AddTo(types)
	w := &world{t: tb, st: store.New(d, types, store.Options{})}
	w.robot, _ = types.Type("sample.selvedge.dev/Robot")
	w.one, _ = types.Method("selvedge.sample.v1.RobotService.WatchRobot")
	w.all, _ = types.Method("selvedge.sample.v1.RobotService.WatchRobots")
	if o.Pages == nil {
		o.Pages = pages{}
	}
	w.hub = watch.NewHub(w.st, o)
	w.run(w.hub.Run)
	return w
}

// run runs something until the test ends.
func (w *world) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		require.NoError(w.t, <-done)
	})
}

// name is the name of a robot.
func name(id string) string { return "projects/p/robots/" + id }

// write does some writes in one transaction.
func (w *world) write(f func(ctx context.Context)) {
	w.t.Helper()
	require.NoError(w.t, w.st.Run(context.Background(), store.Transaction, func(ctx context.Context) error {
		f(ctx)
		return nil
	}))
}

// set makes or changes a robot.
func (w *world) set(ctx context.Context, r *samplev1.Robot) {
	w.t.Helper()
	require.NoError(w.t, w.st.Save(ctx, proto.CloneOf(r), store.SaveOptions{}))
}

// save is set in a transaction of its own.
func (w *world) save(robots ...*samplev1.Robot) {
	w.t.Helper()
	for _, r := range robots {
		w.write(func(ctx context.Context) { w.set(ctx, r) })
	}
}

// remove deletes a robot.
func (w *world) remove(id string) {
	w.t.Helper()
	w.write(func(ctx context.Context) {
		require.NoError(w.t, w.st.Delete(ctx, w.robot, resource.Name(name(id)), store.DeleteOptions{}))
	})
}

// list are the objects of a list, without secrets.
func (w *world) list(parent, text string, edit func(*store.Query)) []*samplev1.Robot {
	w.t.Helper()
	p, err := schema.ParseParent(w.robot, parent)
	require.NoError(w.t, err)
	f, err := filter.Parse(w.robot, text)
	require.NoError(w.t, err)
	q := store.Query{Parent: p, Filter: f, Limit: 1000}
	if edit != nil {
		edit(&q)
	}
	var out []*samplev1.Robot
	require.NoError(w.t, w.st.Run(context.Background(), store.Consistent, func(ctx context.Context) error {
		page, err := w.st.List(ctx, w.robot, q)
		if err != nil {
			return err
		}
		for _, m := range page.Objects {
			r, _ := m.(*samplev1.Robot)
			if r.GetSpec() != nil {
				r.Spec.Pin = ""
			}
			if r.GetState() != nil {
				r.State.Token = ""
			}
			out = append(out, r)
		}
		return nil
	}))
	return out
}

// tap is a watch that goes on, and what it told.
type tap[M proto.Message] struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan error

	mu   sync.Mutex
	told []M
	gate chan struct{} // closed while messages flow
}

// open starts a watch.
func open[M proto.Message](w *world, m *schema.Method, req proto.Message, visible watch.Visible) *tap[M] {
	ctx, cancel := context.WithCancel(w.t.Context())
	x := &tap[M]{t: w.t, cancel: cancel, done: make(chan error, 1), gate: make(chan struct{})}
	close(x.gate)
	go func() {
		x.done <- w.hub.Serve(ctx, m, req, visible, func(msg proto.Message) error {
			x.mu.Lock()
			gate := x.gate
			x.mu.Unlock()
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			got, ok := msg.(M)
			if !ok {
				return errors.New("a message of another type")
			}
			x.told = append(x.told, proto.CloneOf(got))
			return nil
		})
	}()
	w.t.Cleanup(x.stop)
	return x
}

// take returns what was told since it was called last.
func (x *tap[M]) take() []M {
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	told := x.told
	x.told = nil
	return told
}

// block stops the flow of messages until the function that it returns is called.
func (x *tap[M]) block() func() {
	x.mu.Lock()
	defer x.mu.Unlock()
	gate := make(chan struct{})
	x.gate = gate
	return func() { close(gate) }
}

// stop ends the watch.
func (x *tap[M]) stop() {
	x.cancel()
	if x.done != nil {
		<-x.done
		x.done = nil
	}
}

// err is what the watch ends with by itself.
func (x *tap[M]) err() error {
	err := <-x.done
	x.done = nil
	return err
}

// stateless watches robots.
func (w *world) stateless(req *samplev1.WatchRobotsRequest, visible watch.Visible) *tap[*samplev1.WatchRobotsResponse] {
	req.Type = resourcev1.WatchType_STATELESS
	return open[*samplev1.WatchRobotsResponse](w, w.all, req, visible)
}

// receiver is who applies the responses of a stateless watch.
type receiver struct {
	robots  map[string]*samplev1.Robot
	pending []*samplev1.RobotChange
	token   string
	// order are the changes that were committed, as name and version, or name
	// alone for one that went; sizes how many objects there were after each set.
	order []string
	sizes []int
	// softs and hards count the resets, wrong the sizes that were another.
	softs, hards, wrong int
}

// newReceiver is one who knows nothing.
func newReceiver() *receiver { return &receiver{robots: map[string]*samplev1.Robot{}} }

// apply applies responses.
func (r *receiver) apply(t require.TestingT, responses ...*samplev1.WatchRobotsResponse) *receiver {
	for _, x := range responses {
		if x.GetIsSoftReset() {
			r.softs, r.pending = r.softs+1, nil
		}
		if x.GetIsHardReset() {
			r.hards, r.pending, r.token = r.hards+1, nil, ""
			clear(r.robots)
		}
		r.pending = append(r.pending, x.GetRobotChanges()...)
		if !x.GetIsCurrent() {
			require.Empty(t, x.GetResumeToken()) // SPEC 1.F 39
			require.EqualValues(t, -1, x.GetSnapshotSize())
			continue
		}
		require.NotEmpty(t, x.GetResumeToken())
		for _, c := range r.pending {
			if set := c.GetSet(); set != nil {
				o := set.GetRobot()
				require.Equal(t, r.robots[o.GetName()] == nil, set.GetIsNew())
				r.order = append(r.order, o.GetName()+"@"+o.GetMetadata().GetResourceVersion())
				r.robots[o.GetName()] = o
				continue
			}
			r.order = append(r.order, c.GetRemoved().GetName())
			delete(r.robots, c.GetRemoved().GetName())
		}
		r.pending, r.token = nil, x.GetResumeToken()
		r.sizes = append(r.sizes, len(r.robots))
		if n := x.GetSnapshotSize(); n >= 0 && n != int64(len(r.robots)) {
			r.wrong++
		}
	}
	return r
}

// has checks that the receiver has exactly these objects.
func (r *receiver) has(t require.TestingT, want []*samplev1.Robot) {
	require.Len(t, r.robots, len(want))
	for _, o := range want {
		require.True(t, proto.Equal(o, r.robots[o.GetName()]), "%v\n%v", o, r.robots[o.GetName()])
	}
	require.Zero(t, r.wrong)
}

// pages are tokens of pages that anybody can read.
type pages struct{}

// sealed is such a token.
type sealed struct {
	Position *store.Position
	Reverse  bool
	Parts    []string
}

// Seal implements watch.Pages.
func (pages) Seal(p *store.Position, reverse bool, parts ...string) string {
	if p == nil {
		return ""
	}
	b, err := json.Marshal(sealed{p, reverse, parts})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Open implements watch.Pages.
func (pages) Open(token string, parts ...string) (*store.Position, bool, error) {
	var s sealed
	if err := json.Unmarshal([]byte(token), &s); err != nil {
		return nil, false, err
	}
	if fmt.Sprint(parts) != fmt.Sprint(s.Parts) {
		return nil, false, errors.New("another list")
	}
	return s.Position, s.Reverse, nil
}

// later lets time pass in the bubble.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// robotName is the name of a robot.
func robotName(id string) resource.Name { return resource.Name(name(id)) }

// canonical is a filter in its one form.
func canonical(w *world, text string) string {
	f, err := filter.Parse(w.robot, text)
	require.NoError(w.t, err)
	return f.String()
}

// seeds runs a test of a fault or a property in bubbles, with randomness of
// which the test's name is the seed.
func seeds(t *testing.T, n uint64, f func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// oneOf is one of the values.
func oneOf[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// drop deletes a robot if there is one.
func (w *world) drop(id string) {
	w.t.Helper()
	w.write(func(ctx context.Context) {
		require.NoError(w.t, w.st.Delete(ctx, w.robot, robotName(id), store.DeleteOptions{AllowMissing: true}))
	})
}
