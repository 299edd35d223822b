package plugins_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
)

// world is a store with the standard plugins.
type world struct {
	*store.Store
	t        *testing.T
	ctx      context.Context
	policies *policy.Policies
	usage    *plugins.Usage
	limits   *limits
	now      time.Time
	robots   *schema.Resource
}

// limits are limits by type, everywhere the same.
type limits struct {
	mu sync.Mutex
	of map[string]int64
}

// Limit implements [plugins.Limit].
func (l *limits) Limit(_ context.Context, _ resource.Name, typ string) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.of[typ]
	return n, ok
}

// global is the policy of the sample service.
func global() *resourcev1.MultiRegionPolicy {
	return &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"*"}, DefaultControlRegion: "main"}
}

// open makes a world. The project p is in eu and us, and eu controls it.
func open(t *testing.T, more ...store.Plugin) *world {
	types := &schema.Registry{}
	samplev1.AddTo(types)
	secretsv1.AddTo(types)
	w := &world{t: t, usage: &plugins.Usage{}, limits: &limits{of: map[string]int64{}}, now: time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)}
	var st *store.Store
	w.policies = policy.New(types, global(), func(ctx context.Context, r *schema.Resource, n resource.Name) (*resourcev1.MultiRegionPolicy, error) {
		return policy.Local(st)(ctx, r, n)
	})
	st = store.New(newDriver(t), types, store.Options{
		Cached:  100,
		Now:     func() time.Time { return w.now },
		Plugins: append(plugins.Standard(plugins.Options{Policies: w.policies, Usage: w.usage, Limit: w.limits}), more...),
	})
	w.Store, w.ctx, w.robots = st, t.Context(), types.Of(&samplev1.Robot{})
	require.NoError(t, w.save(&samplev1.Project{Name: "projects/p", MultiRegionPolicy: &resourcev1.MultiRegionPolicy{
		EnabledRegions: []string{"eu", "us"}, DefaultControlRegion: "eu",
	}}))
	return w
}

// under returns a context with the policy of a name.
func (w *world) under(ctx context.Context, name resource.Name) context.Context {
	p, err := w.policies.For(ctx, name)
	require.NoError(w.t, err)
	return policy.With(ctx, p)
}

// save saves an object as a caller does.
func (w *world) save(m proto.Message) error { return w.saveIn(w.ctx, m) }

// saveIn is save with more in the context.
func (w *world) saveIn(ctx context.Context, m proto.Message) error {
	ctx = w.under(ctx, w.Types().Of(m).NameOf(m))
	return w.Run(ctx, store.Transaction, func(ctx context.Context) error { return w.Save(ctx, m, store.SaveOptions{}) })
}

// get reads an object.
func (w *world) get(m proto.Message) proto.Message {
	w.t.Helper()
	r := w.Types().Of(m)
	var got proto.Message
	require.NoError(w.t, w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) (err error) {
		got, err = w.Get(ctx, r, r.NameOf(m))
		return err
	}))
	return got
}

// remove deletes a robot.
func (w *world) remove(name resource.Name) {
	w.t.Helper()
	require.NoError(w.t, w.Run(w.ctx, store.Transaction, func(ctx context.Context) error {
		return w.Delete(ctx, w.robots, name, store.DeleteOptions{})
	}))
}

// refused requires an error of that kind and reason, and returns it.
func refused(t *testing.T, err error, kind fault.Kind, reason string) *fault.Error {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), err)
	require.Equal(t, reason, fault.ReasonOf(err), err)
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	return f
}

