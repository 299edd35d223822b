package serving_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/local/cluster/serving/hop"
	"selvedge.dev/sdk/iam"
)

// upstream is a function that answers by a plan and notes what it got.
type upstream struct {
	status  int
	header  http.Header
	interim bool
	parts   []int
	flush   bool
	// abort has the answer end before it is whole.
	abort bool
	// trailer is "", "announced" or "sudden".
	trailer string

	mu  sync.Mutex
	got []string
}

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // the test sees what is missing
	u.mu.Lock()
	u.got = append(u.got, fmt.Sprint(r.Method, r.RequestURI, r.Host, r.Header, r.ContentLength, r.TransferEncoding, string(body)))
	u.mu.Unlock()
	if u.interim {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	}
	for k, v := range u.header {
		w.Header()[k] = v
	}
	if u.trailer == "announced" {
		w.Header().Set("Trailer", "X-Sum")
	}
	if u.status != 0 {
		w.WriteHeader(u.status)
	}
	for _, n := range u.parts {
		_, _ = w.Write(bytes.Repeat([]byte("x"), n)) // there may be no body
		if u.flush {
			_ = http.NewResponseController(w).Flush() // as above
		}
	}
	if u.abort {
		panic(http.ErrAbortHandler)
	}
	switch u.trailer {
	case "announced":
		w.Header().Set("X-Sum", "1")
	case "sudden":
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	}
}

// through is what a caller sees of an answer.
func through(t require.TestingT, url string, make func(url string) *http.Request) string {
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	var interim []string
	r := make(url)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		interim = append(interim, fmt.Sprint(code, h))
		return nil
	}}))
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return "not all of it"
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, resp.Body.Close())
	if err != nil {
		return "not all of it" // how much there is depends on who was faster
	}
	resp.Header.Del("Date")
	if len(body) == 0 { // whether a stream without a part is one depends on the same
		resp.Header.Del("Content-Length")
		resp.ContentLength, resp.TransferEncoding = 0, nil
	}
	return fmt.Sprint(resp.Status, resp.Header, resp.Trailer, resp.ContentLength, resp.TransferEncoding, resp.Close, len(body), interim)
}

// TestRelay_IsTheStandardProxy has the same requests and answers go through both.
func TestRelay_IsTheStandardProxy(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	u := &upstream{}
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now := u
		mu.Unlock()
		now.ServeHTTP(w, r)
	}))
	t.Cleanup(function.Close)
	to := hop.New(function.Listener.Addr().String(), false)
	t.Cleanup(to.CloseIdleConnections)
	relays, reverses := newRig(t, nil).s.Proxies(to.RoundTrip, "/functions/shop/f", "proof")
	serve := func(h http.Handler) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Host = "platform.test"
			h.ServeHTTP(w, r.WithContext(iam.WithPrincipal(r.Context(), iam.Principal{Kind: iam.User, Name: "users/eve"})))
		}))
		s.Start()
		t.Cleanup(s.Close)
		return s.URL
	}
	one, other := serve(relays), serve(reverses)
	rapid.Check(t, func(t *rapid.T) {
		next := drawUpstream(t)
		mu.Lock()
		u = next
		mu.Unlock()
		request := drawRequest(t)
		// The head of a stream may go before its first part, and a connection may be
		// closed under a request: two goes through one proxy can differ too.
		var want, got string
		for n := 0; n == 0 || n < 10 && want != got; n++ {
			want, got = through(t, other, request), through(t, one, request)
		}
		require.Equal(t, want, got)
		next.mu.Lock()
		defer next.mu.Unlock()
		require.GreaterOrEqual(t, len(next.got), 2)
		for _, got := range next.got { // a GET that was cut off is tried again
			require.Equal(t, next.got[0], got)
		}
	})
}

