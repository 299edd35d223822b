package tests

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// programs are the commands that are not named after their folder.
var programs = map[string]string{"local": "selvedge"}

func TestPackageComments(t *testing.T) {
	t.Parallel()
	report(t, packageComments(repository(t)))
}

// packageComments finds packages without exactly one package comment, and
// comments that do not begin as godoc expects. A licence header that becomes
// the comment by a missing blank line is found by its beginning.
func packageComments(all []*source) []string {
	type pkg struct {
		beginning string
		commented []string
		tests     bool
	}
	packages := map[string]*pkg{}
	var problems []string
	for _, s := range all {
		p := packages[s.dir()]
		if p == nil {
			p = &pkg{tests: true}
			packages[s.dir()] = p
		}
		if !s.test() {
			p.tests = false
			p.beginning = "Package " + s.file.Name.Name + " "
			if s.file.Name.Name == "main" {
				p.beginning = "Command " + cmp.Or(programs[s.dir()], path.Base(s.dir())) + " "
			}
		}
	}
	for _, s := range all {
		p := packages[s.dir()]
		if s.file.Doc == nil || p.tests {
			continue
		}
		p.commented = append(p.commented, s.path)
		switch text := s.file.Doc.Text(); {
		case !strings.HasPrefix(text, p.beginning):
			problems = append(problems, fmt.Sprintf("%s: the package comment must begin %q", s.path, p.beginning))
		case !sentence(text):
			problems = append(problems, fmt.Sprintf("%s: the package comment must end with a full stop", s.path))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		p := packages[dir]
		switch {
		case p.tests:
			problems = append(problems, fmt.Sprintf("%s: only test files: add a doc.go whose package comment says what is tested", dir))
		case len(p.commented) == 0:
			problems = append(problems, fmt.Sprintf("%s: no package comment: begin one with %q in the file named after the package: what it holds, its one invariant, concurrency, what it does not do", dir, p.beginning))
		case len(p.commented) > 1:
			problems = append(problems, fmt.Sprintf("%s: package comments in %s: keep one", dir, strings.Join(p.commented, ", ")))
		}
	}
	return problems
}

// sentence reports whether a comment ends as prose does, or with a code block,
// a list item or a link, which have no full stop.
func sentence(text string) bool {
	text = strings.TrimRight(text, "\n")
	last := text[strings.LastIndexByte(text, '\n')+1:]
	if strings.HasPrefix(last, "\t") || strings.HasPrefix(last, "  ") {
		return true
	}
	return strings.ContainsAny(text[len(text)-1:], ".:?!") || strings.HasSuffix(text, ".)") || strings.HasSuffix(text, ".\"")
}

func TestComments(t *testing.T) {
	t.Parallel()
	report(t, comments(repository(t)))
}

// comments finds top-level declarations, exported or not, that no comment
// explains, and comments that stop in the middle. Left out are test files and
// the tests of conformance suites, which are named for what they find, generated
// files, func main, which the command's own comment explains, and unexported
// methods that an interface of the same package explains.
func comments(all []*source) []string {
	var problems []string
	explained := explainedMethods(all)
	for _, s := range all {
		if s.test() || s.generated() {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				isMain := d.Name.Name == "main" && s.file.Name.Name == "main"
				isTest := strings.HasPrefix(d.Name.Name, "test") && strings.HasSuffix(s.file.Name.Name, "test")
				if !isMain && !isTest && (d.Recv == nil || !explained[s.dir()+" "+d.Name.Name]) {
					problems = append(problems, comment(s, d, d.Doc, "func "+d.Name.Name)...)
				}
			case *ast.GenDecl:
				problems = append(problems, groupComments(s, d)...)
			}
		}
	}
	return problems
}

// explainedMethods are the unexported methods that a commented method of an
// interface stands for, as "DIR NAME".
func explainedMethods(all []*source) map[string]bool {
	explained := map[string]bool{}
	for _, s := range all {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok {
				for _, m := range i.Methods.List {
					if len(m.Names) == 1 && !m.Names[0].IsExported() && (m.Doc != nil || m.Comment != nil) {
						explained[s.dir()+" "+m.Names[0].Name] = true
					}
				}
			}
			return true
		})
	}
	return explained
}