func TestMeta_IsThePlatforms(t *testing.T) {
	t.Parallel()
	w := open(t)
	forged := &resourcev1.Metadata{
		Uid: "mine", Generation: 9, CreateTime: timestamppb.New(time.Unix(1, 0)), UpdateTime: timestamppb.New(time.Unix(1, 0)),
		DeleteTime: timestamppb.New(time.Unix(1, 0)), Shards: map[string]int64{"x": 1},
		Syncing: &resourcev1.Syncing{OwningRegion: "mars"}, Lifecycle: &resourcev1.Lifecycle{State: resourcev1.Lifecycle_DELETING, BlockDeletion: true},
		Labels: map[string]string{"color": "red"},
	}
	a := &samplev1.Robot{Name: "projects/p/robots/a", Metadata: proto.CloneOf(forged)}
	require.NoError(t, w.save(a))
	md := a.GetMetadata()
	require.Len(t, md.GetUid(), 36)
	created := timestamppb.New(w.now)
	want := &resourcev1.Metadata{
		Uid: md.GetUid(), Generation: 1, CreateTime: created, UpdateTime: created, ResourceVersion: md.GetResourceVersion(),
		Syncing:   &resourcev1.Syncing{OwningRegion: "eu", Regions: []string{"eu", "us"}},
		Lifecycle: &resourcev1.Lifecycle{State: resourcev1.Lifecycle_ACTIVE},
		Labels:    map[string]string{"color": "red"},
	}
	require.True(t, proto.Equal(want, md), "%v\n%v", want, md)

	// A change of the spec is a new generation; others are not.
	f := func(generation int64, change func(*samplev1.Robot)) {
		t.Helper()
		w.now = w.now.Add(time.Minute)
		b := proto.CloneOf(a)
		b.Metadata = proto.CloneOf(forged)
		b.Metadata.Labels = a.GetMetadata().GetLabels()
		change(b)
		require.NoError(t, w.save(b))
		md := b.GetMetadata()
		require.Equal(t, generation, md.GetGeneration())
		require.Equal(t, want.GetUid(), md.GetUid())
		require.Equal(t, w.now, md.GetUpdateTime().AsTime())
		require.Equal(t, created.AsTime(), md.GetCreateTime().AsTime())
		require.Nil(t, md.GetDeleteTime())
		require.Equal(t, resourcev1.Lifecycle_ACTIVE, md.GetLifecycle().GetState())
		require.False(t, md.GetLifecycle().GetBlockDeletion())
		require.Empty(t, md.GetShards())
		a = b
	}
	f(1, func(r *samplev1.Robot) { r.State = &samplev1.RobotState{Battery: 7} })
	f(1, func(r *samplev1.Robot) { r.Metadata.Labels = map[string]string{"color": "blue"} })
	f(2, func(r *samplev1.Robot) { r.DisplayName = "A" })
	f(3, func(r *samplev1.Robot) { r.Spec = &samplev1.RobotSpec{Power: 2} })

	// Another life has another uid.
	w.remove("projects/p/robots/a")
	again := &samplev1.Robot{Name: "projects/p/robots/a"}
	require.NoError(t, w.save(again))
	require.NotEqual(t, want.GetUid(), again.GetMetadata().GetUid())
	require.Equal(t, int64(1), again.GetMetadata().GetGeneration())
}

// The platform itself says when an object is being deleted.
func TestMeta_Deleting(t *testing.T) {
	t.Parallel()
	w := open(t)
	a := &samplev1.Robot{Name: "projects/p/robots/a"}
	require.NoError(t, w.save(a))
	w.now = w.now.Add(time.Minute)
	a.Metadata.Lifecycle = &resourcev1.Lifecycle{State: resourcev1.Lifecycle_DELETING}
	require.NoError(t, w.Run(w.ctx, store.Transaction, func(ctx context.Context) error {
		return w.Save(ctx, a, store.SaveOptions{Reason: "DELETED"})
	}))
	require.Equal(t, w.now, a.GetMetadata().GetDeleteTime().AsTime())
	a.Metadata.Lifecycle, a.DisplayName = nil, "x" // says a caller
	require.NoError(t, w.save(a))
	require.Equal(t, resourcev1.Lifecycle_DELETING, a.GetMetadata().GetLifecycle().GetState())
	require.Equal(t, w.now, a.GetMetadata().GetDeleteTime().AsTime())
}

