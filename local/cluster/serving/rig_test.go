package serving_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/pool/pooltest"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/store/sqlite"
)

// TestMain lets the test's program be a function.
func TestMain(m *testing.M) {
	pooltest.Main()
	os.Exit(m.Run())
}

// rig is a Serving with its store, over HTTP.
type rig struct {
	t      testing.TB
	file   string
	o      serving.Options
	runner *pooltest.Runner
	store  *object.Store
	s      *serving.Serving
	server *httptest.Server
	stop   func()
}

// kinds are those of the store: Serving's, and what these use of the core.
func kinds() []*object.Kind {
	core := func(name, plural string, fields ...string) *object.Kind {
		return &object.Kind{Version: "v1", Name: name, Plural: plural, Spec: fields}
	}
	return append(spec.Kinds(), core("Secret", "secrets", "data"), core("ConfigMap", "configmaps", "data"), core("Event", "events", "count"))
}

// newRig starts Serving with fast times.
func newRig(t testing.TB, change func(*serving.Options)) *rig {
	t.Helper()
	r := &rig{t: t, file: filepath.Join(t.TempDir(), "objects.db"), runner: &pooltest.Runner{}}
	r.o = serving.Options{
		Runner: r.runner, Images: r.runner, Tick: 20 * time.Millisecond, Grace: 5 * time.Second,
		Backoff:   pool.Backoff{First: 20 * time.Millisecond, Max: 100 * time.Millisecond},
		Authorize: func(context.Context, string, string) error { return nil },
	}
	if change != nil {
		change(&r.o)
	}
	r.start()
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
		}
		require.Zero(t, r.runner.Running(), "nothing stays behind")
	})
	return r
}

// start opens the store and runs Serving over it.
func (r *rig) start() {
	t := r.t
	t.Helper()
	db, err := sqlite.Open(t.Context(), r.file, object.Schema)
	require.NoError(t, err)
	r.store, err = object.Open(t.Context(), db, kinds(), object.Options{})
	require.NoError(t, err)
	r.o.Store = r.store
	var handler http.Handler
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { handler.ServeHTTP(w, req) }))
	r.server.Config.Protocols = new(http.Protocols)
	r.server.Config.Protocols.SetHTTP1(true)
	r.server.Config.Protocols.SetUnencryptedHTTP2(true)
	r.server.Start()
	r.o.URL = func() string { return r.server.URL }
	r.s, err = serving.Open(t.Context(), r.o)
	require.NoError(t, err)
	handler = r.s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.s.Run(ctx) }()
	r.stop = func() {
		r.stop = nil
		r.server.CloseClientConnections()
		r.server.Close()
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, db.Close())
	}
}

// manifest is a service of an image, changed by edits of its JSON.
func manifest(name, image string, edits ...func(o object.Object)) object.Object {
	o, err := object.Parse(fmt.Appendf(nil, `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":%q,"namespace":"shop"},
		"spec":{"template":{"spec":{"containers":[{"image":"registry.test/shop/%s:v1"}]}}}}`, name, image))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for _, e := range edits {
		e(o)
	}
	return o
}

// container sets a field of the container.
func container(field string, value any) func(object.Object) {
	return func(o object.Object) {
		list, _ := o.Get("spec", "template", "spec", "containers").([]any)
		c, _ := list[0].(map[string]any)
		c[field] = decoded(value)
	}
}

// at sets any field.
func at(value any, path ...string) func(object.Object) {
	return func(o object.Object) { o.Set(decoded(value), path...) }
}

// annotation sets an annotation of the template.
func annotation(name, value string) func(object.Object) {
	return at(value, "spec", "template", "metadata", "annotations", "autoscaling.knative.dev/"+name)
}

// decoded is a value as it comes out of JSON; a text in braces or brackets is JSON.
func decoded(v any) any {
	if s, ok := v.(string); ok && !strings.HasPrefix(s, "{") && !strings.HasPrefix(s, "[") {
		return s
	}
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		text = string(data)
	}
	o, err := object.Parse([]byte(`{"v":` + text + `}`))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return o["v"]
}

// apply creates or updates an object as kubectl does, through the webhook.
func (r *rig) apply(o object.Object) (object.Object, error) {
	r.t.Helper()
	k := r.store.Kind(object.Key{Group: o.Group(), Name: o.KindName()})
	ctx := iam.WithPrincipal(r.t.Context(), iam.Principal{Kind: iam.Admin, Name: "admin"})
	old, err := r.store.Get(k.Key(), o.Namespace(), o.Name())
	if err != nil {
		old = nil
	}
	o = o.Clone()
	if k.Admit != nil {
		if err := k.Admit(ctx, o, old); err != nil {
			return nil, err
		}
	}
	if old != nil {
		return r.store.Update(ctx, o)
	}
	return r.store.Create(ctx, o)
}

// deploy applies a service and waits until it is ready.
func (r *rig) deploy(o object.Object) object.Object {
	r.t.Helper()
	_, err := r.apply(o)
	require.NoError(r.t, err)
	return r.ready(o.Name(), "True")
}

// wait waits until an object is as it should be.
func (r *rig) wait(k object.Key, name string, is func(o object.Object) bool) object.Object {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for version := r.store.Version(); ; {
		o, err := r.store.Get(k, "shop", name)
		if err == nil && is(o) {
			return o
		}
		if _, version, err = r.store.Watch(ctx, object.Query{Kind: k}, version); err != nil {
			text, _ := json.MarshalIndent(o, "", " ")
			r.t.Fatalf("%s %s is still %s", k.Name, name, text)
		}
	}
}

// ready waits for the condition of a service's present spec.
func (r *rig) ready(name, status string) object.Object {
	r.t.Helper()
	return r.wait(spec.Service, name, func(o object.Object) bool {
		return o.Int("status", "observedGeneration") == o.Generation() && o.Condition("Ready").Status == status
	})
}

// get asks a function and expects an echo's answer.
func (r *rig) get(path string) pooltest.Answer {
	r.t.Helper()
	status, body := r.ask(path)
	require.Equal(r.t, http.StatusOK, status, body)
	var a pooltest.Answer
	require.NoError(r.t, json.Unmarshal([]byte(body), &a), body)
	return a
}

// ask asks a function below the URL of its service.
func (r *rig) ask(path string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.server.URL+"/functions/shop/"+path, nil)
	require.NoError(r.t, err)
	resp, err := r.server.Client().Do(req)
	require.NoError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, string(body)
}
