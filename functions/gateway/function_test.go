package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	functionsgateway "selvedge.dev/functions/gateway"
	"selvedge.dev/sdk/fault"
)

func TestFunction_NotConfigured(t *testing.T) {
	t.Parallel()
	const fine = "http://platform.example.com"
	for _, c := range []struct{ url, routes, field, says string }{
		{"", "", "SELVEDGE_URL", "SELVEDGE_URL is not set"},
		{"platform.example.com", "", "SELVEDGE_URL", "no URL of http or https"},
		{"ftp://platform.example.com", "", "SELVEDGE_URL", "no URL of http or https"},
		{"http://", "", "SELVEDGE_URL", "with a host"},
		{"http://:8080", "", "SELVEDGE_URL", "with a host"},
		{"http:platform", "", "SELVEDGE_URL", "with a host"},
		{"http://%zz", "", "SELVEDGE_URL", "no URL"},
		{"http://me:hush@platform.example.com", "", "SELVEDGE_URL", "has a user"},
		{"http://me:hush@\x7f", "", "SELVEDGE_URL", "no URL"},
		{fine + "?a=hush", "", "SELVEDGE_URL", "a query or a fragment"},
		{fine + "#hush", "", "SELVEDGE_URL", "a query or a fragment"},
		{fine, "http://me:hush@devices.example.com", "SELVEDGE_ROUTES", "entry 1 is not DOMAIN=URL"},
		{fine, "iam.selvedge.dev=http://iam.example.com,devices.selvedge.dev", "SELVEDGE_ROUTES", "entry 2 is not DOMAIN=URL"},
		{fine, "none.selvedge.dev=http://none.example.com", "SELVEDGE_ROUTES", `"none.selvedge.dev" is no service of the platform: these are ["audit.selvedge.dev"`},
		{fine, "=http://none.example.com", "SELVEDGE_ROUTES", `"" is no service`},
		{fine, "iam.selvedge.dev=http://a.example.com iam.selvedge.dev=http://a.example.com", "SELVEDGE_ROUTES", "iam.selvedge.dev is there twice"},
		{fine, "iam.selvedge.dev=", "SELVEDGE_ROUTES", "iam.selvedge.dev: the address is no URL"},
		{fine, "iam.selvedge.dev=iam.example.com", "SELVEDGE_ROUTES", "iam.selvedge.dev: the address is no URL"},
		{fine, "iam.selvedge.dev=http://me:hush@iam.example.com", "SELVEDGE_ROUTES", "iam.selvedge.dev: the address has a user"},
		{fine, "iam.selvedge.dev=http://me:hush@iam.example.com:port", "SELVEDGE_ROUTES", "iam.selvedge.dev: the address is no URL"},
	} {
		f := functionsgateway.New()
		err := f.Start(t.Context(), map[string]string{"SELVEDGE_URL": c.url, "SELVEDGE_ROUTES": c.routes})
		var e *fault.Error
		require.ErrorAs(t, err, &e, "%q %q", c.url, c.routes)
		require.Equal(t, fault.Invalid, e.Kind)
		require.Equal(t, "NOT_CONFIGURED", e.Reason)
		require.Equal(t, c.field, e.Field, "%q %q", c.url, c.routes)
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "hush")
		ready, err := f.Ready(t.Context())
		require.NoError(t, err)
		require.False(t, ready)
	}
}

// It answers from Start to Stop, and below the path of an address.
func TestFunction_FromStartToStop(t *testing.T) {
	t.Parallel()
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.RequestURI))
	}))
	t.Cleanup(platform.Close)
	f := functionsgateway.New()
	check := func(status int, ready bool) string {
		t.Helper()
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/projects/p/devices/d", nil))
		require.Equal(t, status, w.Code)
		is, err := f.Ready(t.Context())
		require.NoError(t, err)
		require.Equal(t, ready, is)
		return w.Body.String()
	}
	require.Contains(t, check(http.StatusServiceUnavailable, false), "NOT_STARTED")
	require.NoError(t, f.Start(t.Context(), map[string]string{"SELVEDGE_URL": platform.URL + "/base/", "SELVEDGE_ROUTES": " ,\n"}))
	require.Equal(t, "/base/v1/projects/p/devices/d", check(http.StatusOK, true))
	require.NoError(t, f.Stop(t.Context()))
	require.Contains(t, check(http.StatusServiceUnavailable, false), "NOT_STARTED")
}