func TestMeta_Immutable(t *testing.T) {
	t.Parallel()
	w := open(t)
	a := &samplev1.Robot{Name: "projects/p/robots/a", Spec: &samplev1.RobotSpec{Serial: "1"}}
	require.NoError(t, w.save(a))
	a.Spec.Serial = "2"
	f := refused(t, w.save(a), fault.Invalid, "IMMUTABLE")
	require.Equal(t, "spec.serial", f.Field)
	a.Spec = nil
	refused(t, w.save(a), fault.Invalid, "IMMUTABLE")
	a.Spec = &samplev1.RobotSpec{Serial: "1", Power: 2}
	require.NoError(t, w.save(a))
}

func TestMeta_Bounds(t *testing.T) {
	t.Parallel()
	w := open(t)
	f := func(field string, md *resourcev1.Metadata) {
		t.Helper()
		e := refused(t, w.save(&samplev1.Robot{Name: "projects/p/robots/a", Metadata: md}), fault.Invalid, "INVALID_METADATA")
		require.Equal(t, field, e.Field)
		require.Less(t, len(e.Error()), 300)
	}
	long := strings.Repeat("x", 64)
	f("metadata.labels", &resourcev1.Metadata{Labels: map[string]string{long: ""}})
	f("metadata.labels", &resourcev1.Metadata{Labels: map[string]string{"x": long}})
	f("metadata.labels", &resourcev1.Metadata{Labels: map[string]string{"": "x"}})
	f("metadata.tags", &resourcev1.Metadata{Tags: []string{long}})
	f("metadata.tags", &resourcev1.Metadata{Tags: []string{""}})
	f("metadata.tags", &resourcev1.Metadata{Tags: make([]string, 65)})
	f("metadata.annotations", &resourcev1.Metadata{Annotations: map[string]string{"": "x"}})
	f("metadata.annotations", &resourcev1.Metadata{Annotations: map[string]string{"x": strings.Repeat("x", 256<<10)}})
	f("metadata.owner_references", &resourcev1.Metadata{OwnerReferences: make([]*resourcev1.OwnerReference, 101)})
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprint(i)] = ""
	}
	f("metadata.labels", &resourcev1.Metadata{Labels: many})
}

func TestSyncing_IsAlwaysThere(t *testing.T) { // SPEC 1.F 11, 12
	t.Parallel()
	w := open(t)
	f := func(m interface {
		proto.Message
		GetMetadata() *resourcev1.Metadata
	}, owner string, regions ...string,
	) {
		t.Helper()
		require.NoError(t, w.save(m))
		require.Equal(t, owner, m.GetMetadata().GetSyncing().GetOwningRegion())
		require.Equal(t, regions, m.GetMetadata().GetSyncing().GetRegions())
	}
	f(&samplev1.Robot{Name: "projects/p/robots/a"}, "eu", "eu", "us")
	f(&samplev1.Robot{Name: "projects/p/regions/us/robots/a"}, "us", "eu", "us") // though the policy's is eu
	f(&samplev1.Model{Name: "projects/p/models/a"}, "eu", "eu", "us")
	f(&secretsv1.Secret{Name: "projects/p/secrets/a"}, "eu", "eu", "us")
	// The holder itself is not subject to its policy.
	f(&samplev1.Project{Name: "projects/q", MultiRegionPolicy: &resourcev1.MultiRegionPolicy{
		EnabledRegions: []string{"eu", "us", "jp"}, DefaultControlRegion: "jp",
		DisabledSync: []*resourcev1.NoSync{{Type: "sample.selvedge.dev/Robot", SourceRegion: "jp", DestRegion: "us"}, {DestRegion: "eu"}},
	}}, "main", "*")
	f(&samplev1.Robot{Name: "projects/q/robots/a"}, "jp", "jp")
	f(&samplev1.Model{Name: "projects/q/models/a"}, "jp", "jp", "us")
	f(&samplev1.Robot{Name: "projects/q/regions/eu/robots/a"}, "eu", "eu", "jp", "us")
}

