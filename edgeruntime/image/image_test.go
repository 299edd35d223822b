package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

// memory is a source in memory.
type memory struct {
	blobs     map[image.Digest][]byte
	manifests map[string][]byte
	// reads counts the blobs that were read.
	reads atomic.Int64
	// gate, if there is one, is waited for before a blob is read.
	gate chan struct{}
}

// newMemory is an empty source.
func newMemory() *memory {
	return &memory{blobs: map[image.Digest][]byte{}, manifests: map[string][]byte{}}
}

// Manifest returns what put or index stored.
func (m *memory) Manifest(_ context.Context, ref string) ([]byte, error) {
	if text, ok := m.manifests[ref]; ok {
		return text, nil
	}
	return nil, &fault.Error{Op: "memory.Manifest", Kind: fault.NotFound, Name: ref}
}

// Blob returns what blob stored, when the gate is open.
func (m *memory) Blob(ctx context.Context, d image.Digest) (io.ReadCloser, error) {
	m.reads.Add(1)
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if text, ok := m.blobs[d]; ok {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return nil, &fault.Error{Op: "memory.Blob", Kind: fault.NotFound, Name: string(d)}
}

// blob stores contents and describes them.
func (m *memory) blob(contents []byte) image.Descriptor {
	d := image.DigestOf(contents)
	m.blobs[d] = contents
	return image.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(contents))}
}

// layer is an archive, and how it is stored.
type layer struct {
	plain, stored []byte
}

// put stores an image of layers under a tag and its digest, which it returns.
func (m *memory) put(t testing.TB, tag string, p image.Platform, layers ...layer) image.Digest {
	t.Helper()
	var diffs []image.Digest
	doc := map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
	list := []image.Descriptor{}
	for _, l := range layers {
		list = append(list, m.blob(l.stored))
		diffs = append(diffs, image.DigestOf(l.plain))
	}
	config, err := json.Marshal(map[string]any{
		"os": p.OS, "architecture": p.Architecture, "variant": p.Variant, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
		"config": map[string]any{"User": "web", "Env": []string{"A=b"}, "Entrypoint": []string{"/run"}, "Cmd": []string{"x"}, "WorkingDir": "/w"},
	})
	require.NoError(t, err)
	doc["config"], doc["layers"] = m.blob(config), list
	return m.document(t, tag, doc)
}

// document stores a manifest or an index under a tag and its digest.
func (m *memory) document(t testing.TB, tag string, doc any) image.Digest {
	t.Helper()
	text, err := json.Marshal(doc)
	require.NoError(t, err)
	d := image.DigestOf(text)
	m.manifests[tag], m.manifests[string(d)] = text, text
	return d
}

// host is what tests run images for.
var host = image.Platform{OS: "linux", Architecture: "amd64"}

// open is a cache in a folder of the test.
func open(t testing.TB, dir string, o image.Options) *image.Cache {
	t.Helper()
	o.Platform = host
	c, err := image.Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// file, dir, sym, hard and node are entries of archives.
func file(name, contents string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(contents)), PAXRecords: map[string]string{"T.contents": contents}}
}

// dir is a folder.
func dir(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}

// sym is a symbolic link.
func sym(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

// hard is a hard link.
func hard(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

// of is an entry with another mode.
func of(mode int64, h *tar.Header) *tar.Header {
	h.Mode = mode
	return h
}

// archive is the archive of entries.
func archive(t testing.TB, entries ...*tar.Header) layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		c := *h
		contents := c.PAXRecords["T.contents"]
		c.PAXRecords = nil
		c.Uid, c.Gid = os.Getuid(), os.Getgid()
		require.NoError(t, w.WriteHeader(&c))
		_, err := io.WriteString(w, contents)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return layer{buf.Bytes(), buf.Bytes()}
}

// gzipped stores a layer with gzip.
func gzipped(t testing.TB, l layer) layer {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(l.plain)
	require.NoError(t, errors.Join(err, w.Close()))
	return layer{l.plain, buf.Bytes()}
}

// zstded stores a layer with zstd.
func zstded(t testing.TB, l layer) layer {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return layer{l.plain, w.EncodeAll(l.plain, nil)}
}

// tree is what is in a folder, one line for each: the path, the mode if it is
// not the usual one, the contents or the target.
func tree(t testing.TB, root string) []string {
	t.Helper()
	var lines []string
	require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := ""
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			lines = append(lines, rel+" -> "+target)
			return err
		case info.IsDir():
			if info.Mode() != fs.ModeDir|0o755 {
				mode = " " + info.Mode().String()
			}
			lines = append(lines, rel+"/"+mode)
		default:
			text, err := os.ReadFile(p)
			if info.Mode() != 0o644 {
				mode = " " + info.Mode().String()
			}
			lines = append(lines, rel+"="+string(text)+mode)
			return err
		}
		return nil
	}))
	slices.Sort(lines)
	return lines
}

