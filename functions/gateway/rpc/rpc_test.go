package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	functionsrpc "selvedge.dev/functions/gateway/rpc"
	"selvedge.dev/sdk/gateway"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/rpc"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
)

// functionKey is what the gateway proves itself with to the function.
const functionKey = "the-function's-key"

// startFunction runs the sample service as a function of its own, on a database
// of its own.
func startFunction(t *testing.T) (url string, s *schema.Service) {
	t.Helper()
	types := new(schema.Registry)
	secretsv1.AddTo(types)
	s = samplev1.AddTo(types)
	driver, err := sqlite.OpenDriver(t.Context(), filepath.Join(t.TempDir(), "sample.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	policies := one{&resourcev1.MultiRegionPolicy{EnabledRegions: []string{"*"}, DefaultControlRegion: "local"}}
	st := store.New(driver, types, store.Options{Plugins: plugins.Standard(plugins.Options{})})
	hub := watch.NewHub(st, watch.HubOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	served, err := service.New(s, st, service.Options{
		Authorize: service.Allow, Hub: hub, Policies: policies,
		Methods: []service.Custom{
			service.Handle("Fleet.PaintRobot", func(context.Context, *samplev1.PaintRobotRequest) (*samplev1.Robot, error) {
				return nil, errors.New("no paint")
			}),
			service.Handle("Fleet.MoveOrders", func(context.Context, *samplev1.MoveOrdersRequest) (*samplev1.MoveOrdersResponse, error) {
				return &samplev1.MoveOrdersResponse{}, nil
			}),
		},
	})
	require.NoError(t, err)
	h, err := functionsrpc.Function(served, functionKey)
	require.NoError(t, err)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL, s
}

// one gives every name the same policy.
type one struct{ policy *resourcev1.MultiRegionPolicy }

// For implements service.Policies.
func (o one) For(context.Context, resource.Name) (*resourcev1.MultiRegionPolicy, error) {
	return o.policy, nil
}

// startGateway serves a remote service.
func startGateway(t *testing.T, r functionsrpc.Remote) string {
	t.Helper()
	h, err := gatewayrpc.New(gatewayrpc.Options{Servers: []gatewayrpc.Server{r}, Next: http.HandlerFunc(gateway.NotFound)})
	require.NoError(t, err)
	server := httptest.NewServer(gateway.New(gateway.Options{
		Authenticator: keys{}, Calls: h, Ready: func() error { return nil }, Logger: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// A service that runs as a process of its own answers like one in this: calls
// are events, errors and permissions cross, watches stream.
func TestRemote_CallsAreEvents(t *testing.T) {
	t.Parallel()
	url, s := startFunction(t)
	base := startGateway(t, functionsrpc.Remote{Service: s, URL: url, Key: functionKey})

	status, body := do(t, "POST", base+"/v1/projects?projectId=p", adminKey, `{}`)
	require.Equal(t, http.StatusOK, status, body)
	status, body = do(t, "POST", base+"/v1/projects/p/models?modelId=m", key, `{"displayName":"M"}`)
	require.Equal(t, http.StatusOK, status, body)
	status, body = do(t, "GET", base+"/v1/projects/p/models/m", key, "")
	require.Equal(t, http.StatusOK, status, body)
	var m struct{ DisplayName string }
	require.NoError(t, json.Unmarshal([]byte(body), &m))
	require.Equal(t, "M", m.DisplayName)

	refused := func(want int, reason, method, path, credentials, in string) {
		t.Helper()
		status, body := do(t, method, base+path, credentials, in)
		require.Equal(t, want, status, body)
		require.Contains(t, body, reason)
	}
	refused(404, "NOT_FOUND", "GET", "/v1/projects/p/models/x", key, "")
	refused(409, "ALREADY_EXISTS", "POST", "/v1/projects/p/models?modelId=m", key, `{}`)
	refused(403, "sample.models.get", "GET", "/v1/projects/q/models/m", key, "")
	refused(401, "UNAUTHENTICATED", "GET", "/v1/projects/p/models/m", "", "")

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := rpc.Client{URL: base, Key: key}
	var names []string
	for _, m := range s.Methods {
		if m.Desc.Name() != "WatchModels" {
			continue
		}
		err := c.Watch(ctx, m, &samplev1.WatchModelsRequest{Type: resourcev1.WatchType_STATELESS, Parent: "projects/p"}, func(x proto.Message) error {
			for _, change := range x.(*samplev1.WatchModelsResponse).GetModelChanges() {
				names = append(names, change.GetSet().GetModel().GetName())
			}
			cancel()
			return nil
		})
		require.Error(t, err, "it ends with its context")
	}
	require.Equal(t, []string{"projects/p/models/m"}, names)
}

// A function that does not believe the gateway is the operator's affair.
func TestRemote_WrongKeyIsUnavailable(t *testing.T) {
	t.Parallel()
	url, s := startFunction(t)
	base := startGateway(t, functionsrpc.Remote{Service: s, URL: url, Key: "wrong"})
	status, body := do(t, "GET", base+"/v1/projects/p/models/m", key, "")
	require.Equal(t, http.StatusServiceUnavailable, status, body)
	require.Contains(t, body, "GATEWAY_REFUSED")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	base = startGateway(t, functionsrpc.Remote{Service: s, URL: gone.URL, Key: functionKey})
	status, body = do(t, "GET", base+"/v1/projects/p/models/m", key, "")
	require.Equal(t, http.StatusServiceUnavailable, status, body)
}
