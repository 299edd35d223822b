package func_

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// allImages is the variable that has every function be built, which takes
// minutes.
const allImages = "SELVEDGE_TEST_ALL_IMAGES"

// The bars of a function as an image: what a platform's part of it weighs,
// compressed, and when a process is ready. The start is asserted loosely, since
// other tests run beside it, and printed.
const (
	maxImage   = 25 << 20
	startBar   = 100 * time.Millisecond
	startSlack = 20
)

// descriptor is what an OCI layout says of one of its blobs.
type descriptor struct {
	Digest   string
	Size     int64
	Platform struct{ Architecture, OS, Variant string }
}

// image are the documents of an OCI layout, whichever one is.
type image struct {
	// Manifests are of an index, Config and Layers of a manifest.
	Manifests []descriptor
	Layers    []descriptor
	// Config is a blob, and in that the settings of its processes.
	Config json.RawMessage
}

// readJSON reads a document.
func readJSON(t *testing.T, into any, path ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into), "%s", text)
}

// blob is where a layout has a blob.
func blob(layout, digest string) string {
	return filepath.Join(layout, "blobs", strings.ReplaceAll(digest, ":", string(filepath.Separator)))
}

// checkImage holds the image in an OCI layout against the bars, and returns its
// platforms.
func checkImage(t *testing.T, layout string) (platforms []string) {
	t.Helper()
	var index image
	readJSON(t, &index, layout, "index.json")
	for len(index.Manifests) == 1 && index.Manifests[0].Platform.OS == "" { // an index of indices
		next := index.Manifests[0].Digest
		index = image{}
		readJSON(t, &index, blob(layout, next))
	}
	for _, m := range index.Manifests {
		platform := m.Platform.OS + "/" + m.Platform.Architecture
		platforms = append(platforms, platform)
		var manifest image
		readJSON(t, &manifest, blob(layout, m.Digest))
		var at descriptor
		require.NoError(t, json.Unmarshal(manifest.Config, &at))
		var settings struct {
			Config struct {
				User string
				Cmd  []string
			}
		}
		readJSON(t, &settings, blob(layout, at.Digest))
		size := at.Size
		for _, layer := range manifest.Layers {
			size += layer.Size
		}
		t.Logf("%s: %.1f MB, as user %q", platform, float64(size)/(1<<20), settings.Config.User)
		require.Less(t, size, int64(maxImage), platform)
		require.Equal(t, []string{"/func/f"}, settings.Config.Cmd)
		require.Regexp(t, "^[1-9][0-9]*:[1-9][0-9]*$", settings.Config.User, "it does not run as root")
	}
	return platforms
}

// startImage starts the program of this machine's platform, and returns how
// long it took until the function was ready.
func startImage(t *testing.T, program string, env []string) time.Duration {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	cmd := exec.Command(program)
	cmd.Dir = t.TempDir()
	cmd.Env = append(env, "LISTEN_ADDRESS="+address)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	begin := time.Now()
	require.NoError(t, cmd.Start())
	ready := func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/health/readiness", nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}
	took := time.Duration(-1)
	for deadline := begin.Add(time.Minute); took < 0 && time.Now().Before(deadline); {
		if ready() {
			took = time.Since(begin)
		}
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	ended := cmd.Wait()
	require.Positive(t, took, "not ready after a minute: %s", &output)
	require.NoError(t, ended, "%s", &output)
	return took
}

// TestImages_OfFunctions makes the functions' own projects, builds each with the
// stock func as it is typed, with no environment of ours, and starts what came
// of it: small, for both architectures, no root, and ready at once.
func TestImages_OfFunctions(t *testing.T) {
	t.Parallel()
	root, err := process.Root()
	require.NoError(t, err)
	names := []string{"threshold"}
	if os.Getenv(allImages) != "" {
		names = nil
		files, err := filepath.Glob(filepath.Join(root, "functions", "*", "func.yaml"))
		require.NoError(t, err)
		for _, file := range files {
			names = append(names, filepath.Base(filepath.Dir(file)))
		}
	}
	out, home := t.TempDir(), t.TempDir()
	env := []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"),
		"GOPATH=" + goEnv(t, "GOPATH"), "GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE"), "GOPROXY=" + goEnv(t, "GOPROXY"),
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			command(t, root, os.Environ(), "go", "run", "./infra/dist", "-out", out, name)
			dir := filepath.Join(out, name)
			command(t, dir, env, "go", "vet", "./...")
			command(t, dir, env, "go", "test", "./...")
			begin := time.Now()
			command(t, dir, env, funcTool, "build", "--builder=host", "--registry=example.com/functions")
			t.Logf("built in %v", time.Since(begin).Round(time.Millisecond))
			require.Subset(t, checkImage(t, filepath.Join(dir, ".func", "build", "oci")), []string{"linux/amd64", "linux/arm64"})

			program := filepath.Join(dir, ".func", "build", "result", "f.linux."+runtime.GOARCH)
			if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
				return // nothing of it runs here
			}
			config, err := os.ReadFile(filepath.Join(dir, "func.yaml"))
			require.NoError(t, err)
			if strings.Contains(string(config), "secret:selvedge-member:database") {
				return // tests/e2e starts it beside its platform, on the database of that
			}
			data := t.TempDir()
			took := startImage(t, program, []string{
				"SELVEDGE_URL=http://127.0.0.1:1", "SELVEDGE_KEY=key", "SELVEDGE_ENDPOINT=http://127.0.0.1:2",
				"SELVEDGE_DATA=" + data, "K_SINK=http://127.0.0.1:3", "TMPDIR=" + data,
			})
			t.Logf("ready in %v, want %v", took.Round(time.Millisecond), startBar)
			require.Less(t, took, startSlack*startBar)
		})
	}
}

// command runs a command in a folder, with no environment but this.
func command(t *testing.T, dir string, env []string, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", filepath.Base(program), args, out)
}
