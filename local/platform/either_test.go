package platform

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newPort serves "tls" or "plain" on one port with a certificate of its own.
func newPort(t *testing.T) (address string, roots *x509.CertPool) {
	t.Helper()
	certFile, keyFile, err := ownCertificate(t.TempDir(), []string{"127.0.0.1", "localhost"}, time.Now())
	require.NoError(t, err)
	c, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := "plain " + r.Proto
		if r.TLS != nil {
			said = "tls " + r.Proto
		}
		_, _ = io.WriteString(w, said)
	})}
	both := newEither(l, c.config())
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(both) })
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		serving.Wait()
	})
	roots = x509.NewCertPool()
	pem, err := os.ReadFile(certFile)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(pem))
	return l.Addr().String(), roots
}

func TestEither_SpeaksBoth(t *testing.T) {
	t.Parallel()
	address, roots := newPort(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	get := func(url string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	// Somebody who connects and says nothing holds nobody up.
	silent, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	require.Equal(t, "plain HTTP/1.1", get("http://"+address))
	require.Equal(t, "tls HTTP/2.0", get("https://"+address))
}

func TestEither_EndsWithItsListener(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e := newEither(l, nil)
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	_, err = e.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestOwnCertificate_IsKeptWhileItIsGood(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	read := func(hosts []string, at time.Time) string {
		file, key, err := ownCertificate(dir, hosts, at)
		require.NoError(t, err)
		info, err := os.Stat(key)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(text)
	}
	first := read([]string{"127.0.0.1"}, now)
	require.Equal(t, first, read([]string{"127.0.0.1"}, now))
	other := read([]string{"127.0.0.1", "example.org"}, now)
	require.NotEqual(t, first, other, "it is not for that host")
	require.Equal(t, other, read([]string{"127.0.0.1"}, now))
	require.NotEqual(t, other, read([]string{"127.0.0.1"}, now.Add(ownLife-ownRenew+time.Hour)), "it ends soon")
}

// What is called from this machine by its own name is near; what comes by a
// proxy or out of a web page is not.
func TestIsNear(t *testing.T) {
	t.Parallel()
	f := func(want bool, from, host string, headers ...string) {
		t.Helper()
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://x/functions/p/f", nil)
		require.NoError(t, err)
		r.RemoteAddr, r.Host = from, host
		for _, h := range headers {
			r.Header.Set(h, "x")
		}
		require.Equal(t, want, isNear(r), "%s %s %v", from, host, headers)
	}
	f(true, "127.0.0.1:1", "127.0.0.1:8080")
	f(true, "127.0.0.1:1", "localhost:8080")
	f(true, "[::1]:1", "[::1]:8080")
	f(false, "192.0.2.1:1", "127.0.0.1:8080")
	f(false, "127.0.0.1:1", "platform.example.org")
	f(false, "127.0.0.1:1", "127.0.0.1.example.org")
	f(false, "127.0.0.1:1", "127.0.0.1:8080", "X-Forwarded-For")
	f(false, "127.0.0.1:1", "127.0.0.1:8080", "Origin")
	f(false, "", "127.0.0.1:8080")
}
