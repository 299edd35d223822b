package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/pool/pooltest"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// TestMain lets the test's program be a function.
func TestMain(m *testing.M) {
	pooltest.Main()
	os.Exit(m.Run())
}

// rig is a pool of real processes.
type rig struct {
	*pool.Pool
	t       testing.TB
	runner  *pooltest.Runner
	changed chan struct{}
}

// newRig is a pool of an image.
func newRig(t testing.TB, image string, change func(*pool.Options)) *rig {
	t.Helper()
	r := &rig{t: t, runner: &pooltest.Runner{}, changed: make(chan struct{}, 1)}
	o := pool.Options{
		Revision: pool.Identity{Namespace: "shop", Service: "f", Configuration: "f", Revision: "f-00001"}, Runner: r.runner,
		Prepare: func(context.Context) (pool.Instance, error) {
			return pool.Instance{Image: "registry.test/shop/" + image + "@sha256:0"}, nil
		},
		Backoff: pool.Backoff{First: 10 * time.Millisecond, Max: 50 * time.Millisecond},
		Logs:    podlog.New(podlog.Options{}),
		Changed: func() {
			select {
			case r.changed <- struct{}{}:
			default:
			}
		},
	}
	if change != nil {
		change(&o)
	}
	r.Pool = pool.New(o)
	t.Cleanup(func() {
		r.Close(context.Background())
		require.Zero(t, r.runner.Running(), "nothing stays behind")
	})
	return r
}

// until waits until the state is as it should be.
func (r *rig) until(is func(s pool.State) bool) pool.State {
	r.t.Helper()
	late := time.After(20 * time.Second)
	for {
		s := r.State()
		if is(s) {
			return s
		}
		select {
		case <-r.changed:
		case <-time.After(5 * time.Millisecond): // some of what is asked for is no change of the state
		case <-late:
			r.t.Fatalf("the state is still %+v", s)
		}
	}
}

// ready waits for so many instances.
func (r *rig) ready(n int) pool.State {
	r.t.Helper()
	return r.until(func(s pool.State) bool { return s.Ready == n && len(s.Instances) == n })
}

// ask asks an instance.
func (r *rig) ask(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://f"+path, strings.NewReader("body"))
	if err != nil {
		return "", err
	}
	resp, err := r.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// must asks an instance that answers.
func (r *rig) must(path string) string {
	r.t.Helper()
	body, err := r.ask(r.t.Context(), path)
	require.NoError(r.t, err)
	return body
}

func TestPool_StartsForARequest(t *testing.T) {
	t.Parallel()
	r := newRig(t, "slow", func(o *pool.Options) { o.Activation = 2 })
	require.Empty(t, r.State().Instances)
	var a pooltest.Answer
	require.NoError(t, json.Unmarshal([]byte(r.must("/x")), &a))
	require.Equal(t, "body", a.Body)
	r.ready(2)
	s := r.Stats()
	require.EqualValues(t, 1, s.ColdStarts)
	require.GreaterOrEqual(t, s.ColdP50, 300*time.Millisecond)
	require.EqualValues(t, 2, s.Started)
}

func TestPool_LeastInHandGetsTheNext(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", nil)
	r.Scale(3)
	r.ready(3)
	var group sync.WaitGroup
	var mu sync.Mutex
	pids := map[string]int{}
	for range 3 {
		group.Go(func() {
			body, err := r.ask(t.Context(), "/wait?for=500ms")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				pids[body]++
			}
		})
	}
	group.Wait()
	require.Len(t, pids, 3, "each instance had one: %v", pids)
}

func TestPool_ConcurrencyIsAHardLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", func(o *pool.Options) { o.Concurrency = 2 })
	r.Scale(1)
	r.ready(1)
	var group sync.WaitGroup
	var failed atomic.Int32
	for range 5 {
		group.Go(func() {
			if _, err := r.ask(t.Context(), "/wait?for=100ms"); err != nil {
				failed.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	seen := 0
	for over := false; !over; {
		s := r.Stats()
		require.LessOrEqual(t, s.InFlight, 2)
		seen = max(seen, s.Held)
		select {
		case <-done:
			over = true
		case <-time.After(time.Millisecond):
		}
	}
	require.Zero(t, failed.Load())
	require.Positive(t, seen, "the others were held")
}

func TestPool_HeldRequestsEndWithTheirCaller(t *testing.T) {
	t.Parallel()
	r := newRig(t, "never", func(o *pool.Options) { o.MaxHeld = 1; o.Grace = 10 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := r.ask(ctx, "/")
		got <- err
	}()
	r.until(func(pool.State) bool { return r.Stats().Held == 1 })
	_, err := r.ask(t.Context(), "/")
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.Equal(t, "TOO_MANY_HELD", fault.ReasonOf(err))
	cancel()
	require.ErrorIs(t, <-got, context.Canceled)
	require.Zero(t, r.Stats().Held)
	require.EqualValues(t, 2, r.Stats().Refused)
}

func TestPool_DrainsBeforeItStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", nil)
	r.Scale(2)
	r.ready(2)
	got := make(chan error, 1)
	go func() {
		_, err := r.ask(t.Context(), "/wait?for=300ms")
		got <- err
	}()
	r.until(func(pool.State) bool { return r.Stats().InFlight == 1 })
	r.Scale(0)
	require.Equal(t, 1, r.State().Wanted, "not the last one, under a request")
	r.until(func(s pool.State) bool { return len(s.Instances) == 1 })
	require.NoError(t, <-got)
	r.Scale(0)
	r.ready(0)
}

func TestPool_DrainingIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", func(o *pool.Options) { o.Drain = 50 * time.Millisecond })
	r.Scale(1)
	r.ready(1)
	got := make(chan error, 1)
	go func() {
		_, err := r.ask(t.Context(), "/wait?for=1h")
		got <- err
	}()
	r.until(func(pool.State) bool { return r.Stats().InFlight == 1 })
	r.Close(t.Context())
	require.Error(t, <-got)
	_, err := r.ask(t.Context(), "/")
	require.Equal(t, "STOPPING", fault.ReasonOf(err))
}

func TestPool_RestartsWithBackOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, "crash", nil)
	r.Scale(1)
	s := r.until(func(s pool.State) bool { return len(s.Instances) == 1 && s.Instances[0].Restarts >= 3 })
	require.Equal(t, "ExitCode3", s.Failure.Reason)
	require.Equal(t, 3, s.Failure.Code)
	require.ElementsMatch(t, []string{"starting crash", "panic: out of luck"}, strings.Split(s.Failure.Message, "\n"), "two streams have no order")
	require.True(t, s.Failure.Exited)
	require.False(t, s.Instances[0].Last.Began.After(s.Instances[0].Last.Ended))
}

func TestPool_RefusesWhileAllBackOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, "crash", func(o *pool.Options) { o.Backoff = pool.Backoff{First: time.Hour, Max: time.Hour} })
	_, err := r.ask(t.Context(), "/")
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, "NOT_STARTING", fault.ReasonOf(err))
	require.ErrorContains(t, err, "out of luck")
	_, err = r.ask(t.Context(), "/")
	require.Equal(t, "NOT_STARTING", fault.ReasonOf(err))
	require.Greater(t, fault.RetryAfterSeconds(err), 3000)
	s := r.State()
	require.Equal(t, pool.BackOff, s.Instances[0].Phase)
}

func TestPool_UnhealthyIsRestarted(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", func(o *pool.Options) {
		o.Container = spec.Container{LivenessProbe: &spec.Probe{HTTP: &spec.HTTPGet{Path: "/health/liveness"}, Period: 1, FailureThreshold: 1}}
	})
	r.Scale(1)
	r.ready(1)
	before := r.must("/wait")
	r.must("/sicken")
	s := r.until(func(s pool.State) bool {
		return len(s.Instances) == 1 && s.Instances[0].Restarts == 1 && s.Ready == 1
	})
	require.Equal(t, "ProbeFailed", s.Instances[0].Last.Reason)
	require.Contains(t, s.Instances[0].Last.Message, "the liveness probe failed 1 times")
	require.NotEqual(t, before, r.must("/wait"))
}

