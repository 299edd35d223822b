package e2e

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// link is a TCP proxy that stands for the way from a device to its platform
// and can be cut.
type link struct {
	listener net.Listener

	mu sync.Mutex
	// to is the platform's address, "" while the link is cut.
	to    string
	conns map[net.Conn]bool
}

// newLink is a link that is cut.
func newLink(t *testing.T) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &link{listener: listener, conns: map[net.Conn]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(c)
		}
	}()
	t.Cleanup(func() {
		l.set("")
		_ = listener.Close() // ends the goroutine
		<-done
	})
	return l
}

// carry connects c with the platform, if there is a way.
func (l *link) carry(c net.Conn) {
	defer func() { _ = c.Close() }() // it may have been cut
	l.mu.Lock()
	to := l.to
	l.mu.Unlock()
	if to == "" {
		return
	}
	p, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = p.Close() }() // it may have been cut
	l.mu.Lock()
	open := l.to == to
	if open {
		l.conns[c], l.conns[p] = true, true
	}
	l.mu.Unlock()
	if !open {
		return
	}
	go func() {
		_, _ = io.Copy(p, c) // ends when either side does
		_ = p.Close()
	}()
	_, _ = io.Copy(c, p) // ends when either side does
}

// set leads the link to the platform at address, or cuts it, in the middle of
// whatever is on it.
func (l *link) set(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = address
	for c := range l.conns {
		_ = c.Close() // that is the cut
		delete(l.conns, c)
	}
}

// edgeStatus is what `edged status --json` says.
type edgeStatus struct {
	Queue struct {
		Pending int `json:"pending_events"`
	} `json:"queue"`
	Lost map[string]int `json:"lost_events"`
}

// statusOf asks for the state of the queue in dir.
func statusOf(t *testing.T, dir string) edgeStatus {
	t.Helper()
	out, err := exec.Command(edged, "status", "--data", dir, "--json").Output()
	require.NoError(t, err, "%s", out)
	var s edgeStatus
	require.NoError(t, json.Unmarshal(out, &s))
	return s
}

// TestEdge_KeepsReadingsThroughAnOutage runs the real edge runtime against the
// real platform, cuts the link and kills the platform, and finds every reading
// of the outage on the platform afterwards.
func TestEdge_KeepsReadingsThroughAnOutage(t *testing.T) {
	t.Parallel()
	data, queue := t.TempDir(), filepath.Join(t.TempDir(), "queue")
	p := start(t, data)
	register(t, p, "gateway-7")
	var made struct{ Key string }
	call(t, p, http.MethodPost, "/v1/keys", nil, map[string]any{"principal": "projects/default/devices/gateway-7"}, &made)
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, []byte(made.Key), 0o600))

	l := newLink(t)
	address := func() string {
		u, err := url.Parse(p.URL)
		require.NoError(t, err)
		return u.Host
	}
	l.set(address())
	device := exec.Command(edged, "--url", "http://"+l.listener.Addr().String(), "--key-file", keyFile,
		"--device", "projects/default/devices/gateway-7", "--data", queue, "--interval", "100ms")
	device.Stderr = os.Stderr
	require.NoError(t, device.Start())
	t.Cleanup(func() { _ = device.Process.Kill() }) // it may have ended already

	const metric = "dev.selvedge.host.v1/memory/used_ratio gateway-7"
	points := func() []point {
		return querySeries(t, p, url.Values{
			"filter":             {`metric.type = "dev.selvedge.host.v1/memory/used_ratio"`},
			"interval.startTime": {time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)},
			"interval.endTime":   {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)},
		})[metric]
	}
	require.Eventually(t, func() bool { return len(points()) >= 3 }, startTimeout, 20*time.Millisecond)

	cut := time.Now()
	l.set("")
	require.NoError(t, p.Kill())
	require.Eventually(t, func() bool { return statusOf(t, queue).Queue.Pending >= 20 }, 60*time.Second, 50*time.Millisecond)
	restored := time.Now()
	p = start(t, data)
	l.set(address())
	require.Eventually(t, func() bool { return statusOf(t, queue).Queue.Pending <= 2 }, 60*time.Second, 50*time.Millisecond)
	require.NoError(t, device.Process.Signal(syscall.SIGTERM))
	require.NoError(t, device.Wait())

	s := statusOf(t, queue)
	require.Zero(t, s.Queue.Pending, "the last flush took the rest")
	for reason, n := range s.Lost {
		require.Zero(t, n, reason)
	}
	drained(t, p)
	during := 0
	for _, pt := range points() {
		if pt.at.After(cut) && pt.at.Before(restored) {
			during++
		}
	}
	require.GreaterOrEqual(t, during, 18, "of the 20 that were pending at least, those that were read after the cut")
	stop(t, p)
}
