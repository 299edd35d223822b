package serving_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDifferences_AreEachTested has every difference to Knative in the
// documentation name tests that there are.
func TestDifferences_AreEachTested(t *testing.T) {
	t.Parallel()
	tests := ""
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests += string(text)
		return err
	}))
	doc, err := os.ReadFile("../../../docs/serving.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(doc), "## Differences to Knative")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n## ")
	name := regexp.MustCompile("`(Test\\w+)`")
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| here ") {
			continue
		}
		rows++
		found := name.FindAllStringSubmatch(line, -1)
		require.NotEmpty(t, found, line)
		for _, m := range found {
			require.Contains(t, tests, "func "+m[1]+"(t *testing.T)", line)
		}
	}
	require.Greater(t, rows, 20)
}
