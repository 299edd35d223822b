package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// requireNode is the environment variable that makes missing programs a
// failure.
const requireNode = "SELVEDGE_REQUIRE_NODE"

// selvedge is the program under test, built once by TestMain; certFile and
// keyFile are a certificate that the client trusts, installed is the folder that
// the client is in, "" if it cannot be installed since missing is.
var (
	selvedge, certFile, keyFile, installed string
	missing                                error
)

// TestMain builds the program and installs the client.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		_, noNode := exec.LookPath("node")
		_, noManager := exec.LookPath("npm")
		if missing = errors.Join(noNode, noManager); missing != nil {
			return nil
		}
		if installed, err = install(ctx); err != nil {
			return err
		}
		if selvedge, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
		certFile, keyFile, err = process.Certificate(dir)
		return err
	}))
}

// install installs the client, as it is pinned, into a folder of the cache that
// is named after what is pinned, and returns the folder. A run that is cut off
// leaves none by that name.
func install(ctx context.Context) (string, error) {
	root, err := process.Root()
	if err != nil {
		return "", err
	}
	files := []string{"package.json", "package-lock.json"}
	hash := sha256.New()
	contents := map[string][]byte{}
	for _, name := range files {
		if contents[name], err = os.ReadFile(name); err != nil {
			return "", err
		}
		hash.Write(contents[name])
	}
	cache := filepath.Join(root, ".cache", "node")
	folder := filepath.Join(cache, fmt.Sprintf("%x", hash.Sum(nil)[:8]))
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is renamed when all went well
	for name, text := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install the client: %w\n%s", err, text)
	}
	if err := os.Rename(dir, folder); err != nil && !errors.Is(err, os.ErrExist) { // another run may have been faster
		return "", err
	}
	return folder, nil
}

// The whole life of a metric, as a program has it that was written for Google's
// service, over gRPC and REST with an API key, and over gRPC without TLS.
func TestNodeClient(t *testing.T) {
	t.Parallel()
	if missing != nil {
		if os.Getenv(requireNode) != "" {
			t.Fatalf("%s is set, but %v", requireNode, missing)
		}
		t.Skipf("NOT TESTED: Google's Node client. %v; install Node 18 or later and npm", missing)
	}
	script, err := os.ReadFile("client.mjs")
	require.NoError(t, err)
	// A module finds its packages beside itself.
	main := filepath.Join(installed, fmt.Sprintf("client-%x.mjs", sha256.Sum256(script)))
	require.NoError(t, os.WriteFile(main, script, 0o644))
	f := func(transport, host string, args ...string) {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			p, err := process.Start(ctx, selvedge, t.TempDir(), args...)
			require.NoError(t, err)
			t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
			key, err := p.Key(ctx, "projects/default")
			require.NoError(t, err)
			u, err := url.Parse(p.URL)
			require.NoError(t, err)
			cmd := exec.CommandContext(ctx, "node", main, transport, host, u.Port(), key)
			// Trust, and no search for the machines of Google's cloud.
			cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+certFile, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH="+certFile, "METADATA_SERVER_DETECTION=none")
			said, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", said)
			require.Contains(t, string(said), transport+": all is as with Google's service")
		})
	}
	f("grpc", "localhost", "--tls-cert", certFile, "--tls-key", keyFile)
	f("rest", "localhost", "--tls-cert", certFile, "--tls-key", keyFile)
	f("plain", "127.0.0.1")
}
