// Command dist writes each function as a project of its own, which Knative's
// func builds, runs and deploys with any of its builders: those see only the
// project's folder, and drop the replace directives of its go.mod. With
// -templates it writes the templates of such projects instead, which func creates
// functions from (template.go).
//
//	go run ./infra/dist [-root DIR] [-out DIR] [-templates] [NAME ...]
//
// Without a NAME it writes every function that has a func.yaml. A project has
// the repository's module path and, in their places, only the packages that
// the function imports, so nothing is renamed and nothing need be published.
// Its root package, which func's scaffolding imports, serves the function by
// sdk/function, or by its own ServeHTTP. The same sources give the same project, byte by byte; only what
// func notes in func.yaml about a deployment is kept from the project before.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "`folder` of the repository")
	out := flag.String("out", "", "`folder` to write to; dist/functions, or dist/templates, by default")
	templates := flag.Bool("templates", false, "write templates, and no functions")
	flag.Parse()
	write, folder := run, "functions"
	if *templates {
		write, folder = runTemplates, "templates"
	}
	written, err := write(context.Background(), *root, cmp.Or(*out, filepath.Join("dist", folder)), flag.Args())
	for _, folder := range written {
		fmt.Println(folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

// run writes the functions with these names, or all, to folders below out, and
// returns the folders that it wrote, also when one failed.
func run(ctx context.Context, root, out string, names []string) (written []string, err error) {
	if len(names) == 0 {
		files, err := filepath.Glob(filepath.Join(root, "functions", "*", configFile))
		if err != nil {
			return nil, fmt.Errorf("find functions: %w", err)
		}
		for _, f := range files {
			names = append(names, filepath.Base(filepath.Dir(f)))
		}
	}
	for _, name := range names {
		p := project{root: root, name: name, out: filepath.Join(out, name)}
		if err := p.write(ctx); err != nil {
			return written, fmt.Errorf("function %s: %w", name, err)
		}
		written = append(written, p.out)
	}
	return written, nil
}

// project is one function on its way to a folder of its own.
type project struct {
	// root is the folder of the repository, out the one to write.
	root, out string
	// name is the function's, whose package is functions/NAME, or the template's.
	name string
}

// configFile is where func reads what to build and how to deploy it.
const configFile = "func.yaml"

// write replaces the project by what the repository holds now. Everything is
// read before anything is written.
func (p project) write(ctx context.Context) error {
	packages, err := packages(ctx, p.root, "./functions/"+p.name, "./sdk/function")
	if err != nil {
		return fmt.Errorf("find its packages: %w", err)
	}
	files, err := p.sources(packages)
	if err != nil {
		return fmt.Errorf("read its packages: %w", err)
	}
	files["function.go"] = p.entry(files)
	if files[configFile], err = p.config(); err != nil {
		return fmt.Errorf("make %s: %w", configFile, err)
	}
	if err := p.module(packages, nil, files); err != nil {
		return fmt.Errorf("make go.mod: %w", err)
	}
	return p.replace(files)
}

// replace has the project's folder have these files, and what every project has.
func (p project) replace(files map[string][]byte) (err error) {
	files[".funcignore"], files[".gitignore"] = []byte(funcignore), []byte(gitignore)
	if files["LICENSE"], err = os.ReadFile(filepath.Join(p.root, "LICENSE")); err != nil {
		return fmt.Errorf("read the licence: %w", err)
	}
	if err := p.clear(); err != nil {
		return fmt.Errorf("clear %s: %w", p.out, err)
	}
	for name, text := range files {
		path := filepath.Join(p.out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// sources are the files of the repository's own packages by their paths in it.
func (p project) sources(packages []*pkg) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, k := range packages {
		if !k.ours() {
			continue
		}
		for _, name := range k.files() {
			path := filepath.Join(k.Dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			rel, err := filepath.Rel(k.Module.Dir, path)
			if err != nil {
				return nil, err
			}
			files[filepath.ToSlash(rel)] = text
		}
	}
	return files, nil
}

// written reports whether dist wrote the folder that the project goes to.
func (p project) written() bool {
	for _, name := range []string{"function.go", workspace + "/go.work"} {
		text, err := os.ReadFile(filepath.Join(p.out, filepath.FromSlash(name)))
		if err == nil && bytes.HasPrefix(text, []byte(header)) {
			return true
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return false
}

// clear empties the project's folder, but for func's own notes on its builds.
// A folder with anything else in it is not touched.
func (p project) clear() error {
	entries, err := os.ReadDir(p.out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 && !p.written() {
		return errors.New("it is not empty, and nothing that dist wrote")
	}
	for _, e := range entries {
		if e.Name() == workspace {
			continue
		}
		if err := os.RemoveAll(filepath.Join(p.out, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
