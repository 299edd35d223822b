//go:build linux

package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/sdk/fault"
)

// programVariable names the program that runs in the sandboxes, for a test
// binary that is run again as another user.
const programVariable = "SELVEDGE_TEST_HOSTILE"

// TestMain becomes a sandbox when it is to, and else builds the program that
// runs in them.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(func() int {
		if os.Getenv(programVariable) == "" {
			dir, err := os.MkdirTemp("", "hostile-")
			if err == nil {
				defer func() { _ = os.RemoveAll(dir) }()
				err = os.Chmod(dir, 0o755)
			}
			program := filepath.Join(dir, "hostile")
			if err == nil {
				build := exec.Command("go", "build", "-o", program, "./testdata/hostile")
				build.Env = append(os.Environ(), "CGO_ENABLED=0")
				build.Stderr = os.Stderr
				err = build.Run()
			}
			if err != nil {
				panic(err)
			}
			_ = os.Setenv(programVariable, program)
		}
		return m.Run()
	}())
}

// newRunner is a Runner that ends with the test.
func newRunner(t testing.TB, o sandbox.Options) *sandbox.Runner {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r, err := sandbox.New(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// image is a folder with the program in it.
func image(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "image, with: odd \\characters")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
	program, err := os.ReadFile(os.Getenv(programVariable))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "bin", "hostile"), program, 0o755))
	return root
}

// output is a writer that a test may read meanwhile.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
	got chan struct{}
}

// newOutput is an empty output.
func newOutput() *output { return &output{got: make(chan struct{}, 1)} }

// Write takes what the process wrote.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	select {
	case o.got <- struct{}{}:
	default:
	}
	return len(p), nil
}

// String is what was written up to now.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until the process has written text.
func (o *output) await(t testing.TB, text string) {
	t.Helper()
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.got:
		case <-t.Context().Done():
			require.Fail(t, "test ended", o.String())
		}
	}
}

// spec is a process of the hostile program.
func spec(root string, out *output, args ...string) sandbox.Spec {
	return sandbox.Spec{Name: "fn-1", Root: root, Args: append([]string{"/bin/hostile"}, args...), Stdout: out, Stderr: out}
}

// run runs the hostile program to its end and returns what it wrote.
func run(t testing.TB, r *sandbox.Runner, s sandbox.Spec) (string, sandbox.Exit) {
	t.Helper()
	out := newOutput()
	s.Stdout, s.Stderr = out, out
	p, err := r.Start(t.Context(), s)
	require.NoError(t, err)
	exit := p.Wait()
	return out.String(), exit
}

// isolated is a Runner with namespaces, or skips the test: without them
// Describe says that it does not hold.
func isolated(t testing.TB) *sandbox.Runner {
	t.Helper()
	r := newRunner(t, sandbox.Options{})
	if !r.Describe().Namespaces {
		t.Skip("this machine allows no namespaces: " + r.Describe().String())
	}
	return r
}

func TestStart_RunsTheProgramAsItIsTold(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	out, exit := run(t, r, sandbox.Spec{
		Name: "fn-1", Root: image(t), Args: []string{"hostile", "hello", "a b"}, Env: []string{"PATH=/nowhere:/bin", "SECRET=s"}, Dir: "/bin",
	})
	require.Equal(t, sandbox.Exit{Reason: sandbox.Exited}, exit)
	require.Equal(t, "pid=1 uid=65532 gid=65532 host=fn-1 dir=/bin env=PATH=/nowhere:/bin,SECRET=s args=a b\nto stderr\n", out)
}

func TestStart_IsRootForNobody(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	s := spec(image(t), nil, "hello")
	s.UID, s.GID = 1234, 567
	out, _ := run(t, r, s)
	require.Contains(t, out, "uid=1234 gid=567")
}

func TestStart_Exits(t *testing.T) {
	t.Parallel()
	r := newRunner(t, sandbox.Options{})
	root := image(t)
	f := func(want sandbox.Exit, args ...string) {
		t.Helper()
		s := spec(root, nil, args...)
		s.Limits.Memory = 64 << 20
		_, exit := run(t, r, s)
		require.Equal(t, want, exit)
	}
	f(sandbox.Exit{Reason: sandbox.Exited}, "exit", "0")
	f(sandbox.Exit{Reason: sandbox.Exited, Code: 3}, "exit", "3")
	f(sandbox.Exit{Reason: sandbox.Exited, Code: 2}, "crash") // Go's own exit at a nil dereference
	if r.Describe().Memory {
		f(sandbox.Exit{Reason: sandbox.OutOfMemory, Code: 137, Signal: 9}, "alloc")
	} else {
		f(sandbox.Exit{Reason: sandbox.Exited, Code: 2}, "alloc") // Go's own exit without memory
	}
}

