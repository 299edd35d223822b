package e2e

import (
	"iter"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// watched are the changes of the devices of a parent, as a function of what comes
// next: the name of one that is there, or that of one that is not with a minus.
func watched(t *testing.T, f fleet, parent string) func() string {
	t.Helper()
	next, end := iter.Pull2(f.door.watch(f.ctx, &devicesv1.WatchDevicesRequest{Parent: parent, Type: resourcev1.WatchType_STATELESS}))
	t.Cleanup(end)
	var told []string
	return func() string {
		t.Helper()
		for len(told) == 0 {
			m, err, ok := next()
			require.NoError(t, err)
			require.True(t, ok)
			for _, c := range m.GetDeviceChanges() {
				if gone := c.GetRemoved().GetName(); gone != "" {
					told = append(told, "-"+gone)
				} else {
					told = append(told, c.GetSet().GetDevice().GetName())
				}
			}
		}
		out := told[0]
		told = told[1:]
		return out
	}
}

// A role may depend on a device as it is stored: whoever has it reads, lists,
// watches and changes these and no others, and cannot tell others from none.
// SPEC A3
func TestAccess_StoredFields(t *testing.T) {
	t.Parallel()
	a := accessOf{start(t, t.TempDir()), "p"}
	robot := a.account(t, "p", "robot")
	key := a.key(t, robot, "k")
	for id, route := range map[string]string{"d1": "writer", "d2": "other"} {
		call(t, a.p, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {id}}, map[string]any{"route": route}, nil)
	}
	call(t, a.p, http.MethodPost, "/v1/projects/p/roles", url.Values{"roleId": {"keeper"}}, map[string]any{"grants": []any{map[string]any{
		"permissions": []string{"devices.devices.*"}, "fields": []any{map[string]any{"path": "route", "values": []string{"writer"}}},
	}}}, nil)
	a.bind(t, "projects/p", "b", "projects/p/roles/keeper", robot)
	do := func(method, path, body string) (outcome, said string) {
		code, text := send(t, a.p, key, httpCall{method, "/v1/projects/p/devices" + path, body, []string{"Content-Type: application/json"}})
		return ofStatus(code), text
	}
	f := func(want, method, path, body string) {
		t.Helper()
		got, text := do(method, path, body)
		require.Equal(t, want, got, "%s %s: %s", method, path, text)
	}
	f(passed200, http.MethodGet, "/d1", "")
	_, hidden := do(http.MethodGet, "/d2", "")
	_, none := do(http.MethodGet, "/d3", "")
	require.Contains(t, hidden, "PERMISSION_DENIED")
	require.Equal(t, hidden, strings.ReplaceAll(none, "/d3", "/d2"))
	f(passed200, http.MethodPatch, "/d1?updateMask=displayName", `{"displayName":"x"}`)
	f(denied403, http.MethodPatch, "/d1?updateMask=route", `{"route":"other"}`)
	f(denied403, http.MethodPatch, "/d2?updateMask=route", `{"route":"writer"}`)
	f(denied403, http.MethodPost, "?deviceId=d3", `{"route":"other"}`)
	f(passed200, http.MethodPost, "?deviceId=d3", `{"route":"writer"}`)
	f(denied403, http.MethodDelete, "/d2", "")
	outcome, list := do(http.MethodGet, "?includePagingInfo=true", "")
	require.Equal(t, passed200, outcome)
	require.Contains(t, list, "/d3")
	require.NotContains(t, list, "/d2")
	f(passed200, http.MethodDelete, "/d3", "")

	// The watcher loses sight of what is taken away from him, though it is there.
	door := fleet{t: t, ctx: bounded(t), door: dialGRPC(t, a.p.URL, key, nil)}
	seen := watched(t, door, "projects/p")
	require.Equal(t, "projects/p/devices/d1", seen())
	call(t, a.p, http.MethodPatch, "/v1/projects/p/devices/d2", url.Values{"updateMask": {"displayName"}}, map[string]any{"displayName": "not told"}, nil)
	call(t, a.p, http.MethodPatch, "/v1/projects/p/devices/d1", url.Values{"updateMask": {"route"}}, map[string]any{"route": "other"}, nil)
	require.Equal(t, "-projects/p/devices/d1", seen())
	f(denied403, http.MethodGet, "/d1", "")

	// What one is told about it is so.
	allowed := func(device string) bool {
		var e struct{ Allowed bool }
		call(t, a.p, http.MethodPost, "/v1/access:explain", nil, map[string]any{
			"permission": "devices.devices.get", "resource": "projects/p/devices/" + device, "member": "serviceAccount:" + robot,
		}, &e)
		return e.Allowed
	}
	require.False(t, allowed("d1"))
	call(t, a.p, http.MethodPatch, "/v1/projects/p/devices/d2", url.Values{"updateMask": {"route"}}, map[string]any{"route": "writer"}, nil)
	require.Equal(t, "projects/p/devices/d2", seen())
	require.True(t, allowed("d2"))
	stop(t, a.p)
}
