package kubeapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/local/cluster/kubeapi"
	kubeapiv1 "selvedge.dev/local/cluster/kubeapi/v1"
	"selvedge.dev/local/cluster/object"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
)

// widget is a kind with a status that admits no spec.bad.
var widget = &object.Kind{
	Group: "test.knative.dev", Version: "v1", Name: "Widget", Plural: "widgets", Singular: "widget", Status: true,
	Columns: []object.Column{{Name: "Size", Type: "integer", Of: func(o object.Object) any { return o.Int("spec", "size") }}},
	Admit: func(_ context.Context, o, _ object.Object) error {
		if o.Get("spec", "bad") != nil {
			return &fault.Error{Op: "test", Name: o.Name(), Kind: fault.Invalid, Field: "spec.bad", Err: errors.New("spec.bad is not taken")}
		}
		o.Set("v", "spec", "default")
		return nil
	},
}

// world is a server, and what it asks.
type world struct {
	t     *testing.T
	url   string
	store *object.Store
	api   *kubeapi.Server
	asked []string
	deny  map[string]bool
}

// newWorld starts a server.
func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "o.db"), object.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	block, err := aes.NewCipher(make([]byte, 32))
	require.NoError(t, err)
	seal, err := cipher.NewGCM(block)
	require.NoError(t, err)
	kinds := append(kubeapi.CoreKinds(), widget, &object.Kind{Version: "v1", Name: "Pod", Plural: "pods", Singular: "pod", ReadOnly: true})
	w := &world{t: t, deny: map[string]bool{}}
	w.store, err = object.Open(t.Context(), db, kinds, object.Options{Seal: seal})
	require.NoError(t, err)
	r := chi.NewRouter()
	w.api = kubeapi.New(kubeapi.Options{
		Store: w.store,
		Authorize: func(_ *http.Request, project, permission string) error {
			w.asked = append(w.asked, project+":"+permission)
			if w.deny[permission] {
				return &fault.Error{Kind: fault.Denied, Err: errors.New("no")}
			}
			return nil
		},
		Namespaces: func(context.Context) ([]string, error) { return []string{"p", "default"}, nil },
		Who:        func(context.Context) (string, []string) { return "ada", []string{"people"} },
		Logs: func(_ context.Context, q kubeapi.LogQuery) (io.ReadCloser, error) {
			if q.Pod != "there" {
				return nil, &fault.Error{Kind: fault.NotFound, Err: errors.New("no pod")}
			}
			text, err := json.Marshal(q)
			return io.NopCloser(bytes.NewReader(text)), err
		},
	})
	w.api.Routes(r)
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	w.url = server.URL + kubeapi.Prefix
	return w
}

