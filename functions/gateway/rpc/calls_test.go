package rpc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway"
	gatewayrpc "selvedge.dev/sdk/gateway/rpc"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/rpc"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
)

// key and adminKey are the keys that the test's authenticator takes: of the
// project p, and of an administrator.
const (
	key      = "the-key"
	adminKey = "the-administrator's-key"
)

// keys knows two keys.
type keys struct{}

// Authenticate implements iam.Authenticator.
func (keys) Authenticate(_ context.Context, authorization string) (iam.Principal, error) {
	switch authorization {
	case "":
		return iam.Principal{}, nil
	case "Bearer " + key:
		return iam.ParsePrincipal("projects/p")
	case "Bearer " + adminKey:
		return iam.ParsePrincipal("admin")
	}
	return iam.Principal{}, &fault.Error{Kind: fault.Unauthenticated}
}

// echo is a server whose objects are what their names say.
type echo struct{ schema *schema.Service }

// Schema implements rpc.Server.
func (e echo) Schema() *schema.Service { return e.schema }

// Call implements rpc.Server.
func (e echo) Call(ctx context.Context, _ *schema.Method, req proto.Message) (proto.Message, error) {
	if iam.PrincipalOf(ctx).Kind == iam.Anonymous {
		return nil, &fault.Error{Op: "echo", Kind: fault.Unauthenticated}
	}
	switch req := req.(type) {
	case *samplev1.GetRobotRequest:
		if strings.HasSuffix(req.GetName(), "missing") {
			return nil, &fault.Error{Op: "echo", Name: req.GetName(), Kind: fault.NotFound, Reason: "GONE", Field: "name"}
		}
		return &samplev1.Robot{Name: req.GetName(), DisplayName: req.GetView().String()}, nil
	case *samplev1.CreateRobotRequest:
		req.Robot.Name = req.GetParent() + "/robots/" + req.GetRobotId()
		return req.GetRobot(), nil
	case *samplev1.UpdateRobotRequest:
		return &samplev1.Robot{Name: req.GetRobot().GetName(), DisplayName: strings.Join(req.GetUpdateMask().GetPaths(), ",")}, nil
	}
	return nil, &fault.Error{Op: "echo", Kind: fault.Internal}
}

// Stream implements rpc.Server.
func (e echo) Stream(_ context.Context, _ *schema.Method, req proto.Message, send func(proto.Message) error) error {
	r, ok := req.(*samplev1.WatchRobotsRequest)
	if !ok {
		return &fault.Error{Op: "echo", Kind: fault.Internal}
	}
	for i := range 3 {
		name := r.GetParent() + "/robots/" + r.GetFilter() + string(rune('a'+i))
		err := send(&samplev1.WatchRobotsResponse{ResumeToken: "t", IsCurrent: i == 2, RobotChanges: []*samplev1.RobotChange{
			{Change: &samplev1.RobotChange_Set_{Set: &samplev1.RobotChange_Set{Robot: &samplev1.Robot{Name: name}}}},
		}})
		if err != nil {
			return err
		}
	}
	if r.GetResumeToken() == "end" {
		return nil
	}
	return &fault.Error{Op: "echo", Kind: fault.Invalid, Reason: "NO_MORE", Field: "filter"}
}

