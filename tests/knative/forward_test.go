package knative

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os/exec"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// background starts a kubectl that runs until the test ends, and returns the
// address in the first line that it prints, behind the text.
func (s *shell) background(text string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, kubectl, args...)
	cmd.Env = s.env
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	s.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it is killed
		if s.t.Failed() && problems.Len() > 0 {
			s.t.Logf("kubectl %v: %s", args, &problems)
		}
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(s.t, err, "kubectl %v: %s", args, &problems)
	go func() {
		for err == nil {
			_, err = lines.ReadString('\n') // it must not wait for us
		}
	}()
	_, address, ok := strings.Cut(line, text)
	require.True(s.t, ok, "%q", line)
	return "http://" + strings.Fields(address)[0]
}

// forward is the URL of a service of the cluster, from here.
func (s *shell) forward(namespace, service string) string {
	s.t.Helper()
	return s.background("Forwarding from ", "port-forward", "--namespace="+namespace, "--address=127.0.0.1", "service/"+service, ":80")
}

// reach is a transport to the hosts of Knative Services: where the gateway is,
// whatever names resolve to; addresses are what they are.
func (c settings) reach() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil && c.gateway != "" && net.ParseIP(host) == nil {
				address = c.gateway
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
}

// proxy is an HTTP proxy that reaches the hosts of Knative Services, for programs
// that would ask DNS for them.
func (s *shell) proxy(to *http.Transport) string {
	s.t.Helper()
	server := httptest.NewServer(&httputil.ReverseProxy{Transport: to, Rewrite: func(*httputil.ProxyRequest) {}})
	s.t.Cleanup(server.Close)
	return server.URL
}
