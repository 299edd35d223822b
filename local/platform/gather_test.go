package platform

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// counting is a listener whose connections count what they write.
type counting struct {
	net.Listener
	mu     sync.Mutex
	writes []int
}

// Accept implements net.Listener.
func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &begun{Conn: counted{conn, c}}, nil
}

// counted is a connection whose writes are counted.
type counted struct {
	net.Conn
	by *counting
}

// Write implements net.Conn.
func (c counted) Write(p []byte) (int, error) {
	c.by.mu.Lock()
	c.by.writes = append(c.by.writes, len(p))
	c.by.mu.Unlock()
	return c.Conn.Write(p)
}

// An answer that is gathered is one write, and all of it; others are as before,
// on the same connection.
func TestGather(t *testing.T) {
	t.Parallel()
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &counting{Listener: inner}
	text := bytes.Repeat([]byte("0123456789"), 5000)
	server := &http.Server{ReadHeaderTimeout: time.Minute, ConnContext: withConn, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("bytes"))
		w.Header().Set("Content-Length", strconv.Itoa(n))
		if r.URL.Path == "/gathered" {
			defer gather(r)()
		}
		_, _ = w.Write(text[:n])
		_ = http.NewResponseController(w).Flush()
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		serving.Wait()
	})
	ask := func(path string, n int) []int {
		l.mu.Lock()
		l.writes = nil
		l.mu.Unlock()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+inner.Addr().String()+path+"?bytes="+strconv.Itoa(n), nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, text[:n], got)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.writes
	}
	for _, n := range []int{0, 1, 4000, 4096, 7400, 8192, 50_000} {
		require.Len(t, ask("/gathered", n), 1, "%d bytes", n)
		if n > 4096 {
			require.Greater(t, len(ask("/", n)), 1, "%d bytes", n)
		}
	}
}
