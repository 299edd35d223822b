// Package pooltest runs instances for tests as real processes: the test's own
// program once more, which Main turns into a function over HTTP. What a function
// does is said by the name of its image, before the digest:
//
//	echo      answers what it was asked, and with which variables
//	h2c       the same over HTTP/2 without TLS
//	slow      listens after 300 ms
//	crash     prints two lines and ends with code 3
//	never     never listens
//	deaf      does not heed SIGTERM
//	polite    ends well at SIGTERM
//	greedy    takes memory until it has no more
//	sick      is alive until it is asked for /sicken
//
// It is for tests only.
package pooltest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/sdk/fault"
)

// marker is the variable that has the program be a function.
const marker = "SELVEDGE_POOLTEST_FUNCTION"

// Main runs the function if the program was started as one, and does not
// return then. Call it first in TestMain.
func Main() {
	kind := os.Getenv(marker)
	if kind == "" {
		return
	}
	os.Exit(function(kind))
}

// Answer is what an echo answers.
type Answer struct {
	Method, Path, Query, Host, Proto, Body string
	Header                                 http.Header
	Env                                    map[string]string
	Files                                  map[string]string
	Pid                                    int
}

// function is the life of a function.
func function(kind string) int {
	fmt.Println("starting", kind)
	address := os.Getenv("LISTEN_ADDRESS")
	switch kind {
	case "crash":
		fmt.Fprintln(os.Stderr, "panic: out of luck")
		return 3
	case "never":
		select {}
	case "greedy":
		return greedy()
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "polite":
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGTERM)
		go func() {
			<-told
			os.Exit(0)
		}()
	case "slow":
		time.Sleep(300 * time.Millisecond)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(kind != "h2c")
	protocols.SetUnencryptedHTTP2(kind == "h2c")
	fmt.Println("listening")
	err = (&http.Server{Handler: handler(), Protocols: protocols, ReadHeaderTimeout: time.Minute}).Serve(l)
	fmt.Println(err)
	return 1
}

// greedy takes memory and uses it.
func greedy() int {
	var taken [][]byte
	for range 1 << 10 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		taken = append(taken, b)
	}
	return len(taken) % 2
}

// handler are the things that a function can be asked for.
func handler() http.Handler {
	var sick atomic.Bool
	mux := http.NewServeMux()
	health := func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
	}
	mux.HandleFunc("/health/readiness", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/health/liveness", health)
	mux.HandleFunc("/sicken", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code")) // 0 if it is none
		fmt.Println("asked to exit")
		os.Exit(code)
	})
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.URL.Query().Get("for")) // 0 if it is none
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
		_, _ = fmt.Fprint(w, os.Getpid())
	})
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(r.URL.Query().Get("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(data)
	})
	mux.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		data := []byte("written")
		if n, err := strconv.Atoi(r.URL.Query().Get("bytes")); err == nil {
			data = make([]byte, n)
		}
		if err := os.WriteFile(r.URL.Query().Get("path"), data, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/upgrade", upgrade)
	mux.HandleFunc("/print", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.URL.Query().Get("line")) })
	mux.HandleFunc("/", echo)
	return mux
}

// stream answers each line of the body when it comes.
func stream(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex() // HTTP/2 has it anyhow
	_ = c.Flush()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		_, _ = fmt.Fprintln(w, "got", lines.Text())
		_ = c.Flush()
	}
	if err := lines.Err(); err != nil {
		fmt.Println("stream:", err)
	}
}

// upgrade speaks another protocol: it repeats lines.
func upgrade(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.Copy(conn, rw)
}

// echo answers what it was asked. A CloudEvent gets no reply.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Ce-Id") != "" {
		fmt.Println("event", r.Header.Get("Ce-Id"))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	body, _ := io.ReadAll(r.Body) // the test sees what is missing
	a := Answer{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Proto: r.Proto, Body: string(body),
		Header: r.Header, Env: map[string]string{}, Files: map[string]string{}, Pid: os.Getpid(),
	}
	for _, e := range os.Environ() {
		k, v, _ := strings.Cut(e, "=")
		a.Env[k] = v
	}
	_ = json.Unmarshal([]byte(os.Getenv("POOLTEST_FILES")), &a.Files) // none if there are none
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // a caller that is gone needs no answer
}

// Runner starts the test's program as instances. Its images are those of the
// package comment.
type Runner struct {
	mu   sync.Mutex
	pids map[int]bool
}

var _ pool.Runner = (*Runner)(nil)

// Start starts the program.
func (r *Runner) Start(_ context.Context, i pool.Instance) (pool.Process, error) {
	kind, _, _ := strings.Cut(path.Base(i.Image), "@")
	if kind == "missing" {
		return nil, &fault.Error{Op: "pooltest", Kind: fault.NotFound, Name: i.Image, Err: errors.New("there is no such image")}
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, v := range i.Volumes {
		for name, f := range v.Files {
			files[path.Join(v.Path, name)] = string(f.Data)
		}
	}
	list, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, i.Args...)
	cmd.Env = append(i.Env, marker+"="+kind, "POOLTEST_FILES="+string(list))
	cmd.Stdout, cmd.Stderr = i.Stdout, i.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pids == nil {
		r.pids = map[int]bool{}
	}
	r.pids[cmd.Process.Pid] = true
	return &process{cmd: cmd, r: r, done: make(chan struct{})}, nil
}

// Running is how many processes there are.
func (r *Runner) Running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pids)
}

// Resolve is the image by a digest that is always the same; there is none that
// is called "absent".
func (r *Runner) Resolve(_ context.Context, _, image string) (string, error) {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	if path.Base(name) == "absent" {
		return "", &fault.Error{Op: "pooltest", Kind: fault.NotFound, Name: image, Err: errors.New("manifest unknown")}
	}
	return name + "@sha256:" + strings.Repeat("0", 64), nil
}

// process is one process.
type process struct {
	cmd  *exec.Cmd
	r    *Runner
	done chan struct{}
}

// Wait waits for the end.
func (p *process) Wait() pool.Exit {
	_ = p.cmd.Wait() // the state says more
	close(p.done)
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	delete(p.r.pids, p.cmd.Process.Pid)
	return pool.Exit{Code: p.cmd.ProcessState.ExitCode()}
}

// Host implements pool.Process.
func (p *process) Host() string { return pool.Loopback }

// Stop ends the process.
func (p *process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has ended needs none
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
	}
}
