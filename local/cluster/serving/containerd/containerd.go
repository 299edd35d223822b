// Package containerd runs the instances of functions as containers of containerd:
// images are put into its store, unpacked by its snapshotter, and run by its
// runtime, with the bounds and rights that package process gives to processes.
//
// Everything is in containerd's namespace "selvedge" and has the label
// selvedge.dev/owner. A platform that was killed leaves its containers behind:
// the next one of that owner ends them before it starts its first. When containerd
// itself is restarted the containers go on, and so does the runner. The package
// speaks containerd's API of 1.6 and later over its socket. The files of volumes
// and the pipes of what is printed are on the machine that both are on.
package containerd

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/pool"
)

// DefaultAddress is where containerd listens unless it is told otherwise.
const DefaultAddress = "/run/containerd/containerd.sock"

// Options configures a Runner.
type Options struct {
	// Source is where images are.
	Source bundle.Source
	// Address is the path of containerd's socket; DefaultAddress when "".
	Address string
	// Owner tells the containers of this platform from those of others that share
	// the containerd, such as by the folder of its data.
	Owner string
	// Dir is a folder for the files of volumes and the pipes of logs while an
	// instance runs; what is in it is removed.
	Dir string
	// Runtime is containerd's name of what runs containers; that of runc when "".
	Runtime string
	// Network gives each container a network of its own; nil leaves it in the
	// machine's.
	Network *Network
	// MaxBytes bounds the unpacked images that nobody uses, MaxImage one image;
	// 10 GiB and 4 GiB when 0.
	MaxBytes, MaxImage int64
	// Check is how often the written files of a container are measured; 10 s when
	// 0.
	Check time.Duration
	// Patience is how long containerd may take to end a process that was killed;
	// 10 s when 0.
	Patience time.Duration
	Logger   *slog.Logger
}

// Runner resolves and runs images. It may be used concurrently.
type Runner struct {
	o      Options
	client *client
	images *images
	// background ends with Close.
	background context.Context
	cancel     context.CancelFunc
	group      sync.WaitGroup

	opening sync.Mutex
	// swept is whether what the platform before left behind is gone; opening
	// guards it.
	swept bool
}

// New makes a runner. That containerd does not answer is no error yet: each start
// tries again.
func New(ctx context.Context, o Options) (*Runner, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Address, o.Runtime = cmp.Or(o.Address, DefaultAddress), cmp.Or(o.Runtime, "io.containerd.runc.v2")
	o.MaxBytes, o.MaxImage, o.Check = cmp.Or(o.MaxBytes, 10<<30), cmp.Or(o.MaxImage, 4<<30), cmp.Or(o.Check, 10*time.Second)
	o.Patience = cmp.Or(o.Patience, 10*time.Second)
	err := os.RemoveAll(o.Dir)
	if err == nil {
		err = os.MkdirAll(o.Dir, 0o711)
	}
	if err != nil {
		return nil, fmt.Errorf("open runner: %w", err)
	}
	c, err := dial(o.Address)
	if err != nil {
		return nil, fmt.Errorf("open runner: %w", err)
	}
	r := &Runner{o: o, client: c}
	r.images = newImages(r)
	r.background, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := r.ready(ctx); err != nil {
		o.Logger.Warn("containerd cannot be used yet", slog.String("address", o.Address), slog.Any("error", err))
	}
	return r, nil
}

// Close ends the connection. Instances are to be stopped before.
func (r *Runner) Close() error {
	r.cancel()
	r.group.Wait()
	return r.client.conn.Close()
}

// How long containerd may take to end what was left behind, and to start one
// container.
const (
	readyTimeout = time.Minute
	startTimeout = 30 * time.Second
)

// ready sees to the namespace, and once to what was left behind.
func (r *Runner) ready(ctx context.Context) error {
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.swept {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := r.client.open(ctx, r.o.Address); err != nil {
		return err
	}
	if err := r.sweep(ctx); err != nil {
		return err
	}
	r.swept = true
	return nil
}

// Resolve is the reference by digest of an image that a project may run.
func (r *Runner) Resolve(ctx context.Context, namespace, name string) (string, error) {
	return r.o.Source.Resolve(ctx, namespace, name)
}

// Start starts an instance; it implements pool.Runner.
func (r *Runner) Start(ctx context.Context, i pool.Instance) (pool.Process, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	ref, source, err := r.o.Source.Find(ctx, i.Namespace, i.Image)
	if err != nil {
		return nil, err
	}
	img, err := r.images.acquire(ctx, source, ref)
	if err != nil {
		return nil, err
	}
	c := &container{
		r: r, img: img, instance: i, id: i.Name + "-" + strings.ToLower(rand.Text()[:6]),
		ended: make(chan struct{}),
	}
	c.watched, c.giveUp = context.WithCancel(r.background)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.start(ctx); err != nil {
		close(c.ended)
		c.clean()
		return nil, err
	}
	return c, nil
}