func TestPool_StartupProbeBoundsTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "never", func(o *pool.Options) {
		o.Grace = 10 * time.Millisecond
		o.Container = spec.Container{StartupProbe: &spec.Probe{TCP: &spec.TCP{}, Period: 1, FailureThreshold: 1}}
	})
	r.Scale(1)
	s := r.until(func(s pool.State) bool { return s.Failure.Reason != "" })
	require.Equal(t, "ProbeFailed", s.Failure.Reason)
	require.Contains(t, s.Failure.Message, "the startup probe was not passed within 1s")
	require.Contains(t, s.Failure.Message, "connection refused")
}

func TestPool_CrashIsNotTheNextRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", func(o *pool.Options) { o.Backoff.Reset = time.Nanosecond })
	r.Scale(2)
	r.ready(2)
	for range 4 {
		_, err := r.ask(t.Context(), "/exit?code=1")
		require.Error(t, err)
		require.NotEmpty(t, r.must("/wait"))
		r.ready(2)
	}
	restarts := r.Stats().Restarts
	require.Positive(t, restarts)
	require.LessOrEqual(t, restarts, int64(4), "each request was seen by one instance")
}

func TestPool_RoomIsShared(t *testing.T) {
	t.Parallel()
	room := pool.NewRoom(2)
	with := func(o *pool.Options) { o.Room = room }
	a, b := newRig(t, "echo", with), newRig(t, "echo", with)
	a.Scale(3)
	a.ready(2)
	_, err := b.ask(t.Context(), "/")
	require.Equal(t, "NO_ROOM", fault.ReasonOf(err))
	require.Positive(t, b.Stats().Crowded)
	a.Scale(1)
	a.ready(1)
	b.Scale(1)
	b.ready(1)
	require.NotEmpty(t, b.must("/wait"))
}

func TestPool_WhatCannotBePrepared(t *testing.T) {
	t.Parallel()
	var fail atomic.Bool
	fail.Store(true)
	r := newRig(t, "echo", func(o *pool.Options) {
		prepare := o.Prepare
		o.Prepare = func(ctx context.Context) (pool.Instance, error) {
			if fail.Load() {
				return pool.Instance{}, &fault.Error{Op: "test", Kind: fault.Precondition, Err: errors.New("no secret")}
			}
			return prepare(ctx)
		}
	})
	r.Scale(1)
	s := r.until(func(s pool.State) bool { return s.Failure.Reason != "" })
	require.Equal(t, "CreateContainerConfigError", s.Failure.Reason)
	require.False(t, s.Failure.Exited)
	fail.Store(false)
	require.Empty(t, r.ready(1).Failure.Reason)
}

func TestPool_MeasuresConcurrency(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", nil)
	r.Scale(1)
	r.ready(1)
	r.Sample()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { _, _ = r.ask(t.Context(), "/wait?for=300ms") })
	}
	group.Wait()
	s := r.Sample()
	require.EqualValues(t, 4, s.Requests)
	require.Greater(t, s.Concurrency, 1.0)
	require.LessOrEqual(t, s.Concurrency, 4.0)
	require.Zero(t, r.Sample().Requests)
}

// TestPool_ManyAtOnce has many requests while instances come and go: none is
// lost, and none is answered by nobody.
func TestPool_ManyAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "echo", func(o *pool.Options) { o.Concurrency = 4 })
	ctx, cancel := context.WithCancel(t.Context())
	var scaling sync.WaitGroup
	scaling.Go(func() {
		for n := 1; ctx.Err() == nil; n = n%3 + 1 {
			r.Scale(n)
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	var group sync.WaitGroup
	var failed atomic.Int32
	for range 32 {
		group.Go(func() {
			for range 50 {
				if _, err := r.ask(t.Context(), "/wait"); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	group.Wait()
	cancel()
	scaling.Wait()
	require.Zero(t, failed.Load())
	require.EqualValues(t, 32*50, r.Stats().Requests)
	require.Zero(t, r.Stats().InFlight+r.Stats().Held)
}
