package runnertest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/pool/pooltest"
	"selvedge.dev/sdk/fault"
)

// Run runs the tests, each with a runner of its own.
func Run(t *testing.T, o Open) {
	images := NewRegistry(t)
	for name, test := range map[string]func(*testing.T, Rig){
		"runs an image":       runsAnImage,
		"resolves by digest":  resolvesByDigest,
		"says why not":        saysWhyNot,
		"layers and names":    layersAndNames,
		"never as root":       neverAsRoot,
		"isolates":            isolates,
		"a read-only root":    readOnlyRoot,
		"bounds memory":       boundsMemory,
		"bounds scratch":      boundsScratch,
		"all that it printed": allThatItPrinted,
		"stops":               stops,
		"starts again":        startsAgain,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, o(t, images.Source))
		})
	}
}

// ask asks an instance of the pool.
func ask(t testing.TB, p *pool.Pool, path string) pooltest.Answer {
	t.Helper()
	var a pooltest.Answer
	status, body := Text(t, p, path)
	require.Equal(t, http.StatusOK, status, body)
	require.NoError(t, json.Unmarshal([]byte(body), &a), body)
	return a
}

// Text asks an instance for a text.
func Text(t testing.TB, p *pool.Pool, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://f"+path, nil)
	require.NoError(t, err)
	resp, err := p.RoundTrip(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// read reads a file as an instance sees it.
func read(t testing.TB, p *pool.Pool, path string) string {
	t.Helper()
	status, text := Text(t, p, "/read?path="+path)
	require.Equal(t, http.StatusOK, status, text)
	return text
}

// writes has an instance write a file, and reports whether it can.
func writes(t testing.TB, p *pool.Pool, path string) bool {
	t.Helper()
	status, _ := Text(t, p, "/write?path="+path)
	return status == http.StatusOK
}

// statusOf is the fields of /proc/self/status of an instance.
func statusOf(t testing.TB, p *pool.Pool) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(read(t, p, "/proc/self/status")) {
		k, v, _ := strings.Cut(line, ":")
		out[k] = strings.Join(strings.Fields(v), " ")
	}
	return out
}

// runsAnImage shows the variables, the volumes and the files of an instance.
func runsAnImage(t *testing.T, r Rig) {
	p := r.NewPool(t, "v1", func(i *pool.Instance) {
		i.Env = append(i.Env, "B=1")
		i.Volumes = []pool.Volume{
			{Path: "/etc/secret", Key: "s", Files: map[string]pool.File{"a/b": {Data: []byte("x"), Mode: 0o444}}},
			{Path: "/etc/part", Key: "s", SubPath: "a", Files: map[string]pool.File{"a/b": {Data: []byte("y"), Mode: 0o400}}},
			{Path: "/var/cache", Writable: true},
		}
	})
	a := ask(t, p, "/x")
	require.Equal(t, "image", a.Env["A"])
	require.Equal(t, "1", a.Env["B"])
	host, port, _ := strings.Cut(a.Env["LISTEN_ADDRESS"], ":")
	require.Equal(t, []string{host, port}, []string{a.Env["ADDRESS"], a.Env["PORT"]}, "what the image says of the port does not count")
	require.Equal(t, "x", read(t, p, "/etc/secret/a/b"))
	require.Equal(t, "y", read(t, p, "/etc/part/b"))
	require.False(t, writes(t, p, "/etc/secret/a/b"))
	for _, path := range []string{"/var/cache/f", "/tmp/f"} {
		require.True(t, writes(t, p, path))
		require.Equal(t, "written", read(t, p, path))
	}
	made, err := os.ReadDir(r.Dir)
	require.NoError(t, err)
	require.NotEmpty(t, made)
	p.Close(t.Context())
	made, err = os.ReadDir(r.Dir)
	require.NoError(t, err)
	require.Empty(t, made, "the files go with the instance")
}

// resolvesByDigest shows what references become.
func resolvesByDigest(t *testing.T, r Rig) {
	ref := r.reference(t, "v1")
	require.True(t, strings.HasPrefix(ref, "registry.test/shop/function@sha256:"), ref)
	again, err := r.Resolve(t.Context(), "shop", ref)
	require.NoError(t, err)
	require.Equal(t, ref, again)
	_, err = r.Resolve(t.Context(), "shop", "registry.test/shop/function:v2")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// saysWhyNot shows the faults of instances that cannot be started, which leave
// nothing behind.
func saysWhyNot(t *testing.T, r Rig) {
	f := func(kind fault.Kind, change func(*pool.Instance)) {
		t.Helper()
		i := pool.Instance{Name: "f", Namespace: "shop", Image: r.reference(t, "v1")}
		change(&i)
		_, err := r.Start(t.Context(), i)
		require.Error(t, err)
		require.Equal(t, kind, fault.KindOf(err), err)
	}
	f(fault.NotFound, func(i *pool.Instance) { i.Image = "registry.test/shop/function:v2" })
	f(fault.Invalid, func(i *pool.Instance) { i.Image = r.reference(t, "wrong") })
	f(fault.Invalid, func(i *pool.Instance) { i.Command = []string{"/nothing"} })
	f(fault.Invalid, func(i *pool.Instance) { i.Command = []string{"nothing"} })
	f(fault.Invalid, func(i *pool.Instance) { root := int64(0); i.User, i.NonRoot = &root, true })
	f(fault.Precondition, func(i *pool.Instance) {
		i.Volumes = []pool.Volume{{Path: "/v", Key: "v", SubPath: "none", Files: map[string]pool.File{}}}
	})
	f(fault.Internal, func(i *pool.Instance) {
		i.Volumes = []pool.Volume{{Path: "/v", Files: map[string]pool.File{"../out": {}}}}
	})
	f(fault.Invalid, func(i *pool.Instance) {
		i.Volumes = []pool.Volume{{Path: "/a", Key: "v", Writable: true}, {Path: "/b", Key: "v", Writable: true}}
	})
	if r.Isolated {
		f(fault.Invalid, func(i *pool.Instance) { i.Volumes = []pool.Volume{{Path: "/proc/x", Writable: true}} })
	}
	left, err := os.ReadDir(r.Dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// layersAndNames shows that upper layers cover lower ones, and that users have
// names.
func layersAndNames(t *testing.T, r Rig) {
	p := r.NewPool(t, "named", nil)
	s := statusOf(t, p)
	if !r.Isolated {
		return
	}
	require.Equal(t, "1234 1234 1234 1234", s["Uid"])
	require.Equal(t, "2345 2345 2345 2345", s["Gid"])
	require.Contains(t, read(t, p, "/etc/passwd"), "app")
	status, _ := Text(t, p, "/read?path=/etc/gone")
	require.Equal(t, http.StatusNotFound, status, "a file that a layer took away")
}

// neverAsRoot shows whom instances run as whose image or manifest says nothing, or
// root.
func neverAsRoot(t *testing.T, r Rig) {
	if !r.Isolated {
		t.Skip("only who is root makes a process another user's")
	}
	p := r.NewPool(t, "root", nil)
	require.Equal(t, "65532 65532 65532 65532", statusOf(t, p)["Uid"])
	given := int64(4321)
	p = r.NewPool(t, "v1", func(i *pool.Instance) { i.User = &given })
	require.Equal(t, "4321 4321 4321 4321", statusOf(t, p)["Uid"])
}

// isolates shows that an instance has no rights, and sees nothing of the machine.
func isolates(t *testing.T, r Rig) {
	if !r.Isolated {
		t.Skip("this machine has no namespaces for processes")
	}
	p := r.NewPool(t, "v1", nil)
	a := ask(t, p, "/")
	s := statusOf(t, p)
	require.Equal(t, strings.Repeat("0", 16), s["CapEff"])
	require.Equal(t, strings.Repeat("0", 16), s["CapBnd"])
	require.Equal(t, "1", s["NoNewPrivs"])
	require.Equal(t, "2", s["Seccomp"], "calls are refused")
	require.Less(t, a.Pid, 10, "its processes are its own")
	require.Equal(t, p.State().Instances[0].Name+"\n", read(t, p, "/proc/sys/kernel/hostname"))
	status, _ := Text(t, p, "/read?path="+r.Dir)
	require.Equal(t, http.StatusNotFound, status, "the machine's files are not there")
}

// readOnlyRoot shows where an instance may write.
func readOnlyRoot(t *testing.T, r Rig) {
	if !r.Isolated {
		t.Skip("this machine has no namespaces for processes")
	}
	p := r.NewPool(t, "v1", func(i *pool.Instance) { i.User = ptr(0); i.ReadOnlyRoot = true })
	require.False(t, writes(t, p, "/func/new"))
	require.True(t, writes(t, p, "/tmp/new"))
	require.True(t, writes(t, p, "/dev/shm/new"))
}

// ptr is a pointer to a number.
func ptr(n int64) *int64 { return &n }

// boundsMemory shows that an instance that takes too much memory ends.
func boundsMemory(t *testing.T, r Rig) {
	var out printed
	p, err := r.Start(t.Context(), pool.Instance{
		Name: "f", Namespace: "shop", Image: r.reference(t, "v1"), Env: []string{"SELVEDGE_POOLTEST_FUNCTION=greedy"}, Memory: 32 << 20, Stdout: &out,
	})
	require.NoError(t, err)
	exit := p.Wait()
	require.NotZero(t, exit.Code, "%+v", exit)
	if r.Isolated {
		require.Equal(t, "OOMKilled", exit.Reason)
	}
}

// boundsScratch shows that no more can be written than is allowed.
func boundsScratch(t *testing.T, r Rig) {
	if !r.Isolated {
		t.Skip("without namespaces, scratch space is measured now and then")
	}
	p := r.NewPool(t, "v1", func(i *pool.Instance) {
		i.Scratch = 1 << 20
		i.Volumes = []pool.Volume{{Path: "/var/cache", Writable: true}}
	})
	for _, path := range []string{"/tmp/f", "/var/cache/f"} {
		status, why := Text(t, p, "/write?bytes="+strconv.Itoa(4<<20)+"&path="+path)
		require.Equal(t, http.StatusForbidden, status)
		require.Contains(t, why, "no space left")
	}
}

// allThatItPrinted shows that an end is told after all that was printed.
func allThatItPrinted(t *testing.T, r Rig) {
	for range 3 {
		var out, errs printed
		p, err := r.Start(t.Context(), pool.Instance{
			Name: "f", Namespace: "shop", Image: r.reference(t, "v1"), Env: []string{"SELVEDGE_POOLTEST_FUNCTION=crash"}, Stdout: &out, Stderr: &errs,
		})
		require.NoError(t, err)
		require.Equal(t, pool.Exit{Code: 3}, p.Wait())
		require.Equal(t, "starting crash\n", out.String())
		require.Equal(t, "panic: out of luck\n", errs.String())
	}
}

// stops shows that a process ends when it is told to, or else a little later.
func stops(t *testing.T, r Rig) {
	f := func(kind string, grace time.Duration, code int) {
		t.Helper()
		var out printed
		p, err := r.Start(t.Context(), pool.Instance{
			Name: "f", Namespace: "shop", Image: r.reference(t, "v1"), Stdout: &out,
			Env: []string{"SELVEDGE_POOLTEST_FUNCTION=" + kind, "LISTEN_ADDRESS=127.0.0.1:0"},
		})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Contains(out.String(), "listening") }, 20*time.Second, time.Millisecond)
		exits := make(chan pool.Exit, 1)
		go func() { exits <- p.Wait() }()
		p.Stop(grace)
		e := <-exits
		require.Empty(t, e.Reason, "%+v", e)
		require.Equal(t, code, e.Code)
	}
	f("deaf", time.Millisecond, 137)
	f("polite", time.Minute, 0)
}

// startsAgain shows that an end is noticed, and that the instance is started again.
func startsAgain(t *testing.T, r Rig) {
	p := r.NewPool(t, "v1", nil)
	ask(t, p, "/")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://f/exit?code=4", nil)
	require.NoError(t, err)
	if resp, err := p.RoundTrip(req); err == nil { // it is gone before it has answered
		_ = resp.Body.Close()
	}
	ask(t, p, "/")
	s := p.State().Instances[0]
	require.Equal(t, 1, s.Restarts)
	require.Equal(t, "ExitCode4", s.Last.Reason)
	require.Contains(t, s.Last.Message, "asked to exit")
}

// printed is what an instance printed, which a test may read meanwhile.
type printed struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps p.
func (o *printed) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all that was printed.
func (o *printed) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// BenchCold is from the request to the answer of an instance that is started for
// it.
func BenchCold(b *testing.B, o Open) {
	r := o(b, NewRegistry(b).Source)
	p := r.NewPool(b, "v1", nil)
	ask(b, p, "/")
	for b.Loop() {
		b.StopTimer()
		p.Scale(0)
		require.Eventually(b, func() bool { return len(p.State().Instances) == 0 }, 20*time.Second, time.Millisecond)
		b.StartTimer()
		ask(b, p, "/")
	}
	s := p.Stats()
	b.ReportMetric(float64(s.ColdP50.Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(s.ColdP99.Microseconds())/1000, "p99-ms")
}
