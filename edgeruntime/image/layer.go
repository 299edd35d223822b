package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"selvedge.dev/sdk/fault"
)

// The marks of what a layer takes away, in the names of files.
const (
	whiteout       = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
)

// The bounds of a path and of the links on the way to it, as Linux has them, and
// of the folders in it, which cost time each.
const (
	maxPath     = 4096
	maxLinks    = 40
	maxElements = 255
)

// windowSize is the bound of what a zstd stream may ask for in memory; its own
// tools take no more without being told to.
const windowSize = 128 << 20

// unpacker unpacks layers onto each other.
type unpacker struct {
	root *os.Root
	// chown is whether files get the owners that the image gives them.
	chown bool
	// bytes and files are how much more there may be.
	bytes, files int64
	// size is what the files have, links counted once.
	size int64
	// folders are the modes of folders, which they get in the end: one that may
	// not be written could not be filled.
	folders map[string]fs.FileMode
	// own are the paths that the layer in hand has made, and the folders above
	// them; it is true for the former.
	own map[string]bool
	// cleared are the folders that the layer in hand made opaque.
	cleared map[string]bool
}

// layer unpacks one layer, whose bytes must be those of the descriptor, and
// those of the diff id without compression.
func (u *unpacker) layer(ctx context.Context, blob io.Reader, d Descriptor, diffID Digest) error {
	v := verified(&contextReader{ctx, blob}, d)
	plain, err := decompress(v)
	if err != nil {
		return fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	defer plain.Close()
	// An archive has up to a kilobyte around each file, and a trailer.
	bound := u.bytes + 2048*(u.files+16)
	w := verified(plain, Descriptor{Digest: diffID, Size: bound})
	u.own, u.cleared = map[string]bool{}, map[string]bool{}
	if err := u.archive(tar.NewReader(w)); err != nil {
		return fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	if _, err := io.Copy(io.Discard, w); err != nil {
		return fmt.Errorf("layer %s: %w", d.Digest, corrupt(err))
	}
	if err := v.finish(); err != nil {
		return err
	}
	if w.read == bound {
		return tooLarge()
	}
	if !diffID.Matches(w.sum) {
		return mismatch(diffID)
	}
	return nil
}

// contextReader reads until its context is done.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

// Read reads unless the context is done.
func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

// decompress reads what is compressed with gzip or zstd, or not, by what it
// begins with: media types lie.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, corrupt(err)
		}
		return z, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowSize), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, corrupt(err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// archive unpacks the entries of an archive.
func (u *unpacker) archive(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return corrupt(err)
		}
		if u.files--; u.files < 0 {
			return tooLarge()
		}
		if err := u.entry(h, t); err != nil {
			return err
		}
	}
}

// entry unpacks one entry.
func (u *unpacker) entry(h *tar.Header, contents io.Reader) error {
	if len(h.Name) > maxPath || len(h.Linkname) > maxPath || strings.ContainsRune(h.Name+h.Linkname, 0) {
		return invalid("layer", fmt.Errorf("a path that is longer than %d bytes, or has a zero byte", maxPath))
	}
	clean := path.Clean("/" + h.Name)[1:]
	if strings.Count(clean, "/") > maxElements {
		return invalid("layer", fmt.Errorf("%.200q: more than %d folders deep", h.Name, maxElements))
	}
	if escapes(h.Name) {
		return invalid("layer", fmt.Errorf("%.200q leads out of the image", h.Name))
	}
	if clean == "" {
		return nil // the root is the cache's own
	}
	dir, err := u.resolve(path.Dir(clean))
	if err != nil {
		return err
	}
	base := path.Base(clean)
	if base == opaqueWhiteout {
		return u.opaque(dir)
	}
	if name, ok := strings.CutPrefix(base, whiteout); ok {
		return u.remove(dir, name)
	}
	name := path.Join(dir, base)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		err = u.file(name, h, contents)
	case tar.TypeDir:
		err = u.folder(name, h)
	case tar.TypeSymlink:
		err = u.symlink(name, h)
	case tar.TypeLink:
		err = u.link(name, h)
	default: // devices, pipes, and what archives say of themselves
		return nil
	}
	if err != nil {
		return fmt.Errorf("unpack %.200q: %w", h.Name, err)
	}
	u.own[name] = true
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := u.own[dir]; ok {
			break
		}
		u.own[dir] = false
	}
	return nil
}

// escapes reports whether a relative path leads above where it begins.
func escapes(p string) bool {
	c := path.Clean(strings.TrimLeft(p, "/"))
	return c == ".." || strings.HasPrefix(c, "../")
}

// resolve is the folder at a path of the image, with every link on the way
// followed as a process in the image would, and made where it is not there. The
// result has no link in it. That nothing outside can be reached rests on
// os.Root; this is for links that are absolute, which os.Root refuses.
func (u *unpacker) resolve(dir string) (string, error) {
	rest, at, links := strings.Split(dir, "/"), ".", 0
	for len(rest) > 0 {
		elem := rest[0]
		rest = rest[1:]
		switch elem {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at) // "." above the root
			continue
		}
		next := path.Join(at, elem)
		info, err := u.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := u.makeFolder(next); err != nil {
				return "", err
			}
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return "", invalid("layer", fmt.Errorf("%.200q: too many links", dir))
			}
			target, err := u.root.Readlink(next)
			if err != nil {
				return "", err
			}
			if path.IsAbs(target) {
				at = "."
			}
			rest = append(strings.Split(target, "/"), rest...)
			if len(rest) > maxPath/2 {
				return "", invalid("layer", fmt.Errorf("%.200q: too many links", dir))
			}
			continue
		case !info.IsDir():
			// A folder in the way of a file of a lower layer takes its place.
			if err := errors.Join(u.root.Remove(next), u.makeFolder(next)); err != nil {
				return "", err
			}
		}
		at = next
	}
	return at, nil
}

