package func_

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// TestReadme_Function pastes the README's journey of a developer into a shell.
func TestReadme_Function(t *testing.T) {
	t.Parallel()
	root, err := process.Root()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "```bash\n")
	require.True(t, ok, "the README has no block of bash")
	block, _, _ = strings.Cut(block, "```")
	require.Contains(t, block, "func deploy")

	w := start(t)
	w.run(selvedge, "create", "devices/pump-1")
	dir := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(root, "infra"), filepath.Join(dir, "infra")))
	out, err := w.bash(dir, block)
	require.NoError(t, err, "%s", out)
	require.Contains(t, out, "com.example.warm")
	require.Contains(t, out, "service.serving.knative.dev/warm")
	require.Contains(t, w.eventually("warm-function-trigger-0", selvedge, "events", "trace", "hot-1"), "hot-1")
}
