package hop_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
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
)

// standard is the transport that the short way must not be told from.
func standard(t testing.TB, address string) *http.Transport {
	s := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		DisableCompression: true, MaxResponseHeaderBytes: 1 << 20,
	}
	t.Cleanup(s.CloseIdleConnections)
	return s
}

// seen is what a caller sees of an answer.
type seen struct {
	Status           string
	Proto            string
	Header, Trailer  http.Header
	Length           int64
	Encoding         []string
	Close            bool
	Body             string
	Interim          []string
	Refused, Partial bool
}

// look sends a request and reads the answer to its end.
func look(by http.RoundTripper, r *http.Request) seen {
	var s seen
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		s.Interim = append(s.Interim, fmt.Sprint(code, h))
		return nil
	}}
	resp, err := by.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		s.Refused = true
		return s
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	s.Partial = err != nil
	s.Body, s.Status, s.Proto, s.Header, s.Trailer = string(body), resp.Status, resp.Proto, resp.Header, resp.Trailer
	s.Length, s.Encoding, s.Close = resp.ContentLength, resp.TransferEncoding, resp.Close
	s.Header.Del("Date")
	return s
}

// got is what a process sees of a request.
type got struct {
	Method, URI, Host string
	Header, Trailer   http.Header
	Length            int64
	Encoding          []string
	Body              string
}

// plan is how a handler answers.
type plan struct {
	status  int
	header  http.Header
	interim []int
	// parts are the sizes of what is written one after another, each flushed if flush.
	parts   []int
	flush   bool
	trailer map[string]string
}

// server answers by a plan and notes what it was asked.
type server struct {
	mu   sync.Mutex
	plan plan
	got  []got
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	p := s.plan
	s.mu.Unlock()
	g := got{Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone(), Length: r.ContentLength, Encoding: r.TransferEncoding}
	body, _ := io.ReadAll(r.Body) // the test sees what is missing
	g.Body, g.Trailer = string(body), r.Trailer
	s.mu.Lock()
	s.got = append(s.got, g)
	s.mu.Unlock()
	for _, code := range p.interim {
		w.Header().Set("X-Interim", "yes")
		w.WriteHeader(code)
		w.Header().Del("X-Interim")
	}
	for k, v := range p.header {
		w.Header()[k] = v
	}
	for k := range p.trailer {
		w.Header().Add("Trailer", k)
	}
	if p.status != 0 {
		w.WriteHeader(p.status)
	}
	for _, part := range p.parts {
		_, _ = w.Write(bytes.Repeat([]byte("x"), part)) // there may be no body
		if p.flush {
			_ = http.NewResponseController(w).Flush() // as above
		}
	}
	for k, v := range p.trailer {
		w.Header().Set(k, v)
	}
}

