package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
)

// scaffold is what func puts around a project, but for its own middleware: a
// module in it that replaces the project's module by its folder, imports
// its root package and serves it.
const scaffold = `package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	f "selvedge.dev"
)

func main() {
	listener, err := net.Listen("tcp", os.Getenv("LISTEN_ADDRESS"))
	if err != nil {
		panic(err)
	}
	env := map[string]string{}
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	function := f.New()
	if err := function.Start(context.Background(), env); err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	panic(http.Serve(listener, http.HandlerFunc(function.Handle)))
}
`

// build compiles the project in dir as func's host builder does: by the plain go
// command with no environment, in a module of func's that asks for an older
// version of a module. It returns the program.
func build(t *testing.T, dir string) string {
	t.Helper()
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	require.NoError(t, err)
	sys := regexp.MustCompile(`(?m)^\tgolang.org/x/sys .*\n`)
	module := strings.Replace(sys.ReplaceAllString(string(mod), ""), "module selvedge.dev\n", "module s\n", 1)
	module += "\nrequire selvedge.dev v0.0.0-00010101000000-000000000000\n\nreplace selvedge.dev => ./f\n\nrequire golang.org/x/sys v0.18.0\n"

	around := filepath.Join(dir, ".func", "build")
	require.NoError(t, os.MkdirAll(around, 0o755))
	require.NoError(t, os.Symlink("../..", filepath.Join(around, "f")))
	for name, text := range map[string]string{"main.go": scaffold, "go.mod": module, "go.sum": string(sum)} {
		require.NoError(t, os.WriteFile(filepath.Join(around, name), []byte(text), 0o644))
	}
	program := filepath.Join(t.TempDir(), "f")
	for _, c := range []struct{ dir, args string }{
		{dir, "build ./..."},
		{around, "build -o " + program},
	} {
		cmd := exec.CommandContext(t.Context(), "go", strings.Fields(c.args)...)
		cmd.Dir = c.dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", c.args, out)
	}
	after, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	require.NoError(t, err)
	require.Equal(t, string(sum), string(after), "the project has every checksum that it needs")
	return program
}

// start runs the program and returns its address.
func start(t *testing.T, program string, env ...string) string {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(append(os.Environ(), "LISTEN_ADDRESS=127.0.0.1:0"), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.Error(t, cmd.Wait(), "it serves until it is stopped")
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "%s", &stderr)
	return "http://" + strings.TrimSpace(line)
}

// client bounds how long a function may take.
var client = &http.Client{Timeout: time.Minute}

// post posts a reading of a device to the function.
func post(t *testing.T, url string) *http.Response {
	t.Helper()
	e := event.New()
	e.SetID("1")
	e.SetSource(event.Source("projects/p/devices/d"))
	e.SetType("com.example.climate")
	e.SetTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	e.SetExtension(event.Project, "p")
	e.SetExtension(event.Device, "projects/p/devices/d")
	require.NoError(t, e.SetData("application/json", map[string]any{"temperature": 21.5}))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(string(e.Data())))
	require.NoError(t, err)
	require.NoError(t, event.SetHeaders(r.Header, &e))
	resp, err := client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, resp.Body.Close()) })
	return resp
}

func TestProject_RunsAsAProcess(t *testing.T) {
	t.Parallel()
	root, out := fixtureRepository(t), t.TempDir()
	dist(t, root, out, "echo")
	resp := post(t, start(t, build(t, filepath.Join(out, "echo")), "NAME=process"))
	require.Equal(t, http.StatusOK, resp.StatusCode)
	reply, err := event.FromResponse(resp, event.Limits{})
	require.NoError(t, err)
	require.Equal(t, "hello process machine", event.Extension(reply, "greeting"))
	require.JSONEq(t, `{"temperature":21.5}`, string(reply.Data()))
}

// settings are the environment that the func.yaml at path gives a function, but
// for what it takes from where it is deployed.
func settings(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var config struct {
		Run struct {
			Envs []struct{ Name, Value string }
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &config))
	var env []string
	for _, e := range config.Run.Envs {
		if !strings.HasPrefix(e.Value, "{{") {
			env = append(env, e.Name+"="+e.Value)
		}
	}
	return env
}

// ofPlatform reports whether a function is a part of a platform, without which, and
// its database, it does not start.
func ofPlatform(t *testing.T, config string) bool {
	t.Helper()
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	return strings.Contains(string(text), "secret:selvedge-member:database")
}

// allFunctions is the variable that has every function be built, which takes
// minutes; without it there is one of each kind: of events, with a store, with
// libraries of others, and a service.
const allFunctions = "SELVEDGE_TEST_ALL_IMAGES"

// TestFunctions_RunAsProcesses builds functions of the repository as func does,
// and posts an event to each while the platform behind it is away. What the
// function makes of that is its own affair, but it must be an answer that a
// broker can act on.
func TestFunctions_RunAsProcesses(t *testing.T) {
	t.Parallel()
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fault.Write(w, &fault.Error{Kind: fault.Unavailable, Err: fmt.Errorf("away")})
	}))
	t.Cleanup(away.Close)
	configs, err := filepath.Glob(filepath.Join(repository, "functions", "*", configFile))
	require.NoError(t, err)
	require.NotEmpty(t, configs)
	for _, config := range configs {
		name := filepath.Base(filepath.Dir(config))
		if os.Getenv(allFunctions) == "" && !slices.Contains([]string{"threshold", "logging", "emailer", "sample-inventory"}, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			dist(t, repository, out, name)
			if ofPlatform(t, config) {
				build(t, filepath.Join(out, name)) // tests/e2e starts it beside a platform
				return
			}
			env := append(settings(t, config), "SELVEDGE_URL="+away.URL, "SELVEDGE_KEY=key", "SELVEDGE_DATA="+t.TempDir(), "SELVEDGE_ENDPOINT="+away.URL, "K_SINK="+away.URL)
			url := start(t, build(t, filepath.Join(out, name)), env...)
			resp := post(t, url)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			if resp.StatusCode < 300 {
				return
			}
			var p fault.Problem
			require.NoError(t, json.Unmarshal(body, &p), "%s", body)
			require.Equal(t, resp.StatusCode, p.Error.Code)
			require.NotEqual(t, http.StatusInternalServerError, resp.StatusCode, "%s", body)
		})
	}
}
