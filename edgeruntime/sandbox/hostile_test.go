//go:build linux

package sandbox_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/sdk/fault"
)

func TestHostile_SeesNothingOfTheMachine(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	data := filepath.Join(t.TempDir(), "platform")
	require.NoError(t, os.MkdirAll(data, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(data, "secret"), []byte("platform-secret"), 0o644))
	root := image(t)
	require.NoError(t, os.Symlink(filepath.Join(data, "secret"), filepath.Join(root, "absolute")))
	require.NoError(t, os.Symlink(strings.Repeat("../", 30)+data+"/secret", filepath.Join(root, "relative")))
	other, err := r.Start(t.Context(), spec(image(t), newOutput(), "deaf"))
	require.NoError(t, err)
	defer other.Kill()

	out, _ := run(t, r, spec(root, nil, "read", "/", "/../../..", "/proc/1/root", "/proc/1/cwd/..", "/dev",
		data+"/secret", "/absolute", "/relative", "/proc/1/root"+data+"/secret", "/proc/"+strconv.Itoa(other.PID()), "/proc/"+strconv.Itoa(os.Getpid())+"/environ", "/proc/self/fd"))
	require.NotContains(t, out, "platform-secret")
	lines := strings.Split(out, "\n")
	for _, line := range lines[:4] {
		require.Regexp(t, `: dir absolute bin dev proc relative tmp$`, line)
	}
	require.Equal(t, "/dev: dir fd full null random shm stderr stdin stdout urandom zero", lines[4])
	for _, line := range lines[5:11] {
		require.Contains(t, line, "no such file")
	}
	// Its own three, and what it has opened to look: no pipe of the sandbox.
	require.Regexp(t, `^/proc/self/fd: dir 0 1 2 [34]( [45])?( [56])?$`, lines[11])
	mounts, _ := run(t, r, spec(root, nil, "read", "/proc/self/mountinfo"))
	require.NotContains(t, mounts, data)
	require.Equal(t, 10, strings.Count(mounts, `\n`), mounts) // root, dev, five devices, shm, tmp, proc
}

func TestHostile_HasNoRights(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	other, err := r.Start(t.Context(), spec(image(t), newOutput(), "deaf"))
	require.NoError(t, err)
	defer other.Kill()
	out, exit := run(t, r, spec(image(t), nil, "rights", strconv.Itoa(other.PID()), strconv.Itoa(os.Getpid())))
	require.Zero(t, exit.Code, out)
	for _, what := range []string{"mount", "remount", "umount", "mknod", "chroot", "sethostname", "setuid", "setrlimit", "reboot", "kill", "ptrace", "environ"} {
		require.Regexp(t, `(?m)^`+what+`: .*(operation not permitted|no such process|no such file|permission denied|invalid argument).*$`, out)
	}
	require.True(t, r.Describe().Calls)
	for _, what := range []string{"unshare", "clone", "io_uring", "keyctl", "fsopen"} {
		require.Regexp(t, `(?m)^`+what+`: .*operation not permitted$`, out)
	}
	require.Contains(t, out, "clone3: function not implemented\n")
	require.Contains(t, out, "threads: <nil>\n")
	require.Len(t, regexp.MustCompile(`(?m)^Cap(Inh|Prm|Eff|Bnd|Amb):\t0+$`).FindAllString(out, -1), 5, out)
	require.Contains(t, out, "NoNewPrivs:\t1")
	if !r.Describe().UserNamespace { // which keeps the groups of the user who made it
		require.Regexp(t, `(?m)^Groups:\s*$`, out)
	}
	select {
	case <-other.Done():
		require.Fail(t, "another sandbox was killed")
	default:
	}
}

