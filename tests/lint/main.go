// Command lint is the project's linter: an analysis tool for go vet -vettool,
// so that its results, facts about dependencies included, are kept in Go's
// build cache and a second run looks only at what changed.
//
// Each analyzer stands for a class of bug: vet's own and staticcheck's SA for
// code that does not do what it says, errorlint for wrapped errors compared by
// identity, bodyclose for leaked connections, sloglint for logs that cannot be
// searched, testifylint for assertions that say less than they mean, U1000 for
// code that nothing calls, S, ST and a few of QF for one way to write one
// thing. The architecture and the habits of this repository in particular are
// tests of their own, in package tests.
//
// A finding that is wrong is silenced where it stands, with its reason:
//
//	//lint:ignore SA1019 the replacement cannot read version 1 files
package main

import (
	"fmt"
	"os"
	"slices"

	testifylint "github.com/Antonboom/testifylint/analyzer"
	"github.com/polyfloyd/go-errorlint/errorlint"
	"github.com/timakin/bodyclose/passes/bodyclose"
	"go-simpler.org/sloglint"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/analysis/unitchecker"
	"honnef.co/go/tools/analysis/lint"
	"honnef.co/go/tools/quickfix"
	"honnef.co/go/tools/simple"
	"honnef.co/go/tools/staticcheck"
	"honnef.co/go/tools/stylecheck"
)

// chosen are the checks that staticcheck leaves off by default and that this
// project wants: receivers named alike, comments that begin with the name they
// explain, and the quick fixes that always make a line shorter.
var chosen = []string{"ST1016", "ST1020", "ST1021", "ST1022", "QF1003", "QF1004", "QF1010", "QF1012"}

func main() {
	suite, err := analyzers()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(1)
	}
	unitchecker.Main(suite...)
}

// analyzers is the whole suite, each analyzer silenced in generated files and
// by lint:ignore directives.
func analyzers() ([]*analysis.Analyzer, error) {
	testify, errs := testifylint.New(), errorlint.NewAnalyzer()
	for _, set := range []struct {
		analyzer    *analysis.Analyzer
		name, value string
	}{
		{testify, "enable-all", "true"},
		// What the engines compute is exact, and must stay so.
		{testify, "disable", "float-compare"},
		// The message of an assertion may be the case at hand, whatever its type.
		{testify, "formatter.require-string-msg", "false"},
		{errs, "errorf", "true"},
	} {
		if err := set.analyzer.Flags.Set(set.name, set.value); err != nil {
			return nil, fmt.Errorf("configure %s: %w", set.analyzer.Name, err)
		}
	}
	suite := slices.Concat(vet.Suite, []*analysis.Analyzer{
		bodyclose.Analyzer,
		errs,
		sloglint.New(&sloglint.Options{
			NoGlobalLogger:   "all",
			StaticMessage:    true,
			MessageStyle:     "lowercased",
			NoMixedArguments: true,
			AttributesOnly:   true,
			KeyNamingCase:    "snake",
		}),
		testify,
		unusedCode,
	})
	for _, checks := range [][]*lint.Analyzer{staticcheck.Analyzers, simple.Analyzers, stylecheck.Analyzers, quickfix.Analyzers} {
		for _, c := range checks {
			name := c.Analyzer.Name
			byDefault := !c.Doc.NonDefault && name[:2] != "QF"
			if byDefault || slices.Contains(chosen, name) {
				suite = append(suite, c.Analyzer)
			}
		}
	}
	for _, a := range suite {
		silence(a)
	}
	return append(suite, directives), nil
}
