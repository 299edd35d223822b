package image_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

func TestParseReference(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("0a", 32)
	f := func(text string, want image.Reference) {
		t.Helper()
		got, err := image.ParseReference(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		again, err := image.ParseReference(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	f("a", image.Reference{Repository: "a", Tag: "latest"})
	f("a/b", image.Reference{Repository: "a/b", Tag: "latest"})
	f("localhost/b:T_1", image.Reference{Host: "localhost", Repository: "b", Tag: "T_1"})
	f("127.0.0.1:8080/p/fn@"+digest, image.Reference{Host: "127.0.0.1:8080", Repository: "p/fn", Digest: image.Digest(digest)})
	f("[::1]:5/p:x@"+digest, image.Reference{Host: "[::1]:5", Repository: "p", Tag: "x", Digest: image.Digest(digest)})
	bad := func(text string) {
		t.Helper()
		_, err := image.ParseReference(text)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
	}
	bad("")
	bad("A")
	bad("a//b")
	bad("a/../b")
	bad("a:")
	bad("a@sha256:00")
	bad("a@" + strings.ToUpper(digest))
	bad("a@md5:00")
	bad("h.x:99999999/a")
	bad(strings.Repeat("a", 256))
}

func TestParseDocument_Refuses(t *testing.T) {
	t.Parallel()
	d := `{"digest":"sha256:` + strings.Repeat("0a", 32) + `","size":1}`
	f := func(kind fault.Kind, text string) {
		t.Helper()
		_, err := image.ParseDocument([]byte(text))
		require.Equal(t, kind, fault.KindOf(err), text)
	}
	_, err := image.ParseDocument([]byte(`{"schemaVersion":2,"config":` + d + `,"layers":[` + d + `],"subject":` + d + `}`))
	require.NoError(t, err)
	f(fault.Invalid, ``)
	f(fault.Invalid, `{}`)
	f(fault.Invalid, `{"schemaVersion":1,"config":`+d+`}`)
	f(fault.Invalid, `{"schemaVersion":2}`)
	f(fault.Invalid, `{"schemaVersion":2,"config":`+d+`,"manifests":[]}`)
	f(fault.Invalid, `{"schemaVersion":2,"config":{"digest":"x"}}`)
	f(fault.Invalid, `{"schemaVersion":2,"config":`+strings.Replace(d, "1}", "-1}", 1)+`}`)
	f(fault.Invalid, `{"schemaVersion":2,"manifests":[`+strings.Repeat(d+",", 600)+d+`]}`)
	f(fault.TooLarge, strings.Repeat(" ", image.MaxManifest+1))
}

// FuzzParse reads what may come from anywhere.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:00","size":1,"platform":{"os":"linux"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:00"},"layers":[]}`))
	f.Add([]byte(`{"os":"linux","rootfs":{"diff_ids":["sha256:00"]},"config":{"Cmd":["a"]}}`))
	f.Add([]byte("localhost:5000/a/b:c@sha256:00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if doc, err := image.ParseDocument(text); err == nil {
			for _, d := range doc.References() {
				_, err := image.ParseDigest(string(d.Digest))
				require.NoError(t, err)
			}
		}
		if c, err := image.ParseConfig(text); err == nil {
			c.Args()
		}
		if r, err := image.ParseReference(string(text)); err == nil {
			again, err := image.ParseReference(r.String())
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
	})
}

// FuzzUnpack unpacks what may come from anywhere, beside a file that must stay.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, file("a", "1"), sym("b", "../.."), hard("c", "a"), file("b/.wh.a", "")).plain)
	f.Add(gzipped(f, archive(f, dir("a"), file("a/.wh..wh..opq", ""))).stored)
	f.Fuzz(func(t *testing.T, stored []byte) {
		beside(t, []layer{{stored, stored}})
	})
}

// beside unpacks layers beside a file and sees that it is as it was.
func beside(t testing.TB, layers []layer) {
	t.Helper()
	above := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(above, "victim"), []byte("whole"), 0o644))
	m := newMemory()
	m.put(t, "latest", host, layers...)
	c := open(t, filepath.Join(above, "cache"), image.Options{MaxImage: 1 << 20, MaxFiles: 1000})
	img, err := c.Acquire(t.Context(), m, "latest")
	require.NoError(t, c.Close())
	entries, readErr := os.ReadDir(above)
	require.NoError(t, readErr)
	require.Len(t, entries, 2)
	text, readErr := os.ReadFile(filepath.Join(above, "victim"))
	require.NoError(t, readErr)
	require.Equal(t, "whole", string(text))
	if err != nil {
		return
	}
	require.NoError(t, filepath.WalkDir(img.Root, func(p string, d os.DirEntry, err error) error {
		if err == nil && (d.Type()&^(os.ModeDir|os.ModeSymlink) != 0 || d.Type()&os.ModeDevice != 0) {
			require.Fail(t, "is no file", p)
		}
		return nil
	}))
}

// TestUnpack_AnyEntries unpacks random entries whose names meet often, and lead
// out where they can.
func TestUnpack_AnyEntries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "..", ".wh.a", ".wh..wh..opq", "c", ".", ".wh.b"}), 1, 5)
		name := func() string {
			prefix := rapid.SampledFrom([]string{"", "", "/", "./", "../"}).Draw(r, "prefix")
			return prefix + strings.Join(names.Draw(r, "name"), "/")
		}
		var layers []layer
		for range rapid.IntRange(1, 3).Draw(r, "layers") {
			var entries []*tar.Header
			for range rapid.IntRange(0, 12).Draw(r, "entries") {
				switch rapid.IntRange(0, 3).Draw(r, "kind") {
				case 0:
					entries = append(entries, file(name(), "x"))
				case 1:
					entries = append(entries, dir(name()))
				case 2:
					entries = append(entries, sym(name(), name()))
				case 3:
					entries = append(entries, hard(name(), name()))
				}
			}
			layers = append(layers, archive(t, entries...))
		}
		beside(t, layers)
	})
}
