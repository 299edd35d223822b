package serving_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/cluster/serving/pool/pooltest"
	"selvedge.dev/local/cluster/serving/scale"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// request is a request to a path of the platform.
func (r *rig) request(method, path string, body io.Reader, headers ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, body)
	require.NoError(r.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// do is the answer of a request as an echo gives it.
func (r *rig) do(req *http.Request) pooltest.Answer {
	r.t.Helper()
	resp, err := r.server.Client().Do(req)
	require.NoError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	var a pooltest.Answer
	require.Equal(r.t, http.StatusOK, resp.StatusCode)
	require.NoError(r.t, json.NewDecoder(resp.Body).Decode(&a))
	return a
}

func TestRequest_CredentialsStayHere(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("who", "echo"))
	a := r.do(r.request(http.MethodPost, "/functions/shop/who/x", strings.NewReader("hi"),
		"Authorization", "Bearer secret", "X-Api-Key", "secret", "Proxy-Authorization", "secret", serving.PrincipalHeader, "admin", iam.CallerHeader, "forged", "X-Own", "1", "X-Forwarded-For", "6.6.6.6"))
	require.Equal(t, "hi", a.Body)
	require.Equal(t, "1", a.Header.Get("X-Own"))
	for _, h := range []string{"Authorization", "X-Api-Key", "Proxy-Authorization", serving.PrincipalHeader, iam.CallerHeader} {
		require.Empty(t, a.Header.Get(h), h)
	}
	require.Equal(t, "127.0.0.1", a.Header.Get("X-Forwarded-For"), "nobody's word but the connection's")
	require.Equal(t, "http", a.Header.Get("X-Forwarded-Proto"))
	require.Equal(t, "/functions/shop/who", a.Header.Get("X-Forwarded-Prefix"))
	u, err := url.Parse(r.server.URL)
	require.NoError(t, err)
	require.Equal(t, u.Host, a.Header.Get("X-Forwarded-Host"))
}

func TestRequest_FunctionIsToldWhoCalls(t *testing.T) {
	t.Parallel()
	var unable error
	r := newRig(t, func(o *serving.Options) {
		o.Caller = func(who iam.Principal, function string) (string, error) {
			return who.Name + " calls " + function, unable
		}
	})
	r.deploy(manifest("who", "echo"))
	call := func(path string, who iam.Principal) *recorder {
		w := newRecorder()
		req := r.request(http.MethodGet, path, nil, serving.PrincipalHeader, "admin", iam.CallerHeader, "forged")
		r.s.ServeHTTP(w, req.WithContext(iam.WithPrincipal(req.Context(), who)))
		return w
	}
	var a pooltest.Answer
	eve := iam.Principal{Kind: iam.User, Name: "users/eve"}
	require.NoError(t, json.Unmarshal([]byte(call("/functions/shop/who/", eve).body.String()), &a))
	require.Equal(t, []string{"users/eve"}, a.Header.Values(serving.PrincipalHeader))
	require.Equal(t, []string{"users/eve calls shop/who"}, a.Header.Values(iam.CallerHeader))

	a = pooltest.Answer{}
	require.NoError(t, json.Unmarshal([]byte(call("/functions/shop/who/", iam.Principal{}).body.String()), &a))
	require.Empty(t, a.Header.Values(iam.CallerHeader), "nobody known")

	unable = &fault.Error{Kind: fault.Unavailable}
	require.Equal(t, http.StatusServiceUnavailable, call("/functions/shop/who/", eve).status)
}

// recorder is a ResponseWriter that keeps the answer.
type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

// newRecorder is an empty one.
func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }

func TestRequest_AsksWhoMayCall(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	r := newRig(t, func(o *serving.Options) {
		o.Authorize = func(_ context.Context, namespace, service string) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, namespace+"/"+service)
			return &fault.Error{Op: "test", Kind: fault.Denied, Err: errors.New("no")}
		}
	})
	r.deploy(manifest("mine", "echo", at(`[{"latestRevision":true,"percent":100,"tag":"tip"}]`, "spec", "traffic")))
	for _, path := range []string{"mine/", "tip-mine/", "other/", "mine"} {
		status, _ := r.ask(path)
		require.Equal(t, http.StatusForbidden, status, path)
	}
	require.Equal(t, []string{"shop/mine", "shop/mine", "shop/other", "shop/mine"}, asked)
	require.Zero(t, r.s.Stats()[0].Requests, "nothing got through")

	none := newRig(t, func(o *serving.Options) { o.Authorize = nil })
	none.deploy(manifest("mine", "echo"))
	status, _ := none.ask("mine/")
	require.Equal(t, http.StatusForbidden, status, "nobody may call what nobody allows")
}