// ask has a plan be answered both ways, which are to be the same to both ends.
func (s *server) ask(t require.TestingT, short, long http.RoundTripper, make func() *http.Request, p plan) {
	s.mu.Lock()
	s.plan, s.got = p, nil
	s.mu.Unlock()
	want := look(long, make())
	require.Equal(t, want, look(short, make()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if want.Refused {
		require.Empty(t, s.got)
		return
	}
	require.Len(t, s.got, 2)
	require.Equal(t, s.got[0], s.got[1])
}

func TestTransport_IsTheStandardOne(t *testing.T) {
	t.Parallel()
	s := &server{}
	l := httptest.NewServer(s)
	t.Cleanup(l.Close)
	short, long := hop.New(l.Listener.Addr().String(), false), standard(t, l.Listener.Addr().String())
	t.Cleanup(short.CloseIdleConnections)
	name := rapid.StringMatching(`X-[A-Z][a-z]{0,5}`)
	text := rapid.StringMatching(`[ -~]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		method := rapid.SampledFrom([]string{"", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT", "b{d", "bad one"}).Draw(t, "method")
		path := rapid.StringMatching(`/[a-zA-Z0-9/._~!$&'()*+,;=:@% -]{0,20}`).Draw(t, "path")
		raw := rapid.StringMatching(`([a-z0-9=&%;+]{0,20})`).Draw(t, "query")
		host := rapid.SampledFrom([]string{"shop.example", "shop.example:80", "127.0.0.1:1", "[::1]:80", "bücher.example", "bad host", "", "a\r\nX: y"}).Draw(t, "host")
		header := http.Header{}
		for range rapid.IntRange(0, 4).Draw(t, "headers") {
			header.Add(name.Draw(t, "name"), text.Draw(t, "value"))
		}
		if rapid.Bool().Draw(t, "special") {
			k := rapid.SampledFrom([]string{"User-Agent", "Content-Length", "Transfer-Encoding", "Host", "Te", "Cookie", "Keep-Alive", "X-Évil", "X Evil", "Accept-Encoding"}).Draw(t, "special name")
			v := rapid.SampledFrom([]string{"", "x", "5", "chunked", "trailers", " padded\t", "a\r\nB: c", "a\nb", "\x00", "é"}).Draw(t, "special value")
			header[k] = append(header[k], v)
		}
		body := strings.Repeat("b", rapid.SampledFrom([]int{0, 1, 17, 4096, 31 << 10, 40 << 10}).Draw(t, "body"))
		length := rapid.SampledFrom([]string{"known", "unknown"}).Draw(t, "length")
		request := func() *http.Request {
			r := httptest.NewRequest(http.MethodGet, "http://ignored/", nil).WithContext(t.Context())
			r.Method, r.URL.Path, r.URL.RawQuery, r.Host, r.Header, r.RequestURI = method, path, raw, host, header.Clone(), ""
			if body != "" {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			}
			switch {
			case body == "":
				r.Body = nil
			case length == "unknown":
				r.ContentLength = -1
			}
			return r
		}
		p := plan{
			status: rapid.SampledFrom([]int{0, 200, 201, 204, 206, 302, 304, 404, 500}).Draw(t, "status"), header: http.Header{},
			interim: rapid.SliceOfN(rapid.SampledFrom([]int{100, 102, 103}), 0, 3).Draw(t, "interim"),
			parts:   rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 5000, 40000}), 0, 3).Draw(t, "parts"),
			flush:   rapid.Bool().Draw(t, "flush"),
		}
		if rapid.Bool().Draw(t, "close") {
			p.header.Set("Connection", "close")
		}
		if rapid.Bool().Draw(t, "trailer") {
			p.trailer = map[string]string{"X-Sum": "1"}
		}
		s.ask(t, short, long, request, p)
	})
}

