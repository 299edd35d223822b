package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"cuelabs.dev/go/oci/ociregistry"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// backend is the registry as the protocol's library calls it, with the question
// whether the caller may before everything.
type backend struct {
	*ociregistry.Funcs
	r     *Registry
	allow func(ctx context.Context, repository string, a Action) error
}

var _ ociregistry.Interface = (*backend)(nil)

// describe is what was found as the library has it.
func describe(f found) ociregistry.Descriptor {
	return ociregistry.Descriptor{MediaType: f.mediaType, Digest: ociregistry.Digest(f.digest), Size: f.size}
}

// contents is the file of what was found.
type contents struct {
	io.Reader
	io.Closer
	descriptor ociregistry.Descriptor
}

// Descriptor is what the file is.
func (c contents) Descriptor() ociregistry.Descriptor { return c.descriptor }

// read opens what was found, unless finding it was an error.
func (b *backend) read(f found, err error) (ociregistry.BlobReader, error) {
	if err != nil {
		return nil, err
	}
	file, err := os.Open(b.r.blob(f.digest))
	if err != nil {
		return nil, err
	}
	return contents{file, file, describe(f)}, nil
}

// blob finds a blob that the caller may pull.
func (b *backend) blob(ctx context.Context, repo string, digest ociregistry.Digest) (found, error) {
	if err := b.allow(ctx, repo, Pull); err != nil {
		return found{}, err
	}
	return b.r.findBlob(repo, image.Digest(digest))
}

// manifest finds a manifest that the caller may pull.
func (b *backend) manifest(ctx context.Context, repo, ref string) (found, error) {
	if err := b.allow(ctx, repo, Pull); err != nil {
		return found{}, err
	}
	return b.r.findManifest(repo, ref)
}

// GetBlob reads a blob.
func (b *backend) GetBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	return b.read(b.blob(ctx, repo, digest))
}

// GetBlobRange reads a part of a blob.
func (b *backend) GetBlobRange(ctx context.Context, repo string, digest ociregistry.Digest, from, to int64) (ociregistry.BlobReader, error) {
	f, err := b.blob(ctx, repo, digest)
	if err != nil {
		return nil, err
	}
	if to < 0 || to > f.size {
		to = f.size
	}
	if from < 0 || from > to {
		return nil, refuse(fault.Conflict, rangeInvalid, fmt.Errorf("the blob has %d bytes", f.size))
	}
	file, err := os.Open(b.r.blob(f.digest))
	if err != nil {
		return nil, err
	}
	return contents{io.NewSectionReader(file, from, to-from), file, describe(f)}, nil
}

// GetManifest reads a manifest by its digest.
func (b *backend) GetManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	return b.read(b.manifest(ctx, repo, string(digest)))
}

// GetTag reads the manifest that a tag names.
func (b *backend) GetTag(ctx context.Context, repo, tag string) (ociregistry.BlobReader, error) {
	return b.read(b.manifest(ctx, repo, tag))
}

// ResolveBlob describes a blob.
func (b *backend) ResolveBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	f, err := b.blob(ctx, repo, digest)
	return describe(f), err
}

// ResolveManifest describes a manifest.
func (b *backend) ResolveManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	f, err := b.manifest(ctx, repo, string(digest))
	return describe(f), err
}

// ResolveTag describes the manifest that a tag names.
func (b *backend) ResolveTag(ctx context.Context, repo, tag string) (ociregistry.Descriptor, error) {
	f, err := b.manifest(ctx, repo, tag)
	return describe(f), err
}

// PushBlob stores a blob in one request.
func (b *backend) PushBlob(ctx context.Context, repo string, desc ociregistry.Descriptor, r io.Reader) (ociregistry.Descriptor, error) {
	if err := b.allow(ctx, repo, Push); err != nil {
		return desc, err
	}
	u, err := b.r.begin(repo)
	if err != nil {
		return desc, err
	}
	if _, err := io.Copy(u, r); err != nil {
		return desc, errors.Join(fmt.Errorf("receive the blob: %w", err), u.Cancel())
	}
	f, err := u.commit(image.Digest(desc.Digest))
	if err != nil {
		return desc, errors.Join(err, u.Cancel())
	}
	return describe(f), nil
}

// writer is an upload as the library has it.
type writer struct{ *upload }

// Size is where the upload stands.
func (w writer) Size() int64 { return w.size }

