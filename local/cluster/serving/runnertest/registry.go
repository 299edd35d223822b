package runnertest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// Registry has the images of a function, by tag:
//
//	v1     runs as user 1000
//	named  has two layers, the second compressed, and a user by name
//	root   names no user
//	wrong  is not what the digest of its contents says
//	open   has a folder /open that everybody may write to
//	bomb   has much more in it than its size says
type Registry struct {
	manifests map[string][]byte
	blobs     map[image.Digest][]byte
}

// file is one file of a layer.
type file struct {
	name string
	mode int64
	data []byte
}

// NewRegistry makes the images.
func NewRegistry(t testing.TB) *Registry {
	t.Helper()
	text, err := os.ReadFile(os.Getenv(programVariable))
	require.NoError(t, err)
	program := layer(t, file{"func/f", 0o755, text})
	base := layer(t,
		file{"etc/passwd", 0o644, []byte("root:x:0:0::/:\napp:x:1234:2345::/:\n")},
		file{"etc/gone", 0o644, []byte("x")}, file{"func/f", 0o755, []byte("another")})
	cover := layer(t, file{"func/f", 0o755, text}, file{"etc/.wh.gone", 0o644, nil})
	r := &Registry{manifests: map[string][]byte{}, blobs: map[image.Digest][]byte{}}
	r.add(t, "v1", "1000", program)
	r.add(t, "named", "app", base, cover)
	r.add(t, "root", "", program)
	altered := layer(t, file{"func/f", 0o755, []byte("another")})
	r.add(t, "wrong", "1000", altered)
	r.add(t, "open", "1000", layer(t, file{"open/", 0o777, nil}, file{"func/f", 0o755, text}))
	r.add(t, "bomb", "1000", base, layer(t, file{"zeros", 0o644, make([]byte, 8<<20)}))
	for d, b := range r.blobs {
		if bytes.Equal(b, altered) {
			r.blobs[d] = bytes.Replace(b, []byte("another"), []byte("altered"), 1)
		}
	}
	return r
}

// layer is a layer of files, not compressed.
func layer(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		kind := byte(tar.TypeReg)
		if strings.HasSuffix(f.name, "/") {
			kind = tar.TypeDir
		}
		require.NoError(t, w.WriteHeader(&tar.Header{Name: f.name, Typeflag: kind, Mode: f.mode, Size: int64(len(f.data))}))
		_, err := w.Write(f.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// add adds an image of layers, of which the upper ones are compressed.
func (r *Registry) add(t testing.TB, tag, user string, layers ...[]byte) {
	t.Helper()
	put := func(contents []byte, mediaType string) map[string]any {
		d := image.DigestOf(contents)
		r.blobs[d] = contents
		return map[string]any{"digest": d, "size": len(contents), "mediaType": "application/vnd.oci.image." + mediaType}
	}
	var diffs []string
	var descriptors []any
	for i, l := range layers {
		sum := sha256.Sum256(l)
		diffs = append(diffs, "sha256:"+hex.EncodeToString(sum[:]))
		if i == 0 {
			descriptors = append(descriptors, put(l, "layer.v1.tar"))
			continue
		}
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, err := w.Write(l)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		descriptors = append(descriptors, put(packed.Bytes(), "layer.v1.tar+gzip"))
	}
	host := image.Host()
	config, err := json.Marshal(map[string]any{
		"os": host.OS, "architecture": host.Architecture,
		"config": map[string]any{"Cmd": []string{"/func/f"}, "Env": []string{"SELVEDGE_POOLTEST_FUNCTION=echo", "LISTEN_ADDRESS=[::]:8080", "A=image"}, "User": user},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	require.NoError(t, err)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": put(config, "config.v1+json"), "layers": descriptors,
	})
	require.NoError(t, err)
	r.manifests[tag], r.manifests[string(image.DigestOf(manifest))] = manifest, manifest
}

// Source finds every image here; it is a bundle.Source.
func (r *Registry) Source(context.Context, string, image.Reference) (image.Source, error) {
	return r, nil
}

// Manifest implements image.Source.
func (r *Registry) Manifest(_ context.Context, ref string) ([]byte, error) {
	m, ok := r.manifests[ref]
	if !ok {
		return nil, &fault.Error{Op: "runnertest", Kind: fault.NotFound, Name: ref, Err: errors.New("manifest unknown")}
	}
	return m, nil
}

// Blob implements image.Source.
func (r *Registry) Blob(_ context.Context, d image.Digest) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(r.blobs[d])), nil
}
