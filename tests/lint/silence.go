package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// ignorePrefix begins a directive: the checks, a comma between them, a space,
// and the reason.
const ignorePrefix = "//lint:ignore "

// directives finds the directives that give no reason, since a finding that is
// silenced without one will be silenced for ever.
var directives = &analysis.Analyzer{
	Name: "directives",
	Doc:  "report lint:ignore directives without a reason",
	Run: func(pass *analysis.Pass) (any, error) {
		for _, f := range pass.Files {
			for c := range comments(f) {
				rest, ok := strings.CutPrefix(c.Text, ignorePrefix)
				if !ok {
					continue
				}
				if _, reason, _ := strings.Cut(rest, " "); strings.TrimSpace(reason) == "" {
					pass.Reportf(c.Pos(), "lint:ignore without a reason: write //lint:ignore CHECK why it is wrong here")
				}
			}
		}
		return nil, nil
	},
}

// silence makes a report nothing in generated files, nor on a line that a
// directive for it stands on or above.
func silence(a *analysis.Analyzer) {
	run := a.Run
	a.Run = func(pass *analysis.Pass) (any, error) {
		report := pass.Report
		pass.Report = func(d analysis.Diagnostic) {
			if !silenced(pass, a.Name, d.Pos) {
				report(d)
			}
		}
		return run(pass)
	}
}

// notInTests are checks that take the habits of tests for faults: bodyclose
// does not see what t.Cleanup closes, and a test's process ends soon.
var notInTests = []string{"bodyclose"}

// silenced reports whether the finding of check at pos is not to be shown.
func silenced(pass *analysis.Pass, check string, pos token.Pos) bool {
	i := slices.IndexFunc(pass.Files, func(f *ast.File) bool { return f.FileStart <= pos && pos <= f.FileEnd })
	if i < 0 {
		return false
	}
	f := pass.Files[i]
	if ast.IsGenerated(f) {
		return true
	}
	line := pass.Fset.Position(pos).Line
	if slices.Contains(notInTests, check) && strings.HasSuffix(pass.Fset.Position(pos).Filename, "_test.go") {
		return true
	}
	for c := range comments(f) {
		rest, ok := strings.CutPrefix(c.Text, ignorePrefix)
		if !ok {
			continue
		}
		checks, _, _ := strings.Cut(rest, " ")
		at := pass.Fset.Position(c.Pos()).Line
		if (at == line || at == line-1) && slices.Contains(strings.Split(checks, ","), check) {
			return true
		}
	}
	return false
}

// comments yields every comment of f.
func comments(f *ast.File) func(yield func(*ast.Comment) bool) {
	return func(yield func(*ast.Comment) bool) {
		for _, g := range f.Comments {
			for _, c := range g.List {
				if !yield(c) {
					return
				}
			}
		}
	}
}
