package inventory_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	inventory "selvedge.dev/functions/sample-inventory"
	inventoryv1 "selvedge.dev/functions/sample-inventory/v1"
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
)

// The addresses of the two services of a world.
var (
	lowerAt = reference.Address{Service: "iam.selvedge.dev", Region: "eu"}
	upperAt = reference.Address{Service: inventory.Domain, Region: "eu"}
)

// lower is the store of a lower service that has service accounts and knows
// nothing of orders. It takes calls as the inventory's.
type lower struct {
	t       *testing.T
	store   *store.Store
	control *reference.Controller
	account *schema.Resource
	home    *resourcev1.MultiRegionPolicy
	// during, if not nil, happens in each call.
	during func()

	mu    sync.Mutex
	now   time.Time
	calls int
}

// openDriver opens an empty database.
func openDriver(t *testing.T) store.Driver {
	t.Helper()
	d, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// newLower makes the lower service.
func newLower(t *testing.T, peers reference.Peers) *lower {
	t.Helper()
	l := &lower{t: t, now: time.Now(), home: &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"eu"}, DefaultControlRegion: "eu"}}
	types := new(schema.Registry)
	iamv1.AddTo(types)
	l.account, _ = types.Type("iam.selvedge.dev/ServiceAccount")
	policies := policy.New(types, l.home, func(context.Context, *schema.Resource, resource.Name) (*resourcev1.MultiRegionPolicy, error) {
		return nil, nil
	})
	references := reference.New(reference.Options{Peers: peers, Region: "eu", Now: l.clock})
	l.store = store.New(openDriver(t), types, store.Options{Plugins: append(plugins.Standard(plugins.Options{Policies: policies}), references), Now: l.clock})
	require.NoError(t, l.store.Reindex(t.Context()))
	l.control = references.Control(l.store)
	return l
}

// clock is the time of the lower service.
func (l *lower) clock() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// pass lets time pass there.
func (l *lower) pass(d time.Duration) {
	for range 2 { // what is missing is missing twice
		require.NoError(l.t, l.control.Settle(l.t.Context()))
		l.mu.Lock()
		l.now = l.now.Add(d)
		l.mu.Unlock()
	}
	require.NoError(l.t, l.control.Settle(l.t.Context()))
}

// Call implements inventory.Caller.
func (l *lower) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	create, ok := req.(*iamv1.CreateServiceAccountRequest)
	require.True(l.t, ok, "%s", m.Name)
	l.mu.Lock()
	l.calls++
	during := l.during
	l.mu.Unlock()
	if during != nil {
		during()
	}
	a := proto.CloneOf(create.GetServiceAccount())
	a.Name = create.GetParent() + "/serviceAccounts/" + "sa-" + l.store.NewUID()
	ctx = store.WithService(policy.With(context.WithoutCancel(ctx), l.home), inventory.Domain)
	err := l.store.Run(ctx, store.Transaction, func(ctx context.Context) error { return l.store.Save(ctx, a, store.SaveOptions{Create: true}) })
	return a, err
}

// accounts are those that there are.
func (l *lower) accounts() (names []string) {
	require.NoError(l.t, l.store.Run(l.t.Context(), store.Consistent, func(ctx context.Context) error {
		names = nil
		parent, err := schema.ParseParent(l.account, "projects/p")
		if err != nil {
			return err
		}
		page, err := l.store.List(ctx, l.account, store.Query{Parent: parent, Limit: 100})
		if err != nil {
			return err
		}
		for _, m := range page.Objects {
			names = append(names, l.account.NameOf(m).ID())
		}
		return nil
	}))
	return names
}

// world is the inventory above the lower service.
type world struct {
	*lower
	inventory *inventory.Service
	set       *service.Set
	ctx       context.Context
}

// open makes an empty world, with a site and a model.
func open(t *testing.T) *world {
	t.Helper()
	peers := new(reference.Local)
	w := &world{lower: newLower(t, peers), ctx: iam.WithPrincipal(t.Context(), iam.Principal{Kind: iam.Admin, Name: "admin"})}
	var err error
	w.inventory, err = inventory.NewService(t.Context(), inventory.Options{
		Driver: openDriver(t), Region: "eu", Authorize: service.Allow, Platform: w.lower, Peers: peers,
	})
	require.NoError(t, err)
	w.set, err = service.NewSet(w.inventory.Service)
	require.NoError(t, err)
	peers.Join(lowerAt, w.control)
	peers.Join(upperAt, w.inventory.Answers())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.inventory.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)

	_, err = w.call("SiteService.CreateSite", &inventoryv1.CreateSiteRequest{Parent: "projects/p", SiteId: "pier", Site: &inventoryv1.Site{}})
	require.NoError(t, err)
	_, err = w.call("DeviceModelService.CreateDeviceModel", &inventoryv1.CreateDeviceModelRequest{
		Parent: "projects/p", DeviceModelId: "pump", DeviceModel: &inventoryv1.DeviceModel{},
	})
	require.NoError(t, err)
	return w
}

// call does a method of the inventory.
func (w *world) call(method string, req proto.Message) (proto.Message, error) {
	_, m, ok := w.set.Find("selvedge.inventory.v1." + method)
	require.True(w.t, ok, "%s", method)
	return w.inventory.Call(w.ctx, m, req)
}

// orderOf is an order of the model and to the site that are there.
func orderOf() *inventoryv1.DeviceOrder {
	return &inventoryv1.DeviceOrder{DeviceModel: "projects/p/deviceModels/pump", Site: "projects/p/sites/pier", Count: 2}
}

// order creates an order.
func (w *world) order(id string, o *inventoryv1.DeviceOrder, dry bool) (*inventoryv1.DeviceOrder, error) {
	out, err := w.call("DeviceOrderService.CreateDeviceOrder", &inventoryv1.CreateDeviceOrderRequest{
		Parent: "projects/p", DeviceOrderId: id, DeviceOrder: o, ValidateOnly: dry,
	})
	made, _ := out.(*inventoryv1.DeviceOrder)
	return made, err
}

// refused is that a call was refused.
func refused(t *testing.T, err error, kind fault.Kind, reason string) {
	t.Helper()
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
	require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
}
