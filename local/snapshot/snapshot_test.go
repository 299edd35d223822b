package snapshot_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/snapshot"
	"selvedge.dev/sdk/fault"
)

// archive is an archive of a folder with these files.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var b bytes.Buffer
	require.NoError(t, snapshot.Write(t.Context(), &b, dir, snapshot.Manifest{Time: time.Unix(1_800_000_000, 0), Server: "s"}))
	return b.Bytes()
}

// some are files of a snapshot.
var some = map[string]string{"platform.db": "database", "series/data/small/1/x.bin": "x", "series/metadata/y": ""}

// SPEC A6: what is restored is what was copied.
func TestRestore(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	m, err := snapshot.Restore(bytes.NewReader(archive(t, some)), data)
	require.NoError(t, err)
	require.Equal(t, 3, m.Files)
	require.EqualValues(t, 9, m.Bytes)
	require.Equal(t, "s", m.Server)
	require.True(t, m.Time.Equal(time.Unix(1_800_000_000, 0)))
	for name, text := range some {
		got, err := os.ReadFile(filepath.Join(data, name))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	entries, err := os.ReadDir(data)
	require.NoError(t, err)
	require.Len(t, entries, 2)

	_, err = snapshot.Restore(bytes.NewReader(archive(t, some)), data)
	require.Equal(t, "DATA_NOT_EMPTY", fault.ReasonOf(err))
	_, err = snapshot.Restore(bytes.NewReader(archive(t, map[string]string{"platform.db": "x"})), t.TempDir())
	require.NoError(t, err, "the series are on a server")
}

// An archive that was cut off at any place, or has what it must not have, leaves
// the folder empty.
func TestRestore_Damaged(t *testing.T) {
	t.Parallel()
	whole := archive(t, some)
	data := t.TempDir()
	refused := func(name string, text []byte, reason string) {
		t.Helper()
		_, err := snapshot.Restore(bytes.NewReader(text), data)
		require.Error(t, err, name)
		if reason != "" {
			require.Equal(t, reason, fault.ReasonOf(err), name)
		}
		entries, err := os.ReadDir(data)
		require.NoError(t, err)
		require.Empty(t, entries, name)
	}
	for n := 0; n < len(whole)-1024; n += 256 { // the last kilobyte of an archive is empty
		refused("cut off", whole[:n], "")
	}
	refused("another file", []byte("something else that is long enough to be read as a header of an archive"), "NO_SNAPSHOT")
	refused("more", archive(t, map[string]string{"platform.db": "x", "more": "y"}), "ARCHIVE_DAMAGED")
	refused("nothing of the platform", archive(t, nil)[:1024], "")
	refused("no database", archive(t, map[string]string{"series/x": "y"}), "ARCHIVE_DAMAGED")
	for _, name := range []string{"../platform.db", "/platform.db", "series/../../x", "series"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		add := func(name, text string) {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600}))
			_, err := w.Write([]byte(text))
			require.NoError(t, err)
		}
		add("manifest.json", `{"version":1,"files":1,"bytes":1}`)
		add(name, "x")
		require.NoError(t, w.Close())
		refused(name, b.Bytes(), "ARCHIVE_DAMAGED")
	}
	refused("a later version", bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":9`), 1), "SNAPSHOT_VERSION")
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		data := t.TempDir()
		if _, err := snapshot.Restore(bytes.NewReader(text), data); err != nil {
			entries, err := os.ReadDir(data)
			require.NoError(t, err)
			require.Empty(t, entries)
		}
	})
}
