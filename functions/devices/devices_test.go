package devices_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

func TestService_CreateKeepsAndFinds(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	_, err := call[*devicesv1.Blueprint](ctx, w, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{
		Parent: "projects/p", BlueprintId: "b", Blueprint: &devicesv1.Blueprint{},
	})
	require.NoError(t, err)
	a := external(t, "boat-network/esn/5551212")
	want, err := call[*devicesv1.Device](ctx, w, "CreateDevice", &devicesv1.CreateDeviceRequest{
		Parent: "projects/p", DeviceId: "d",
		Device: &devicesv1.Device{Aliases: []*devicesv1.Alias{a.Alias()}, Blueprint: "projects/p/blueprints/b", Route: "reason"},
	})
	require.NoError(t, err)
	require.False(t, want.GetMetadata().GetCreateTime().AsTime().IsZero())

	got, err := w.Device(ctx, "projects/p/devices/d")
	require.NoError(t, err)
	equal(t, want, got)
	got, err = w.Resolve(ctx, "p", a)
	require.NoError(t, err)
	equal(t, want, got)
	_, err = w.Resolve(ctx, "q", a)
	require.Equal(t, fault.NotFound, fault.KindOf(err))

	_, err = w.device(ctx, "projects/p/devices/d")
	refused(t, err, fault.Exists, "ALREADY_EXISTS", "")
	_, err = w.device(ctx, "projects/q/devices/d", a.String())
	require.NoError(t, err, "an alias is of its project")
}

// The device of an answer is the caller's own: the registry keeps its.
func TestService_AnswersAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	_, err := w.device(ctx, "projects/p/devices/d", "n/k/v")
	require.NoError(t, err)
	for range 2 {
		d, err := call[*devicesv1.Device](ctx, w, "ResolveDevice", &devicesv1.ResolveDeviceRequest{Parent: "projects/p", Network: "n", Key: "k", Value: "v"})
		require.NoError(t, err)
		require.Equal(t, "projects/p/devices/d", d.GetName())
		d.Name = "another"
		d.Aliases[0].Value = "another"
	}
}

func TestService_TakenAliasNamesTheHolder(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	_, err := w.device(ctx, "projects/p/devices/d", "n/k/a")
	require.NoError(t, err)
	for _, name := range []string{"projects/p/devices/e", "projects/p/regions/local/devices/e"} {
		_, err = w.device(ctx, name, "n/k/b", "n/k/a")
		var f *fault.Error
		require.ErrorAs(t, err, &f)
		require.Equal(t, fault.Exists, f.Kind)
		require.Equal(t, "ALREADY_TAKEN", f.Reason)
		require.Equal(t, "projects/p/devices/d", f.Name)
		// Nothing of it stayed.
		_, err = w.Device(ctx, name)
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		_, err = w.Resolve(ctx, "p", external(t, "n/k/b"))
		require.Equal(t, fault.NotFound, fault.KindOf(err))
	}
}

func TestService_ReadsNothingButItsType(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	_, err := call[*devicesv1.Blueprint](ctx, w, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{
		Parent: "projects/p", BlueprintId: "b", Blueprint: &devicesv1.Blueprint{},
	})
	require.NoError(t, err)
	for _, name := range []string{"projects/p/blueprints/b", "", "projects/p/devices/", "projects/p", "b\x00", "projects/-/devices/-"} {
		_, err := w.Device(ctx, name)
		require.Equal(t, fault.NotFound, fault.KindOf(err), name)
	}
	for _, project := range []string{"", "p", "p/devices/d", "-"} {
		_, err = w.Resolve(ctx, project, devicesv1.External{})
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		_, err = w.Resolve(ctx, project, external(t, "n/k/v"))
		require.Equal(t, fault.NotFound, fault.KindOf(err))
	}
}

// Of many that want one alias at the same time exactly one gets it, and all
// others are told who.
func TestService_ConcurrentCreatesOfOneAlias(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = w.device(ctx, fmt.Sprintf("projects/p/devices/d%d", i), "n/k/v") })
	}
	all.Wait()
	holder, err := w.Resolve(ctx, "p", external(t, "n/k/v"))
	require.NoError(t, err)
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			require.Equal(t, holder.GetName(), fmt.Sprintf("projects/p/devices/d%d", i))
			continue
		}
		var f *fault.Error
		require.ErrorAs(t, err, &f)
		require.Equal(t, "ALREADY_TAKEN", f.Reason, "%v", err)
		require.Equal(t, holder.GetName(), f.Name)
	}
	require.Equal(t, 1, won)
}

