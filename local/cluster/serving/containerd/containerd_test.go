package containerd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/containerd"
	"selvedge.dev/local/cluster/serving/containerd/containerdtest"
	"selvedge.dev/local/cluster/serving/runnertest"
)

// TestMain has one containerd of this program's own for the tests that share it.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		defer func() {
			if shared.d != nil {
				shared.d.Wipe()
				_ = os.RemoveAll(shared.d.Dir)
			}
			_ = os.RemoveAll(addresses())
		}()
		return runnertest.Main(m)
	}())
}

// shared is the containerd that tests share.
var shared struct {
	sync.Mutex
	d *containerdtest.Daemon
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

// addresses is the folder of the addresses that are in use in the network of
// tests.
func addresses() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("selvedge-test-ipam-%d", os.Getpid()))
}

// theDaemon is the containerd that tests share.
func theDaemon(t testing.TB) *containerdtest.Daemon {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.d != nil {
		return shared.d
	}
	dir, err := os.MkdirTemp("", "ctrd-") // sockets have short paths
	require.NoError(t, err)
	defer func() {
		if shared.d == nil { // the test is skipped, or fails
			_ = os.RemoveAll(dir)
		}
	}()
	shared.d = containerdtest.New(t, dir)
	return shared.d
}

// options are those of a runner over a containerd for one test.
func options(t testing.TB, d *containerdtest.Daemon, source bundle.Source) containerd.Options {
	t.Helper()
	return containerd.Options{Source: source, Address: d.Address, Owner: t.Name(), Dir: filepath.Join(t.TempDir(), "run"), Check: 50 * time.Millisecond}
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

// TestRunner_Conforms runs the tests of all runners on containers.
func TestRunner_Conforms(t *testing.T) {
	t.Parallel()
	theDaemon(t)
	runnertest.Run(t, open)
}

// BenchmarkCold is a cold start of a container.
func BenchmarkCold(b *testing.B) { runnertest.BenchCold(b, open) }
