package archive

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"selvedge.dev/sdk/fault"
)

var _ Target = Folder("")

// Folder is a folder as a target: a mounted disk, a share, a bucket that is
// mounted.
type Folder string

// path is the path of a file; a name that leads out of the folder is Invalid.
func (f Folder) path(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", &fault.Error{Op: "archive.Folder", Name: name, Kind: fault.Invalid}
	}
	return filepath.Join(string(f), filepath.FromSlash(name)), nil
}

// write makes a file whole under another name, and has put give it its own.
func (f Folder) write(name string, data []byte, put func(temporary, path string) error) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".audit-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = put(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(temp.Name())))
	}
	in, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(in.Sync(), in.Close())
}

// ignoreMissing is nil for a file that is not there.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Create implements Target.
func (f Folder) Create(_ context.Context, name string, data []byte) error {
	err := f.write(name, data, func(temporary, path string) error {
		// A link, since a rename would take the place of what is there.
		if err := os.Link(temporary, path); err != nil {
			return err
		}
		return os.Remove(temporary)
	})
	if errors.Is(err, fs.ErrExist) {
		return &fault.Error{Op: "archive.Create", Name: name, Kind: fault.Exists, Err: err}
	}
	return err
}

// Replace implements Target.
func (f Folder) Replace(_ context.Context, name string, data []byte) error {
	return f.write(name, data, os.Rename)
}

// Get implements Target.
func (f Folder) Get(_ context.Context, name string) ([]byte, error) {
	path, err := f.path(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fault.Error{Op: "archive.Get", Name: name, Kind: fault.NotFound, Err: err}
	}
	return data, err
}

// List implements Target.
func (f Folder) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := filepath.WalkDir(string(f), func(path string, d fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(string(f), path)
			if err != nil {
				return err
			}
			if name = filepath.ToSlash(name); strings.HasPrefix(name, prefix) && !strings.HasPrefix(d.Name(), ".") && !yield(name, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield("", err)
		}
	}
}