func TestService_RestartKeepsEverything(t *testing.T) {
	t.Parallel()
	path, ctx := file(t), admin(t)
	w := open(t, path, devices.Options{})
	b, err := call[*devicesv1.Blueprint](ctx, w, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{
		Parent: "projects/p", BlueprintId: "b", Blueprint: &devicesv1.Blueprint{Route: "r", Mappings: []*devicesv1.Mapping{{
			EventType: "t", TimestampField: "at",
			Fields: []*devicesv1.FieldMapping{{Field: "x/y", Kind: "GAUGE", ValueType: "INT64", Unit: "V", Labels: map[string]string{"side": "=left"}}},
		}}},
	})
	require.NoError(t, err)
	d, err := w.device(ctx, "projects/p/devices/d", "n/k/v")
	require.NoError(t, err)
	require.NoError(t, w.driver.Close())

	w = open(t, path, devices.Options{})
	got, err := w.Resolve(ctx, "p", external(t, "n/k/v"))
	require.NoError(t, err)
	equal(t, d, got)
	blueprint, err := w.Blueprint(ctx, b.GetName())
	require.NoError(t, err)
	equal(t, b, blueprint)
	_, err = w.device(ctx, "projects/p/devices/e", "n/k/v")
	require.Equal(t, "ALREADY_TAKEN", fault.ReasonOf(err))
}

// A database that does not answer must not look like a device that is not
// there, and is asked again.
func TestService_StorageDown(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	_, err := w.device(ctx, "projects/p/devices/d", "n/k/v")
	require.NoError(t, err)

	away, cancel := context.WithCancel(ctx)
	cancel()
	_, err = w.Device(away, "projects/p/devices/d")
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	_, err = w.Resolve(away, "p", external(t, "n/k/v"))
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	_, err = w.Device(ctx, "projects/p/devices/d")
	require.NoError(t, err)

	require.NoError(t, w.driver.Close())
	_, err = w.Device(ctx, "projects/p/devices/e")
	require.NotEqual(t, fault.NotFound, fault.KindOf(err))
	require.Error(t, err)
	_, err = w.Resolve(ctx, "p", external(t, "n/k/v"))
	require.NotEqual(t, fault.NotFound, fault.KindOf(err))
	require.Error(t, err)
	_, err = w.device(ctx, "projects/p/devices/e")
	require.Error(t, err)
}

