package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/protobuf/types/known/anypb"

	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/pool"
)

// container is an instance. It is made by Start.
type container struct {
	r        *Runner
	id       string
	instance pool.Instance
	img      *unpacked
	volumes  bundle.Volumes
	output   *output
	address  string
	network  *attached

	// watched ends when nobody waits for the end of the process any more.
	watched context.Context
	giveUp  context.CancelFunc
	// ended is closed when its process has ended.
	ended chan struct{}

	mu sync.Mutex
	// stopped is whether it was told to end, full whether because of what it wrote.
	stopped, full bool
}

var _ pool.Process = (*container)(nil)

// start makes the container and has its process run. What is made before an error
// is removed by clean.
func (c *container) start(ctx context.Context) error {
	uid, gid, err := bundle.User(c.instance, c.img.uid, c.img.gid)
	if err != nil {
		return err
	}
	if c.volumes, err = bundle.WriteVolumes(c.r.o.Dir, c.instance, uid); err != nil {
		return err
	}
	if err := os.Mkdir(c.folder(), 0o711); err != nil {
		return err
	}
	if err := c.networkFiles(); err != nil {
		return err
	}
	spec, err := c.spec(uid, gid)
	if err != nil {
		return err
	}
	// The record comes first: what it names is not collected as garbage.
	if err := c.record(ctx, spec); err != nil {
		return err
	}
	cl := c.r.client
	files, err := cl.snapshots.Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Snapshotter: cl.snapshotter, Key: c.id, Parent: c.img.chain})
	if missing(err) { // somebody took the image away
		c.r.images.forget(c.img)
	}
	if err != nil {
		return failed("prepare the files", err)
	}
	if c.output, err = openOutput(c.folder(), c.instance.Stdout, c.instance.Stderr); err != nil {
		return err
	}
	made, err := cl.tasks.Create(ctx, &tasksapi.CreateTaskRequest{
		ContainerID: c.id, Rootfs: files.GetMounts(), Stdout: c.output.paths[0], Stderr: c.output.paths[1],
	})
	if err != nil {
		return failed("create the process", err)
	}
	if err := c.join(ctx, made.GetPid()); err != nil {
		return err
	}
	if _, err := cl.tasks.Start(ctx, &tasksapi.StartRequest{ContainerID: c.id}); err != nil {
		return failed("start the process", err)
	}
	c.r.group.Go(c.measure)
	return nil
}

// record makes the container's record.
func (c *container) record(ctx context.Context, spec specification) error {
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	i := c.instance
	_, err = c.r.client.containers.Create(ctx, &containersapi.CreateContainerRequest{Container: &containersapi.Container{
		ID: c.id, Image: c.img.name, Snapshotter: c.r.client.snapshotter, SnapshotKey: c.id,
		Labels:  map[string]string{ownerLabel: c.r.o.Owner, "selvedge.dev/project": i.Namespace, "selvedge.dev/revision": i.Revision, "selvedge.dev/pod": i.Name},
		Runtime: &containersapi.Container_Runtime{Name: c.r.o.Runtime},
		Spec:    &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: text},
	}})
	if err != nil {
		return failed("make the container", err)
	}
	return nil
}

// folder has the pipes and files of this container.
func (c *container) folder() string { return filepath.Join(c.r.o.Dir, c.id) }

// Host implements pool.Process.
func (c *container) Host() string { return c.address }

// unknown is the code of a process of which nobody can say how it ended.
const unknown = 255

// Wait implements pool.Process.
func (c *container) Wait() pool.Exit {
	e := pool.Exit{Code: unknown, Reason: "ContainerStatusUnknown"}
	for {
		done, err := c.r.client.tasks.Wait(c.watched, &tasksapi.WaitRequest{ContainerID: c.id})
		if err == nil {
			e = pool.Exit{Code: int(done.GetExitStatus())}
			break
		}
		if missing(err) || c.watched.Err() != nil {
			break
		}
		select {
		case <-c.watched.Done():
		case <-time.After(100 * time.Millisecond): // containerd is being restarted, and the container goes on
		}
	}
	close(c.ended)
	c.mu.Lock()
	stopped, full := c.stopped, c.full
	c.mu.Unlock()
	switch {
	case full:
		e.Reason = "Evicted"
	case e.Code != 0 && !stopped && c.ranOutOfMemory():
		e.Reason = "OOMKilled"
	}
	c.clean()
	return e
}

