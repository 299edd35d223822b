package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"selvedge.dev/sdk/fault"
)

// Runner starts processes in sandboxes.
type Runner struct {
	logger  *slog.Logger
	dir     string
	groups  *cgroups
	have    Isolation
	started atomic.Int64

	mu      sync.Mutex
	running map[*Process]struct{}
	closed  bool
	// starting are the calls of Start that Close waits for.
	starting sync.WaitGroup
}

// probeTime bounds the try of what the machine allows.
const probeTime = 10 * time.Second

// New finds out what the machine allows, by trying it. Close the Runner after
// use.
func New(ctx context.Context, o Options) (*Runner, error) {
	if os.Args[0] == initArg { // it would start itself for ever
		return nil, &fault.Error{Op: "sandbox.New", Kind: fault.Unsupported, Reason: "NO_SANDBOX", Err: errors.New("the program was started as a sandbox, and its main does not call sandbox.Main")}
	}
	r := &Runner{logger: o.Logger, dir: o.Dir, running: map[*Process]struct{}{}}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	name := groupPrefix + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	groups, missing := findCgroups(os.DirFS("/"), name)
	r.groups = groups
	root := os.Geteuid() == 0
	r.have = Isolation{
		OtherUser: root, Memory: groups.has(memoryController), CPU: groups.has(cpuController), Processes: groups.has(processController), Calls: filtersCalls(),
		Missing: missing,
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	for _, try := range []Isolation{
		{Namespaces: true, Root: "overlay"},
		{Namespaces: true, UserNamespace: true, Root: "overlay"},
		{Root: "chroot"},
	} {
		if try.Namespaces && o.Plain || root == try.UserNamespace || !root && !try.Namespaces {
			continue
		}
		err := r.probe(ctx, try)
		if err == nil {
			r.have.Namespaces, r.have.UserNamespace, r.have.Root = try.Namespaces, try.UserNamespace, try.Root
			break
		}
		if ctx.Err() != nil {
			groups.close(r.logger)
			return nil, &fault.Error{Op: "sandbox.New", Kind: fault.Unavailable, Reason: "NO_PROBE", Err: fmt.Errorf("trying what the machine allows: %w", err)}
		}
		r.have.Missing = append(r.have.Missing, try.Root+": "+err.Error())
	}
	r.lacks()
	return r, nil
}

// lacks says what it means that something is not had.
func (r *Runner) lacks() {
	i := &r.have
	if i.Root == "" {
		i.Root = "none"
	}
	for _, l := range []struct {
		missing bool
		says    string
	}{
		{i.Root == "none", "processes see the files of this machine as this user does"},
		{!i.Namespaces, "processes see each other, write to files of the image that are theirs, are stopped only some time after they wrote too much, and have nothing mounted"},
		{!i.OtherUser && !i.Namespaces, "processes have the rights of this user"},
		{!i.Memory, "memory is bounded for each process alone"},
		{!i.CPU, "processor time is not bounded"},
		{!i.Processes, "processes are bounded for a user of the machine, not for a sandbox"},
		{!i.Calls, "no system call is refused"},
		{true, "the network is the machine's"},
	} {
		if l.missing {
			i.Missing = append(i.Missing, l.says)
		}
	}
}

// probe makes a sandbox of an empty folder and runs nothing in it.
func (r *Runner) probe(ctx context.Context, try Isolation) error {
	dir, err := os.MkdirTemp(r.dir, "selvedge-probe-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	spec, err := Spec{Name: "probe", Root: dir, Args: []string{"/probe"}}.withDefaults()
	if err != nil {
		return err
	}
	s := r.setup(spec, try)
	s.Probe = true
	p := &Process{runner: r, spec: spec, done: make(chan struct{})}
	if err := p.start(ctx, s); err != nil {
		return err
	}
	if exit := p.Wait(); exit.Code != 0 {
		return errors.New(exit.String())
	}
	return nil
}

// setup is what the step is to do for spec with that isolation.
func (r *Runner) setup(spec Spec, have Isolation) setup {
	return setup{
		Name: spec.Name, Root: filepath.Clean(spec.Root), Dir: spec.Dir, Args: spec.Args, Env: spec.Env,
		UID: spec.UID, GID: spec.GID, Limits: spec.Limits, Scratch: spec.Scratch, Writable: spec.Writable, Mounts: spec.Mounts,
		Namespaces: have.Namespaces, UserNS: have.UserNamespace, Chroot: have.Root == "chroot", SetIDs: r.have.OtherUser,
		BoundMemory: !r.have.Memory, BoundProcesses: !r.have.Processes, FilterCalls: r.have.Calls,
	}
}

// Describe is what sandboxes of this Runner have and have not.
func (r *Runner) Describe() Isolation { return r.have }

// Start starts a process. The context bounds the start alone. A Spec that is
// wrong is an Invalid fault with the Field; so is one whose program or working
// folder is not there, with the Reason NOT_RUNNABLE, and one with mounts where
// the machine has none is Unsupported.
func (r *Runner) Start(ctx context.Context, spec Spec) (*Process, error) {
	spec, err := spec.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(spec.Mounts) > 0 && !r.have.Namespaces {
		return nil, &fault.Error{Op: "sandbox.Start", Kind: fault.Unsupported, Reason: "NO_MOUNTS", Field: "mounts", Err: errors.New("nothing can be mounted: this machine allows no namespaces")}
	}
	p := &Process{runner: r, spec: spec, done: make(chan struct{})}
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer r.starting.Done()
	s := r.setup(spec, r.have)
	if !r.have.Namespaces {
		if err := r.scratch(p, &s); err != nil {
			return nil, fmt.Errorf("make a scratch folder: %w", err)
		}
	}
	if err := p.start(ctx, s); err != nil {
		if p.temp != "" {
			err = errors.Join(err, os.RemoveAll(p.temp))
		}
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-p.done:
	default:
		r.running[p] = struct{}{}
	}
	if p.temp != "" {
		go p.watchScratch()
	}
	return p, nil
}

// scratch makes the scratch folder of a process without namespaces. With a
// root of its own the process sees it below /tmp, in the folder of the image.
func (r *Runner) scratch(p *Process, s *setup) error {
	dir := r.dir
	if s.Chroot {
		dir = filepath.Join(s.Root, "tmp")
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return errors.Join(errors.New("/tmp of the image is no folder"), err)
		}
	}
	temp, err := os.MkdirTemp(dir, "selvedge-scratch-")
	if err != nil {
		return err
	}
	p.temp = temp
	seen := temp
	if s.Chroot {
		seen = filepath.Join("/tmp", filepath.Base(temp))
	}
	s.Env = append(s.Env[:len(s.Env):len(s.Env)], "TMPDIR="+seen)
	if s.SetIDs {
		return os.Chown(temp, int(s.UID), int(s.GID))
	}
	return nil
}

// enter counts a call of Start.
func (r *Runner) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return &fault.Error{Op: "sandbox.Start", Kind: fault.Unavailable, Reason: "CLOSED", Err: errors.New("the runner is closed")}
	}
	r.starting.Add(1)
	return nil
}

