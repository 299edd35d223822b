// Package pool is the instances of one revision: processes that are started
// and stopped until there are as many as wanted, that are probed, restarted with
// back-off when they end, and drained before they go; and the requests that go
// to them, each to the instance with the least in hand, held while there is none
// that may take it.
//
// It does not decide how many instances there should be, apart from the first
// ones for a request that comes when there is none, and it knows no object of
// the cluster. How a process is started is the Runner's. Everything here may be
// used concurrently; the goroutines of a Pool end with Close.
package pool

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/spec"
)

// Runner starts instances.
type Runner interface {
	// Start starts the process of an instance and returns once it runs. A
	// NotFound fault is that the image is not there. The context is only of the
	// start.
	Start(ctx context.Context, i Instance) (Process, error)
}

// Process is a process that was started.
type Process interface {
	// Wait waits for the end; it is called once.
	Wait() Exit
	// Stop asks the process to end, and ends it after the grace.
	Stop(grace time.Duration)
	// Host is the address of the network that it is in, where it listens on
	// Instance.Port: Loopback, unless it has a network of its own.
	Host() string
}

// Loopback is the address that instances listen on which share the machine's
// network.
const Loopback = "127.0.0.1"

// Exit is how a process ended.
type Exit struct {
	Code int
	// Reason is "" or more than the code says: "OOMKilled".
	Reason string
}

// Instance is one process to be started.
type Instance struct {
	Namespace, Revision string
	// Name is that of the pod; a restart has the name of the one before.
	Name string
	// Image is the reference of the image by its digest.
	Image string
	// Command and Args replace those of the image unless they are nil; Dir is
	// the working folder, "" for that of the image.
	Command, Args []string
	Dir           string
	// Env are the variables, which come after those of the image.
	Env []string
	// Port is where it must listen, on Loopback according to Env; a Runner that
	// gives it a network of its own says otherwise after that.
	Port int
	// User and Group are whom it runs as, if not as the image says.
	User, Group  *int64
	NonRoot      bool
	ReadOnlyRoot bool
	// Memory and Scratch bound its memory and its files, in bytes, CPU its share of CPUs;
	// 0 is the Runner's own default.
	Memory, Scratch int64
	CPU             float64
	Volumes         []Volume
	Stdout, Stderr  io.Writer
}

// Volume is a folder that an instance finds.
type Volume struct {
	// Path is where.
	Path string
	// Files are what is in it, by relative path; it is read-only unless Writable.
	Files    map[string]File
	Writable bool
	// Key is the same for mounts of one volume of an instance, which share it.
	Key string
	// SubPath is the part of the volume that is seen, "" for all.
	SubPath string
	// Memory is whether it is kept in memory; Limit bounds its bytes, 0 for no
	// bound.
	Memory bool
	Limit  int64
}

// File is one file of a volume.
type File struct {
	Data []byte
	Mode uint32
}

// Options configures a pool.
type Options struct {
	// Revision is who the pool is for.
	Revision Identity
	// Prepare is what the next process is started from, but for its name, port
	// and logs; it is called for each, so that changed secrets reach it.
	Prepare func(ctx context.Context) (Instance, error)
	Runner  Runner
	// Container says how to probe it.
	Container spec.Container
	// Concurrency is how many requests an instance takes at once; 0 for any
	// number.
	Concurrency int
	// Activation is how many instances are started for a request that comes
	// when there is none; 1 when 0.
	Activation int
	// H2C is whether instances speak HTTP/2 without TLS.
	H2C bool
	// Drain is how long requests in hand may take before an instance is
	// stopped, Grace how long it then may take to end.
	Drain, Grace time.Duration
	// MaxHeld bounds the requests that wait for an instance; 1000 when 0.
	MaxHeld int
	// Room bounds the instances of all pools together; nil for 100 of its own.
	Room *Room
	Logs *podlog.Store
	// Changed is told that the State is another one. It must not block or call
	// the pool.
	Changed func()
	// Backoff is how long the first restarts wait; see backoff.
	Backoff Backoff
	Now     func() time.Time
	Logger  *slog.Logger
}

// Identity are the names that an instance is started under.
type Identity struct{ Namespace, Service, Configuration, Revision string }

