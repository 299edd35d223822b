package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	functionsgateway "selvedge.dev/functions/gateway"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/ledger"
)

// keys knows one administrator and one project.
type keys struct{}

// Authenticate implements iam.Authenticator.
func (keys) Authenticate(_ context.Context, authorization string) (iam.Principal, error) {
	switch authorization {
	case "":
		return iam.Principal{}, nil
	case "Bearer admin":
		return iam.ParsePrincipal("admin")
	case "Bearer p":
		return iam.ParsePrincipal("projects/p")
	}
	return iam.Principal{}, &fault.Error{Kind: fault.Unauthenticated}
}

// doors is a service made of a func.
type doors func(r chi.Router)

// Routes implements gateway.Service.
func (d doors) Routes(r chi.Router) { d(r) }

// get asks h for path with key and returns status and problem.
func get(t *testing.T, h http.Handler, method, path, key string) (int, fault.Problem, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var p fault.Problem
	if w.Code >= 400 {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p), "every error has a problem body: %s", w.Body)
		require.Equal(t, w.Code, p.Error.Code)
	}
	return w.Code, p, w
}

func TestGateway_EveryErrorIsAProblem(t *testing.T) {
	t.Parallel()
	h := gateway.New(gateway.Options{
		Authenticator: keys{}, Ready: func() error { return nil },
		Services: []gateway.Service{doors(func(r chi.Router) {
			r.Get("/who", func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte(iam.PrincipalOf(r.Context()).Name))
			})
			r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
		})},
	})
	code, p, _ := get(t, h, http.MethodGet, "/nowhere", "admin")
	require.Equal(t, 404, code)
	require.Equal(t, "NO_SUCH_DOOR", p.Error.Details[0].Reason)
	code, _, answer := get(t, h, http.MethodPost, "/who", "admin")
	require.Equal(t, 405, code)
	require.Equal(t, []string{"GET"}, answer.Header()["Allow"])
	code, _, _ = get(t, h, http.MethodGet, "/who", "stolen")
	require.Equal(t, 401, code)
	code, p, _ = get(t, h, http.MethodGet, "/panic", "admin")
	require.Equal(t, 500, code)
	require.NotContains(t, p.Error.Message, "boom")
	code, _, w := get(t, h, http.MethodGet, "/who", "p")
	require.Equal(t, 200, code)
	require.Equal(t, "projects/p", w.Body.String())
}

func TestGateway_HealthNeedsNoKey(t *testing.T) {
	t.Parallel()
	var why error
	h := gateway.New(gateway.Options{Authenticator: keys{}, Ready: func() error { return why }})
	for _, path := range []string{"/healthz", "/readyz"} {
		code, _, _ := get(t, h, http.MethodGet, path, "")
		require.Equal(t, 200, code, path)
	}
	why = &fault.Error{Kind: fault.Unavailable, Err: errors.New("starting")}
	code, _, _ := get(t, h, http.MethodGet, "/readyz", "")
	require.Equal(t, 503, code)
	code, _, _ = get(t, h, http.MethodGet, "/healthz", "")
	require.Equal(t, 200, code)
}

// TestGateway_BoundsWhatIsInHand fills the one place and checks that the next
// request waits for it instead of being served beside it.
func TestGateway_BoundsWhatIsInHand(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	h := gateway.New(gateway.Options{
		Authenticator: keys{}, Ready: func() error { return nil }, MaxInFlight: 1,
		Services: []gateway.Service{doors(func(r chi.Router) {
			r.Get("/slow", func(http.ResponseWriter, *http.Request) {
				entered <- struct{}{}
				<-release
			})
		})},
	})
	done := make(chan int, 2)
	for range 2 {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/slow", nil))
			done <- w.Code
		}()
	}
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/slow", nil))
	require.Equal(t, 503, w.Code, "who goes away while waiting gets no place")
	select {
	case <-entered:
		require.FailNow(t, "two requests in hand")
	default:
	}
	release <- struct{}{}
	<-entered
	release <- struct{}{}
	require.Equal(t, 200, <-done)
	require.Equal(t, 200, <-done)
}

func TestLosses_OfTheOwnProjectOnly(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"), ledger.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	l := ledger.New(db)
	at := time.UnixMilli(1_700_000_000_000).UTC()
	for i, project := range []string{"p", "p", "q"} {
		require.NoError(t, l.Record(t.Context(), []ledger.Loss{{
			Project: project, Stream: "writer", Offset: uint64(i), Reason: "NOT_FINITE", Count: 2, Source: "/s", ID: "1", Type: "t", Time: at,
		}}))
	}
	h := gateway.New(gateway.Options{
		Authenticator: keys{}, Ready: func() error { return nil },
		Services: []gateway.Service{functionsgateway.Losses{Ledger: l}, functionsgateway.Status{Read: func() any { return map[string]int{"x": 1} }}},
	})
	_, _, w := get(t, h, http.MethodGet, "/v1/projects/p/losses?recent=1", "p")
	require.JSONEq(t, `{"totals":[{"stream":"writer","reason":"NOT_FINITE","count":4,"firstTime":"2023-11-14T22:13:20Z","lastTime":"2023-11-14T22:13:20Z"}],
		"recent":[{"stream":"writer","reason":"NOT_FINITE","count":2,"source":"/s","id":"1","type":"t","time":"2023-11-14T22:13:20Z"}]}`, w.Body.String())
	_, _, w = get(t, h, http.MethodGet, "/v1/projects/empty/losses", "admin")
	require.JSONEq(t, `{"totals":[],"recent":[]}`, w.Body.String())
	for path, want := range map[string]int{
		"/v1/projects/q/losses": 403, "/v1/projects/p/losses?recent=x": 400, "/v1/projects/p/losses?more=1": 400, "/v1/status": 403,
	} {
		code, _, _ := get(t, h, http.MethodGet, path, "p")
		require.Equal(t, want, code, path)
	}
	code, _, _ := get(t, h, http.MethodGet, "/v1/projects/p/losses", "")
	require.Equal(t, 401, code)
	code, _, _ = get(t, h, http.MethodGet, "/v1/status", "admin")
	require.Equal(t, 200, code)
}