// do does a request and returns its status and its answer.
func (w *world) do(method, path, media, body string) (int, object.Object) {
	w.t.Helper()
	resp := w.send(method, path, media, "application/json", body)
	defer func() { require.NoError(w.t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	o, err := object.Parse(text)
	require.NoError(w.t, err, "%s", text)
	return resp.StatusCode, o
}

// send sends a request.
func (w *world) send(method, path, media, accept, body string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	return resp
}

const (
	asJSON  = "application/json"
	widgets = "/apis/test.knative.dev/v1/namespaces/p/widgets"
)

func TestServer_Lifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, o := w.do("POST", widgets, asJSON, `{"metadata":{"name":"a","labels":{"l":"1"}},"spec":{"size":3},"status":{"sneaked":true}}`)
	require.Equal(t, 201, code)
	require.Equal(t, "v", o.Text("spec", "default"))
	require.Nil(t, o["status"])
	require.Equal(t, "test.knative.dev/v1", o.APIVersion())
	code, o = w.do("POST", widgets, "application/yaml", "metadata: {name: a}")
	require.Equal(t, 409, code)
	require.Equal(t, "AlreadyExists", o.Text("reason"))
	require.Equal(t, `widgets.test.knative.dev "a" already exists`, o.Text("message"))

	code, o = w.do("PATCH", widgets+"/a", "application/merge-patch+json", `{"spec":{"size":4,"default":null}}`)
	require.Equal(t, 200, code)
	require.EqualValues(t, 4, o.Int("spec", "size"))
	require.EqualValues(t, 2, o.Generation())
	code, o = w.do("PATCH", widgets+"/a/status", "application/merge-patch+json", `{"spec":{"size":5},"status":{"ready":true}}`)
	require.Equal(t, 200, code)
	require.EqualValues(t, 4, o.Int("spec", "size"))
	require.Equal(t, true, o.Get("status", "ready"))
	code, _ = w.do("PATCH", widgets+"/a", "application/merge-patch+json", `{"metadata":{"resourceVersion":"1"},"spec":{"size":9}}`)
	require.Equal(t, 409, code)

	o.Set(json.Number("6"), "spec", "size")
	text, err := json.Marshal(o)
	require.NoError(t, err)
	code, _ = w.do("PUT", widgets+"/a?dryRun=All", asJSON, string(text))
	require.Equal(t, 200, code)
	code, o = w.do("PUT", widgets+"/a", asJSON, string(text))
	require.Equal(t, 200, code)
	require.EqualValues(t, 3, o.Generation())
	code, o = w.do("PUT", widgets+"/a", asJSON, string(text))
	require.Equal(t, 409, code)
	require.Equal(t, "Conflict", o.Text("reason"))

	code, o = w.do("GET", widgets+"?labelSelector=l%3D1", "", "")
	require.Equal(t, 200, code)
	require.Equal(t, "WidgetList", o.KindName())
	require.Len(t, o["items"], 1)
	code, o = w.do("GET", "/apis/test.knative.dev/v1/widgets?labelSelector=l%3D2", "", "")
	require.Equal(t, 200, code)
	require.Empty(t, o["items"])

	code, _ = w.do("DELETE", widgets+"/a", asJSON, `{"preconditions":{"uid":"other"}}`)
	require.Equal(t, 409, code)
	code, o = w.do("DELETE", widgets+"/a", asJSON, `{"propagationPolicy":"Orphan"}`)
	require.Equal(t, 422, code)
	require.Contains(t, o.Text("message"), "Orphan")
	code, o = w.do("DELETE", widgets+"/a", "", "")
	require.Equal(t, 200, code)
	require.Equal(t, "Success", o.Text("status"))
	code, o = w.do("GET", widgets+"/a", "", "")
	require.Equal(t, 404, code)
	require.Equal(t, "NotFound", o.Text("reason"))
}

func TestServer_Refuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := func(method, path, media, body string, code int, reason string) {
		t.Helper()
		got, o := w.do(method, path, media, body)
		require.Equal(t, code, got, "%s %s: %v", method, path, o)
		require.Equal(t, reason, o.Text("reason"))
		require.Equal(t, "Failure", o.Text("status"))
		require.NotEmpty(t, o.Text("message"))
	}
	f("POST", widgets, asJSON, `{"metadata":{"name":"a"},"spec":{"bad":1}}`, 422, "Invalid")
	f("POST", widgets, asJSON, `{"metadata":{"name":"A"}}`, 422, "Invalid")
	f("POST", widgets, asJSON, `{"metadata":{"name":"a","namespace":"q"}}`, 400, "BadRequest")
	f("POST", widgets, asJSON, `{"kind":"Other","metadata":{"name":"a"}}`, 400, "BadRequest")
	f("POST", widgets, asJSON, `[`, 400, "BadRequest")
	f("POST", widgets, "text/plain", `{}`, 415, "UnsupportedMediaType")
	f("POST", widgets, "a/b/c", `{}`, 400, "BadRequest")
	f("POST", widgets, "application/vnd.kubernetes.protobuf", "k8s\x00", 400, "BadRequest")
	f("POST", widgets+"/a", asJSON, `{}`, 405, "MethodNotAllowed")
	f("POST", "/apis/test.knative.dev/v1/widgets", asJSON, `{"metadata":{"name":"a"}}`, 404, "NotFound")
	f("PATCH", widgets+"/a", "application/apply-patch+yaml", `{}`, 415, "UnsupportedMediaType")
	f("PATCH", widgets+"/a", asJSON, `{}`, 415, "UnsupportedMediaType")
	f("PATCH", widgets+"/a", "application/merge-patch+json", `{}`, 404, "NotFound")
	f("GET", widgets+"?labelSelector=%3D", "", "", 422, "Invalid")
	f("GET", widgets+"?watch=true&resourceVersion=x", "", "", 400, "BadRequest")
	f("GET", widgets+"?watch=true&timeoutSeconds=x", "", "", 400, "BadRequest")
	f("GET", "/apis/test.knative.dev/v2/namespaces/p/widgets", "", "", 404, "NotFound")
	f("GET", widgets+"/a/scale", "", "", 404, "NotFound")
	f("GET", "/api/v1/namespaces?watch=1", "", "", 405, "MethodNotAllowed")
	f("GET", "/api/v1/namespaces/none", "", "", 404, "NotFound")
	f("POST", "/api/v1/namespaces/p/pods", asJSON, `{}`, 405, "MethodNotAllowed")
	f("DELETE", "/api", "", "", 405, "MethodNotAllowed")
	f("GET", "/nothing", "", "", 404, "NotFound")
	f("GET", "/openapi/v2", "", "", 404, "NotFound")
	f("POST", widgets, asJSON, `{"metadata":{"name":"`+strings.Repeat("a", 4<<20)+`"}}`, 413, "RequestEntityTooLarge")
	w.deny["test.widgets.create"] = true
	f("POST", widgets, asJSON, `{"metadata":{"name":"a"}}`, 403, "Forbidden")
}

