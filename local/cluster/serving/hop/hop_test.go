package hop_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/hop"
)

// newReader reads what would be sent.
func newReader(wire []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(wire)) }

// rig is a process that counts its connections.
type rig struct {
	*hop.Transport
	t            testing.TB
	opened, live atomic.Int64
}

// newRig is a process with a handler.
func newRig(t testing.TB, handler http.HandlerFunc) *rig {
	r := &rig{t: t}
	l := httptest.NewUnstartedServer(handler)
	l.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			r.opened.Add(1)
			r.live.Add(1)
		case http.StateClosed, http.StateHijacked:
			r.live.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
	l.Start()
	r.Transport = hop.New(l.Listener.Addr().String(), false)
	t.Cleanup(func() {
		r.CloseIdleConnections()
		l.Close()
	})
	return r
}

// request is a request with a body, none if it is empty.
func (r *rig) request(ctx context.Context, method, body string) *http.Request {
	var in io.Reader
	if body != "" {
		in = struct{ io.Reader }{strings.NewReader(body)} // which cannot be read twice
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://f/", in)
	require.NoError(r.t, err)
	req.ContentLength = int64(len(body))
	return req
}

// ask is the body of an answer.
func (r *rig) ask(method, body string) (string, error) {
	resp, err := r.RoundTrip(r.request(r.t.Context(), method, body))
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// eventually waits for what the other end does.
func eventually(t testing.TB, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 10*time.Second, time.Millisecond)
}

// echo answers the body.
func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func TestTransport_KeepsConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo)
	for range 5 {
		text, err := r.ask(http.MethodPost, "hello")
		require.NoError(t, err)
		require.Equal(t, "hello", text)
		_, err = r.ask(http.MethodHead, "")
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, r.opened.Load())
	require.Equal(t, 1, r.Idle())
	r.Age(30 * time.Second)
	require.Equal(t, 1, r.Idle())
	r.Age(time.Minute)
	require.Zero(t, r.Idle())
	eventually(t, func() bool { return r.live.Load() == 0 })
}

func TestTransport_KeepsNoneOfAProcessThatEnds(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPut {
			<-hold
		}
		echo(w, req)
	})
	var group sync.WaitGroup
	group.Go(func() { _, _ = r.ask(http.MethodPut, "") })
	_, err := r.ask(http.MethodGet, "")
	require.NoError(t, err)
	eventually(t, func() bool { return r.opened.Load() == 2 })
	r.CloseIdleConnections()
	require.Zero(t, r.Idle())
	close(hold)
	group.Wait()
	require.Zero(t, r.Idle(), "the one that was in use neither")
	eventually(t, func() bool { return r.live.Load() == 0 })
}

func TestTransport_BoundsKeptConnections(t *testing.T) {
	t.Parallel()
	const many = 300
	var inside sync.WaitGroup
	inside.Add(many)
	r := newRig(t, func(http.ResponseWriter, *http.Request) {
		inside.Done()
		inside.Wait()
	})
	var group sync.WaitGroup
	for range many {
		group.Go(func() { _, _ = r.ask(http.MethodGet, "") })
	}
	group.Wait()
	require.EqualValues(t, many, r.opened.Load())
	require.Equal(t, 256, r.Idle())
	eventually(t, func() bool { return r.live.Load() == 256 })
}

// TestTransport_NoticesClosedConnections has the process close a connection between
// two requests, which costs neither of them, whatever their methods are.
func TestTransport_NoticesClosedConnections(t *testing.T) {
	t.Parallel()
	var server *http.Server
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		server, _ = req.Context().Value(http.ServerContextKey).(*http.Server)
		echo(w, req)
	})
	for range 3 {
		text, err := r.ask(http.MethodPost, "x")
		require.NoError(t, err)
		require.Equal(t, "x", text)
		require.Equal(t, 1, r.Idle())
		server.SetKeepAlivesEnabled(false) // which closes those that are idle
		eventually(t, func() bool { return r.live.Load() == 0 })
		server.SetKeepAlivesEnabled(true)
	}
	require.EqualValues(t, 3, r.opened.Load())
}

// TestTransport_SendsAgain has the process close a kept connection under a request.
func TestTransport_SendsAgain(t *testing.T) {
	t.Parallel()
	f := func(method, body string, again bool) {
		t.Helper()
		var asked atomic.Int64
		r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
			if asked.Add(1) == 2 {
				panic(http.ErrAbortHandler)
			}
			echo(w, req)
		})
		_, err := r.ask(http.MethodGet, "")
		require.NoError(t, err)
		text, err := r.ask(method, body)
		if again {
			require.NoError(t, err)
			require.Equal(t, body, text)
			require.EqualValues(t, 3, asked.Load())
			return
		}
		require.Error(t, err)
		require.False(t, hop.Unsent(err), "the process has seen it")
		require.EqualValues(t, 2, asked.Load())
	}
	f(http.MethodGet, "", true)
	f(http.MethodOptions, "", true)
	f(http.MethodPost, "", false)
	f(http.MethodPost, "x", false)
	f(http.MethodGet, "x", false)
	f(http.MethodDelete, "", false)
}