// unpack is the tree that layers make, or the error.
func unpack(t testing.TB, o image.Options, layers ...layer) ([]string, error) {
	t.Helper()
	m := newMemory()
	m.put(t, "latest", host, layers...)
	img, err := open(t, t.TempDir(), o).Acquire(t.Context(), m, "latest")
	if err != nil {
		return nil, err
	}
	defer img.Release()
	return tree(t, img.Root), nil
}

func TestAcquire_UnpacksLayers(t *testing.T) {
	t.Parallel()
	f := func(want string, layers ...[]*tar.Header) {
		t.Helper()
		var stored []layer
		for i, l := range layers {
			a := archive(t, l...)
			stored = append(stored, []layer{a, gzipped(t, a), zstded(t, a)}[i%3])
		}
		got, err := unpack(t, image.Options{}, stored...)
		require.NoError(t, err)
		require.Equal(t, want, strings.Join(got, " "))
	}
	type l = []*tar.Header
	f("")
	f("a/ a/b=1 c=2", l{dir("."), dir("a/"), file("./a/b", "1"), file("/c", "2")})
	f("a/ a/b/ a/b/c=1", l{file("a/b/c", "1")})
	f("a=3 b=2", l{file("a", "1"), file("b", "2")}, l{file("a", "3")})
	f("a=2", l{dir("a"), file("a/b", "1")}, l{file("a", "2")})
	f("a/ a/b=2", l{file("a", "1")}, l{file("a/b", "2")})
	f("a/ a/b=1 a/c=2", l{file("a/b", "1")}, l{dir("a"), file("a/c", "2")})
	// Modes: rights and the sticky bit stay, the rest goes.
	f("bin/ bin/su=x -rwxr-xr-x tmp/ dtrwxrwxrwx", l{of(0o4755, file("bin/su", "x")), of(0o1777, dir("tmp"))})
	f("d/ drwx------", l{dir("d")}, l{of(0o2700, dir("d"))})
	// Whiteouts, in the order that they may have.
	f("b=2", l{file("a", "1"), file("b", "2")}, l{file(".wh.a", "")})
	f("a=2", l{file("a", "1")}, l{file(".wh.a", ""), file("a", "2")})
	f("a=2", l{file("a", "1")}, l{file("a", "2"), file(".wh.a", "")})
	f("a/ a/c=3", l{file("a/b", "1"), file("a/d/e", "2")}, l{file("a/.wh..wh..opq", ""), file("a/c", "3")})
	f("a/ a/c=3 a/d/ a/d/n=4", l{file("a/b", "1"), file("a/d/e", "2")}, l{file("a/c", "3"), file("a/d/n", "4"), file("a/.wh..wh..opq", "")})
	f("a/ a/d/ a/d/n=4", l{file("a/d/e", "2")}, l{file("a/d/n", "4"), file(".wh.a", "")})
	f("", l{file("a/b", "1")}, l{file(".wh.a", "")}, l{file(".wh.none", "")})
	// Links.
	f("a=1 b=1 c -> a d -> /a", l{file("a", "1"), hard("b", "a"), sym("c", "a"), sym("d", "/a")})
	f("a=1 b=2", l{file("a", "1"), hard("b", "a")}, l{file("b", "2")})
	f("run/ run/x=1 var/ var/run -> /run", l{dir("run"), sym("var/run", "/run"), file("var/run/x", "1")})
	f("run/ run/x=1 var/ var/run -> ../run", l{sym("var/run", "../run")}, l{file("var/run/x", "1")})
	f("etc/ etc/x=1 l -> /../../etc", l{sym("l", "/../../etc"), file("l/x", "1")})
	f("a=new l -> a", l{file("a", "old"), sym("l", "a")}, l{file("a", "new")})
	f("a=old l=new", l{file("a", "old"), sym("l", "a")}, l{file("l", "new")})
	// What is no file is left out.
	f("a=1", l{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}, {Typeflag: tar.TypeBlock, Name: "disk"}, {Typeflag: tar.TypeFifo, Name: "pipe"}, file("a", "1")})
}