// A device lives: it is made, found, changed by masks, given aliases and bereft
// of them, listed, and deleted.
func TestService_DeviceLife(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	const name = "projects/p/devices/d"
	_, err := call[*devicesv1.Blueprint](ctx, w, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{Parent: "projects/p", BlueprintId: "b", Blueprint: &devicesv1.Blueprint{}})
	require.NoError(t, err)
	_, err = w.device(ctx, name, "n/k/a/b c")
	require.NoError(t, err)
	_, err = w.device(ctx, "projects/p/devices/e")
	require.NoError(t, err)
	update := func(d *devicesv1.Device, mask ...string) *devicesv1.Device {
		t.Helper()
		d.Name = name
		req := &devicesv1.UpdateDeviceRequest{Device: d}
		if len(mask) > 0 {
			req.UpdateMask = &fieldmaskpb.FieldMask{Paths: mask}
		}
		d, err := call[*devicesv1.Device](ctx, w, "UpdateDevice", req)
		require.NoError(t, err)
		got, err := w.Device(ctx, name)
		require.NoError(t, err)
		equal(t, d, got)
		return d
	}
	resolve := func(value string) (*devicesv1.Device, error) {
		return call[*devicesv1.Device](ctx, w, "ResolveDevice", &devicesv1.ResolveDeviceRequest{Parent: "projects/p", Network: "n", Key: "k", Value: value})
	}
	_, err = resolve("a/b c")
	require.NoError(t, err)
	d := update(&devicesv1.Device{Blueprint: "projects/p/blueprints/b"})
	require.Len(t, d.GetAliases(), 1, "without a mask what is empty in the request stays")
	d = update(&devicesv1.Device{Route: "ignored"}, "aliases")
	require.Empty(t, d.GetAliases())
	require.Empty(t, d.GetRoute())
	require.Equal(t, "projects/p/blueprints/b", d.GetBlueprint())
	_, err = resolve("a/b c")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	d = update(&devicesv1.Device{Route: "reason"}, "*")
	require.Equal(t, "reason", d.GetRoute())
	require.Empty(t, d.GetBlueprint())

	alias := &devicesv1.Alias{Network: "n", Key: "k", Value: "1"}
	add := func(name string) (*devicesv1.Device, error) {
		return call[*devicesv1.Device](ctx, w, "AddAlias", &devicesv1.AddAliasRequest{Name: name, Alias: alias})
	}
	take := func(name string) error {
		_, err := call[*devicesv1.Device](ctx, w, "RemoveAlias", &devicesv1.RemoveAliasRequest{Name: name, Alias: alias})
		return err
	}
	for range 2 { // adding again is no error
		d, err = add(name)
		require.NoError(t, err)
		require.Len(t, d.GetAliases(), 1)
	}
	got, err := resolve("1")
	require.NoError(t, err)
	equal(t, d, got)
	_, err = add("projects/p/devices/e")
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, []string{"ALREADY_TAKEN", name}, []string{f.Reason, f.Name})
	require.NoError(t, take(name))
	refused(t, take(name), fault.NotFound, "NOT_FOUND", "alias")
	_, err = add("projects/p/devices/e")
	require.NoError(t, err)
	got, err = resolve("1")
	require.NoError(t, err)
	require.Equal(t, "projects/p/devices/e", got.GetName())

	list, err := call[*devicesv1.ListDevicesResponse](ctx, w, "ListDevices", &devicesv1.ListDevicesRequest{Parent: "projects/p", PageSize: 1})
	require.NoError(t, err)
	require.Len(t, list.GetDevices(), 1)
	list, err = call[*devicesv1.ListDevicesResponse](ctx, w, "ListDevices", &devicesv1.ListDevicesRequest{Parent: "projects/p", PageSize: 1, PageToken: list.GetNextPageToken()})
	require.NoError(t, err)
	require.Equal(t, "projects/p/devices/e", list.GetDevices()[0].GetName())
	require.Empty(t, list.GetNextPageToken())
	list, err = call[*devicesv1.ListDevicesResponse](ctx, w, "ListDevices", &devicesv1.ListDevicesRequest{Parent: "projects/q"})
	require.NoError(t, err)
	require.Empty(t, list.GetDevices())

	require.NoError(t, w.remove(ctx, "projects/p/devices/e"))
	refused(t, w.remove(ctx, "projects/p/devices/e"), fault.NotFound, "NOT_FOUND", "")
	_, err = resolve("1")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	_, err = add(name)
	require.NoError(t, err)
}

// What devices of one make have in common stays as long as one of them does,
// and is of their project.
func TestService_BlueprintLife(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	b, err := call[*devicesv1.Blueprint](ctx, w, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{
		Parent: "projects/p", BlueprintId: "b", Blueprint: &devicesv1.Blueprint{Mappings: []*devicesv1.Mapping{
			{EventType: "com.example.climate", Fields: []*devicesv1.FieldMapping{{Field: "temperature", Unit: "Cel", Labels: map[string]string{"side": "=left"}}}},
		}},
	})
	require.NoError(t, err)
	b, err = call[*devicesv1.Blueprint](ctx, w, "UpdateBlueprint", &devicesv1.UpdateBlueprintRequest{Blueprint: &devicesv1.Blueprint{Name: b.GetName(), Route: "r"}})
	require.NoError(t, err)
	require.Len(t, b.GetMappings(), 1)
	got, err := w.Blueprint(ctx, b.GetName())
	require.NoError(t, err)
	equal(t, b, got)

	with := func(parent, blueprint string) error {
		_, err := call[*devicesv1.Device](ctx, w, "CreateDevice", &devicesv1.CreateDeviceRequest{
			Parent: parent, DeviceId: "d", Device: &devicesv1.Device{Blueprint: blueprint},
		})
		return err
	}
	require.NoError(t, with("projects/p", b.GetName()))
	drop := func(validateOnly bool) (*resourcev1.DeletionPlan, error) {
		return call[*resourcev1.DeletionPlan](ctx, w, "DeleteBlueprint", &devicesv1.DeleteBlueprintRequest{Name: b.GetName(), ValidateOnly: validateOnly})
	}
	plan, err := drop(true)
	require.NoError(t, err)
	require.True(t, plan.GetBlocked())
	_, err = drop(false)
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "projects/p/devices/d")
	refused(t, with("projects/q", b.GetName()), fault.Invalid, "INVALID_FIELD", "blueprint")
	require.NoError(t, w.remove(ctx, "projects/p/devices/d"))
	_, err = drop(false)
	require.NoError(t, err)
	_, err = w.Blueprint(ctx, b.GetName())
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Error(t, with("projects/p", b.GetName()), "there is no such blueprint")
}

