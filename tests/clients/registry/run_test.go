package registry_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/registry"
)

// TestMain becomes a sandbox when it is to.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// program is what the image has: it says who it is.
const program = `package main

import (
	"fmt"
	"os"
)

func main() {
	host, _ := os.Hostname()
	entries, _ := os.ReadDir("/")
	fmt.Print(os.Getpid(), " ", os.Getuid(), " ", host, " ", os.Args[1:], " ", os.Getenv("GREETING"), " ")
	for _, e := range entries {
		fmt.Print(e.Name(), " ")
	}
}
`

// binary builds the program and returns the layer that has it, from scratch, as
// func's own builder makes them.
func binary(t *testing.T) v1.Layer {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "f", "main.go")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	f, err := os.ReadFile(filepath.Join(dir, "f"))
	require.NoError(t, err)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "func", Typeflag: tar.TypeDir, Mode: 0o755}))
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "func/f", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(f))}))
	_, err = w.Write(f)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	require.NoError(t, err)
	return layer
}

// TestImage_RunsAsItWasPushed is the whole way: a stock client pushes, the
// registry keeps, the cache unpacks, the sandbox runs.
func TestImage_RunsAsItWasPushed(t *testing.T) {
	t.Parallel()
	runner, err := sandbox.New(t.Context(), sandbox.Options{Dir: t.TempDir()})
	if err != nil || !runner.Describe().Namespaces {
		t.Skip("this machine runs no sandboxes")
	}
	defer func() { require.NoError(t, runner.Close()) }()
	reg, host := serve(t, registry.Options{})
	img, err := mutate.AppendLayers(empty.Image, binary(t))
	require.NoError(t, err)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Cmd, config.Config.Env = []string{"/func/f", "a"}, []string{"GREETING=hi"}
	img, err = mutate.ConfigFile(img, config)
	require.NoError(t, err)
	require.NoError(t, crane.Push(img, host+"/p/fn:v1", basic))

	began := time.Now()
	cache, err := image.Open(t.TempDir(), image.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, cache.Close()) }()
	unpacked, err := cache.Acquire(t.Context(), reg.Source("p/fn"), "v1")
	require.NoError(t, err)
	defer unpacked.Release()
	uid, gid, err := unpacked.Credential()
	require.NoError(t, err)
	acquired := time.Since(began)
	var out bytes.Buffer
	p, err := runner.Start(t.Context(), sandbox.Spec{
		Name: "fn-00001", Root: unpacked.Root, Args: unpacked.Config.Args(), Env: unpacked.Config.Config.Env,
		Dir: unpacked.Config.Config.WorkingDir, UID: uid, GID: gid, Stdout: &out, Stderr: &out,
	})
	require.NoError(t, err)
	t.Logf("unpacked after %v, running after %v", acquired, time.Since(began))
	require.Equal(t, sandbox.Exit{Reason: sandbox.Exited}, p.Wait())
	require.Equal(t, "1 65532 fn-00001 [a] hi dev func proc tmp ", out.String())
}
