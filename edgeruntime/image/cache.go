package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
)

// Options are for [Open].
type Options struct {
	// MaxBytes is how much unpacked images take together; 0 is DefaultMaxBytes.
	// Images that nobody uses are removed to stay below it, the one whose use is
	// longest ago first.
	MaxBytes int64
	// MaxImage and MaxFiles are the bounds of one unpacked image; 0 is
	// DefaultMaxImage and DefaultMaxFiles.
	MaxImage, MaxFiles int64
	// Platform is what images are to run on; the zero value is Host.
	Platform Platform
	// Logger takes what cannot be returned; nil discards it.
	Logger *slog.Logger
}

// The bounds of a cache that is given none. A function of Go has 20 MB, a
// distribution with an interpreter and libraries of data science 2 GB and
// 60,000 files.
const (
	DefaultMaxBytes = 10 << 30
	DefaultMaxImage = 4 << 30
	DefaultMaxFiles = 250_000
)

// The files of a cache: DIR/images/ALGORITHM-HASH has the folder rootfs, the
// file image.json and, in the end, the file durable; DIR/tmp has what is being made or removed.
const (
	imagesFolder = "images"
	tempFolder   = "tmp"
	rootFolder   = "rootfs"
	recordFile   = "image.json"
)

// Cache holds unpacked images in a folder.
type Cache struct {
	dir     string
	options Options

	boot string
	// settling are the images that are being made durable.
	settling sync.WaitGroup

	mu sync.Mutex
	// entries are by the digest of the manifest.
	entries map[Digest]*entry
	// manifests are the digests that a digest of an index led to.
	manifests map[Digest]Digest
}

// maxManifests bounds what is remembered of indexes; all is forgotten then.
const maxManifests = 10_000

// entry is an image in the cache, or one that is being unpacked.
type entry struct {
	record record
	users  int
	used   time.Time
	// ready is closed when it is unpacked, or err says why not.
	ready chan struct{}
	err   error
}

// record is what the file image.json holds.
type record struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"`
	Config Config `json:"config"`
	// Boot is the boot of the machine that it was unpacked in.
	Boot string `json:"boot"`
}

