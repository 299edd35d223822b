package ingest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/ingest"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// brokers is the door of brokers, behind a router that knows who calls.
func brokers(p *published, who iam.Principal) http.Handler {
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(iam.WithPrincipal(r.Context(), who)))
		})
	})
	(&ingest.Brokers{Broker: p, Exists: func(project, name string) bool { return project == "p" && (name == "default" || name == "mine") }}).Routes(r)
	return r
}

// binary are the headers of an event in binary mode, with further ones.
func binary(more ...string) http.Header {
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"t"}, "Ce-Source": {"/s"}, "Ce-Id": {"1"}, "Content-Type": {"text/plain"}}
	for i := 0; i < len(more); i += 2 {
		h.Del(more[i])
		if more[i+1] != "" {
			h.Set(more[i], more[i+1])
		}
	}
	return h
}

// TestBrokers_AnswersOfKnative is what the ingress of Knative's multi-tenant
// broker was seen to answer, case by case.
func TestBrokers_AnswersOfKnative(t *testing.T) {
	t.Parallel()
	f := func(who iam.Principal, method, path string, h http.Header, body string, want int) *httptest.ResponseRecorder {
		t.Helper()
		p := &published{}
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header = h
		w := httptest.NewRecorder()
		brokers(p, who).ServeHTTP(w, r)
		require.Equal(t, want, w.Code, "%s %s: %s", method, path, w.Body)
		require.Equal(t, want == 202, len(p.events) == 1)
		return w
	}
	f(project, "POST", "/brokers/p/default", binary(), "x", 202)
	f(project, "POST", "/brokers/p/mine/", binary(), "x", 202)
	structured := http.Header{"Content-Type": {event.MediaStructured}}
	f(project, "POST", "/brokers/p/mine", structured, text("1", "/s"), 202)
	f(project, "POST", "/brokers/p/mine", binary("Ce-Knativebrokerttl", "2"), "x", 202)

	f(project, "POST", "/brokers/p/mine", http.Header{"Content-Type": {"text/plain"}}, "x", 400)
	f(project, "POST", "/brokers/p/mine", http.Header{"Content-Type": {"application/json"}}, "{}", 400)
	f(project, "POST", "/brokers/p/mine", binary("Ce-Id", ""), "x", 400)
	f(project, "POST", "/brokers/p/mine", binary("Ce-Specversion", "9.9"), "x", 400)
	f(project, "POST", "/brokers/p/mine", http.Header{"Content-Type": {event.MediaBatch}}, "["+text("1", "/s")+"]", 400)
	f(project, "POST", "/brokers/p/mine", structured, `{"specversion":"1.0"}`, 400)
	f(project, "POST", "/brokers/p/mine", binary("Ce-Knativebrokerttl", "0"), "x", 400)
	f(project, "POST", "/brokers/p/mine", binary("Ce-Knativebrokerttl", "1"), "x", 400)
	for _, path := range []string{"/brokers", "/brokers/", "/brokers/p", "/brokers/p/", "/brokers/p/mine/x", "/brokers//mine"} {
		f(project, "POST", path, binary(), "x", 400)
	}
	f(project, "POST", "/brokers/p/unknown", binary(), "x", 404)
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "HEAD"} {
		require.Equal(t, "POST, OPTIONS", f(project, method, "/brokers/p/mine", binary(), "", 405).Header().Get("Allow"))
	}
	w := f(iam.Principal{}, "OPTIONS", "/brokers/p/mine", binary(), "", 200)
	require.Equal(t, "POST, OPTIONS", w.Header().Get("Allow"))
	require.Equal(t, "*", w.Header().Get("WebHook-Allowed-Origin"))

	// What Knative's has not.
	f(iam.Principal{}, "POST", "/brokers/p/mine", binary(), "x", 401)
	f(project, "POST", "/brokers/q/mine", binary(), "x", 403)
	f(project, "POST", "/brokers/p/mine", binary("Ce-Source", "//selvedge.dev/projects/q/devices/d"), "x", 403)
	f(device, "POST", "/brokers/p/mine", binary("Ce-Source", "//selvedge.dev/projects/p/devices/other"), "x", 403)
	f(device, "POST", "/brokers/p/mine", binary("Ce-Source", own), "x", 202)
	f(project, "POST", "/brokers/p/mine", binary(), strings.Repeat("x", 2<<20), 413)
}

func TestBrokers_StampsTheEvent(t *testing.T) {
	t.Parallel()
	p := &published{}
	send := func(path string) event.Event {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader("x"))
		r.Header = binary("Ce-Selvedgeproject", "q", "Ce-Selvedgebroker", "other", "Ce-Selvedgeroute", "writer", "Ce-Mine", "kept")
		w := httptest.NewRecorder()
		brokers(p, project).ServeHTTP(w, r)
		require.Equal(t, 202, w.Code, w.Body)
		return p.events[len(p.events)-1]
	}
	e := send("/brokers/p/mine")
	require.Equal(t, map[string]any{"mine": "kept", "selvedgeproject": "p", "selvedgebroker": "mine"}, e.Extensions())
	e = send("/brokers/p/default")
	require.Equal(t, map[string]any{"mine": "kept", "selvedgeproject": "p"}, e.Extensions())
}

func TestBrokers_FullIs429(t *testing.T) {
	t.Parallel()
	p := &published{err: &fault.Error{Kind: fault.Exhausted, Reason: "BROKER_FULL", Err: errors.New("full")}}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/brokers/p/default", strings.NewReader("x"))
	r.Header = binary()
	w := httptest.NewRecorder()
	brokers(p, project).ServeHTTP(w, r)
	require.Equal(t, 429, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}
