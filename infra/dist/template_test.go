package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The templates that need the repository's packages have them, and what func reads
// of a template is where it looks.
func TestTemplates_HaveWhatTheyImport(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	written, err := runTemplates(t.Context(), repository, out, nil)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(out, "go", "selvedge-service")}, written)
	files := tree(t, written[0])
	for _, name := range []string{
		"manifest.yaml", "function.go", "service_test.go", "README.md", "api/visits/v1/visits.proto", "sdk/service/service.go", "functions/iam/v1/iam.pb.go",
		"infra/proto/service.proto.tmpl", "LICENSE", ".funcignore", ".gitignore", ".func/go.work", "go.sum",
	} {
		require.Contains(t, files, name)
	}
	for name := range files {
		require.False(t, strings.HasPrefix(name, "tsdb/") || strings.HasPrefix(name, "local/"), name)
		require.False(t, strings.HasPrefix(name, "sdk/") && strings.HasSuffix(name, "_test.go"), name)
	}
	require.Contains(t, files["go.mod"], "module selvedge.dev\n")
	require.Regexp(t, `\tgolang.org/x/sync v\S+\n`, files["go.mod"], "the template imports it itself")

	again, err := runTemplates(t.Context(), repository, out, []string{"selvedge-service"})
	require.NoError(t, err)
	require.Equal(t, written, again)
	require.Equal(t, files, tree(t, written[0]))
}

// A template that has files where packages of the repository go is refused, and so
// are one that there is not, and a folder that dist did not write.
func TestTemplates_Refuses(t *testing.T) {
	t.Parallel()
	root := fixtureRepository(t)
	template := filepath.Join(root, filepath.FromSlash(templatesFolder), "mine")
	write := func(name, text string) {
		path := filepath.Join(template, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("go.mod", "module selvedge.dev\n")
	write("function.go", "package function\n\nimport _ \"selvedge.dev/tiny\"\n")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "infra", "proto"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "infra", "proto", "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644))
	f := func(out, name, why string) {
		t.Helper()
		_, err := runTemplates(t.Context(), root, out, []string{name})
		require.ErrorContains(t, err, why)
	}
	written, err := runTemplates(t.Context(), root, t.TempDir(), nil)
	require.NoError(t, err)
	require.Len(t, written, 1)

	f(t.TempDir(), "none", "no such file")
	taken := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(taken, "go", "mine"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(taken, "go", "mine", "thesis.txt"), []byte("ten years"), 0o644))
	f(taken, "mine", "nothing that dist wrote")
	write("infra/proto/main.go", "package main\n")
	f(t.TempDir(), "mine", "the template and the repository have infra/proto/main.go")
	write("function.go", "package")
	f(t.TempDir(), "mine", "read its imports")
}
