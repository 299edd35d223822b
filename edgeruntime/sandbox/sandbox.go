// Package sandbox runs one program of an unpacked image as a process that has
// nothing of the machine but the network: its own file system, process numbers
// and host name, no capabilities, no privileges to be had, and bounds on
// memory, processors, processes, files and scratch space. There is no daemon.
//
// A [Runner] starts processes by running this very program again, which becomes
// the sandbox and then the program in it: the function main calls [Main] first.
// What the machine does not allow is left out, and [Runner.Describe] says so:
// whoever runs code that he does not trust looks there before.
//
// Only Linux has what it takes; elsewhere [New] is an Unsupported fault. A
// Runner and its processes may be used concurrently.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// Spec is a process as it is to be.
type Spec struct {
	// Name is the host name that the process sees: up to 63 lower-case letters,
	// digits and dashes.
	Name string
	// Root is the folder of the unpacked image, which UID may enter. It is not
	// written to.
	Root string
	// Args are the program and its arguments. A program without a slash is
	// looked up in the PATH of Env.
	Args []string
	// Env is the whole environment, as NAME=VALUE; nothing is inherited.
	Env []string
	// Dir is the working folder within the root; "" is "/".
	Dir string
	// UID and GID are whom the process runs as; 0 is NonRoot.
	UID, GID uint32
	// Limits are the bounds.
	Limits Limits
	// Scratch is how many bytes may be written to /tmp, /dev/shm and, where
	// Writable, the rest; 0 is DefaultScratch. They count as memory.
	Scratch int64
	// Writable makes the root writable, on scratch space that goes with the
	// process. Otherwise only /tmp and /dev/shm are.
	Writable bool
	// Mounts are files and folders of the machine that are seen in the root,
	// read-only, such as secrets, and folders of scratch space.
	Mounts []Mount
	// Stdout and Stderr take what the process writes; nil discards it.
	Stdout, Stderr io.Writer
}

// Limits bound a process and all that it starts together.
type Limits struct {
	// Memory is in bytes; 0 is DefaultMemory.
	Memory int64
	// CPU is in thousandths of a processor; 0 is no bound.
	CPU int64
	// Processes counts threads too; 0 is DefaultProcesses.
	Processes int64
	// Files is how many files each process may have open; 0 is DefaultFiles.
	Files int64
}

// Mount shows a file or folder of the machine at a place in the root.
type Mount struct {
	// Source is the absolute path on the machine; "" is an empty folder of the
	// scratch space, which may be written to.
	Source string
	// Target is the absolute path in the root, made if it is not there.
	Target string
}

// NetworkFiles are the mounts of what a program needs to find others by their
// names, as far as this machine has it: the network is the machine's.
func NetworkFiles() []Mount {
	var mounts []Mount
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			mounts = append(mounts, Mount{Source: file, Target: file})
		}
	}
	return mounts
}

// The bounds of a Spec that has none. A Go program that does nothing has 5 MB
// and 6 threads.
const (
	// DefaultMemory is the bound of memory in bytes.
	DefaultMemory = 256 << 20
	// DefaultProcesses is the bound of processes and threads.
	DefaultProcesses = 256
	// DefaultFiles is the bound of open files, as most machines have it.
	DefaultFiles = 1024
	// DefaultScratch is the bound of scratch space in bytes.
	DefaultScratch = 64 << 20
)

// NonRoot is whom processes run as that name nobody or root: the number that
// images without a user of their own have used since "distroless" did.
const NonRoot = 65532

// Reason is why a process ended.
type Reason string

// The reasons.
const (
	// Exited is an exit by itself; Exit.Code says more.
	Exited Reason = "Exited"
	// Signaled is an end by a signal that nobody here sent, such as a crash.
	Signaled Reason = "Signaled"
	// OutOfMemory is an end by the bound of memory.
	OutOfMemory Reason = "OutOfMemory"
	// ScratchFull is an end because the scratch folder outgrew its bound; with
	// namespaces, the process gets an error where it writes instead.
	ScratchFull Reason = "ScratchFull"
	// Stopped is an end after [Process.Stop].
	Stopped Reason = "Stopped"
	// Killed is an end by [Process.Kill], or because the grace of Stop was over.
	Killed Reason = "Killed"
)

// Exit is how a process ended.
type Exit struct {
	// Reason is why.
	Reason Reason
	// Code is the exit code, or 128 and the number of the signal.
	Code int
	// Signal is the number of the signal that ended it, 0 for none.
	Signal int
}

// String says it in a line of a log.
func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s (signal %d)", e.Reason, e.Signal)
	}
	return fmt.Sprintf("%s (code %d)", e.Reason, e.Code)
}

// Stats is what a process and all that it started use.
type Stats struct {
	// Memory is in bytes, scratch space and file cache included where control
	// groups count.
	Memory int64
	// CPU is the time on processors since the start.
	CPU time.Duration
	// Processes counts threads too.
	Processes int64
}

