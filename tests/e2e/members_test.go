package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/audit"
	"selvedge.dev/functions/devices"
	"selvedge.dev/functions/gateway"
	"selvedge.dev/functions/iam"
	"selvedge.dev/functions/meta"
	"selvedge.dev/logstore/clickhouse/chtest"
	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/member"
	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/tests/process"
)

// within bounds how long it takes until everybody knows what one has changed.
const within = time.Minute

// members is a platform with services as functions beside it, on its database.
type members struct {
	*process.Platform
	env map[string]string
	// devices, iam, meta and audit are the functions, to be asked like platforms.
	devices, iam, meta, audit *process.Platform
}

// startMembers starts them, with logs on ClickHouse.
func startMembers(t *testing.T) members {
	t.Helper()
	database, logs := pgtest.Database(t, pgtest.DSN(t)), chtest.New(t)
	m := members{Platform: start(t, t.TempDir(), "--database", database, "--logs", logs.Native, "--owner-timeout", "5s")}
	m.env = map[string]string{member.URLVariable: m.URL, member.DatabaseVariable: database, audit.LogsVariable: logs.Native}
	for f, at := range map[hosted]**process.Platform{
		devices.New(): &m.devices, iam.New(): &m.iam, meta.New(): &m.meta, audit.New(): &m.audit,
	} {
		*at = &process.Platform{URL: host(t, f, m.env), HTTP: http.DefaultClient}
	}
	return m
}

// device is where the device of the project p with that id is.
func device(id string) httpCall {
	return httpCall{method: http.MethodGet, path: "/v1/projects/p/devices/" + id}
}

// Devices that are made, changed and deleted at the function or at the platform are
// the same at both, by the same rules, and the platform does what follows.
func TestMembers_Devices(t *testing.T) {
	t.Parallel()
	m := startMembers(t)
	a := accessOf{m.Platform, "p"}
	made := must(t, m.devices, adminKey, httpCall{http.MethodPost, "/v1/projects/p/devices?deviceId=d1", `{"aliases":[{"network":"lab","key":"mac","value":"a1"}]}`, []string{"Content-Type: application/json"}})
	same(t, made, must(t, m.Platform, adminKey, device("d1")))
	call(t, m.Platform, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"d2"}}, map[string]any{"displayName": "two"}, nil)
	sameAnswer(t, m.Platform, m.devices, adminKey, device("d2"))
	status, text := send(t, m.Platform, adminKey, httpCall{http.MethodPost, "/v1/projects/p/devices?deviceId=d3", `{"aliases":[{"network":"lab","key":"mac","value":"a1"}]}`, []string{"Content-Type: application/json"}})
	require.Equal(t, http.StatusConflict, status, text)

	next := watched(t, fleet{t: t, ctx: bounded(t), door: connectDoor{url: m.devices.URL, key: adminKey, http: http.DefaultClient}}, "projects/p")
	for _, want := range []string{"projects/p/devices/d1", "projects/p/devices/d2"} {
		require.Equal(t, want, next())
	}
	call(t, m.Platform, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {"d4"}}, map[string]any{}, nil)
	require.Equal(t, "projects/p/devices/d4", next(), "watchers are told of what the platform does")
	resolved := httpCall{method: http.MethodGet, path: "/v1/projects/p/devices:resolve?network=lab&key=mac&value=a1"}
	require.Contains(t, must(t, m.devices, adminKey, resolved), "projects/p/devices/d1")
	sameAnswer(t, m.Platform, m.devices, adminKey, resolved)

	// A blueprint that a device refers to stays, wherever the device was made.
	call(t, m.devices, http.MethodPost, "/v1/projects/p/blueprints", url.Values{"blueprintId": {"b"}}, map[string]any{}, nil)
	call(t, m.Platform, http.MethodPatch, "/v1/projects/p/devices/d2", url.Values{"updateMask": {"blueprint"}}, map[string]any{"blueprint": "projects/p/blueprints/b"}, nil)
	err := m.devices.Client(adminKey).Call(t.Context(), http.MethodDelete, "/v1/projects/p/blueprints/b", nil, nil, nil)
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
	require.Equal(t, "projects/p/devices/d2", next())

	// The key of a device that is deleted here ends there.
	var key struct{ Key string }
	call(t, m.Platform, http.MethodPost, "/v1/keys", nil, map[string]any{"principal": "projects/p/devices/d1"}, &key)
	require.Equal(t, passed200, ofStatus(codeOf(t, m.Platform, key.Key, httpCall{method: http.MethodGet, path: "/v1/permissions:mine"})))
	sameAnswer(t, m.Platform, m.devices, key.Key, device("d1"))
	call(t, m.devices, http.MethodDelete, "/v1/projects/p/devices/d1", nil, nil, nil)
	require.Equal(t, "-projects/p/devices/d1", next())
	require.Eventually(t, func() bool {
		return codeOf(t, m.Platform, key.Key, httpCall{method: http.MethodGet, path: "/v1/permissions:mine"}) == http.StatusUnauthorized
	}, within, 10*time.Millisecond)

	// Who did it is in the trail, as if the platform had been asked.
	require.Eventually(t, func() bool { return len(creations(t, m.Platform)) == 3 && len(listed(t, m.audit)) == 3 }, within, 50*time.Millisecond)
	require.Equal(t, listed(t, m.Platform), listed(t, m.audit))
	require.Equal(t, http.StatusUnauthorized, codeOf(t, m.devices, "wrong", device("d2")))
	nobody := a.key(t, a.account(t, "p", "nobody"), "k")
	for _, c := range []httpCall{
		device("d2"),
		{method: http.MethodGet, path: "/v1/projects/p/devices"},
		{http.MethodPatch, "/v1/projects/p/devices/d2?updateMask=displayName", `{"displayName":"x"}`, []string{"Content-Type: application/json"}},
		{method: http.MethodDelete, path: "/v1/projects/p/devices/d2"},
		{method: http.MethodGet, path: "/v1/projects/q/devices/d2"},
		{method: http.MethodGet, path: "/v1/nothing"},
	} {
		for _, key := range []string{nobody, ""} {
			sameAnswer(t, m.Platform, m.devices, key, c)
		}
	}
	stop(t, m.Platform)
}