// groupComments is comments for one const, var or type declaration: the
// comment of a group of constants or variables explains all of them, and a
// comment in it also those further down that it names.
func groupComments(s *source, d *ast.GenDecl) []string {
	if d.Tok == token.IMPORT {
		return nil
	}
	var problems []string
	var above string
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			doc := spec.Doc
			if doc == nil && !d.Lparen.IsValid() {
				doc = d.Doc
			}
			problems = append(problems, comment(s, spec, doc, "type "+spec.Name.Name)...)
		case *ast.ValueSpec:
			name := spec.Names[0].Name
			if spec.Doc != nil {
				above = spec.Doc.Text()
			}
			if name == "_" || spec.Doc != nil || spec.Comment != nil || slices.Contains(strings.Fields(above), name) {
				continue
			}
			problems = append(problems, comment(s, spec, d.Doc, d.Tok.String()+" "+name)...)
		}
	}
	return problems
}

// comment finds what is wrong with the comment doc of the declaration n.
func comment(s *source, n ast.Node, doc *ast.CommentGroup, what string) []string {
	switch {
	case doc == nil || doc.Text() == "":
		return []string{fmt.Sprintf("%s: %s has no comment: say what the name does not", s.at(n), what)}
	case !sentence(doc.Text()):
		return []string{fmt.Sprintf("%s: the comment of %s must end with a full stop", s.at(n), what)}
	}
	return nil
}

func TestPackageComments_Violations(t *testing.T) {
	t.Parallel()
	f := func(files map[string]string, want ...string) {
		t.Helper()
		got := packageComments(sources(t, files))
		require.Len(t, got, len(want), "%q", got)
		for i := range want {
			require.Contains(t, got[i], want[i])
		}
	}
	f(map[string]string{"a/a.go": "// Package a is.\npackage a", "a/b.go": "package a", "a/a_test.go": "package a_test"})
	f(map[string]string{"a/cmd/edged/main.go": "// Command edged runs.\npackage main"})
	f(map[string]string{"local/main.go": "// Command selvedge is.\npackage main"})
	f(map[string]string{"a/a.go": "package a"}, "a: no package comment: begin one with \"Package a \"")
	f(map[string]string{"a/a.go": "// Copyright the authors.\npackage a"}, "a/a.go: the package comment must begin \"Package a \"")
	f(map[string]string{"edged/main.go": "// Command edge runs.\npackage main"}, "must begin \"Command edged \"")
	f(map[string]string{"a/a.go": "// Package a is\npackage a"}, "a/a.go: the package comment must end with a full stop")
	f(map[string]string{"a/a.go": "// Package a is.\npackage a", "a/b.go": "// Package a is.\npackage a"}, "a: package comments in a/a.go, a/b.go: keep one")
	f(map[string]string{"a/a_test.go": "// Package a is.\npackage a"}, "a: only test files")
}

func TestComments_Violations(t *testing.T) {
	t.Parallel()
	f := func(text string, want ...string) {
		t.Helper()
		got := comments(sources(t, map[string]string{"a/a.go": "package a\n" + text}))
		require.Len(t, got, len(want), "%q", got)
		for i := range want {
			require.Contains(t, got[i], want[i])
		}
	}
	f("// F does.\nfunc F() {}")
	f("func f() {}", "a/a.go:2: func f has no comment")
	f("// f does\nfunc f() {}", "a/a.go:3: the comment of func f must end with a full stop")
	f("// f does:\n//\n//\tf()\nfunc f() {}")
	f("//go:noinline\nfunc f() {}", "func f has no comment")
	f("type t int", "type t has no comment")
	f("// The types.\ntype (\n\ta int\n\t// b is.\n\tb int\n)", "type a has no comment")
	f("// The words.\nconst (\n\ta = 1\n\tb = 2\n)")
	f("const (\n\ta = 1\n\tb = 2 // two\n)", "const a has no comment")
	f("const (\n\t// a and b are.\n\ta = 1\n\tb = 2\n\tc = 3\n)", "const c has no comment")
	f("var v int", "var v has no comment")
	f("var _ interface{} = 1")
	f("// t is.\ntype t int\n\nfunc (t) M() {}", "func M has no comment")
	f("// i is.\ntype i interface {\n\t// m does.\n\tm()\n\tn()\n}\n\n// t is.\ntype t int\n\nfunc (t) m() {}\n\nfunc (t) n() {}\n\nfunc m() {}", "func n has no comment", "func m has no comment")
}