// Room is how many instances there may be of all pools together, and the ports
// that they listen on.
type Room struct {
	mu   sync.Mutex
	left int
	// ports are those that instances have.
	ports map[int]bool
}

// NewRoom has room for n instances.
func NewRoom(n int) *Room {
	return &Room{left: n, ports: map[int]bool{}}
}

// take takes the room of one instance, if there is any.
func (r *Room) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left <= 0 {
		return false
	}
	r.left--
	return true
}

// give gives the room of one instance back.
func (r *Room) give() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left++
}

// Pool is the instances of one revision.
type Pool struct {
	o      Options
	ctx    context.Context // of all instances; ended by Close
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu sync.Mutex
	// wanted is how many instances there should be; those that drain are none.
	wanted    int
	instances []*instance
	// held are the requests that wait, the oldest first.
	held   []*waiter
	closed bool
	// crowded is whether the last instance that was wanted found no room.
	crowded bool
	// failure is why an instance failed twice in a row, none once one was ready.
	failure Failure
	meter   meter
	stats   Stats
}

// New is a pool without instances.
func New(o Options) *Pool {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Logs == nil {
		o.Logs = podlog.New(podlog.Options{})
	}
	if o.Room == nil {
		o.Room = NewRoom(100)
	}
	o.MaxHeld, o.Activation = cmp.Or(o.MaxHeld, 1000), max(1, o.Activation)
	o.Drain, o.Grace = cmp.Or(o.Drain, 30*time.Second), cmp.Or(o.Grace, 10*time.Second)
	o.Backoff = o.Backoff.withDefaults()
	p := &Pool{o: o}
	p.meter.last = o.Now()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Scale has the pool have n instances. It never takes the last instance from
// requests that are there.
func (p *Pool) Scale(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n == 0 && (len(p.held) > 0 || p.inHand() > 0) {
		n = 1
	}
	if p.wanted != n {
		p.wanted = n
		p.o.Changed()
	}
	p.adjust()
}

// inHand is how many requests instances have. The caller holds the lock.
func (p *Pool) inHand() int {
	n := 0
	for _, i := range p.instances {
		n += i.inFlight
	}
	return n
}

// adjust starts or drains instances until there are as many as wanted. The
// caller holds the lock.
func (p *Pool) adjust() {
	if p.closed {
		return
	}
	live := 0
	for _, i := range p.instances {
		if !i.draining {
			live++
		}
	}
	p.crowded = false
	for ; live < p.wanted; live++ {
		if !p.o.Room.take() {
			p.crowded = true
			p.stats.Crowded++
			p.o.Logger.Warn("no room for another instance", slog.String("namespace", p.o.Revision.Namespace), slog.String("revision", p.o.Revision.Revision))
			break
		}
		i := newInstance(p)
		p.instances = append(p.instances, i)
		p.stats.Started++
		p.group.Go(func() { i.run(p.ctx) })
		p.o.Changed()
	}
	for ; live > p.wanted; live-- {
		p.idlest().drain()
		p.o.Changed()
	}
}

// idlest is the instance that is missed the least: one that is not ready, else
// that with the least requests in hand, the youngest of these. The caller holds
// the lock.
func (p *Pool) idlest() *instance {
	var best *instance
	for _, i := range p.instances {
		switch {
		case i.draining:
		case best == nil, i.phase != Ready && best.phase == Ready:
			best = i
		case (i.phase == Ready) == (best.phase == Ready) && i.inFlight <= best.inFlight:
			best = i
		}
	}
	return best
}

// remove forgets an instance that has ended.
func (p *Pool) remove(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, x := range p.instances {
		if x == i {
			p.instances = append(p.instances[:n], p.instances[n+1:]...)
			break
		}
	}
	p.o.Room.give()
	p.adjust()
	p.o.Changed()
}

// Close refuses requests from now on, drains all instances for as long as ctx
// lasts, stops them, and returns when none is left.
func (p *Pool) Close(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	for _, i := range p.instances {
		i.drain()
	}
	p.refuse(unavailable("STOPPING", "the revision is being stopped"))
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		p.group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	p.cancel()
	<-done
}
