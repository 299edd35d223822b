package tests

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxSample is the bound on the lines that people write for the sample of a
// service that is not the platform's own.
const maxSample = 600

// TestSample_IsSmallAndImportsWhatIsPublic holds that a service is little code:
// sdk, contracts and libraries are all that it needs. What its packages import
// is held by their row in arrows.
func TestSample_IsSmallAndImportsWhatIsPublic(t *testing.T) {
	t.Parallel()
	lines := 0
	for _, s := range repository(t) {
		if !strings.HasPrefix(s.path, "functions/sample-inventory/") || s.generated() || s.test() {
			continue
		}
		lines += s.fset.File(s.file.FileStart).LineCount()
		for _, imported := range s.imports() {
			to, ours := strings.CutPrefix(imported, module+"/")
			require.True(t, !ours || allowed("sdk/... functions/*/v1 functions/sample-inventory", to, s.dir()), "%s imports %s", s.path, imported)
		}
	}
	require.Positive(t, lines)
	require.Less(t, lines, maxSample)
	t.Logf("%d lines", lines)
}
