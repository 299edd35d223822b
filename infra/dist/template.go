package main

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// modulePath is the repository's module, and that of a project with packages of it.
const modulePath = "selvedge.dev"

// templatesFolder has the templates in the repository, generator is the package that
// makes Go code of the .proto files of a project.
const (
	templatesFolder = "infra/templates/go"
	generator       = "./infra/proto"
)

// runTemplates writes the templates with these names, or all that import the
// repository's packages, to go/NAME below out, as func wants a repository of
// templates. A project of such a template has those packages beside its own, in one
// module: it is complete as func creates it, and every builder takes it.
func runTemplates(ctx context.Context, root, out string, names []string) (written []string, err error) {
	if len(names) == 0 {
		if names, err = templatesOf(root); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		p := project{root: root, name: name, out: filepath.Join(out, "go", name)}
		if err := p.writeTemplate(ctx); err != nil {
			return written, fmt.Errorf("template %s: %w", name, err)
		}
		written = append(written, p.out)
	}
	return written, nil
}

// templatesOf are the templates whose module is the repository's.
func templatesOf(root string) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(templatesFolder), "*", "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("find templates: %w", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if slices.Contains(strings.Split(string(text), "\n"), "module "+modulePath) {
			names = append(names, filepath.Base(filepath.Dir(file)))
		}
	}
	return names, nil
}

// writeTemplate replaces the template by what the repository holds now.
func (p project) writeTemplate(ctx context.Context) error {
	files, err := p.templateFiles()
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	imports, err := importsOf(files)
	if err != nil {
		return fmt.Errorf("read its imports: %w", err)
	}
	packages, err := packages(ctx, p.root, append(slices.Clone(imports), generator)...)
	if err != nil {
		return fmt.Errorf("find its packages: %w", err)
	}
	theirs, err := p.sources(packages)
	if err != nil {
		return fmt.Errorf("read its packages: %w", err)
	}
	for name, text := range theirs {
		if files[name] != nil {
			return fmt.Errorf("the template and the repository have %s", name)
		}
		files[name] = text
	}
	if err := p.module(packages, imports, files); err != nil {
		return fmt.Errorf("make go.mod: %w", err)
	}
	return p.replace(files)
}

// templateFiles are the template's own files by their paths in it.
func (p project) templateFiles() (map[string][]byte, error) {
	files := map[string][]byte{}
	folder := os.DirFS(filepath.Join(p.root, filepath.FromSlash(templatesFolder), p.name))
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(folder, name)
		return err
	})
	return files, err
}

// importsOf are the packages that the Go files of a template import and that it has
// not itself, but for the standard library, sorted.
func importsOf(files map[string][]byte) ([]string, error) {
	var all []string
	for name, text := range files {
		if path.Ext(name) != ".go" {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, spec := range f.Imports {
			i, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			first, _, _ := strings.Cut(i, "/")
			if own := strings.TrimPrefix(i, modulePath+"/"); strings.Contains(first, ".") && !hasPackage(files, own) {
				all = append(all, i)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// hasPackage reports whether a template has Go files in a folder.
func hasPackage(files map[string][]byte, folder string) bool {
	for name := range files {
		if path.Dir(name) == folder && path.Ext(name) == ".go" {
			return true
		}
	}
	return false
}
