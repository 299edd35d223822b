package tests

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// arrow says what the packages of one part of the repository may import of the
// rest of it. Packages are named by their path within the module, as patterns:
// "*" is any one element, "=" is the element that the importing package has at
// that place, a last "..." is the package itself and everything below it.
type arrow struct {
	// of is the pattern of the packages; the first row that matches counts.
	of string
	// may are the patterns of what they import, separated by spaces.
	may string
}

// arrows is the architecture: programs import functions, functions import
// engines, engines import sdk, and engines do not know each other. Tests obey
// the same arrows as the code beside them.
var arrows = []arrow{
	{"sdk/registry", "sdk/... functions/meta/v1"},
	{"sdk/iam/remote", "sdk/... functions/iam/v1"},
	{"sdk/iam/feed", "sdk/... functions/iam/v1"},
	{"sdk/audit/rules", "sdk/... functions/audit/v1"},
	{"sdk/member", "sdk/... functions/*/v1"}, // the types of one store
	{"sdk/state", "sdk/... functions/reason/v1"},
	{"sdk/...", "sdk/..."},
	{"triggers/...", "sdk/... triggers/..."},
	{"tsdb/...", "sdk/... tsdb/..."},
	{"logstore/...", "sdk/... logstore/..."},
	{"functions/*/v1", "sdk/... functions/*/v1"},
	{"functions/sample-inventory/...", "sdk/... functions/*/v1 functions/=/..."}, // as of a module of somebody else
	{"functions/*/...", "sdk/... triggers/... tsdb/... logstore/... functions/*/v1 functions/=/..."},
	{"edgeruntime/...", "sdk/resource sdk/fault sdk/event sdk/journal triggers/filter functions/*/v1 edgeruntime/..."},
	{"local/...", "..."},
	{"infra/...", "sdk/... infra/..."},
	{"tests/...", "..."},
}

func TestLayers(t *testing.T) {
	t.Parallel()
	report(t, layers(repository(t), arrows))
}

// layers finds every import against the arrows, every package without a row,
// and every row without a package in a room that exists.
func layers(all []*source, table []arrow) []string {
	var problems []string
	rooms, used, missing := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range all {
		if s.nested != "" {
			continue
		}
		dir := s.dir()
		rooms[room(dir)] = true
		i := slices.IndexFunc(table, func(a arrow) bool { return matches(a.of, dir, dir) })
		if i < 0 {
			if !missing[dir] {
				missing[dir] = true
				problems = append(problems, fmt.Sprintf("%s: no row in tests/layers_test.go is for this package: move it into a room that has one, or add the row and say why in docs/ARCHITECTURE.md", dir))
			}
			continue
		}
		used[table[i].of] = true
		for _, imported := range s.imports() {
			to, ours := strings.CutPrefix(imported, module+"/")
			if !ours || allowed(table[i].may, to, dir) {
				continue
			}
			problems = append(problems, fmt.Sprintf("%s: imports %s, but %s may import only: %s; hand the value in through an interface of the importing package, or move the code to where the arrow points", s.path, to, table[i].of, table[i].may))
		}
	}
	for _, a := range table {
		if rooms[room(a.of)] && !used[a.of] {
			problems = append(problems, fmt.Sprintf("tests/layers_test.go: no package is left for the row of %s: delete the row", a.of))
		}
	}
	return problems
}

// room is the first element of a path or pattern.
func room(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

// allowed reports whether one of the space-separated patterns matches the
// package at path to, imported by the package at path from.
func allowed(patterns, to, from string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(p string) bool { return matches(p, to, from) })
}

// matches reports whether the pattern of an arrow matches the package at path
// to, imported by the package at path from.
func matches(pattern, to, from string) bool {
	elems, own := strings.Split(to, "/"), strings.Split(from, "/")
	for i, p := range strings.Split(pattern, "/") {
		switch {
		case p == "...":
			return true
		case i >= len(elems):
			return false
		case p == "=":
			if i >= len(own) || elems[i] != own[i] {
				return false
			}
		default:
			if ok, err := path.Match(p, elems[i]); err != nil || !ok {
				return false
			}
		}
	}
	return len(strings.Split(pattern, "/")) == len(elems)
}

func TestLayers_Violations(t *testing.T) {
	t.Parallel()
	table := []arrow{{"sdk/...", "sdk/..."}, {"functions/*/v1", "sdk/..."}, {"functions/*/...", "sdk/... functions/*/v1 functions/=/..."}, {"later/...", "..."}}
	f := func(name string, files map[string]string, want ...string) {
		t.Helper()
		// What every case has, so that each row has a package.
		files["sdk/a/a.go"] = `package a`
		files["functions/x/v1/x.go"] = `package xv1; import _ "selvedge.dev/sdk/a"`
		files["functions/x/x.go"] = `package x; import (_ "net/http"; _ "selvedge.dev/functions/x/v1"; _ "selvedge.dev/functions/x/in/deep")`
		got := layers(sources(t, files), table)
		require.Len(t, got, len(want), "%s: %q", name, got)
		for i := range want {
			require.Contains(t, got[i], want[i], name)
		}
	}
	f("the arrows are kept", map[string]string{"functions/y/y.go": `package y; import _ "selvedge.dev/functions/x/v1"`})
	f("upwards", map[string]string{"sdk/b/b.go": `package b; import _ "selvedge.dev/functions/x"`},
		"sdk/b/b.go: imports functions/x, but sdk/... may import only: sdk/...")
	f("upwards in a test", map[string]string{"sdk/b/b_test.go": `package b; import _ "selvedge.dev/functions/x"`},
		"sdk/b/b_test.go: imports functions/x")
	f("another function", map[string]string{"functions/y/y.go": `package y; import _ "selvedge.dev/functions/x"`},
		"functions/y/y.go: imports functions/x")
	f("inside another function", map[string]string{"functions/y/y.go": `package y; import _ "selvedge.dev/functions/x/in/deep"`},
		"functions/y/y.go: imports functions/x/in/deep")
	f("a contract that needs an implementation", map[string]string{"functions/y/v1/y.go": `package yv1; import _ "selvedge.dev/functions/y"`},
		"functions/y/v1/y.go: imports functions/y, but functions/*/v1 may import only")
	f("a package without a row, named once", map[string]string{"util/a.go": "package util", "util/b.go": "package util"},
		"util: no row")
	f("the root is no package", map[string]string{"main.go": "package main"}, ".: no row")
	f("a row without a package", map[string]string{"later/x/x.go": "package x"})
	f("a nested module has its own go.mod", map[string]string{"tests/n/go.mod": "", "tests/n/n.go": `package n; import _ "selvedge.dev/sdk/a"`})

	got := layers(sources(t, map[string]string{"sdk/a/a.go": "package a"}), append(table, arrow{"sdk/gone", ""}))
	require.Len(t, got, 1)
	require.Contains(t, got[0], "no package is left for the row of sdk/gone")
}