// TestTransport_NotOnANewConnection has the process close every connection: no request
// is sent there twice.
func TestTransport_NotOnANewConnection(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	r := newRig(t, func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	})
	_, err := r.ask(http.MethodGet, "")
	require.Error(t, err)
	require.False(t, hop.Unsent(err))
	require.EqualValues(t, 1, asked.Load())
}

func TestTransport_NobodyListens(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	for _, h2c := range []bool{false, true} {
		r := &rig{t: t, Transport: hop.New(address, h2c)}
		_, err = r.ask(http.MethodPost, "x")
		require.Error(t, err)
		require.True(t, hop.Unsent(err))
	}
}

func TestTransport_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	why := errors.New("too slow")
	began := make(chan struct{}, 1)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}
		began <- struct{}{}
		<-req.Context().Done()
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-began
		cancel(why)
	}()
	resp, err := r.RoundTrip(r.request(ctx, http.MethodGet, ""))
	if err == nil {
		_ = resp.Body.Close()
	}
	require.ErrorIs(t, err, why, "while the head was waited for")
	eventually(t, func() bool { return r.live.Load() == 0 })

	ctx, cancel = context.WithCancelCause(t.Context())
	resp, err = r.RoundTrip(r.request(ctx, http.MethodPost, "x"))
	require.NoError(t, err)
	<-began
	cancel(why)
	_, err = io.ReadAll(resp.Body)
	require.ErrorIs(t, err, why, "while the body was read")
	require.NoError(t, resp.Body.Close())
	require.Zero(t, r.Idle())
	eventually(t, func() bool { return r.live.Load() == 0 })

	gone, stop := context.WithCancel(t.Context())
	stop()
	resp, err = r.RoundTrip(r.request(gone, http.MethodGet, ""))
	if err == nil {
		_ = resp.Body.Close()
	}
	require.ErrorIs(t, err, context.Canceled)
}

func TestTransport_AnswerThatNobodyReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20))
	})
	resp, err := r.RoundTrip(r.request(t.Context(), http.MethodGet, ""))
	require.NoError(t, err)
	_, err = resp.Body.Read(make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, resp.Body.Close())
	_, err = resp.Body.Read(make([]byte, 10))
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	require.Zero(t, r.Idle())
	eventually(t, func() bool { return r.live.Load() == 0 })
}

// TestTransport_AnswersStream has each part come when it was written.
func TestTransport_AnswersStream(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	resp, err := r.RoundTrip(r.request(t.Context(), http.MethodGet, ""))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	for range 3 {
		text := make([]byte, 9)
		_, err := io.ReadFull(resp.Body, text)
		require.NoError(t, err)
		require.Equal(t, "data: x\n\n", string(text))
		next <- struct{}{}
	}
	_, err = resp.Body.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 1, r.Idle())
}

// TestTransport_AnswerBeforeTheRequestIsRead has as much come unread as the short way
// ever sends.
func TestTransport_AnswerBeforeTheRequestIsRead(t *testing.T) {
	t.Parallel()
	const answer = 8 << 20
	address := unread(t, answer)
	r := &rig{t: t, Transport: hop.New(address, false)}
	text, err := r.ask(http.MethodPost, strings.Repeat("b", 31<<10))
	require.NoError(t, err)
	require.Len(t, text, answer)
}

// unread is a process that reads a byte and answers.
func unread(t testing.TB, size int) string {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	group.Go(func() {
		defer func() { _ = l.Close() }()
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
		_, _ = c.Write(make([]byte, size))
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
	return l.Addr().String()
}

// TestTransport_TellsLeftoversFromAnswers has a process say more than it was asked,
// which nobody takes for the answer of the next request.
func TestTransport_TellsLeftoversFromAnswers(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "x"} {
		address := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"+more, false)
		r := &rig{t: t, Transport: hop.New(address, false)}
		for range 3 {
			text, err := r.ask(http.MethodPost, "x")
			require.NoError(t, err)
			require.Equal(t, "good", text)
		}
		r.CloseIdleConnections()
	}
}

func TestNewRequest_ReadsTheWholeBody(t *testing.T) {
	t.Parallel()
	f := func(body io.Reader, length int64, problem string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "http://f/", nil)
		r.Body, r.ContentLength = io.NopCloser(body), length
		q, err := hop.NewRequest(r)
		if problem != "" {
			require.ErrorContains(t, err, problem)
			return
		}
		require.NoError(t, err)
		defer q.Free()
		require.True(t, strings.HasSuffix(string(q.Wire()), "\r\n\r\nbody"))
	}
	f(strings.NewReader("body"), 4, "")
	f(io.MultiReader(strings.NewReader("bo"), strings.NewReader("dy")), 4, "")
	f(strings.NewReader("body"), 3, "longer than the 3 bytes")
	f(strings.NewReader("body"), 5, "ends after 4 of 5 bytes")
	f(io.MultiReader(strings.NewReader("bo"), failing{}), 4, "read the body: out of luck")
}

// failing is a body that cannot be read.
type failing struct{}

// Read fails.
func (failing) Read([]byte) (int, error) { return 0, errors.New("out of luck") }
