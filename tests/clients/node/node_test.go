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
		switch installed, err = process.InstallNode(ctx, "node"); {
		case errors.Is(err, exec.ErrNotFound):
			missing = err
			return nil
		case err != nil:
			return err
		}
		if selvedge, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
		certFile, keyFile, err = process.Certificate(dir)
		return err
	}))
}

// The whole life of a metric, as a program has it that was written for Google's
// service, over gRPC and REST with an API key, and over gRPC without TLS.
func TestNodeClient(t *testing.T) {
	t.Parallel()
	if missing != nil {
		if os.Getenv(process.RequireNode) != "" {
			t.Fatalf("%s is set, but %v", process.RequireNode, missing)
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
