package image_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/edgeruntime/image"
	"selvedge.dev/sdk/fault"
)

func TestCache_UnpacksOnceForAll(t *testing.T) {
	t.Parallel()
	m := newMemory()
	d := m.put(t, "latest", host, archive(t, file("a", "1")))
	m.gate = make(chan struct{})
	c := open(t, t.TempDir(), image.Options{})
	impatient, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		img, err := c.Acquire(impatient, m, string(d))
		if err == nil { // it was there before this one gave up
			img.Release()
			return
		}
		require.ErrorIs(t, err, context.Canceled)
	})
	for range 20 {
		wg.Go(func() {
			img, err := c.Acquire(t.Context(), m, string(d))
			require.NoError(t, err)
			require.Equal(t, []string{"a=1"}, tree(t, img.Root))
			img.Release()
			img.Release()
		})
	}
	cancel() // maybe the one who unpacks
	close(m.gate)
	wg.Wait()
	require.LessOrEqual(t, m.reads.Load(), int64(2+2), "two blobs, and those of who gave up")
	_, images := c.Size()
	require.Equal(t, 1, images)

	// What is there is had without its source.
	img, err := c.Acquire(t.Context(), newMemory(), string(d))
	require.NoError(t, err)
	img.Release()
}

func TestCache_KeepsWhatIsInUseAndWhatWasUsedLast(t *testing.T) {
	t.Parallel()
	m := newMemory()
	root := t.TempDir()
	put := func(name string) image.Digest {
		return m.put(t, name, host, archive(t, file(name, strings.Repeat("x", 1000))))
	}
	a, b, d := put("a"), put("b"), put("d")
	c := open(t, root, image.Options{MaxBytes: 2500})
	get := func(d image.Digest) *image.Image {
		t.Helper()
		img, err := c.Acquire(t.Context(), m, string(d))
		require.NoError(t, err)
		return img
	}
	has := func(want bool, all ...image.Digest) {
		t.Helper()
		for _, d := range all {
			_, err := os.Stat(filepath.Join(root, "images", strings.ReplaceAll(string(d), ":", "-")))
			require.Equal(t, want, err == nil, d)
		}
	}
	inUse := get(a)
	get(b).Release()
	second := get(d)
	has(true, a, d)
	has(false, b)
	_, err := c.Acquire(t.Context(), m, string(b))
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
	require.ErrorContains(t, err, "bound of 2500")
	has(true, a, d)
	inUse.Release()
	second.Release()
	get(b).Release()
	has(false, a)
	has(true, b, d)
	get(d).Release() // now b is the one whose use is longest ago

	// A cache that is opened again knows what there is, and its own bound.
	c = open(t, root, image.Options{MaxBytes: 1500})
	has(false, b)
	has(true, d)
	size, images := c.Size()
	require.Equal(t, []int64{1000, 1}, []int64{size, int64(images)})
}

func TestOpen_RemovesWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	m := newMemory()
	d := m.put(t, "a", host, archive(t, of(0o500, dir("closed")), file("closed/a", "1")))
	root := t.TempDir()
	img, err := open(t, root, image.Options{}).Acquire(t.Context(), m, string(d))
	require.NoError(t, err)
	folder := filepath.Dir(img.Root)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "tmp", "unpack-1", "rootfs"), 0o755))
	require.NoError(t, os.Remove(filepath.Join(folder, "image.json")))
	c := open(t, root, image.Options{})
	require.NoDirExists(t, folder)
	left, err := os.ReadDir(filepath.Join(root, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = c.Acquire(t.Context(), newMemory(), string(d))
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestOpen_RemovesWhatAnEarlierBootDidNotMakeDurable(t *testing.T) {
	t.Parallel()
	m := newMemory()
	d := m.put(t, "a", host, archive(t, file("a", "1")))
	root := t.TempDir()
	c := open(t, root, image.Options{})
	img, err := c.Acquire(t.Context(), m, string(d))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	folder := filepath.Dir(img.Root)
	recordFile := filepath.Join(folder, "image.json")
	text, err := os.ReadFile(recordFile)
	require.NoError(t, err)
	before := regexp.MustCompile(`"boot":"[^"]*"`).ReplaceAll(text, []byte(`"boot":"an earlier one"`))
	require.NotEqual(t, text, before)
	require.NoError(t, os.WriteFile(recordFile, before, 0o600))

	open(t, root, image.Options{})
	require.DirExists(t, folder)
	require.NoError(t, os.Remove(filepath.Join(folder, "durable")))
	open(t, root, image.Options{})
	require.NoDirExists(t, folder)
}
