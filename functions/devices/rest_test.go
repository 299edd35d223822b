package devices_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/devices"
	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
)

// platform is the service behind a server, and who is asked for permissions.
type platform struct {
	*httptest.Server
	service *devices.Service
	// asked are the permissions that were asked for, as "PROJECT PERMISSION".
	asked []string
}

// key is the one key that the platform lets in.
const key = "a key for tests"

// start starts a platform with real storage.
func start(t *testing.T, o devices.Options) *platform {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "devices.db"), devices.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	p := &platform{}
	if o.Authorize == nil {
		o.Authorize = func(r *http.Request, project, permission string) error {
			p.asked = append(p.asked, project+" "+permission)
			if r.Header.Get("Authorization") != "Bearer "+key {
				return &fault.Error{Kind: fault.Denied, Field: permission}
			}
			return nil
		}
	}
	p.service = devices.New(db, o)
	r := chi.NewRouter()
	p.service.Routes(r)
	p.Server = httptest.NewServer(r)
	t.Cleanup(p.Close)
	return p
}

// do sends a request and returns the status and the decoded body.
func (p *platform) do(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+key)
	answer, err := p.Client().Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, answer.Body.Close()) }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	var v map[string]any
	if json.Unmarshal(text, &v) != nil {
		v = map[string]any{"text": string(text)}
	}
	return answer.StatusCode, v
}

// ok is do of a request that succeeds.
func (p *platform) ok(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	status, v := p.do(t, method, path, body)
	require.Equal(t, http.StatusOK, status, "%s %s: %v", method, path, v)
	return v
}

// refused is do of a request that is refused, with "STATUS REASON FIELD".
func (p *platform) refused(t *testing.T, want, method, path, body string) string {
	t.Helper()
	status, v := p.do(t, method, path, body)
	e, ok := v["error"].(map[string]any)
	require.True(t, ok, "%s %s: %v", method, path, v)
	info := e["details"].([]any)[0].(map[string]any)
	field := ""
	if m, ok := info["metadata"].(map[string]any); ok {
		field, _ = m["field"].(string)
	}
	require.Equal(t, want, strings.TrimSpace(http.StatusText(status)+" "+info["reason"].(string)+" "+field), "%s %s: %v", method, path, e["message"])
	return e["message"].(string)
}

func TestREST_DeviceLife(t *testing.T) {
	t.Parallel()
	p := start(t, devices.Options{})
	const base = "/v1/projects/p/devices"
	p.ok(t, "POST", "/v1/projects/p/blueprints?blueprintId=b", `{}`)
	d := p.ok(t, "POST", base+"?deviceId=d", `{"aliases":[{"network":"n","key":"k","value":"a/b c"}],"createTime":"2001-01-01T00:00:00Z"}`)
	require.Equal(t, "projects/p/devices/d", d["name"])
	require.NotContains(t, d["createTime"], "2001", "createTime is output only")
	require.Equal(t, d, p.ok(t, "GET", base+"/d", ""))
	require.Equal(t, d, p.ok(t, "GET", base+":resolve?network=n&key=k&value=a/b%20c", ""))
	p.ok(t, "POST", base, `{"name":"projects/p/devices/e","route":"r"}`)

	list := p.ok(t, "GET", base+"?pageSize=1", "")
	require.Equal(t, []any{d}, list["devices"])
	list = p.ok(t, "GET", base+"?pageSize=1&pageToken="+list["nextPageToken"].(string), "")
	require.Len(t, list["devices"], 1)
	require.Empty(t, list["nextPageToken"])
	require.Equal(t, []any{}, p.ok(t, "GET", "/v1/projects/q/devices", "")["devices"])

	d = p.ok(t, "PATCH", base+"/d", `{"blueprint":"projects/p/blueprints/b"}`)
	require.Len(t, d["aliases"], 1, "without a mask what is empty in the body stays")
	d = p.ok(t, "PATCH", base+"/d?updateMask=aliases", `{"route":"ignored"}`)
	require.NotContains(t, d, "aliases")
	require.NotContains(t, d, "route")
	require.Equal(t, "projects/p/blueprints/b", d["blueprint"])
	p.refused(t, "Not Found NOT_FOUND", "GET", base+":resolve?network=n&key=k&value=a/b%20c", "")
	d = p.ok(t, "PATCH", base+"/d?updateMask=*", `{"name":"projects/p/devices/d","route":"reason"}`)
	require.Equal(t, "reason", d["route"])
	require.NotContains(t, d, "blueprint")

	for range 2 { // Adding again is no error.
		d = p.ok(t, "POST", base+"/d:alias", `{"alias":{"network":"n","key":"k","value":"1"}}`)
		require.Len(t, d["aliases"], 1)
	}
	require.Equal(t, d, p.ok(t, "GET", base+":resolve?network=n&key=k&value=1", ""))
	message := p.refused(t, "Conflict ALIAS_TAKEN aliases", "POST", base+"/e:alias", `{"alias":{"network":"n","key":"k","value":"1"}}`)
	require.Equal(t, "projects/p/devices/d has the alias n/k/1", message)
	p.ok(t, "POST", base+"/d:removeAlias", `{"alias":{"network":"n","key":"k","value":"1"}}`)
	p.refused(t, "Not Found NOT_FOUND alias", "POST", base+"/d:removeAlias", `{"alias":{"network":"n","key":"k","value":"1"}}`)
	p.ok(t, "POST", base+"/e:alias", `{"alias":{"network":"n","key":"k","value":"1"}}`)

	require.Empty(t, p.ok(t, "DELETE", base+"/e", ""))
	p.refused(t, "Not Found NOT_FOUND", "GET", base+"/e", "")
	p.refused(t, "Not Found NOT_FOUND", "DELETE", base+"/e", "")
	p.refused(t, "Not Found NOT_FOUND", "GET", base+":resolve?network=n&key=k&value=1", "")
	p.ok(t, "POST", base+"/d:alias", `{"alias":{"network":"n","key":"k","value":"1"}}`)
}

