package prometheus

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// selvedge is the program under test, and stockProgram makes the one of Prometheus
// when a test asks for it; both are built once.
var (
	selvedge     string
	stockProgram func() (string, error)
)

// TestMain builds the program. Unless a flag says otherwise random tests begin
// with the same seed each time: Prometheus' answers depend in their last bits on
// an order that it does not keep, and a test is no place to meet that.
func TestMain(m *testing.M) {
	for name, v := range map[string]string{"rapid.seed": "1", "rapid.checks": "1000", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, v); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	flag.Parse()
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// buildAndRun builds the program into a folder that lives as long as m.
func buildAndRun(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "selvedge-prometheus-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if selvedge, err = process.Build(context.Background(), dir, "local"); err != nil {
		return 1, err
	}
	stockProgram = sync.OnceValues(func() (string, error) { return buildStock(dir) })
	return m.Run(), nil
}

// buildStock builds Prometheus as it is, without the service discoveries, of which
// each links the client of a cloud.
func buildStock(dir string) (string, error) {
	out := filepath.Join(dir, "prometheus")
	cmd := exec.Command("go", "build", "-tags", "remove_all_sd", "-o", out, "github.com/prometheus/prometheus/cmd/prometheus")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build Prometheus: %w\n%s", err, text)
	}
	return out, nil
}

// start starts a platform that is killed after the test.
func start(t *testing.T) *process.Platform {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, selvedge, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
	return p
}
