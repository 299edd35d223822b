package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// platforms are what func's host builder builds for. A package may have other
// files, and so other imports, on each.
var platforms = []string{"linux/amd64", "linux/arm64", "linux/arm"}

// pkg is a package as go list tells it.
type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	Imports    []string
	Module     *struct {
		Path, Version, Dir, GoVersion string
		Main                          bool
	}
	GoFiles, IgnoredGoFiles, SFiles, HFiles, EmbedFiles []string
	Error                                               *struct{ Err string }
}

// listed are the fields of a pkg, for go list.
const listed = "ImportPath,Dir,Standard,Imports,Module,GoFiles,IgnoredGoFiles,SFiles,HFiles,EmbedFiles,Error"

// ours reports whether the package is the repository's own.
func (k *pkg) ours() bool { return k.Module != nil && k.Module.Main }

// files are the files that a build of the package reads on any platform, and
// none that only a test reads.
func (k *pkg) files() []string {
	all := slices.Concat(k.GoFiles, k.IgnoredGoFiles, k.SFiles, k.HFiles, k.EmbedFiles)
	all = slices.DeleteFunc(all, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	slices.Sort(all)
	return slices.Compact(all)
}

// packages are those that are named and all that they import on any platform, but
// for the standard library; sorted by path.
func packages(ctx context.Context, root string, named ...string) ([]*pkg, error) {
	all := map[string]*pkg{}
	for _, platform := range platforms {
		if err := list(ctx, root, platform, named, all); err != nil {
			return nil, fmt.Errorf("for %s: %w", platform, err)
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b *pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) }), nil
}

// list adds to all what the named packages need on one platform.
func list(ctx context.Context, root, platform string, named []string, all map[string]*pkg) error {
	goos, goarch := path.Split(platform)
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=" + listed}, named...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+strings.TrimSuffix(goos, "/"), "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var k pkg
		if err := d.Decode(&k); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read go list: %w", err)
		}
		switch {
		case k.Error != nil:
			return fmt.Errorf("package %s: %s", k.ImportPath, k.Error.Err)
		case k.Standard:
			continue
		}
		if known := all[k.ImportPath]; known != nil {
			known.Imports = append(known.Imports, k.Imports...)
			known.GoFiles = append(known.GoFiles, k.files()...)
			continue
		}
		all[k.ImportPath] = &k
	}
}
