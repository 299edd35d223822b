// Package snapshot packs what a platform keeps of metrics into one file, and
// unpacks it into an empty data folder. The file is a tar archive:
//
//	manifest.json    what this is, of when, and how many files follow
//	platform.db      descriptors, bounds, keys, losses and stored events
//	series/…         the time series, unless they are on a server
//
// The one invariant: Restore makes a data folder whole or not at all. An
// archive that was cut off, or changed, is refused.
package snapshot

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// version is that of the form.
const version = 1

// manifestName is the first file of an archive.
const manifestName = "manifest.json"

// Manifest says what an archive is.
type Manifest struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	// Files and Bytes are how much follows.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Server is the name of the snapshot that the VictoriaMetrics server made
	// of the series, "" when they are in the archive.
	Server string `json:"server,omitempty"`
}

// Write writes the files below dir as an archive.
func Write(ctx context.Context, w io.Writer, dir string, m Manifest) error {
	m.Version, m.Files, m.Bytes = version, 0, 0
	var names []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		m.Files, m.Bytes = m.Files+1, m.Bytes+info.Size()
		names = append(names, name)
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("look for files: %w", err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	out := tar.NewWriter(w)
	if err := out.WriteHeader(&tar.Header{Name: manifestName, Size: int64(len(text)), Mode: 0o600, ModTime: m.Time}); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := add(out, dir, name); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return out.Close()
}

// add adds a file below dir.
func add(out *tar.Writer, dir, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, name)
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Size: info.Size(), Mode: 0o600, ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(out, in, info.Size())
	return err
}

// refused is the error of an archive that cannot be restored.
func refused(reason, format string, args ...any) error {
	return &fault.Error{Op: "local/snapshot.Restore", Kind: fault.Invalid, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Restore unpacks an archive into the folder data, which must be empty or not
// be there.
func Restore(in io.Reader, data string) (m Manifest, err error) {
	if err := empty(data); err != nil {
		return m, err
	}
	work, err := os.MkdirTemp(data, ".restore-*")
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	archive := tar.NewReader(in)
	if m, err = manifest(archive); err != nil {
		return m, err
	}
	files, size := 0, int64(0)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, refused("ARCHIVE_DAMAGED", "read the archive: %w", err)
		}
		if err := unpack(archive, h, work); err != nil {
			return m, err
		}
		files, size = files+1, size+h.Size
	}
	if files != m.Files || size != m.Bytes {
		return m, refused("ARCHIVE_DAMAGED", "it has %d files of %d bytes, and should have %d of %d", files, size, m.Files, m.Bytes)
	}
	return m, settle(work, data)
}

// empty makes a folder if there is none, and fails if there is something in it.
func empty(data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return refused("DATA_NOT_EMPTY", "there is something in %s: a snapshot is restored into an empty folder", data)
	}
	return nil
}

// manifest reads the first file.
func manifest(archive *tar.Reader) (m Manifest, err error) {
	h, err := archive.Next()
	if err != nil {
		return m, refused("NO_SNAPSHOT", "it is no archive of a snapshot: %w", err)
	}
	const most = 64 << 10 // a manifest has a few hundred bytes
	if h.Name != manifestName || h.Size > most {
		return m, refused("NO_SNAPSHOT", "it is no archive of a snapshot: it begins with %.60q", h.Name)
	}
	if err := json.NewDecoder(archive).Decode(&m); err != nil {
		return m, refused("NO_SNAPSHOT", "it is no archive of a snapshot: %w", err)
	}
	if m.Version != version {
		return m, refused("SNAPSHOT_VERSION", "the snapshot is of version %d, and this program knows version %d", m.Version, version)
	}
	return m, nil
}

// unpack writes a file of an archive below dir.
func unpack(in io.Reader, h *tar.Header, dir string) (err error) {
	name := path.Clean(h.Name)
	if h.Typeflag != tar.TypeReg || !filepath.IsLocal(filepath.FromSlash(name)) || name != "platform.db" && !strings.HasPrefix(name, "series/") {
		return refused("ARCHIVE_DAMAGED", "%.100q is no file of a snapshot", h.Name)
	}
	target := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return refused("ARCHIVE_DAMAGED", "unpack %s: %w", name, err)
	}
	return nil
}

// settle moves what is in work into data, its folder, the database last: a
// folder without it is not one of a platform.
func settle(work, data string) error {
	if _, err := os.Stat(filepath.Join(work, "platform.db")); err != nil {
		return refused("ARCHIVE_DAMAGED", "there is no database in it: %w", err)
	}
	for _, name := range []string{"series", "platform.db"} {
		err := os.Rename(filepath.Join(work, name), filepath.Join(data, name))
		if err != nil && !(name == "series" && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return os.Remove(work)
}
