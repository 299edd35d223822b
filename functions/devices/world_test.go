package devices_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
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
)

// world is the service as a platform sets it up, over a database file.
type world struct {
	*devices.Service
	driver *sqlite.Driver
	store  *store.Store
	hub    *watch.Hub
	// methods are the methods of the service by their names: "GetDevice".
	methods map[string]*schema.Method
}

// file is the path of a new database.
func file(t testing.TB) string { return filepath.Join(t.TempDir(), "resources.db") }

// open opens the service over the database at path until the test ends.
func open(t testing.TB, path string, o devices.Options) *world {
	t.Helper()
	driver, err := sqlite.OpenDriver(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	return over(t, driver, o)
}

// over makes the service over a driver.
func over(t require.TestingT, driver *sqlite.Driver, o devices.Options) *world {
	types := new(schema.Registry)
	desc := devicesv1.AddTo(types)
	require.NoError(t, types.Check())
	w := &world{driver: driver, methods: map[string]*schema.Method{}}
	for _, m := range desc.Methods {
		w.methods[string(m.Desc.Name())] = m
	}
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"local"}, DefaultControlRegion: "local"},
		func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
			return policy.Local(w.store)(ctx, typ, name)
		})
	references := reference.New(reference.Options{Region: "local"})
	index := devices.NewIndex()
	w.store = store.New(driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: policies}), references),
		Cached:  1 << 12, Written: index.Written,
	})
	w.hub = watch.NewHub(w.store, watch.HubOptions{Retry: time.Millisecond})
	if o.Service.Authorize == nil {
		o.Service.Authorize = service.Allow
	}
	if o.Service.Visible == nil {
		o.Service.Visible = func(ctx context.Context, permission string, name resource.Name) bool {
			return service.Allow(ctx, permission, name) == nil
		}
	}
	o.Service.Hub, o.Service.Planner, o.Service.Policies = w.hub, references, policies
	var err error
	w.Service, err = devices.NewService(w.store, index, o)
	require.NoError(t, err)
	return w
}

// admin is a context of an administrator.
func admin(t testing.TB) context.Context {
	t.Helper()
	return as(t, "admin")
}

// as is a context of a principal.
func as(t testing.TB, principal string) context.Context {
	t.Helper()
	p, err := iam.ParsePrincipal(principal)
	require.NoError(t, err)
	return iam.WithPrincipal(t.Context(), p)
}

// call does a method.
func call[M proto.Message](ctx context.Context, w *world, method string, req proto.Message) (M, error) {
	m, err := w.Call(ctx, w.methods[method], req)
	out, _ := m.(M)
	return out, err
}

// device makes a device with aliases, NETWORK/KEY/VALUE each.
func (w *world) device(ctx context.Context, name string, aliases ...string) (*devicesv1.Device, error) {
	n := resource.Name(name)
	d := &devicesv1.Device{}
	for _, a := range aliases {
		x, err := devicesv1.ParseAlias(a)
		if err != nil {
			return nil, err
		}
		d.Aliases = append(d.Aliases, x.Alias())
	}
	return call[*devicesv1.Device](ctx, w, "CreateDevice", &devicesv1.CreateDeviceRequest{Parent: string(n.Parent()), DeviceId: n.ID(), Device: d})
}

// remove deletes a device.
func (w *world) remove(ctx context.Context, name string) error {
	_, err := call[*resourcev1.DeletionPlan](ctx, w, "DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: name})
	return err
}

// external is NETWORK/KEY/VALUE.
func external(t testing.TB, s string) devicesv1.External {
	t.Helper()
	a, err := devicesv1.ParseAlias(s)
	require.NoError(t, err)
	return a
}

// equal requires that two messages are equal.
func equal(t testing.TB, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

// refused requires a fault as "KIND REASON FIELD".
func refused(t testing.TB, err error, kind fault.Kind, reason, field string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
	require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
	require.Equal(t, field, f.Field, "%v", err)
}
