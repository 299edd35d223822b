package audit_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"selvedge.dev/functions/audit"
	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/logstore"
	trails "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/logstore/memory"
	sdkaudit "selvedge.dev/sdk/audit"
	"selvedge.dev/sdk/audit/rules"
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

// world is the sample service and the audit service over one store.
type world struct {
	t        *testing.T
	ctx      context.Context // of an administrator
	store    *store.Store
	set      *service.Set
	recorder *sdkaudit.Recorder
	relay    *sdkaudit.Relay
	rules    *rules.Rules
	keeper   *audit.Keeper
	trail    *trail
	logs     *logs
	at       store.Seq
}

// errAway is what is said by what is away.
var errAway = errors.New("it is away")

// trail keeps records once each, and is away when it is told so.
type trail struct {
	mu      sync.Mutex
	away    bool
	records []chain.Record
	ids     map[string]bool
}

// Append implements [audit.Trail].
func (t *trail) Append(_ context.Context, records []chain.Record) ([]trails.Place, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.away {
		return nil, errAway
	}
	for _, r := range records {
		if !t.ids[r.ID] {
			t.ids[r.ID] = true
			t.records = append(t.records, r)
		}
	}
	return nil, nil
}

// logs is a log store in memory, which is away when it is told so.
type logs struct {
	logstore.Store
	mu   sync.Mutex
	away bool
}

// Write implements [audit.Logs].
func (l *logs) Write(ctx context.Context, entries []logstore.Entry) ([]error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errAway
	}
	out := make([]error, len(entries))
	for i := range entries {
		if out[i] = entries[i].Check(); out[i] == nil {
			if err := l.Append(ctx, entries[i:i+1]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// set says whether it is away.
func (l *logs) set(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
}

// newWorld makes a world with the projects p and q.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ctx: as("admin"), rules: &rules.Rules{}, trail: &trail{ids: map[string]bool{}}, logs: &logs{Store: memory.New()}}
	types := &schema.Registry{}
	secretsv1.AddTo(types)
	desc := samplev1.AddTo(types)
	auditv1.AddTo(types)
	d, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	w.recorder = sdkaudit.New(sdkaudit.Options{Region: "eu", Reads: w.rules.Reads})
	references := reference.New(reference.Options{})
	w.store = store.New(d, types, store.Options{Plugins: append(plugins.Standard(plugins.Options{}), references, w.recorder), Cached: 1000})
	w.keeper = &audit.Keeper{Trail: w.trail, Logs: w.logs}
	w.relay = sdkaudit.NewRelay(w.store, w.keeper.Take, sdkaudit.RelayOptions{Labels: w.rules.Labels})
	o := service.Options{
		Policies: policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"*"}, DefaultControlRegion: "eu"}, policy.Local(w.store)),
		Planner:  references, Authorize: service.Allow, Audit: w.recorder,
	}
	s, err := audit.NewService(w.store, audit.Options{Service: o, Logs: w.logs, Rules: w.rules})
	require.NoError(t, err)
	o.Methods = []service.Custom{
		service.Handle("Fleet.PaintRobot", func(context.Context, *samplev1.PaintRobotRequest) (*samplev1.Robot, error) { return nil, errAway }),
		service.Handle("Fleet.MoveOrders", func(context.Context, *samplev1.MoveOrdersRequest) (*samplev1.MoveOrdersResponse, error) {
			return nil, errAway
		}),
	}
	sample, err := service.New(desc, w.store, o)
	require.NoError(t, err)
	w.set, err = service.NewSet(s.Service, sample)
	require.NoError(t, err)
	for _, id := range []string{"p", "q"} {
		do[*samplev1.Project](w.ctx, w, "sample.v1.ProjectService.CreateProject", &samplev1.CreateProjectRequest{ProjectId: id, Project: &samplev1.Project{}})
	}
	return w
}

// as is a context of a principal.
func as(name string) context.Context {
	p, err := iam.ParsePrincipal(name)
	if err != nil {
		panic(err)
	}
	return iam.WithPrincipal(context.Background(), p)
}

// try calls a method.
func (w *world) try(ctx context.Context, name string, req proto.Message) (proto.Message, error) {
	w.t.Helper()
	s, m, ok := w.set.Find(string(protoreflect.FullName("selvedge." + name)))
	require.True(w.t, ok, name)
	return s.Call(ctx, m, req)
}

// do is try of what succeeds.
func do[M proto.Message](ctx context.Context, w *world, name string, req proto.Message) M {
	w.t.Helper()
	out, err := w.try(ctx, name, req)
	require.NoError(w.t, err)
	return out.(M)
}

// hand hands on what there is since the last time.
func (w *world) hand() error {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	cancel()
	require.NoError(w.t, w.recorder.Run(ctx, w.store))
	changes, err := w.store.Driver().Changes(w.t.Context(), w.at, 100_000)
	require.NoError(w.t, err)
	if len(changes) == 0 {
		return nil
	}
	records, err := w.relay.Records(w.t.Context(), changes)
	require.NoError(w.t, err)
	if err := w.keeper.Take(w.t.Context(), records); err != nil {
		return err
	}
	w.at = changes[len(changes)-1].Seq
	return nil
}
