package func_

import (
	"context"
	"errors"
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

// TestMain builds the programs.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		if selvedge, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
		kubectl = filepath.Join(dir, "kubectl")
		funcTool, err = process.BuildTool(ctx, dir, "tests/clients/func/tools", "func", "-ldflags", "-s -w -X knative.dev/func/pkg/version.Vers=v0.49.2")
		return err
	}))
}

// world is a platform, and somebody at a shell who works with it.
type world struct {
	*process.Platform
	t *testing.T
	// data is the platform's folder, args are its arguments.
	data string
	args []string
	key  string
	home string
	env  []string
}

// start starts a platform and has somebody with a key of the project default
// configure kubectl and func for it.
func start(t *testing.T, args ...string) *world {
	t.Helper()
	w := &world{t: t, data: t.TempDir(), args: args}
	w.begin()
	key, err := w.Key(t.Context(), "projects/default")
	require.NoError(t, err)
	w.as(key)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.Output())
		}
		_ = w.Kill() // it may have ended already
	})
	return w
}

// begin starts the platform on its data.
func (w *world) begin() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, selvedge, w.data, w.args...)
	require.NoError(w.t, err)
	w.Platform = p
}

// as has the shell be that of somebody with another key.
func (w *world) as(key string) {
	w.t.Helper()
	w.home, w.key = w.t.TempDir(), key
	w.env = []string{
		"HOME=" + w.home, "PATH=" + os.Getenv("PATH"), "SELVEDGE_URL=" + w.URL, "SELVEDGE_KEY=" + key,
		"GOPATH=" + goEnv(w.t, "GOPATH"), "GOCACHE=" + goEnv(w.t, "GOCACHE"), "GOMODCACHE=" + goEnv(w.t, "GOMODCACHE"), "GOPROXY=" + goEnv(w.t, "GOPROXY"),
	}
	w.run(selvedge, "kubeconfig", "--merge")
}

// goEnv is a setting of the go command, which the home of a test does not have.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// patience bounds one command.
const patience = 4 * time.Minute

// tick is how often something is looked at.
const tick = 100 * time.Millisecond

// try runs a command and returns what it says on both of its outputs.
func (w *world) try(program string, args ...string) (string, error) {
	w.t.Helper()
	return w.in("", nil, program, args...)
}

// in runs a command in a folder with some more environment.
func (w *world) in(dir string, env []string, program string, args ...string) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(w.env, env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(w.t, err)
	}
	return strings.TrimSpace(string(out)), err
}

// run runs a command that must succeed.
func (w *world) run(program string, args ...string) string {
	w.t.Helper()
	out, err := w.try(program, args...)
	require.NoError(w.t, err, "%s %v: %s", filepath.Base(program), args, out)
	return out
}

// kubectl runs kubectl.
func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	return w.run(kubectl, args...)
}

// write writes a file for a command.
func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), name)
	require.NoError(w.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