// raw is a process that says what it is told to, whatever it is asked.
func raw(t testing.TB, answer string, hangUp bool) string {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait()
	})
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer func() { _ = c.Close() }()
				stop := context.AfterFunc(t.Context(), func() { _ = c.Close() })
				defer stop()
				buffer := make([]byte, 64<<10)
				var text []byte
				for {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					if text = append(text, buffer[:n]...); !bytes.Contains(text, []byte("\r\n\r\n")) {
						continue
					}
					text = nil
					if _, err := io.WriteString(c, answer); err != nil || hangUp {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

func TestTransport_TakesWhatTheStandardOneTakes(t *testing.T) {
	t.Parallel()
	f := func(answer string, hangUp bool) {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			address := raw(t, answer, hangUp)
			long, short := standard(t, address), hop.New(address, false)
			requests := 2 // over a new connection and, if it was kept, the old one
			if hangUp {
				requests = 1 // whether the next one finds the old one closed is a race
			}
			for range requests {
				request := func() *http.Request {
					r, err := http.NewRequestWithContext(t.Context(), method, "http://f/", nil)
					require.NoError(t, err)
					return r
				}
				want := look(long, request())
				require.Equal(t, want, look(short, request()), "%s %.40q", method, answer)
			}
			short.CloseIdleConnections()
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	f(ok+"Content-Length: 2\r\n\r\nhi", false)
	f(ok+"Content-Length: 2\r\n\r\nhi", true)
	f(ok+"Content-Length: 0\r\n\r\n", false)
	f(ok+"Content-Length: 5\r\n\r\nhi", true)
	f(ok+"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", true)
	f(ok+"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", true)
	f(ok+"Content-Length: -1\r\n\r\nhi", true)
	f(ok+"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true)
	f(ok+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false)
	f(ok+"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n", false)
	f(ok+"Transfer-Encoding: chunked\r\n\r\n3\r\nab", true)
	f(ok+"Transfer-Encoding: chunked\r\n\r\nzz\r\nab", true)
	f(ok+"Transfer-Encoding: gzip\r\n\r\nabc", true)
	f(ok+"\r\nuntil the end", true)
	f("HTTP/1.0 200 OK\r\n\r\nuntil the end", true)
	f("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", false)
	f(ok+"Connection: close\r\nContent-Length: 2\r\n\r\nhi", true)
	f("HTTP/1.1 204 No Content\r\n\r\n", false)
	f("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false)
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok+"Content-Length: 2\r\n\r\nhi", false)
	f("HTTP/1.1 103 Early Hints\r\n", true)
	f("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", true)
	f("HTTP/1.1 2000 Long\r\n\r\n", true)
	f("HTTP/2 200 OK\r\n\r\n", true)
	f("SSH-2.0-OpenSSH\r\n", true)
	f("", true)
	f("HTTP", true)
	f(ok+"X-Half", true)
	f(ok+"No colon\r\n\r\n", true)
	f(ok+"X: a\r\n  folded\r\nContent-Length: 0\r\n\r\n", false)
	f(ok+strings.Repeat("X-Many: "+strings.Repeat("v", 1000)+"\r\n", 900)+"Content-Length: 0\r\n\r\n", false)
	f(ok+strings.Repeat("X-Many: "+strings.Repeat("v", 1000)+"\r\n", 1100)+"Content-Length: 0\r\n\r\n", true)
	f(strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-Many: "+strings.Repeat("v", 1000)+"\r\n\r\n", 20)+ok+"Content-Length: 2\r\n\r\nhi", false)
}

// TestTransport_BoundsInterimAnswers has them come without an end to somebody who does
// not look at them.
func TestTransport_BoundsInterimAnswers(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-Many: "+strings.Repeat("v", 1000)+"\r\n\r\n", 1100)
	address := raw(t, many+"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://f/", nil)
	require.NoError(t, err)
	resp, err := hop.New(address, false).RoundTrip(r)
	if err == nil {
		_ = resp.Body.Close()
	}
	require.ErrorContains(t, err, "the head of the answer is too long")
	require.False(t, hop.Unsent(err))
}

// FuzzNewRequest has requests of the short way be exactly one to who reads them, and
// the one that was meant: nothing that a caller says is a second request or another
// header.
func FuzzNewRequest(f *testing.F) {
	f.Add("POST", "f.example", "/a b", "q=1", "X-A", "v", "body")
	f.Add("GET", "f\r\nX: y", "/\r\n", "a b", "X\r\nY", "a\r\nb: c", "")
	f.Add("PUT", "f", "/%2e", "%", "Transfer-Encoding", "chunked", "0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
	f.Add("GET", "f", "", "", "content-length", "7", "seven..")
	f.Fuzz(func(t *testing.T, method, host, path, query, name, value, body string) {
		r := httptest.NewRequest(http.MethodGet, "http://ignored/", nil)
		r.Method, r.Host, r.URL.Path, r.URL.RawQuery, r.Header[name] = method, host, path, query, []string{value}
		if body != "" {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		q, err := hop.NewRequest(r)
		require.NoError(t, err)
		defer q.Free()
		if q.Wire() == nil {
			return
		}
		in := newReader(q.Wire())
		read, err := http.ReadRequest(in)
		require.NoError(t, err, "%q", q.Wire())
		require.Equal(t, cmp.Or(host, "ignored"), read.Host)
		require.Equal(t, cmp.Or(method, http.MethodGet), read.Method)
		require.Empty(t, read.TransferEncoding)
		require.EqualValues(t, len(body), read.ContentLength)
		data, err := io.ReadAll(read.Body)
		require.NoError(t, err)
		require.Equal(t, body, string(data))
		_, err = in.ReadByte()
		require.ErrorIs(t, err, io.EOF, "nothing comes after it")
		for k, v := range read.Header {
			switch {
			case k == "User-Agent" && name != k, k == "Content-Length":
			default:
				require.Equal(t, http.CanonicalHeaderKey(name), k)
				require.Equal(t, []string{textproto.TrimString(value)}, v)
			}
		}
	})
}
