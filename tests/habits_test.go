package tests

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestHabits(t *testing.T) {
	t.Parallel()
	all := repository(t)
	report(t, sleeps(all))
	report(t, inits(all))
	report(t, contexts(all))

	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	report(t, replacements(string(mod)))

	problems, err := words(os.DirFS(root))
	require.NoError(t, err)
	report(t, problems)
}

// sleeps finds time.Sleep in tests. In a synctest bubble it takes no time and
// is how the clock is moved, so a function that speaks of synctest may call it.
func sleeps(all []*source) []string {
	var problems []string
	for _, s := range all {
		if !s.test() {
			continue
		}
		for _, decl := range s.file.Decls {
			if len(calls(decl, "synctest", "")) > 0 {
				continue
			}
			for _, call := range calls(decl, "time", "Sleep") {
				problems = append(problems, s.at(call)+": time.Sleep in a test is a race or a waste: wait for the event itself, or run the test in testing/synctest")
			}
		}
	}
	return problems
}

// calls are the calls below n that are written pkg.name(…), or pkg.any(…) when
// name is "".
func calls(n ast.Node, pkg, name string) []*ast.CallExpr {
	var found []*ast.CallExpr
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && (name == "" || sel.Sel.Name == name) {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == pkg {
				found = append(found, call)
			}
		}
		return true
	})
	return found
}

// inits finds func init, which runs in programs that only import a package and
// cannot be given an argument or return an error.
func inits(all []*source) []string {
	var problems []string
	for _, s := range all {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil && !s.generated() {
				problems = append(problems, s.at(f)+": func init: make it a table, or a constructor that main calls")
			}
		}
	}
	return problems
}

// contexts finds functions whose context is not the first parameter; in a test
// or a conformance suite the test itself may stand before it.
func contexts(all []*source) []string {
	var problems []string
	for _, s := range all {
		ast.Inspect(s.file, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncType)
			if !ok || s.generated() {
				return !s.generated()
			}
			params := f.Params.List
			if len(params) > 0 && isTesting(params[0].Type) {
				params = params[1:]
			}
			for i, p := range params {
				if i > 0 && isContext(p.Type) {
					problems = append(problems, s.at(f)+": a context that is not the first parameter: move it there")
				}
			}
			return true
		})
	}
	return problems
}

// isTesting reports whether the type is of package testing or is rapid's test:
// *testing.T, testing.TB, *rapid.T.
func isTesting(t ast.Expr) bool {
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	sel, ok := t.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && (pkg.Name == "testing" || pkg.Name == "rapid")
}

// replacements finds replace and exclude directives, which do not hold for
// those who require the module, and which func drops.
func replacements(mod string) []string {
	var problems []string
	for line := range strings.Lines(mod) {
		if fields := strings.Fields(line); len(fields) > 0 && (fields[0] == "replace" || fields[0] == "exclude") {
			problems = append(problems, fmt.Sprintf("go.mod: %s: it does not hold for those who require this module: require a version that needs none", strings.TrimSpace(line)))
		}
	}
	return problems
}

// forbidden are texts that hold on one machine or one network only, and what
// to write instead.
var forbidden = []struct {
	text    *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(^|[^\w./-])/(work|root)/`), "a path of one machine: take it from a flag, a temporary folder or a path in the repository"},
	{regexp.MustCompile(`\b(proxy|sum)\.golang\.org\b|\bregistry\.npmjs\.org\b|\bdeb\.debian\.org\b`), "a registry host: the clients know theirs"},
}

// words finds forbidden texts in the files of the repository that people
// write; what the build makes is left out.
func words(tree fs.FS) ([]string, error) {
	var problems []string
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			// Folders of settings, such as that of CI, are read; testdata too, but
			// for what a failed property leaves there.
			if slices.Contains([]string{".git", ".cache", "bin", "dist", "data"}, p) || d.Name() == "node_modules" || strings.HasSuffix(p, "testdata/rapid") {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular() || p == "tests/habits_test.go":
			return nil
		}
		text, err := fs.ReadFile(tree, p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // a temporary file, gone again
		case err != nil:
			return fmt.Errorf("read %s: %w", p, err)
		case bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0:
			return nil // not text, as git tells it
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, f := range forbidden {
				if found := f.text.FindString(line); found != "" {
					problems = append(problems, fmt.Sprintf("%s:%d: %q is %s", p, i+1, found, f.instead))
				}
			}
		}
		return nil
	})
	return problems, err
}

func TestHabits_Violations(t *testing.T) {
	t.Parallel()
	f := func(check func([]*source) []string, path, text string, want ...string) {
		t.Helper()
		got := check(sources(t, map[string]string{path: "package a\n" + text}))
		require.Len(t, got, len(want), "%q", got)
		for i := range want {
			require.Contains(t, got[i], want[i])
		}
	}
	f(sleeps, "a/a_test.go", "func f() { time.Sleep(1) }", "a/a_test.go:2: time.Sleep")
	f(sleeps, "a/a_test.go", "func f() { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }")
	f(sleeps, "a/a_test.go", "func f() { time.Sleep(1); synctest.Wait() }\nfunc g() { time.Sleep(1) }", "a/a_test.go:3: time.Sleep")
	f(sleeps, "a/a.go", "func f() { time.Sleep(1) }")
	f(inits, "a/a.go", "func init() {}", "a/a.go:2: func init")
	require.Empty(t, inits(sources(t, map[string]string{"a/a.go": generatedHeader + "package a\nfunc init() {}"})))
	f(inits, "a/a.go", "func (t) init() {}")
	f(contexts, "a/a.go", "func f(ctx context.Context, a int) {}")
	f(contexts, "a/a.go", "func f(a int, ctx context.Context) {}", "a/a.go:2: a context that is not the first")
	f(contexts, "a/a.go", "type i interface { f(a int, ctx context.Context) }", "a/a.go:2: a context")
	f(contexts, "a/a_test.go", "func f(t *testing.T, ctx context.Context) {}")
}

func TestReplacements_Violations(t *testing.T) {
	t.Parallel()
	require.Empty(t, replacements("module a\n\nrequire example.org/replace v1.0.0\n"))
	require.Len(t, replacements("module a\n\nreplace example.org/a => ../a\n"), 1)
	require.Len(t, replacements("module a\n\nreplace (\n\texample.org/a => ../a\n)\n"), 1)
	require.Len(t, replacements("module a\n\nexclude example.org/a v1.0.0\n"), 1)
}

func TestWords_Violations(t *testing.T) {
	t.Parallel()
	f := func(path, text string, want int) {
		t.Helper()
		got, err := words(fstest.MapFS{path: {Data: []byte(text)}})
		require.NoError(t, err)
		require.Len(t, got, want, "%q", got)
	}
	f("README.md", "one\ncd /work/main\n", 1)
	f("Makefile", "GOPROXY=https://proxy.golang.org", 1)
	f(".ci/run", "cat /root/.npmrc", 1)
	f("docs/a.md", "the work/ folder, projects/p/root/x, https://example.org/work/x", 0)
	f("bin/a", "/work/main", 0)
	f("a/testdata/a.bin", "\x00 /work/main", 0)
	f("a/testdata/a.txt", "/work/main", 1)
	f("a/testdata/rapid/a.fail", "/work/main", 0)
}
