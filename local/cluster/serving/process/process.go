// Package process runs the instances of functions: images, unpacked once, as
// sandboxed processes, with the files of their volumes beside them.
//
// Whose images a project may run is not decided here: a Source says where an
// image is, or that there is none for that project.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/sdk/fault"
)

// Options configures a Runner.
type Options struct {
	// Source is where an image is that a project names; a NotFound fault is that
	// there is none for it.
	Source func(ctx context.Context, namespace string, ref image.Reference) (image.Source, error)
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

// source reads the name of an image and finds where it is.
func (r *Runner) source(ctx context.Context, namespace, name string) (image.Reference, image.Source, error) {
	ref, err := image.ParseReference(name)
	if err != nil {
		return ref, nil, err
	}
	s, err := r.o.Source(ctx, namespace, ref)
	return ref, s, err
}

// Resolve is the reference by digest of an image that a project may run.
func (r *Runner) Resolve(ctx context.Context, namespace, name string) (string, error) {
	ref, s, err := r.source(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	manifest, err := s.Manifest(ctx, ref.Ref())
	if fault.KindOf(err) == fault.NotFound {
		return "", &fault.Error{Op: "process.Resolve", Name: name, Kind: fault.NotFound, Err: fmt.Errorf("image %q is not in the registry", name)}
	}
	if err != nil {
		return "", err
	}
	if ref.Tag = ""; ref.Digest == "" {
		ref.Digest = image.DigestOf(manifest)
	}
	return ref.String(), nil
}

// defaultPath is where programs are looked for in an image that does not say.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Start starts an instance; it implements pool.Runner.
func (r *Runner) Start(ctx context.Context, i pool.Instance) (pool.Process, error) {
	ref, source, err := r.source(ctx, i.Namespace, i.Image)
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
	if err != nil {
		return sandbox.Spec{}, err
	}
	for to, given := range map[*uint32]*int64{&uid: i.User, &gid: i.Group} {
		if given != nil {
			*to = uint32(*given)
		}
	}
	if i.NonRoot && i.User != nil && uid == 0 {
		return sandbox.Spec{}, &fault.Error{Op: "process.Start", Name: i.Name, Kind: fault.Invalid, Field: "runAsUser", Err: errors.New("runAsNonRoot forbids the user 0")}
	}
	s := sandbox.Spec{
		Name: i.Name, Root: img.Root, Args: arguments(img.Config, i.Command, i.Args), Dir: img.Config.Config.WorkingDir,
		Env: environment(append([]string{defaultPath}, img.Config.Config.Env...), i.Env),
		UID: uid, GID: gid, Scratch: i.Scratch, Writable: !i.ReadOnlyRoot, Stdout: i.Stdout, Stderr: i.Stderr,
		Limits: sandbox.Limits{Memory: i.Memory, CPU: int64(i.CPU * 1000)},
	}
	if i.Dir != "" {
		s.Dir = i.Dir
	}
	if len(i.Volumes) > 0 {
		s.Mounts, err = p.volumes(i, s.UID)
	}
	if r.o.Sandbox.Describe().Namespaces {
		s.Mounts = append(s.Mounts, sandbox.NetworkFiles()...)
	}
	return s, err
}

// arguments are the program and its arguments, as Kubernetes reads an image's:
// a command replaces the entry point and the arguments with it.
func arguments(c image.Config, command, args []string) []string {
	if command != nil {
		return append(command[:len(command):len(command)], args...)
	}
	if args != nil {
		return append(c.Config.Entrypoint[:len(c.Config.Entrypoint):len(c.Config.Entrypoint)], args...)
	}
	return c.Args()
}

// environment is the variables of both lists; of two of a name the last counts.
func environment(lists ...[]string) []string {
	var out []string
	at := map[string]int{}
	for _, list := range lists {
		for _, kv := range list {
			name, _, _ := strings.Cut(kv, "=")
			if i, ok := at[name]; ok {
				out[i] = kv
				continue
			}
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return out
}

// process is an instance that was started.
type process struct {
	r         *Runner
	sandboxed *sandbox.Process
	release   func()
	// folder has the files of the volumes, "" if there are none.
	folder string
}

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
	if p.folder == "" {
		return
	}
	if err := os.RemoveAll(p.folder); err != nil {
		p.r.o.Logger.Error("volumes of a function cannot be removed", slog.String("folder", p.folder), slog.Any("error", err))
	}
}

// volumes writes the files of the volumes and says where they are seen.
func (p *process) volumes(i pool.Instance, uid uint32) ([]sandbox.Mount, error) {
	var err error
	if p.folder, err = os.MkdirTemp(p.r.o.Dir, i.Name+"-"); err != nil {
		return nil, err
	}
	// Others pass, and see nothing: what is in it belongs to the process alone.
	if err := os.Chmod(p.folder, 0o711); err != nil {
		return nil, err
	}
	var mounts []sandbox.Mount
	written := map[string]bool{}
	for n, v := range i.Volumes {
		if v.Writable {
			if v.Key != "" && written[v.Key] {
				return nil, &fault.Error{Op: "process.Start", Name: i.Name, Kind: fault.Invalid, Field: "volumeMounts", Err: errors.New("a volume that is written to can be mounted once")}
			}
			written[v.Key] = true
			mounts = append(mounts, sandbox.Mount{Target: v.Path})
			continue
		}
		dir := filepath.Join(p.folder, fmt.Sprint(n))
		if err := writeVolume(dir, v.Files, uid); err != nil {
			return nil, fmt.Errorf("write volume %s: %w", v.Path, err)
		}
		source := filepath.Join(dir, filepath.FromSlash(filepath.Clean("/"+v.SubPath)))
		if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
			return nil, &fault.Error{Op: "process.Start", Name: i.Name, Kind: fault.Precondition, Field: "subPath", Err: fmt.Errorf("the volume of %s has no %q", v.Path, v.SubPath)}
		}
		mounts = append(mounts, sandbox.Mount{Source: source, Target: v.Path})
	}
	return mounts, nil
}

// writeVolume writes files for a user to read.
func writeVolume(dir string, files map[string]pool.File, uid uint32) error {
	if uid == 0 {
		uid = sandbox.NonRoot
	}
	own := func(path string, mode os.FileMode) error {
		err := os.Chmod(path, mode)
		if err == nil && os.Geteuid() == 0 {
			err = os.Chown(path, int(uid), int(uid))
		}
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it is only a name
	for name, f := range files {
		if parent := filepath.Dir(name); parent != "." {
			if err := root.MkdirAll(parent, 0o755); err != nil {
				return err
			}
		}
		mode := os.FileMode(f.Mode) & os.ModePerm
		if mode == 0 {
			mode = 0o644
		}
		if err := root.WriteFile(name, f.Data, 0o600); err != nil {
			return err
		}
		if err := own(filepath.Join(dir, name), mode&^0o222|0o400); err != nil {
			return err
		}
	}
	return own(dir, 0o555)
}
