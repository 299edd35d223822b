package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The controllers in use, as the kernel names them.
const (
	memoryController  = "memory"
	cpuController     = "cpu"
	processController = "pids"
	// accountController counts processor time, in version 1 alone.
	accountController = "cpuacct"
)

// cgroups is where control groups of sandboxes are made: in version 1 one
// folder for each controller, in version 2 the same one for all.
type cgroups struct {
	// parents is the folder of each controller that there is.
	parents map[string]string
	// unified is whether they are of version 2.
	unified bool
}

// cpuPeriod is over which time processor bounds hold, in microseconds; it is
// the kernel's own default.
const cpuPeriod = 100_000

// findCgroups is where this process may make control groups. Whatever cannot be
// had is left out, and why is returned.
func findCgroups(root fs.FS, name string) (*cgroups, []string) {
	c := &cgroups{parents: map[string]string{}}
	var missing []string
	mounts, err := readCgroups(root)
	if err != nil {
		return c, []string{"control groups: " + err.Error()}
	}
	for _, controller := range []string{memoryController, cpuController, processController, accountController} {
		base, ok := mounts.v1[controller]
		if !ok {
			continue
		}
		dir := filepath.Join(base, name)
		clean(base)
		if err := os.Mkdir(dir, 0o755); err != nil {
			missing = append(missing, "control group of "+controller+": "+err.Error())
			continue
		}
		c.parents[controller] = dir
	}
	if len(mounts.v1) == 0 && mounts.v2 != "" {
		c.unified = true
		missing = c.delegate(mounts.v2, name)
	}
	if len(c.parents) == 0 && len(missing) == 0 {
		missing = []string{"control groups: none is mounted"}
	}
	return c, missing
}

// groupPrefix is what the folders of Runners are named with; the number of the
// process and a time follow.
const groupPrefix = "selvedge-"

// clean removes the folders of Runners whose processes are gone. The kernel
// refuses to remove what has a process in it.
func clean(base string) {
	old, _ := filepath.Glob(filepath.Join(base, groupPrefix+"*")) // the pattern is right
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 || !errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			continue
		}
		inner, _ := filepath.Glob(filepath.Join(dir, "*")) // as above
		for _, d := range append(inner, dir) {
			_ = syscall.Rmdir(d) // files of the kernel's are no folders, and go with theirs
		}
	}
}

// delegate makes the folder of sandboxes in a group of version 2. A group with
// processes in it may not hand controllers down, so this process moves into a
// folder of its own if it is alone.
func (c *cgroups) delegate(base, name string) []string {
	dir := filepath.Join(base, name)
	clean(base)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return []string{"control groups: " + err.Error()}
	}
	enable := func(at string) error {
		var errs []error
		for _, controller := range []string{memoryController, cpuController, processController} {
			errs = append(errs, write(at, "cgroup.subtree_control", "+"+controller))
		}
		return errors.Join(errs...)
	}
	err := enable(base)
	if err != nil {
		own := filepath.Join(dir+"-platform", "cgroup.procs")
		if procs, readErr := os.ReadFile(filepath.Join(base, "cgroup.procs")); readErr == nil &&
			strings.TrimSpace(string(procs)) == strconv.Itoa(os.Getpid()) {
			_ = os.Mkdir(filepath.Dir(own), 0o755) // the write says whether it is there
			if err = os.WriteFile(own, procs, 0o644); err == nil {
				err = enable(base)
			}
		}
	}
	if err == nil {
		err = enable(dir)
	}
	have, readErr := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if readErr == nil {
		for controller := range strings.FieldsSeq(strings.ReplaceAll(string(have), "+", "")) {
			c.parents[controller] = dir
		}
	}
	if err != nil {
		return []string{"control groups: " + err.Error()}
	}
	return nil
}

// hierarchies is where the groups of this process are.
type hierarchies struct {
	// v1 is the folder of each controller of version 1, v2 the one of version 2.
	v1 map[string]string
	v2 string
}

// readCgroups reads where the groups of this process are from a root folder
// with proc in it.
func readCgroups(root fs.FS) (hierarchies, error) {
	h := hierarchies{v1: map[string]string{}}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return h, err
	}
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return h, err
	}
	own := map[string]string{} // by controller, "" is version 2
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			own[controller] = parts[2]
		}
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		within := func(group string) string {
			rel, err := filepath.Rel(left[3], group)
			if err != nil || strings.HasPrefix(rel, "..") {
				return left[4]
			}
			return filepath.Join(left[4], rel)
		}
		switch right[0] {
		case "cgroup2":
			h.v2 = within(own[""])
		case "cgroup":
			for option := range strings.SplitSeq(right[2], ",") {
				switch option {
				case memoryController, cpuController, processController, accountController:
					h.v1[option] = within(own[option])
				}
			}
		}
	}
	return h, nil
}

// has reports whether a controller bounds sandboxes.
func (c *cgroups) has(controller string) bool { return c.parents[controller] != "" }

