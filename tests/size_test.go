package tests

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The bounds are those of docs/STYLE.md: half of all files in well-kept
// repositories have fewer than 190 lines and half of all functions fewer than
// 18, and what cannot be read is in the tail.
const (
	// maxFile is the bound on the lines of a file, tests included.
	maxFile = 600
	// maxFunction is the bound on the lines of a function. Tests are left out:
	// a table of cases is long and still flat.
	maxFunction = 80
	// maxParameters is the bound on parameters after a context.
	maxParameters = 4
	// maxMethods is the bound on the methods that an interface declares.
	maxMethods = 5
)

// large is what may be over a bound: from "FILE" or "FILE: NAME" to the reason.
var large = map[string]string{
	"sdk/client/client.go: Call":              "a call over HTTP is these five things, and each caller needs them",
	"sdk/filter/test.go: compare":             "a comparison is these five things, and one caller has them apart",
	"sdk/store/sqlstore/scan.go: Scan":        "what is scanned, how, and where it goes; both drivers say it in one line",
	"sdk/store/sqlstore/sqlstore.go: Invalid": "the last is the arguments of the format",
}

func TestSizes(t *testing.T) {
	t.Parallel()
	report(t, sizes(repository(t), large))
}

// sizes finds files, functions, parameter lists and interfaces over their
// bounds that have no reason to be, and reasons that nothing needs any more.
func sizes(all []*source, reasons map[string]string) []string {
	var problems []string
	used := map[string]bool{}
	over := func(key, at, what string, n, bound int, remedy string) {
		if n <= bound {
			return
		}
		if reasons[key] != "" {
			used[key] = true
			return
		}
		problems = append(problems, fmt.Sprintf("%s: %s: %d, more than %d: %s, or give the reason under %q in large of tests/size_test.go", at, what, n, bound, remedy, key))
	}
	for _, s := range all {
		if s.generated() {
			continue
		}
		over(s.path, s.path, "lines of file", s.fset.File(s.file.FileStart).LineCount(), maxFile, "split it by concept")
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && !s.test() {
				key := s.path + ": " + f.Name.Name
				over(key, s.at(f), "lines of func "+f.Name.Name, s.lines(f), maxFunction, "take a step of it out and name it")
				over(key, s.at(f), "parameters of func "+f.Name.Name, parameters(f.Type), maxParameters, "group what belongs together in a struct")
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if i, ok := spec.Type.(*ast.InterfaceType); ok {
					over(s.path+": "+spec.Name.Name, s.at(spec), "methods of interface "+spec.Name.Name, methods(i), maxMethods, "split it by who calls what")
				}
			}
			return true
		})
	}
	for key := range reasons {
		if !used[key] {
			problems = append(problems, fmt.Sprintf("tests/size_test.go: %q is within its bounds again: delete its reason", key))
		}
	}
	slices.Sort(problems)
	return problems
}

// parameters is the number of parameters after a leading context.
func parameters(f *ast.FuncType) int {
	n := f.Params.NumFields()
	if n > 0 && isContext(f.Params.List[0].Type) {
		n--
	}
	return n
}

// isContext reports whether the type is written context.Context.
func isContext(t ast.Expr) bool {
	sel, ok := t.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Context" {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "context"
}

// methods is the number of methods that the interface itself declares.
func methods(i *ast.InterfaceType) int {
	n := 0
	for _, f := range i.Methods.List {
		if _, ok := f.Type.(*ast.FuncType); ok {
			n += len(f.Names)
		}
	}
	return n
}

func TestSizes_Violations(t *testing.T) {
	t.Parallel()
	f := func(path, text string, reasons map[string]string, want ...string) {
		t.Helper()
		got := sizes(sources(t, map[string]string{path: "package a\n" + text}), reasons)
		require.Len(t, got, len(want), "%q", got)
		for i := range want {
			require.Contains(t, got[i], want[i])
		}
	}
	lines := func(n int) string { return strings.Repeat("\n", n) }
	long := "func long() {" + lines(maxFunction) + "}"
	f("a/a.go", lines(maxFile-2), nil)
	f("a/a.go", lines(maxFile), nil, "a/a.go: lines of file: 601, more than 600")
	f("a/a_test.go", lines(maxFile), nil, "a/a_test.go: lines of file")
	require.Empty(t, sizes(sources(t, map[string]string{"a/a.go": generatedHeader + "package a" + lines(maxFile)}), nil))
	f("a/a.go", "func ok() {"+lines(maxFunction-1)+"}", nil)
	f("a/a.go", long, nil, "a/a.go:2: lines of func long: 81, more than 80")
	f("a/a_test.go", long, nil)
	f("a/a.go", long, map[string]string{"a/a.go: long": "a table"})
	f("a/a.go", "", map[string]string{"a/a.go: long": "a table"}, `"a/a.go: long" is within its bounds again`)
	f("a/a.go", "func p(ctx context.Context, a, b, c, d int) {}", nil)
	f("a/a.go", "func p(a, b, c, d int, e string) {}", nil, "parameters of func p: 5, more than 4")
	f("a/a.go", "type i interface { a(); b(); c(); d(); e(); other }", nil)
	f("a/a.go", "type i interface { a(); b(); c(); d(); e(); f() }", nil, "methods of interface i: 6, more than 5")
}
