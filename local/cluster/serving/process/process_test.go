package process_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/edgeruntime/sandbox"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/pool/pooltest"
	"selvedge.dev/local/cluster/serving/process"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
)

// programVariable has the path of the function's program.
const programVariable = "SELVEDGE_PROCESS_PROGRAM"

// TestMain makes the program that the images have.
func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "function-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		program := filepath.Join(dir, "function")
		build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/function")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			panic(err)
		}
		_ = os.Setenv(programVariable, program)
		return m.Run()
	}())
}

// registry has one image, "function".
type registry struct {
	manifest []byte
	blobs    map[image.Digest][]byte
}

// newRegistry makes the image: one layer with the program.
func newRegistry(t testing.TB) *registry {
	t.Helper()
	program, err := os.ReadFile(os.Getenv(programVariable))
	require.NoError(t, err)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "func/f", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	r := &registry{blobs: map[image.Digest][]byte{}}
	put := func(contents []byte) map[string]any {
		d := image.DigestOf(contents)
		r.blobs[d] = contents
		return map[string]any{"digest": d, "size": len(contents)}
	}
	sum := sha256.Sum256(layer.Bytes())
	host := image.Host()
	config, err := json.Marshal(map[string]any{
		"os": host.OS, "architecture": host.Architecture,
		"config": map[string]any{"Cmd": []string{"/func/f"}, "Env": []string{"SELVEDGE_POOLTEST_FUNCTION=echo", "LISTEN_ADDRESS=[::]:8080", "A=image"}, "User": "1000"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	require.NoError(t, err)
	c, l := put(config), put(layer.Bytes())
	c["mediaType"], l["mediaType"] = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
	r.manifest, err = json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": c, "layers": []any{l}})
	require.NoError(t, err)
	return r
}

// Manifest is the one manifest.
func (r *registry) Manifest(_ context.Context, ref string) ([]byte, error) {
	if ref != "v1" && ref != string(image.DigestOf(r.manifest)) {
		return nil, &fault.Error{Op: "test", Kind: fault.NotFound, Name: ref, Err: errors.New("manifest unknown")}
	}
	return r.manifest, nil
}

// Blob is a blob of the image.
func (r *registry) Blob(_ context.Context, d image.Digest) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(r.blobs[d])), nil
}

// newRunner is a runner over a registry with the image; it skips where there
// are no sandboxes.
func newRunner(t testing.TB) (*process.Runner, string) {
	t.Helper()
	box, err := sandbox.New(t.Context(), sandbox.Options{Dir: t.TempDir()})
	if fault.KindOf(err) == fault.Unsupported {
		t.Skip("this machine has no sandboxes: ", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Close()) })
	cache, err := image.Open(filepath.Join(t.TempDir(), "images"), image.Options{})
	require.NoError(t, err)
	reg := newRegistry(t)
	dir := filepath.Join(t.TempDir(), "run")
	r, err := process.New(process.Options{
		Sandbox: box, Cache: cache, Dir: dir,
		Source: func(context.Context, string, image.Reference) (image.Source, error) { return reg, nil },
	})
	require.NoError(t, err)
	return r, dir
}

// newPool is a pool of the image's instances.
func newPool(t testing.TB, r *process.Runner, change func(*pool.Instance)) *pool.Pool {
	t.Helper()
	ref, err := r.Resolve(t.Context(), "shop", "registry.test/shop/function:v1")
	require.NoError(t, err)
	p := pool.New(pool.Options{
		Revision: pool.Identity{Namespace: "shop", Service: "f", Configuration: "f", Revision: "f-00001"}, Runner: r,
		Prepare: func(context.Context) (pool.Instance, error) {
			i := pool.Instance{Image: ref, Memory: 256 << 20, Scratch: 64 << 20}
			if change != nil {
				change(&i)
			}
			return i, nil
		},
		Container: spec.Container{ReadinessProbe: &spec.Probe{HTTP: &spec.HTTPGet{Path: "/health/readiness"}}},
		Logs:      podlog.New(podlog.Options{}),
	})
	t.Cleanup(func() { p.Close(context.Background()) })
	return p
}

// ask asks an instance of the pool.
func ask(t testing.TB, p *pool.Pool, path string) pooltest.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://f"+path, nil)
	require.NoError(t, err)
	resp, err := p.RoundTrip(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var a pooltest.Answer
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&a))
	return a
}

