package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/rpc"
	"selvedge.dev/sdk/schema"
)

// devicesDomain is the service that is elsewhere in most tests.
const devicesDomain = "devices.selvedge.dev"

// logged is a log that is written by several.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is what was logged.
func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve is a server that has its end with the test.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// world is a front before a platform and the service of devices, and each of the
// front's requests as it ends.
type world struct {
	*httptest.Server
	log   *logged
	ended chan struct{}
}

// newWorld makes a world; nil is a server that must not be called.
func newWorld(t *testing.T, platform, devices http.HandlerFunc) *world {
	t.Helper()
	at := func(h http.HandlerFunc) string {
		if h == nil {
			h = func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s came to the wrong place", r.URL) }
		}
		return serve(t, h).URL
	}
	return worldAt(t, at(platform), at(devices))
}

// worldAt is newWorld with servers that there are.
func worldAt(t *testing.T, platform, devices string) *world {
	t.Helper()
	w := &world{log: &logged{}, ended: make(chan struct{}, 100)}
	known := platformServices(t)
	s, err := readSettings(map[string]string{"SELVEDGE_URL": platform, "SELVEDGE_ROUTES": devicesDomain + "=" + devices}, known)
	require.NoError(t, err)
	f := newFront(s, newRoutes(known), slog.New(slog.NewTextHandler(w.log, nil)))
	t.Cleanup(func() { require.NoError(t, f.close()) })
	w.Server = serve(t, func(rw http.ResponseWriter, r *http.Request) {
		defer func() { w.ended <- struct{}{} }()
		f.ServeHTTP(rw, r)
	})
	return w
}

// do makes a request, and returns its answer and the whole body.
func (w *world) do(t *testing.T, method, path string, body io.Reader, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.URL+path, body)
	require.NoError(t, err)
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := w.Client().Transport.RoundTrip(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, string(text)
}

// Every method of every service is answered by its service, over REST, Connect and
// gRPC-Web, and what is of none by the platform.
func TestFront_EveryMethodIsAnsweredByItsService(t *testing.T) {
	t.Parallel()
	const by = "Answered-By"
	known := platformServices(t)
	var entries []string
	for _, s := range known {
		h := servers(t, func(context.Context, string) {}, s)
		at := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(by, s.Domain)
			h.ServeHTTP(w, r)
		})
		entries = append(entries, s.Domain+"="+at.URL)
	}
	platform := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(by, nobody) })
	f := New()
	require.NoError(t, f.Start(t.Context(), map[string]string{"SELVEDGE_URL": platform.URL, "SELVEDGE_ROUTES": strings.Join(entries, ",\n ")}))
	t.Cleanup(func() { require.NoError(t, f.Stop(context.WithoutCancel(t.Context()))) })
	w := &world{Server: serve(t, f.ServeHTTP)}
	check := func(want, method, path, media, body string) {
		t.Helper()
		resp, text := w.do(t, method, path, strings.NewReader(body), http.Header{"Content-Type": {media}})
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s %s (%s): %s", method, path, media, text)
		require.Equal(t, []string{want}, resp.Header.Values(by), "%s %s (%s)", method, path, media)
	}
	const empty = "\x00\x00\x00\x00\x00" // a message of no bytes in its envelope
	for _, s := range known {
		for _, m := range s.Methods {
			check(s.Domain, http.MethodPost, m.Procedure(), "application/grpc-web+proto", empty)
			if m.Desc.IsStreamingServer() {
				check(s.Domain, http.MethodPost, m.Procedure(), "application/connect+proto", empty)
			} else {
				check(s.Domain, http.MethodPost, m.Procedure(), "application/proto", "")
				check(s.Domain, http.MethodPost, m.Procedure(), "application/json", "{}")
			}
			for _, d := range doorsOf(t, m) {
				body := "{}"
				if d.verb == http.MethodGet || d.verb == http.MethodDelete {
					body = ""
				}
				check(s.Domain, d.verb, d.path, "application/json", body)
			}
		}
	}
	for _, path := range []string{"/", "/v1/status", "/v3/projects/p/timeSeries", "/v1/projects/p/losses", "/openapi/iam.selvedge.dev.yaml"} {
		check(nobody, http.MethodGet, path, "application/json", "")
	}
}