// TestRelay_PassesPartsOnAtOnce has the head of an answer, and each of its parts, reach
// the caller before the function says more.
func TestRelay_PassesPartsOnAtOnce(t *testing.T) {
	t.Parallel()
	f := func(header, value string) {
		t.Helper()
		next := make(chan struct{})
		function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(header, value)
			for range 3 {
				_ = http.NewResponseController(w).Flush() // the caller misses it
				select {
				case <-next:
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(w, "data\n\n") // as above
			}
		}))
		t.Cleanup(function.Close)
		to := hop.New(function.Listener.Addr().String(), false)
		t.Cleanup(to.CloseIdleConnections)
		relays, _ := newRig(t, nil).s.Proxies(to.RoundTrip, "", "")
		platform := httptest.NewServer(relays)
		t.Cleanup(platform.Close)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, platform.URL, nil)
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		for range 3 {
			next <- struct{}{}
			part := make([]byte, 6)
			_, err := io.ReadFull(resp.Body, part)
			require.NoError(t, err)
			require.Equal(t, "data\n\n", string(part))
		}
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Empty(t, rest)
	}
	f("Content-Type", "application/json")
	f("Content-Type", "text/event-stream")
	f("Content-Type", "Text/Event-Stream; charset=utf-8")
}

// drawUpstream is how a function answers.
func drawUpstream(t *rapid.T) *upstream {
	u := &upstream{
		status: rapid.SampledFrom([]int{0, 200, 204, 304, 404, 500}).Draw(t, "status"), header: http.Header{},
		interim: rapid.Bool().Draw(t, "interim"), parts: rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 3000, 70000}), 0, 3).Draw(t, "parts"),
		flush: rapid.Bool().Draw(t, "flush"), trailer: rapid.SampledFrom([]string{"", "", "announced", "sudden"}).Draw(t, "trailer"),
		abort: rapid.IntRange(0, 9).Draw(t, "abort") == 0,
	}
	if u.trailer != "" { // one without a body is sent twice by the standard proxy
		u.parts, u.flush = append(u.parts, 3000), true
	}
	for _, line := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"Content-Type: text/event-stream; charset=utf-8", "Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5", "Upgrade: h3",
		"Proxy-Authenticate: Basic", "Set-Cookie: a=b", "Te: x", "X-Empty: ",
	}), 0, 4, rapid.ID).Draw(t, "answered headers") {
		k, v, _ := strings.Cut(line, ": ")
		u.header.Add(k, v)
	}
	if u.header.Get("Content-Type") == "" { // else the server guesses, unless the head was flushed first
		u.header.Set("Content-Type", "text/plain")
	}
	return u
}

// drawRequest makes the same request to any URL.
func drawRequest(t *rapid.T) func(url string) *http.Request {
	method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "DELETE"}).Draw(t, "method")
	path := rapid.SampledFrom([]string{"", "/", "/a", "/a%2Fb", "/a%20b", "//", "/a/../b"}).Draw(t, "path")
	query := rapid.SampledFrom([]string{"", "?", "?a=1&b", "?a;b", "?a=%zz", "?a=%20"}).Draw(t, "query")
	body := strings.Repeat("b", rapid.SampledFrom([]int{0, 5, 40000}).Draw(t, "body"))
	sized := rapid.Bool().Draw(t, "sized")
	lines := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"User-Agent: me", "User-Agent: ", "Forwarded: for=1", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https",
		"X-Forwarded-Prefix: /x", "Authorization: Bearer k", "X-Api-Key: k", "Proxy-Authorization: k", "Connection: X-Own", "Connection: keep-alive",
		"X-Own: 1", "Keep-Alive: 5", "Te: trailers", "Te: gzip", "Upgrade: h3", "Selvedge-Principal: admin", "Cookie: a=b", "Proxy-Connection: close",
	}), 0, 6, rapid.ID).Draw(t, "headers")
	return func(url string) *http.Request {
		var in io.Reader
		if body != "" {
			in = struct{ io.Reader }{strings.NewReader(body)}
		}
		r, err := http.NewRequestWithContext(context.Background(), method, url+"/functions/shop/f"+path+query, in)
		require.NoError(t, err)
		if sized {
			r.ContentLength = int64(len(body))
		}
		for _, line := range lines {
			k, v, _ := strings.Cut(line, ": ")
			r.Header.Add(k, v)
		}
		return r
	}
}