// leave forgets a process that has ended.
func (r *Runner) leave(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, p)
}

// Close kills what runs, waits for it, and removes what the Runner made.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.starting.Wait()
	r.mu.Lock()
	var all []*Process
	for p := range r.running {
		all = append(all, p)
	}
	r.mu.Unlock()
	for _, p := range all {
		p.Kill()
	}
	for _, p := range all {
		<-p.done
	}
	r.groups.close(r.logger)
	return nil
}

// command is the step as a command, with the pipes that it speaks over.
func (r *Runner) command(s setup) (cmd *exec.Cmd, setupEnd, reportEnd *os.File, err error) {
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, errors.Join(err, inRead.Close(), inWrite.Close())
	}
	cmd = exec.Command("/proc/self/exe")
	cmd.Args = []string{initArg}
	// One thread is enough for the step, and no collection.
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{inRead, outWrite}
	cmd.WaitDelay = drainTime
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if s.Namespaces {
		attr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	}
	if s.UserNS {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: int(s.UID), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: int(s.GID), HostID: os.Getgid(), Size: 1}}
		attr.AmbientCaps = stepCapabilities()
	}
	cmd.SysProcAttr = attr
	return cmd, inWrite, outRead, nil
}

// drainTime is how long the output of a process that has ended may be held
// open by another.
const drainTime = 2 * time.Second

// start starts the process and returns when its program runs.
func (p *Process) start(ctx context.Context, s setup) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the setup: %w", err)
	}
	r := p.runner
	if p.group, err = r.groups.make(strconv.FormatInt(r.started.Add(1), 10), s.Limits); err != nil {
		return fmt.Errorf("make a sandbox: %w", err)
	}
	cmd, in, out, err := r.command(s)
	if err != nil {
		return errors.Join(err, p.group.remove())
	}
	p.cmd = cmd
	cmd.Stdout, cmd.Stderr = p.spec.Stdout, p.spec.Stderr
	began := make(chan error)
	go p.run(began)
	err = <-began
	for _, f := range cmd.ExtraFiles {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make a sandbox: %w", err), in.Close(), out.Close())
	}
	stop := context.AfterFunc(ctx, p.Kill)
	err = p.hand(in, out, text)
	if late := !stop(); late || err != nil {
		p.Kill()
		<-p.done
		if late {
			err = fmt.Errorf("make a sandbox: %w", context.Cause(ctx))
		}
	}
	return err
}

// hand hands the step its setup, puts it into its control group meanwhile, since
// the kernel takes its time for that, and waits for its report, which is empty
// when the program runs.
func (p *Process) hand(in, out *os.File, text []byte) error {
	defer func() { _, _ = in.Close(), out.Close() }()
	_, handErr := in.Write(text)
	addErr := p.group.add(p.cmd.Process.Pid)
	switch {
	case addErr != nil: // also if the step has ended; then it has reported why
		p.Kill()
	case handErr == nil:
		_, handErr = in.WriteString("\"go\"\n") // the end of the line is the end of the word
	}
	said, err := io.ReadAll(io.LimitReader(out, maxSetup))
	if err != nil {
		return fmt.Errorf("make a sandbox: %w", err)
	}
	if len(said) == 0 {
		return errors.Join(addErr, handErr)
	}
	var rep report
	if err := json.Unmarshal(said, &rep); err != nil {
		return fmt.Errorf("make a sandbox: %w", err)
	}
	err = fmt.Errorf("%s: %s", rep.Doing, rep.Text)
	if rep.Missing {
		return &fault.Error{Op: "sandbox.Start", Kind: fault.Invalid, Reason: "NOT_RUNNABLE", Field: "args", Err: err}
	}
	return &fault.Error{Op: "sandbox.Start", Kind: fault.Internal, Reason: "NO_SANDBOX", Err: err}
}

// run starts the step and waits for the process, on a thread of its own: the
// kernel kills the process when the thread that started it ends.
func (p *Process) run(began chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	began <- err
	if err == nil {
		err = p.cmd.Wait()
	}
	p.ended(err)
}