// A request and its answer pass as they are, but for what only doors may say.
func TestFront_PassesAsItIs(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var target string
	w := newWorld(t, nil, func(w http.ResponseWriter, r *http.Request) {
		got, target = r, r.Host
		w.Header().Set("Etag", `"7"`)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"error":{"code":409,"details":[{"reason":"WHATEVER"}]}}`)
		w.Header().Set("Grpc-Status", "10")
		w.Header().Set(http.TrailerPrefix+"Unannounced", "1")
	})
	passed := http.Header{
		"Authorization": {"Bearer secret"}, "X-Goog-Api-Key": {"key"}, "If-Match": {`"6"`}, "Traceparent": {"00-1-2-01"},
		"Selvedge-Call-Id": {"call"}, "Selvedge-Region": {"eu"}, "Last-Event-Id": {"token"}, "Connect-Timeout-Ms": {"1000"},
		"Content-Type": {"application/json"}, "Accept-Encoding": {"br"}, "Origin": {"https://a.example.com"}, "User-Agent": {"me"},
	}
	header := passed.Clone()
	for _, name := range []string{iam.CallerHeader, iam.PlatformHeader, strings.ToLower(iam.CallerHeader), "Selvedge-Principal"} {
		header[name] = []string{"forged"}
	}
	header["X-Forwarded-For"], header["Forwarded"], header["X-Forwarded-Host"], header["X-Forwarded-Proto"] = []string{"6.6.6.6"}, []string{"for=6.6.6.6"}, []string{"evil"}, []string{"https"}
	const path = "/v1/projects/p/devices/a%2eb%20c?updateMask=a,b&x=%zz;y&key=k&&z"
	resp, body := w.do(t, http.MethodPatch, path, strings.NewReader("{}"), header)

	require.Equal(t, path, got.RequestURI)
	require.Equal(t, http.MethodPatch, got.Method)
	require.Equal(t, strings.TrimPrefix(w.URL, "http://"), got.Header.Get("X-Forwarded-Host"))
	require.NotEqual(t, target, got.Header.Get("X-Forwarded-Host"))
	passed["X-Forwarded-Host"], passed["X-Forwarded-For"], passed["X-Forwarded-Proto"] = got.Header["X-Forwarded-Host"], []string{"127.0.0.1"}, []string{"http"}
	passed["Content-Length"] = []string{"2"}
	require.Equal(t, passed, got.Header)

	require.Equal(t, http.StatusConflict, resp.StatusCode)
	require.JSONEq(t, `{"error":{"code":409,"details":[{"reason":"WHATEVER"}]}}`, body)
	require.Equal(t, `"7"`, resp.Header.Get("Etag"))
	require.Equal(t, "7", resp.Header.Get("Retry-After"))
	require.Equal(t, http.Header{"Grpc-Status": {"10"}, "Unannounced": {"1"}}, resp.Trailer)
}

// Nothing is added to what a caller sends, but where it comes from.
func TestFront_AddsNothing(t *testing.T) {
	t.Parallel()
	var got http.Header
	w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header }, nil)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.Listener.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET /v1/status HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Contains(t, string(answer), "200 OK")
	require.Equal(t, http.Header{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"a.example.com"}, "X-Forwarded-Proto": {"http"}}, got)
}

// A watch is handed on as it comes, also by a server that bounds its requests, and
// its end at the caller is its end at the service, which nobody takes for an error.
func TestFront_WatchesAsTheyCome(t *testing.T) {
	t.Parallel()
	more, left := make(chan struct{}), make(chan struct{})
	w := newWorld(t, nil, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		for _, text := range []string{"data: 1\n", "data: 2\n"} {
			_, _ = io.WriteString(w, text)
			_ = c.Flush()
			select {
			case <-more:
			case <-r.Context().Done():
			}
		}
		<-r.Context().Done()
		close(left)
	})
	bounded := httptest.NewUnstartedServer(w.Config.Handler)
	bounded.Config.WriteTimeout = time.Nanosecond
	bounded.Start()
	t.Cleanup(bounded.Close)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, bounded.URL+"/v1/projects/p/devices:watch", nil)
	require.NoError(t, err)
	resp, err := bounded.Client().Do(req)
	require.NoError(t, err)
	for _, want := range []string{"data: 1\n", "data: 2\n"} {
		text := make([]byte, len(want))
		_, err := io.ReadFull(resp.Body, text)
		require.NoError(t, err)
		require.Equal(t, want, string(text), "before the next one is there")
		more <- struct{}{}
	}
	leave()
	require.NoError(t, resp.Body.Close())
	<-left
	<-w.ended
	require.NotContains(t, w.log.String(), "ERROR")
}

// An answer that breaks off is none that ended.
func TestFront_BreaksOffWithTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"/v1/projects/p/devices:watch", nil)
	require.NoError(t, err)
	resp, err := w.Client().Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "half", string(text))
	require.NoError(t, resp.Body.Close())
}

// A body is handed on while it comes: its end is not there yet.
func TestFront_StreamsBodies(t *testing.T) {
	t.Parallel()
	const half = 4 << 20
	got := make(chan struct{})
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.CopyN(io.Discard, r.Body, half)
		close(got)
		if err == nil {
			var rest int64
			rest, err = io.Copy(io.Discard, r.Body)
			n += rest
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"n": n, "ok": err == nil})
	}, nil)
	body, in := io.Pipe()
	go func() {
		_, _ = in.Write(make([]byte, half))
		<-got
		_, _ = in.Write(make([]byte, half))
		_ = in.Close()
	}()
	_, text := w.do(t, http.MethodPost, "/v1/events", body, http.Header{"Expect": {"100-continue"}})
	require.JSONEq(t, `{"n":8388608,"ok":true}`, text)
}

// Who is not there is named, without where that would be.
func TestFront_NotReached(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	u, err := url.Parse(gone.URL)
	require.NoError(t, err)
	w := worldAt(t, gone.URL, gone.URL)
	for path, name := range map[string]string{"/v1/projects/p/devices/d": devicesDomain, "/v1/status": ""} {
		resp, body := w.do(t, http.MethodGet, path, nil, nil)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, "1", resp.Header.Get("Retry-After"))
		err := fault.Parse("test", resp.StatusCode, []byte(body))
		require.Equal(t, fault.Unavailable, err.Kind)
		require.Equal(t, "SERVICE_UNREACHABLE", err.Reason)
		require.Equal(t, name, err.Name)
		require.NotContains(t, body, u.Port())
	}
	require.Contains(t, w.log.String(), `level=ERROR msg="no answer" from=`+devicesDomain)
	require.Contains(t, w.log.String(), `level=ERROR msg="no answer" from="the platform"`)

	c := &rpc.Client{URL: w.URL}
	for _, m := range devicesv1.AddTo(new(schema.Registry)).Methods {
		if m.Desc.IsStreamingServer() {
			err = c.Watch(t.Context(), m, m.Input.New().Interface(), nil)
		} else {
			_, err = c.Call(t.Context(), m, m.Input.New().Interface())
		}
		require.Equal(t, fault.Unavailable, fault.KindOf(err), "%s: %v", m.Name, err)
	}
}

// Who goes away before there is an answer is no error.
func TestFront_CallerGone(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	w := newWorld(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/v1/projects/p/devices/d", nil)
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() {
		resp, err := w.Client().Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	leave()
	require.ErrorIs(t, <-failed, context.Canceled)
	<-w.ended
	require.Empty(t, w.log.String())
}

// Who sends half of a request gets no answer, and who sends what cannot be read is
// told. Neither is an error.
func TestFront_RequestBrokenOff(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	w := newWorld(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 3))
		entered <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	f := func(begin, end string) string {
		t.Helper()
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.Listener.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(conn, "POST /v1/projects/p/devices HTTP/1.1\r\nHost: a.example.com\r\n"+begin)
		require.NoError(t, err)
		<-entered
		_, err = io.WriteString(conn, end)
		require.NoError(t, err)
		tcp, ok := conn.(*net.TCPConn)
		require.True(t, ok)
		if end == "" {
			require.NoError(t, tcp.CloseWrite())
		}
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		<-w.ended
		require.Empty(t, w.log.String())
		return string(answer)
	}
	require.Empty(t, f("Content-Length: 10\r\n\r\nabc", ""))
	answer := f("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "no length\r\n")
	require.Contains(t, answer, "400 Bad Request")
	require.Contains(t, answer, "UNREADABLE_BODY")
}
