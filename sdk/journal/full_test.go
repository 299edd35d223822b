package journal_test

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/sdk/journal/crashfs"
)

func TestFullDisk_ModelDrainsAndResumes(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*crashfs.FS){
		"with reserved blocks":    func(*crashfs.FS) {},
		"without reserved blocks": (*crashfs.FS).WithoutAllocate,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := crashfs.New(1)
			prepare(disk)
			disk.SetCapacity(400 << 10)
			fillDrainResume(t, "d", journal.Options{FS: disk}, func() { disk.SetCapacity(disk.Used()) })
		})
	}
}

func TestFullDisk_TmpfsDrainsAndResumes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: a real full disk needs the right to mount a tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	fillDrainResume(t, dir, journal.Options{}, func() {
		f, err := os.Create(dir + "/ballast")
		require.NoError(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, f.Close())
	})
}

// fillDrainResume fills a disk with a journal until not a byte is free, and
// then drains it and appends again, in the same process and after a restart.
func fillDrainResume(t *testing.T, dir string, o journal.Options, takeRest func()) {
	o.SegmentBytes = 64 << 10
	j := open(t, dir, o)
	c := cursor(t, j, "c")
	records := numbered(0, 10, 500)
	fill := func() {
		t.Helper()
		for range 1000 {
			if _, err := j.Append(context.Background(), records...); err != nil {
				require.Equal(t, fault.Exhausted, fault.KindOf(err))
				require.Equal(t, journal.ReasonDiskFull, fault.ReasonOf(err))
				require.ErrorIs(t, err, syscall.ENOSPC)
				var retry fault.RetryAfter
				require.ErrorAs(t, err, &retry)
				return
			}
		}
		require.FailNow(t, "the disk never fills")
	}
	fill()
	takeRest()
	fill()
	for round := range 3 {
		end := j.End()
		require.Len(t, readAll(t, j, c.Position()), int(end-c.Position()))
		for c.Position() < end {
			require.NoError(t, c.Commit(min(end, c.Position()+70)), "a commit needs no space")
		}
		require.Equal(t, end, j.First())
		next, err := j.Append(context.Background(), records...)
		require.NoError(t, err, "there is room again")
		require.Equal(t, end, next)
		fill()
		if round == 0 {
			require.NoError(t, j.Close())
			j = open(t, dir, o)
			c = cursor(t, j, "c")
			require.Equal(t, end, c.Position())
		}
	}
	require.Zero(t, j.Stats().Lost[journal.LostCorrupt])
	require.NoError(t, j.Close())
}
