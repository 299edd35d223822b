package iam_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	keys "selvedge.dev/functions/iam"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/store/sqlite"
)

// adminKey is the bootstrap administrator's.
const adminKey = "svk_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// open opens the database at path until the test ends.
func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, keys.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// platform is the service behind the middleware and a server, over a real
// database.
type platform struct {
	*httptest.Server
	path string
}

// registry is a devicesv1.Reader of one device.
type registry struct{ devicesv1.Reader }

// Device implements devicesv1.Reader.
func (registry) Device(_ context.Context, name string) (*devicesv1.Device, error) {
	if name != "projects/p/devices/d" {
		return nil, &fault.Error{Name: name, Kind: fault.NotFound}
	}
	return &devicesv1.Device{Name: name}, nil
}

// start starts a platform on the database at path.
func start(t *testing.T, path string) *platform {
	t.Helper()
	keyring := iam.NewKeyring(keys.NewStore(open(t, path)))
	_, err := keyring.Bootstrap(t.Context(), adminKey)
	require.NoError(t, err)
	r := chi.NewRouter()
	r.Use(iam.Authenticate(keyring, nil))
	keys.NewService(keyring, keys.Options{Authorize: iam.Authorize, Devices: registry{}}).Routes(r)
	p := &platform{httptest.NewServer(r), path}
	t.Cleanup(p.Close)
	return p
}

// do sends a request with a key and returns the status and the decoded body.
func (p *platform) do(t *testing.T, key, method, path, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := p.Client().Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, answer.Body.Close()) }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	if key != "" {
		require.NotContains(t, string(text), key, "a key came back")
	}
	var v map[string]any
	require.NoError(t, json.Unmarshal(text, &v), "%s", text)
	return answer.StatusCode, v
}

// make makes a key for a principal and returns it and its id.
func (p *platform) make(t *testing.T, by, principal string) (key, id string) {
	t.Helper()
	status, v := p.do(t, by, "POST", "/v1/keys", `{"principal":"`+principal+`","displayName":"for tests"}`)
	require.Equal(t, http.StatusOK, status, "%v", v)
	require.Equal(t, principal, v["principal"])
	key = v["key"].(string)
	id = strings.TrimPrefix(v["name"].(string), "keys/")
	require.True(t, strings.HasPrefix(key, "svk_"+id+"_"))
	return key, id
}

func TestREST_KeyLife(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "iam.db"))
	key, id := p.make(t, adminKey, "projects/p")
	status, v := p.do(t, adminKey, "GET", "/v1/keys", "")
	require.Equal(t, http.StatusOK, status)
	require.Len(t, v["keys"], 2)
	require.NotContains(t, fmt.Sprint(v), key[17:], "a secret was listed")
	require.NotContains(t, fmt.Sprint(v), "sha256", "a hash was listed")

	status, _ = p.do(t, key, "GET", "/v1/keys?project=p", "")
	require.Equal(t, http.StatusOK, status)
	status, v = p.do(t, adminKey, "DELETE", "/v1/keys/"+id, "")
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, v)
	status, _ = p.do(t, key, "GET", "/v1/keys?project=p", "")
	require.Equal(t, http.StatusUnauthorized, status, "a revoked key works")
	status, _ = p.do(t, adminKey, "DELETE", "/v1/keys/"+id, "")
	require.Equal(t, http.StatusNotFound, status)
}