// codeOf is the status of an answer.
func codeOf(t *testing.T, p *process.Platform, key string, c httpCall) int {
	t.Helper()
	status, _ := send(t, p, key, c)
	return status
}

// sameAnswer checks that two answer a call alike.
func sameAnswer(t *testing.T, one, other *process.Platform, key string, c httpCall) {
	t.Helper()
	status, want := send(t, one, key, c)
	got, text := send(t, other, key, c)
	require.Equal(t, status, got, "%s %s: %s", c.method, c.path, text)
	same(t, want, text)
}

// same checks that two bodies say the same.
func same(t *testing.T, want, got string) {
	t.Helper()
	require.Equal(t, plain(t, want), plain(t, got))
}

// plain is a body without the spaces of JSON, which are of the program that made it.
func plain(t *testing.T, body string) string {
	t.Helper()
	if !json.Valid([]byte(body)) {
		return body
	}
	var out bytes.Buffer
	require.NoError(t, json.Compact(&out, []byte(body)))
	return out.String()
}

// What is granted and revoked at the function holds at the platform, and the other
// way about, also where it depends on the fields of a device; nobody hands out more
// at the function than he has, and its tokens are the platform's.
func TestMembers_Accounts(t *testing.T) {
	t.Parallel()
	m := startMembers(t)
	for _, id := range []string{"d1", "d2"} {
		route := map[string]string{"d1": "writer", "d2": "other"}[id]
		call(t, m.Platform, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {id}}, map[string]any{"route": route}, nil)
	}
	a := accessOf{m.iam, "p"}
	robot := a.account(t, "p", "robot")
	key := a.key(t, robot, "k")
	call(t, m.iam, http.MethodPost, "/v1/projects/p/roles", url.Values{"roleId": {"keeper"}}, map[string]any{"grants": []any{map[string]any{
		"permissions": []string{"devices.devices.*"}, "fields": []any{map[string]any{"path": "route", "values": []string{"writer"}}},
	}}}, nil)
	everywhere := func(want int, id string) {
		t.Helper()
		for _, p := range []*process.Platform{m.Platform, m.devices} {
			require.Eventually(t, func() bool { return codeOf(t, p, key, device(id)) == want }, within, time.Millisecond)
		}
	}
	everywhere(http.StatusForbidden, "d1")
	a.bind(t, "projects/p", "b", "projects/p/roles/keeper", robot)
	everywhere(http.StatusOK, "d1")
	everywhere(http.StatusForbidden, "d2")
	sameAnswer(t, m.Platform, m.iam, key, httpCall{method: http.MethodGet, path: "/v1/permissions:mine?resource=projects/p"})
	call(t, m.Platform, http.MethodDelete, "/v1/projects/p/roleBindings/b", nil, nil, nil)
	everywhere(http.StatusForbidden, "d1")

	err := m.iam.Client(key).Call(t.Context(), http.MethodPost, "/v1/projects/p/roleBindings", url.Values{"roleBindingId": {"mine"}}, map[string]any{
		"role": builtIn + "project-editor", "members": []string{"serviceAccount:" + robot},
	}, nil)
	require.Equal(t, fault.Denied, fault.KindOf(err), "%v", err)
	a.bind(t, "projects/p", "admin", builtIn+"administrator", robot)
	require.Eventually(t, func() bool {
		return codeOf(t, m.iam, key, httpCall{method: http.MethodGet, path: "/v1/projects/p/roleBindings"}) == http.StatusOK
	}, within, time.Millisecond)
	err = m.iam.Client(key).Call(t.Context(), http.MethodPost, "/v1/roleBindings", url.Values{"roleBindingId": {"mine"}}, map[string]any{
		"role": builtIn + "administrator", "members": []string{"serviceAccount:" + robot},
	}, nil)
	require.Equal(t, fault.Denied, fault.KindOf(err), "%v", err)

	ada := somebody(t, m.iam, "ada")
	for _, p := range []*process.Platform{m.Platform, m.devices, m.iam} {
		require.Eventually(t, func() bool {
			return codeOf(t, p, ada.Access, httpCall{method: http.MethodGet, path: "/v1/projects/p/devices"}) != http.StatusUnauthorized
		}, within, time.Millisecond)
	}
	there, code := tokenFor(t, m.Platform, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {ada.Refresh}})
	require.Equal(t, http.StatusOK, code, "a session goes on anywhere")
	_, code = tokenFor(t, m.iam, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {ada.Refresh}})
	require.Equal(t, http.StatusUnauthorized, code, "and a refresh token is good once")
	require.NotEmpty(t, there.Access)
	sameAnswer(t, m.Platform, m.iam, "", httpCall{method: http.MethodGet, path: "/.well-known/jwks.json"})

	call(t, m.iam, http.MethodPost, "/v1/projects", url.Values{"projectId": {"new"}}, map[string]any{}, nil)
	call(t, m.iam, http.MethodPost, "/v1/roleBindings", url.Values{"roleBindingId": {"creators"}}, map[string]any{
		"role": builtIn + "project-creator", "members": []string{"user:ada@example.com"},
	}, nil)
	hers := func(p *process.Platform) error {
		return p.Client(there.Access).Call(t.Context(), http.MethodPost, "/v1/projects", url.Values{"projectId": {"hers"}}, map[string]any{}, nil)
	}
	require.Equal(t, "MADE_AT_THE_PLATFORM", fault.ReasonOf(hers(m.iam)))
	require.Eventually(t, func() bool { return hers(m.Platform) == nil }, within, 10*time.Millisecond)
	stop(t, m.Platform)
}

