package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime"
	"selvedge.dev/sdk/event"
)

// asEdged makes the test binary be edged, so that the tests run the real thing
// as a process of its own.
const asEdged = "EDGED_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asEdged) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// device is the device of every test.
const device = "projects/p/devices/d"

// process is a running edged.
type process struct {
	cmd *exec.Cmd
	log logBuffer
}

// logBuffer is what a process has logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all of it.
func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start starts edged with a reading every 100 ms.
func start(t *testing.T, url, dir string, flags ...string) *process {
	t.Helper()
	flags = append(flags, "--device", device, "--data", dir, "--interval", "100ms")
	p := &process{cmd: exec.Command(os.Args[0], flags...)}
	p.cmd.Env = append(os.Environ(), asEdged+"=1", "SELVEDGE_URL="+url, "SELVEDGE_KEY=k")
	p.cmd.Stderr = &p.log
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		// Most tests have ended it by now.
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	require.Error(t, p.cmd.Wait(), "it was killed")
}

// terminate is an orderly stop.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait(), "%s", &p.log)
}

// until asks the agent on dir for its status until it is as wanted.
func until(t *testing.T, dir string, wanted func(s edgeruntime.Status) bool) edgeruntime.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s, err := knock(ctx, dir)
		if err == nil && wanted(s) {
			return s
		}
		require.NoError(t, ctx.Err(), "%v %+v", err, s)
	}
}

// platform is a double of the platform behind real HTTP.
type platform struct {
	t *testing.T

	mu sync.Mutex
	// down is set while it answers 503.
	down bool
	// fuse counts down the posts to the one at which the agent is killed, at
	// that stage of the answer; killed is told then. 0 is never.
	fuse   int
	stage  int
	killed chan struct{}
	// texts are the stored events by id, ids their order.
	texts map[string]string
	ids   []string
}

// The stages of an answer at which the agent can be killed.
const (
	beforeStored = iota
	afterStored
	halfAnswered
	stages
)

// ServeHTTP implements http.Handler.
func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the agent was killed while it sent
	}
	p.mu.Lock()
	down, stage := p.down, -1
	if p.fuse--; p.fuse == 0 {
		stage = p.stage
	}
	p.mu.Unlock()
	if down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if stage == beforeStored {
		p.die(r)
		return
	}
	answer := p.store(body)
	switch stage {
	case afterStored:
		p.die(r)
	case halfAnswered:
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer[:len(answer)/2])
		_ = http.NewResponseController(w).Flush()
		p.die(r)
	default:
		_, _ = w.Write(answer)
	}
}

// die has the agent killed and waits until it is gone.
func (p *platform) die(r *http.Request) {
	p.killed <- struct{}{}
	<-r.Context().Done()
}

// store stores the events of a batch and returns the verdicts.
func (p *platform) store(body []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	texts, err := event.SplitJSON(body)
	if err != nil {
		p.t.Errorf("no batch: %v", err)
	}
	verdicts := make([]map[string]string, len(texts))
	for i, text := range texts {
		e, err := event.FromJSON(text)
		if err != nil {
			p.t.Errorf("no event: %v", err)
		}
		status := "accepted"
		if before, twice := p.texts[e.ID()]; twice {
			status = "duplicate"
			if before != string(text) {
				p.t.Errorf("event %s has changed", e.ID())
			}
		} else {
			p.texts[e.ID()] = string(text)
			p.ids = append(p.ids, e.ID())
		}
		verdicts[i] = map[string]string{"id": e.ID(), "source": e.Source(), "status": status}
	}
	answer, err := json.Marshal(verdicts)
	if err != nil {
		p.t.Error(err)
	}
	return answer
}

// arm sets the fuse and tells whether the platform is down.
func (p *platform) arm(down bool, fuse, stage int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.fuse, p.stage = down, fuse, stage
}

