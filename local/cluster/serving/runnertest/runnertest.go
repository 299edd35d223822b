// Package runnertest has the tests that every runner of instances must pass,
// whatever it runs them as: images, users, variables, files, bounds, ends and what
// is printed. It is for tests only.
package runnertest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving/bundle"
	"selvedge.dev/local/cluster/serving/podlog"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/spec"
)

// programVariable has the path of the function's program.
const programVariable = "SELVEDGE_RUNNERTEST_PROGRAM"

// Main makes the program that the images have, and runs the tests of a package
// that is a sibling of this one.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "function-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "function")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "../runnertest/testdata/function")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	_ = os.Setenv(programVariable, program)
	return m.Run()
}

// Runner runs images and finds them.
type Runner interface {
	pool.Runner
	Resolve(ctx context.Context, namespace, name string) (string, error)
}

// Rig is a runner under test.
type Rig struct {
	Runner
	// Dir has the files that the runner makes for instances; it is empty when there
	// are none.
	Dir string
	// Isolated is whether instances see nothing of the machine but the network.
	Isolated bool
}

// Open makes a runner over images for one test.
type Open func(t testing.TB, source bundle.Source) Rig

// reference is the reference by digest of an image by its tag.
func (r Rig) reference(t testing.TB, tag string) string {
	t.Helper()
	ref, err := r.Resolve(t.Context(), "shop", "registry.test/shop/function:"+tag)
	require.NoError(t, err)
	return ref
}

// ShortDir is a folder of the test with a short path, since that of a socket is
// bounded.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "run-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// NewPool is a pool of instances of the image with a tag.
func (r Rig) NewPool(t testing.TB, tag string, change func(*pool.Instance)) *pool.Pool {
	t.Helper()
	ref := r.reference(t, tag)
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