// A device of a region has its aliases among those of the project, and is found
// by them.
func TestService_RegionalDevices(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	const name = "projects/p/regions/local/devices/d"
	d, err := w.device(ctx, name, "n/k/v")
	require.NoError(t, err)
	got, err := w.Resolve(ctx, "p", external(t, "n/k/v"))
	require.NoError(t, err)
	equal(t, d, got)
	_, err = w.device(ctx, "projects/p/devices/e", "n/k/v")
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, []string{"ALREADY_TAKEN", name}, []string{f.Reason, f.Name})
	_, err = call[*devicesv1.Device](ctx, w, "AddAlias", &devicesv1.AddAliasRequest{Name: name, Alias: external(t, "n/k/w").Alias()})
	require.NoError(t, err)
	got, err = w.Resolve(ctx, "p", external(t, "n/k/w"))
	require.NoError(t, err)
	require.Equal(t, name, got.GetName())
	_, err = w.device(ctx, "projects/p/regions/moon/devices/d")
	require.Error(t, err, "the project is not in that region")
	require.NotEqual(t, fault.Internal, fault.KindOf(err), "%v", err)
	require.NoError(t, w.remove(ctx, name))
	_, err = w.device(ctx, "projects/p/devices/e", "n/k/v")
	require.NoError(t, err)
}

