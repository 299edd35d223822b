package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// person is a user who signed in.
type person struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// somebody makes a user with a password, who signs in.
func somebody(t *testing.T, p *process.Platform, id string) person {
	t.Helper()
	call(t, p, http.MethodPost, "/v1/users", url.Values{"userId": {id}}, map[string]any{"email": id + "@example.com"}, nil)
	call(t, p, http.MethodPost, "/v1/users/"+id+":setPassword", nil, map[string]any{"password": "correct horse battery"}, nil)
	who, code := tokenFor(t, p, url.Values{"grant_type": {"password"}, "username": {id + "@example.com"}, "password": {"correct horse battery"}})
	require.Equal(t, http.StatusOK, code)
	return who
}

// tokenFor asks the token endpoint.
func tokenFor(t *testing.T, p *process.Platform, form url.Values) (who person, code int) {
	t.Helper()
	code, body := send(t, p, "", httpCall{http.MethodPost, "/v1/token", form.Encode(), []string{"Content-Type: application/x-www-form-urlencoded"}})
	require.NoError(t, json.Unmarshal([]byte(body), &who), body)
	return who, code
}

// A person stays signed in by refresh tokens, each of which is good once, across a
// restart and a new key to sign with, until one is used twice. SPEC A3
func TestAccess_Sessions(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	ada := somebody(t, p, "ada")
	refresh := func(token string) (person, int) {
		t.Helper()
		return tokenFor(t, p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	}
	mine := func(who person) int {
		t.Helper()
		code, _ := send(t, p, who.Access, httpCall{method: http.MethodGet, path: "/v1/permissions:mine"})
		return code
	}
	rotated := shellOf(t, p).ok("iam", "rotate-keys")
	require.Contains(t, rotated, "k2")
	stop(t, p)
	p = start(t, data)
	_, keys := send(t, p, "", httpCall{method: http.MethodGet, path: "/.well-known/jwks.json"})
	require.Equal(t, 2, strings.Count(keys, `"kid"`), keys)
	next, code := refresh(ada.Refresh)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, []int{http.StatusOK, http.StatusOK}, []int{mine(ada), mine(next)})
	_, code = refresh(ada.Refresh)
	require.Equal(t, http.StatusUnauthorized, code)
	_, code = refresh(next.Refresh)
	require.Equal(t, http.StatusUnauthorized, code)
	stop(t, p)
}

// Who may make projects, and nothing else, makes one and uses it; another such
// person does not see it. SPEC A3
func TestAccess_OwnProjects(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	ada, bob := somebody(t, p, "ada"), somebody(t, p, "bob")
	call(t, p, http.MethodPost, "/v1/roleBindings", url.Values{"roleBindingId": {"makers"}}, map[string]any{
		"role": builtIn + "project-creator", "members": []string{"user:ada@example.com", "user:bob@example.com"},
	}, nil)
	f := func(want string, who person, method, path, body string) string {
		t.Helper()
		code, text := send(t, p, who.Access, httpCall{method, path, body, []string{"Content-Type: application/json"}})
		require.Equal(t, want, ofStatus(code), "%s %s: %s", method, path, text)
		return text
	}
	f(passed200, ada, http.MethodPost, "/v1/projects?projectId=hers", `{}`)
	f(passed200, ada, http.MethodPost, "/v1/projects/hers/devices?deviceId=d1", `{}`)
	f(passed200, ada, http.MethodGet, "/v1/projects/hers/devices/d1", "")
	f(passed200, ada, http.MethodGet, "/v3/projects/hers/metricDescriptors", "")
	f(denied403, bob, http.MethodGet, "/v1/projects/hers", "")
	f(denied403, bob, http.MethodGet, "/v1/projects/hers/devices", "")
	f(denied403, bob, http.MethodGet, "/v3/projects/hers/metricDescriptors", "")
	require.NotContains(t, f(passed200, bob, http.MethodGet, "/v1/projects", ""), "projects/hers")
	require.Contains(t, f(passed200, ada, http.MethodGet, "/v1/projects", ""), "projects/hers")

	// What is somebody's already is nobody's for the making.
	keyOf(t, p, "projects/keys")
	require.Contains(t, f("409", ada, http.MethodPost, "/v1/projects?projectId=keys", `{}`), "IN_USE")
	f("409", bob, http.MethodPost, "/v1/projects?projectId=hers", `{}`)

	f(passed200, ada, http.MethodDelete, "/v1/projects/hers/devices/d1", "")
	f(passed200, ada, http.MethodDelete, "/v1/projects/hers", "")
	f(denied403, ada, http.MethodGet, "/v1/projects/hers", "")
	stop(t, p)
}