// ranOutOfMemory reports whether the kernel ended a process of the container for
// its memory. Its control group is there until it is removed.
func (c *container) ranOutOfMemory() bool {
	for _, file := range []string{"/sys/fs/cgroup" + c.group() + "/memory.events", "/sys/fs/cgroup/memory" + c.group() + "/memory.oom_control"} {
		text, err := os.ReadFile(file)
		if err != nil { // of the other version of control groups
			continue
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				return n != "0"
			}
		}
	}
	return false
}

// group is the control group of the container.
func (c *container) group() string { return "/" + containerdNamespace + "/" + c.id }

// Stop implements pool.Process.
func (c *container) Stop(grace time.Duration) {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	for _, step := range []struct {
		signal uint32
		wait   time.Duration
	}{{sigTerm, grace}, {sigKill, c.r.o.Patience}} {
		if err := c.kill(step.signal); err != nil {
			c.r.o.Logger.Warn("a container cannot be stopped", slog.String("container", c.id), slog.Any("error", err))
		}
		select {
		case <-c.ended:
			return
		case <-time.After(step.wait):
		}
	}
	c.giveUp()
}

// kill sends a signal; one to a process that has ended is none.
func (c *container) kill(signal uint32) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.r.o.Patience)
	defer cancel()
	_, err := c.r.client.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: c.id, Signal: signal, All: signal == sigKill})
	if missing(err) {
		return nil
	}
	return err
}

// measure ends the process when it has written more files than it may.
func (c *container) measure() {
	if c.instance.Scratch <= 0 {
		return
	}
	tick := time.NewTicker(c.r.o.Check)
	defer tick.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-c.watched.Done():
			return
		case <-tick.C:
		}
		cl := c.r.client
		used, err := cl.snapshots.Usage(c.watched, &snapshotsapi.UsageRequest{Snapshotter: cl.snapshotter, Key: c.id})
		if err != nil || used.GetSize() <= c.instance.Scratch { // an error is that it ended, or is asked again
			continue
		}
		c.mu.Lock()
		c.full = true
		c.mu.Unlock()
		c.say("the function wrote " + strconv.FormatInt(used.GetSize(), 10) + " bytes of files, and may have " + strconv.FormatInt(c.instance.Scratch, 10))
		if err := c.kill(sigKill); err != nil {
			c.r.o.Logger.Warn("a container cannot be stopped", slog.String("container", c.id), slog.Any("error", err))
		}
		return
	}
}

// say puts a line of the runner's own among what the function prints.
func (c *container) say(line string) {
	if c.instance.Stderr != nil {
		_, _ = fmt.Fprintln(c.instance.Stderr, line) // there is nobody else to tell
	}
}

// cleanTimeout bounds how long containerd may take to remove a container.
const cleanTimeout = 30 * time.Second

// clean removes what was made for the container, and has all that it printed be
// read before it returns.
func (c *container) clean() {
	timeout := cleanTimeout
	if c.watched.Err() != nil { // containerd was waited for already
		timeout = c.r.o.Patience
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c.leave(ctx)
	removed := c.r.remove(ctx, c.id)
	err := errors.Join(removed, c.output.close(removed == nil), os.RemoveAll(c.folder()), c.volumes.Remove())
	if err != nil { // the next platform finds it
		c.r.o.Logger.Error("what was made for a container cannot be removed", slog.String("container", c.id), slog.Any("error", err))
	}
	c.giveUp()
	c.img.release()
}
