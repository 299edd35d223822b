package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// requirement is a module that a project requires.
type requirement struct {
	path, version string
	// direct is whether a package of the project's own imports one of it.
	direct bool
}

// requirements are the modules that the packages are from, at the versions that
// the repository has them in, sorted by path. The go command would select no
// others: a smaller module never asks for a higher version. Imports are those of
// files of the project that no package has.
func requirements(packages []*pkg, imports []string) ([]requirement, error) {
	imported := map[string]bool{}
	for _, i := range imports {
		imported[i] = true
	}
	for _, k := range packages {
		if k.Module == nil {
			return nil, fmt.Errorf("package %s is of no module", k.ImportPath)
		}
		if k.ours() {
			for _, i := range k.Imports {
				imported[i] = true
			}
		}
	}
	var all []requirement
	for _, k := range packages {
		if k.ours() {
			continue
		}
		i := slices.IndexFunc(all, func(r requirement) bool { return r.path == k.Module.Path })
		if i < 0 {
			i = len(all)
			all = append(all, requirement{path: k.Module.Path, version: k.Module.Version})
		}
		all[i].direct = all[i].direct || imported[k.ImportPath]
	}
	slices.SortFunc(all, func(a, b requirement) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// module adds go.mod, go.sum and the go.work of func's build to files.
func (p project) module(packages []*pkg, imports []string, files map[string][]byte) error {
	all, err := requirements(packages, imports)
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(p.root, "go.sum"))
	if err != nil {
		return fmt.Errorf("read checksums: %w", err)
	}
	i := slices.IndexFunc(packages, (*pkg).ours)
	own := packages[i].Module // the function's own package is one of them
	files["go.mod"] = []byte("module " + own.Path + "\n\ngo " + own.GoVersion + "\n" + block(all, true) + block(all, false))
	files["go.sum"] = []byte(checksums(string(sums), all))
	files[workspace+"/go.work"] = []byte(strings.ReplaceAll(workspaceText, "VERSION", own.GoVersion))
	return nil
}

// block is the part of go.mod for the direct requirements, or the others.
func block(all []requirement, direct bool) string {
	var b strings.Builder
	for _, r := range all {
		switch {
		case r.direct != direct:
		case direct:
			fmt.Fprintf(&b, "\t%s %s\n", r.path, r.version)
		default:
			fmt.Fprintf(&b, "\t%s %s // indirect\n", r.path, r.version)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\nrequire (\n" + b.String() + ")\n"
}

// checksums are the lines of the repository's go.sum that are for one of the
// requirements.
func checksums(sums string, all []requirement) string {
	var b strings.Builder
	for line := range strings.Lines(sums) {
		fields := strings.Fields(line)
		if len(fields) == 3 && slices.ContainsFunc(all, func(r requirement) bool {
			return r.path == fields[0] && r.version == strings.TrimSuffix(fields[1], "/go.mod")
		}) {
			b.WriteString(line)
		}
	}
	return b.String()
}
