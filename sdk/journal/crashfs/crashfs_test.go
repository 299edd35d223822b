package crashfs_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
	"selvedge.dev/sdk/journal/crashfs"
)

// open opens the one directory of these tests.
func open(t *testing.T, fs *crashfs.FS) journal.Dir {
	t.Helper()
	d, err := fs.OpenDir("d")
	require.NoError(t, err)
	return d
}

// create makes a file with contents.
func create(t *testing.T, d journal.Dir, name, contents string) journal.File {
	t.Helper()
	f, err := d.Open(name, os.O_CREATE|os.O_EXCL)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(contents), 0)
	require.NoError(t, err)
	return f
}

// read returns the contents of a file, and whether it is there.
func read(t *testing.T, d journal.Dir, name string) (string, bool) {
	t.Helper()
	f, err := d.Open(name, 0)
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
		return "", false
	}
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	if size > 0 {
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
	}
	return string(b), true
}

func TestRestart_KeepsWhatIsSynced(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		fs := crashfs.New(seed)
		d := open(t, fs)
		f := create(t, d, "a", "hello")
		require.NoError(t, f.Sync())
		require.NoError(t, d.Sync())
		fs.Restart()
		got, there := read(t, open(t, fs), "a")
		require.True(t, there)
		require.Equal(t, "hello", got)
	}
}

func TestRestart_MayLoseEachThingThatIsNotSynced(t *testing.T) {
	t.Parallel()
	outcomes := map[string]int{}
	for seed := range uint64(400) {
		fs := crashfs.New(seed)
		d := open(t, fs)
		a := create(t, d, "a", strings.Repeat("o", 512))
		require.NoError(t, a.Sync())
		require.NoError(t, d.Sync())
		_, err := a.WriteAt([]byte(strings.Repeat("n", 512)), 0)
		require.NoError(t, err)
		require.NoError(t, create(t, d, "b", "b").Sync())
		require.NoError(t, d.Rename("b", "c"))
		fs.Restart()
		d = open(t, fs)
		got, _ := read(t, d, "a")
		outcomes["a="+string(slices.Compact([]byte(got)))]++
		for _, name := range []string{"b", "c"} {
			if _, there := read(t, d, name); there {
				outcomes[name]++
			}
		}
	}
	for _, want := range []string{"a=o", "a=n", "a=on", "a=no", "b", "c"} {
		require.NotZero(t, outcomes[want], "%s never happened: %v", want, outcomes)
	}
}

func TestSync_FailedIsNeverMadeGoodByTheNext(t *testing.T) {
	t.Parallel()
	lost := 0
	for seed := range uint64(100) {
		fs := crashfs.New(seed)
		d := open(t, fs)
		f := create(t, d, "a", "old")
		require.NoError(t, f.Sync())
		require.NoError(t, d.Sync())
		_, err := f.WriteAt([]byte("new"), 0)
		require.NoError(t, err)
		fs.FailSync(1)
		require.ErrorIs(t, f.Sync(), syscall.EIO)
		require.NoError(t, f.Sync())
		fs.Restart()
		if got, _ := read(t, open(t, fs), "a"); got != "new" {
			lost++
		}
	}
	require.NotZero(t, lost)
}

func TestKill_KeepsTheCacheAndReleasesTheLock(t *testing.T) {
	t.Parallel()
	fs := crashfs.New(1)
	d := open(t, fs)
	f := create(t, d, "a", "hello")
	_, err := fs.OpenDir("d")
	require.ErrorIs(t, err, journal.ErrLocked)
	fs.Kill()
	require.ErrorIs(t, f.Sync(), os.ErrClosed)
	got, _ := read(t, open(t, fs), "a")
	require.Equal(t, "hello", got)
}

func TestCutAfter_FailsEverythingUntilRestart(t *testing.T) {
	t.Parallel()
	fs := crashfs.New(1)
	d := open(t, fs)
	f := create(t, d, "a", "hello")
	fs.CutAfter(2)
	require.NoError(t, f.Sync())
	require.ErrorIs(t, d.Sync(), crashfs.ErrCut)
	require.True(t, fs.Dead())
	_, err := fs.OpenDir("d")
	require.ErrorIs(t, err, crashfs.ErrCut)
	fs.Restart()
	require.False(t, fs.Dead())
	open(t, fs)
}

func TestSetCapacity_WritesWhatGoesIn(t *testing.T) {
	t.Parallel()
	fs := crashfs.New(1)
	fs.SetCapacity(8192)
	d := open(t, fs)
	f := create(t, d, "a", "hello")
	n, err := f.WriteAt(make([]byte, 8192), 4096)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 4096, n)
	require.ErrorIs(t, f.Allocate(12288), syscall.ENOSPC)
	_, err = f.WriteAt([]byte("in place"), 8000)
	require.NoError(t, err)
	require.EqualValues(t, 8192, fs.Used())
	require.NoError(t, d.Remove("a"))
	require.Zero(t, fs.Used())
}

func TestSeed_DecidesEverything(t *testing.T) {
	t.Parallel()
	outcome := func(seed uint64) string {
		fs := crashfs.New(seed)
		d := open(t, fs)
		f := create(t, d, "a", string(make([]byte, 4096)))
		require.NoError(t, d.Sync())
		_, err := f.WriteAt([]byte("0123456789abcdef"), 500)
		require.NoError(t, err)
		fs.Restart()
		got, _ := read(t, open(t, fs), "a")
		return got
	}
	for seed := range uint64(20) {
		//lint:ignore testifylint two runs must agree
		require.Equal(t, outcome(seed), outcome(seed))
	}
}
