package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociclient"
	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociref"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/stretchr/testify/require"
)

// packed is an image for an architecture with one file.
func packed(t *testing.T, arch, text string) image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	var unpacked bytes.Buffer
	w := tar.NewWriter(&unpacked)
	require.NoError(t, add(w, "selvedge", 0o755, path))
	require.NoError(t, w.Close())
	i, err := pack(arch, unpacked.Bytes())
	require.NoError(t, err)
	return i
}

// read is what a reader of the registry has, as JSON into into.
func read(t *testing.T, r ociregistry.BlobReader, err error, into any) []byte {
	t.Helper()
	require.NoError(t, err)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	if into != nil {
		require.NoError(t, json.Unmarshal(text, into))
	}
	return text
}

// What is pushed is an index of images for the architectures, whose programs run as
// nobody; the same again is the same.
func TestPush_MakesAnIndexOfImages(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(ociserver.New(ocimem.New(), nil))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	registry, err := ociclient.New(host, &ociclient.Options{Insecure: true})
	require.NoError(t, err)
	ref, err := ociref.Parse(host + "/a/selvedge:1")
	require.NoError(t, err)
	digest, err := push(t.Context(), registry, ref, []image{packed(t, "amd64", "a"), packed(t, "arm64", "b")})
	require.NoError(t, err)
	again, err := push(t.Context(), registry, ref, []image{packed(t, "amd64", "a"), packed(t, "arm64", "b")})
	require.NoError(t, err)
	require.Equal(t, digest, again)

	var index document
	r, err := registry.GetTag(t.Context(), "a/selvedge", "1")
	text := read(t, r, err, &index)
	require.Equal(t, string(digest), digestOf(text))
	require.Len(t, index.Manifests, 2)
	for i, want := range []platform{{"amd64", "linux"}, {"arm64", "linux"}} {
		require.Equal(t, want, *index.Manifests[i].Platform)
		var m document
		r, err := registry.GetManifest(t.Context(), "a/selvedge", index.Manifests[i].Digest)
		read(t, r, err, &m)
		var s settings
		r, err = registry.GetBlob(t.Context(), "a/selvedge", m.Config.Digest)
		read(t, r, err, &s)
		require.Equal(t, want, s.platform)
		require.Equal(t, user, s.Config.User)
		require.Equal(t, []string{"/selvedge"}, s.Config.Entrypoint)
		require.Len(t, m.Layers, 1)
		r, err = registry.GetBlob(t.Context(), "a/selvedge", m.Layers[0].Digest)
		z, err := gzip.NewReader(bytes.NewReader(read(t, r, err, nil)))
		require.NoError(t, err)
		unpacked, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, []string{digestOf(unpacked)}, s.RootFS.Diffs)
		h, err := tar.NewReader(bytes.NewReader(unpacked)).Next()
		require.NoError(t, err)
		require.Equal(t, "selvedge", h.Name)
		require.EqualValues(t, 0o755, h.Mode)
		require.Zero(t, h.ModTime.Unix())
	}
}

func TestRun_RefusesWhatIsNoTag(t *testing.T) {
	t.Parallel()
	f := func(to, want string) {
		t.Helper()
		_, err := run(t.Context(), ".", to, nil, false)
		require.ErrorContains(t, err, want)
	}
	f("", "-to")
	f("registry.example.com/selvedge", "want HOST/REPOSITORY:TAG")
	f("registry.example.com/selvedge@sha256:"+strings.Repeat("a", 64), "want HOST/REPOSITORY:TAG")
}
