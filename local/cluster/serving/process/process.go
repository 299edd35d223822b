// Package process runs the instances of functions: images, unpacked once, as
// sandboxed processes, with the files of their volumes beside them.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/pool"
)

// Options configures a Runner.
type Options struct {
	// Source is where images are.
	Source bundle.Source
	// Cache has the unpacked images.
	Cache *image.Cache
	// Sandbox starts processes.
	Sandbox *sandbox.Runner
	// Dir is a folder for the files of secrets and config maps while an instance
	// runs; what is in it is removed.
	Dir    string
	Logger *slog.Logger
}

// Runner resolves and runs images. It may be used concurrently.
type Runner struct{ o Options }

// New makes a runner.
func New(o Options) (*Runner, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	// What a platform that was killed left behind is of no use to anybody.
	err := os.RemoveAll(o.Dir)
	if err == nil {
		err = os.MkdirAll(o.Dir, 0o711)
	}
	if err != nil {
		return nil, fmt.Errorf("open runner: %w", err)
	}
	return &Runner{o}, nil
}

// Resolve is the reference by digest of an image that a project may run.
func (r *Runner) Resolve(ctx context.Context, namespace, name string) (string, error) {
	return r.o.Source.Resolve(ctx, namespace, name)
}

// Start starts an instance; it implements pool.Runner.
func (r *Runner) Start(ctx context.Context, i pool.Instance) (pool.Process, error) {
	ref, source, err := r.o.Source.Find(ctx, i.Namespace, i.Image)
	if err != nil {
		return nil, err
	}
	img, err := r.o.Cache.Acquire(ctx, source, ref.Ref())
	if err != nil {
		return nil, err
	}
	p := &process{r: r, release: img.Release}
	spec, err := r.spec(i, img, p)
	if err == nil {
		p.sandboxed, err = r.o.Sandbox.Start(ctx, spec)
	}
	if err != nil {
		p.clean()
		return nil, err
	}
	return p, nil
}

// spec is an instance as a sandboxed process.
func (r *Runner) spec(i pool.Instance, img *image.Image, p *process) (sandbox.Spec, error) {
	uid, gid, err := img.Credential()
	if err == nil {
		uid, gid, err = bundle.User(i, uid, gid)
	}
	if err != nil {
		return sandbox.Spec{}, err
	}
	s := sandbox.Spec{
		Name: i.Name, Root: img.Root, Args: bundle.Arguments(img.Config, i.Command, i.Args), Dir: img.Config.Config.WorkingDir,
		Env: bundle.Environment(img.Config, i.Env),
		UID: uid, GID: gid, Scratch: i.Scratch, Writable: !i.ReadOnlyRoot, Stdout: i.Stdout, Stderr: i.Stderr,
		Limits: sandbox.Limits{Memory: i.Memory, CPU: int64(i.CPU * 1000)},
	}
	if i.Dir != "" {
		s.Dir = i.Dir
	}
	if p.volumes, err = bundle.WriteVolumes(r.o.Dir, i, uid); err != nil {
		return s, err
	}
	for _, m := range p.volumes.Mounts {
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: m.Source, Target: m.Target})
	}
	if r.o.Sandbox.Describe().Namespaces {
		s.Mounts = append(s.Mounts, sandbox.NetworkFiles()...)
	}
	return s, nil
}

// process is an instance that was started.
type process struct {
	r         *Runner
	sandboxed *sandbox.Process
	release   func()
	volumes   bundle.Volumes
}

// Host implements pool.Process: the network is the machine's.
func (p *process) Host() string { return pool.Loopback }

// Wait implements pool.Process.
func (p *process) Wait() pool.Exit {
	e := p.sandboxed.Wait()
	p.clean()
	out := pool.Exit{Code: e.Code}
	switch e.Reason {
	case sandbox.OutOfMemory:
		out.Reason = "OOMKilled"
	case sandbox.ScratchFull:
		out.Reason = "Evicted"
	}
	return out
}

// Stop implements pool.Process.
func (p *process) Stop(grace time.Duration) { p.sandboxed.Stop(grace) }

// clean removes what was made for the process.
func (p *process) clean() {
	p.release()
	if err := p.volumes.Remove(); err != nil {
		p.r.o.Logger.Error("volumes of a function cannot be removed", slog.Any("error", err))
	}
}