// A service registers itself at the function as at the platform, by the same rules.
func TestMembers_Registry(t *testing.T) {
	t.Parallel()
	m := startMembers(t)
	key, _ := account(t, m.Platform, "inventory", map[string]string{"": builtIn + "service"})
	service := map[string]any{
		"displayName": "Inventory", "multiRegionPolicy": map[string]any{"enabledRegions": []string{"local"}, "defaultControlRegion": "local"},
		"versions": []any{map[string]any{"version": "v1"}},
	}
	create := func(key string) error {
		return m.meta.Client(key).Call(t.Context(), http.MethodPost, "/v1/services", url.Values{"serviceId": {"inventory.example.com"}}, service, nil)
	}
	require.Equal(t, "SERVICE_ACCOUNT_NEEDED", fault.ReasonOf(create(adminKey)))
	require.Eventually(t, func() bool { // as soon as it knows the account
		err := create(key)
		if err != nil {
			require.Equal(t, fault.Denied, fault.KindOf(err), "%v", err)
		}
		return err == nil
	}, within, 10*time.Millisecond)
	get := httpCall{method: http.MethodGet, path: "/v1/services/inventory.example.com"}
	sameAnswer(t, m.Platform, m.meta, adminKey, get)
	require.Contains(t, must(t, m.meta, adminKey, get), "services/scheduler.selvedge.dev", "it uses the platform's own")
	require.Eventually(t, func() bool {
		return strings.Contains(must(t, m.meta, adminKey, httpCall{method: http.MethodGet, path: "/v1/services/devices.selvedge.dev"}), "inventory.example.com")
	}, within, 10*time.Millisecond, "and they see it, which the platform sees to")
	err := m.meta.Client(adminKey).Call(t.Context(), http.MethodPost, "/v1/regions", url.Values{"regionId": {"eu"}}, map[string]any{}, nil)
	require.Equal(t, "ONLY_THE_REGISTRY", fault.ReasonOf(err), "%v", err)
	for _, path := range []string{"/v1/regions", "/v1/services", "/v1/services/-/deployments", "/v1/services/nothing"} {
		c := httpCall{method: http.MethodGet, path: path}
		require.Eventually(t, func() bool { // while the platform sees to what its services are to see
			_, want := send(t, m.Platform, adminKey, c)
			_, got := send(t, m.meta, adminKey, c)
			return plain(t, want) == plain(t, got)
		}, within, 10*time.Millisecond, path)
	}
	stop(t, m.Platform)
}

