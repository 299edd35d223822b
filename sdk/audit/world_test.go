package audit_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/audit/audittest"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
)

// world is the sample service with an audit.
type world struct {
	*service.Service
	t        testing.TB
	ctx      context.Context // of an administrator
	store    *store.Store
	driver   *failing
	recorder *audit.Recorder
	ledger   *audittest.Ledger
	relay    *audit.Relay
	// reads is which part of the reads is recorded.
	reads float64
	// plugins are the store's, options the service's.
	plugins []store.Plugin
	options service.Options
	// resources are those of so many records of changes.
	resources audittest.Resources
	replayed  int
	// at is the last change that was relayed.
	at store.Seq
}

// failing is a driver that fails to commit when it is told to.
type failing struct {
	store.Driver
	fails atomic.Bool
}

// errAway is what a database says that is away.
var errAway = errors.New("the database is away")

// Commit implements [store.Driver].
func (f *failing) Commit(ctx context.Context, b *store.Batch) (store.Seq, error) {
	if f.fails.Load() {
		return 0, errAway
	}
	return f.Driver.Commit(ctx, b)
}

// newWorld makes a world over a driver, nil for a new file, with the project p.
func newWorld(t testing.TB, d store.Driver) *world {
	t.Helper()
	if d == nil {
		file, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, file.Close()) })
		d = file
	}
	w := &world{t: t, ctx: as("admin"), driver: &failing{Driver: d}, ledger: &audittest.Ledger{}, reads: 1}
	types := &schema.Registry{}
	secretsv1.AddTo(types)
	desc := samplev1.AddTo(types)
	references := reference.New(reference.Options{})
	w.recorder = audit.New(audit.Options{Region: "eu", Host: "here", Reads: func(*schema.Method, string, iam.Principal) float64 { return w.reads }})
	w.plugins = append(plugins.Standard(plugins.Options{}), references, w.recorder)
	w.store = store.New(w.driver, types, store.Options{Plugins: w.plugins, Cached: 1000})
	w.relay = audit.NewRelay(w.store, w.ledger.Take, audit.RelayOptions{})
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}, DefaultControlRegion: "eu"}, policy.Local(w.store))
	var err error
	w.options = service.Options{Policies: policies, Planner: references, Authorize: service.Allow, Methods: fleet(w), Audit: w.recorder}
	w.Service, err = service.New(desc, w.store, w.options)
	require.NoError(t, err)
	_, err = w.try(w.ctx, "ProjectService.CreateProject", &samplev1.CreateProjectRequest{ProjectId: "p", Project: &samplev1.Project{}})
	require.NoError(t, err)
	return w
}

// fleet answers the custom methods: painting changes a robot, moving orders
// counts up each in a transaction of its own.
func fleet(w *world) []service.Custom {
	return []service.Custom{
		service.Handle("Fleet.PaintRobot", func(ctx context.Context, req *samplev1.PaintRobotRequest) (*samplev1.Robot, error) {
			r := w.store.Types().Of(&samplev1.Robot{})
			name, err := r.Parse(req.GetName())
			if err != nil {
				return nil, err
			}
			m, err := w.store.Get(ctx, r, name)
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
		service.Handle("Fleet.MoveOrders", func(ctx context.Context, req *samplev1.MoveOrdersRequest) (*samplev1.MoveOrdersResponse, error) {
			r := w.store.Types().Of(&samplev1.Order{})
			out := &samplev1.MoveOrdersResponse{}
			for _, id := range []string{"a", "b"} {
				err := w.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
					o := &samplev1.Order{Name: req.GetParent() + "/orders/" + id, Count: 1}
					m, err := w.store.Get(ctx, r, r.NameOf(o))
					if err == nil {
						o = m.(*samplev1.Order)
						o.Count++
					}
					out.Orders = append(out.Orders, proto.CloneOf(o))
					return w.store.Save(ctx, o, store.SaveOptions{})
				})
				if err != nil {
					return nil, err
				}
			}
			return out, nil
		}),
	}
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
	p.KeyID = "k-" + p.Project
	return iam.WithPrincipal(context.Background(), p)
}

// try calls a method as somebody.
func (w *world) try(ctx context.Context, name string, req proto.Message) (proto.Message, error) {
	w.t.Helper()
	m, ok := w.store.Types().Method(protoreflect.FullName("selvedge.sample.v1." + name))
	require.True(w.t, ok, name)
	return w.Call(ctx, m, req)
}

// do is try of what succeeds.
func (w *world) do(name string, req proto.Message) proto.Message {
	w.t.Helper()
	out, err := w.try(w.ctx, name, req)
	require.NoError(w.t, err)
	return out
}

// robot creates a robot.
func (w *world) robot(id string, r *samplev1.Robot) {
	w.t.Helper()
	w.do("RobotService.CreateRobot", &samplev1.CreateRobotRequest{Parent: "projects/p", RobotId: id, Robot: r})
}

// hand hands on what there is since the last time.
func (w *world) hand() {
	w.t.Helper()
	w.flush()
	changes, err := w.store.Driver().Changes(w.t.Context(), w.at, 100_000)
	require.NoError(w.t, err)
	if len(changes) == 0 {
		return
	}
	records, err := w.relay.Records(w.t.Context(), changes)
	require.NoError(w.t, err)
	require.NoError(w.t, w.ledger.Take(w.t.Context(), records))
	w.at = changes[len(changes)-1].Seq
}

// flush writes what waits in the recorder.
func (w *world) flush() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	cancel()
	require.NoError(w.t, w.recorder.Run(ctx, w.store))
}

// activities are the records of calls since n of them were there.
func (w *world) activities(n int) []*resourcev1.ActivityLog {
	w.t.Helper()
	w.hand()
	all, err := w.ledger.Activities()
	require.NoError(w.t, err)
	return all[n:]
}

// last is the last record of a call.
func (w *world) last() *resourcev1.ActivityLog {
	w.t.Helper()
	all := w.activities(0)
	require.NotEmpty(w.t, all)
	return all[len(all)-1]
}

// begin has the resources be those of the records so far.
func (w *world) begin() {
	w.t.Helper()
	w.hand()
	all := w.ledger.Changes()
	if w.resources == nil {
		w.resources = audittest.Resources{}
	}
	require.NoError(w.t, w.resources.Replay(w.store.Types(), all[w.replayed:]))
	w.replayed = len(all)
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second
