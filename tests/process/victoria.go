package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// BuildVictoria builds the stock VictoriaMetrics server of tests/bench/victoria
// into dir and returns the program's path.
func BuildVictoria(ctx context.Context, dir string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "tool")
	cmd.Dir = filepath.Join(root, "tests", "bench", "victoria")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build VictoriaMetrics: %w\n%s", err, text)
	}
	return filepath.Join(dir, "victoria-metrics"), nil
}

// Victoria is a running VictoriaMetrics, single node.
type Victoria struct {
	// URL is where it listens.
	URL string

	cmd    *exec.Cmd
	output *tail
	done   chan struct{}
	err    error
}

// StartVictoria runs the server on the data folder with further arguments, and
// waits until it answers. It keeps 50 years unless the arguments say otherwise.
func StartVictoria(ctx context.Context, program, data string, args ...string) (*Victoria, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	v := &Victoria{
		URL: "http://" + address, output: new(tail), done: make(chan struct{}),
		cmd: exec.Command(program, append([]string{"-storageDataPath=" + data, "-httpListenAddr=" + address, "-retentionPeriod=50y"}, args...)...),
	}
	v.cmd.Stdout, v.cmd.Stderr = v.output, v.output
	if err := v.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		defer close(v.done)
		v.err = v.cmd.Wait()
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if v.answers(ctx) {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("VictoriaMetrics does not answer: %w\n%s", ctx.Err(), v.output), v.Kill())
		case <-v.done:
			return nil, fmt.Errorf("VictoriaMetrics ended: %w\n%s", v.err, v.output)
		case <-tick.C:
		}
	}
}

// freeAddress is an address that nobody listens on now. The server cannot be
// given port 0, since it does not tell which one it took.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// answers reports whether the server is healthy.
func (v *Victoria) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.URL+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// Memory is the resident memory of the process, in bytes (Linux).
func (v *Victoria) Memory() (int64, error) { return memory(v.cmd.Process.Pid, "VmRSS:") }

// Anonymous is what of the resident memory is no page of a file, in bytes (Linux).
func (v *Victoria) Anonymous() (int64, error) { return memory(v.cmd.Process.Pid, "RssAnon:") }

// Peak is the most resident memory that the process ever had, in bytes (Linux).
func (v *Victoria) Peak() (int64, error) { return memory(v.cmd.Process.Pid, "VmHWM:") }

// Processor is how long processors have worked for the process (Linux).
func (v *Victoria) Processor() (time.Duration, error) { return processorTime(v.cmd.Process.Pid) }

// Stop has the server write everything to its files and end.
func (v *Victoria) Stop() error {
	err := v.cmd.Process.Signal(syscall.SIGINT)
	<-v.done
	return errors.Join(err, v.err)
}

// Kill ends the server without a chance to write anything.
func (v *Victoria) Kill() error {
	err := v.cmd.Process.Kill()
	<-v.done
	return err
}