// TestAcquire_LetsNothingOut has archives that try to write, change or link
// what is beside the folder that they are unpacked to.
func TestAcquire_LetsNothingOut(t *testing.T) {
	t.Parallel()
	f := func(reason string, entries ...*tar.Header) {
		t.Helper()
		outside := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("whole"), 0o644))
		for _, h := range entries {
			h.Name = strings.ReplaceAll(h.Name, "OUT", outside)
			h.Linkname = strings.ReplaceAll(h.Linkname, "OUT", outside)
		}
		_, err := unpack(t, image.Options{}, archive(t, entries...))
		if reason == "" {
			require.NoError(t, err)
		} else {
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
			require.Equal(t, reason, fault.ReasonOf(err))
		}
		require.Equal(t, []string{"victim=whole"}, tree(t, outside))
	}
	up := strings.Repeat("../", 20)
	f("INVALID_IMAGE", file("../victim", "x"))
	f("INVALID_IMAGE", file("a/../../victim", "x"))
	f("INVALID_IMAGE", file(up+"OUT/victim", "x"))
	f("", file("OUT/victim", "x"))
	f("INVALID_IMAGE", sym("l", up+"OUT"), file("l/victim", "x"))
	f("", sym("l", "OUT"), file("l/victim", "x"))
	f("", sym("l", "OUT/victim"), file("l", "x"))
	f("", sym("l", "OUT"), file("l/.wh.victim", ""))
	f("", sym("l", "OUT"), file("l/.wh..wh..opq", ""))
	f("INVALID_IMAGE", file(".wh...", ""))
	f("INVALID_IMAGE", file("a/.wh...", ""))
	f("INVALID_IMAGE", file(".wh..", ""))
	f("INVALID_IMAGE", file(".wh.", ""))
	f("INVALID_IMAGE", hard("l", up+"OUT/victim"), file("l", "x"))
	f("INVALID_IMAGE", hard("l", "OUT/victim"))
	f("INVALID_IMAGE", sym("s", "OUT"), hard("l", "s/victim"))
	f("", sym("s", "OUT/victim"), hard("l", "s"), file("l", "x"))
	f("INVALID_IMAGE", dir("d"), hard("l", "d"))
	f("INVALID_IMAGE", file("a", "1"), hard("a", "a"))
	f("INVALID_IMAGE", sym("l", ""))
	f("INVALID_IMAGE", sym("a", "b"), sym("b", "a"), file("a/x", "1"))
	f("INVALID_IMAGE", sym("a", "a/a/a/a/a/a/a/a/a"), file("a/x", "1"))
	f("", sym("a", "b"), dir("b"), sym("b", "OUT"), of(0o777, dir("b")), file("a/victim", "x"))
	f("INVALID_IMAGE", file(strings.Repeat("a/", 1000)+"x", "1"))
	f("", sym("tmp", "/proc/self/root/OUT"), file("tmp/victim", "x"))
}

func TestAcquire_IsBounded(t *testing.T) {
	t.Parallel()
	f := func(kind fault.Kind, o image.Options, l layer) {
		t.Helper()
		_, err := unpack(t, o, l)
		require.Equal(t, kind, fault.KindOf(err), "%v", err)
	}
	big := file("a", strings.Repeat("x", 1000))
	f(fault.Internal, image.Options{MaxImage: 1000}, archive(t, big)) // no error
	f(fault.TooLarge, image.Options{MaxImage: 999}, archive(t, big))
	f(fault.TooLarge, image.Options{MaxImage: 1500}, archive(t, big, file("b", strings.Repeat("x", 1000))))
	f(fault.TooLarge, image.Options{MaxFiles: 2}, archive(t, file("a/b/c", "1")))
	// A bomb behind the end of the archive.
	bomb := archive(t, big)
	bomb.plain = append(bomb.plain, make([]byte, 10<<20)...)
	f(fault.TooLarge, image.Options{MaxImage: 1 << 20, MaxFiles: 10}, gzipped(t, bomb))
	f(fault.TooLarge, image.Options{MaxImage: 1 << 20, MaxFiles: 10}, zstded(t, bomb))
	f(fault.Exhausted, image.Options{MaxBytes: 999}, archive(t, big))
}

