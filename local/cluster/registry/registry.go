// Package registry is an OCI registry in a folder: what `func deploy` and every
// other client of the distribution specification push images to, and what
// functions are unpacked from ([Registry.Source]).
//
// Contents are stored once, by their digest. A repository has what was pushed or
// mounted to it, and nobody gets a blob by its digest who may not pull from a
// repository that has it. What was answered with 201 is on disk, and whatever
// ends the process in between leaves it as it was before or after:
//
//	blobs/sha256-HEX                          contents of blobs and manifests
//	repositories/NAME/_blobs/sha256-HEX       the repository has the blob
//	repositories/NAME/_manifests/sha256-HEX   has the manifest; its media type
//	repositories/NAME/_tags/TAG               the digest of a manifest
//	uploads/ID.HASH                           what was uploaded up to now
//
// Files become what they are by a rename: contents first, then what names them.
// A Registry may be used concurrently, by one process at a time.
package registry

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// Options are for [Open].
type Options struct {
	// MaxBytes bounds everything together, and MaxBlob one blob; 0 is
	// DefaultMaxBytes and DefaultMaxBlob.
	MaxBytes, MaxBlob int64
	// MaxUploads bounds the uploads that are not complete; 0 is
	// DefaultMaxUploads.
	MaxUploads int
	// Logger takes what cannot be returned; nil discards it.
	Logger *slog.Logger
}

// The bounds of a registry that is given none. A function has 20 MB for each
// platform, and a client pushes a handful of blobs at once.
const (
	DefaultMaxBytes   = 20 << 30
	DefaultMaxBlob    = 4 << 30
	DefaultMaxUploads = 256
)

// The folders of a registry.
const (
	blobsFolder        = "blobs"
	uploadsFolder      = "uploads"
	repositoriesFolder = "repositories"
	blobLinks          = "_blobs"
	manifestLinks      = "_manifests"
	tagLinks           = "_tags"
)

// tempMark begins the names of files that are being written.
const tempMark = ".new-"

// Registry holds images in a folder.
type Registry struct {
	dir     string
	options Options
	// gate is held by what adds and takes away, and locked by Collect: in between
	// nothing that was found is gone.
	gate sync.RWMutex

	// folders is held while a folder is made: who finds one may count on it that it
	// is durable.
	folders sync.Mutex

	mu sync.Mutex
	// used are the bytes of blobs and uploads.
	used int64
	// uploads are the uploads that are not complete; true is one in hand.
	uploads map[string]bool
}

// Open opens the registry in a folder, which is made if it is not there.
func Open(dir string, o Options) (*Registry, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBlob == 0 {
		o.MaxBlob = DefaultMaxBlob
	}
	if o.MaxUploads == 0 {
		o.MaxUploads = DefaultMaxUploads
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Registry{dir: dir, options: o, uploads: map[string]bool{}}
	for _, folder := range []string{blobsFolder, uploadsFolder, repositoriesFolder} {
		if err := r.makeFolder(filepath.Join(dir, folder)); err != nil {
			return nil, fmt.Errorf("open registry: %w", err)
		}
	}
	if err := r.count(); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	return r, nil
}

// count finds out what is used, and removes what was being written.
func (r *Registry) count() error {
	for _, folder := range []string{blobsFolder, uploadsFolder} {
		entries, err := os.ReadDir(filepath.Join(r.dir, folder))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), tempMark) {
				if err := os.Remove(filepath.Join(r.dir, folder, e.Name())); err != nil {
					return err
				}
				continue
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			r.used += info.Size()
			if folder == uploadsFolder {
				r.uploads[e.Name()] = false
			}
		}
	}
	return nil
}

// Used is the bytes of blobs and uploads, which are bounded by MaxBytes.
func (r *Registry) Used() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// reserve counts bytes that are to be written.
func (r *Registry) reserve(n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used+n > r.options.MaxBytes {
		return full(fmt.Errorf("the registry would have more than its bound of %d bytes: delete tags, and what only they need goes with the next collection", r.options.MaxBytes))
	}
	r.used += n
	return nil
}

// free counts bytes that are gone.
func (r *Registry) free(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
}

// fileOf is the name of a file for a digest.
func fileOf(d image.Digest) string { return d.Algorithm() + "-" + d.Encoded() }