func TestSyncing_RefusesRegionsThatAreNotEnabled(t *testing.T) {
	t.Parallel()
	w := open(t)
	e := refused(t, w.save(&samplev1.Robot{Name: "projects/p/regions/mars/robots/a"}), fault.Invalid, "REGION_NOT_ENABLED")
	require.Contains(t, e.Message(), "mars")
	ctx := policy.With(w.ctx, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}})
	refused(t, w.Run(ctx, store.Transaction, func(ctx context.Context) error {
		return w.Save(ctx, &samplev1.Robot{Name: "projects/unknown/robots/a"}, store.SaveOptions{})
	}), fault.Invalid, "NO_CONTROL_REGION")
}

func TestSyncing_WantsAPolicy(t *testing.T) { // SPEC 1.F 33
	t.Parallel()
	w := open(t)
	for _, name := range []string{"projects/p/robots/a", "projects/p/regions/eu/robots/a"} {
		a := &samplev1.Robot{Name: name}
		write := func() error {
			return w.Run(w.ctx, store.Transaction, func(ctx context.Context) error { return w.Save(ctx, a, store.SaveOptions{}) })
		}
		refused(t, write(), fault.Internal, "NO_POLICY")
		require.NoError(t, w.save(a))
		a.DisplayName = "x"
		refused(t, write(), fault.Internal, "NO_POLICY")
	}
}

func TestServices_OwnWhatTheyCreate(t *testing.T) { // SPEC 1.F 15
	t.Parallel()
	w := open(t)
	create := func(caller, owner string) error {
		m := &samplev1.Model{Name: fmt.Sprintf("projects/p/models/m%d", time.Now().UnixNano())}
		if owner != "" {
			m.Metadata = &resourcev1.Metadata{Services: &resourcev1.Services{OwningService: owner}}
		}
		ctx := w.ctx
		if caller != "" {
			ctx = store.WithService(ctx, caller)
		}
		err := w.saveIn(ctx, m)
		if err == nil && owner != "" {
			require.Contains(t, m.GetMetadata().GetServices().GetAllowedServices(), owner)
		}
		return err
	}
	refused(t, create("third.party.dev", ""), fault.Denied, "NOT_OWNING_SERVICE")
	refused(t, create("third.party.dev", "other.dev"), fault.Denied, "NOT_OWNING_SERVICE")
	require.NoError(t, create("third.party.dev", "third.party.dev"))
	require.NoError(t, create("", ""))
	require.NoError(t, create("", "other.dev"))
	require.NoError(t, create("sample.selvedge.dev", ""), "the service of the type decides itself")
}

