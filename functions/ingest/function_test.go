package ingest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/functions/ingest"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/schema"
)

// platform knows two keys: that of a device, and that of a project; both may post
// in the project p.
type platform struct{ schema *schema.Service }

// Authenticate implements iam.Authenticator.
func (platform) Authenticate(_ context.Context, authorization string) (iam.Principal, error) {
	switch strings.TrimPrefix(authorization, "Bearer ") {
	case "device":
		return device, nil
	case "project":
		return project, nil
	}
	return iam.Principal{}, &fault.Error{Kind: fault.Unauthenticated, Reason: "INVALID_TOKEN"}
}

// Schema implements gatewayrpc.Server.
func (p platform) Schema() *schema.Service { return p.schema }

// Call implements gatewayrpc.Server.
func (platform) Call(ctx context.Context, _ *schema.Method, req proto.Message) (proto.Message, error) {
	switch q := req.(type) {
	case *iamv1.TestPermissionsRequest:
		out := &iamv1.TestPermissionsResponse{}
		if q.GetResource() == "projects/p" && slices.Contains(q.GetPermissions(), iam.Publish) {
			out.Permissions = []string{iam.Publish}
		}
		return out, nil
	case *iamv1.ListMyPermissionsRequest:
		return &iamv1.ListMyPermissionsResponse{Member: iam.PrincipalOf(ctx).Member()}, nil
	}
	return nil, &fault.Error{Kind: fault.Unsupported}
}

// Stream implements gatewayrpc.Server.
func (platform) Stream(context.Context, *schema.Method, proto.Message, func(proto.Message) error) error {
	return &fault.Error{Kind: fault.Unsupported}
}

// sink is a broker that keeps what it is posted, or answers a status.
type sink struct {
	mu     sync.Mutex
	status int
	events []event.Event
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items, _, err := event.FromRequest(r, event.Limits{})
	if s.status != 0 || err != nil {
		w.WriteHeader(max(s.status, http.StatusBadRequest))
		return
	}
	for _, i := range items {
		s.events = append(s.events, i.Event)
	}
	w.WriteHeader(http.StatusAccepted)
}

// started is the function in front of a broker, which knows a platform.
func started(t *testing.T, s *sink) *ingest.Function {
	t.Helper()
	p := platform{iamv1.AddTo(new(schema.Registry))}
	calls, err := gatewayrpc.New(gatewayrpc.Options{Servers: []gatewayrpc.Server{p}})
	require.NoError(t, err)
	at := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	f := ingest.New()
	require.NoError(t, f.Start(t.Context(), map[string]string{
		"SELVEDGE_URL": at(iam.Authenticate(p, nil)(calls)), "SELVEDGE_KEY": "project", "K_SINK": at(s),
	}))
	t.Cleanup(func() { require.NoError(t, f.Stop(context.WithoutCancel(t.Context()))) })
	return f
}

// The door stands before a broker of somebody else: what it answers 2xx that broker
// has, stamped as the platform's own would be, and who may not post is asked of the
// platform.
func TestFunction_PostsToTheBroker(t *testing.T) {
	t.Parallel()
	s := &sink{}
	f := started(t, s)
	post := func(key, source, id string) int {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/events", strings.NewReader(`{"temperature":21.5}`))
		for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": source, "Ce-Type": "com.example.climate", "Content-Type": "application/json"} {
			r.Header.Set(name, value)
		}
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		answer := httptest.NewRecorder()
		f.ServeHTTP(answer, r)
		return answer.Code
	}
	own := event.Source("projects/p/devices/d")
	require.Equal(t, http.StatusAccepted, post("device", own, "1"))
	require.Equal(t, http.StatusAccepted, post("project", event.Source("projects/p/devices/e"), "2"))
	require.Equal(t, http.StatusForbidden, post("device", event.Source("projects/p/devices/e"), "3"), "a device posts as itself")
	require.Equal(t, http.StatusForbidden, post("project", event.Source("projects/q/devices/e"), "4"))
	require.Equal(t, http.StatusUnauthorized, post("", own, "5"))
	require.Equal(t, http.StatusUnauthorized, post("guess", own, "6"))
	require.Len(t, s.events, 2)
	require.Equal(t, []string{"1", own, "p", event.RouteProcessor}, []string{
		s.events[0].ID(), s.events[0].Source(), event.Extension(&s.events[0], event.Project), event.Extension(&s.events[0], event.Route),
	})
	require.JSONEq(t, `{"temperature":21.5}`, string(s.events[0].Data()))

	// What the broker did not take the client has.
	for status, want := range map[int]int{
		http.StatusServiceUnavailable: http.StatusServiceUnavailable, http.StatusForbidden: http.StatusServiceUnavailable,
		http.StatusNotFound: http.StatusServiceUnavailable, http.StatusRequestEntityTooLarge: http.StatusBadRequest,
	} {
		s.mu.Lock()
		s.status = status
		s.mu.Unlock()
		require.Equal(t, want, post("device", own, "7"), status)
	}
	require.Len(t, s.events, 2)
}

// A door that does not know its platform or its broker does not open.
func TestFunction_NotConfigured(t *testing.T) {
	t.Parallel()
	all := map[string]string{"SELVEDGE_URL": "http://127.0.0.1:1", "SELVEDGE_KEY": "key", "K_SINK": "http://127.0.0.1:1"}
	for name := range all {
		env := map[string]string{}
		for other, value := range all {
			if other != name {
				env[other] = value
			}
		}
		err := ingest.New().Start(t.Context(), env)
		require.Equal(t, "NOT_CONFIGURED", fault.ReasonOf(err))
		require.ErrorContains(t, err, name)
	}
}
