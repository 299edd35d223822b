package service_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
)

// world is the sample service over a store of its own.
type world struct {
	*service.Service
	t     testing.TB
	ctx   context.Context // of an administrator
	store *store.Store
	// driver is the store's.
	driver *failing
	now    time.Time
	// limit, if not 0, is how many robots a project may have.
	limit int64
}

// Limit implements plugins.Limit.
func (w *world) Limit(_ context.Context, _ resource.Name, typ string) (int64, bool) {
	return w.limit, w.limit > 0 && typ == "sample.selvedge.dev/Robot"
}

// failing is a driver that fails to commit when it is told to, and counts how
// often it is read.
type failing struct {
	store.Driver
	err       error
	snapshots atomic.Int64
}

// Snapshot implements store.Driver.
func (f *failing) Snapshot(ctx context.Context) (store.Snapshot, store.Seq, error) {
	f.snapshots.Add(1)
	return f.Driver.Snapshot(ctx)
}

// Commit implements store.Driver.
func (f *failing) Commit(ctx context.Context, b *store.Batch) (store.Seq, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.Driver.Commit(ctx, b)
}

// newWorld makes a world with the projects p and q in it.
func newWorld(t testing.TB, change func(*service.Options)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)}
	w.ctx = as("admin")
	types := &schema.Registry{}
	secretsv1.AddTo(types)
	s := samplev1.AddTo(types)
	references := reference.New(reference.Options{Now: func() time.Time { return w.now }})
	driver, err := sqlite.OpenDriver(w.ctx, filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	w.driver = &failing{Driver: driver}
	w.store = store.New(w.driver, types, store.Options{Plugins: append(plugins.Standard(plugins.Options{Limit: w}), references), Cached: 1000, Now: func() time.Time { return w.now }})
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu", "us"}, DefaultControlRegion: "eu"}, policy.Local(w.store))
	o := service.Options{Policies: policies, Planner: references, Authorize: service.Allow, Now: func() time.Time { return w.now }, Methods: fleet(w)}
	if change != nil {
		change(&o)
	}
	w.Service, err = service.New(s, w.store, o)
	require.NoError(t, err)
	for _, id := range []string{"p", "q"} {
		call[*samplev1.Project](w, "ProjectService.CreateProject", &samplev1.CreateProjectRequest{ProjectId: id, Project: &samplev1.Project{}})
	}
	return w
}

// as is a context of a principal.
func as(name string) context.Context {
	if name == "" {
		return context.Background()
	}
	p, err := iam.ParsePrincipal(name)
	if err != nil {
		panic(err)
	}
	return iam.WithPrincipal(context.Background(), p)
}

// newService is another service over the store of a world.
func newService(t *testing.T, w *world, o service.Options) *service.Service {
	t.Helper()
	o.Methods = fleet(w)
	s, err := service.New(w.Schema(), w.store, o)
	require.NoError(t, err)
	return s
}

// fleet answers the custom methods.
func fleet(w *world) []service.Custom {
	return []service.Custom{
		service.Handle("Fleet.PaintRobot", func(ctx context.Context, req *samplev1.PaintRobotRequest) (*samplev1.Robot, error) {
			name, err := w.robots().Parse(req.GetName())
			if err != nil {
				return nil, err
			}
			m, err := w.store.Get(ctx, w.robots(), name)
			if err != nil {
				return nil, err
			}
			robot := m.(*samplev1.Robot)
			if robot.Spec == nil {
				robot.Spec = &samplev1.RobotSpec{}
			}
			robot.Spec.Color = req.GetColor()
			return robot, w.store.Save(ctx, robot, store.SaveOptions{Update: true})
		}),
		service.Handle("Fleet.MoveOrders", func(ctx context.Context, _ *samplev1.MoveOrdersRequest) (*samplev1.MoveOrdersResponse, error) {
			_, ok := w.store.TxOf(ctx)
			if ok {
				return nil, &fault.Error{Kind: fault.Internal, Reason: "A_HANDLE"}
			}
			return &samplev1.MoveOrdersResponse{}, nil
		}),
	}
}

// robots is the type.
func (w *world) robots() *schema.Resource {
	r, _ := w.store.Types().Type("sample.selvedge.dev/Robot")
	return r
}

// method finds a method.
func (w *world) method(name string) *schema.Method {
	m, ok := w.store.Types().Method(protoreflect.FullName("selvedge.sample.v1." + name))
	require.True(w.t, ok, name)
	return m
}

// try calls a method as somebody.
func (w *world) try(ctx context.Context, name string, req proto.Message) (proto.Message, error) {
	return w.Call(ctx, w.method(name), req)
}

// call calls a method as an administrator, who succeeds.
func call[M proto.Message](w *world, name string, req proto.Message) M {
	w.t.Helper()
	out, err := w.try(w.ctx, name, req)
	require.NoError(w.t, err)
	return out.(M)
}

// fails calls a method as an administrator and expects a fault.
func (w *world) fails(kind fault.Kind, reason, field, name string, req proto.Message) *fault.Error {
	w.t.Helper()
	return w.failsAs(w.ctx, kind, reason, field, name, req)
}

// failsAs is fails as somebody.
func (w *world) failsAs(ctx context.Context, kind fault.Kind, reason, field, name string, req proto.Message) *fault.Error {
	w.t.Helper()
	_, err := w.try(ctx, name, proto.Clone(req))
	require.Error(w.t, err)
	var e *fault.Error
	require.ErrorAs(w.t, err, &e)
	require.Equal(w.t, kind, e.Kind, err)
	require.Equal(w.t, []string{reason, field}, []string{fault.ReasonOf(err), e.Field}, err)
	return e
}

// robot creates a robot in the project p.
func (w *world) robot(id string, r *samplev1.Robot) *samplev1.Robot {
	w.t.Helper()
	return call[*samplev1.Robot](w, "RobotService.CreateRobot", &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: id, Robot: r})
}

// get reads a robot.
func (w *world) get(id string) *samplev1.Robot {
	w.t.Helper()
	return call[*samplev1.Robot](w, "RobotService.GetRobot", &samplev1.GetRobotRequest{Name: "projects/p/robots/" + id})
}

func TestCreate_Get(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	made := w.robot("r1", &samplev1.Robot{DisplayName: "one", Spec: &samplev1.RobotSpec{Pin: "1234", Color: "red"}})
	require.Equal(t, "projects/p/robots/r1", made.GetName())
	require.Empty(t, made.GetSpec().GetPin(), "secrets are for Get")
	require.NotEmpty(t, made.GetMetadata().GetResourceVersion())
	got := w.get("r1")
	require.Equal(t, "1234", got.GetSpec().GetPin())
	require.Equal(t, made.GetMetadata().GetResourceVersion(), got.GetMetadata().GetResourceVersion())
	_ = resourcev1.View_FULL
}