// digestOf is the digest that a file is named for, or "".
func digestOf(name string) image.Digest {
	d, err := image.ParseDigest(strings.Replace(name, "-", ":", 1))
	if err != nil {
		return ""
	}
	return d
}

// blob is the path of contents.
func (r *Registry) blob(d image.Digest) string { return filepath.Join(r.dir, blobsFolder, fileOf(d)) }

// link is the path of a file of a repository.
func (r *Registry) link(repository, kind, name string) string {
	return filepath.Join(r.dir, repositoriesFolder, filepath.FromSlash(repository), kind, name)
}

// checkRepository refuses a name that is none, which must not become a path.
func checkRepository(repository string) error {
	ref, err := image.ParseReference(repository)
	if err != nil || ref.Repository != repository {
		return refuse(fault.Invalid, "NAME_INVALID", fmt.Errorf("%.300q is not a repository", repository))
	}
	return nil
}

// found is what a repository has, as clients ask for it.
type found struct {
	digest    image.Digest
	size      int64
	mediaType string
}

// octets is the media type of what has none of its own.
const octets = "application/octet-stream"

// findBlob is a blob of a repository. That somebody asked keeps it from being
// collected for a while: a client does not push what is there.
func (r *Registry) findBlob(repository string, d image.Digest) (found, error) {
	if err := errors.Join(checkRepository(repository), checkDigest(d)); err != nil {
		return found{}, err
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	touched := touch(r.link(repository, blobLinks, fileOf(d)))
	if errors.Is(touched, fs.ErrNotExist) {
		// A manifest is had as a blob too.
		if _, err := os.Stat(r.link(repository, manifestLinks, fileOf(d))); err != nil {
			return found{}, refuse(fault.NotFound, "BLOB_UNKNOWN", fmt.Errorf("%s has no blob %s", repository, d))
		}
	} else if touched != nil {
		return found{}, touched
	}
	info, err := os.Stat(r.blob(d))
	if err != nil {
		return found{}, err
	}
	return found{d, info.Size(), octets}, nil
}

// checkDigest refuses a digest that is none.
func checkDigest(d image.Digest) error {
	if _, err := image.ParseDigest(string(d)); err != nil {
		return refuse(fault.Invalid, "DIGEST_INVALID", err)
	}
	return nil
}

// findManifest is a manifest of a repository, by its tag or digest.
func (r *Registry) findManifest(repository, ref string) (found, error) {
	if err := checkRepository(repository); err != nil {
		return found{}, err
	}
	unknown := refuse(fault.NotFound, "MANIFEST_UNKNOWN", fmt.Errorf("%s has no %.200s", repository, ref))
	d, err := image.ParseDigest(ref)
	if err != nil {
		if !isTag(ref) {
			return found{}, unknown
		}
		text, err := os.ReadFile(r.link(repository, tagLinks, ref))
		if errors.Is(err, fs.ErrNotExist) {
			return found{}, unknown
		}
		if err != nil {
			return found{}, err
		}
		d = image.Digest(text)
	}
	mediaType, err := os.ReadFile(r.link(repository, manifestLinks, fileOf(d)))
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, unknown
	}
	if err != nil {
		return found{}, err
	}
	info, err := os.Stat(r.blob(d))
	if err != nil {
		return found{}, err
	}
	return found{d, info.Size(), string(mediaType)}, nil
}

// isTag reports whether the text may be a tag, which is the name of a file.
func isTag(s string) bool {
	ref, err := image.ParseReference("x:" + s)
	return err == nil && ref.Tag == s && ref.Digest == ""
}

// Resolve is the digest of the manifest that a tag or digest of a repository
// names, or a NotFound fault.
func (r *Registry) Resolve(_ context.Context, repository, ref string) (image.Digest, error) {
	f, err := r.findManifest(repository, ref)
	return f.digest, err
}

// Source is where the images of a repository are unpacked from. It asks nobody
// whether that is allowed.
func (r *Registry) Source(repository string) image.Source { return source{r, repository} }

// source is the images of one repository.
type source struct {
	registry   *Registry
	repository string
}

// Manifest is the bytes of a manifest or an index.
func (s source) Manifest(_ context.Context, ref string) ([]byte, error) {
	f, err := s.registry.findManifest(s.repository, ref)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(s.registry.blob(f.digest))
}

