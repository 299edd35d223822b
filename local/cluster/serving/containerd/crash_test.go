package containerd_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/containerd/containerdtest"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/runnertest"
	"selvedge.dev/sdk/fault"
)

// ownDaemon is a containerd of one test's own.
func ownDaemon(t *testing.T, start bool) *containerdtest.Daemon {
	t.Helper()
	d := containerdtest.New(t, runnertest.ShortDir(t))
	t.Cleanup(d.Wipe)
	if !start {
		d.Stop()
	}
	return d
}

// instance is an instance of the image with a tag, which does a thing.
func instance(t *testing.T, r runnertest.Rig, name, kind string) pool.Instance {
	t.Helper()
	ref, err := r.Resolve(t.Context(), "shop", "registry.test/shop/function:v1")
	require.NoError(t, err)
	return pool.Instance{
		Name: name, Namespace: "shop", Image: ref, Scratch: 1 << 20,
		Env: []string{"SELVEDGE_POOLTEST_FUNCTION=" + kind, "LISTEN_ADDRESS=127.0.0.1:0"},
	}
}

// status asks a pool, and is the status of the answer.
func status(t *testing.T, p *pool.Pool, path string) int {
	t.Helper()
	code, _ := runnertest.Text(t, p, path)
	return code
}

func TestRunner_EndsWhatWasLeftBehind(t *testing.T) {
	t.Parallel()
	d := theDaemon(t)
	images := registry(t)
	o := options(t, d, images.Source)
	first := openWith(t, o)
	left, err := first.Start(t.Context(), instance(t, first, "left", "never"))
	require.NoError(t, err)
	other := o
	other.Owner, other.Dir = o.Owner+"/other", filepath.Join(t.TempDir(), "run")
	others := openWith(t, other)
	stays, err := others.Start(t.Context(), instance(t, others, "stays", "never"))
	require.NoError(t, err)

	again := o
	again.Dir = filepath.Join(t.TempDir(), "run")
	second := openWith(t, again)
	require.NotZero(t, left.Wait().Code, "the first runner sees that its container ended")
	require.Contains(t, d.Ctr(t, "containers", "ls"), "stays-", "it is of another platform")
	require.NotContains(t, d.Ctr(t, "containers", "ls"), "left-")
	require.NotContains(t, d.Ctr(t, "snapshots", "ls"), "left-")
	p, err := second.Start(t.Context(), instance(t, second, "new", "polite"))
	require.NoError(t, err)
	for _, p := range []pool.Process{p, stays} {
		done := make(chan pool.Exit, 1)
		go func() { done <- p.Wait() }()
		p.Stop(0)
		<-done
	}
	require.NotContains(t, d.Ctr(t, "containers", "ls"), "stays-")
	require.NotContains(t, d.Ctr(t, "snapshots", "ls"), "new-")
}

func TestRunner_ContainersGoOnWithoutContainerd(t *testing.T) {
	t.Parallel()
	d := ownDaemon(t, true)
	r := openWith(t, options(t, d, registry(t).Source))
	p := r.NewPool(t, "v1", nil)
	require.Equal(t, http.StatusOK, status(t, p, "/"))
	d.Stop()
	require.Equal(t, http.StatusOK, status(t, p, "/"), "requests do not go through containerd")
	require.NoError(t, d.Start())
	require.Equal(t, http.StatusOK, status(t, p, "/"))
	require.Zero(t, p.State().Instances[0].Restarts, "it is the same process still")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://f/exit?code=7", nil)
	require.NoError(t, err)
	if resp, err := p.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
	}
	require.Equal(t, http.StatusOK, status(t, p, "/"))
	require.Equal(t, "ExitCode7", p.State().Instances[0].Last.Reason, "its end is noticed")
}

func TestRunner_BeforeContainerdIsThere(t *testing.T) {
	t.Parallel()
	d := ownDaemon(t, false)
	r := openWith(t, options(t, d, registry(t).Source))
	_, err := r.Start(t.Context(), instance(t, r, "f", "never"))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, "NO_CONTAINERD", fault.ReasonOf(err))
	require.ErrorContains(t, err, d.Address)
	require.NoError(t, d.Start())
	p := r.NewPool(t, "v1", nil)
	require.Equal(t, http.StatusOK, status(t, p, "/"))
}

func TestRunner_DoesNotWaitForContainerdForever(t *testing.T) {
	t.Parallel()
	d := ownDaemon(t, true)
	o := options(t, d, registry(t).Source)
	o.Patience = 100 * time.Millisecond
	r := openWith(t, o)
	p, err := r.Start(t.Context(), instance(t, r, "f", "never"))
	require.NoError(t, err)
	d.Stop()
	done := make(chan pool.Exit, 1)
	go func() { done <- p.Wait() }()
	p.Stop(0)
	require.Equal(t, pool.Exit{Code: 255, Reason: "ContainerStatusUnknown"}, <-done)
	require.NoError(t, d.Start())
	require.Contains(t, d.Ctr(t, "containers", "ls"), "f-")
	o.Dir = filepath.Join(t.TempDir(), "run")
	openWith(t, o)
	require.NotContains(t, d.Ctr(t, "containers", "ls"), "f-", "the next platform ends it")
}