func TestAcquire_RefusesWhatIsNotItsDigest(t *testing.T) {
	t.Parallel()
	good := gzipped(t, archive(t, file("a", "1")))
	f := func(reason string, change func(m *memory, d image.Digest)) {
		t.Helper()
		m := newMemory()
		d := m.put(t, "latest", host, good)
		change(m, d)
		_, err := open(t, t.TempDir(), image.Options{}).Acquire(t.Context(), m, string(d))
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
	}
	layer := image.DigestOf(good.stored)
	f("DIGEST_MISMATCH", func(m *memory, d image.Digest) { m.manifests[string(d)] = append(m.manifests[string(d)], ' ') })
	f("DIGEST_MISMATCH", func(m *memory, d image.Digest) {
		for name := range m.blobs { // the configuration too
			m.blobs[name] = append(m.blobs[name][:len(m.blobs[name]):len(m.blobs[name])], 0)[1:]
		}
	})
	f("DIGEST_MISMATCH", func(m *memory, _ image.Digest) { m.blobs[layer] = gzipped(t, archive(t, file("a", "2"))).stored })
	f("INVALID_IMAGE", func(m *memory, _ image.Digest) { m.blobs[layer] = good.stored[:len(good.stored)-20] })
	f("NOT_FOUND", func(m *memory, _ image.Digest) { delete(m.blobs, layer) })
	f("NOT_FOUND", func(m *memory, d image.Digest) { delete(m.manifests, string(d)) })

	// A layer that is what its digest says, and not what the configuration says.
	m := newMemory()
	m.put(t, "latest", host, layerOf(good.plain, gzipped(t, archive(t, file("a", "2"))).stored))
	_, err := open(t, t.TempDir(), image.Options{}).Acquire(t.Context(), m, "latest")
	require.Equal(t, "DIGEST_MISMATCH", fault.ReasonOf(err), "%v", err)
}

// layerOf is a layer whose two forms are not of the same archive.
func layerOf(plain, stored []byte) layer { return layer{plain, stored} }

func TestAcquire_ChoosesThePlatform(t *testing.T) {
	t.Parallel()
	m := newMemory()
	arm := image.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	var list []image.Descriptor
	for _, p := range []image.Platform{arm, host} {
		p := p
		d := m.put(t, "x", p, archive(t, file("arch", p.Architecture)))
		list = append(list, image.Descriptor{Digest: d, Platform: &p})
	}
	index := m.document(t, "index", map[string]any{"schemaVersion": 2, "manifests": list})
	nested := m.document(t, "nested", map[string]any{"schemaVersion": 2, "manifests": []image.Descriptor{{Digest: index}}})
	c := open(t, t.TempDir(), image.Options{})
	for _, ref := range []string{"index", string(index), "nested", string(nested)} {
		img, err := c.Acquire(t.Context(), m, ref)
		require.NoError(t, err)
		require.Equal(t, list[1].Digest, img.Digest)
		require.Equal(t, []string{"arch=amd64"}, tree(t, img.Root))
		img.Release()
	}
	m.document(t, "arm", map[string]any{"schemaVersion": 2, "manifests": list[:1]})
	_, err := c.Acquire(t.Context(), m, "arm")
	require.Equal(t, fault.Unsupported, fault.KindOf(err))
	require.ErrorContains(t, err, "not for linux/amd64, but for linux/arm64/v8")
	_, err = c.Acquire(t.Context(), m, string(list[0].Digest))
	require.Equal(t, fault.Unsupported, fault.KindOf(err))
	deep := index
	for range 5 {
		deep = m.document(t, "deep", map[string]any{"schemaVersion": 2, "manifests": []image.Descriptor{{Digest: deep}}})
	}
	_, err = c.Acquire(t.Context(), m, "deep")
	require.Equal(t, "INVALID_IMAGE", fault.ReasonOf(err))
}

func TestImage_SaysHowItRuns(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.put(t, "latest", host, archive(t, file("etc/passwd", "root:x:0:0::/:\nweb:x:1001:1002::/:\n"), file("etc/group", "www:x:33:\n")))
	img, err := open(t, t.TempDir(), image.Options{}).Acquire(t.Context(), m, "latest")
	require.NoError(t, err)
	require.Equal(t, []string{"/run", "x"}, img.Config.Args())
	require.Equal(t, []string{"/run", "y", "z"}, img.Config.Args("y", "z"))
	f := func(user, want string) {
		t.Helper()
		img.Config.Config.User = user
		uid, gid, err := img.Credential()
		if want == "" {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprintf("%d:%d", uid, gid))
	}
	f("web", "1001:1002")
	f("web:www", "1001:33")
	f("", "0:0")
	f("5", "5:0")
	f("5:6", "5:6")
	f("none", "")
	f("5:none", "")
	f("4294967295", "")
	f("-1", "")
}
