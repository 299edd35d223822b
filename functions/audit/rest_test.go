package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/audit/audittest"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	resourcev1 "selvedge.dev/sdk/resource/v1"
)

// byName is an authenticator by which the key is the name.
type byName struct{}

// Authenticate implements [iam.Authenticator].
func (byName) Authenticate(_ context.Context, credentials string) (iam.Principal, error) {
	if credentials == "" {
		return iam.Principal{}, nil
	}
	p, err := iam.ParsePrincipal(credentials[len("Bearer "):])
	if err != nil {
		return p, &fault.Error{Op: "test", Kind: fault.Unauthenticated, Reason: "INVALID_KEY"}
	}
	return p, nil
}

// serve is the world's services behind a gateway as a platform has one.
func (w *world) serve() *httptest.Server {
	var servers []gatewayrpc.Server
	for _, s := range w.set.Services() {
		servers = append(servers, s)
	}
	calls, err := gatewayrpc.New(gatewayrpc.Options{Servers: servers, Next: http.HandlerFunc(gateway.NotFound)})
	require.NoError(w.t, err)
	srv := httptest.NewServer(gateway.New(gateway.Options{
		Authenticator: byName{}, Calls: calls, Ready: func() error { return nil },
		Watcher: w.recorder.Doors(w.store, "gateway.selvedge.dev"),
	}))
	w.t.Cleanup(srv.Close)
	return srv
}

// TestREST_RecordsAreTheResources: calls over HTTP, and what the audit says of
// them over HTTP, replayed, is what there is.
func TestREST_RecordsAreTheResources(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := w.serve()
	ask := func(by, method, path string, q url.Values, body any) (int, []byte) {
		var b []byte
		var err error
		if body != nil {
			b, err = json.Marshal(body)
			require.NoError(t, err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path+"?"+q.Encode(), bytes.NewReader(b))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		if by != "" {
			req.Header.Set("Authorization", "Bearer "+by)
		}
		resp, err := srv.Client().Do(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		out, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, out
	}
	for i := range 30 {
		status, text := ask("projects/p", http.MethodPost, "/v1/projects/p/robots", url.Values{"robotId": {fmt.Sprint("r", i)}}, map[string]any{
			"displayName": "a robot", "spec": map[string]any{"power": i, "pin": "PLANTED-SECRET", "spares": map[string]any{"a.b": map[string]any{"count": 1}}},
			"metadata": map[string]any{"labels": map[string]string{"site": "north"}, "annotations": map[string]string{"note": "x"}},
		})
		require.Equal(t, http.StatusOK, status, string(text))
		if i%2 == 0 {
			status, text = ask("projects/p", http.MethodPatch, fmt.Sprint("/v1/projects/p/robots/r", i), url.Values{"updateMask": {"spec.color,spec.spares"}}, map[string]any{"spec": map[string]any{"color": "red"}})
			require.Equal(t, http.StatusOK, status, string(text))
		}
		if i%5 == 0 {
			status, text = ask("projects/p", http.MethodDelete, fmt.Sprint("/v1/projects/p/robots/r", i), nil, nil)
			require.Equal(t, http.StatusOK, status, string(text))
		}
	}
	require.NoError(t, w.hand())
	remote := audittest.Remote{Types: w.store.Types(), Get: func(_ context.Context, path string, q url.Values) ([]byte, error) {
		status, body := ask("admin", http.MethodGet, path, q, nil)
		if path == "/v1/projects/p/secrets" {
			return []byte("{}"), nil // of a service that is not here
		}
		if status != http.StatusOK {
			return nil, fmt.Errorf("%d: %s", status, body)
		}
		return body, nil
	}}
	require.NoError(t, remote.Check(t.Context(), "p"))
	changes, err := remote.Changes(t.Context(), "projects/p")
	require.NoError(t, err)
	require.Len(t, changes, 1+30+15+6)
	require.NotContains(t, string(bytes.Join(changes, nil)), "PLANTED")

	// One that is missing shows.
	short := audittest.Remote{Types: remote.Types, Get: func(ctx context.Context, path string, q url.Values) ([]byte, error) {
		body, err := remote.Get(ctx, path, q)
		var page struct {
			ResourceChangeLogs []json.RawMessage `json:"resourceChangeLogs"`
		}
		if err == nil && json.Unmarshal(body, &page) == nil && len(page.ResourceChangeLogs) > 0 {
			page.ResourceChangeLogs = page.ResourceChangeLogs[1:]
			return json.Marshal(page)
		}
		return body, err
	}}
	require.Error(t, short.Check(t.Context(), "p"))

	// Who is refused, by whomever, is in the records once.
	n := len(w.rejected())
	status, _ := ask("projects/q", http.MethodDelete, "/v1/projects/p/robots/r1", nil, nil)
	require.Equal(t, http.StatusForbidden, status)
	status, _ = ask("nobody-that-we-know", http.MethodGet, "/v1/projects/p/robots/r1", nil, nil)
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = ask("", http.MethodGet, "/v1/projects/p/robots/r1", nil, nil)
	require.Equal(t, http.StatusUnauthorized, status)
	got := w.rejected()[n:]
	require.Len(t, got, 3)
	require.Equal(t, []string{"projects/q", "", ""}, []string{got[0].GetPrincipal(), got[1].GetPrincipal(), got[2].GetPrincipal()})
	require.Equal(t, []string{"sample.selvedge.dev", "gateway.selvedge.dev", "sample.selvedge.dev"}, []string{got[0].GetService(), got[1].GetService(), got[2].GetService()})
	for _, a := range got {
		require.Equal(t, "127.0.0.1", a.GetClientAddress())
	}
}

// rejected are the records of calls that were refused, the oldest first, of
// whatever project.
func (w *world) rejected() (out []*resourcev1.ActivityLog) {
	w.t.Helper()
	require.NoError(w.t, w.hand())
	changes, err := w.store.Driver().Changes(w.t.Context(), 0, 100_000)
	require.NoError(w.t, err)
	records, err := w.relay.Records(w.t.Context(), changes)
	require.NoError(w.t, err)
	for _, r := range records {
		if r.Activity.GetCategory() == resourcev1.ActivityLog_REJECTED {
			out = append(out, r.Activity)
		}
	}
	return out
}