// Blob is the contents of a blob.
func (s source) Blob(_ context.Context, d image.Digest) (io.ReadCloser, error) {
	if _, err := s.registry.findBlob(s.repository, d); err != nil {
		return nil, err
	}
	return os.Open(s.registry.blob(d))
}

// pushManifest stores a manifest or an index, whose parts the repository must
// have, under its digest and a tag unless that is "". The media type is what the
// manifest says it is, or else the one given.
func (r *Registry) pushManifest(repository, tag string, contents []byte, mediaType string) (found, error) {
	if err := checkRepository(repository); err != nil {
		return found{}, err
	}
	if tag != "" && !isTag(tag) {
		return found{}, refuse(fault.Invalid, "TAG_INVALID", fmt.Errorf("%.200q is not a tag", tag))
	}
	var says struct {
		MediaType string `json:"mediaType"`
	}
	doc, err := image.ParseDocument(contents)
	if err != nil {
		return found{}, refuse(fault.Invalid, "MANIFEST_INVALID", err)
	}
	if err := json.Unmarshal(contents, &says); err == nil && says.MediaType != "" && says.MediaType != mediaType {
		return found{}, refuse(fault.Invalid, "MANIFEST_INVALID", fmt.Errorf("is sent as %.100q and says that it is %.100q", mediaType, says.MediaType))
	}
	const maxMediaType = 255
	if len(mediaType) > maxMediaType {
		return found{}, refuse(fault.Invalid, "MANIFEST_INVALID", errors.New("the media type is too long"))
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	for _, part := range doc.References() {
		kind := blobLinks
		if doc.Index() {
			kind = manifestLinks
		}
		if _, err := os.Stat(r.link(repository, kind, fileOf(part.Digest))); err != nil {
			return found{}, refuse(fault.NotFound, "MANIFEST_BLOB_UNKNOWN", fmt.Errorf("%s has no %s, which the manifest needs", repository, part.Digest))
		}
	}
	f := found{image.DigestOf(contents), int64(len(contents)), mediaType}
	if err := r.storeManifest(repository, tag, contents, f); err != nil {
		return found{}, err
	}
	return f, nil
}

// storeManifest stores contents, then the manifest's name, then the tag.
func (r *Registry) storeManifest(repository, tag string, contents []byte, f found) error {
	if _, err := os.Stat(r.blob(f.digest)); err != nil {
		if err := r.reserve(f.size); err != nil {
			return err
		}
		if err := r.writeFile(r.blob(f.digest), contents); err != nil {
			r.free(f.size)
			return err
		}
	}
	if err := r.writeFile(r.link(repository, manifestLinks, fileOf(f.digest)), []byte(f.mediaType)); err != nil {
		return err
	}
	if tag == "" {
		return nil
	}
	return r.writeFile(r.link(repository, tagLinks, tag), []byte(f.digest))
}

// writeFile writes a file, durably, at once or not at all.
func (r *Registry) writeFile(path string, contents []byte) error {
	dir := filepath.Dir(path)
	if err := r.makeFolder(dir); err != nil {
		return err
	}
	temp := filepath.Join(dir, tempMark+rand.Text())
	err := writeNew(temp, contents)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // it may not be there
		return asFull(err)
	}
	return syncFolder(dir)
}

// writeNew writes a new file, durably.
func writeNew(path string, contents []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(contents)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// makeFolder makes a folder and those above it, durably.
func (r *Registry) makeFolder(dir string) error {
	r.folders.Lock()
	defer r.folders.Unlock()
	return makeFolders(dir)
}

// makeFolders makes a folder and those above it, durably.
func makeFolders(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeFolders(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return asFull(err)
	}
	return syncFolder(filepath.Dir(dir))
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// refuse is a fault whose reason is a code of the distribution specification.
func refuse(kind fault.Kind, code string, err error) error {
	return &fault.Error{Op: "registry", Kind: kind, Reason: code, Err: err}
}

// fullReason is the reason of a push for which there is no room.
const fullReason = "REGISTRY_FULL"

// full is the fault of a push for which there is no room.
func full(err error) error { return refuse(fault.Exhausted, fullReason, err) }

// asFull makes that fault of a disk that is full.
func asFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return full(errors.New("the disk of the registry is full"))
	}
	return err
}