// ChunkSize is the least size of a part: there is none.
func (w writer) ChunkSize() int { return 0 }

// ID is what the client goes on by.
func (w writer) ID() string { return w.id }

// Commit completes the upload.
func (w writer) Commit(digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	f, err := w.commit(image.Digest(digest))
	return describe(f), err
}

// PushBlobChunked begins an upload.
func (b *backend) PushBlobChunked(ctx context.Context, repo string, _ int) (ociregistry.BlobWriter, error) {
	if err := b.allow(ctx, repo, Push); err != nil {
		return nil, err
	}
	u, err := b.r.begin(repo)
	if err != nil {
		return nil, err
	}
	return writer{u}, nil
}

// PushBlobChunkedResume goes on with an upload. A client that names no range
// goes on where the upload stands, as Docker's does.
func (b *backend) PushBlobChunkedResume(ctx context.Context, repo, id string, offset int64, _ int) (ociregistry.BlobWriter, error) {
	if err := b.allow(ctx, repo, Push); err != nil {
		return nil, err
	}
	if offset == 0 && !hasRange(ctx) {
		offset = -1
	}
	u, err := b.r.resume(repo, id, offset)
	if err != nil {
		return nil, err
	}
	return writer{u}, nil
}

// MountBlob lets a repository have the blob of another.
func (b *backend) MountBlob(ctx context.Context, from, to string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	if err := b.allow(ctx, from, Pull); err != nil {
		return ociregistry.Descriptor{}, err
	}
	if err := b.allow(ctx, to, Push); err != nil {
		return ociregistry.Descriptor{}, err
	}
	f, err := b.r.mount(from, to, image.Digest(digest))
	return describe(f), err
}

// PushManifest stores a manifest.
func (b *backend) PushManifest(ctx context.Context, repo, tag string, text []byte, mediaType string) (ociregistry.Descriptor, error) {
	if err := b.allow(ctx, repo, Push); err != nil {
		return ociregistry.Descriptor{}, err
	}
	f, err := b.r.pushManifest(repo, tag, text, mediaType)
	return describe(f), err
}

// DeleteBlob takes a blob from a repository.
func (b *backend) DeleteBlob(ctx context.Context, repo string, digest ociregistry.Digest) error {
	if err := b.allow(ctx, repo, Push); err != nil {
		return err
	}
	return b.r.deleteBlob(repo, image.Digest(digest))
}

// DeleteManifest takes a manifest from a repository, and its tags.
func (b *backend) DeleteManifest(ctx context.Context, repo string, digest ociregistry.Digest) error {
	if err := b.allow(ctx, repo, Push); err != nil {
		return err
	}
	return b.r.deleteManifest(repo, image.Digest(digest))
}

// DeleteTag removes a tag.
func (b *backend) DeleteTag(ctx context.Context, repo, tag string) error {
	if err := b.allow(ctx, repo, Push); err != nil {
		return err
	}
	return b.r.Untag(repo, tag)
}

// after are the names behind one of them.
func after(names []string, start string, err error) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range names {
			if name > start && !yield(name, nil) {
				return
			}
		}
	}
}

// Repositories lists what the caller may pull from.
func (b *backend) Repositories(ctx context.Context, start string) iter.Seq2[string, error] {
	all, err := b.r.Repositories()
	var names []string
	for _, repo := range all {
		if b.allow(ctx, repo, Pull) == nil {
			names = append(names, repo)
		}
	}
	return after(names, start, err)
}

// Tags lists the tags of a repository.
func (b *backend) Tags(ctx context.Context, repo, start string) iter.Seq2[string, error] {
	err := b.allow(ctx, repo, Pull)
	var names []string
	if err == nil {
		names, err = b.r.Tags(repo)
	}
	return after(names, start, err)
}

// Referrers lists what is about a manifest. The kind of artifact is not looked
// at: clients choose themselves from what they get.
func (b *backend) Referrers(ctx context.Context, repo string, digest ociregistry.Digest, _ string) iter.Seq2[ociregistry.Descriptor, error] {
	err := b.allow(ctx, repo, Pull)
	var all []found
	if err == nil {
		all, err = b.r.referrers(repo, image.Digest(digest))
	}
	return func(yield func(ociregistry.Descriptor, error) bool) {
		if err != nil {
			yield(ociregistry.Descriptor{}, err)
			return
		}
		for _, f := range all {
			if !yield(describe(f), nil) {
				return
			}
		}
	}
}