func TestREST_BlueprintLife(t *testing.T) {
	t.Parallel()
	p := start(t, devices.Options{})
	const base = "/v1/projects/p/blueprints"
	b := p.ok(t, "POST", base+"?blueprintId=b", `{"mappings":[{"eventType":"com.example.climate","fields":[{"field":"temperature","unit":"Cel","labels":{"side":"=left"}}]}]}`)
	require.Equal(t, b, p.ok(t, "GET", base+"/b", ""))
	require.Equal(t, []any{b}, p.ok(t, "GET", base, "")["blueprints"])
	b = p.ok(t, "PATCH", base+"/b", `{"route":"r"}`)
	require.Len(t, b["mappings"], 1)
	p.ok(t, "POST", "/v1/projects/p/devices?deviceId=d", `{"blueprint":"projects/p/blueprints/b"}`)
	message := p.refused(t, "Bad Request FAILED_PRECONDITION name", "DELETE", base+"/b", "")
	require.Equal(t, "projects/p/devices/d uses it", message)
	p.ok(t, "DELETE", "/v1/projects/p/devices/d", "")
	p.ok(t, "DELETE", base+"/b", "")
	p.refused(t, "Not Found NOT_FOUND", "GET", base+"/b", "")
	p.refused(t, "Bad Request NO_BLUEPRINT blueprint", "POST", "/v1/projects/p/devices?deviceId=e", `{"blueprint":"projects/p/blueprints/b"}`)
}