// Who may manage which keys: a row per caller, a column per key concerned.
func TestREST_WhoManagesWhat(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "iam.db"))
	project, _ := p.make(t, adminKey, "projects/p")
	other, _ := p.make(t, adminKey, "projects/q")
	device, _ := p.make(t, adminKey, "projects/p/devices/d")
	concerned := []string{"admin", "projects/p", "projects/p/devices/d"}
	f := func(by string, want ...int) {
		t.Helper()
		for i, principal := range concerned {
			status, v := p.do(t, by, "POST", "/v1/keys", `{"principal":"`+principal+`"}`)
			require.Equal(t, want[i], status, "make for %s: %v", principal, v)
			_, id := p.make(t, adminKey, principal)
			status, v = p.do(t, by, "DELETE", "/v1/keys/"+id, "")
			require.Equal(t, want[i], status, "revoke of %s: %v", principal, v)
			if want[i] == http.StatusForbidden {
				require.Contains(t, fmt.Sprint(v), "iam.")
			}
		}
		status, _ := p.do(t, by, "DELETE", "/v1/keys/bbbbbbbbbbbb", "")
		require.Equal(t, map[bool]int{true: 404, false: want[0]}[by == adminKey], status, "revoke of what is not there")
	}
	f(adminKey, 200, 200, 200)
	f(project, 403, 403, 200)
	f(other, 403, 403, 403)
	f(device, 403, 403, 403)
	f("", 401, 401, 401)

	list := func(by, query string, want int, principals ...string) {
		t.Helper()
		status, v := p.do(t, by, "GET", "/v1/keys"+query, "")
		require.Equal(t, want, status, "%v", v)
		seen := map[string]bool{}
		if want == http.StatusOK {
			for _, k := range v["keys"].([]any) {
				seen[k.(map[string]any)["principal"].(string)] = true
			}
		}
		require.Len(t, seen, len(principals))
		for _, name := range principals {
			require.True(t, seen[name], name)
		}
	}
	list(adminKey, "", 200, "admin", "projects/p", "projects/q", "projects/p/devices/d")
	list(adminKey, "?project=p", 200, "projects/p", "projects/p/devices/d")
	list(project, "?project=p", 200, "projects/p/devices/d")
	list(project, "", 403)
	list(project, "?project=q", 403)
	list(device, "?project=p", 403)
	list("", "", 401)
}

func TestREST_RefusalsNameTheField(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "iam.db"))
	f := func(want int, field, method, path, body string) {
		t.Helper()
		status, v := p.do(t, adminKey, method, path, body)
		require.Equal(t, want, status, "%v", v)
		require.Contains(t, fmt.Sprint(v), "field:"+field)
	}
	f(400, "principal", "POST", "/v1/keys", `{}`)
	f(400, "principal", "POST", "/v1/keys", `{"principal":"projects/P"}`)
	f(400, "expireTime", "POST", "/v1/keys", `{"principal":"admin","expireTime":"2001-01-01T00:00:00Z"}`)
	f(400, "displayName", "POST", "/v1/keys", `{"principal":"admin","displayName":"`+strings.Repeat("x", 129)+`"}`)
	f(400, "name", "POST", "/v1/keys", `{"principal":"admin","name":"x"}`)
	f(400, "pageSize", "GET", "/v1/keys?pageSize=x", "")
	f(400, "project", "GET", "/v1/keys?project=P", "")
	f(400, "id", "DELETE", "/v1/keys/x", "")
	// A whole key in place of its id is not repeated; do checks that.
	f(400, "id", "DELETE", "/v1/keys/"+adminKey, "")
	status, _ := p.do(t, adminKey, "POST", "/v1/keys", `{"principal":"projects/p/devices/unknown"}`)
	require.Equal(t, http.StatusNotFound, status)
}

func TestREST_Pages(t *testing.T) {
	t.Parallel()
	p := start(t, filepath.Join(t.TempDir(), "iam.db"))
	for range 4 {
		p.make(t, adminKey, "projects/p")
	}
	seen, token, pages := map[string]bool{}, "", 0
	for more := true; more; more = token != "" {
		status, v := p.do(t, adminKey, "GET", "/v1/keys?pageSize=2&pageToken="+token, "")
		require.Equal(t, http.StatusOK, status)
		for _, k := range v["keys"].([]any) {
			seen[k.(map[string]any)["name"].(string)] = true
		}
		token = v["nextPageToken"].(string)
		pages++
	}
	require.Len(t, seen, 5)
	require.Equal(t, 3, pages)
}

