package reference_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/store/storetest/memory"
)

// The addresses of the two stores of a world.
var (
	sampleAt  = reference.Address{Service: "sample.selvedge.dev"}
	secretsAt = reference.Address{Service: "secrets.sample.selvedge.dev"}
)

// ctx is enough of one for tests.
var ctx = context.Background()

// clock is a clock that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
	// real is whether it shows the real time.
	real bool
}

// live makes it show the real time, which may be that of a bubble.
func (c *clock) live() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.real = true
}

// now is what it shows.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real {
		return time.Now()
	}
	return c.t
}

// move moves it.
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// site is one store with its controller.
type site struct {
	drv   *flaky
	refs  *reference.References
	st    *store.Store
	ctl   *reference.Controller
	world *world
	at    reference.Address
}

// world is the sample service and the secrets service, each with a store.
type world struct {
	t       require.TestingT
	clock   *clock
	peers   *reference.Local
	sample  *site
	secrets *site
}

// newWorld makes an empty one on drivers in memory.
func newWorld(t require.TestingT) *world {
	return newWorldOn(t, func() store.Driver { return memory.New() })
}

// newWorldOn makes an empty one.
func newWorldOn(t require.TestingT, open func() store.Driver) *world {
	w := &world{t: t, clock: &clock{t: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}, peers: &reference.Local{}}
	w.sample = w.site(sampleAt, &flaky{Driver: open()}, func(r *schema.Registry) { samplev1.AddTo(r) })
	w.secrets = w.site(secretsAt, &flaky{Driver: open()}, func(r *schema.Registry) { secretsv1.AddTo(r) })
	return w
}

// strict makes the one reference that may dangle a blocking one, before the
// first robot is saved.
func (w *world) strict() {
	x := w.sample.st.Types().Of(robotType)
	for i := range x.References {
		if x.References[i].OnDelete == resourcev1.OnDelete_ALLOW_DANGLING {
			x.References[i].OnDelete = resourcev1.OnDelete_BLOCK
		}
	}
}

// site makes a store with the types.
func (w *world) site(at reference.Address, d *flaky, add func(*schema.Registry)) *site {
	types := &schema.Registry{}
	add(types)
	s := &site{drv: d, world: w, at: at}
	s.refs = reference.New(reference.Options{Peers: w.peers, Region: at.Region, Now: w.clock.now})
	s.st = store.New(d, types, store.Options{Plugins: []store.Plugin{plugins.Meta{}, s.refs}, Now: w.clock.now})
	s.restart()
	return s
}

// restart makes a new controller, as after the death of the old one.
func (s *site) restart() {
	s.ctl = s.refs.Control(s.st)
	s.world.peers.Join(s.at, s.ctl)
}

// settle does all that is due in both stores.
func (w *world) settle() {
	for range 3 {
		for _, s := range []*site{w.sample, w.secrets} {
			require.NoError(w.t, s.ctl.Settle(ctx))
		}
	}
}

// pass lets time pass in steps, so that everything that waits comes to its turn.
func (w *world) pass(d time.Duration) {
	for step := 30 * time.Second; d > 0; d -= step {
		w.settle()
		w.clock.move(min(d, step))
	}
	w.settle()
}

// site of an object.
func (w *world) of(m proto.Message) *site {
	if _, ok := m.(*secretsv1.Secret); ok {
		return w.secrets
	}
	return w.sample
}