// makeFolder makes a folder that no entry was there for.
func (u *unpacker) makeFolder(name string) error {
	if u.files--; u.files < 0 {
		return tooLarge()
	}
	if err := u.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	u.folders[name] = 0o755
	return nil
}

// opaque takes away what lower layers have in a folder. Doing it again would find
// only what this layer has.
func (u *unpacker) opaque(dir string) error {
	if u.cleared[dir] {
		return nil
	}
	u.cleared[dir] = true
	f, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	err = errors.Join(err, f.Close())
	for _, name := range names {
		err = errors.Join(err, u.remove(dir, name))
	}
	return err
}

// remove takes away what lower layers have at a name in a folder, and keeps what
// this layer has put there.
func (u *unpacker) remove(dir, name string) error {
	if name == "" || name == "." || name == ".." {
		return invalid("layer", fmt.Errorf("%q takes nothing away", whiteout+name))
	}
	target := path.Join(dir, name)
	if _, own := u.own[target]; !own {
		return u.root.RemoveAll(target)
	}
	if info, err := u.root.Lstat(target); err != nil || !info.IsDir() {
		return nil // this layer's own file, or gone again
	}
	return u.opaque(target)
}

// replace removes what is at a name, for something else.
func (u *unpacker) replace(name string) error {
	if _, err := u.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return u.root.RemoveAll(name)
}

// modeOf is what a file may be: who may do what, and the sticky bit.
func (u *unpacker) modeOf(h *tar.Header) fs.FileMode {
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	if h.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// file unpacks a regular file.
func (u *unpacker) file(name string, h *tar.Header, contents io.Reader) error {
	if h.Size > u.bytes {
		return tooLarge()
	}
	u.bytes -= h.Size
	u.size += h.Size
	if err := u.replace(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, contents); err != nil {
		return errors.Join(corrupt(err), f.Close())
	}
	err = nil
	if u.chown {
		err = f.Chown(h.Uid, h.Gid)
	}
	mode := u.modeOf(h)
	if !u.chown {
		mode |= 0o400 // or this user could not read it
	}
	// A change of owner takes bits away, so the mode comes after.
	return errors.Join(err, f.Chmod(mode), f.Close(), u.root.Chtimes(name, h.ModTime, h.ModTime))
}

// folder makes a folder, or gives the one that is there another mode and owner.
func (u *unpacker) folder(name string, h *tar.Header) error {
	info, err := u.root.Lstat(name)
	if err != nil || !info.IsDir() {
		if err := u.replace(name); err != nil {
			return err
		}
		if err := u.root.Mkdir(name, 0o700); err != nil {
			return err
		}
	}
	u.folders[name] = u.modeOf(h)
	if u.chown {
		return u.root.Lchown(name, h.Uid, h.Gid)
	}
	return nil
}

// symlink makes a symbolic link. One that leads out by dots is refused, as
// Docker does; an absolute one is of the root that the process has.
func (u *unpacker) symlink(name string, h *tar.Header) error {
	if !path.IsAbs(h.Linkname) && escapes(path.Join(path.Dir(name), h.Linkname)) || h.Linkname == "" {
		return invalid("layer", fmt.Errorf("the link to %.200q leads out of the image", h.Linkname))
	}
	if err := u.replace(name); err != nil {
		return err
	}
	if err := u.root.Symlink(h.Linkname, name); err != nil {
		return err
	}
	if u.chown {
		return u.root.Lchown(name, h.Uid, h.Gid)
	}
	return nil
}

// link makes a hard link to what is in the image already.
func (u *unpacker) link(name string, h *tar.Header) error {
	if escapes(h.Linkname) {
		return invalid("layer", fmt.Errorf("the link to %.200q leads out of the image", h.Linkname))
	}
	target := path.Clean("/" + h.Linkname)[1:]
	dir, err := u.resolve(path.Dir(target))
	if err != nil {
		return err
	}
	target = path.Join(dir, path.Base(target))
	info, err := u.root.Lstat(target)
	if err != nil || info.IsDir() || target == name {
		return invalid("layer", fmt.Errorf("a link to %.200q, which is not a file of the image", h.Linkname))
	}
	if err := u.replace(name); err != nil {
		return err
	}
	return u.root.Link(target, name)
}

// close gives folders their modes.
func (u *unpacker) close() error {
	var errs []error
	for name, mode := range u.folders {
		if info, err := u.root.Lstat(name); err != nil || !info.IsDir() {
			continue // taken away since
		}
		if !u.chown {
			mode |= 0o700 // or this user could not remove what is in it
		}
		errs = append(errs, u.root.Chmod(name, mode))
	}
	return errors.Join(errs...)
}

// corrupt is the fault of a layer that cannot be read, unless the reader itself
// failed or was told to end.
func corrupt(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) || fault.KindOf(err) != fault.Internal {
		return err
	}
	return invalid("layer", err)
}

// tooLarge is the fault of an image that has more than it may.
func tooLarge() error {
	return &fault.Error{Op: "image.Unpack", Kind: fault.TooLarge, Reason: "IMAGE_TOO_LARGE", Err: errors.New("the unpacked image has more bytes or files than it may")}
}
