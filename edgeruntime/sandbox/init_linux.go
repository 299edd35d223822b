package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// initArg is the name by which this program is called to become a sandbox. A
// person does not type it by accident.
const initArg = "selvedge-sandbox-init"

// The files that the step inherits beyond standard input, output and error.
const (
	// setupFile is a pipe with the setup as JSON, and the word to go once the step
	// is in its control group. Its end before that is the parent's death.
	setupFile = 3
	// reportFile is a pipe for what went wrong. It closes with the exec.
	reportFile = 4
)

// maxSetup bounds the setup: a Spec at its bounds, escaped.
const maxSetup = 8 << 20

// setup is what the step is to do. It is the Spec as far as it is left to the
// step, and what the Runner found that the machine allows.
type setup struct {
	Name, Root, Dir string
	Args, Env       []string
	UID, GID        uint32
	Limits          Limits
	Scratch         int64
	Writable        bool
	Mounts          []Mount
	// Namespaces, UserNS and Chroot are how the root is made; with none of them
	// the process sees the files of the machine.
	Namespaces, UserNS, Chroot bool
	// SetIDs is whether this is root, who can become another.
	SetIDs bool
	// BoundMemory and BoundProcesses are for limits of the process alone, where no
	// control group has them.
	BoundMemory, BoundProcesses bool
	// FilterCalls is whether the kernel can refuse calls.
	FilterCalls bool
	// Probe ends the step where it would run the program.
	Probe bool
}

// report is what the step could not do.
type report struct {
	// Doing says which step it was.
	Doing string
	// Text is the error.
	Text string
	// Missing is whether the program is not there or cannot be run, which is the
	// fault of the Spec.
	Missing bool
}

// stepError is an error of a step with what it did.
type stepError struct {
	doing string
	err   error
}

// Error says what the step did and what came of it.
func (e *stepError) Error() string { return e.doing + ": " + e.err.Error() }

// Unwrap is the cause.
func (e *stepError) Unwrap() error { return e.err }

// Main becomes the sandbox, and then the program in it, if this program was
// called for that by a [Runner], and does not return then. Otherwise it returns
// at once. A function main calls it first.
func Main() {
	if len(os.Args) != 1 || os.Args[0] != initArg {
		return
	}
	// Rights and namespaces are those of one thread, which runs the program in the
	// end.
	runtime.LockOSThread()
	err := become()
	r := report{Doing: "sandbox", Text: err.Error(), Missing: errors.Is(err, errNotRunnable)}
	var step *stepError
	if errors.As(err, &step) {
		r.Doing, r.Text = step.doing, step.err.Error()
	}
	// Nobody is left to tell if this fails.
	_ = json.NewEncoder(os.NewFile(reportFile, "report")).Encode(r)
	os.Exit(1)
}

// errNotRunnable is a program that is not there or cannot be run.
var errNotRunnable = errors.New("no such program, or not one that runs here")

// become makes the sandbox and runs the program, which does not return.
func become() error {
	for fd := uintptr(setupFile); fd <= reportFile; fd++ {
		syscall.CloseOnExec(int(fd))
	}
	var s setup
	dec := json.NewDecoder(io.LimitReader(os.NewFile(setupFile, "setup"), maxSetup))
	if err := dec.Decode(&s); err != nil {
		return fmt.Errorf("reading the setup: %w", err)
	}
	for _, step := range []struct {
		doing string
		do    func() error
	}{
		{"making the root", s.root},
		{"setting limits", s.limits},
		{"giving up rights", s.surrender},
		{"working folder", func() error { return s.chdir() }},
		{"closing files", closeOnExec},
	} {
		if err := step.do(); err != nil {
			return &stepError{step.doing, err}
		}
	}
	program, err := s.program()
	if err != nil && !s.Probe {
		return &stepError{"finding the program", err}
	}
	if err := dieWithParent(); err != nil {
		return &stepError{"tying to the parent", err}
	}
	var word string
	if err := dec.Decode(&word); err != nil {
		return fmt.Errorf("waiting for the word to go: %w", err)
	}
	if err := s.filterCalls(); err != nil {
		return &stepError{"giving up calls", err}
	}
	if s.Probe {
		os.Exit(0)
	}
	err = syscall.Exec(program, s.Args, s.Env)
	return &stepError{"running " + s.Args[0], fmt.Errorf("%w: %w", errNotRunnable, err)}
}

// root makes the file system that the process sees.
func (s *setup) root() error {
	switch {
	case s.Namespaces:
		return s.newRoot()
	case s.Chroot:
		return syscall.Chroot(s.Root)
	}
	return nil
}

// chdir enters the working folder, made on the scratch space if that is where
// it would be.
func (s *setup) chdir() error {
	dir := s.Dir
	if !s.Namespaces && !s.Chroot {
		dir = filepath.Join(s.Root, dir)
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("%w: %w", errNotRunnable, err)
	}
	return nil
}

// program is the path of the program, looked up in PATH when it has no slash.
func (s *setup) program() (string, error) {
	name, base := s.Args[0], ""
	if !s.Namespaces && !s.Chroot {
		base = s.Root
	}
	if strings.Contains(name, "/") {
		if filepath.IsAbs(name) {
			name = filepath.Join(base, name)
		}
		return name, nil
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range s.Env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		candidate := filepath.Join(base, dir, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%w: %q is not in PATH (%s): %w", errNotRunnable, name, search, fs.ErrNotExist)
}
