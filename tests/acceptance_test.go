package tests

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The statements of SPEC 1.F that docs/acceptance.md is about.
const (
	firstStatement = 1
	lastStatement  = 44
)

func TestAcceptance(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile(filepath.Join(root, "docs", "acceptance.md"))
	require.NoError(t, err)
	cited := citations(t, repository(t), func(path string) string {
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		return string(text)
	})
	report(t, unshown(string(table), cited))
}

// The parts of the table and of a citation.
var (
	statementRow = regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+) \| ([^|]*)\| ?([^|]*)\|$`)
	namedTest    = regexp.MustCompile("`([^ `]+) (Test[^ `]+)`")
	citation     = regexp.MustCompile(`SPEC 1\.F (\d+(?:(?:,| and) \d+)*)`)
	number       = regexp.MustCompile(`\d+`)
)

// citations are the numbers that each test cites, in its comment or in itself,
// by "FOLDER TEST".
func citations(t *testing.T, all []*source, read func(path string) string) map[string][]int {
	t.Helper()
	out := map[string][]int{}
	for _, s := range all {
		if !s.test() {
			continue
		}
		text := ""
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			if text == "" {
				text = read(s.path)
			}
			begin := f.Pos()
			if f.Doc != nil {
				begin = f.Doc.Pos()
			}
			numbers := []int{}
			for _, m := range citation.FindAllStringSubmatch(text[s.fset.Position(begin).Offset:s.fset.Position(f.End()).Offset], -1) {
				for _, digits := range number.FindAllString(m[1], -1) {
					n, err := strconv.Atoi(digits)
					require.NoError(t, err)
					numbers = append(numbers, n)
				}
			}
			out[s.dir()+" "+f.Name.Name] = numbers
		}
	}
	return out
}

// unshown finds statements that the table has not, or not in their order, those
// that nothing shows and nothing is left of, and tests that it names but that
// are not there or say nothing of the statement.
func unshown(table string, cited map[string][]int) []string {
	var problems []string
	rows := statementRow.FindAllStringSubmatch(table, -1)
	for i := firstStatement; i <= lastStatement; i++ {
		at := i - firstStatement
		if at >= len(rows) || rows[at][1] != strconv.Itoa(i) {
			return append(problems, fmt.Sprintf("docs/acceptance.md: statement %d is not in its place of the table", i))
		}
		row := rows[at]
		tests := namedTest.FindAllStringSubmatch(row[3], -1)
		if len(tests) != strings.Count(row[3], "`")/2 {
			problems = append(problems, fmt.Sprintf("docs/acceptance.md: %d: tests are written `FOLDER TestName`", i))
		}
		if len(tests) == 0 && strings.TrimSpace(row[4]) == "" {
			problems = append(problems, fmt.Sprintf("docs/acceptance.md: %d is neither shown nor left", i))
		}
		for _, m := range tests {
			numbers, ok := cited[m[1]+" "+m[2]]
			switch {
			case !ok:
				problems = append(problems, fmt.Sprintf("docs/acceptance.md: %d: there is no %s in %s", i, m[2], m[1]))
			case !slices.Contains(numbers, i):
				problems = append(problems, fmt.Sprintf("docs/acceptance.md: %d: %s of %s does not cite SPEC 1.F %d", i, m[2], m[1], i))
			}
		}
	}
	if n := lastStatement - firstStatement + 1; len(rows) != n {
		problems = append(problems, fmt.Sprintf("docs/acceptance.md: %d rows, not %d", len(rows), n))
	}
	return problems
}

func TestAcceptance_Violations(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"sdk/a/a_test.go": "package a\n\n// TestA shows SPEC 1.F 11, 12.\nfunc TestA() {\n\t// SPEC 1.F 13\n}\n\n// TestB cites nothing.\nfunc TestB() {}\n",
	}
	cited := citations(t, sources(t, files), func(path string) string { return files[path] })
	require.Equal(t, map[string][]int{"sdk/a TestA": {11, 12, 13}, "sdk/a TestB": {}}, cited)

	row := func(n int, shown, left string) string {
		return fmt.Sprintf("| %d | it is so | %s | %s |\n", n, shown, left)
	}
	whole := func(changed map[int]string) string {
		var b strings.Builder
		for i := firstStatement; i <= lastStatement; i++ {
			if text, ok := changed[i]; ok {
				b.WriteString(text)
				continue
			}
			b.WriteString(row(i, "", "later"))
		}
		return b.String()
	}
	require.Empty(t, unshown(whole(map[int]string{11: row(11, "`sdk/a TestA`", "")}), cited))
	f := func(changed map[int]string, want string) {
		t.Helper()
		got := unshown(whole(changed), cited)
		require.Len(t, got, 1, "%q", got)
		require.Contains(t, got[0], want)
	}
	f(map[int]string{20: ""}, "statement 20 is not in its place")
	f(map[int]string{20: row(20, "", "")}, "20 is neither shown nor left")
	f(map[int]string{20: row(20, "`sdk/a TestA`", "")}, "TestA of sdk/a does not cite SPEC 1.F 20")
	f(map[int]string{12: row(12, "`sdk/b TestA`", "")}, "there is no TestA in sdk/b")
	f(map[int]string{12: row(12, "`sdk/a.TestA`", "x")}, "tests are written")
	f(map[int]string{44: row(44, "", "later") + row(45, "", "later")}, "45 rows, not 44")
}
