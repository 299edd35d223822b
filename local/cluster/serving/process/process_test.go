package process_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/process"
	"selvedge.dev/local/cluster/serving/runnertest"
	"selvedge.dev/sdk/fault"
)

// TestMain is a sandbox when it is asked to be one.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(runnertest.Main(m))
}

// open makes a runner; it skips where there are no sandboxes.
func open(t testing.TB, source bundle.Source) runnertest.Rig {
	t.Helper()
	box, err := sandbox.New(t.Context(), sandbox.Options{Dir: t.TempDir()})
	if fault.KindOf(err) == fault.Unsupported {
		t.Skip("this machine has no sandboxes: ", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close()) })
	cache, err := image.Open(filepath.Join(t.TempDir(), "images"), image.Options{})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "run")
	r, err := process.New(process.Options{Sandbox: box, Cache: cache, Dir: dir, Source: source})
	require.NoError(t, err)
	have := box.Describe()
	return runnertest.Rig{Runner: r, Dir: dir, Isolated: have.Namespaces && have.OtherUser && have.Memory && have.Calls}
}

// TestRunner_Conforms runs the tests of all runners on processes.
func TestRunner_Conforms(t *testing.T) {
	t.Parallel()
	runnertest.Run(t, open)
}

// BenchmarkCold is a cold start in a sandbox.
func BenchmarkCold(b *testing.B) { runnertest.BenchCold(b, open) }
