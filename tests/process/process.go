// Package process builds the project's programs and runs them as an operator
// does: as processes, reached over HTTP only. End-to-end tests and benchmarks
// stand on it.
package process

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"selvedge.dev/sdk/client"
)

// AdminKey is the bootstrap key that Start gives to platforms.
const AdminKey = "an-administrator-key-of-the-tests"

// Root is the folder of the module.
func Root() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the folder of the sources is not known")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file))), nil
}

// Build builds the command of the package (a path in the module) into dir and
// returns the program's path. Flags go to go build.
func Build(ctx context.Context, dir, pkg string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", out}, flags...), "./"+pkg)...)
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// Platform is a running `selvedge up`.
type Platform struct {
	// URL is where it listens.
	URL string
	// HTTP reaches it, and trusts the certificate that it was given.
	HTTP *http.Client
	// Started is how long it took from the start of the process to its first
	// answer of /readyz.
	Started time.Duration

	cmd    *exec.Cmd
	output *tail
	done   chan struct{}
	err    error
}

// Start runs `program up` on the data folder with further arguments, and
// waits until it is ready.
func Start(ctx context.Context, program, data string, args ...string) (*Platform, error) {
	begin := time.Now()
	p := &Platform{
		cmd:    exec.Command(program, append([]string{"up", "--data", data, "--listen", "127.0.0.1:0"}, args...)...),
		output: new(tail), done: make(chan struct{}), HTTP: http.DefaultClient,
	}
	if i := slices.Index(args, "--tls-cert"); i >= 0 && i+1 < len(args) {
		pool := x509.NewCertPool()
		pem, err := os.ReadFile(args[i+1])
		if err != nil {
			return nil, err
		}
		pool.AppendCertsFromPEM(pem)
		p.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	}
	p.cmd.Env = append(os.Environ(), "SELVEDGE_ADMIN_KEY="+AdminKey)
	p.cmd.Stderr = p.output
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	address := make(chan string, 1)
	go p.watch(stdout, address)
	select {
	case p.URL = <-address:
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it listened: %w\n%s", program, p.err, p.output)
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.Kill())
	}
	if err := p.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	p.Started = time.Since(begin)
	return p, nil
}

// watch reads the program's output, tells the address in it, and notes its
// end.
func (p *Platform) watch(stdout io.Reader, address chan<- string) {
	defer close(p.done)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), "listening on"); ok {
			address <- strings.TrimSpace(rest)
		}
		_, _ = fmt.Fprintln(p.output, lines.Text()) // a tail takes everything
	}
	p.err = errors.Join(lines.Err(), p.cmd.Wait())
}

// awaitReady polls /readyz.
func (p *Platform) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := p.HTTP.Do(req); err == nil {
			if err := resp.Body.Close(); err == nil && resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w\n%s", ctx.Err(), p.output)
		case <-p.done:
			return fmt.Errorf("ended before it was ready: %w\n%s", p.err, p.output)
		case <-tick.C:
		}
	}
}

// Client calls the platform with key.
func (p *Platform) Client(key string) *client.Client {
	return &client.Client{URL: p.URL, Key: key, HTTP: p.HTTP}
}

// Kill ends the process as a power cut does: no signal that it could see.
func (p *Platform) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Stop ends the process as Ctrl-C does, and fails when it does not end well.
func (p *Platform) Stop(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop: %w\n%s", ctx.Err(), p.output), p.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("stop: %w\n%s", p.err, p.output)
	}
	return nil
}

// Output is the newest part of what the process wrote.
func (p *Platform) Output() string { return p.output.String() }

// Memory is the resident memory of the process, in bytes (Linux).
func (p *Platform) Memory() (int64, error) { return memory(p.cmd.Process.Pid, "VmRSS:") }

// Anonymous is what of the resident memory is no page of a file, in bytes (Linux).
func (p *Platform) Anonymous() (int64, error) { return memory(p.cmd.Process.Pid, "RssAnon:") }

// Peak is the most resident memory that the process ever had, in bytes (Linux).
func (p *Platform) Peak() (int64, error) { return memory(p.cmd.Process.Pid, "VmHWM:") }

// memory is a figure of the memory of a process, in bytes (Linux).
func memory(pid int, name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in the process status", name)
}

// Processor is how long processors have worked for the process (Linux).
func (p *Platform) Processor() (time.Duration, error) { return processorTime(p.cmd.Process.Pid) }

// processorTime is how long processors have worked for a process, in its own
// code and in the kernel, to the hundredth of a second (Linux).
func processorTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in brackets may hold anything; the fields after it are numbers.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, errors.New("no processor time in the process status")
	}
	total := time.Duration(0)
	for _, text := range fields[user : system+1] {
		ticks, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total, nil
}

// tail keeps the newest bytes that were written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// kept is how much a tail keeps.
const kept = 64 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.buf.Write(p)
	if over := t.buf.Len() - kept; over > 0 {
		t.buf.Next(over)
	}
	return n, err
}

// String is what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
