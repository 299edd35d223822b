package main

import (
	"fmt"
	"go/token"

	"golang.org/x/tools/go/analysis"
	"honnef.co/go/tools/unused"
)

// unusedCode reports what staticcheck's unused analyzer finds. That one leaves
// reporting to its own driver, which merges the variants of a package; go vet
// looks at one variant only, the one with the tests in it, and needs none.
var unusedCode = &analysis.Analyzer{
	Name:     unused.Analyzer.Analyzer.Name,
	Doc:      "report code that nothing uses",
	Requires: []*analysis.Analyzer{unused.Analyzer.Analyzer},
	Run: func(pass *analysis.Pass) (any, error) {
		result, ok := pass.ResultOf[unused.Analyzer.Analyzer].(unused.Result)
		if !ok {
			return nil, fmt.Errorf("BUG: the unused analyzer gave %T", pass.ResultOf[unused.Analyzer.Analyzer])
		}
		for _, o := range result.Unused {
			pass.Reportf(position(pass, o.Position), "%s %s is unused: delete it", o.Kind, o.Name)
		}
		return nil, nil
	},
}

// position is p in pass's own file set.
func position(pass *analysis.Pass, p token.Position) token.Pos {
	for _, f := range pass.Files {
		file := pass.Fset.File(f.FileStart)
		if file.Name() == p.Filename && p.Offset <= file.Size() {
			return file.Pos(p.Offset)
		}
	}
	return token.NoPos
}
