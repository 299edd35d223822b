// Package containerdtest starts containerds of tests' own, with files and a socket
// of their own, beside whatever the machine has. It is for tests only.
package containerdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The variables that name the program of containerd, and say that a test that
// misses it fails.
const (
	ProgramVariable = "SELVEDGE_TEST_CONTAINERD"
	RequireVariable = "SELVEDGE_REQUIRE_CONTAINERD"
)

// Daemon is a containerd.
type Daemon struct {
	// Dir has its files, Address is its socket.
	Dir, Address string

	program string
	cmd     *exec.Cmd
	done    chan struct{}
}

// errNone is that there is no containerd on this machine.
var errNone = errors.New("containerd is not to be had: name its program by " + ProgramVariable + ", or install it with runc, and be root")

// New makes a containerd with its files in a folder, whose path must be short since
// that of a socket is bounded, and starts it. Without one on this machine the test is
// skipped, unless it is required.
func New(t testing.TB, dir string) *Daemon {
	t.Helper()
	d, err := open(dir)
	if errors.Is(err, errNone) && os.Getenv(RequireVariable) == "" {
		t.Skip("NOT RUN: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// open makes a containerd and starts it.
func open(dir string) (*Daemon, error) {
	program := os.Getenv(ProgramVariable)
	for _, needed := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		found, err := exec.LookPath(needed)
		if err != nil && (needed != "containerd" || program == "") {
			return nil, fmt.Errorf("%w: %w", errNone, err)
		}
		if needed == "containerd" && program == "" {
			program = found
		}
	}
	if os.Geteuid() != 0 {
		return nil, errNone
	}
	d := &Daemon{program: program, Dir: dir, Address: filepath.Join(dir, "c.sock")}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n", filepath.Join(dir, "root"), filepath.Join(dir, "state"), d.Address)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return d, d.Start()
}

// Start starts it, and returns when it listens.
func (d *Daemon) Start() error {
	log, err := os.OpenFile(filepath.Join(d.Dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the daemon has it
	d.cmd = exec.Command(d.program, "-c", filepath.Join(d.Dir, "config.toml"))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.done = make(chan struct{})
	go func() {
		_ = d.cmd.Wait() // the log says more
		close(d.done)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-d.done:
			text, _ := os.ReadFile(filepath.Join(d.Dir, "log")) // none if there is none
			return fmt.Errorf("containerd has ended: %s", text)
		case <-tick.C:
		}
		if c, err := new(net.Dialer).DialContext(context.Background(), "unix", d.Address); err == nil {
			return c.Close()
		}
	}
}

// Stop stops it; its containers go on.
func (d *Daemon) Stop() {
	_ = d.cmd.Process.Signal(os.Interrupt) // one that has ended needs none
	<-d.done
}

// Wipe ends what tests that failed have left running, and stops it.
func (d *Daemon) Wipe() {
	left, _ := d.ctr(context.Background(), "tasks", "ls", "-q") // none if it has been stopped
	for _, id := range strings.Fields(left) {
		_, _ = d.ctr(context.Background(), "tasks", "rm", "-f", id) // as far as can be
	}
	d.Stop()
}

// Ctr is what containerd's own command says of the things of platforms.
func (d *Daemon) Ctr(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.ctr(t.Context(), args...)
	if err != nil {
		t.Fatalf("ctr %v: %v", args, err)
	}
	return out
}

// ctr runs containerd's own command, which may have a warning to say beside its
// answer.
func (d *Daemon) ctr(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ctr", append([]string{"-a", d.Address, "-n", "selvedge"}, args...)...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, said.String())
	}
	return strings.TrimSpace(out.String()), nil
}