func TestServer_AsksForEachPermission(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := func(method, path, want string) {
		t.Helper()
		w.asked = nil
		w.do(method, path, asJSON, `{}`)
		require.Equal(t, []string{want}, w.asked, "%s %s", method, path)
	}
	f("GET", widgets, "p:test.widgets.list")
	f("GET", widgets+"/a", "p:test.widgets.get")
	f("GET", "/apis/test.knative.dev/v1/widgets", ":test.widgets.list")
	f("POST", widgets, "p:test.widgets.create")
	f("PUT", widgets+"/a", "p:test.widgets.update")
	f("PATCH", widgets+"/a/status", "p:test.widgets.update")
	f("DELETE", widgets+"/a", "p:test.widgets.delete")
	f("DELETE", widgets, "p:test.widgets.delete")
	f("GET", "/api/v1/namespaces/p/secrets/s", "p:cluster.secrets.access")
	f("GET", "/api/v1/namespaces/p/pods/x/log", "p:cluster.podLogs.get")
	w.asked = nil
	w.do("GET", "/api/v1/namespaces", "", "")
	require.Empty(t, w.asked, "those that the caller sees")
	require.Subset(t, kubeapi.Permissions(w.store.Kinds()), []string{"test.widgets.update", "cluster.podLogs.get", "cluster.secrets.create"})
	require.NotContains(t, kubeapi.Permissions(w.store.Kinds()), "cluster.pods.create")
}

func TestServer_DiscoveryNamesEveryKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, groups := w.do("GET", "/apis", "", "")
	found := 0
	for _, at := range []string{"/api/v1", "/apis/test.knative.dev/v1", "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"} {
		code, list := w.do("GET", at, "", "")
		require.Equal(t, 200, code)
		require.Equal(t, "APIResourceList", list.KindName())
		for _, r := range list["resources"].([]any) {
			if !strings.Contains(object.Object(r.(map[string]any)).Text("name"), "/") {
				found++
			}
		}
		code, doc := w.do("GET", "/openapi/v3"+at, "", "")
		require.Equal(t, 200, code)
		require.NotEmpty(t, doc.Get("paths"))
	}
	require.Equal(t, len(w.store.Kinds()), found)
	require.Len(t, groups["groups"], 3)
	code, group := w.do("GET", "/apis/test.knative.dev", "", "")
	require.Equal(t, 200, code)
	require.Equal(t, "test.knative.dev/v1", group.Text("preferredVersion", "groupVersion"))
	_, index := w.do("GET", "/openapi/v3", "", "")
	require.Contains(t, index["paths"], "apis/test.knative.dev/v1")
	code, _ = w.do("GET", "/version", "", "")
	require.Equal(t, 200, code)
}

func TestServer_WatchFollowsFromAVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do("POST", widgets, asJSON, `{"metadata":{"name":"a"}}`)
	resp := w.send("GET", widgets+"?watch=true&sendInitialEvents=true&allowWatchBookmarks=true", "", asJSON, "")
	defer func() { require.NoError(t, resp.Body.Close()) }()
	lines := bufio.NewScanner(resp.Body)
	next := func() (string, object.Object) {
		t.Helper()
		require.True(t, lines.Scan(), "%v", lines.Err())
		o, err := object.Parse(lines.Bytes())
		require.NoError(t, err)
		in, ok := o["object"].(map[string]any)
		require.True(t, ok)
		return o.Text("type"), in
	}
	typ, o := next()
	require.Equal(t, "ADDED a", typ+" "+o.Name())
	typ, o = next()
	require.Equal(t, "BOOKMARK", typ)
	require.Equal(t, "true", o.Annotations()["k8s.io/initial-events-end"])
	w.do("PATCH", widgets+"/a", "application/merge-patch+json", `{"spec":{"size":1}}`)
	w.do("DELETE", widgets+"/a", "", "")
	typ, o = next()
	require.Equal(t, "MODIFIED a", typ+" "+o.Name())
	from := o.ResourceVersion()
	typ, _ = next()
	require.Equal(t, "DELETED", typ)

	// One that resumes gets what came after, as a table if it wants that.
	resumed := w.send("GET", widgets+"?watch=true&timeoutSeconds=1&resourceVersion="+from, "", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "")
	defer func() { require.NoError(t, resumed.Body.Close()) }()
	lines = bufio.NewScanner(resumed.Body)
	typ, o = next()
	require.Equal(t, "DELETED", typ)
	require.Equal(t, "Table", o.KindName())
	require.False(t, lines.Scan(), "it ends with its time")

	gone := w.send("GET", widgets+"?watch=true&resourceVersion=999", "", asJSON, "")
	defer func() { require.NoError(t, gone.Body.Close()) }()
	lines = bufio.NewScanner(gone.Body)
	typ, o = next()
	require.Equal(t, "ERROR", typ)
	require.EqualValues(t, 410, o.Int("code"))
}

// A platform that stops does not wait for who watches.
func TestServer_EndsWatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resp := w.send("GET", widgets+"?watch=true", "", asJSON, "")
	defer func() { require.NoError(t, resp.Body.Close()) }()
	w.api.End()
	_, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
}

func TestServer_TablesAreForPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do("POST", widgets, asJSON, `{"metadata":{"name":"a"},"spec":{"size":7}}`)
	resp := w.send("GET", widgets, "", "application/json;as=Table;g=meta.k8s.io;v=v1, application/json", "")
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	o, err := object.Parse(text)
	require.NoError(t, err)
	row, ok := o["rows"].([]any)[0].(map[string]any)
	require.True(t, ok)
	require.Equal(t, []any{"a", json.Number("7")}, row["cells"].([]any)[:2])
	require.Equal(t, "PartialObjectMetadata", object.Object(row["object"].(map[string]any)).KindName())
}

func TestServer_ReadsProtobufOfItsOwnKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, err := proto.Marshal(&kubeapiv1.Secret{Metadata: &kubeapiv1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"k": []byte("v")}, StringData: map[string]string{"l": "w"}})
	require.NoError(t, err)
	body, err := proto.Marshal(&kubeapiv1.Unknown{TypeMeta: &kubeapiv1.TypeMeta{ApiVersion: "v1", Kind: "Secret"}, Raw: raw})
	require.NoError(t, err)
	code, o := w.do("POST", "/api/v1/namespaces/p/secrets", "application/vnd.kubernetes.protobuf", "k8s\x00"+string(body))
	require.Equal(t, 201, code, "%v", o)
	require.Equal(t, map[string]string{"k": "dg==", "l": "dw=="}, o.Strings("data"))
	require.Equal(t, "Opaque", o.Text("type"))
	code, o = w.do("PATCH", "/api/v1/namespaces/p/secrets/s", "application/strategic-merge-patch+json", `{"immutable":true,"data":{"k":"%"}}`)
	require.Equal(t, 422, code, "%v", o)
	w.do("PATCH", "/api/v1/namespaces/p/secrets/s", "application/strategic-merge-patch+json", `{"immutable":true}`)
	code, _ = w.do("PATCH", "/api/v1/namespaces/p/secrets/s", "application/strategic-merge-patch+json", `{"data":{"k":"eA=="}}`)
	require.Equal(t, 422, code, "it is immutable")
}

func TestServer_AnswersQuestionsAboutOneself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deny["test.widgets.update"] = true
	f := func(spec string, want bool) {
		t.Helper()
		code, o := w.do("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asJSON, `{"spec":{"resourceAttributes":`+spec+`}}`)
		require.Equal(t, 201, code)
		require.Equal(t, want, o.Get("status", "allowed"), spec)
	}
	f(`{"group":"test.knative.dev","resource":"widgets","verb":"get","namespace":"p"}`, true)
	f(`{"group":"test.knative.dev","resource":"widgets","verb":"patch","namespace":"p"}`, false)
	f(`{"resource":"pods","subresource":"log","verb":"get","namespace":"p"}`, true)
	f(`{"resource":"none","verb":"get","namespace":"p"}`, false)
	require.Contains(t, w.asked, "p:cluster.podLogs.get")
	_, o := w.do("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", asJSON, `{}`)
	require.Equal(t, "ada", o.Text("status", "userInfo", "username"))
	code, _ := w.do("GET", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", "")
	require.Equal(t, 405, code)
}

func TestServer_Logs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, o := w.do("GET", "/api/v1/namespaces/p/pods/there/log?container=c&tailLines=5&timestamps=true&sinceTime=2026-01-02T03:04:05Z&limitBytes=9", "", "")
	require.Equal(t, 200, code)
	require.JSONEq(t, `{"Namespace":"p","Pod":"there","Container":"c","Follow":false,"Previous":false,"Timestamps":true,"Since":"2026-01-02T03:04:05Z","Tail":5,"Limit":9}`, marshal(t, o))
	code, _ = w.do("GET", "/api/v1/namespaces/p/pods/gone/log", "", "")
	require.Equal(t, 404, code)
	for _, bad := range []string{"follow=x", "tailLines=-1", "sinceTime=x", "sinceSeconds=x"} {
		code, _ = w.do("GET", "/api/v1/namespaces/p/pods/there/log?"+bad, "", "")
		require.Equal(t, 400, code, bad)
	}
}

// marshal is v as JSON.
func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func TestServer_NamespacesAreProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, o := w.do("GET", "/api/v1/namespaces", "", "")
	require.Len(t, o["items"], 2)
	code, o := w.do("GET", "/api/v1/namespaces/p", "", "")
	require.Equal(t, 200, code)
	require.Equal(t, "Active", o.Text("status", "phase"))
	code, _ = w.do("GET", "/api/v1/namespaces/dapr-system", "", "")
	require.Equal(t, 404, code)
}