// Isolation is what the machine gives to a sandbox.
type Isolation struct {
	// Namespaces is whether processes have file systems, process numbers and
	// host names of their own.
	Namespaces bool `json:"namespaces"`
	// UserNamespace is whether those are had without being root.
	UserNamespace bool `json:"userNamespace"`
	// Root is how the root is made: overlay, chroot or none.
	Root string `json:"root"`
	// OtherUser is whether the process runs as another user of the machine than
	// this one.
	OtherUser bool `json:"otherUser"`
	// Memory, CPU and Processes are whether a control group bounds them for a
	// process and its children together.
	Memory    bool `json:"memory"`
	CPU       bool `json:"cpu"`
	Processes bool `json:"processes"`
	// Calls is whether the kernel refuses the system calls that no function needs.
	Calls bool `json:"calls"`
	// Missing says in sentences what is not had, and why.
	Missing []string `json:"missing,omitempty"`
}

// String is the isolation in one line.
func (i Isolation) String() string {
	have := []string{"root: " + i.Root}
	for _, part := range []struct {
		name string
		has  bool
	}{
		{"namespaces", i.Namespaces},
		{"user namespace", i.UserNamespace},
		{"another user", i.OtherUser},
		{"memory bound", i.Memory},
		{"cpu bound", i.CPU},
		{"process bound", i.Processes},
		{"refused calls", i.Calls},
	} {
		if part.has {
			have = append(have, part.name)
		}
	}
	if len(i.Missing) > 0 {
		return strings.Join(have, ", ") + "; missing: " + strings.Join(i.Missing, "; ")
	}
	return strings.Join(have, ", ")
}

// Options are for [New].
type Options struct {
	// Logger takes what cannot be returned; nil discards it.
	Logger *slog.Logger
	// Dir is where scratch folders are made when there are no namespaces; "" is
	// the machine's own folder for such things.
	Dir string
	// Plain leaves out namespaces even where the machine allows them.
	Plain bool
}

// hostName is what a Spec may be named.
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// The bounds of a Spec, so that it fits into memory and into an exec.
const (
	maxArguments = 4096
	maxText      = 1 << 20
	maxMounts    = 256
)

// withDefaults is the spec with its defaults, or what is wrong with it.
func (s Spec) withDefaults() (Spec, error) {
	set := func(v *int64, otherwise int64) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&s.Limits.Memory, DefaultMemory)
	set(&s.Limits.Processes, DefaultProcesses)
	set(&s.Limits.Files, DefaultFiles)
	set(&s.Scratch, DefaultScratch)
	if s.Dir == "" {
		s.Dir = "/"
	}
	if s.UID == 0 {
		s.UID = NonRoot
	}
	if s.GID == 0 {
		s.GID = s.UID
	}
	return s, s.check()
}

// check finds what is wrong with a spec that has its defaults.
func (s Spec) check() error {
	text := 0
	for _, t := range append(s.Args[:len(s.Args):len(s.Args)], s.Env...) {
		text += len(t) + 1
		if strings.ContainsRune(t, 0) {
			return invalid("args", errors.New("an argument or variable has a zero byte"))
		}
	}
	for _, e := range s.Env {
		if i := strings.IndexByte(e, '='); i <= 0 {
			return invalid("env", errors.New("want NAME=VALUE"))
		}
	}
	switch {
	case !hostName.MatchString(s.Name):
		return invalid("name", fmt.Errorf("%.80q: want up to 63 lower-case letters, digits and dashes", s.Name))
	case !filepath.IsAbs(s.Root):
		return invalid("root", fmt.Errorf("%q: want an absolute path", s.Root))
	case len(s.Args) == 0 || s.Args[0] == "":
		return invalid("args", errors.New("no program"))
	case len(s.Args)+len(s.Env) > maxArguments || text > maxText:
		return invalid("args", fmt.Errorf("more than %d arguments and variables, or %d bytes of them", maxArguments, maxText))
	case !path.IsAbs(s.Dir):
		return invalid("dir", fmt.Errorf("%q: want an absolute path", s.Dir))
	case s.Limits.Memory < 0 || s.Limits.CPU < 0 || s.Limits.Processes < 0 || s.Limits.Files < 0 || s.Scratch < 0:
		return invalid("limits", errors.New("a bound is negative"))
	case len(s.Mounts) > maxMounts:
		return invalid("mounts", fmt.Errorf("%d, more than %d", len(s.Mounts), maxMounts))
	}
	for _, m := range s.Mounts {
		target := path.Clean(m.Target)
		if m.Source != "" && !filepath.IsAbs(m.Source) || !path.IsAbs(m.Target) || target == "/" {
			return invalid("mounts", fmt.Errorf("%q at %q: want absolute paths, and not the root", m.Source, m.Target))
		}
		for _, own := range []string{"/proc", "/dev"} {
			if target == own || strings.HasPrefix(target, own+"/") {
				return invalid("mounts", fmt.Errorf("%q: is the sandbox's own", m.Target))
			}
		}
	}
	return nil
}

// invalid is the fault of a field of a Spec.
func invalid(field string, err error) error {
	return &fault.Error{Op: "sandbox.Start", Kind: fault.Invalid, Reason: "INVALID_SPEC", Field: field, Err: err}
}
