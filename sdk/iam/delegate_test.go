package iam_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/iam"
)

// Who has the function's key is whom he says; nobody else is let in.
func TestDelegated_OnlyWithTheKey(t *testing.T) {
	t.Parallel()
	serve := func(key string) *httptest.Server {
		server := httptest.NewServer(iam.Delegated(key, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Who", iam.PrincipalOf(r.Context()).Name)
		})))
		t.Cleanup(server.Close)
		return server
	}
	f := func(status int, serverKey, clientKey, name string) {
		t.Helper()
		var p iam.Principal
		if name != "" {
			var err error
			p, err = iam.ParsePrincipal(name)
			require.NoError(t, err)
		}
		r, err := http.NewRequestWithContext(iam.WithPrincipal(t.Context(), p), http.MethodPost, serve(serverKey).URL, nil)
		require.NoError(t, err)
		r.Header.Set("Selvedge-Principal", "admin")
		resp, err := iam.Delegate(clientKey, nil).RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode)
		if status == http.StatusOK {
			require.Equal(t, name, resp.Header.Get("Who"))
		}
	}
	f(200, "k", "k", "projects/p")
	f(200, "k", "k", "admin")
	f(200, "k", "k", "")
	f(401, "k", "x", "admin")
	f(401, "k", "", "admin")
	f(401, "", "", "admin")
}