// The agent is killed in the middle of posts, of answers and of an outage, and
// started again. In the end the platform has every event that was ever put into
// the queue: each start's are complete from the first on, in order.
func TestEdged_KillNineLosesNothing(t *testing.T) {
	t.Parallel()
	p := &platform{t: t, killed: make(chan struct{}), texts: map[string]string{}}
	server := httptest.NewServer(p)
	defer server.Close()
	dir := t.TempDir()
	// owed has, for each start without a platform, how many events it had made
	// before it was killed, at the least.
	var owed []int
	for round := range 12 {
		stage := round % (stages + 1)
		p.arm(stage == stages, 1+rand.IntN(3), stage)
		before := 0
		if stage == stages {
			s, err := edgeruntime.Inspect(dir, 0)
			require.NoError(t, err)
			before = int(s.Queue.Pending)
		}
		edged := start(t, server.URL, dir)
		if stage == stages {
			s := until(t, dir, func(s edgeruntime.Status) bool { return int(s.Queue.Pending) >= before+5 })
			owed = append(owed, int(s.Queue.Pending)-before)
		} else {
			<-p.killed
		}
		edged.kill(t)
	}
	p.arm(false, 0, 0)
	edged := start(t, server.URL, dir)
	until(t, dir, func(s edgeruntime.Status) bool { return s.Delivered > 0 && s.Queue.Pending == 0 })
	edged.terminate(t)

	next := map[string]int{}
	for _, id := range p.ids {
		epoch, n, _ := strings.Cut(id, "-")
		require.Equal(t, strconv.Itoa(next[epoch]), n, "epoch %s", epoch)
		next[epoch]++
	}
	got := slices.Sorted(maps.Values(next))
	slices.Sort(owed)
	for i, n := range owed {
		require.GreaterOrEqual(t, got[len(got)-len(owed)+i], n, "what was pending when the agent was killed has come: %v of %v", owed, got)
	}
	s, err := edgeruntime.Inspect(dir, 0)
	require.NoError(t, err)
	require.Zero(t, s.LostTotal())
	require.Zero(t, s.Queue.Pending)
}

// edged runs the program in this process and returns what it printed.
func edged(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	p := program{env: func(string) string { return "" }, out: &o, err: &e}
	code = p.main(t.Context(), args)
	return code, o.String(), e.String()
}

func TestEdged_Status(t *testing.T) {
	t.Parallel()
	p := &platform{t: t, texts: map[string]string{}}
	p.arm(true, 0, 0)
	server := httptest.NewServer(p)
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "made")

	code, _, errs := edged(t, "status", "--data", dir)
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "no queue")

	running := start(t, server.URL, dir)
	until(t, dir, func(s edgeruntime.Status) bool { return s.State == edgeruntime.StateRetrying && s.Queue.Pending >= 3 })
	code, out, errs := edged(t, "status", "--data", dir)
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `^\d+ pending, oldest \S+, fits for \d+ hours at the current rate\nstate  retrying for \S+: .*503`, out)
	code, out, _ = edged(t, "status", "--json", "--data", dir)
	require.Equal(t, exitOK, code)
	var s edgeruntime.Status
	require.NoError(t, json.Unmarshal([]byte(out), &s))
	require.Equal(t, device, s.Device)

	// A second agent on the folder leaves the first one alone.
	second := start(t, server.URL, dir)
	require.Error(t, second.cmd.Wait())
	require.Contains(t, second.log.String(), "locked")
	until(t, dir, func(edgeruntime.Status) bool { return true })

	running.terminate(t)
	require.Contains(t, running.log.String(), "edge runtime stopped")
	require.NoFileExists(t, filepath.Join(dir, socketName))
	code, out, errs = edged(t, "status", "--data", dir)
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `^\d+ pending, oldest \S+, fits for \d+ hours at the current rate\nstate  stopped\n`, out)

	// What a killed agent leaves of its socket does not keep the next one away.
	killed := start(t, server.URL, dir)
	until(t, dir, func(edgeruntime.Status) bool { return true })
	killed.kill(t)
	require.FileExists(t, filepath.Join(dir, socketName))
	code, _, errs = edged(t, "status", "--data", dir)
	require.Equal(t, exitOK, code, errs)
	p.arm(false, 0, 0)
	last := start(t, server.URL, dir)
	until(t, dir, func(s edgeruntime.Status) bool { return s.Queue.Pending == 0 && s.Delivered > 0 })
	last.terminate(t)
}

