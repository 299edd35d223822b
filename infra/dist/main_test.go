package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository is the repository, seen from this package's folder.
var repository = filepath.Join("..", "..")

// fixture is the function of a made-up repository: it has what a function may
// have, and what must not come along.
var fixture = map[string]string{
	"functions/echo/func.yaml": "specVersion: 0.36.0\nname: echo\nruntime: go\ninvoke: http\n",
	"functions/echo/function.go": `// Package echo replies what it is given, with a greeting.
package echo

import (
	"context"
	_ "embed"

	"selvedge.dev/sdk/event"
)

//go:embed greeting.txt
var greeting string

type Function struct{ name string }

func New() *Function { return &Function{} }

func (f *Function) Start(_ context.Context, env map[string]string) error {
	f.name = env["NAME"]
	return nil
}

func (f *Function) Handle(_ context.Context, e event.Event) (*event.Event, error) {
	e.SetExtension("greeting", greeting+" "+f.name+" "+machine)
	return &e, nil
}
`,
	"functions/echo/greeting.txt":      "hello",
	"functions/echo/machine_arm.go":    "package echo\n\nimport \"selvedge.dev/tiny\"\n\nconst machine = tiny.Machine\n",
	"functions/echo/machine_other.go":  "//go:build !arm\n\npackage echo\n\nconst machine = \"machine\"\n",
	"functions/echo/function_test.go":  "package echo\n\nimport _ \"testing\"\n",
	"functions/echo/testdata/case.txt": "a case",
	"functions/other/other.go":         "package other\n",
	"tiny/tiny.go":                     "package tiny\n\nconst Machine = \"tiny machine\"\n",
}

// fixtureRepository is a folder with the fixture and what it needs of the real
// repository.
func fixtureRepository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "sdk"), os.DirFS(filepath.Join(repository, "sdk"))))
	for _, name := range []string{"go.mod", "go.sum", "LICENSE"} {
		text, err := os.ReadFile(filepath.Join(repository, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, name), text, 0o644))
	}
	for name, text := range fixture {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

// dist writes the functions, or all, below out.
func dist(t *testing.T, root, out string, names ...string) {
	t.Helper()
	written, err := run(t.Context(), root, out, names)
	require.NoError(t, err)
	require.NotEmpty(t, written)
}

// refused checks that the function cannot be written, with an error that says
// why.
func refused(t *testing.T, root, out, name, why string) {
	t.Helper()
	_, err := run(t.Context(), root, out, []string{name})
	require.ErrorContains(t, err, why)
}

// tree is every file below dir with its text.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(os.DirFS(dir), path)
		files[path] = string(text)
		return err
	}))
	return files
}

func TestRun_WritesOnlyWhatTheFunctionNeeds(t *testing.T) {
	t.Parallel()
	root, out := fixtureRepository(t), t.TempDir()
	dist(t, root, out)
	files := tree(t, filepath.Join(out, "echo"))

	var others []string
	for _, path := range slices.Sorted(maps.Keys(files)) {
		require.NotContains(t, path, "_test.go")
		if !strings.HasPrefix(path, "sdk/") {
			others = append(others, path)
		}
	}
	require.Equal(t, []string{
		".func/go.work", ".funcignore", ".gitignore", "LICENSE", "func.yaml", "function.go",
		"functions/echo/function.go", "functions/echo/greeting.txt", "functions/echo/machine_arm.go", "functions/echo/machine_other.go",
		"go.mod", "go.sum", "tiny/tiny.go",
	}, others)
	require.Contains(t, files, "sdk/function/http.go")
	require.Contains(t, files["go.mod"], "module selvedge.dev\n\ngo 1.26")
	require.Contains(t, files["go.mod"], "\tgithub.com/cloudevents/sdk-go/v2 v2")
	require.Contains(t, files["go.mod"], "// indirect\n")
	require.NotContains(t, files["go.mod"]+files["go.sum"], "VictoriaMetrics")

	dist(t, root, out, "echo")
	require.Equal(t, files, tree(t, filepath.Join(out, "echo")), "the same sources give the same project")
}

func TestRun_KeepsWhatFuncNoted(t *testing.T) {
	t.Parallel()
	root, out := fixtureRepository(t), t.TempDir()
	dist(t, root, out, "echo")
	echo := filepath.Join(out, "echo")
	require.NoError(t, os.WriteFile(filepath.Join(echo, configFile), []byte("name: old\nimage: r/echo\nnamespace: edge\ncreated: 2030-01-01T00:00:00Z\nrun: {}\ndeploy:\n  image: r/echo@sha256:1\n  labels: []\n"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(echo, ".func"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(echo, ".func", "built-image"), []byte("r/echo"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(echo, "gone.go"), []byte("package function\n"), 0o644))

	dist(t, root, out, "echo")
	files := tree(t, echo)
	require.YAMLEq(t, "specVersion: 0.36.0\nname: echo\nruntime: go\ninvoke: http\nimage: r/echo\nnamespace: edge\ncreated: \"2030-01-01T00:00:00Z\"\ndeploy:\n  image: r/echo@sha256:1\n", files[configFile])
	require.Contains(t, files, ".func/built-image")
	require.NotContains(t, files, "gone.go")
}

func TestRun_RefusesWhatItMustNotTouch(t *testing.T) {
	t.Parallel()
	root, out := fixtureRepository(t), t.TempDir()
	precious := filepath.Join(out, "echo", "thesis.txt")
	require.NoError(t, os.MkdirAll(filepath.Dir(precious), 0o755))
	require.NoError(t, os.WriteFile(precious, []byte("ten years"), 0o644))
	refused(t, root, out, "echo", "nothing that dist wrote")
	require.FileExists(t, precious)
}

func TestRun_RefusesWhatFuncWouldNotRun(t *testing.T) {
	t.Parallel()
	root := fixtureRepository(t)
	f := func(config, want string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(root, "functions", "echo", configFile), []byte(config), 0o644))
		out := t.TempDir()
		refused(t, root, out, "echo", want)
		require.Empty(t, tree(t, out), "nothing is written before everything was read")
	}
	f("name: eko\ninvoke: http\n", "not that of the folder")
	f("name: echo\ninvoke: cloudevent\n", "it must be http")
	f("name: echo\n\tinvoke: http\n", configFile)
	refused(t, root, t.TempDir(), "nobody", "function nobody")
}
