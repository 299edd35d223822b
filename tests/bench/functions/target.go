package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/tests/process"
)

// target is something that runs functions.
type target struct {
	options
	name string
	// dir has its function, tools has func and kubectl.
	dir, tools string
	env        []string
	registry   string
	// key is what its broker wants, "" for nothing.
	key string
	// memory is what it takes, in bytes.
	memory func() (int64, error)
	client *http.Client
	// url is where its function is, broker where events are posted.
	url, broker string
	got         *recorder
}

// function is the name of what is deployed.
const function = "warm"

// newOurs is the platform under test.
func newOurs(ctx context.Context, p *process.Platform, o options, dir, tools string) (*target, error) {
	key, err := p.Key(ctx, "projects/default")
	if err != nil {
		return nil, err
	}
	t := &target{options: o, name: "selvedge", dir: dir, tools: tools, registry: strings.TrimPrefix(p.URL, "http://") + "/default", key: key, memory: func() (int64, error) { return memoryBelow(os.Getpid()) }}
	t.host = "127.0.0.1"
	t.env = []string{"SELVEDGE_URL=" + p.URL, "SELVEDGE_KEY=" + key}
	if err := t.open(); err != nil {
		return nil, err
	}
	_, err = t.run(ctx, "", o.program, "kubeconfig", "--merge")
	return t, err
}

// newTheirs is a cluster with Knative.
func newTheirs(o options, dir, tools string) (*target, error) {
	t := &target{options: o, name: "knative", dir: dir, tools: tools, registry: o.registry, memory: func() (int64, error) { return memoryOf(o.memory) }}
	t.env = []string{"KUBECONFIG=" + o.kubeconfig, "FUNC_NAMESPACE=default"}
	return t, t.open()
}

// open makes its folder and its client.
func (t *target) open() error {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			return err
		}
		t.env = append(t.env, name+"="+strings.TrimSpace(string(out)))
	}
	t.env = append(t.env, "PATH="+os.Getenv("PATH"), "HOME="+t.dir, "GOTELEMETRYDIR="+filepath.Join(home, ".config"))
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	t.client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: publishers,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			for suffix, to := range t.resolve {
				if strings.HasSuffix(host, suffix) {
					address = to
				}
			}
			return dialer.DialContext(ctx, network, address)
		},
	}}
	return nil
}

// run runs a command in a folder.
func (t *target) run(ctx context.Context, dir, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, t.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %v: %w\n%s", filepath.Base(program), args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// kubectl runs kubectl.
func (t *target) kubectl(ctx context.Context, args ...string) (string, error) {
	return t.run(ctx, "", filepath.Join(t.tools, "kubectl"), args...)
}

// apply applies a manifest.
func (t *target) apply(ctx context.Context, text string) error {
	path := filepath.Join(t.dir, "manifest.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	_, err := t.kubectl(ctx, "apply", "-f", path)
	return err
}

// running is what /proc says of a process.
type running struct {
	parent  int
	program string
}

// processes are those of this machine.
func processes() (map[int]running, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := map[int]running{}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue // not that of a process
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // as above
		}
		program, _, _ := bytes.Cut(line, []byte{0})
		// The name in brackets may hold anything; the fields after it are a letter
		// and then numbers.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 {
			continue
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			continue
		}
		all[pid] = running{parent, filepath.Base(string(program))}
	}
	return all, nil
}

// memoryOf is the memory of the processes of some programs.
func memoryOf(names string) (sum int64, err error) {
	if names == "" {
		return 0, errors.New("no programs are named")
	}
	all, err := processes()
	for pid, p := range all {
		if slices.Contains(strings.Split(names, ","), p.program) {
			sum += proportional(pid)
		}
	}
	return sum, err
}

// memoryBelow is the memory of the processes that a process started, and those
// started, and so on.
func memoryBelow(root int) (sum int64, err error) {
	all, err := processes()
	for pid, p := range all {
		for up := p.parent; up > 1; up = all[up].parent {
			if up == root {
				sum += proportional(pid)
				break
			}
		}
	}
	return sum, err
}

// proportional is the proportional set size of a process in bytes, 0 when it has
// ended.
func proportional(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
