package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"selvedge.dev/edgeruntime/image"
)

// Collection is what [Registry.Collect] is to keep.
type Collection struct {
	// Needed are the digests of manifests that something runs of, whatever names
	// them.
	Needed []image.Digest
	// MinAge keeps what was pushed or asked for within it: who pushes an image
	// begins with its layers. UploadAge keeps uploads that went on within it.
	MinAge, UploadAge time.Duration
}

// Collected is what a collection took away.
type Collected struct {
	Manifests, Blobs, Uploads int
	// Bytes are those of blobs and uploads.
	Bytes int64
}

// Collect takes away what no tag, nothing running and nobody pushing needs. What
// is read meanwhile is read to its end; pushes wait.
func (r *Registry) Collect(ctx context.Context, c Collection) (Collected, error) {
	r.gate.Lock()
	defer r.gate.Unlock()
	s := &sweep{r: r, young: time.Now().Add(-c.MinAge), needed: map[image.Digest]bool{}, about: map[image.Digest][]image.Digest{}}
	repositories, err := r.Repositories()
	if err != nil {
		return s.Collected, err
	}
	for _, repository := range repositories {
		if err := errors.Join(ctx.Err(), s.roots(repository)); err != nil {
			return s.Collected, err
		}
	}
	s.marks = append(s.marks, c.Needed...)
	s.mark()
	linked := map[image.Digest]bool{}
	for _, repository := range repositories {
		manifests, err := s.links(repository, manifestLinks, linked)
		s.Manifests += manifests
		if err != nil {
			return s.Collected, err
		}
		if _, err := s.links(repository, blobLinks, linked); err != nil {
			return s.Collected, err
		}
		s.empty(repository)
	}
	if err := s.blobs(linked); err != nil {
		return s.Collected, err
	}
	return s.Collected, s.uploads(time.Now().Add(-c.UploadAge))
}

// sweep is one collection.
type sweep struct {
	Collected
	r *Registry
	// young is since when what was asked for is kept.
	young time.Time
	// marks are manifests whose parts are still to be marked.
	marks  []image.Digest
	needed map[image.Digest]bool
	// about are the manifests about another one, such as signatures.
	about map[image.Digest][]image.Digest
}

// roots marks what tags of a repository name, and its young manifests, and finds
// what is about what.
func (s *sweep) roots(repository string) error {
	tags, err := s.r.names(repository, tagLinks)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		text, err := os.ReadFile(s.r.link(repository, tagLinks, tag))
		if err != nil {
			return err
		}
		s.marks = append(s.marks, image.Digest(text))
	}
	manifests, err := s.r.names(repository, manifestLinks)
	if err != nil {
		return err
	}
	for _, name := range manifests {
		d := digestOf(name)
		info, err := os.Stat(s.r.link(repository, manifestLinks, name))
		if err != nil {
			return err
		}
		if info.ModTime().After(s.young) {
			s.marks = append(s.marks, d)
		}
		if doc := s.r.document(d); doc != nil && doc.Subject != nil {
			s.about[doc.Subject.Digest] = append(s.about[doc.Subject.Digest], d)
		}
	}
	return nil
}

// mark marks what the marked manifests are made of, and what is about them.
func (s *sweep) mark() {
	for len(s.marks) > 0 {
		d := s.marks[len(s.marks)-1]
		s.marks = s.marks[:len(s.marks)-1]
		if s.needed[d] {
			continue
		}
		s.needed[d] = true
		s.marks = append(s.marks, s.about[d]...)
		doc := s.r.document(d)
		if doc == nil {
			continue
		}
		for _, part := range doc.References() {
			if doc.Index() {
				s.marks = append(s.marks, part.Digest)
			} else {
				s.needed[part.Digest] = true
			}
		}
	}
}

// links removes links of a repository to what is not needed, and adds the others
// to those that keep contents.
func (s *sweep) links(repository, kind string, linked map[image.Digest]bool) (removed int, err error) {
	names, err := s.r.names(repository, kind)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		d := digestOf(name)
		link := s.r.link(repository, kind, name)
		info, err := os.Stat(link)
		if err != nil {
			return removed, err
		}
		if s.needed[d] || info.ModTime().After(s.young) {
			linked[d] = true
			continue
		}
		if err := os.Remove(link); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// empty removes the folders of a repository that has nothing any more, and those
// above it; what has something in it stays.
func (s *sweep) empty(repository string) {
	for _, kind := range []string{tagLinks, manifestLinks, blobLinks} {
		_ = os.Remove(s.r.link(repository, kind, "")) // an error says that something is in it
	}
	for dir := repository; dir != "." && dir != ""; dir = filepath.ToSlash(filepath.Dir(filepath.FromSlash(dir))) {
		if os.Remove(filepath.Join(s.r.dir, repositoriesFolder, filepath.FromSlash(dir))) != nil {
			return
		}
	}
}

// blobs removes contents that no repository has. The names that are gone are so
// durably before: a link without contents would be worse than the reverse.
func (s *sweep) blobs(linked map[image.Digest]bool) error {
	if err := syncTree(filepath.Join(s.r.dir, repositoriesFolder)); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.r.dir, blobsFolder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if linked[digestOf(e.Name())] {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(s.r.dir, blobsFolder, e.Name())); err != nil {
			return err
		}
		s.r.free(info.Size())
		s.Blobs++
		s.Bytes += info.Size()
	}
	return nil
}

// uploads removes uploads that nobody went on with.
func (s *sweep) uploads(since time.Time) error {
	entries, err := os.ReadDir(filepath.Join(s.r.dir, uploadsFolder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.ModTime().After(since) || !s.r.take(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(s.r.dir, uploadsFolder, e.Name())); err != nil {
			return err
		}
		s.r.forget(e.Name())
		s.r.free(info.Size())
		s.Uploads++
		s.Bytes += info.Size()
	}
	return nil
}

// take takes an upload in hand that nobody has.
func (r *Registry) take(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	busy, known := r.uploads[name]
	if known && !busy {
		r.uploads[name] = true
	}
	return known && !busy
}

// syncTree makes the names in a folder and all below it durable.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncFolder(p)
	})
}