// What is wrong with a device or a blueprint is said by the path of the field.
func TestService_RefusalsNameTheField(t *testing.T) {
	t.Parallel()
	w, ctx := open(t, file(t), devices.Options{}), admin(t)
	_, err := w.device(ctx, "projects/p/devices/d")
	require.NoError(t, err)
	f := func(field, method string, req proto.Message) {
		t.Helper()
		_, err := call[proto.Message](ctx, w, method, req)
		refused(t, err, fault.Invalid, "INVALID_FIELD", field)
	}
	device := func(field string, d *devicesv1.Device) {
		t.Helper()
		f(field, "CreateDevice", &devicesv1.CreateDeviceRequest{Parent: "projects/p", DeviceId: "x", Device: d})
		d.Name = "projects/p/devices/d"
		f(field, "UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: d})
	}
	device("aliases[0].key", &devicesv1.Device{Aliases: []*devicesv1.Alias{{Network: "n"}}})
	device("aliases[1]", &devicesv1.Device{Aliases: []*devicesv1.Alias{{Network: "n", Key: "k", Value: "v"}, {Network: "n", Key: "k", Value: "v"}}})
	device("aliases", &devicesv1.Device{Aliases: make([]*devicesv1.Alias, 257)})
	device("route", &devicesv1.Device{Route: "processor"})
	device("route", &devicesv1.Device{Route: "a b"})
	device("blueprint", &devicesv1.Device{Blueprint: "projects/q/blueprints/b"})
	f("alias", "AddAlias", &devicesv1.AddAliasRequest{Name: "projects/p/devices/d"})
	f("network", "AddAlias", &devicesv1.AddAliasRequest{Name: "projects/p/devices/d", Alias: &devicesv1.Alias{}})
	f("value", "ResolveDevice", &devicesv1.ResolveDeviceRequest{Parent: "projects/p", Network: "n", Key: "k"})
	blueprint := func(field string, m ...*devicesv1.Mapping) {
		t.Helper()
		f(field, "CreateBlueprint", &devicesv1.CreateBlueprintRequest{Parent: "projects/p", BlueprintId: "x", Blueprint: &devicesv1.Blueprint{Mappings: m}})
	}
	blueprint("mappings[0].fields[1].kind", &devicesv1.Mapping{EventType: "t", Fields: []*devicesv1.FieldMapping{{Field: "a"}, {Field: "b", Kind: "gauge"}}})
	blueprint("mappings[0].eventType", &devicesv1.Mapping{})
	for _, name := range []string{"projects/p/devices/x", "projects/p/blueprints/x"} {
		_, err := w.Device(ctx, name)
		require.Equal(t, fault.NotFound, fault.KindOf(err), "nothing refused was kept")
	}
	_, err = call[proto.Message](ctx, w, "AddAlias", &devicesv1.AddAliasRequest{Name: "projects/p/devices/x", Alias: external(t, "n/k/v").Alias()})
	refused(t, err, fault.NotFound, "NOT_FOUND", "")
}

// Every method asks for its permission in the project, and before it looks at
// anything.
func TestService_AsksForPermission(t *testing.T) {
	t.Parallel()
	var asked []string
	o := devices.Options{}
	o.Service.Authorize = func(_ context.Context, permission string, name resource.Name) error {
		asked = append(asked, string(name)+" "+permission)
		return &fault.Error{Kind: fault.Denied, Field: permission}
	}
	w := open(t, file(t), o)
	f := func(want, method string, req proto.Message) {
		t.Helper()
		asked = nil
		_, err := call[proto.Message](admin(t), w, method, req)
		require.Equal(t, fault.Denied, fault.KindOf(err), "%v", err)
		require.Equal(t, []string{want}, slices.Compact(asked))
	}
	f("projects/p devices.devices.create", "CreateDevice", &devicesv1.CreateDeviceRequest{Parent: "projects/p", DeviceId: "x"})
	f("projects/p devices.devices.list", "ListDevices", &devicesv1.ListDevicesRequest{Parent: "projects/p"})
	f("projects/p/devices/x devices.devices.get", "GetDevice", &devicesv1.GetDeviceRequest{Name: "projects/p/devices/x"})
	f("projects/p/devices/x devices.devices.update", "UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: &devicesv1.Device{Name: "projects/p/devices/x"}})
	f("projects/p/devices/x devices.devices.delete", "DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: "projects/p/devices/x"})
	f("projects/p devices.blueprints.create", "CreateBlueprint", &devicesv1.CreateBlueprintRequest{Parent: "projects/p", BlueprintId: "x"})
	f("projects/p devices.blueprints.list", "ListBlueprints", &devicesv1.ListBlueprintsRequest{Parent: "projects/p"})
	f("projects/p/blueprints/x devices.blueprints.get", "GetBlueprint", &devicesv1.GetBlueprintRequest{Name: "projects/p/blueprints/x"})
	f("projects/p/blueprints/x devices.blueprints.delete", "DeleteBlueprint", &devicesv1.DeleteBlueprintRequest{Name: "projects/p/blueprints/x"})
	f("projects/p devices.devices.get", "ResolveDevice", &devicesv1.ResolveDeviceRequest{Parent: "projects/p"})
	f("projects/p/devices/x devices.devices.update", "AddAlias", &devicesv1.AddAliasRequest{Name: "projects/p/devices/x"})
	f("projects/p/devices/x devices.devices.update", "RemoveAlias", &devicesv1.RemoveAliasRequest{Name: "projects/p/devices/x"})
}

// The table of sdk/iam: a project's key is for its project, a device's for
// nothing here, and nobody without one.
func TestService_Principals(t *testing.T) {
	t.Parallel()
	w := open(t, file(t), devices.Options{})
	f := func(ctx context.Context, want fault.Kind, name string) {
		t.Helper()
		_, err := w.device(ctx, name)
		require.Equal(t, want, fault.KindOf(err), "%v", err)
	}
	_, err := w.device(as(t, "projects/p"), "projects/p/devices/d")
	require.NoError(t, err)
	f(as(t, "projects/q"), fault.Denied, "projects/p/devices/e")
	f(as(t, "projects/p/devices/d"), fault.Denied, "projects/p/devices/e")
	f(iam.WithPrincipal(t.Context(), iam.Principal{}), fault.Unauthenticated, "projects/p/devices/e")
	_, err = call[proto.Message](as(t, "projects/q"), w, "ResolveDevice", &devicesv1.ResolveDeviceRequest{Parent: "projects/p", Network: "n", Key: "k", Value: "v"})
	require.Equal(t, fault.Denied, fault.KindOf(err))
}