func TestHostile_WritesToScratchAlone(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	root := image(t)
	out, _ := run(t, r, spec(root, nil, "write", "/x", "/bin/hostile", "/dev/x", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/core_pattern", "/tmp/x", "/dev/shm/x"))
	require.Equal(t, 5, strings.Count(out, "read-only file system")+strings.Count(out, "permission denied"), out)
	require.Contains(t, out, "/tmp/x: <nil>\n/dev/shm/x: <nil>\n")

	s := spec(root, nil, "write", "/bin/new")
	s.Writable = true
	require.NoError(t, os.Chmod(filepath.Join(root, "bin"), 0o777))
	out, _ = run(t, r, s)
	require.Equal(t, "/bin/new: <nil>\n", out)
	require.NoFileExists(t, filepath.Join(root, "bin", "new"))
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Len(t, left, 1, "the image is as it was")
}

func TestHostile_FillsItsScratch(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	root := image(t)
	f := func(want string, args ...string) {
		t.Helper()
		s := spec(root, nil, args...)
		s.Scratch = 1 << 20
		out, exit := run(t, r, s)
		require.Equal(t, sandbox.Exited, exit.Reason)
		require.Regexp(t, want, out)
	}
	f(`^wrote (9\d{5}|1048576) .*no space left`, "fill", "/tmp/x")
	f(`^wrote (9\d{5}|1048576) .*no space left`, "fill", "/dev/shm/x")
	f(`^made 1\d{3} .*no space left`, "inodes", "/tmp")
}

func TestHostile_ForksAndAllocatesAndOpens(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	root := image(t)
	s := spec(root, nil, "forkbomb")
	s.Limits.Processes = 40
	out, _ := run(t, r, s)
	var n int
	_, err := fmt.Sscanf(out[strings.Index(out, "started"):], "started %d", &n)
	require.NoError(t, err, out)
	require.Less(t, n, 40, out)

	s = spec(root, nil, "files")
	s.Limits.Files = 50
	out, _ = run(t, r, s)
	require.Regexp(t, `^opened 4\d open /dev/null: too many open files`, out)

	// Scratch space is memory.
	s = spec(root, nil, "fill", "/tmp/x")
	s.Limits.Memory, s.Scratch = 32<<20, 1<<30
	if r.Describe().Memory {
		_, exit := run(t, r, s)
		require.Equal(t, sandbox.OutOfMemory, exit.Reason)
	}
}

func TestLimits_BoundTheProcessor(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	if !r.Describe().CPU {
		t.Skip("no control group bounds processors: " + r.Describe().String())
	}
	s := spec(image(t), nil, "spin", "1s")
	s.Limits.CPU = 100
	out, _ := run(t, r, s)
	used, err := time.ParseDuration(strings.TrimSpace(out))
	require.NoError(t, err, out)
	require.Less(t, used, 400*time.Millisecond, "a tenth of a second of processor time in one, and as much again at its ends")
}

func TestMounts_AreSeenAndKept(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	secrets := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(secrets, "..data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "..data", "token"), []byte("t0p"), 0o644))
	require.NoError(t, os.Symlink("..data/token", filepath.Join(secrets, "token")))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(secrets, link))
	s := spec(image(t), nil, "read", "/etc/secrets/token", "/etc/one")
	s.Mounts = []sandbox.Mount{{Source: link, Target: "/etc/secrets"}, {Source: filepath.Join(secrets, "token"), Target: "/etc/one"}}
	out, _ := run(t, r, s)
	require.Equal(t, "/etc/secrets/token: \"t0p\" <nil>\n/etc/one: \"t0p\" <nil>\n", out)

	s.Args = []string{"/bin/hostile", "write", "/etc/secrets/token", "/etc/one"}
	out, _ = run(t, r, s)
	require.Equal(t, 2, strings.Count(out, "read-only")+strings.Count(out, "permission denied"), out)

	s.Mounts = []sandbox.Mount{{Source: filepath.Join(secrets, "none"), Target: "/x"}}
	_, err := r.Start(t.Context(), s)
	require.ErrorContains(t, err, "none")
}

func TestNetworkFiles_AreThoseOfTheMachine(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	s := spec(image(t), nil, "read", "/etc/hosts")
	s.Mounts = sandbox.NetworkFiles()
	want, err := os.ReadFile("/etc/hosts")
	require.NoError(t, err)
	out, _ := run(t, r, s)
	require.Equal(t, fmt.Sprintf("/etc/hosts: %q <nil>\n", want), out)
}

// TestMounts_ImageLeadsThemNowhere has links in the image where the sandbox
// makes folders and mounts, to places outside.
func TestMounts_ImageLeadsThemNowhere(t *testing.T) {
	t.Parallel()
	r := isolated(t)
	outside := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("t0p"), 0o644))
	f := func(link, target string) {
		t.Helper()
		root := image(t)
		require.NoError(t, os.Symlink(target, filepath.Join(root, link)))
		s := spec(root, newOutput(), "hello")
		s.Mounts = []sandbox.Mount{{Source: secret, Target: "/etc/deep/secret"}}
		if p, err := r.Start(t.Context(), s); err == nil {
			p.Wait()
		}
		left, err := os.ReadDir(outside)
		require.NoError(t, err)
		require.Empty(t, left, "%s -> %s", link, target)
	}
	for _, link := range []string{"etc", "tmp", "dev", "proc"} {
		f(link, outside)
		f(link, strings.Repeat("../", 20)+outside)
		f(link, "/proc/self/cwd"+outside)
		f(link, "/proc/1/root"+outside)
		f(link, "/proc/self/fd/5")
	}
}