func TestStop_AsksThenKills(t *testing.T) {
	t.Parallel()
	r := newRunner(t, sandbox.Options{})
	root := image(t)
	f := func(want sandbox.Exit, mode, ready string, grace time.Duration) {
		t.Helper()
		out := newOutput()
		p, err := r.Start(t.Context(), spec(root, out, mode))
		require.NoError(t, err)
		out.await(t, ready)
		require.Equal(t, want, p.Stop(grace))
		require.Equal(t, want, p.Wait())
		_, err = p.Stats()
		require.Equal(t, fault.NotFound, fault.KindOf(err))
	}
	f(sandbox.Exit{Reason: sandbox.Stopped, Code: 7}, "polite", "ready", time.Minute)
	f(sandbox.Exit{Reason: sandbox.Killed, Code: 137, Signal: 9}, "deaf", "deaf", time.Millisecond)
}

func TestKill_EndsTheWholeTree(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	out := newOutput()
	p, err := r.Start(t.Context(), spec(image(t), out, "tree"))
	require.NoError(t, err)
	out.await(t, "deaf") // the grandchild, in a session of its own
	stats, err := p.Stats()
	require.NoError(t, err)
	require.Greater(t, stats.Processes, int64(2))
	require.Positive(t, stats.Memory)
	p.Kill()
	// The output would stay open as long as the grandchild lives.
	require.Equal(t, sandbox.Killed, p.Wait().Reason)
}

func TestStart_RefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRunner(t, sandbox.Options{})
	root := image(t)
	f := func(reason, field string, change func(s *sandbox.Spec)) {
		t.Helper()
		s := spec(root, newOutput(), "hello")
		change(&s)
		_, err := r.Start(t.Context(), s)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, fault.Invalid, e.Kind, err)
		require.Equal(t, []string{reason, field}, []string{e.Reason, e.Field}, err)
	}
	f("INVALID_SPEC", "name", func(s *sandbox.Spec) { s.Name = "Not A Name" })
	f("INVALID_SPEC", "root", func(s *sandbox.Spec) { s.Root = "relative" })
	f("INVALID_SPEC", "args", func(s *sandbox.Spec) { s.Args = nil })
	f("INVALID_SPEC", "args", func(s *sandbox.Spec) { s.Args = []string{"/bin/hostile", "a\x00b"} })
	f("INVALID_SPEC", "args", func(s *sandbox.Spec) { s.Args = append(s.Args, strings.Repeat("x", 1<<20)) })
	f("INVALID_SPEC", "env", func(s *sandbox.Spec) { s.Env = []string{"=x"} })
	f("INVALID_SPEC", "dir", func(s *sandbox.Spec) { s.Dir = "bin" })
	f("INVALID_SPEC", "limits", func(s *sandbox.Spec) { s.Limits.Memory = -1 })
	f("INVALID_SPEC", "mounts", func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "x", Target: "/x"}} })
	f("INVALID_SPEC", "mounts", func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "/etc", Target: "/a/.."}} })
	f("INVALID_SPEC", "mounts", func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Source: "/etc", Target: "/proc/1"}} })
	f("NOT_RUNNABLE", "args", func(s *sandbox.Spec) { s.Args = []string{"/bin/none"} })
	f("NOT_RUNNABLE", "args", func(s *sandbox.Spec) { s.Args = []string{"none"} })
	f("NOT_RUNNABLE", "args", func(s *sandbox.Spec) { s.Dir = "/none" })
}

func TestStart_EndsWithItsContextButTheProcessDoesNot(t *testing.T) {
	t.Parallel()
	r := newRunner(t, sandbox.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	out := newOutput()
	p, err := r.Start(ctx, spec(image(t), out, "polite"))
	require.NoError(t, err)
	cancel()
	out.await(t, "ready")
	require.Equal(t, 7, p.Stop(time.Minute).Code)
	_, err = r.Start(ctx, spec(image(t), out, "polite"))
	require.ErrorIs(t, err, context.Canceled)
}

func TestClose_EndsAllAndStartsNoMore(t *testing.T) {
	t.Parallel()
	r, err := sandbox.New(t.Context(), sandbox.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	p, err := r.Start(t.Context(), spec(image(t), newOutput(), "deaf"))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, sandbox.Killed, p.Wait().Reason)
	_, err = r.Start(t.Context(), spec(image(t), newOutput(), "deaf"))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.NoError(t, r.Close())
}
