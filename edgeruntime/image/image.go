// Package image makes folders of OCI images: it reads indexes, manifests and
// configurations, chooses what is for this machine, checks every digest, and
// unpacks layers into a [Cache], once for each image. Docker's formats of the
// same things are read too.
//
// Whatever comes from a [Source] is taken for hostile: it is bounded, and
// nothing in a layer can make, change or reach a file outside the folder that it
// is unpacked to. Files have no more rights than they need: devices, set-user-id
// bits and extended attributes are left out.
//
// A Cache may be used concurrently, by one process at a time.
package image

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"selvedge.dev/sdk/fault"
)

// Source is where images come from, such as a registry or a folder.
type Source interface {
	// Manifest is the bytes of a manifest or an index by a tag or a digest. One
	// that is not there is a NotFound fault.
	Manifest(ctx context.Context, ref string) ([]byte, error)
	// Blob is the contents of that digest, which the caller closes. One that is
	// not there is a NotFound fault. The bytes need not be right: they are checked
	// by who reads them.
	Blob(ctx context.Context, d Digest) (io.ReadCloser, error)
}

// Digest is the name of contents: "sha256:" or "sha512:" and the hash of them
// in hexadecimal.
type Digest string

// ParseDigest is the digest of that text, or an Invalid fault.
func ParseDigest(s string) (Digest, error) {
	d := Digest(s)
	size := 0
	switch d.Algorithm() {
	case "sha256":
		size = sha256.Size
	case "sha512":
		size = sha512.Size
	}
	encoded := d.Encoded()
	if raw, err := hex.DecodeString(encoded); size == 0 || err != nil || len(raw) != size || strings.ToLower(encoded) != encoded {
		return "", invalid("digest", fmt.Errorf("%.80q: want sha256: or sha512: and a hash in hexadecimal", s))
	}
	return d, nil
}