// cgroup is the control group of one sandbox: its folder for each controller.
type cgroup struct {
	dirs    map[string]string
	unified bool
}

// make makes a group with bounds.
func (c *cgroups) make(name string, l Limits) (*cgroup, error) {
	g := &cgroup{dirs: map[string]string{}, unified: c.unified}
	for controller, parent := range c.parents {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil && (!c.unified || !errors.Is(err, fs.ErrExist)) {
			return nil, errors.Join(fmt.Errorf("make a control group: %w", err), g.remove())
		}
		g.dirs[controller] = dir
	}
	for _, s := range g.settings(l) {
		if dir := g.dirs[s.controller]; dir != "" && s.value != "" {
			if err := write(dir, s.file, s.value); err != nil && !s.optional {
				return nil, errors.Join(fmt.Errorf("bound %s: %w", s.controller, err), g.remove())
			}
		}
	}
	return g, nil
}

// setting is a file of a control group and what it is to hold; "" leaves it.
type setting struct {
	controller, file, value string
	// optional is a file that not every kernel has.
	optional bool
}

// settings are the bounds of a group.
func (g *cgroup) settings(l Limits) []setting {
	memory, processes := strconv.FormatInt(l.Memory, 10), strconv.FormatInt(l.Processes, 10)
	quota := ""
	if l.CPU > 0 {
		quota = strconv.FormatInt(max(1000, l.CPU*cpuPeriod/1000), 10) // the kernel's least is 1 ms
	}
	if g.unified {
		if quota != "" {
			quota += " " + strconv.Itoa(cpuPeriod)
		}
		return []setting{
			{memoryController, "memory.max", memory, false},
			{memoryController, "memory.swap.max", "0", true},
			{memoryController, "memory.oom.group", "1", true},
			{processController, "pids.max", processes, false},
			{cpuController, "cpu.max", quota, false},
		}
	}
	return []setting{
		{memoryController, "memory.limit_in_bytes", memory, false},
		{memoryController, "memory.memsw.limit_in_bytes", memory, true},
		{processController, "pids.max", processes, false},
		{cpuController, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod), false},
		{cpuController, "cpu.cfs_quota_us", quota, false},
	}
}

// add puts a process into the group; what it starts is in it too.
func (g *cgroup) add(pid int) error {
	for _, dir := range g.dirs {
		if err := write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("enter the control group: %w", err)
		}
	}
	return nil
}

// outOfMemory reports whether the bound of memory killed a process of the
// group.
func (g *cgroup) outOfMemory() bool {
	file := "memory.oom_control"
	if g.unified {
		file = "memory.events"
	}
	return g.number(memoryController, file, "oom_kill") > 0
}

// number reads a number from a file of the group: the only one in it, or the
// one after a word; 0 if there is none.
func (g *cgroup) number(controller, file, word string) int64 {
	dir := g.dirs[controller]
	if dir == "" {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if word == "" && len(fields) == 1 || word != "" && len(fields) == 2 && fields[0] == word {
			n, _ := strconv.ParseInt(fields[len(fields)-1], 10, 64) // 0 for what is no number
			return n
		}
	}
	return 0
}

// memory is how much memory the group has.
func (g *cgroup) memory() int64 {
	if g.unified {
		return g.number(memoryController, "memory.current", "")
	}
	return g.number(memoryController, "memory.usage_in_bytes", "")
}

// processes is how many processes and threads the group has.
func (g *cgroup) processes() int64 { return g.number(processController, "pids.current", "") }

// cpu is the time that the group was on processors, 0 where that is not
// counted with the bound.
func (g *cgroup) cpu() time.Duration {
	if g.unified {
		return time.Duration(g.number(cpuController, "cpu.stat", "usage_usec")) * time.Microsecond
	}
	return time.Duration(g.number(accountController, "cpuacct.usage", ""))
}

// kill kills what is in the group, until nothing is.
func (g *cgroup) kill() {
	const rounds = 100 // more processes than may start in between
	for range rounds {
		found := false
		for _, dir := range g.dirs {
			if g.unified && write(dir, "cgroup.kill", "1") == nil {
				return
			}
			text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				continue
			}
			for field := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
					found = true
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
				}
			}
		}
		if !found {
			return
		}
	}
}

// removalTries bounds the wait for the kernel to let go of processes that have
// ended; each wait is longer than the one before.
const removalTries = 10

// remove removes the group, in which nothing is left.
func (g *cgroup) remove() error {
	var errs []error
	for _, dir := range g.dirs {
		err := os.Remove(dir)
		for try := range removalTries {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				err = nil
				break
			}
			time.Sleep(time.Millisecond << try)
			err = os.Remove(dir)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close removes the folders of the sandboxes' groups.
func (c *cgroups) close(logger *slog.Logger) {
	for _, dir := range c.parents {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			logger.Warn("a control group is left", slog.String("dir", dir), slog.Any("error", err))
		}
	}
}

// write writes one value into a file of a control group.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