// text asks an instance for a text, with the status before it.
func text(t testing.TB, p *pool.Pool, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://f"+path, nil)
	require.NoError(t, err)
	resp, err := p.RoundTrip(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return strconv.Itoa(resp.StatusCode) + " " + string(body)
}

func TestRunner_RunsAnImage(t *testing.T) {
	t.Parallel()
	r, dir := newRunner(t)
	p := newPool(t, r, func(i *pool.Instance) {
		i.Env = []string{"B=1"}
		i.Volumes = []pool.Volume{
			{Path: "/etc/secret", Files: map[string]pool.File{"a/b": {Data: []byte("x"), Mode: 0o444}}},
			{Path: "/var/cache", Writable: true},
		}
	})
	a := ask(t, p, "/x")
	require.Equal(t, "image", a.Env["A"])
	require.Equal(t, "1", a.Env["B"])
	require.Equal(t, "127.0.0.1:"+a.Env["PORT"], a.Env["LISTEN_ADDRESS"], "what the image says of the port does not count")
	require.Equal(t, "200 x", text(t, p, "/read?path=/etc/secret/a/b"))
	require.Contains(t, text(t, p, "/write?path=/etc/secret/a/b"), "403 ")
	for _, path := range []string{"/var/cache/f", "/tmp/f"} {
		require.Equal(t, "200 ", text(t, p, "/write?path="+path))
		require.Equal(t, "200 written", text(t, p, "/read?path="+path))
	}
	require.Contains(t, text(t, p, "/read?path="+dir), "404 ", "the machine's files are not there")
	made, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, made, 1)
	p.Close(t.Context())
	made, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, made, "the files go with the process")
}

func TestRunner_ResolvesByDigest(t *testing.T) {
	t.Parallel()
	r, _ := newRunner(t)
	ref, err := r.Resolve(t.Context(), "shop", "registry.test/shop/function:v1")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(ref, "registry.test/shop/function@sha256:"), ref)
	again, err := r.Resolve(t.Context(), "shop", ref)
	require.NoError(t, err)
	require.Equal(t, ref, again)
	_, err = r.Resolve(t.Context(), "shop", "registry.test/shop/function:v2")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestRunner_SaysWhyNot(t *testing.T) {
	t.Parallel()
	r, dir := newRunner(t)
	ref, err := r.Resolve(t.Context(), "shop", "registry.test/shop/function:v1")
	require.NoError(t, err)
	f := func(change func(*pool.Instance), kind fault.Kind) {
		t.Helper()
		i := pool.Instance{Name: "f", Image: ref}
		change(&i)
		_, err := r.Start(t.Context(), i)
		require.Error(t, err)
		require.Equal(t, kind, fault.KindOf(err), err)
	}
	f(func(i *pool.Instance) { i.Image = "registry.test/shop/function:v2" }, fault.NotFound)
	f(func(i *pool.Instance) { i.Command = []string{"/nothing"} }, fault.Invalid)
	f(func(i *pool.Instance) { root := int64(0); i.User, i.NonRoot = &root, true }, fault.Invalid)
	f(func(i *pool.Instance) {
		i.Volumes = []pool.Volume{{Path: "/v", Key: "v", SubPath: "none", Files: map[string]pool.File{}}}
	}, fault.Precondition)
	f(func(i *pool.Instance) {
		i.Volumes = []pool.Volume{{Path: "/v", Files: map[string]pool.File{"../out": {}}}}
	}, fault.Internal)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestRunner_BoundsMemory(t *testing.T) {
	t.Parallel()
	r, _ := newRunner(t)
	var out bytes.Buffer
	var mu sync.Mutex
	ref, err := r.Resolve(t.Context(), "shop", "registry.test/shop/function:v1")
	require.NoError(t, err)
	p, err := r.Start(t.Context(), pool.Instance{Name: "f", Image: ref, Env: []string{"SELVEDGE_POOLTEST_FUNCTION=greedy"}, Memory: 32 << 20, Stdout: &locked{&mu, &out}})
	require.NoError(t, err)
	exit := p.Wait()
	require.NotZero(t, exit.Code, "%+v", exit)
}

// locked is a writer that a test may read meanwhile.
type locked struct {
	mu  *sync.Mutex
	buf *bytes.Buffer
}

// Write writes.
func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// BenchmarkCold is from the request to the answer of an instance in a sandbox
// that is started for it.
func BenchmarkCold(b *testing.B) {
	r, _ := newRunner(b)
	p := newPool(b, r, nil)
	ask(b, p, "/")
	for b.Loop() {
		b.StopTimer()
		p.Scale(0)
		require.Eventually(b, func() bool { return len(p.State().Instances) == 0 }, 20*time.Second, time.Millisecond)
		b.StartTimer()
		ask(b, p, "/")
	}
	s := p.Stats()
	b.ReportMetric(float64(s.ColdP50.Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(s.ColdP99.Microseconds())/1000, "p99-ms")
}
