package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
)

// asked is a request that the platform got.
type asked struct {
	path   string
	header http.Header
	body   string
}

// world is a way back to a platform that answers what the test says.
type world struct {
	t       *testing.T
	key     string
	url     string
	status  int
	reply   string
	got     []asked
	stopped func()
}

// start starts both.
func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, key: filepath.Join(t.TempDir(), "key"), status: http.StatusAccepted}
	w.writeKey("first\n")
	platform := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the other side gave up
		}
		w.got = append(w.got, asked{r.URL.Path, r.Header, string(body)})
		rw.Header().Set("Retry-After", "3")
		rw.WriteHeader(w.status)
		_, _ = io.WriteString(rw, w.reply)
	}))
	w.stopped = platform.Close
	t.Cleanup(platform.Close)
	u, err := url.Parse(platform.URL)
	require.NoError(t, err)
	door := httptest.NewServer((&back{platform: u, project: "plant", keyFile: w.key}).handler())
	t.Cleanup(door.Close)
	w.url = door.URL
	return w
}

// writeKey replaces the key.
func (w *world) writeKey(text string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.key, []byte(text), 0o600))
}

// post posts an event as a broker does, and returns the answer and its body.
func (w *world) post(path, body string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "t", "Content-Type": "application/json",
		"Prefer": "reply", "Kn-Namespace": "other", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "Authorization": "Bearer stolen",
	} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	require.NoError(w.t, resp.Body.Close())
	return resp, string(text)
}

func TestBack_PostsWithTheKey(t *testing.T) {
	t.Parallel()
	w := start(t)
	resp, body := w.post("/readings", `{"a":1}`)
	require.Equal(t, http.StatusAccepted, resp.StatusCode, body)
	require.Empty(t, body)
	w.writeKey("second")
	w.post("/events", `{"a":2}`)
	require.Len(t, w.got, 2)
	require.Equal(t, "/v1/events", w.got[0].path)
	require.JSONEq(t, `{"a":1}`, w.got[0].body)
	require.Equal(t, "/brokers/plant/default", w.got[1].path)
	require.Equal(t, []string{"Bearer first"}, w.got[0].header["Authorization"])
	require.Equal(t, []string{"Bearer second"}, w.got[1].header["Authorization"])
	require.Equal(t, "1", w.got[0].header.Get("Ce-Id"))
	require.Equal(t, "application/json", w.got[0].header.Get("Content-Type"))
	for _, name := range []string{"Prefer", "Kn-Namespace", "Cookie", "X-Forwarded-For"} {
		require.Empty(t, w.got[0].header.Get(name), name)
	}
}

func TestBack_SourcesAreTheProjects(t *testing.T) {
	t.Parallel()
	b := &back{project: "plant"}
	f := func(source, want string) {
		t.Helper()
		require.Equal(t, want, b.source(source))
	}
	f("/s", "/s")
	f("urn:x", "urn:x")
	f("//selvedge.dev/projects/plant/devices/d", "//selvedge.dev/projects/plant/devices/d")
	f("//selvedge.dev/projects/other/devices/d", "//selvedge.dev/projects/other/devices/d")
	f("//selvedge.dev/functions/threshold", "//selvedge.dev/projects/plant/functions/threshold")
}

// What was given up is refused with the function's own answer.
func TestBack_TellsWhyItWasGivenUp(t *testing.T) {
	t.Parallel()
	w := start(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/given-up", http.NoBody)
	require.NoError(t, err)
	for name, value := range map[string]string{"Ce-Knativeerrorcode": "400", "Ce-Knativeerrordest": "http://warm.plant", "Ce-Knativeerrordata": "bm8gbnVtYmVycw=="} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
	require.Equal(t, "http://warm.plant answered 400: no numbers\n", string(text))
	require.Empty(t, w.got)
}

func TestBack_AnswersThatABrokerActsOn(t *testing.T) {
	t.Parallel()
	w := start(t)
	f := func(status int, reply string, want int, wantBody string) {
		t.Helper()
		w.status, w.reply = status, reply
		resp, body := w.post("/events", `{}`)
		require.Equal(t, want, resp.StatusCode)
		require.Equal(t, wantBody, body)
		if want == http.StatusTooManyRequests {
			require.Equal(t, "3", resp.Header.Get("Retry-After"))
		}
	}
	f(202, "", 202, "")
	f(200, "no event", 202, "") // else it would be a reply that is none
	f(400, "reserved", 400, "reserved")
	f(401, "who", 503, "who")
	f(403, "may not", 403, "may not")
	f(429, "full", 429, "full")
	f(503, "stopping", 503, "stopping")

	resp, _ := w.post("/elsewhere", `{}`)
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	resp, _ = w.post("/events", strings.Repeat("a", event.DefaultEventLimit+1))
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.NoError(t, os.Remove(w.key))
	resp, _ = w.post("/events", `{}`)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	w.writeKey("k")
	w.stopped()
	resp, _ = w.post("/events", `{}`)
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
}
