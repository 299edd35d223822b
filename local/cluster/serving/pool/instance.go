package pool

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/local/cluster/serving/hop"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// Phase is where an instance is in its life.
type Phase string

// The phases.
const (
	// Starting is until the process runs and has passed its probes.
	Starting Phase = "Starting"
	// Ready takes requests.
	Ready Phase = "Ready"
	// Unready runs and takes no requests at the moment.
	Unready Phase = "Unready"
	// BackOff waits before the next try.
	BackOff Phase = "BackOff"
)

// Failure is why an instance does not run.
type Failure struct {
	// Reason is a word as Kubernetes has it: "ExitCode1", "ImagePullBackOff",
	// "CreateContainerConfigError", "ProbeFailed"; "" for no failure.
	Reason string
	// Message says more, such as the last lines that it printed.
	Message string
	// Code is the exit code, if the process ended.
	Code int
	// Exited is whether there was a process, from Began to Ended.
	Exited       bool
	Began, Ended time.Time
}

// Backoff is how restarts wait.
type Backoff struct {
	// First is the delay of the second restart in a row; the first is at once.
	// It doubles up to Max. A process that was ready for Reset begins anew. 500
	// ms, 1 minute and 1 minute when 0: a developer who repairs his function
	// does not wait for minutes.
	First, Max, Reset time.Duration
}

// withDefaults fills in what is 0.
func (b Backoff) withDefaults() Backoff {
	if b.First <= 0 {
		b.First = 500 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = time.Minute
	}
	if b.Reset <= 0 {
		b.Reset = time.Minute
	}
	return b
}

// delay is the wait before restart n in a row, counted from 0.
func (b Backoff) delay(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(b.Max, b.First<<min(n-1, 20))
}

// instance is one instance. Its fields are guarded by the pool's lock, but for
// those that only run uses.
type instance struct {
	p    *Pool
	name string
	log  *podlog.Log
	// transport reaches the process that runs now.
	transport *hop.Transport
	// address is where it listens.
	address string

	phase    Phase
	inFlight int
	draining bool
	// stop is closed when the process shall end: the instance drains and is idle.
	stop    chan struct{}
	stopped bool
	// recheck says that a request could not reach the process.
	recheck  chan struct{}
	created  time.Time
	began    time.Time // of the process that runs now
	ready    time.Time
	restarts int
	last     Failure
	until    time.Time // of the back-off
	image    string
}

// newInstance is an instance that has not been started.
func newInstance(p *Pool) *instance {
	name := fmt.Sprintf("%s-deployment-%s", p.o.Revision.Revision, strings.ToLower(rand.Text()[:8]))
	id := p.o.Revision
	return &instance{
		p: p, name: name, phase: Starting, created: p.o.Now(), stop: make(chan struct{}), recheck: make(chan struct{}, 1),
		log: p.o.Logs.Open(podlog.Pod{Namespace: id.Namespace, Name: name, Service: id.Service, Revision: id.Revision}),
	}
}

