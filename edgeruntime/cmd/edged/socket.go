package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"selvedge.dev/edgeruntime"
)

const (
	// socketName is the unix socket in the data folder through which a running
	// agent says how it does. Who may open the folder may ask.
	socketName = "edged.sock"
	// maxSocketPath is the longest path of a socket that every system takes.
	maxSocketPath = 103
	// statusTimeout bounds one question, which is answered from memory and one
	// read of the queue.
	statusTimeout = 5 * time.Second
)

// openStatus begins to answer with status in dir. The caller owns the queue in
// dir, so a socket that is there already was left by an agent that was killed.
func openStatus(dir string, status func() edgeruntime.Status) (*service, error) {
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return nil, usageError{fmt.Sprintf("--data: the path is %d bytes too long for a socket in it", len(path)-maxSocketPath)}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old status socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open status socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// The status line is out: a body that cannot be written has no reader.
		_ = json.NewEncoder(w).Encode(status())
	})
	return serve(l, mux, statusTimeout), nil
}

// errNobody means that no agent answers in a folder.
var errNobody = errors.New("no agent answers")

// knock asks the agent that runs on dir for its status.
func knock(ctx context.Context, dir string) (edgeruntime.Status, error) {
	var s edgeruntime.Status
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, socketName))
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edged/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return s, errors.Join(errNobody, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("agent answers %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("read status: %w", err)
	}
	return s, nil
}
