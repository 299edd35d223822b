package pool

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"selvedge.dev/local/cluster/serving/spec"
)

// A process that starts is asked again soon, then less often, so that one that
// starts in milliseconds is not waited for, and one that takes seconds is not
// busy with answers.
const (
	firstPoll = time.Millisecond
	lastPoll  = 50 * time.Millisecond
)

// startTimeout is how long a process may take to pass its probes when it has no
// startup probe that says so.
const startTimeout = time.Minute

// checked is the time between two probes of a process that runs, when its
// manifest does not say.
const checked = 10 * time.Second

// serve probes the process until it ends, which it returns, or must be stopped:
// because it failed its probes, or, without a failure, because it is to go.
func (i *instance) serve(ctx context.Context, exited <-chan Exit) (*Exit, *Failure) {
	c := i.p.o.Container
	for _, step := range []struct {
		what  string
		probe *spec.Probe
	}{{"startup", c.StartupProbe}, {"readiness", c.ReadinessProbe}} {
		if step.probe == nil && (step.what == "startup" || c.StartupProbe != nil) {
			continue
		}
		if exit, failed, over := i.begin(ctx, step.what, step.probe, exited); over {
			return exit, failed
		}
	}
	i.setReady(true)
	return i.watch(ctx, exited)
}

// begin asks until the probe is passed; over is whether it never will be.
func (i *instance) begin(ctx context.Context, what string, probe *spec.Probe, exited <-chan Exit) (exit *Exit, failed *Failure, over bool) {
	q := i.prober(probe)
	limit := startTimeout
	if probe != nil && what == "startup" {
		limit = seconds(cmp.Or(probe.FailureThreshold, 3) * cmp.Or(probe.Period, 10))
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	wait := firstPoll
	if probe != nil && probe.InitialDelay > 0 {
		wait = seconds(probe.InitialDelay)
	}
	passed, need := int64(0), int64(1)
	if probe != nil {
		need = max(1, probe.SuccessThreshold)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var err error
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		select {
		case e := <-exited:
			return &e, nil, true
		case <-i.stop:
			return nil, nil, true
		case <-ctx.Done():
			return nil, nil, true
		case <-deadline.C:
			return nil, &Failure{Reason: "ProbeFailed", Message: fmt.Sprintf("the %s probe was not passed within %s: %v", what, limit, err)}, true
		case <-timer.C:
		}
		if err = q.ask(ctx); err == nil {
			if passed++; passed >= need {
				return nil, nil, false
			}
		} else {
			passed = 0
		}
		timer.Reset(poll)
	}
}

// setReady says that the instance takes requests, or does not for now.
func (i *instance) setReady(ready bool) {
	p := i.p
	p.mu.Lock()
	if ready {
		i.phase = Ready
		if i.ready.IsZero() {
			i.ready = p.o.Now()
		}
		p.failure = Failure{}
		p.dispatch()
	} else {
		i.phase = Unready
	}
	p.mu.Unlock()
	p.o.Changed()
}

// watch asks a process that was ready how it is.
func (i *instance) watch(ctx context.Context, exited <-chan Exit) (*Exit, *Failure) {
	c := i.p.o.Container
	live, again := newRounds(c.LivenessProbe), newRounds(nil)
	defer live.stop()
	if c.ReadinessProbe != nil && c.ReadinessProbe.Period > 0 {
		again = newRounds(c.ReadinessProbe)
	}
	defer again.stop()
	for {
		select {
		case e := <-exited:
			return &e, nil
		case <-i.stop:
			return nil, nil
		case <-ctx.Done():
			return nil, nil
		case <-i.recheck:
			i.setReady(false)
			if exit, failed, over := i.begin(ctx, "readiness", c.ReadinessProbe, exited); over {
				return exit, failed
			}
			i.setReady(true)
		case <-live.tick():
			if n, err := live.ask(ctx, i); n >= live.threshold {
				return nil, &Failure{Reason: "ProbeFailed", Message: fmt.Sprintf("the liveness probe failed %d times: %v", n, err)}
			}
		case <-again.tick():
			switch n, _ := again.ask(ctx, i); {
			case n >= again.threshold && again.passed:
				again.passed = false
				i.setReady(false)
			case n == 0 && !again.passed:
				again.passed = true
				i.setReady(true)
			}
		}
	}
}

// rounds is a probe that is asked again and again.
type rounds struct {
	probe     *spec.Probe
	ticker    *time.Ticker
	threshold int
	failed    int
	passed    bool
}

// newRounds are the rounds of a probe; none without one.
func newRounds(p *spec.Probe) *rounds {
	r := &rounds{probe: p, passed: true}
	if p != nil {
		r.ticker = time.NewTicker(cmp.Or(seconds(p.Period), checked))
		r.threshold = int(cmp.Or(p.FailureThreshold, 3))
	}
	return r
}

// tick is when to ask; never without a probe.
func (r *rounds) tick() <-chan time.Time {
	if r.ticker == nil {
		return nil
	}
	return r.ticker.C
}

// stop ends the rounds.
func (r *rounds) stop() {
	if r.ticker != nil {
		r.ticker.Stop()
	}
}

// ask asks once and returns how often in a row it failed.
func (r *rounds) ask(ctx context.Context, i *instance) (int, error) {
	err := i.prober(r.probe).ask(ctx)
	if err == nil {
		r.failed = 0
		return 0, nil
	}
	r.failed++
	return r.failed, err
}

// seconds is n of them.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// prober asks one process.
type prober struct {
	address   string
	http      *spec.HTTPGet
	timeout   time.Duration
	transport http.RoundTripper
}

// prober is how to ask the process that runs now; without a probe it is asked
// for a connection.
func (i *instance) prober(p *spec.Probe) prober {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	q := prober{address: i.address, timeout: time.Second, transport: i.transport}
	if p != nil {
		q.http = p.HTTP
		q.timeout = cmp.Or(seconds(p.Timeout), q.timeout)
	}
	return q
}

// ask asks once.
func (q prober) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	if q.http == nil {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", q.address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	path := "/" + strings.TrimPrefix(q.http.Path, "/")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+q.address+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "kube-probe/selvedge")
	for _, h := range q.http.Headers {
		if strings.EqualFold(h.Name, "Host") {
			r.Host = h.Value
			continue
		}
		r.Header.Add(h.Name, h.Value)
	}
	resp, err := q.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()                              // the answer was read as far as it is wanted
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxProbeAnswer)) // so that the connection is kept
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s answered %s", path, resp.Status)
	}
	return nil
}

// maxProbeAnswer bounds what is read of the answer to a probe.
const maxProbeAnswer = 10 << 10