func TestLimits_CountInTheTransaction(t *testing.T) { // SPEC 1.F 35
	t.Parallel()
	w := open(t)
	l := &plugins.Limits{Limit: w.limits}
	w.limits.of[w.robots.Type] = 3
	// Ten at the same time, of which three fit; then one goes and one comes.
	var all sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 10 {
		all.Go(func() {
			err := w.save(&samplev1.Robot{Name: fmt.Sprintf("projects/p/robots/r%d", i)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case fault.ReasonOf(err) != "LIMIT_REACHED" || fault.KindOf(err) != fault.Exhausted:
				t.Error(err)
			case !strings.Contains(err.Error(), "projects/p has reached its limit of sample.selvedge.dev/Robot in the region eu"):
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Equal(t, 3, made)
	quota := func() plugins.Quota {
		t.Helper()
		qs, err := l.Recount(w.ctx, w.Store, "projects/p")
		require.NoError(t, err)
		require.Len(t, qs, 1)
		return qs[0]
	}
	want := plugins.Quota{Scope: "projects/p", Type: w.robots.Type, Region: "eu", Used: 3, Limit: 3}
	require.Equal(t, want, quota())

	// The limit is for each region, and changing is not creating.
	require.NoError(t, w.save(&samplev1.Robot{Name: "projects/p/regions/us/robots/a"}))
	w.remove("projects/p/regions/us/robots/a")
	var some *samplev1.Robot
	require.NoError(t, w.Run(w.ctx, store.ReadOnly, func(ctx context.Context) error {
		page, err := w.List(ctx, w.robots, store.Query{Limit: 1})
		some, _ = page.Objects[0].(*samplev1.Robot)
		return err
	}))
	some.DisplayName = "x"
	require.NoError(t, w.save(some))

	// Lowering the limit removes nothing, and refuses nothing but new ones.
	w.limits.of[w.robots.Type] = 1
	some.DisplayName = "y"
	require.NoError(t, w.save(some))
	w.remove(resource.Name(some.GetName()))
	refused(t, w.save(&samplev1.Robot{Name: "projects/p/robots/z"}), fault.Exhausted, "LIMIT_REACHED")
}

func TestLimits_RecountRepairs(t *testing.T) {
	t.Parallel()
	w := open(t)
	l := &plugins.Limits{}
	for i := range 3 {
		require.NoError(t, w.save(&samplev1.Robot{Name: fmt.Sprintf("projects/p/robots/r%d", i)}))
	}
	require.NoError(t, w.Run(w.ctx, store.Transaction, func(ctx context.Context) error { // what a bug may do
		tx, _ := w.TxOf(ctx)
		tx.Count("quota projects/p sample.selvedge.dev/Robot eu", 5, -1)
		tx.Count("quota projects/p sample.selvedge.dev/Order eu", 2, -1)
		return nil
	}))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			_, err := l.Recount(w.ctx, w.Store, "projects/p")
			if err != nil && fault.KindOf(err) != fault.Conflict {
				t.Error(err)
			}
		})
	}
	all.Wait()
	qs, err := l.Recount(w.ctx, w.Store, "projects/p")
	require.NoError(t, err)
	require.Equal(t, []plugins.Quota{
		{Scope: "projects/p", Type: "sample.selvedge.dev/Robot", Region: "eu", Used: 3, Limit: -1},
	}, qs)
}

func TestUsage_Counts(t *testing.T) {
	t.Parallel()
	w := open(t)
	a := &samplev1.Robot{Name: "projects/p/robots/a"}
	require.NoError(t, w.save(a))
	require.NoError(t, w.save(a)) // changes nothing
	w.get(a)
	a.DisplayName = "x"
	require.NoError(t, w.save(a))
	w.remove("projects/p/robots/a")
	n := w.usage.Snapshot()
	for verb, want := range map[string]int64{"create": 1, "update": 1, "get": 1, "delete": 1} {
		require.Equal(t, want, n[plugins.Access{Scope: "projects/p", Type: w.robots.Type, Verb: verb}], verb)
	}
}

func TestResync_FollowsThePolicy(t *testing.T) { // SPEC 1.F 13
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		var names []string
		for i := range 120 {
			names = append(names, fmt.Sprintf("projects/p/robots/r%d", i))
		}
		names = append(names, "projects/p/regions/us/robots/a")
		for _, n := range names {
			require.NoError(t, w.save(&samplev1.Robot{Name: n}))
		}
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error)
		go func() { done <- (&plugins.Resync{Store: w.Store}).Run(ctx) }()
		synctest.Wait()

		project := &samplev1.Project{Name: "projects/p", MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"us", "jp"}, DefaultControlRegion: "jp"}}
		require.NoError(t, w.save(project))
		<-time.After(time.Second) // of the bubble's time: what comes within it is handled
		for _, n := range names {
			r, _ := w.get(&samplev1.Robot{Name: n}).(*samplev1.Robot)
			s := r.GetMetadata().GetSyncing()
			require.Equal(t, []string{"jp", "us"}, s.GetRegions())
			require.Equal(t, strings.Contains(n, "/us/"), s.GetOwningRegion() == "us")
			require.Equal(t, int64(1), r.GetMetadata().GetGeneration())
		}
		p, _ := w.get(project).(*samplev1.Project)
		require.Equal(t, project.GetMetadata().GetResourceVersion(), p.GetMetadata().GetResourceVersion(), "the holder itself is not saved again")

		// A change of something else does nothing, and the quota went along.
		_, before, err := w.Driver().Snapshot(ctx)
		require.NoError(t, err)
		project.DisplayName = "P"
		require.NoError(t, w.save(project))
		<-time.After(time.Second) // of the bubble's time: what comes within it is handled
		changes, err := w.Driver().Changes(ctx, before, 100)
		require.NoError(t, err)
		require.Len(t, changes, 1)
		qs, err := (&plugins.Limits{}).Recount(ctx, w.Store, "projects/p")
		require.NoError(t, err)
		for _, q := range qs {
			require.Zero(t, q.Drift)
			require.Equal(t, map[string]int64{"jp": 120, "us": 1, "eu": 0}[q.Region], q.Used, q.Region)
		}
		cancel()
		require.NoError(t, <-done)
	})
}