func TestRunner_AContainerWhoseKeeperIsKilled(t *testing.T) {
	t.Parallel()
	d := theDaemon(t)
	r := openWith(t, options(t, d, registry(t).Source))
	p := r.NewPool(t, "v1", nil)
	require.Equal(t, http.StatusOK, status(t, p, "/"))
	name := p.State().Instances[0].Name
	var pid int
	for line := range strings.Lines(d.Ctr(t, "tasks", "ls")) {
		if f := strings.Fields(line); strings.HasPrefix(f[0], name) {
			_, err := fmt.Sscan(f[1], &pid)
			require.NoError(t, err)
		}
	}
	require.NoError(t, syscall.Kill(parent(t, pid), syscall.SIGKILL))
	require.Eventually(t, func() bool {
		s := p.State()
		return len(s.Instances) == 1 && s.Instances[0].Restarts > 0 && s.Ready == 1
	}, 30*time.Second, 5*time.Millisecond)
	require.Equal(t, http.StatusOK, status(t, p, "/"))
	require.Eventually(t, func() bool { return !runsStill(pid) }, 20*time.Second, 5*time.Millisecond, "the process goes with it")
}

// runsStill reports whether a process has not ended, whether or not its end was
// asked about.
func runsStill(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

// parent is the process that a process is the child of.
func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	n, err := strconv.Atoi(strings.Fields(rest)[1])
	require.NoError(t, err)
	require.Greater(t, n, 1)
	return n
}

func TestRunner_EndsWhatWritesTooMuch(t *testing.T) {
	t.Parallel()
	r := openWith(t, options(t, theDaemon(t), registry(t).Source))
	p := r.NewPool(t, "open", func(i *pool.Instance) { i.Scratch = 1 << 20 })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://f/write?bytes=4000000&path=/open/f", nil)
	require.NoError(t, err)
	if resp, err := p.RoundTrip(req); err == nil { // it may be ended before it has answered
		_ = resp.Body.Close()
	}
	require.Eventually(t, func() bool {
		s := p.State()
		return len(s.Instances) > 0 && s.Instances[0].Last.Reason == "Evicted"
	}, 20*time.Second, 5*time.Millisecond)
	require.Contains(t, p.State().Instances[0].Last.Message, "may have 1048576")
	require.Equal(t, http.StatusNotFound, status(t, p, "/read?path=/open/f"), "it begins anew")
}

// counted counts what is read of a source.
type counted struct {
	image.Source
	blobs atomic.Int64
}

// of is a bundle.Source with that one.
func (c *counted) of(context.Context, string, image.Reference) (image.Source, error) { return c, nil }

// Blob implements image.Source.
func (c *counted) Blob(ctx context.Context, d image.Digest) (io.ReadCloser, error) {
	c.blobs.Add(1)
	return c.Source.Blob(ctx, d)
}

// runs starts an instance, and waits for its end.
func runs(t *testing.T, r runnertest.Rig) {
	t.Helper()
	p, err := r.Start(t.Context(), instance(t, r, "f", "crash"))
	require.NoError(t, err)
	require.Equal(t, 3, p.Wait().Code)
}

func TestImages_AreKeptWhileThereIsRoom(t *testing.T) {
	t.Parallel()
	d := ownDaemon(t, true)
	source := &counted{Source: registry(t)}
	o := options(t, d, source.of)
	r := openWith(t, o)
	runs(t, r)
	garbage(t, d)
	runs(t, r)
	require.EqualValues(t, 2, source.blobs.Load(), "a layer and a configuration, once")
	o.Dir = filepath.Join(t.TempDir(), "run")
	runs(t, openWith(t, o))
	require.EqualValues(t, 3, source.blobs.Load(), "the next platform asks for the configuration alone")
	name := d.Ctr(t, "images", "ls", "-q")
	require.True(t, strings.HasPrefix(name, "shop/function@sha256:"), name)

	// Somebody takes it away.
	d.Ctr(t, "images", "rm", name)
	garbage(t, d)
	_, err := r.Start(t.Context(), instance(t, r, "f", "crash"))
	require.Equal(t, fault.Conflict, fault.KindOf(err), "another try gets it again")
	runs(t, r)
	require.EqualValues(t, 5, source.blobs.Load())
}

// garbage has containerd collect its garbage.
func garbage(t *testing.T, d *containerdtest.Daemon) {
	t.Helper()
	d.Ctr(t, "leases", "create", "--id", "g")
	d.Ctr(t, "leases", "delete", "--sync", "g")
}

func TestImages_AreTakenAwayWhenThereAreTooMany(t *testing.T) {
	t.Parallel()
	d := ownDaemon(t, true)
	o := options(t, d, registry(t).Source)
	o.MaxBytes = 1
	r := openWith(t, o)
	p := r.NewPool(t, "v1", nil)
	require.Equal(t, http.StatusOK, status(t, p, "/"))
	used := d.Ctr(t, "images", "ls", "-q")
	q := r.NewPool(t, "named", nil)
	require.Equal(t, http.StatusOK, status(t, q, "/"))
	require.Len(t, strings.Fields(d.Ctr(t, "images", "ls", "-q")), 2, "both are in use")
	q.Close(t.Context())
	s := r.NewPool(t, "root", nil)
	require.Equal(t, http.StatusOK, status(t, s, "/"))
	left := strings.Fields(d.Ctr(t, "images", "ls", "-q"))
	require.Len(t, left, 2)
	require.Contains(t, left, used)
}

func TestImages_AreBounded(t *testing.T) {
	t.Parallel()
	o := options(t, theDaemon(t), registry(t).Source)
	o.MaxImage = 1 << 20
	r := openWith(t, o)
	f := func(tag string) {
		t.Helper()
		i := instance(t, r, "f", "crash")
		ref, err := r.Resolve(t.Context(), "shop", "registry.test/shop/function:"+tag)
		require.NoError(t, err)
		i.Image = ref
		_, err = r.Start(t.Context(), i)
		require.Equal(t, fault.TooLarge, fault.KindOf(err), err)
	}
	f("v1")
	f("bomb")
}

var _ bundle.Source = (*counted)(nil).of
