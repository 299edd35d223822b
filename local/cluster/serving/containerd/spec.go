package containerd

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/sdk/fault"
)

// specification is a container as the runtime specification of OCI has it, as far
// as it is used.
type specification struct {
	Version  string     `json:"ociVersion"`
	Process  processOf  `json:"process"`
	Root     rootOf     `json:"root"`
	Hostname string     `json:"hostname"`
	Mounts   []mountOf  `json:"mounts"`
	Linux    confinedTo `json:"linux"`
}

// processOf is the process.
type processOf struct {
	User struct {
		UID uint32 `json:"uid"`
		GID uint32 `json:"gid"`
	} `json:"user"`
	Args            []string            `json:"args"`
	Env             []string            `json:"env"`
	Dir             string              `json:"cwd"`
	Capabilities    map[string][]string `json:"capabilities"`
	Rlimits         []rlimit            `json:"rlimits"`
	NoNewPrivileges bool                `json:"noNewPrivileges"`
}

// rlimit is a bound of the process itself.
type rlimit struct {
	Type string `json:"type"`
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

// rootOf is the file system, which containerd mounts.
type rootOf struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"readonly"`
}

// mountOf is a mount within it.
type mountOf struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

// confinedTo are the bounds and rights.
type confinedTo struct {
	CgroupsPath string      `json:"cgroupsPath"`
	Namespaces  []ofKind    `json:"namespaces"`
	Resources   resourcesOf `json:"resources"`
	Seccomp     *seccomp    `json:"seccomp,omitempty"`
	Masked      []string    `json:"maskedPaths"`
	ReadOnly    []string    `json:"readonlyPaths"`
}

// ofKind is a namespace.
type ofKind struct {
	Type string `json:"type"`
}

// resourcesOf are the bounds of a control group.
type resourcesOf struct {
	Devices []device         `json:"devices"`
	Memory  map[string]int64 `json:"memory"`
	CPU     *quota           `json:"cpu,omitempty"`
	Pids    map[string]int64 `json:"pids"`
}

// device is a rule about devices.
type device struct {
	Allow  bool   `json:"allow"`
	Access string `json:"access"`
}

// quota is time on processors in each period, in microseconds.
type quota struct {
	Quota  int64  `json:"quota"`
	Period uint64 `json:"period"`
}

// period is that of quotas.
const period = 100_000

// hidden and fixed are what processes do not see of /proc and /sys, and what they
// do not change there.
var (
	hidden = []string{
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	fixed = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// spec is the container as it is to be.
func (c *container) spec(uid, gid uint32) (specification, error) {
	i, config := c.instance, c.img.config
	s := specification{Version: "1.0.2", Hostname: i.Name, Root: rootOf{Path: "rootfs", ReadOnly: i.ReadOnlyRoot}}
	p := &s.Process
	p.User.UID, p.User.GID = uid, gid
	p.Args, p.Env = bundle.Arguments(config, i.Command, i.Args), bundle.Environment(config, i.Env)
	if c.r.o.Network != nil {
		p.Env = bundle.Environment(config, i.Env, []string{fmt.Sprintf("LISTEN_ADDRESS=%s:%d", everywhere, i.Port), "ADDRESS=" + everywhere})
	}
	p.Dir = path.Clean("/" + config.Config.WorkingDir)
	if i.Dir != "" {
		p.Dir = i.Dir
	}
	p.NoNewPrivileges = true
	p.Capabilities = map[string][]string{} // none
	p.Rlimits = []rlimit{{"RLIMIT_NOFILE", sandbox.DefaultFiles, sandbox.DefaultFiles}, {"RLIMIT_CORE", 0, 0}}
	if len(p.Args) == 0 || p.Args[0] == "" {
		return s, &fault.Error{Op: "containerd.Start", Name: i.Name, Kind: fault.Invalid, Field: "args", Err: errors.New("no program")}
	}
	var err error
	if s.Mounts, err = c.mounts(); err != nil {
		return s, err
	}
	memory := i.Memory
	if memory <= 0 {
		memory = sandbox.DefaultMemory
	}
	s.Linux = confinedTo{
		CgroupsPath: c.group(),
		Namespaces:  []ofKind{{"pid"}, {"ipc"}, {"uts"}, {"mount"}, {"cgroup"}},
		Resources: resourcesOf{
			Devices: []device{{Access: "rwm"}}, Memory: map[string]int64{"limit": memory},
			Pids: map[string]int64{"limit": sandbox.DefaultProcesses},
		},
		Seccomp: refused(), Masked: hidden, ReadOnly: fixed,
	}
	if swapIsCounted() {
		s.Linux.Resources.Memory["swap"] = memory // of both together, so that none is swapped
	}
	if i.CPU > 0 {
		s.Linux.Resources.CPU = &quota{int64(i.CPU * period), period}
	}
	if c.r.o.Network != nil {
		s.Linux.Namespaces = append(s.Linux.Namespaces, ofKind{"network"})
	}
	return s, nil
}

// mounts are what is mounted within the root: what every program expects, scratch
// space, the volumes, and what names of the network mean.
func (c *container) mounts() ([]mountOf, error) {
	i := c.instance
	scratch := i.Scratch
	if scratch <= 0 {
		scratch = sandbox.DefaultScratch
	}
	space := func(target string, bytes int64) mountOf {
		if bytes <= 0 || bytes > scratch {
			bytes = scratch
		}
		return mountOf{target, "tmpfs", "tmpfs", []string{"nosuid", "nodev", "mode=1777", fmt.Sprintf("size=%d", bytes)}}
	}
	all := []mountOf{
		{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}},
		{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{"/dev/pts", "devpts", "devpts", []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{"/sys", "sysfs", "sysfs", []string{"nosuid", "noexec", "nodev", "ro"}},
		{"/sys/fs/cgroup", "cgroup", "cgroup", []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		space("/dev/shm", 0), space("/tmp", 0),
	}
	seen := func(source, target string) {
		all = append(all, mountOf{target, "bind", source, []string{"rbind", "ro", "nosuid", "nodev"}})
	}
	if c.r.o.Network == nil {
		for _, m := range sandbox.NetworkFiles() {
			seen(m.Source, m.Target)
		}
	} else {
		for _, name := range networkFiles {
			seen(filepath.Join(c.folder(), name), "/etc/"+name)
		}
	}
	for _, m := range c.volumes.Mounts {
		target := path.Clean(m.Target)
		for _, own := range []string{"/proc", "/dev", "/sys"} {
			if target == "/" || target == own || strings.HasPrefix(target, own+"/") || !path.IsAbs(m.Target) {
				return nil, &fault.Error{Op: "containerd.Start", Name: i.Name, Kind: fault.Invalid, Field: "volumeMounts", Err: fmt.Errorf("%q: nothing can be mounted there", m.Target)}
			}
		}
		if m.Source == "" {
			all = append(all, space(target, m.Limit))
			continue
		}
		seen(m.Source, target)
	}
	return all, nil
}