// TestStart_DiesWithTheProgram runs this test in a process that is killed, and
// reads what the sandbox has as its output until nobody has it open.
func TestStart_DiesWithTheProgram(t *testing.T) {
	t.Parallel()
	const variable = "SELVEDGE_TEST_ABANDON"
	if os.Getenv(variable) != "" {
		r := newRunner(t, sandbox.Options{Plain: os.Getenv(variable) == "plain"})
		s := spec(image(t), nil, "deaf")
		s.Stdout, s.Stderr = os.Stdout, os.Stdout
		p, err := r.Start(t.Context(), s)
		require.NoError(t, err)
		p.Wait()
		return
	}
	for _, how := range []string{"namespaces", "plain"} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestStart_DiesWithTheProgram$")
		cmd.Env = append(os.Environ(), variable+"="+how)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		line := make([]byte, len("deaf\n"))
		_, err = io.ReadFull(out, line)
		require.NoError(t, err)
		require.Equal(t, "deaf\n", string(line))
		require.NoError(t, cmd.Process.Kill())
		_, err = io.ReadAll(out)
		require.NoError(t, err)
		require.Error(t, cmd.Wait())
	}
}

// TestNonRoot runs the tests of this package as a user who has no rights.
func TestNonRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("is not root already")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	home := filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(home, 0o777))
	require.NoError(t, os.Chmod(home, 0o777))
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	program := filepath.Join(dir, "sandbox.test")
	require.NoError(t, os.WriteFile(program, self, 0o755))
	cmd := exec.Command(program, "-test.v", "-test.skip=^TestNonRoot$|^TestStart_DiesWithTheProgram$|^TestCgroup|^Fuzz")
	cmd.Env = append(os.Environ(), "TMPDIR="+home, "HOME="+home)
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestStart_Exits")
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "SKIP") || strings.Contains(line, "allows no") || strings.Contains(line, "no control group") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func TestPlain_RunsWithLimitsAndSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRunner(t, sandbox.Options{Plain: true})
	have := r.Describe()
	require.False(t, have.Namespaces)
	require.Contains(t, have.String(), "processes see each other")
	root := image(t)
	s := spec(root, nil, "hello")
	out, exit := run(t, r, s)
	require.Zero(t, exit.Code)
	if os.Geteuid() == 0 {
		require.Equal(t, "chroot", have.Root)
		require.Regexp(t, `uid=65532 gid=65532 .* dir=/ env=TMPDIR=/tmp/selvedge-scratch-\d+ `, out)
	} else {
		require.Equal(t, "none", have.Root)
		require.Contains(t, have.String(), "processes have the rights of this user")
		require.Contains(t, out, "dir="+root)
	}
	s.Args = []string{"/bin/hostile", "files"}
	s.Limits.Files = 50
	out, _ = run(t, r, s)
	require.NotContains(t, out, "opened 5\\d")

	s.Mounts = []sandbox.Mount{{Source: "/etc/hosts", Target: "/etc/hosts"}}
	_, err := r.Start(t.Context(), s)
	require.Equal(t, fault.Unsupported, fault.KindOf(err))
}

func TestPlain_EndsWhoFillsTheScratchFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRunner(t, sandbox.Options{Plain: true, Dir: dir})
	s := spec(image(t), nil, "fillmany")
	s.Scratch = 1 << 20
	_, exit := run(t, r, s)
	require.Equal(t, sandbox.ScratchFull, exit.Reason)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// BenchmarkStart is the cost from the call to the exec of the program; the best
// and the median are told too, as other programs share the machine.
func BenchmarkStart(b *testing.B) {
	r := newRunner(b, sandbox.Options{})
	root := image(b)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		p, err := r.Start(b.Context(), spec(root, newOutput(), "exit", "0"))
		took = append(took, time.Since(began))
		require.NoError(b, err)
		b.StopTimer()
		p.Wait()
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(took[0].Seconds()*1000, "ms-best")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-median")
}