func TestREST_RefusalsNameTheField(t *testing.T) {
	t.Parallel()
	p := start(t, devices.Options{})
	const base = "/v1/projects/p/devices"
	p.ok(t, "POST", base+"?deviceId=d", `{}`)
	f := func(want, method, path, body string) {
		t.Helper()
		p.refused(t, want, method, path, body)
	}
	f("Bad Request INVALID_FIELD deviceId", "POST", base, `{}`)
	f("Bad Request INVALID_NAME device", "POST", base+"?deviceId=d/e", `{}`)
	f("Bad Request INVALID_FIELD name", "POST", base+"?deviceId=d", `{"name":"projects/p/devices/e"}`)
	f("Bad Request INVALID_FIELD name", "POST", base, `{"name":"projects/q/devices/e"}`)
	f("Bad Request INVALID_FIELD name", "POST", base, `{"name":"e"}`)
	f("Conflict ALREADY_EXISTS name", "POST", base+"?deviceId=d", `{}`)
	f("Bad Request UNKNOWN_FIELD rout", "POST", base+"?deviceId=x", `{"rout":"r"}`)
	f("Bad Request UNKNOWN_FIELD aliases[0].Network", "POST", base+"?deviceId=x", `{"aliases":[{"Network":"r"}]}`)
	f("Bad Request INVALID_FIELD aliases[0].key", "POST", base+"?deviceId=x", `{"aliases":[{"network":"r"}]}`)
	f("Bad Request INVALID_FIELD route", "POST", base+"?deviceId=x", `{"route":"processor"}`)
	f("Bad Request INVALID_JSON body", "POST", base+"?deviceId=x", `route=r`)
	f("Request Entity Too Large OUT_OF_RANGE body", "POST", base+"?deviceId=x", `{"route":"`+strings.Repeat("r", 1<<20)+`"}`)
	f("Bad Request INVALID_NAME project", "GET", "/v1/projects/P/devices", "")
	f("Bad Request INVALID_NAME device", "GET", base+"/.d", "")
	f("Bad Request INVALID_NAME device", "GET", base+"/d%2Fe", "")
	f("Bad Request INVALID_PAGE_SIZE pageSize", "GET", base+"?pageSize=-1", "")
	f("Bad Request INVALID_PAGE_TOKEN pageToken", "GET", base+"?pageToken=eA", "")
	f("Bad Request INVALID_FIELD value", "GET", base+":resolve?network=n&key=k", "")
	f("Bad Request INVALID_UPDATE_MASK updateMask", "PATCH", base+"/d?updateMask=createTime", `{}`)
	f("Bad Request INVALID_FIELD name", "PATCH", base+"/d", `{"name":"projects/p/devices/e"}`)
	f("Bad Request INVALID_FIELD route", "PATCH", base+"/d", `{"route":"a b"}`)
	f("Not Found NOT_FOUND", "PATCH", base+"/x", `{"route":"r"}`)
	f("Bad Request UNKNOWN_FIELD network", "POST", base+"/d:alias", `{"network":"n"}`)
	f("Bad Request INVALID_FIELD network", "POST", base+"/d:alias", `{}`)
	f("Not Found NOT_FOUND", "POST", base+"/x:alias", `{"alias":{"network":"n","key":"k","value":"v"}}`)
	f("Bad Request INVALID_FIELD mappings[0].fields[1].kind", "POST", "/v1/projects/p/blueprints?blueprintId=b",
		`{"mappings":[{"eventType":"t","fields":[{"field":"a"},{"field":"b","kind":"gauge"}]}]}`)

	other := p.ok(t, "GET", base+"?pageSize=1", "")["nextPageToken"]
	require.Empty(t, other)
	require.Len(t, p.ok(t, "GET", base, "")["devices"], 1, "nothing refused was kept")
}

// The token of one project's list is of no use in another's.
func TestREST_PageTokenIsOfItsList(t *testing.T) {
	t.Parallel()
	p := start(t, devices.Options{})
	for _, id := range []string{"a", "b"} {
		p.ok(t, "POST", "/v1/projects/p/devices?deviceId="+id, `{}`)
	}
	token := p.ok(t, "GET", "/v1/projects/p/devices?pageSize=1", "")["nextPageToken"].(string)
	require.NotEmpty(t, token)
	p.refused(t, "Bad Request INVALID_PAGE_TOKEN pageToken", "GET", "/v1/projects/q/devices?pageToken="+token, "")
	p.refused(t, "Bad Request INVALID_PAGE_TOKEN pageToken", "GET", "/v1/projects/p/blueprints?pageToken="+token, "")
}

func TestREST_AsksForPermission(t *testing.T) {
	t.Parallel()
	f := func(permission, method, path string) {
		t.Helper()
		p := start(t, devices.Options{})
		r, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, strings.NewReader("{}"))
		require.NoError(t, err)
		answer, err := p.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusForbidden, answer.StatusCode)
		require.Equal(t, []string{"p " + permission}, p.asked)
	}
	for _, c := range []struct{ collection, param string }{{"devices", "deviceId"}, {"blueprints", "blueprintId"}} {
		base := "/v1/projects/p/" + c.collection
		f("devices."+c.collection+".create", "POST", base+"?"+c.param+"=x")
		f("devices."+c.collection+".list", "GET", base)
		f("devices."+c.collection+".get", "GET", base+"/x")
		f("devices."+c.collection+".update", "PATCH", base+"/x")
		f("devices."+c.collection+".delete", "DELETE", base+"/x")
	}
	f("devices.devices.get", "GET", "/v1/projects/p/devices:resolve")
	f("devices.devices.update", "POST", "/v1/projects/p/devices/x:alias")
	f("devices.devices.update", "POST", "/v1/projects/p/devices/x:removeAlias")
}

