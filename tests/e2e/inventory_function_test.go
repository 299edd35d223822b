package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	inventory "selvedge.dev/functions/sample-inventory"
	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/tests/process"
)

// A service that func deploys is configured by its environment, answers at a port
// that is not its own, registers itself, ends when it is told to, and finds what
// it had in its database.
func TestInventory_AsAFunction(t *testing.T) {
	t.Parallel()
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		asFunction(t, "SELVEDGE_DATA", t.TempDir())
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		asFunction(t, "SELVEDGE_DATABASE", pgtest.Database(t, pgtest.DSN(t)))
	})
}

// asFunction runs the inventory as a function twice, on the database that the
// variable says.
func asFunction(t *testing.T, variable, database string) {
	t.Helper()
	p := start(t, t.TempDir())
	admin := p.Client(process.AdminKey)
	key, _ := account(t, p, "inventory", map[string]string{"": "services/iam.selvedge.dev/roles/service"})
	f := inventory.New()
	var serving atomic.Pointer[inventory.Function]
	serving.Store(f)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serving.Load().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	c := &client.Client{URL: server.URL, Key: process.AdminKey}
	create := func() error {
		return c.Call(t.Context(), http.MethodPost, "/v1/projects/default/sites", url.Values{"siteId": {"pier"}}, map[string]any{}, nil)
	}
	says := func(ready, alive bool) {
		t.Helper()
		is, err := f.Ready(t.Context())
		require.NoError(t, err)
		require.Equal(t, ready, is)
		is, err = f.Alive(t.Context())
		require.NoError(t, err)
		require.Equal(t, alive, is)
	}

	env := map[string]string{"SELVEDGE_URL": p.URL, "SELVEDGE_KEY": key, "SELVEDGE_ENDPOINT": server.URL}
	require.Equal(t, "NOT_CONFIGURED", fault.ReasonOf(f.Start(t.Context(), env)), "it has no database")
	says(false, true)
	require.Equal(t, fault.Unavailable, fault.KindOf(create()))
	require.NoError(t, f.Stop(t.Context()))

	env[variable] = database
	for again := range 2 {
		f = inventory.New()
		serving.Store(f)
		require.NoError(t, f.Start(t.Context(), env))
		says(true, true)
		if err := create(); again == 0 {
			require.NoError(t, err)
		} else {
			require.Equal(t, fault.Exists, fault.KindOf(err), "%v", err)
		}
		require.Eventually(t, func() bool {
			return admin.Call(t.Context(), http.MethodGet, "/v1/services/inventory.example.com/deployments/local", nil, nil, nil) == nil
		}, startTimeout, 20*time.Millisecond, "it registers itself")
		require.NoError(t, f.Stop(t.Context()))
		says(false, false)
		require.Equal(t, fault.Unavailable, fault.KindOf(create()))
	}
}
