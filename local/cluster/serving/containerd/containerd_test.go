package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/containerd"
	"selvedge.dev/local/cluster/serving/runnertest"
)

// The variables that name the program of containerd, and say that a test that
// misses it fails.
const (
	programVariable = "SELVEDGE_TEST_CONTAINERD"
	requireVariable = "SELVEDGE_REQUIRE_CONTAINERD"
)

// TestMain has one containerd of this program's own for the tests that share it.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		defer func() {
			if shared.d != nil {
				shared.d.wipe()
				_ = os.RemoveAll(shared.d.dir)
			}
			_ = os.RemoveAll(addresses())
		}()
		return runnertest.Main(m)
	}())
}

// shared is the containerd that tests share.
var shared struct {
	sync.Mutex
	d *daemon
}

// made are the images that tests share, once made.
var made struct {
	sync.Mutex
	images *runnertest.Registry
}

// registry is the images that tests share.
func registry(t testing.TB) *runnertest.Registry {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.images == nil {
		made.images = runnertest.NewRegistry(t)
	}
	return made.images
}

// daemon is a containerd of the tests' own.
type daemon struct {
	program, dir, address string
	cmd                   *exec.Cmd
	done                  chan struct{}
}

// errNone is that there is no containerd on this machine.
var errNone = errors.New("containerd is not to be had: name its program by " + programVariable + ", or install it with runc, and be root")

// newDaemon makes a containerd with files of its own and starts it.
func newDaemon(dir string) (*daemon, error) {
	program := os.Getenv(programVariable)
	for _, needed := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		found, err := exec.LookPath(needed)
		if err != nil && (needed != "containerd" || program == "") {
			return nil, fmt.Errorf("%w: %w", errNone, err)
		}
		if needed == "containerd" && program == "" {
			program = found
		}
	}
	if os.Geteuid() != 0 {
		return nil, errNone
	}
	d := &daemon{program: program, dir: dir, address: filepath.Join(dir, "c.sock")}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n", filepath.Join(dir, "root"), filepath.Join(dir, "state"), d.address)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return d, d.start()
}

// start starts it, and returns when it listens.
func (d *daemon) start() error {
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the daemon has it
	d.cmd = exec.Command(d.program, "-c", filepath.Join(d.dir, "config.toml"))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.done = make(chan struct{})
	go func() {
		_ = d.cmd.Wait() // the log says more
		close(d.done)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-d.done:
			text, _ := os.ReadFile(filepath.Join(d.dir, "log")) // none if there is none
			return fmt.Errorf("containerd has ended: %s", text)
		case <-tick.C:
		}
		if c, err := new(net.Dialer).DialContext(context.Background(), "unix", d.address); err == nil {
			return c.Close()
		}
	}
}

// stop stops it; its containers go on.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(os.Interrupt) // one that has ended needs none
	<-d.done
}

// wipe ends what tests that failed have left running, and stops it.
func (d *daemon) wipe() {
	left, _ := exec.Command("ctr", "-a", d.address, "-n", "selvedge", "tasks", "ls", "-q").Output() // none if it has been stopped
	for _, id := range strings.Fields(string(left)) {
		_ = exec.Command("ctr", "-a", d.address, "-n", "selvedge", "tasks", "rm", "-f", id).Run() // as far as can be
	}
	d.stop()
}

// addresses is the folder of the addresses that are in use in the network of
// tests.
func addresses() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("selvedge-test-ipam-%d", os.Getpid()))
}

// need is a containerd, or the end of the test.
func need(t testing.TB, d *daemon, err error) *daemon {
	t.Helper()
	if errors.Is(err, errNone) && os.Getenv(requireVariable) == "" {
		t.Skip("NOT TESTED: ", err)
	}
	require.NoError(t, err)
	return d
}

// theDaemon is the containerd that tests share.
func theDaemon(t testing.TB) *daemon {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.d != nil {
		return shared.d
	}
	dir, err := os.MkdirTemp("", "ctrd-") // sockets have short paths
	require.NoError(t, err)
	d, err := newDaemon(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
	}
	shared.d = need(t, d, err)
	return d
}

// options are those of a runner over a containerd for one test.
func options(t testing.TB, d *daemon, source bundle.Source) containerd.Options {
	t.Helper()
	return containerd.Options{Source: source, Address: d.address, Owner: t.Name(), Dir: filepath.Join(t.TempDir(), "run"), Check: 50 * time.Millisecond}
}

// open makes a runner over the shared containerd.
func open(t testing.TB, source bundle.Source) runnertest.Rig {
	t.Helper()
	return openWith(t, options(t, theDaemon(t), source))
}

// openWith makes a runner.
func openWith(t testing.TB, o containerd.Options) runnertest.Rig {
	t.Helper()
	r, err := containerd.New(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return runnertest.Rig{Runner: r, Dir: o.Dir, Isolated: true}
}

// ctr is what containerd's own command says of the things of an owner.
func ctr(t testing.TB, d *daemon, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ctr", append([]string{"-a", d.address, "-n", "selvedge"}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

// TestRunner_Conforms runs the tests of all runners on containers.
func TestRunner_Conforms(t *testing.T) {
	t.Parallel()
	theDaemon(t)
	runnertest.Run(t, open)
}

// BenchmarkCold is a cold start of a container.
func BenchmarkCold(b *testing.B) { runnertest.BenchCold(b, open) }
