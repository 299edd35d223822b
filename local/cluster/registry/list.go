package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// names are the names of the files in a folder of a repository, in order.
func (r *Registry) names(repository, kind string) ([]string, error) {
	entries, err := os.ReadDir(r.link(repository, kind, ""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempMark) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Repositories are the repositories that have something, in order.
func (r *Registry) Repositories() ([]string, error) {
	root := filepath.Join(r.dir, repositoriesFolder)
	var names []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || !d.IsDir() || p == root {
			return err
		}
		if name := d.Name(); name == manifestLinks || name == blobLinks || name == tagLinks {
			rel, err := filepath.Rel(root, filepath.Dir(p))
			if rel = filepath.ToSlash(rel); err == nil && (len(names) == 0 || names[len(names)-1] != rel) {
				names = append(names, rel)
			}
			return fs.SkipDir
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

// Tags are the tags of a repository, in order. One that has nothing is a
// NotFound fault.
func (r *Registry) Tags(repository string) ([]string, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	tags, err := r.names(repository, tagLinks)
	if err != nil || len(tags) > 0 {
		return tags, err
	}
	for _, kind := range []string{manifestLinks, blobLinks} {
		if have, err := r.names(repository, kind); err != nil || len(have) > 0 {
			return nil, err
		}
	}
	return nil, refuse(fault.NotFound, "NAME_UNKNOWN", fmt.Errorf("no repository %s", repository))
}

// deleteBlob takes a blob from a repository.
func (r *Registry) deleteBlob(repository string, d image.Digest) error {
	if _, err := r.findBlob(repository, d); err != nil {
		return err
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	return removeFile(r.link(repository, blobLinks, fileOf(d)))
}

// deleteManifest takes a manifest from a repository, and the tags that name it.
func (r *Registry) deleteManifest(repository string, d image.Digest) error {
	if _, err := r.findManifest(repository, string(d)); err != nil {
		return err
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	tags, err := r.names(repository, tagLinks)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		text, err := os.ReadFile(r.link(repository, tagLinks, tag))
		if err == nil && image.Digest(text) == d {
			err = removeFile(r.link(repository, tagLinks, tag))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return removeFile(r.link(repository, manifestLinks, fileOf(d)))
}

// Untag removes a tag; what it named stays until it is collected.
func (r *Registry) Untag(repository, tag string) error {
	if _, err := r.findManifest(repository, tag); err != nil {
		return err
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	return removeFile(r.link(repository, tagLinks, tag))
}

// removeFile removes a file, durably. That it is gone already is no error.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// referrers are the manifests of a repository that are about another one.
func (r *Registry) referrers(repository string, subject image.Digest) ([]found, error) {
	if err := errors.Join(checkRepository(repository), checkDigest(subject)); err != nil {
		return nil, err
	}
	names, err := r.names(repository, manifestLinks)
	var all []found
	for _, name := range names {
		f, err := r.findManifest(repository, string(digestOf(name)))
		if err != nil {
			continue // gone meanwhile
		}
		if doc := r.document(f.digest); doc != nil && doc.Subject != nil && doc.Subject.Digest == subject {
			all = append(all, f)
		}
	}
	return all, err
}

// document is a manifest as it is stored, or nil if it is none.
func (r *Registry) document(d image.Digest) *image.Document {
	info, err := os.Stat(r.blob(d))
	if err != nil || info.Size() > image.MaxManifest {
		return nil
	}
	text, err := os.ReadFile(r.blob(d))
	if err != nil {
		return nil
	}
	doc, err := image.ParseDocument(text)
	if err != nil {
		return nil
	}
	return doc
}