func TestREST_WithoutAuthorizeNothingIsAllowed(t *testing.T) {
	t.Parallel()
	s := devices.New(nil, devices.Options{})
	r := chi.NewRouter()
	s.Routes(r)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/projects/p/devices", nil))
	require.Equal(t, http.StatusForbidden, w.Code)
}

// A device's credentials go before the device does; if they cannot be taken
// away, it stays.
func TestREST_DeletingTakesCredentials(t *testing.T) {
	t.Parallel()
	var taken []string
	fail := errors.New("store is down")
	var err error
	p := start(t, devices.Options{Deleting: func(_ context.Context, device string) error {
		taken = append(taken, device)
		return err
	}})
	p.ok(t, "POST", "/v1/projects/p/devices?deviceId=d", `{}`)
	err = fail
	p.refused(t, "Internal Server Error INTERNAL", "DELETE", "/v1/projects/p/devices/d", "")
	p.ok(t, "GET", "/v1/projects/p/devices/d", "")
	err = nil
	p.ok(t, "DELETE", "/v1/projects/p/devices/d", "")
	p.refused(t, "Not Found NOT_FOUND", "DELETE", "/v1/projects/p/devices/d", "")
	require.Equal(t, []string{"projects/p/devices/d", "projects/p/devices/d"}, taken)
}

// Both readers, the service itself and the client over HTTP, answer alike.
func TestReader_ServiceAndClientAgree(t *testing.T) {
	t.Parallel()
	p := start(t, devices.Options{})
	a := devicesv1.Alias{Network: "n & m", Key: "k?", Value: "v/1#%"}
	b, err := p.service.CreateBlueprint(t.Context(), devicesv1.Blueprint{Name: "projects/p/blueprints/b", Mappings: []devicesv1.Mapping{{
		EventType: "t", Fields: []devicesv1.FieldMapping{{Field: "x", Labels: map[string]string{"l": "=<é>"}}},
	}}})
	require.NoError(t, err)
	d, err := p.service.CreateDevice(t.Context(), devicesv1.Device{Name: "projects/p/devices/d", Aliases: []devicesv1.Alias{a}, Blueprint: b.Name})
	require.NoError(t, err)

	for _, reader := range []devicesv1.Reader{p.service, devicesv1.NewClient(p.URL+"/", key)} {
		for range 2 { // from the source, then from the cache
			got, err := reader.Device(t.Context(), d.Name)
			require.NoError(t, err)
			require.Equal(t, d, got)
			got, err = reader.Resolve(t.Context(), "p", a)
			require.NoError(t, err)
			require.Equal(t, d, got)
			blueprint, err := reader.Blueprint(t.Context(), b.Name)
			require.NoError(t, err)
			require.Equal(t, b, blueprint)

			for _, name := range []string{"projects/p/devices/x", "projects/q/devices/d", b.Name, "", "projects/p/devices/../devices/d", "projects/p/devices/d?x"} {
				got, err := reader.Device(t.Context(), name)
				require.Nil(t, got)
				require.Equal(t, fault.NotFound, fault.KindOf(err), "%T %q: %v", reader, name, err)
			}
			for _, name := range []string{"projects/p/blueprints/x", d.Name, ""} {
				_, err := reader.Blueprint(t.Context(), name)
				require.Equal(t, fault.NotFound, fault.KindOf(err), "%T %q: %v", reader, name, err)
			}
			for project, x := range map[string]devicesv1.Alias{"q": a, "": a, "p/devices/d": a, "p": {Network: "n & m", Key: "k?", Value: "v/1"}, "pp": {}} {
				_, err := reader.Resolve(t.Context(), project, x)
				require.Equal(t, fault.NotFound, fault.KindOf(err), "%T %q %v: %v", reader, project, x, err)
			}
		}
	}
}

// A client whose key is refused knows nothing about the device.
func TestClient_RefusedKeyIsUnavailable(t *testing.T) {
	t.Parallel()
	p := start(t, devices.Options{})
	_, err := devicesv1.NewClient(p.URL, "wrong").Device(t.Context(), "projects/p/devices/d")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.NotContains(t, err.Error(), "wrong")
}