// Open opens the cache in a folder, which is made if it is not there. What an
// unpack that was cut short has left is removed.
func Open(dir string, o Options) (*Cache, error) {
	for bound, otherwise := range map[*int64]int64{&o.MaxBytes: DefaultMaxBytes, &o.MaxImage: DefaultMaxImage, &o.MaxFiles: DefaultMaxFiles} {
		if *bound == 0 {
			*bound = otherwise
		}
	}
	if o.Platform == (Platform{}) {
		o.Platform = Host()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cache{dir: dir, options: o, boot: bootID(), entries: map[Digest]*entry{}, manifests: map[Digest]Digest{}}
	if err := os.MkdirAll(filepath.Join(dir, imagesFolder), 0o700); err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	if err := errors.Join(removeAll(filepath.Join(dir, tempFolder)), os.Mkdir(filepath.Join(dir, tempFolder), 0o700)); err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	found, err := os.ReadDir(filepath.Join(dir, imagesFolder))
	if err != nil {
		return nil, fmt.Errorf("open image cache: %w", err)
	}
	for _, f := range found {
		if err := c.load(f.Name()); err != nil {
			o.Logger.Warn("an unpacked image is not usable and is removed", slog.String("image", f.Name()), slog.Any("error", err))
			if err := c.drop(f.Name()); err != nil {
				return nil, fmt.Errorf("open image cache: %w", err)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c, c.collect(0)
}

// Close waits until what was unpacked is durable.
func (c *Cache) Close() error {
	c.settling.Wait()
	return nil
}

// load reads the record of an unpacked image.
func (c *Cache) load(name string) error {
	file := filepath.Join(c.dir, imagesFolder, name, recordFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	if _, err := ParseDigest(string(r.Digest)); err != nil || folderOf(r.Digest) != name {
		return errors.New("the record is of another image")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), durableFile)); err != nil && (c.boot == "" || r.Boot != c.boot) {
		return errors.New("the machine ended before it was on disk")
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	close(ready)
	c.entries[r.Digest] = &entry{record: r, used: info.ModTime(), ready: ready}
	return nil
}

// folderOf is the folder of an image.
func folderOf(d Digest) string { return strings.ReplaceAll(string(d), ":", "-") }

// Image is an unpacked image in use.
type Image struct {
	// Digest is that of its manifest.
	Digest Digest
	// Root is the folder of its files, which must not be written to.
	Root string
	// Config is how its program runs.
	Config Config
	// Size is the bytes of its files.
	Size int64

	release func()
}

// Release ends the use of the image; once is enough.
func (i *Image) Release() { i.release() }

// Acquire unpacks an image by a tag or a digest, unless it is there already, and
// keeps it until its Release. Callers of the same image wait for one unpack. An
// image that is not what its digest says, or is malformed, is an Invalid fault;
// one over its bounds TooLarge; and one for which there is no room beside those
// in use Exhausted.
func (c *Cache) Acquire(ctx context.Context, s Source, ref string) (*Image, error) {
	doc, digest, err := c.manifest(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	for {
		c.mu.Lock()
		e, ok := c.entries[digest]
		if !ok {
			e = &entry{ready: make(chan struct{})}
			c.entries[digest] = e
		}
		e.users++
		c.mu.Unlock()
		if !ok {
			c.make(ctx, s, doc, digest, e)
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			c.release(e)
			return nil, fmt.Errorf("wait for image %s: %w", digest, context.Cause(ctx))
		}
		if e.err == nil {
			return &Image{
				Digest: digest, Root: filepath.Join(c.dir, imagesFolder, folderOf(digest), rootFolder),
				Config: e.record.Config, Size: e.record.Size, release: sync.OnceFunc(func() { c.release(e) }),
			}, nil
		}
		if ctx.Err() != nil || !errors.Is(e.err, context.Canceled) && !errors.Is(e.err, context.DeadlineExceeded) {
			return nil, e.err
		}
		// Who unpacked it did not wait for the end; this caller does.
		if doc == nil {
			if doc, _, err = Manifest(ctx, s, ref, c.options.Platform); err != nil {
				return nil, err
			}
		}
	}
}

// manifest is the manifest of an image and its digest. For a digest whose image
// is there the manifest is nil, and the source is not asked.
func (c *Cache) manifest(ctx context.Context, s Source, ref string) (*Document, Digest, error) {
	asked, err := ParseDigest(ref)
	byDigest := err == nil
	if byDigest {
		c.mu.Lock()
		digest, ok := c.manifests[asked]
		if !ok {
			digest = asked
		}
		e := c.entries[digest]
		c.mu.Unlock()
		if e != nil {
			return nil, digest, nil
		}
	}
	doc, digest, err := Manifest(ctx, s, ref, c.options.Platform)
	if err != nil {
		return nil, "", err
	}
	if byDigest {
		c.mu.Lock()
		if len(c.manifests) >= maxManifests {
			clear(c.manifests)
		}
		c.manifests[asked] = digest
		c.mu.Unlock()
	}
	return doc, digest, nil
}

// make unpacks an image for those who wait for its entry.
func (c *Cache) make(ctx context.Context, s Source, doc *Document, digest Digest, e *entry) {
	var err error
	if doc == nil { // it was removed since it was seen
		doc, _, err = Manifest(ctx, s, string(digest), c.options.Platform)
	}
	var temp string
	var r record
	if err == nil {
		temp, r, err = c.unpack(ctx, s, doc, digest)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.record = r
	if err == nil {
		err = c.collect(r.Size)
	}
	if err == nil {
		err = c.publish(temp, digest)
	}
	if err != nil {
		delete(c.entries, digest)
		if temp != "" {
			err = errors.Join(err, removeAll(temp))
		}
		e.err = fmt.Errorf("unpack image %s: %w", digest, err)
	}
	e.used = time.Now()
	close(e.ready)
}

// publish puts an unpacked image in its place, and makes it durable meanwhile.
func (c *Cache) publish(temp string, digest Digest) error {
	folder := filepath.Join(c.dir, imagesFolder, folderOf(digest))
	if err := os.Rename(temp, folder); err != nil {
		return err
	}
	c.settling.Go(func() { c.settle(folder) })
	return nil
}

// unpack unpacks an image into a folder of its own.
func (c *Cache) unpack(ctx context.Context, s Source, doc *Document, digest Digest) (temp string, r record, err error) {
	text, err := readBlob(ctx, s, *doc.Config, maxConfig)
	if err != nil {
		return "", r, err
	}
	config, err := ParseConfig(text)
	if err != nil {
		return "", r, err
	}
	if len(config.RootFS.DiffIDs) != len(doc.Layers) {
		return "", r, invalid("rootfs", fmt.Errorf("%d layers, and %d in the manifest", len(config.RootFS.DiffIDs), len(doc.Layers)))
	}
	if p := c.options.Platform; p.rank(&config.Platform) == 0 {
		return "", r, &fault.Error{Op: "image.Acquire", Kind: fault.Unsupported, Name: string(digest), Reason: "NO_PLATFORM", Err: fmt.Errorf("the image is not for %s, but for %s", p, config.Platform)}
	}
	temp, err = os.MkdirTemp(filepath.Join(c.dir, tempFolder), "unpack-")
	if err != nil {
		return "", r, err
	}
	size, err := c.layers(ctx, s, doc.Layers, config.RootFS.DiffIDs, filepath.Join(temp, rootFolder))
	if err != nil {
		return temp, r, err
	}
	r = record{Digest: digest, Size: size, Config: *config, Boot: c.boot}
	text, err = json.Marshal(r)
	if err != nil {
		return temp, r, err
	}
	return temp, r, os.WriteFile(filepath.Join(temp, recordFile), text, 0o600)
}

// layers unpacks layers into a new folder and returns the bytes of all files.
func (c *Cache) layers(ctx context.Context, s Source, layers []Descriptor, diffIDs []Digest, dir string) (size int64, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	// Whatever the mask: others than this user run what is in it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	u := &unpacker{root: root, chown: os.Geteuid() == 0, bytes: c.options.MaxImage, files: c.options.MaxFiles, folders: map[string]fs.FileMode{}}
	for i, layer := range layers {
		blob, err := s.Blob(ctx, layer.Digest)
		if err != nil {
			return 0, fmt.Errorf("get layer %s: %w", layer.Digest, err)
		}
		if err := errors.Join(u.layer(ctx, blob, layer, diffIDs[i]), blob.Close()); err != nil {
			return 0, err
		}
	}
	return u.size, u.close()
}

// release ends one use of an entry.
func (c *Cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	if e.users > 0 || c.entries[e.record.Digest] != e {
		return
	}
	e.used = time.Now()
	file := filepath.Join(c.dir, imagesFolder, folderOf(e.record.Digest), recordFile)
	if err := os.Chtimes(file, e.used, e.used); err != nil {
		c.options.Logger.Warn("the use of an image was not noted", slog.String("image", string(e.record.Digest)), slog.Any("error", err))
	}
	if err := c.collect(0); err != nil && fault.KindOf(err) != fault.Exhausted {
		c.options.Logger.Warn("an image was not removed", slog.Any("error", err))
	}
}

// Size is the bytes of all unpacked images, and how many there are.
func (c *Cache) Size() (bytes int64, images int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		bytes += e.record.Size
	}
	return bytes, len(c.entries)
}

// collect removes images that nobody uses until there is room for more bytes.
// The lock is held.
func (c *Cache) collect(more int64) error {
	var total int64
	for _, e := range c.entries {
		select {
		case <-e.ready:
			total += e.record.Size
		default: // its size is not known yet, or is more
		}
	}
	for total+more > c.options.MaxBytes {
		var oldest *entry
		for _, e := range c.entries {
			if e.users == 0 && (oldest == nil || e.used.Before(oldest.used)) {
				oldest = e
			}
		}
		if oldest == nil {
			return &fault.Error{Op: "image.Acquire", Kind: fault.Exhausted, Reason: "IMAGE_CACHE_FULL", Err: fmt.Errorf("the images in use have %d bytes, and %d more would be over the bound of %d", total, more, c.options.MaxBytes)}
		}
		delete(c.entries, oldest.record.Digest)
		total -= oldest.record.Size
		if err := c.drop(folderOf(oldest.record.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// drop removes an image from the cache, at once or not at all.
func (c *Cache) drop(name string) error {
	temp, err := os.MkdirTemp(filepath.Join(c.dir, tempFolder), "drop-")
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(c.dir, imagesFolder, name), filepath.Join(temp, name)); err != nil {
		return err
	}
	return removeAll(temp)
}

// removeAll removes a folder, in which there may be folders without the right to
// write, which hold who is not root.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walk := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(walk, os.RemoveAll(dir))
}
