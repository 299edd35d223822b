package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// shell is a bash that runs one block after another, as somebody who pastes
// them into a terminal.
type shell struct {
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

// newShell starts a shell in dir with more environment.
func newShell(t *testing.T, dir string, env ...string) *shell {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close() // the shell may have ended already
		_ = cmd.Wait()
	})
	return &shell{in: in, out: bufio.NewReader(out), cmd: cmd}
}

// run runs a block and returns what it printed.
func (s *shell) run(t *testing.T, block string) string {
	t.Helper()
	const mark = "-- end of block --"
	_, err := fmt.Fprintf(s.in, "%s\necho; echo '%s'\n", block, mark)
	require.NoError(t, err)
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if strings.TrimSpace(line) == mark {
			return printed.String()
		}
		printed.WriteString(line)
		require.NoError(t, err, "the block failed:\n%s\nit printed:\n%s", block, printed.String())
	}
}

// checkout copies what git would check out, and the built programs, into a
// folder of its own.
func checkout(t *testing.T) string {
	t.Helper()
	root, err := process.Root()
	require.NoError(t, err)
	dir := t.TempDir()
	list := exec.Command("git", "ls-files", "-co", "--exclude-standard")
	list.Dir = root
	files, err := list.Output()
	require.NoError(t, err)
	for file := range strings.Lines(string(files)) {
		file = strings.TrimSpace(file)
		b, err := os.ReadFile(filepath.Join(root, file))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), b, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.Symlink(selvedge, filepath.Join(dir, "bin", "selvedge")))
	require.NoError(t, os.Symlink(edged, filepath.Join(dir, "bin", "edged")))
	return dir
}

// blocks are the shell blocks of a Markdown text.
var blocks = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestReadme_JourneysRunAsWritten pastes every block of the README into a
// shell, beside a platform started as `make run` starts it.
func TestReadme_JourneysRunAsWritten(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	p := start(t, t.TempDir(), "--edge")
	sh := newShell(t, dir, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+process.AdminKey)

	var printed []string
	for _, m := range blocks.FindAllStringSubmatch(string(text), -1) {
		printed = append(printed, sh.run(t, m[1]))
		// A person would read the output now. What a block began has
		// happened by then.
		drained(t, p)
		if strings.Contains(m[1], "nobody") {
			require.Eventually(t, func() bool { return losses(t, p)["processor UNKNOWN_DEVICE"] == 1 }, startTimeout, 10*time.Millisecond)
		}
		require.Eventually(t, func() bool {
			return len(querySeries(t, p, map[string][]string{
				"filter":             {`metric.type = "dev.selvedge.host.v1/memory/used_ratio"`},
				"interval.startTime": {time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)},
				"interval.endTime":   {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)},
			})) > 0
		}, startTimeout, 20*time.Millisecond, "this machine reports")
	}
	for i, want := range []string{
		"projects/default/devices/pump-1", // devices create
		"202 Accepted",                    // a device posts
		`"status":"rejected"`,             // a batch
		"UNKNOWN_DEVICE",                  // losses
		"memory/used_ratio",               // metrics
		`"doubleValue"`,                   // over HTTP
		`"value":31`,                      // the alert
		"function.go",                     // make dist
		"Blocked: nothing is deleted.",    // resources
		"isCurrent",                       // a watch
		`"sheet":4711`,                    // logs
		"whole",                           // who changed it, and the proof
		"pending",                         // edged status
	} {
		require.Less(t, i, len(printed))
		require.Contains(t, printed[i], want, "block %d", i)
	}
	stop(t, p)
}