// softly is a plugin that makes an update of every deletion that is asked for.
type softly struct{}

// Prepare implements [store.Plugin].
func (softly) Prepare(ctx context.Context, tx *store.Tx, w *store.Pending) error {
	if w.After != nil || w.Reason != "" {
		return nil
	}
	m := proto.Clone(w.Before)
	w.Resource.MetadataOf(m).Lifecycle = &resourcev1.Lifecycle{State: resourcev1.Lifecycle_DELETING}
	return tx.Put(ctx, m, "DELETED", false)
}

// What a plugin makes of a deletion is the platform's: it needs no policy, has
// its lifecycle and its time of deletion, and counts on.
func TestPlugins_DeletionThatBecomesAnUpdate(t *testing.T) {
	t.Parallel()
	w := open(t, softly{})
	a := &samplev1.Robot{Name: "projects/p/robots/a"}
	require.NoError(t, w.save(a))
	w.remove("projects/p/robots/a")
	got, _ := w.get(a).(*samplev1.Robot)
	require.Equal(t, resourcev1.Lifecycle_DELETING, got.GetMetadata().GetLifecycle().GetState())
	require.Equal(t, w.now, got.GetMetadata().GetDeleteTime().AsTime())
	require.Equal(t, "eu", got.GetMetadata().GetSyncing().GetOwningRegion())
	qs, err := (&plugins.Limits{}).Recount(w.ctx, w.Store, "projects/p")
	require.NoError(t, err)
	require.Len(t, qs, 1)
	require.Equal(t, []int64{1, 0}, []int64{qs[0].Used, qs[0].Drift})
}

// Who read the policy before it changed and writes after it follows the new one:
// Resync may have passed by already.
func TestSyncing_PolicyIsNotMissed(t *testing.T) {
	t.Parallel()
	w := open(t)
	ctx := w.under(w.ctx, "projects/p/robots/a")
	a := &samplev1.Robot{Name: "projects/p/robots/a"}
	tries := 0
	require.NoError(t, w.Run(ctx, store.Transaction, func(ctx context.Context) error {
		if tries++; tries == 1 {
			defer func() {
				require.NoError(t, w.save(&samplev1.Project{Name: "projects/p", MultiRegionPolicy: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"jp"}, DefaultControlRegion: "jp"}}))
			}()
		}
		return w.Save(ctx, a, store.SaveOptions{})
	}))
	require.Equal(t, 2, tries)
	require.Equal(t, "jp", a.GetMetadata().GetSyncing().GetOwningRegion())
}