// What another program posts on the device comes to the platform.
func TestEdged_Listen(t *testing.T) {
	t.Parallel()
	p := &platform{t: t, texts: map[string]string{}}
	server := httptest.NewServer(p)
	defer server.Close()
	dir := t.TempDir()
	running := start(t, server.URL, dir, "--listen", "127.0.0.1:0")
	until(t, dir, func(s edgeruntime.Status) bool { return s.Delivered > 0 })
	address := regexp.MustCompile(`tcp:(127\.0\.0\.1:\d+)`).FindStringSubmatch(running.log.String())
	require.NotNil(t, address, &running.log)
	body := `{"specversion":"1.0","id":"mine","source":"//selvedge.dev/` + device + `","type":"t","data":{"x":1}}`
	resp, err := http.Post("http://"+address[1]+"/v1/events", event.MediaStructured, strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	running.terminate(t)
	require.Contains(t, p.texts, "mine")

	taken := start(t, server.URL, dir, "--listen", strings.TrimPrefix(server.URL, "http://"))
	require.Error(t, taken.cmd.Wait())
	require.Contains(t, taken.log.String(), "open ingress")
	require.NoFileExists(t, filepath.Join(dir, socketName))
}

func TestEdged_Usage(t *testing.T) {
	t.Parallel()
	f := func(want int, text string, args ...string) {
		t.Helper()
		code, out, errs := edged(t, args...)
		require.Equal(t, want, code, args)
		require.Contains(t, out+errs, text)
	}
	dir := t.TempDir()
	f(exitOK, "--key-file file", "--help")
	f(exitOK, "edged ", "--version")
	f(exitUsage, "--device: ")
	f(exitUsage, "--url: want", "--device", device, "--data", dir, "--key", "k")
	f(exitUsage, "--interval: want at least 100ms", "--interval", "1ms")
	f(exitUsage, "--max-bytes: want at least", "--max-bytes", "10")
	f(exitUsage, "not defined", "--nonsense")
	for _, address := range []string{"0.0.0.0:8070", ":8070", "localhost:8070", "192.168.0.1:8070", "127.0.0.1"} {
		f(exitUsage, "--listen: want a loopback address", "--listen", address)
	}
	f(exitUsage, "unexpected argument: run", "run")
	f(exitUsage, "--data: a folder is required", "status")
	f(exitUsage, "not defined", "status", "--nonsense")
	long := filepath.Join(dir, strings.Repeat("x", 120))
	f(exitUsage, "bytes too long", "--device", device, "--data", long, "--key", "k", "--url", "http://127.0.0.1:1")
}

func TestParseRun_Environment(t *testing.T) {
	t.Parallel()
	env := func(name string) string {
		return map[string]string{"SELVEDGE_URL": "http://env", "SELVEDGE_KEY": "env"}[name]
	}
	f := func(url, key, file string, args ...string) {
		t.Helper()
		r, err := parseRun(args, env)
		require.NoError(t, err)
		require.Equal(t, [3]string{url, key, file}, [3]string{r.config.URL, r.config.Key, r.config.KeyFile})
	}
	f("http://env", "env", "")
	f("http://flag", "flag", "", "--url", "http://flag", "--key", "flag")
	f("http://env", "", "/key", "--key-file", "/key")
	f("http://env", "k", "/key", "--key-file", "/key", "--key", "k") // which is refused later
}

func TestPrintStatus(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	hours := 212.4 * 3600
	f := func(s edgeruntime.Status, want string) {
		t.Helper()
		var b bytes.Buffer
		require.NoError(t, printStatus(&b, s, now))
		require.Equal(t, want, b.String())
	}
	f(edgeruntime.Status{
		State: edgeruntime.StateRetrying, Since: now.Add(-100 * time.Minute), Problem: "no route",
		Queue: edgeruntime.QueueStatus{Pending: 1204, OldestAge: 6020, Bytes: 12 << 20, MaxBytes: 256 << 20, FitsFor: &hours},
		Lost:  map[string]uint64{"REJECTED/INVALID_TIME": 4, "EVICTED": 30},
	}, "1204 pending, oldest 1h40m20s, fits for 212 hours at the current rate\n"+
		"state  retrying for 1h40m0s: no route\n"+
		"disk   12.0 of 256.0 MiB\n"+
		"lost   34, EVICTED 30, REJECTED/INVALID_TIME 4\n")
	f(edgeruntime.Status{State: edgeruntime.StateStopped},
		"0 pending\nstate  stopped\ndisk   0.0 of 0.0 MiB\nlost   0\n")
	f(edgeruntime.Status{State: edgeruntime.StateDelivering, Queue: edgeruntime.QueueStatus{Pending: 1, OldestAge: 9.2 * 86400}},
		"1 pending, oldest 9d4h\nstate  delivering\ndisk   0.0 of 0.0 MiB\nlost   0\n")
}
