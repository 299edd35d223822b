package journal_test

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/sdk/journal/crashfs"
)

// FuzzSegment opens a journal over any bytes as its only segment: it must
// open, count what it cannot show, and take and keep new records.
func FuzzSegment(f *testing.F) {
	records := numbered(0, 6, 150)
	name, whole := journal.SegmentFile(0, records...)
	for _, seals := range []uint64{1, 6, 9} {
		_, sealed := journal.SegmentFile(seals, records...)
		f.Add(sealed)
		f.Add(sealed[:len(sealed)-100])
	}
	f.Add(whole)
	f.Add(append(bytes.Clone(whole), make([]byte, 5000)...))
	f.Add(whole[:len(whole)-1])
	f.Add(journal.HeaderOfVersion(2))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := crashfs.New(1)
		put(t, disk, name, b)
		o := journal.Options{FS: disk, SegmentBytes: 64 << 10}
		j, err := journal.Open("d", o)
		if fault.KindOf(err) == fault.Unsupported {
			return // An intact header of a later version.
		}
		require.NoError(t, err)
		st := j.Stats()
		require.Len(t, readAll(t, j, 0), int(j.Stats().Records))
		end, err := j.Append(context.Background(), []byte("new"))
		require.NoError(t, err)
		require.Equal(t, st.End, end)
		require.NoError(t, j.Close())
		j = open(t, "d", o)
		require.Equal(t, "new", readAll(t, j, end)[end])
	})
}

// put makes a file in the directory "d" of disk.
func put(t *testing.T, disk *crashfs.FS, name string, contents []byte) {
	t.Helper()
	d, err := disk.OpenDir("d")
	require.NoError(t, err)
	file, err := d.Open(name, os.O_CREATE)
	require.NoError(t, err)
	_, err = file.WriteAt(contents, 0)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.NoError(t, d.Close())
}
