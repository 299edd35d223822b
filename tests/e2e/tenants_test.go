package e2e

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/tests/process"
)

// tryCreate makes a device, if it may.
func (f fleet) tryCreate(id string) error {
	return f.door.call(f.ctx, "DeviceService/CreateDevice", &devicesv1.CreateDeviceRequest{Parent: f.parent, DeviceId: id, Device: &devicesv1.Device{}}, new(devicesv1.Device))
}

// keyOf makes a key of a project or a device.
func keyOf(t *testing.T, p *process.Platform, principal string) string {
	t.Helper()
	var made struct{ Key string }
	call(t, p, http.MethodPost, "/v1/keys", nil, map[string]any{"principal": principal}, &made)
	require.NotEmpty(t, made.Key)
	return made.Key
}

// attempt is a call of somebody who may not.
type attempt struct {
	method     string
	in         proto.Message
	permission string
}

// attempts are all methods, on the device d1 of a project.
func attempts(parent string) []attempt {
	d1 := parent + "/devices/d1"
	return []attempt{
		{"DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: d1}, "devices.devices.get"},
		{"DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: parent + "/devices/nobody"}, "devices.devices.get"},
		{"DeviceService/BatchGetDevices", &devicesv1.BatchGetDevicesRequest{Parent: parent, Names: []string{d1}}, "devices.devices.get"},
		{"DeviceService/BatchGetDevices", &devicesv1.BatchGetDevicesRequest{Parent: "projects/-", Names: []string{d1}, AllowMissing: true}, "devices.devices.get"},
		{"DeviceService/ListDevices", &devicesv1.ListDevicesRequest{Parent: parent}, "devices.devices.list"},
		{"DeviceService/SearchDevices", &devicesv1.SearchDevicesRequest{Parent: parent, Phrase: "pump"}, "devices.devices.search"},
		{"DeviceService/CreateDevice", &devicesv1.CreateDeviceRequest{Parent: parent, DeviceId: "x", Device: &devicesv1.Device{}}, "devices.devices.create"},
		{"DeviceService/CreateDevice", &devicesv1.CreateDeviceRequest{Parent: parent, DeviceId: "d1", Device: &devicesv1.Device{}, ValidateOnly: true}, "devices.devices.create"},
		{"DeviceService/UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: &devicesv1.Device{Name: d1, Route: "r"}}, "devices.devices.update"},
		{"DeviceService/UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: &devicesv1.Device{Name: parent + "/devices/x"}, AllowMissing: true}, "devices.devices.update"},
		{"DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: d1, ValidateOnly: true}, "devices.devices.delete"},
		{"DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: d1, AllowMissing: true}, "devices.devices.delete"},
		{"Aliases/ResolveDevice", &devicesv1.ResolveDeviceRequest{Parent: parent, Network: "n", Key: "k", Value: "a"}, "devices.devices.get"},
		{"Aliases/AddAlias", &devicesv1.AddAliasRequest{Name: d1, Alias: &devicesv1.Alias{Network: "n", Key: "k", Value: "b"}}, "devices.devices.update"},
		{"BlueprintService/CreateBlueprint", &devicesv1.CreateBlueprintRequest{Parent: parent, BlueprintId: "x", Blueprint: &devicesv1.Blueprint{}}, "devices.blueprints.create"},
	}
}

// first is the first message of a watch, or why there is none.
func first(f fleet, parent string) (*devicesv1.WatchDevicesResponse, error) {
	next, end := iter.Pull2(f.door.watch(f.ctx, &devicesv1.WatchDevicesRequest{Parent: parent, Type: resourcev1.WatchType_STATELESS}))
	defer end()
	m, err, _ := next()
	return m, err
}

// TestTenants_SeeNothingOfEachOther tries every method through every door with
// keys that must not open it.
func TestTenants_SeeNothingOfEachOther(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	owner := fleet{t: t, ctx: bounded(t), door: dialGRPC(t, p.URL, adminKey, nil), parent: "projects/theirs"}
	pump := labelled("north", "Pump")
	pump.Aliases = []*devicesv1.Alias{{Network: "n", Key: "k", Value: "a"}}
	owner.create("d1", pump)
	owner.parent = "projects/ours"
	owner.create("d1", labelled("north", "Pump"))
	project, device := keyOf(t, p, "projects/ours"), keyOf(t, p, "projects/ours/devices/d1")

	for key, c := range map[string]struct {
		code   codes.Code
		reason string
		parent string
	}{
		project: {codes.PermissionDenied, "PERMISSION_DENIED", "projects/theirs"},
		device:  {codes.PermissionDenied, "PERMISSION_DENIED", "projects/ours"}, // it posts events, and nothing else
		"":      {codes.Unauthenticated, "UNAUTHENTICATED", "projects/ours"},
	} {
		for name, d := range mayKnow(t, p, key) {
			f := fleet{t: t, ctx: bounded(t), door: d, parent: c.parent}
			for _, a := range attempts(c.parent) {
				if r := f.refused(c.code, c.reason, a.method, a.in); true {
					require.Equal(t, a.permission, r.field, "%s by %s: a denial names the missing permission", a.method, name)
					require.Contains(t, r.message, a.permission)
				}
			}
			_, err := first(f, c.parent)
			require.Equal(t, "devices.devices.watch", refused(t, err, c.code, c.reason).field, name)
		}
	}

	// Across projects there is what one may see, which for a device is nothing.
	none := fleet{t: t, ctx: bounded(t), door: dialGRPC(t, p.URL, device, nil)}
	for _, parent := range []string{"projects/-", "projects/ours/regions/-", "projects/theirs/regions/-"} {
		list := new(devicesv1.ListDevicesResponse)
		none.do("DeviceService/ListDevices", &devicesv1.ListDevicesRequest{Parent: parent, IncludePagingInfo: true}, list)
		require.Empty(t, list.GetDevices(), parent)
		require.Zero(t, list.GetPagingInfo().GetTotal(), parent)
		m, err := first(none, parent)
		require.NoError(t, err)
		require.Empty(t, m.GetDeviceChanges(), parent)
	}
	for name, d := range mayKnow(t, p, project) {
		f := fleet{t: t, ctx: bounded(t), door: d, parent: "projects/ours"}
		list := new(devicesv1.ListDevicesResponse)
		f.do("DeviceService/ListDevices", &devicesv1.ListDevicesRequest{Parent: "projects/-", IncludePagingInfo: true}, list)
		require.Equal(t, []string{"d1"}, idsOf(f, list.GetDevices()), name)
		require.LessOrEqual(t, list.GetPagingInfo().GetTotal(), int64(1), "a count tells of others")
		found := new(devicesv1.SearchDevicesResponse)
		f.do("DeviceService/SearchDevices", &devicesv1.SearchDevicesRequest{Parent: "projects/-", Phrase: "pump"}, found)
		require.Equal(t, []string{"d1"}, idsOf(f, found.GetDevices()), name)
		m, err := first(f, "projects/-")
		require.NoError(t, err)
		require.Len(t, m.GetDeviceChanges(), 1, name)
		require.Equal(t, "projects/ours/devices/d1", m.GetDeviceChanges()[0].GetSet().GetDevice().GetName())
		require.EqualValues(t, 1, m.GetSnapshotSize(), "a size tells of others")
	}

	for _, path := range []string{
		"/v1/projects/theirs/devices/d1:watch", "/v1/projects/theirs/devices:watch?type=STATEFUL",
		"/v1/projects/theirs/devices:batchGet?names=projects/theirs/devices/d1", "/v1/projects/theirs/blueprints",
	} {
		for key, want := range map[string]int{"": 401, project: 403, device: 403} {
			require.Equal(t, want, statusAs(t, p, key, path), "%s as %.5q", path, key)
		}
	}
	// What is referred to tells nobody what others have.
	owner.parent = "projects/theirs"
	owner.do("BlueprintService/CreateBlueprint", &devicesv1.CreateBlueprintRequest{Parent: owner.parent, BlueprintId: "b1", Blueprint: &devicesv1.Blueprint{}}, new(devicesv1.Blueprint))
	f := fleet{t: t, ctx: bounded(t), door: dialGRPC(t, p.URL, project, nil), parent: "projects/ours"}
	refer := func(to string) string {
		t.Helper()
		err := f.door.call(f.ctx, "DeviceService/UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: &devicesv1.Device{Name: f.name("d1"), Blueprint: to}}, new(devicesv1.Device))
		var r *refusal
		require.ErrorAs(t, err, &r)
		return r.reason + r.field
	}
	require.Equal(t, refer("projects/theirs/blueprints/no"), refer("projects/theirs/blueprints/b1"))

	for _, path := range []string{"/v1/schema", "/openapi/devices.selvedge.dev.yaml"} {
		for key, want := range map[string]int{"": 401, "svk_aaaaaaaaaaaa_nonsense": 401, project: 200, adminKey: 200} {
			require.Equal(t, want, statusAs(t, p, key, path), "%s as %.5q", path, key)
		}
	}
}

// mayKnow are the doors for a key: nobody is told the schema without one.
func mayKnow(t *testing.T, p *process.Platform, key string) map[string]door {
	t.Helper()
	if key != "" {
		return doors(t, p, key)
	}
	return map[string]door{
		"REST": restDoor{url: p.URL, http: http.DefaultClient}, "gRPC": dialGRPC(t, p.URL, "", nil),
		"Connect": connectDoor{url: p.URL, http: http.DefaultClient},
	}
}

// statusAs is the status of a GET.
func statusAs(t *testing.T, p *process.Platform, key, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, p.URL+path, nil)
	require.NoError(t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// The idle watchers of a test, over as many connections as it takes: HTTP/2
// has 250 streams in one.
const (
	idleWatchers = 1000
	perConn      = 200
)

// TestWatch_IdleWatchersHoldUpNobody has more watchers than requests may be in
// hand at once. Everything else goes on, and each of them hears of a change.
func TestWatch_IdleWatchersHoldUpNobody(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	in := &devicesv1.WatchDevicesRequest{Parent: "projects/p", Type: resourcev1.WatchType_STATELESS}
	streams := make([]grpc.ClientStream, idleWatchers)
	var d grpcDoor
	for i := range streams {
		if i%perConn == 0 {
			d = dialGRPC(t, p.URL, adminKey, nil)
		}
		var err error
		streams[i], err = d.stream(ctx, in)
		require.NoError(t, err)
	}
	each := func(f func(i int, m *devicesv1.WatchDevicesResponse) error) {
		t.Helper()
		errs := make([]error, idleWatchers)
		var wg sync.WaitGroup
		for i, s := range streams {
			wg.Go(func() {
				m := new(devicesv1.WatchDevicesResponse)
				if errs[i] = s.RecvMsg(m); errs[i] == nil {
					errs[i] = f(i, m)
				}
			})
		}
		wg.Wait()
		for i, err := range errs {
			require.NoError(t, err, "watcher %d", i)
		}
	}
	each(func(_ int, m *devicesv1.WatchDevicesResponse) error {
		if !m.GetIsCurrent() {
			return fmt.Errorf("not current: %v", m)
		}
		return nil
	})
	for range 20 {
		call(t, p, http.MethodGet, "/v1/projects/p/devices", nil, nil, nil)
	}
	call(t, p, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"d1"}}, map[string]any{}, nil)
	each(func(_ int, m *devicesv1.WatchDevicesResponse) error {
		if len(m.GetDeviceChanges()) != 1 || m.GetDeviceChanges()[0].GetSet().GetDevice().GetName() != "projects/p/devices/d1" {
			return fmt.Errorf("not the change: %v", m)
		}
		return nil
	})
	stop(t, p)
}