func TestREST_RestartKeepsKeysAndRevocations(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "iam.db")
	p := start(t, path)
	kept, _ := p.make(t, adminKey, "projects/p")
	gone, id := p.make(t, adminKey, "projects/p")
	status, _ := p.do(t, adminKey, "DELETE", "/v1/keys/"+id, "")
	require.Equal(t, http.StatusOK, status)
	p.Close()

	p = start(t, path)
	status, _ = p.do(t, kept, "GET", "/v1/keys?project=p", "")
	require.Equal(t, http.StatusOK, status)
	status, _ = p.do(t, gone, "GET", "/v1/keys?project=p", "")
	require.Equal(t, http.StatusUnauthorized, status)
}

func TestService_WithoutAuthorizeNothingIsAllowed(t *testing.T) {
	t.Parallel()
	r := chi.NewRouter()
	keys.NewService(iam.NewKeyring(keys.NewStore(open(t, filepath.Join(t.TempDir(), "iam.db")))), keys.Options{}).Routes(r)
	for method, path := range map[string]string{"GET": "/v1/keys", "POST": "/v1/keys", "DELETE": "/v1/keys/aaaaaaaaaaaa"} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(`{"principal":"admin"}`)))
		require.Equal(t, http.StatusForbidden, w.Code, method)
	}
}

func TestStore_KeepsRecords(t *testing.T) {
	t.Parallel()
	s := keys.NewStore(open(t, filepath.Join(t.TempDir(), "iam.db")))
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	records := []iam.Record{
		{ID: "a", Principal: "admin", DisplayName: "né", Hash: "h1", Bootstrap: true, CreateTime: at},
		{ID: "b", Principal: "projects/p", Hash: "h2", CreateTime: at, ExpireTime: at.Add(time.Hour)},
		{ID: "c", Principal: "projects/p/devices/d", Hash: "h3", CreateTime: at},
		{ID: "d", Principal: "projects/pp/devices/d", Hash: "h4", CreateTime: at},
	}
	for _, r := range records {
		require.NoError(t, s.Create(t.Context(), r))
		require.Equal(t, fault.Exists, fault.KindOf(s.Create(t.Context(), r)))
		got, err := s.Key(t.Context(), r.ID)
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	f := func(q iam.Query, want ...iam.Record) {
		t.Helper()
		got, err := s.List(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f(iam.Query{}, records...)
	f(iam.Query{After: "b"}, records[2:]...)
	f(iam.Query{Limit: 1, After: "a"}, records[1])
	f(iam.Query{Principal: "admin"}, records[0])
	f(iam.Query{Project: "p"}, records[1:3]...)
	f(iam.Query{Project: "p", Kind: iam.Device}, records[2])
	f(iam.Query{Project: "p'; --"})

	require.NoError(t, s.Delete(t.Context(), "a"))
	require.Equal(t, fault.NotFound, fault.KindOf(s.Delete(t.Context(), "a")))
	_, err := s.Key(t.Context(), "a")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Equal(t, fault.Invalid, fault.KindOf(s.Create(t.Context(), iam.Record{ID: "x", Principal: "nobody"})))
}

func TestStore_Down(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "iam.db"), keys.Schema)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	s := keys.NewStore(db)
	_, err = s.Key(t.Context(), "a")
	require.Equal(t, fault.Internal, fault.KindOf(err))
	_, err = s.List(t.Context(), iam.Query{})
	require.Equal(t, fault.Internal, fault.KindOf(err))
	require.Equal(t, fault.Internal, fault.KindOf(s.Delete(t.Context(), "a")))
	require.Equal(t, fault.Internal, fault.KindOf(s.Create(t.Context(), iam.Record{ID: "x", Principal: "admin"})))
	_, err = iam.NewKeyring(s).Authenticate(t.Context(), "Bearer "+adminKey)
	require.Equal(t, fault.Internal, fault.KindOf(err), "a database that is down is no wrong key")
}