// start serves the echo through the gateway.
func start(t *testing.T) (url string, methods map[string]*schema.Method) {
	t.Helper()
	var types schema.Registry
	s := samplev1.AddTo(&types)
	h, err := gatewayrpc.New(gatewayrpc.Options{Servers: []gatewayrpc.Server{echo{s}}, Next: http.HandlerFunc(gateway.NotFound)})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(gateway.New(gateway.Options{
		Authenticator: keys{}, Calls: h, Ready: func() error { return nil }, Logger: slog.New(slog.DiscardHandler),
		Services: []gateway.Service{gatewayrpc.Doors{Services: types.Services(), OpenAPI: map[string][]byte{s.Domain: []byte("openapi: 3.0.3")}}},
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	methods = map[string]*schema.Method{}
	for _, m := range s.Methods {
		methods[string(m.Desc.Name())] = m
	}
	return server.URL, methods
}

// do makes a REST request and returns the answer's status and body.
func do(t *testing.T, method, url, credentials, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if credentials != "" {
		r.Header.Set("Authorization", "Bearer "+credentials)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func TestREST_PathsQueriesAndBodies(t *testing.T) {
	t.Parallel()
	url, _ := start(t)
	f := func(method, path, body, want string) {
		t.Helper()
		status, got := do(t, method, url+path, key, body)
		require.Equal(t, http.StatusOK, status, got)
		require.JSONEq(t, want, got)
	}
	f("GET", "/v1/projects/p/robots/r?view=NAME", "", `{"name":"projects/p/robots/r","displayName":"NAME"}`)
	f("GET", "/v1/projects/p/regions/eu/robots/r", "", `{"name":"projects/p/regions/eu/robots/r","displayName":"VIEW_UNSPECIFIED"}`)
	f("POST", "/v1/projects/p/robots?robotId=r", `{"displayName":"R"}`, `{"name":"projects/p/robots/r","displayName":"R"}`)
	f("POST", "/v1/projects/p/robots?robot_id=r", `{"display_name":"R"}`, `{"name":"projects/p/robots/r","displayName":"R"}`)
	f("PATCH", "/v1/projects/p/robots/r?updateMask=displayName,spec.color", `{"displayName":"R"}`, `{"name":"projects/p/robots/r","displayName":"displayName,spec.color"}`)
	f("PATCH", "/v1/projects/p/robots/r?update_mask=*", `{"displayName":"R"}`, `{"name":"projects/p/robots/r","displayName":"*"}`)
	f("PATCH", "/v1/projects/p/robots/r?updateMask=metadata.labels.myKey,metadata.labels.%60a,b%60", `{}`, "{\"name\":\"projects/p/robots/r\",\"displayName\":\"metadata.labels.myKey,metadata.labels.`a,b`\"}")
}

func TestREST_ErrorsAreProblems(t *testing.T) {
	t.Parallel()
	url, _ := start(t)
	f := func(method, path, credentials, body string, status int, reason, text string) {
		t.Helper()
		got, answer := do(t, method, url+path, credentials, body)
		require.Equal(t, status, got, answer)
		var p fault.Problem
		require.NoError(t, json.Unmarshal([]byte(answer), &p), answer)
		require.Equal(t, status, p.Error.Code)
		require.Len(t, p.Error.Details, 1)
		require.Equal(t, reason, p.Error.Details[0].Reason)
		require.Contains(t, answer, text)
	}
	f("GET", "/v1/projects/p/robots/missing", key, "", 404, "GONE", `"name":"projects/p/robots/missing"`)
	f("GET", "/v1/projects/p/robots/r", "", "", 401, "UNAUTHENTICATED", "")
	f("POST", "/v1/projects/p/robots?robotId=r", key, `{"colour":1}`, 400, "UNKNOWN_FIELD", `"field":"colour"`)
	f("POST", "/v1/projects/p/robots?robotId=r", key, `{`, 400, "INVALID_REQUEST", "unexpected")
	f("GET", "/v1/projects/p/robots/r?nothing=1", key, "", 400, "INVALID_REQUEST", "nothing")
	f("GET", "/v1/projects/p/planets/r", key, "", 404, "NO_SUCH_DOOR", "/v1/projects/p/planets/r")
	f("GET", "/v1/projects/p/orders/r", key, "", 500, "INTERNAL", "internal error")
}

// The fields of a fault cross Connect, and the stream of a watch does.
func TestClient_CallsAndFaults(t *testing.T) {
	t.Parallel()
	url, methods := start(t)
	c := rpc.Client{URL: url, Key: key}
	got, err := c.Call(t.Context(), methods["GetRobot"], &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	require.NoError(t, err)
	require.Equal(t, "projects/p/robots/r", got.(*samplev1.Robot).GetName())
	_, err = c.Call(t.Context(), methods["GetRobot"], &samplev1.GetRobotRequest{Name: "projects/p/robots/missing"})
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.NotFound, f.Kind)
	require.Equal(t, []string{"GONE", "projects/p/robots/missing", "name"}, []string{f.Reason, f.Name, f.Field})

	var names []string
	recv := func(m proto.Message) error {
		names = append(names, m.(*samplev1.WatchRobotsResponse).GetRobotChanges()[0].GetSet().GetRobot().GetName())
		return nil
	}
	err = c.Watch(t.Context(), methods["WatchRobots"], &samplev1.WatchRobotsRequest{Parent: "projects/p"}, recv)
	require.Equal(t, "NO_MORE", fault.ReasonOf(err))
	require.Equal(t, []string{"projects/p/robots/a", "projects/p/robots/b", "projects/p/robots/c"}, names)
	require.NoError(t, c.Watch(t.Context(), methods["WatchRobots"], &samplev1.WatchRobotsRequest{ResumeToken: "end"}, recv))

	nobody := rpc.Client{URL: "http://127.0.0.1:1", Key: key}
	_, err = nobody.Call(t.Context(), methods["GetRobot"], &samplev1.GetRobotRequest{})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, "NO_ANSWER", fault.ReasonOf(err))
}

func TestEvents_ServerSent(t *testing.T) {
	t.Parallel()
	url, _ := start(t)
	read := func(path, last string) (string, []string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Last-Event-ID", last)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		var lines []string
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			if s.Text() != "" {
				lines = append(lines, s.Text())
			}
		}
		return resp.Header.Get("Content-Type"), lines
	}
	kind, lines := read("/v1/projects/p/robots:watch?type=STATELESS&filter=x&maxChunkSize=5&read_mask=name,spec.color&startingTime=2026-01-01T00:00:00Z", "")
	require.Equal(t, "text/event-stream", kind)
	require.Len(t, lines, 8)
	require.Equal(t, "id: t", lines[0])
	require.Contains(t, lines[1], `projects/p/robots/xa`)
	require.Equal(t, "event: error", lines[6])
	require.Contains(t, lines[7], `"NO_MORE"`)

	_, lines = read("/v1/projects/p/robots:watch", "end")
	require.Len(t, lines, 6, "the last event's id is the resume token")

	_, lines = read("/v1/projects/p/robots:watch?nothing=1", "")
	require.Contains(t, lines[0], "INVALID_PARAMETER")
	_, lines = read("/v1/projects/p/robots:watch?maxChunkSize=many", "")
	require.Contains(t, lines[0], "INVALID_PARAMETER")
	_, lines = read("/v1/projects/p/robots/r:watch", "")
	require.Contains(t, lines[0], "INTERNAL", "an error before the first message has its status")
}

func TestDoors_SchemaAndOpenAPI(t *testing.T) {
	t.Parallel()
	url, _ := start(t)
	for _, path := range []string{"/v1/schema", "/openapi/sample.selvedge.dev.yaml"} {
		status, body := do(t, "GET", url+path, "", "")
		require.Equal(t, http.StatusUnauthorized, status, body)
		status, body = do(t, "GET", url+path, key, "")
		require.Equal(t, http.StatusOK, status, body)
		require.NotEmpty(t, body)
	}
	status, body := do(t, "GET", url+"/openapi/x.yaml", key, "")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, body, "sample.selvedge.dev.yaml")
}