// One address in front of the platform and its functions is as the platform is, for
// everybody and through every door that HTTP/1.1 has, and for a service that is not the
// platform's own.
func TestMembers_ThroughTheGateway(t *testing.T) {
	t.Parallel()
	m := startMembers(t)
	routes := ""
	for domain, at := range map[string]*process.Platform{"devices": m.devices, "iam": m.iam, "meta": m.meta, "audit": m.audit} {
		routes += domain + ".selvedge.dev=" + at.URL + "\n"
	}
	front := &process.Platform{HTTP: http.DefaultClient}
	front.URL = host(t, gateway.New(), map[string]string{member.URLVariable: m.URL, "SELVEDGE_ROUTES": routes})
	keys := accessOf{m.Platform, "p"}.everybody(t)
	for path, at := range map[string]*process.Platform{
		"/v1/projects/p/devices": m.devices, "/v1/projects/p/roles": m.iam, "/v1/services/-/deployments": m.meta, "/v1/projects/p/auditConfigs": m.audit,
		"/v1/projects/p/timers": m.Platform, "/v1/status": m.Platform,
	} {
		c := httpCall{method: http.MethodGet, path: path}
		// The administrator is who was made last: then they know the others too.
		require.Eventually(t, func() bool { return codeOf(t, at, keys["administrator"], c) == http.StatusOK }, within, 10*time.Millisecond, path)
		require.Equal(t, http.StatusOK, codeOf(t, front, keys["administrator"], c), path)
	}
	everyDoor(t, accessOf{front, "p"}, keys, func(door string) bool {
		return !strings.Contains(door, "gRPC") && door != "entries as they come"
	})

	inventory := &client.Client{URL: serveInventory(t, front), Key: adminKey}
	for _, c := range []struct {
		collection, id string
		object         map[string]any
	}{
		{"sites", "siteId", map[string]any{}},
		{"deviceModels", "deviceModelId", map[string]any{}},
		{"deviceOrders", "deviceOrderId", map[string]any{"deviceModel": "projects/default/deviceModels/x", "site": "projects/default/sites/x", "count": 1}},
	} {
		err := inventory.Call(t.Context(), http.MethodPost, "/v1/projects/default/"+c.collection, url.Values{c.id: {"x"}}, c.object, nil)
		require.NoError(t, err)
	}
	before := accountsOf(t, m.Platform)
	require.NoError(t, inventory.Call(t.Context(), http.MethodDelete, "/v1/projects/default/deviceOrders/x", nil, nil, nil))
	require.Eventually(t, func() bool { return len(accountsOf(t, m.Platform)) == len(before)-1 }, within, 10*time.Millisecond, "the account of an order goes with it")
	stop(t, m.Platform)
}

// A function that is told of another database, or another region, does not start,
// nor beside a platform that is not there.
func TestMembers_BelongToTheirPlatform(t *testing.T) {
	t.Parallel()
	database, other := pgtest.Database(t, pgtest.DSN(t)), pgtest.Database(t, pgtest.DSN(t))
	p := start(t, t.TempDir(), "--database", database)
	elsewhere := start(t, t.TempDir(), "--database", other)
	f := func(reason string, env map[string]string) {
		t.Helper()
		for _, function := range []hosted{devices.New(), iam.New(), meta.New()} {
			err := function.Start(t.Context(), env)
			require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
		}
	}
	f("NOT_CONFIGURED", map[string]string{member.URLVariable: p.URL})
	f("NOT_CONFIGURED", map[string]string{member.DatabaseVariable: database})
	f("ANOTHER_DATABASE", map[string]string{member.URLVariable: p.URL, member.DatabaseVariable: other})
	f("NO_SUCH_REGION", map[string]string{member.URLVariable: p.URL, member.DatabaseVariable: database, member.RegionVariable: "eu"})
	stop(t, elsewhere)
	f("PLATFORM_UNREACHABLE", map[string]string{member.URLVariable: elsewhere.URL, member.DatabaseVariable: other})
	require.Equal(t, "NOT_CONFIGURED", fault.ReasonOf(audit.New().Start(t.Context(), map[string]string{member.URLVariable: p.URL, member.DatabaseVariable: database})))
	stop(t, p)
}