func TestRequest_ByHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *serving.Options) { o.Domain = "fn.test" })
	o := r.deploy(manifest("site", "echo", at(`[{"latestRevision":true,"percent":100,"tag":"tip"}]`, "spec", "traffic")))
	u, err := url.Parse(r.server.URL)
	require.NoError(t, err)
	require.Equal(t, "http://site.shop.fn.test:"+u.Port(), o.Text("status", "url"))
	for _, host := range []string{"site.shop.fn.test", "SITE.shop.fn.test:80", "tip-site.shop.fn.test"} {
		req := r.request(http.MethodGet, "/functions/shop/site", nil, "X-Forwarded-Prefix", "/made/up")
		req.Host = host
		require.True(t, r.s.Serves(req))
		a := r.do(req)
		require.Equal(t, "/functions/shop/site", a.Path, "the whole path is the function's")
		require.Equal(t, host, a.Host)
		require.Empty(t, a.Header.Get("X-Forwarded-Prefix"))
	}
	req := r.request(http.MethodGet, "/", nil)
	require.False(t, r.s.Serves(req))
	req.Host = "a.b.shop.fn.test"
	require.False(t, r.s.Serves(req))
}

func TestRequest_Streams(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"echo", "h2c"} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			var edits []func(object.Object)
			if image == "h2c" {
				edits = append(edits, container("ports", `[{"name":"h2c","containerPort":8080}]`))
			}
			r.deploy(manifest("flow", image, edits...))
			if image == "h2c" {
				require.Equal(t, "HTTP/2.0", r.get("flow/").Proto)
			}
			client := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
			tr, _ := client.Transport.(*http.Transport)
			tr.Protocols.SetUnencryptedHTTP2(true)
			defer tr.CloseIdleConnections()
			in, out := io.Pipe()
			resp, err := client.Do(r.request(http.MethodPost, "/functions/shop/flow/stream", in))
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			lines := bufio.NewScanner(resp.Body)
			for i := range 3 {
				_, err := fmt.Fprintf(out, "line %d\n", i)
				require.NoError(t, err)
				require.True(t, lines.Scan())
				require.Equal(t, fmt.Sprintf("got line %d", i), lines.Text())
			}
			require.Equal(t, 1, r.s.Stats()[0].InFlight)
			require.NoError(t, out.Close())
			require.False(t, lines.Scan())
			require.NoError(t, lines.Err())
			require.Eventually(t, func() bool { return r.s.Stats()[0].InFlight == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

func TestRequest_Upgrades(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("ws", "echo"))
	u, err := url.Parse(r.server.URL)
	require.NoError(t, err)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET /functions/shop/ws/upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n", u.Host)
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	for range 2 {
		_, err = fmt.Fprintln(conn, "hello")
		require.NoError(t, err)
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "hello\n", line)
	}
	require.Equal(t, 1, r.s.Stats()[0].InFlight)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return r.s.Stats()[0].InFlight == 0 }, 10*time.Second, time.Millisecond)
}

func TestRequest_TimesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("late", "echo", at(1, "spec", "template", "spec", "timeoutSeconds")))
	status, body := r.ask("late/wait?for=1h")
	require.Equal(t, http.StatusGatewayTimeout, status, body)
	require.Contains(t, body, "TIMEOUT")
	r.deploy(manifest("dull", "echo", at(1, "spec", "template", "spec", "responseStartTimeoutSeconds")))
	status, _ = r.ask("dull/wait?for=1h")
	require.Equal(t, http.StatusGatewayTimeout, status)
	require.Equal(t, "/quick", r.get("dull/quick").Path)
}

// TestRequest_OfWhichHalfComes has a caller stop in the middle of a small body, which
// takes neither longer than the function may nor an instance.
func TestRequest_OfWhichHalfComes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("half", "echo", at(1, "spec", "template", "spec", "timeoutSeconds")))
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	from := time.Now()
	_, err = io.WriteString(conn, "POST /functions/shop/half HTTP/1.1\r\nHost: f\r\nContent-Length: 10\r\n\r\nhalf")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusGatewayTimeout, resp.StatusCode)
	require.Less(t, time.Since(from), 5*time.Second)
	require.Zero(t, r.s.Stats()[0].Requests)
}

