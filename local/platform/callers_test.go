package platform

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/registry"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// A proof is made once in a while for each caller of each function, and never for
// another.
func TestCallers_ProofsAreKeptForAWhile(t *testing.T) {
	t.Parallel()
	now, made := time.Unix(1, 0), 0
	var unable error
	c := &callers{now: func() time.Time { return now }, kept: map[caller]proof{}, sign: func(who iam.Principal, audience string) (string, error) {
		made++
		return who.Name + who.Email + " " + audience, unable
	}}
	f := func(who iam.Principal, function, want string, times int) {
		t.Helper()
		token, err := c.prove(who, function)
		require.NoError(t, err)
		require.Equal(t, want, token)
		require.Equal(t, times, made)
	}
	ada := iam.Principal{Kind: iam.User, Name: "users/ada", Email: "@a"}
	f(ada, "p/f", "users/ada@a functions/p/f", 1)
	f(ada, "p/f", "users/ada@a functions/p/f", 1)
	f(ada, "p/g", "users/ada@a functions/p/g", 2)
	f(iam.Principal{Kind: iam.User, Name: "users/ada", Email: "@b"}, "p/f", "users/ada@b functions/p/f", 3)
	f(iam.Principal{Kind: iam.Admin, Name: "admin"}, "p/f", "admin functions/p/f", 4)
	now = now.Add(callerFresh)
	f(ada, "p/f", "users/ada@a functions/p/f", 5)

	unable = errors.New("no key")
	_, err := c.prove(ada, "p/h")
	require.ErrorIs(t, err, unable)
}

// ask makes a request to a platform as its administrator, and returns the answer.
func ask(t *testing.T, p *Platform, path, body string) (answer struct{ Secret string }) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+"/v1/"+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+testKey)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	require.Equal(t, http.StatusOK, resp.StatusCode, path)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return answer
}

// testKey is the administrator's key of the tests here.
const testKey = "a-key-of-this-test"

// The platform reaches a service that is a function behind its own door, as itself
// and in the service's own project alone; to others it proves itself by credentials.
func TestItself_ReachesFunctionsOfTheService(t *testing.T) {
	t.Parallel()
	p, err := Open(t.Context(), Config{Data: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", AdminKey: testKey, ClosedFunctions: true})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-stopped)
		require.NoError(t, p.Close())
	})
	const account = "projects/a/serviceAccounts/s"
	ask(t, p, "projects/a/serviceAccounts?serviceAccountId=s", `{}`)
	ask(t, p, "roleBindings?roleBindingId=a", `{"role":"services/iam.selvedge.dev/roles/service","members":["serviceAccount:`+account+`"]}`)
	r, err := registry.Open(t.Context(), registry.Options{
		Meta: &rpc.Client{URL: p.URL(), Key: ask(t, p, account+"/serviceAccountKeys?serviceAccountKeyId=k", `{}`).Secret}, Region: "local",
		Service:    registry.Service{Versions: []*schema.Service{{Domain: "inventory.example.com", Version: "v1"}}},
		Deployment: registry.Deployment{Endpoint: p.URL() + "/functions/a/inventory"},
	})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	require.Eventually(t, func() bool { return p.neighbours.project("inventory.example.com") == "a" }, 20*time.Second, 5*time.Millisecond)

	get := func(transport http.RoundTripper, url string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		resp, err := transport.RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	own, function := itself{p, "inventory.example.com"}, p.URL()+"/functions/"
	require.Equal(t, http.StatusNotFound, get(own, function+"a/inventory"), "it is let in, and there is no such function")
	require.Equal(t, http.StatusUnauthorized, get(own, function+"b/secret"), "of another project")
	require.Equal(t, http.StatusUnauthorized, get(itself{p, "other.example.com"}, function+"a/inventory"), "another service")
	require.Equal(t, http.StatusUnauthorized, get(http.DefaultTransport, function+"a/inventory"))
	require.Equal(t, http.StatusUnauthorized, get(own, p.URL()+"/v1/projects/a/devices"), "the platform takes no such token elsewhere")

	elsewhere := make(chan http.Header, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere <- r.Header }))
	t.Cleanup(other.Close)
	require.Equal(t, http.StatusOK, get(own, other.URL+"/x"))
	header := <-elsewhere
	require.NotEmpty(t, header.Get("Authorization"))
	require.Empty(t, header.Get(iam.PlatformHeader))
}
