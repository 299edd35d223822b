package knative

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// The programs of these tests, built once by TestMain.
var selvedge, kubectl, funcTool string

// TestMain builds the programs, and takes down what the tests put on the cluster.
func TestMain(m *testing.M) {
	os.Exit(process.Main(cleared{m}, func(ctx context.Context, dir string) (err error) {
		if selvedge, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
		kubectl = filepath.Join(dir, "kubectl")
		funcTool, err = process.BuildTool(ctx, dir, "tests/clients/func/tools", "func", "-ldflags", "-s -w -X knative.dev/func/pkg/version.Vers=v0.49.2")
		return err
	}))
}

// cleared are tests after which the cluster is as it was.
type cleared struct{ *testing.M }

// Run runs the tests.
func (c cleared) Run() int {
	code := c.M.Run()
	if err := theInstallation.remove(); err != nil {
		fmt.Fprintln(os.Stderr, "what the tests installed is left:", err)
		return 1
	}
	return code
}

// settings are the variables that doc.go explains.
type settings struct{ kubeconfig, registry, gateway, host, volume string }

// theCluster is what the environment says of the cluster; a test that needs one is
// skipped where there is none.
func theCluster(t *testing.T) settings {
	t.Helper()
	s := settings{os.Getenv("KUBECONFIG"), os.Getenv("REGISTRY"), os.Getenv("GATEWAY"), os.Getenv("HOST"), os.Getenv("VOLUME")}
	if s.kubeconfig == "" {
		t.Skip("KUBECONFIG names no cluster")
	}
	require.NotEmpty(t, s.registry, "REGISTRY is not set")
	return s
}

// patience bounds one command, and webhooks how long one that restarts may take.
const (
	patience = 5 * time.Minute
	webhooks = 2 * time.Minute
)

// shell is somebody who runs commands.
type shell struct {
	t   *testing.T
	env []string
}

// newShell is a shell with a home of its own and some more environment.
func newShell(t *testing.T, env ...string) *shell {
	t.Helper()
	s := &shell{t: t, env: append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)}
	for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GONOSUMDB", "GOFLAGS"} {
		out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		require.NoError(t, err)
		s.env = append(s.env, name+"="+strings.TrimSpace(string(out)))
	}
	return s
}

// try runs a command in a folder and returns what it says on both of its outputs.
func (s *shell) try(dir, program string, args ...string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, s.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(s.t, err)
	}
	return strings.TrimSpace(string(out)), err
}

// in runs a command in a folder, and it must succeed. What fails for a webhook that
// does not answer is no refusal, and run again: on a busy cluster they restart.
func (s *shell) in(dir, program string, args ...string) string {
	s.t.Helper()
	deadline := time.Now().Add(webhooks)
	out, err := s.try(dir, program, args...)
	for err != nil && strings.Contains(out, "failed calling webhook") && time.Now().Before(deadline) {
		s.t.Logf("again: %s %v: %s", filepath.Base(program), args, out)
		<-time.After(time.Second)
		out, err = s.try(dir, program, args...)
	}
	require.NoError(s.t, err, "%s %v: %s", filepath.Base(program), args, out)
	return out
}

// kubectl runs kubectl.
func (s *shell) kubectl(args ...string) string {
	s.t.Helper()
	return s.in("", kubectl, args...)
}

// apply applies a manifest.
func (s *shell) apply(text string, args ...string) string {
	s.t.Helper()
	return s.kubectl(append([]string{"apply", "-f", s.write("manifest.yaml", text)}, args...)...)
}

// write writes a file for a command.
func (s *shell) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// root is the folder of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := process.Root()
	require.NoError(t, err)
	return dir
}
