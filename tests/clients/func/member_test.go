package func_

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/store/storetest/pgtest"
	"selvedge.dev/tests/process"
)

// byTCP is a database that is reached by TCP, which functions can, while that of
// tests listens at a file.
func byTCP(t *testing.T, dsn string) string {
	t.Helper()
	dir := regexp.MustCompile(`host=(\S+) port=(\d+)`).FindStringSubmatch(dsn)
	require.NotNil(t, dir, dsn)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", filepath.Join(dir[1], ".s.PGSQL."+dir[2]))
			if err != nil {
				_ = in.Close()
				continue
			}
			for a, b := range map[net.Conn]net.Conn{in: out, out: in} {
				go func() {
					_, _ = io.Copy(a, b)
					_ = a.Close()
				}()
			}
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return regexp.MustCompile(`host=\S+ port=\d+`).ReplaceAllString(dsn, "host=127.0.0.1 port="+port)
}

// TestFunc_Member deploys a service of the platform as a function on the platform's
// own database: who calls it is whom the door says, and what is made there is there.
func TestFunc_Member(t *testing.T) {
	if os.Getenv(allImages) == "" {
		t.Skipf("building one more service takes minutes: set %s", allImages)
	}
	t.Parallel()
	root, err := process.Root()
	require.NoError(t, err)
	database := byTCP(t, pgtest.Database(t, pgtest.DSN(t)))
	w := start(t, "--database", database)
	admin, err := w.Key(t.Context(), "admin")
	require.NoError(t, err)
	w.as(admin)
	out := t.TempDir()
	command(t, root, os.Environ(), "go", "run", "./infra/dist", "-out", out, "devices")
	dir := filepath.Join(out, "devices")
	text, err := w.bash(dir, `kubectl create secret generic selvedge-member --from-literal=database="`+database+`"`)
	require.NoError(t, err, "%s", text)
	w.within(dir, "deploy", "--builder=host", "--registry="+w.host()+"/default")
	at := w.URL + "/functions/default/devices"
	text, err = w.try(selvedge, "--url", at, "create", "devices/d1")
	require.NoError(t, err, "%s\n%s", text, w.logs("devices"))
	w.eventually("d1", selvedge, "list", "devices")
	w.run(selvedge, "delete", "devices/d1")
	text, err = w.try(selvedge, "--url", at, "get", "devices/d1")
	require.Error(t, err, text)
	require.Contains(t, text, "NOT_FOUND")
}