// TestRequest_CallerGoes has the function lose its request with its caller.
func TestRequest_CallerGoes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("left", "echo"))
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		resp, err := r.server.Client().Do(r.request(http.MethodPost, "/functions/shop/left/wait?for=1h", strings.NewReader("x")).WithContext(ctx))
		if err == nil {
			_ = resp.Body.Close()
		}
		got <- err
	}()
	require.Eventually(t, func() bool { return r.s.Stats()[0].InFlight == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-got, context.Canceled)
	require.Eventually(t, func() bool { return r.s.Stats()[0].InFlight == 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, "/quick", r.get("left/quick").Path)
}

func TestRequest_HeldOnesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *serving.Options) { o.MaxHeld = 2 })
	r.deploy(manifest("one", "echo", at(1, "spec", "template", "spec", "containerConcurrency"), annotation("max-scale", "1")))
	var group sync.WaitGroup
	statuses := make(chan int, 6)
	for range 6 {
		group.Go(func() {
			resp, err := r.server.Client().Do(r.request(http.MethodGet, "/functions/shop/one/wait?for=500ms", nil))
			if err != nil {
				return
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
				return
			}
			statuses <- resp.StatusCode
		})
	}
	group.Wait()
	close(statuses)
	count := map[int]int{}
	for s := range statuses {
		count[s]++
	}
	require.Equal(t, map[int]int{http.StatusOK: 3, http.StatusTooManyRequests: 3}, count)
}

func TestRequest_ACrashIsOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.deploy(manifest("frail", "echo"))
	before := r.get("frail/").Pid
	status, body := r.ask("frail/exit?code=7")
	require.Equal(t, http.StatusBadGateway, status, body)
	// The next request waits for the new process, or finds it.
	require.NotEqual(t, before, r.get("frail/").Pid)
	pod := r.wait(spec.Pod, r.pods("frail-00001")[0].Name(), func(o object.Object) bool {
		list, _ := o.Get("status", "containerStatuses").([]any)
		c, _ := list[0].(map[string]any)
		return object.Object(c).Int("restartCount") == 1 && object.Object(c).Int("lastState", "terminated", "exitCode") == 7
	})
	require.Equal(t, "Running", pod.Text("status", "phase"))
}

func TestRequest_OfWhatCrashesIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *serving.Options) {
		quick(o)
		o.Backoff.First, o.Backoff.Max = time.Hour, time.Hour
	})
	secret, err := object.Parse([]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"shop"},"data":{"A":"1"}}`))
	require.NoError(t, err)
	_, err = r.apply(secret)
	require.NoError(t, err)
	r.deploy(manifest("cm", "echo", container("envFrom", `[{"configMapRef":{"name":"c"}}]`)))
	r.wait(spec.Revision, "cm-00001", func(o object.Object) bool { return o.Condition("Active").Reason == "NoTraffic" })
	_, err = r.store.Delete(t.Context(), object.Key{Name: "ConfigMap"}, "shop", "c", object.Preconditions{})
	require.NoError(t, err)
	status, body := r.ask("cm/")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, `configmap \"c\" not found`)
}

// TestRequest_NoneIsLost has requests come while instances start, grow and go.
func TestRequest_NoneIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *serving.Options) {
		o.Scale = scale.Defaults{Window: 10 * time.Millisecond}
		o.Tick = 2 * time.Millisecond
	})
	r.deploy(manifest("many", "echo", at(8, "spec", "template", "spec", "containerConcurrency")))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	var failed atomic.Int32
	for range 15 {
		for range 64 {
			group.Go(func() {
				resp, err := client.Do(r.request(http.MethodPost, "/functions/shop/many/wait", strings.NewReader("x")))
				if err != nil {
					failed.Add(1)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					failed.Add(1)
				}
			})
		}
		group.Wait()
		select { // sometimes all of them are gone by then, sometimes they are about to go
		case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	require.Zero(t, failed.Load())
	s := r.s.Stats()[0]
	require.EqualValues(t, 15*64, s.Requests)
	require.Zero(t, s.Refused)
	require.Greater(t, s.Started, int64(1))
}

func TestSink_Delivers(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick)
	r.deploy(manifest("events", "echo"))
	r.wait(spec.Revision, "events-00001", func(o object.Object) bool { return o.Condition("Active").Reason == "NoTraffic" })
	e := event.New()
	e.SetID("1")
	e.SetType("test.made")
	e.SetSource("/test")
	require.NoError(t, e.SetData("text/plain", []byte("x")))
	result := r.s.Sink("shop", "events").Deliver(t.Context(), e)
	require.NoError(t, result.Err)
	require.Equal(t, http.StatusAccepted, result.Status)
	result = r.s.Sink("shop", "nothing").Deliver(t.Context(), e)
	require.Equal(t, http.StatusNotFound, result.Status)
	require.True(t, result.Retry())
}
