package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/logging"
	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/logstore/intake"
	"selvedge.dev/logstore/memory"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
	"selvedge.dev/triggers/ledger"
)

// world is the service of logging with its doors behind a port, over memory.
type world struct {
	t       testing.TB
	methods map[string]*schema.Method
	engine  *access.Engine
	reg     *logging.Registry
	doors   *logging.Doors
	intake  *intake.Intake
	losses  *ledger.SQL
	url     string
	conn    *grpc.ClientConn
}

// noon is when the worlds of tests are.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// newWorld makes a world that lasts until the test ends.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, methods: map[string]*schema.Method{}, engine: access.New(access.Options{Implied: iam.Implied})}
	dir := t.TempDir()
	driver, err := sqlite.OpenDriver(t.Context(), filepath.Join(dir, "resources.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	types := new(schema.Registry)
	for _, m := range loggingv1.AddTo(types).Methods {
		w.methods[string(m.Desc.Name())] = m
	}
	require.NoError(t, types.Check())
	var st *store.Store
	policies := policy.New(types, &resourcev1.MultiRegionPolicy{EnabledRegions: []string{"local"}, DefaultControlRegion: "local"},
		func(ctx context.Context, typ *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
			return policy.Local(st)(ctx, typ, name)
		})
	references, catalog := reference.New(reference.Options{Region: "local"}), logging.NewCatalog()
	st = store.New(driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: policies}), references), Written: catalog.Written,
	})
	allow, err := iam.NewAuthorizer(w.engine)
	require.NoError(t, err)
	w.reg, err = logging.NewRegistry(st, catalog, service.Options{
		Authorize: allow.Allow, Policies: policies, Planner: references, Hub: watch.NewHub(st, watch.HubOptions{}),
	})
	require.NoError(t, err)
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "ledger.db"), ledger.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w.losses = ledger.New(db)
	entries := memory.New()
	w.intake, err = intake.Open(filepath.Join(dir, "intake"), entries, intake.Options{BatchDelay: time.Millisecond, Now: func() time.Time { return noon }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.intake.Close()) })
	w.doors = logging.NewDoors(logging.Options{
		Registry: w.reg, Intake: w.intake, Reader: entries, Ledger: w.losses, Allow: allow.Allow, Now: func() time.Time { return noon },
	})
	w.serve()
	return w
}

// serve puts the doors behind a port. The credentials are the name of a
// principal.
func (w *world) serve() {
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); name != "" {
				p, err := iam.ParsePrincipal(name)
				if err != nil {
					fault.Write(rw, err)
					return
				}
				r = r.WithContext(iam.WithPrincipal(r.Context(), p))
			}
			next.ServeHTTP(rw, r)
		})
	})
	w.doors.Routes(r)
	l, err := new(net.ListenConfig).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: r, Protocols: protocols}
	done := make(chan struct{})
	go func() { _ = server.Serve(l); close(done) }()
	w.url = "http://" + l.Addr().String()
	w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(w.t, err)
	conn, doors := w.conn, w.doors // others may be served later
	w.t.Cleanup(func() {
		require.NoError(w.t, conn.Close())
		doors.End()
		require.NoError(w.t, server.Close())
		<-done
	})
}

// admin is an administrator's credentials, project those of the project p.
const (
	admin   = "admin"
	project = "projects/p"
)

// google is Google's client with credentials.
func (w *world) google(who string) (loggingpb.LoggingServiceV2Client, context.Context) {
	ctx := w.t.Context()
	if who != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+who)
	}
	return loggingpb.NewLoggingServiceV2Client(w.conn), ctx
}

// send sends a request and returns its answer.
func (w *world) send(who, method, path, body string, header ...string) (int, http.Header, []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+who)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return resp.StatusCode, resp.Header, text
}

// of is the world in another test.
func (w *world) of(t testing.TB) *world {
	other := *w
	other.t = t
	return &other
}

// post posts JSON and returns the answer, which is a success.
func (w *world) post(who, path, body string) []byte {
	w.t.Helper()
	code, _, text := w.send(who, http.MethodPost, path, body, "Content-Type: application/json")
	require.Equal(w.t, http.StatusOK, code, "%s", text)
	return text
}

// failing posts JSON and returns the error of the answer.
func (w *world) failing(who, path, body string) *fault.Error {
	w.t.Helper()
	code, _, text := w.send(who, http.MethodPost, path, body, "Content-Type: application/json")
	require.GreaterOrEqual(w.t, code, 400, "%s", text)
	return fault.Parse("", code, text)
}

// listed are the entries of a list in JSON.
func (w *world) listed(who, body string) []map[string]any {
	w.t.Helper()
	var out struct{ Entries []map[string]any }
	d := json.NewDecoder(bytes.NewReader(w.post(who, "/v2/entries:list", body)))
	d.UseNumber()
	require.NoError(w.t, d.Decode(&out))
	return out.Entries
}

// ids are the insert ids of the entries of the project p that a filter selects.
func (w *world) ids(who, filter string) []string {
	w.t.Helper()
	out := []string{}
	for _, e := range w.listed(who, fmt.Sprintf(`{"resourceNames": ["projects/p"], "filter": %q}`, filter)) {
		out = append(out, e["insertId"].(string))
	}
	return out
}

// call does a method of the registry as an administrator.
func (w *world) call(method string, req proto.Message) error {
	p, err := iam.ParsePrincipal(admin)
	require.NoError(w.t, err)
	_, err = w.reg.Call(iam.WithPrincipal(w.t.Context(), p), w.methods[method], req)
	return err
}

// bucket makes a bucket of the project p.
func (w *world) bucket(id string, b *loggingv1.Bucket) {
	w.t.Helper()
	require.NoError(w.t, w.call("CreateBucket", &loggingv1.CreateBucketRequest{Parent: project, BucketId: id, Bucket: b}))
}

// grant gives a member permissions on a part of the project p.
func (w *world) grant(member, subScope string, permissions ...string) {
	w.t.Helper()
	role := "projects/p/roles/" + hash(member+subScope)
	require.NoError(w.t, w.engine.SetRole(access.Role{Name: role, Grants: []access.Grant{{SubScope: subScope, Permissions: permissions}}}))
	require.NoError(w.t, w.engine.SetBinding(access.Binding{
		Name: "projects/p/roleBindings/" + hash(member+subScope), Scope: project, Role: role, Members: []string{member},
	}))
}

// hash makes an id of a text.
func hash(text string) string { return fmt.Sprintf("x%x", text) }