// drain has the instance take no more requests and end when it has none. The
// caller holds the lock.
func (i *instance) drain() {
	if i.draining {
		return
	}
	i.draining = true
	if i.inFlight == 0 {
		i.idle()
		return
	}
	p := i.p
	p.group.Go(func() {
		select {
		case <-i.stop:
		case <-p.ctx.Done():
		case <-time.After(p.o.Drain):
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		i.idle()
	})
}

// idle has the process end. The caller holds the lock.
func (i *instance) idle() {
	if !i.stopped {
		i.stopped = true
		close(i.stop)
	}
}

// run starts the process, and again when it ends, until the instance is to stop.
func (i *instance) run(ctx context.Context) {
	p := i.p
	defer p.remove(i)
	defer p.o.Logs.End(i.log)
	for row := 0; ; row++ {
		f, lasted := i.once(ctx)
		if i.over(ctx) {
			return
		}
		if lasted >= p.o.Backoff.Reset {
			row = 0
		}
		wait := p.o.Backoff.delay(row)
		p.mu.Lock()
		i.phase, i.last, i.until = BackOff, f, p.o.Now().Add(wait)
		if wait == 0 {
			i.phase = Starting // requests may wait for it
		} else {
			p.failure = f
		}
		p.stats.Restarts++
		if err := p.hopeless(); err != nil && wait > 0 {
			p.refuse(err)
		}
		p.mu.Unlock()
		p.o.Changed()
		select {
		case <-time.After(wait):
		case <-i.stop:
		case <-ctx.Done():
		}
		if i.over(ctx) {
			return
		}
		p.mu.Lock()
		i.phase = Starting
		i.restarts++
		p.mu.Unlock()
	}
}

// over reports whether the instance shall not run any more.
func (i *instance) over(ctx context.Context) bool {
	select {
	case <-i.stop:
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// once runs one process from its start to its end. It returns how it failed
// and for how long it was ready.
func (i *instance) once(ctx context.Context) (Failure, time.Duration) {
	p := i.p
	port, err := p.o.Room.port(ctx)
	if err != nil {
		return startFailure(err), 0
	}
	defer p.o.Room.free(port)
	proc, err := i.start(ctx, port)
	if err != nil {
		return startFailure(err), 0
	}
	exited := make(chan Exit, 1)
	go func() { exited <- proc.Wait() }() // ends when the process does, which stopping sees to
	exit, failed := i.serve(ctx, exited)
	if exit == nil {
		if failed == nil { // it was told to go
			proc.Stop(p.o.Grace)
		} else {
			proc.Stop(min(p.o.Grace, time.Second))
		}
		e := <-exited
		exit = &e
	}
	p.mu.Lock()
	i.phase = Unready
	ready := i.ready
	i.ready = time.Time{}
	i.transport.CloseIdleConnections()
	began := i.began
	p.mu.Unlock()
	i.log.Exit()
	now := p.o.Now()
	f := i.exitFailure(*exit)
	if failed != nil {
		f.Reason, f.Message = failed.Reason, failed.Message
	}
	f.Began, f.Ended = began, now
	if ready.IsZero() {
		return f, 0
	}
	return f, now.Sub(ready)
}

// start starts the process, to listen on a port.
func (i *instance) start(ctx context.Context, port int) (Process, error) {
	p := i.p
	x, err := p.o.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	id := p.o.Revision
	x.Namespace, x.Revision, x.Name, x.Port = id.Namespace, id.Revision, i.name, port
	// ADDRESS is what func's functions of other languages look at; func itself sets
	// it to every address of the machine.
	x.Env = append(x.Env, fmt.Sprintf("PORT=%d", port), fmt.Sprintf("LISTEN_ADDRESS=%s:%d", Loopback, port), "ADDRESS="+Loopback,
		"K_SERVICE="+id.Service, "K_CONFIGURATION="+id.Configuration, "K_REVISION="+id.Revision,
		iam.FunctionVariable+"="+id.Namespace+"/"+id.Service)
	x.Stdout, x.Stderr = i.log.Start()
	proc, err := p.o.Runner.Start(ctx, x)
	if err != nil {
		i.log.Exit()
		return nil, err
	}
	p.mu.Lock()
	i.address = net.JoinHostPort(proc.Host(), strconv.Itoa(port))
	i.image, i.began, i.transport = x.Image, p.o.Now(), hop.New(i.address, p.o.H2C)
	p.mu.Unlock()
	p.o.Changed()
	return proc, nil
}

// startFailure is why there is no process.
func startFailure(err error) Failure {
	f := Failure{Reason: "CreateContainerError", Message: err.Error()}
	switch fault.KindOf(err) {
	case fault.NotFound:
		f.Reason = "ImagePullBackOff"
	case fault.Precondition, fault.Invalid:
		f.Reason = "CreateContainerConfigError"
	}
	if r := fault.ReasonOf(err); strings.HasPrefix(r, "Create") {
		f.Reason = r
	}
	return f
}

// tailLines is how much of what it printed last is told of a process that ended.
const tailLines = 5

// maxTail bounds that, as Kubernetes bounds a termination message.
const maxTail = 2048

// exitFailure is how a process ended.
func (i *instance) exitFailure(e Exit) Failure {
	f := Failure{Reason: fmt.Sprintf("ExitCode%d", e.Code), Code: e.Code, Exited: true}
	if e.Reason != "" {
		f.Reason = e.Reason
	}
	f.Message = strings.Join(i.log.Tail(tailLines), "\n")
	if over := len(f.Message) - maxTail; over > 0 {
		f.Message = f.Message[over:]
	}
	if f.Message == "" {
		f.Message = fmt.Sprintf("exit code %d", e.Code)
	}
	return f
}