// try saves objects in one transaction of a store.
func (w *world) try(ms ...proto.Message) error {
	s := w.of(ms[0])
	return s.st.Run(ctx, store.Transaction, func(ctx context.Context) error {
		for _, m := range ms {
			if err := s.st.Save(ctx, proto.Clone(m), store.SaveOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// save saves each object by itself.
func (w *world) save(ms ...proto.Message) {
	for _, m := range ms {
		require.NoError(w.t, w.try(m))
	}
}

// get reads an object like m, nil if there is none.
func get[M proto.Message](w *world, m M, name string) (M, bool) {
	s := w.of(m)
	var out proto.Message
	err := s.st.Run(ctx, store.Consistent, func(ctx context.Context) (err error) {
		tx, _ := s.st.TxOf(ctx)
		out, err = tx.Get(ctx, s.st.Types().Of(m), resource.Name(name))
		return err
	})
	require.NoError(w.t, err)
	if out == nil {
		return m, false
	}
	return out.(M), true
}

// has reports whether an object is there.
func (w *world) has(m proto.Message, name string) bool {
	_, ok := get(w, m, name)
	return ok
}

// remove deletes objects in one transaction.
func (w *world) remove(m proto.Message, names ...string) error {
	s := w.of(m)
	return s.st.Run(ctx, store.Transaction, func(ctx context.Context) error {
		for _, n := range names {
			if err := s.st.Delete(ctx, s.st.Types().Of(m), resource.Name(n), store.DeleteOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// plan plans a deletion and writes the consequences one a line.
func (w *world) plan(m proto.Message, name string) (*resourcev1.DeletionPlan, []string) {
	s := w.of(m)
	p, err := s.refs.Plan(ctx, s.st, s.st.Types().Of(m), resource.Name(name))
	require.NoError(w.t, err)
	var lines []string
	for _, c := range p.GetConsequences() {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s", c.GetEffect(), c.GetTiming(), c.GetName(), c.GetCause(), c.GetPath()))
	}
	return p, lines
}

// The types, to say which is meant.
var (
	robotType  = &samplev1.Robot{}
	modelType  = &samplev1.Model{}
	orderType  = &samplev1.Order{}
	secretType = &secretsv1.Secret{}
)

// Names in the one project.
func robotName(s string) string  { return "projects/p/robots/" + s }
func modelName(s string) string  { return "projects/p/models/" + s }
func orderName(s string) string  { return "projects/p/orders/" + s }
func secretName(s string) string { return "projects/p/secrets/" + s }

// robot makes a robot.
func robot(s string, spec *samplev1.RobotSpec, owners ...*resourcev1.OwnerReference) *samplev1.Robot {
	if spec == nil {
		spec = &samplev1.RobotSpec{}
	}
	return &samplev1.Robot{Name: robotName(s), Spec: spec, Metadata: &resourcev1.Metadata{OwnerReferences: owners}}
}

// model makes a model.
func model(s string, owners ...*resourcev1.OwnerReference) *samplev1.Model {
	return &samplev1.Model{Name: modelName(s), Metadata: &resourcev1.Metadata{OwnerReferences: owners}}
}

// secret makes a secret.
func secret(s string, owners ...*resourcev1.OwnerReference) *secretsv1.Secret {
	return &secretsv1.Secret{Name: secretName(s), Metadata: &resourcev1.Metadata{OwnerReferences: owners}}
}

// order makes an order.
func order(s, model, secret string, owners ...*resourcev1.OwnerReference) *samplev1.Order {
	return &samplev1.Order{Name: orderName(s), Model: model, Secret: secret, Metadata: &resourcev1.Metadata{OwnerReferences: owners}}
}

// owner refers to an owner by its name, whose collection says its type.
func owner(name string, change ...func(*resourcev1.OwnerReference)) *resourcev1.OwnerReference {
	o := &resourcev1.OwnerReference{Name: name, Type: map[string]string{
		"robots": "sample.selvedge.dev/Robot", "models": "sample.selvedge.dev/Model", "orders": "sample.selvedge.dev/Order",
		"secrets": "secrets.sample.selvedge.dev/Secret",
	}[resource.Name(name).Collection()]}
	for _, f := range change {
		f(o)
	}
	return o
}

// requires and unsetting are what an owner reference can say.
func requires(o *resourcev1.OwnerReference)  { o.RequiresOwnerReference = true }
func unsetting(o *resourcev1.OwnerReference) { o.UnsetOnDelete = true }

// newTest is a world on SQLite in a parallel test.
func newTest(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return newWorldOn(t, func() store.Driver { return openSQLite(t) })
}

// openSQLite opens a new database.
func openSQLite(t *testing.T) *sqlite.Driver {
	t.Helper()
	d, err := sqlite.OpenDriver(context.Background(), filepath.Join(t.TempDir(), "db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// collect puts what a scan yields into a map.
func collect(into map[string]proto.Message) func(*schema.Resource, proto.Message) bool {
	return func(x *schema.Resource, m proto.Message) bool {
		into[string(x.NameOf(m))] = m
		return true
	}
}
