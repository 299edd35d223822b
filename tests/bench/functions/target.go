package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	// mine tells its processes by the names of their programs and whether they are ours.
	mine func(name string, ours bool) bool
	// memory is what it takes in bytes, and instance what an instance of the function
	// does.
	memory, instance func() (int64, error)
	client           *http.Client
	// url is where its function is, broker where events are posted.
	url, broker string
	got         *recorder
}

// function is the name of what is deployed, and program that of its program.
const (
	function = "warm"
	program  = "f"
)

// newOurs is the platform under test.
func newOurs(ctx context.Context, p *process.Platform, o options, dir, tools string) (*target, error) {
	key, err := p.Key(ctx, "projects/default")
	if err != nil {
		return nil, err
	}
	t := &target{options: o, name: "selvedge", dir: dir, tools: tools, registry: strings.TrimPrefix(p.URL, "http://") + "/default", key: key}
	t.mine = func(_ string, ours bool) bool { return ours }
	t.memory = func() (int64, error) { return memory(t.mine) }
	t.instance = func() (int64, error) { return memoryOfInstance(true, nil) }
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
	t := &target{options: o, name: "knative", dir: dir, tools: tools, registry: o.registry}
	names := strings.Split(o.memory, ",")
	t.mine = func(name string, ours bool) bool { return !ours && slices.Contains(names, name) }
	t.memory = func() (int64, error) { return memory(t.mine) }
	t.instance = func() (int64, error) { return memoryOfInstance(false, names) }
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
	t.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: publishers, DialContext: t.dial}}
	return nil
}

// dial connects to an address, where the hosts of a cluster are not known by name.
func (t *target) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for suffix, to := range t.resolve {
		if strings.HasSuffix(host, suffix) {
			address = to
		}
	}
	return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
}

// run runs a command in a folder.
func (t *target) run(ctx context.Context, dir, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, building)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, t.env
	cmd.WaitDelay = 5 * time.Second // what it started may keep its outputs
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %v: %w\n%s", filepath.Base(program), args, errors.Join(err, context.Cause(ctx)), out)
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
