// Package chtest gives tests a true ClickHouse server: the one that the
// environment variable SELVEDGE_TEST_CLICKHOUSE says, as a DSN of its native
// protocol, or else a private one of what `make clickhouse` installed, which is
// started once for each test process and ends with it. Without either, tests
// skip, or fail if SELVEDGE_REQUIRE_CLICKHOUSE is set.
package chtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Version is that of the package that `make clickhouse` installs, as
// tests/clickhouse/package.json has it.
const Version = "26.7.3-stable.1"

// Database is a database that one test uses.
type Database struct {
	// Native and HTTP are its DSNs; HTTP is "" if the environment names the
	// server.
	Native, HTTP string
}

// New is a database of the server of this process. When the test ends, it is
// dropped.
func New(t testing.TB) Database {
	t.Helper()
	s, err := shared()
	check(t, err)
	return s.Database(t)
}

// Database is a database of the server that the test alone uses; whoever opens
// it makes it. When the test ends, it is dropped.
func (s *Server) Database(t testing.TB) Database {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	d := s.Named(name)
	if s.http != "" {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			require.NoError(t, s.do(ctx, "DROP DATABASE IF EXISTS "+name+" SYNC"))
		})
	}
	return d
}

// Named is the database of the name.
func (s *Server) Named(name string) Database {
	native := s.native
	native.Path = "/" + name
	d := Database{Native: native.String()}
	if s.http != "" {
		d.HTTP = "http://" + s.http + "/" + name
	}
	return d
}

// Start starts a server that the test alone uses, and that may be killed. When
// the test ends, it is gone.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := Run()
	check(t, err)
	t.Cleanup(s.End)
	return s
}

// check skips the test if there is no server.
func check(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, errNone) && os.Getenv("SELVEDGE_REQUIRE_CLICKHOUSE") == "":
		t.Skip(err)
	case err != nil:
		require.NoError(t, err)
	}
}

// errNone is why there is no server.
var errNone = errors.New("no ClickHouse: run make clickhouse, or set SELVEDGE_TEST_CLICKHOUSE")

// shared is the server of this process.
var shared = sync.OnceValues(func() (*Server, error) {
	if dsn := os.Getenv("SELVEDGE_TEST_CLICKHOUSE"); dsn != "" {
		return At(dsn)
	}
	return Run()
})

// At is the server that a DSN without a database says, which somebody else
// started.
func At(dsn string) (*Server, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("the DSN of ClickHouse: %w", err)
	}
	return &Server{native: *u}, nil
}

// Server is a server of what is installed, in a folder of its own.
type Server struct {
	// native is its DSN without a database; http is the address of its port
	// of HTTP.
	native url.URL
	http   string
	// dir holds its data and its log.
	dir string
	// cmd is its process; life is open until it shall end.
	cmd  *exec.Cmd
	life io.Closer
}

// script runs a server, which ends when its input does: that is when the process
// that has the other end of it does. The folder goes with it then, but not when
// the server was killed.
const script = `
dir=$1; shift
exec 3<&0
"$@" >>"$dir/log" 2>&1 3<&- &
pid=$!
(read -r _ <&3; kill -KILL $pid; rm -rf "$dir") &
wait $pid
`

// Run starts a server on free ports, for who is no test.
func Run() (*Server, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	installed := filepath.Join(cache, "selvedge", "clickhouse-"+Version)
	for _, file := range []string{"libchdb.so", "clickhouse"} {
		if _, err := os.Stat(filepath.Join(installed, file)); err != nil {
			return nil, errNone
		}
	}
	dir, err := os.MkdirTemp("", "selvedge-clickhouse-")
	if err != nil {
		return nil, err
	}
	ports, err := free(2)
	if err != nil {
		return nil, err
	}
	s := &Server{
		native: url.URL{Scheme: "clickhouse", Host: "127.0.0.1:" + ports[0]},
		http:   "127.0.0.1:" + ports[1],
		dir:    dir,
	}
	return s, s.run(filepath.Join(installed, "clickhouse"), filepath.Join(installed, "libchdb.so"))
}

// run runs the server in its folder on its ports, and waits until it answers.
func (s *Server) run(program, library string) error {
	s.cmd = exec.Command("sh", "-c", script, "sh", s.dir, program, "-library", library,
		"-data", filepath.Join(s.dir, "data"), "-native", s.native.Port(), "-http", s.http[strings.LastIndexByte(s.http, ':')+1:])
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what stops the tests does not stop it half
	s.cmd.Dir = s.dir
	life, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.life = life
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting ClickHouse: %w", err)
	}
	ended, cmd := make(chan struct{}), s.cmd // which is another after Restart
	go func() { _ = cmd.Wait(); close(ended) }()
	return s.await(ended)
}

// await waits until the server answers.
func (s *Server) await(ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := s.do(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("ClickHouse does not answer: %w", err)
		case <-ended:
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("ClickHouse ended: %s", text)
		}
	}
}

// do has the server do a statement.
func (s *Server) do(ctx context.Context, statement string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.http, strings.NewReader(statement))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// Kill kills the server as a crash does; Restart starts it again.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.kill()
}

// Restart starts the server that was killed again, on its files and ports.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	require.NoError(t, s.run(s.cmd.Args[5], s.cmd.Args[7]))
}

// kill kills the server, and waits until it is gone.
func (s *Server) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // the shell's group: it, its watcher and the server
	_ = s.life.Close()
	for s.do(context.Background(), "SELECT 1") == nil {
		time.Sleep(time.Millisecond)
	}
}

// End ends the server for good, and removes its folder.
func (s *Server) End() {
	if s.cmd == nil {
		return // it is not ours
	}
	s.kill()
	_ = os.RemoveAll(s.dir)
}

// free are ports of the loopback address that nobody has now.
func free(n int) ([]string, error) {
	ports := make([]string, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		_, ports[i], err = net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
	}
	return ports, nil
}