// DigestOf is the digest of contents.
func DigestOf(contents []byte) Digest {
	sum := sha256.Sum256(contents)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Algorithm is the part before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Encoded is the part behind the colon.
func (d Digest) Encoded() string {
	_, encoded, _ := strings.Cut(string(d), ":")
	return encoded
}

// Hash is what makes the digest of contents.
func (d Digest) Hash() hash.Hash {
	if d.Algorithm() == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// Matches reports whether the sum is the one of the digest.
func (d Digest) Matches(sum hash.Hash) bool { return hex.EncodeToString(sum.Sum(nil)) == d.Encoded() }

// Descriptor says what a blob is, how large, and for what machine.
type Descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    Digest    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *Platform `json:"platform"`
}

// The bounds of what describes an image. Manifests of 4 MiB are what registries
// take at most.
const (
	// MaxManifest is the bound of a manifest or index in bytes.
	MaxManifest = 4 << 20
	// maxConfig is the bound of a configuration in bytes.
	maxConfig = 8 << 20
	// maxEntries is the bound of manifests in an index, and of layers in a
	// manifest: overlay file systems have had at most 500 layers.
	maxEntries = 512
	// maxDepth is the bound of indexes within indexes.
	maxDepth = 4
)

// Document is a manifest or an index.
type Document struct {
	// MediaType is what it says it is, "" if it does not.
	MediaType string `json:"mediaType"`
	// Manifests are what an index has, one for each platform.
	Manifests []Descriptor `json:"manifests"`
	// Config and Layers are what a manifest has.
	Config *Descriptor  `json:"config"`
	Layers []Descriptor `json:"layers"`
	// Subject is what the manifest is about, such as a signature's image.
	Subject *Descriptor `json:"subject"`
}

// Index reports whether it is an index.
func (d *Document) Index() bool { return d.Config == nil }

// References are the descriptors of what the document is made of, without its
// subject.
func (d *Document) References() []Descriptor {
	if d.Index() {
		return d.Manifests
	}
	return append([]Descriptor{*d.Config}, d.Layers...)
}

// ParseDocument reads a manifest or an index. Anything else is an Invalid fault.
func ParseDocument(text []byte) (*Document, error) {
	if len(text) > MaxManifest {
		return nil, &fault.Error{Op: "image.ParseDocument", Kind: fault.TooLarge, Reason: "MANIFEST_TOO_LARGE", Err: fmt.Errorf("%d bytes, more than %d", len(text), MaxManifest)}
	}
	var d struct {
		Document
		SchemaVersion int             `json:"schemaVersion"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, invalid("manifest", err)
	}
	switch {
	case d.SchemaVersion != 2 || d.FSLayers != nil:
		return nil, invalid("schemaVersion", fmt.Errorf("%d: want 2", d.SchemaVersion))
	case d.Config != nil && d.Manifests != nil:
		return nil, invalid("manifests", errors.New("is a manifest and an index"))
	case d.Config == nil && d.Manifests == nil:
		return nil, invalid("manifests", errors.New("is neither a manifest nor an index"))
	case len(d.Layers) > maxEntries || len(d.Manifests) > maxEntries:
		return nil, invalid("layers", fmt.Errorf("more than %d", maxEntries))
	}
	all := d.References()
	if d.Subject != nil {
		all = append(all[:len(all):len(all)], *d.Subject)
	}
	for _, r := range all {
		if _, err := ParseDigest(string(r.Digest)); err != nil {
			return nil, err
		}
		if r.Size < 0 {
			return nil, invalid("size", fmt.Errorf("%d of %s", r.Size, r.Digest))
		}
	}
	return &d.Document, nil
}

// Config is how the image's program runs.
type Config struct {
	Platform
	// Config is the part about running it.
	Config struct {
		// User is a name or number, and may have a group behind a colon.
		User       string   `json:"User"`
		Env        []string `json:"Env"`
		Entrypoint []string `json:"Entrypoint"`
		Cmd        []string `json:"Cmd"`
		WorkingDir string   `json:"WorkingDir"`
	} `json:"config"`
	// RootFS says what the layers are once unpacked.
	RootFS struct {
		// DiffIDs are the digests of the layers without their compression.
		DiffIDs []Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// Args are the program and its arguments: those given, or the image's own, after
// the image's entry point.
func (c *Config) Args(given ...string) []string {
	if len(given) == 0 {
		given = c.Config.Cmd
	}
	return append(c.Config.Entrypoint[:len(c.Config.Entrypoint):len(c.Config.Entrypoint)], given...)
}

// ParseConfig reads a configuration. Anything else is an Invalid fault.
func ParseConfig(text []byte) (*Config, error) {
	var c Config
	if len(text) > maxConfig {
		return nil, &fault.Error{Op: "image.ParseConfig", Kind: fault.TooLarge, Reason: "CONFIG_TOO_LARGE", Err: fmt.Errorf("%d bytes, more than %d", len(text), maxConfig)}
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, invalid("config", err)
	}
	if len(c.RootFS.DiffIDs) > maxEntries {
		return nil, invalid("rootfs", fmt.Errorf("more than %d layers", maxEntries))
	}
	for _, d := range c.RootFS.DiffIDs {
		if _, err := ParseDigest(string(d)); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// Manifest finds the manifest for a platform by a tag or digest, through indexes
// as far as need be, with its own digest. An image that has none for it is an
// Unsupported fault with the Reason NO_PLATFORM.
func Manifest(ctx context.Context, s Source, ref string, p Platform) (*Document, Digest, error) {
	for range maxDepth {
		text, err := s.Manifest(ctx, ref)
		if err != nil {
			return nil, "", fmt.Errorf("get manifest %s: %w", ref, err)
		}
		digest := DigestOf(text)
		if want, err := ParseDigest(ref); err == nil {
			sum := want.Hash()
			_, _ = sum.Write(text) // never fails
			if !want.Matches(sum) {
				return nil, "", mismatch(want)
			}
			digest = want
		}
		doc, err := ParseDocument(text)
		if err != nil || !doc.Index() {
			return doc, digest, err
		}
		best, ok := p.choose(doc.Manifests)
		if !ok {
			return nil, "", &fault.Error{Op: "image.Manifest", Kind: fault.Unsupported, Name: ref, Reason: "NO_PLATFORM", Err: fmt.Errorf("the image is not for %s, but for %s", p, platforms(doc.Manifests))}
		}
		ref = string(best.Digest)
	}
	return nil, "", invalid("manifests", fmt.Errorf("indexes in indexes, more than %d deep", maxDepth))
}

// readBlob is the contents of a small blob, checked.
func readBlob(ctx context.Context, s Source, d Descriptor, bound int64) ([]byte, error) {
	if d.Size > bound {
		return nil, &fault.Error{Op: "image.Blob", Kind: fault.TooLarge, Name: string(d.Digest), Reason: "BLOB_TOO_LARGE", Err: fmt.Errorf("%d bytes, more than %d", d.Size, bound)}
	}
	r, err := s.Blob(ctx, d.Digest)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", d.Digest, err)
	}
	v := verified(r, d)
	text, err := io.ReadAll(v)
	return text, errors.Join(err, v.finish(), r.Close())
}

// verifier reads a blob and knows whether it is what its descriptor says. What it
// reads may be used only after finish.
type verifier struct {
	from io.Reader
	want Descriptor
	sum  hash.Hash
	read int64
}

// verified reads r as the blob of a descriptor, no byte more than its size.
func verified(r io.Reader, d Descriptor) *verifier {
	return &verifier{from: io.LimitReader(r, d.Size), want: d, sum: d.Digest.Hash()}
}

// Read reads and hashes.
func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.from.Read(p)
	v.read += int64(n)
	_, _ = v.sum.Write(p[:n]) // never fails
	return n, err
}

// finish reads the rest and says whether all of it was right.
func (v *verifier) finish() error {
	if _, err := io.Copy(io.Discard, v); err != nil {
		return fmt.Errorf("read %s: %w", v.want.Digest, err)
	}
	if v.read != v.want.Size || !v.want.Digest.Matches(v.sum) {
		return mismatch(v.want.Digest)
	}
	return nil
}

// mismatch is the fault of contents that are not those of their digest.
func mismatch(d Digest) error {
	return &fault.Error{Op: "image.Verify", Kind: fault.Invalid, Name: string(d), Reason: "DIGEST_MISMATCH", Err: errors.New("the contents are not those of the digest")}
}

// invalid is the fault of a part of an image.
func invalid(field string, err error) error {
	return &fault.Error{Op: "image.Parse", Kind: fault.Invalid, Reason: "INVALID_IMAGE", Field: field, Err: err}
}
