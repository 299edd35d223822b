package journal_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
)

// The log that is damaged: twelve segments of 60 records and an unsealed one.
const (
	damagedPerSegment = 60
	damagedSegments   = 12
	damagedRecords    = damagedSegments*damagedPerSegment + 30
)

// segments are the paths of the segments in dir, oldest first.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	require.NoError(t, err)
	slices.Sort(paths)
	return paths
}

// abandonedLog is a directory with a log as a killed process leaves it, and
// its records. A cursor "c" stands at offset 50.
func abandonedLog(t testing.TB) (dir string, records [][]byte) {
	t.Helper()
	live := t.TempDir()
	j := open(t, live, journal.Options{SegmentBytes: 64 << 10})
	c := cursor(t, j, "c")
	records = numbered(0, damagedRecords, 1000)
	for i := 0; i < len(records); i += 10 {
		_, err := j.Append(context.Background(), records[i:i+10]...)
		require.NoError(t, err)
	}
	require.NoError(t, c.Commit(50))
	// The journal stays open: what is copied is what a kill would leave.
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(live)))
	require.Len(t, segments(t, dir), damagedSegments+1)
	return dir, records
}

// change rewrites the file path.
func change(t testing.TB, path string, f func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, f(b), 0o600))
}

// zero makes b[from:to] zero.
func zero(from, to int) func(b []byte) []byte {
	return func(b []byte) []byte {
		clear(b[from:to])
		return b
	}
}

// flip changes one bit of b[at].
func flip(at int) func(b []byte) []byte {
	return func(b []byte) []byte {
		b[at] ^= 0x10
		return b
	}
}

// frameSize is the size of a frame of the damaged log.
const frameSize = 1016

// lastSegment is the index of the unsealed segment.
const lastSegment = damagedSegments

// damages are what can happen to the files, and what it may cost.
var damages = map[string]struct {
	damage  func(t *testing.T, dir string, segments []string)
	lost    []int  // records
	counted uint64 // as CORRUPT; what a torn tail takes is not
}{
	"nothing": {func(*testing.T, string, []string) {}, nil, 0},
	"tail cut": {func(t *testing.T, _ string, s []string) {
		change(t, s[lastSegment], func(b []byte) []byte { return b[:behind(b)-100] })
	}, []int{749}, 0},
	"tail zeroed": {func(t *testing.T, _ string, s []string) {
		change(t, s[lastSegment], func(b []byte) []byte { return zero(behind(b)-4096, behind(b))(b) })
	}, []int{745, 746, 747, 748, 749}, 0},
	"garbage after the end": {func(t *testing.T, _ string, s []string) {
		change(t, s[lastSegment], func(b []byte) []byte { return append(b[:behind(b)], bytes.Repeat([]byte("garbage!"), 512)...) })
	}, nil, 0},
	"garbage after a sealed segment": {func(t *testing.T, _ string, s []string) {
		change(t, s[3], func(b []byte) []byte { return append(b, bytes.Repeat([]byte("garbage!"), 512)...) })
	}, nil, 0},
	"bit flip in the payload": {func(t *testing.T, _ string, s []string) {
		change(t, s[3], flip(4096+20*frameSize+500))
	}, []int{200}, 1},
	"bit flip in the length": {func(t *testing.T, _ string, s []string) {
		change(t, s[3], flip(4096+20*frameSize+5))
	}, []int{200}, 1},
	"bit flip in the last segment": {func(t *testing.T, _ string, s []string) {
		change(t, s[lastSegment], flip(4096+5*frameSize+500))
	}, []int{725}, 1},
	"bit flip in the last group": {func(t *testing.T, _ string, s []string) {
		change(t, s[lastSegment], flip(4096+28*frameSize+500))
	}, []int{748, 749}, 0},
	"4 KiB zeroed": {func(t *testing.T, _ string, s []string) {
		change(t, s[3], zero(4096+20*frameSize+500, 4096+24*frameSize+500))
	}, []int{200, 201, 202, 203, 204}, 5},
	"first block zeroed": {func(t *testing.T, _ string, s []string) {
		change(t, s[3], zero(0, 4096))
	}, nil, 0},
	"first block of the last segment zeroed": {func(t *testing.T, _ string, s []string) {
		change(t, s[lastSegment], zero(0, 4096))
	}, nil, 0},
	"sealed segment cut": {func(t *testing.T, _ string, s []string) {
		change(t, s[3], func(b []byte) []byte { return b[:4096+57*frameSize+1] })
	}, []int{237, 238, 239}, 3},
	"sealed segment empty": {func(t *testing.T, _ string, s []string) {
		change(t, s[3], func([]byte) []byte { return nil })
	}, sequence(180, 240), 60},
	"segment missing": {func(t *testing.T, _ string, s []string) {
		require.NoError(t, os.Remove(s[3]))
	}, sequence(180, 240), 60},
	"first segment missing": {func(t *testing.T, _ string, s []string) {
		require.NoError(t, os.Remove(s[0]))
	}, sequence(0, 60), 60},
	"segment renamed": {func(t *testing.T, dir string, s []string) {
		require.NoError(t, os.Rename(s[3], filepath.Join(dir, "copy.seg")))
	}, nil, 0},
	"foreign files": {func(t *testing.T, dir string, _ []string) {
		for _, name := range []string{"notes.txt", "x.seg", "x.tmp", "%.cur", "head.cur"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("what is this"), 0o600))
		}
	}, nil, 0},
	"head empty": {func(t *testing.T, dir string, _ []string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "head"), nil, 0o600))
	}, nil, 0},
	"head missing": {func(t *testing.T, dir string, _ []string) {
		require.NoError(t, os.Remove(filepath.Join(dir, "head")))
	}, nil, 0},
}

// behind is one past the last byte of the last record in b.
func behind(b []byte) int { return bytes.LastIndexByte(b, 'x') + 1 }

func TestOpen_SurvivesDamage(t *testing.T) {
	t.Parallel()
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, records := abandonedLog(t)
			want := map[journal.Offset]string{}
			for i, r := range records {
				if !slices.Contains(c.lost, i) {
					want[journal.Offset(i)] = string(r)
				}
			}
			c.damage(t, dir, segments(t, dir))
			for range 2 { // The second time nothing has changed.
				j := open(t, dir, journal.Options{SegmentBytes: 64 << 10})
				require.Equal(t, want, readAll(t, j, 0))
				st := j.Stats()
				require.Equal(t, c.counted, st.Lost[journal.LostCorrupt])
				require.EqualValues(t, len(want), st.Records)
				appended, err := j.Append(context.Background(), []byte("more"))
				require.NoError(t, err)
				want[appended] = "more"
				require.Equal(t, want, readAll(t, j, 0))
				require.NoError(t, j.Close())
			}
			// The count stays when the damaged segment goes.
			j := open(t, dir, journal.Options{SegmentBytes: 64 << 10})
			for _, c := range j.Stats().Cursors {
				require.NoError(t, cursor(t, j, c.Name).Commit(j.End()))
			}
			require.NotZero(t, j.First())
			require.Equal(t, c.counted, j.Stats().Lost[journal.LostCorrupt])
			require.NoError(t, j.Close())
			j = open(t, dir, journal.Options{SegmentBytes: 64 << 10})
			require.Equal(t, c.counted, j.Stats().Lost[journal.LostCorrupt])
		})
	}
}

// sequence is from, from+1, … to-1.
func sequence(from, to int) []int {
	s := make([]int, to-from)
	for i := range s {
		s[i] = from + i
	}
	return s
}

func TestOpen_DamagedCursorStartsAgain(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"empty":   func([]byte) []byte { return nil },
		"short":   func(b []byte) []byte { return b[:20] },
		"zeroed":  zero(0, 8192),
		"garbage": func([]byte) []byte { return bytes.Repeat([]byte("SLVC"), 4000) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := abandonedLog(t)
			change(t, filepath.Join(dir, "c.cur"), damage)
			j := open(t, dir, journal.Options{})
			c := cursor(t, j, "c")
			require.Zero(t, c.Position())
			require.NoError(t, c.Commit(70))
			require.NoError(t, j.Close())
			require.EqualValues(t, 70, cursor(t, open(t, dir, journal.Options{}), "c").Position())
		})
	}
	t.Run("one slot", func(t *testing.T) {
		t.Parallel()
		for slot, want := range []journal.Offset{50, 0} { // The second slot is the newer.
			dir, _ := abandonedLog(t)
			change(t, filepath.Join(dir, "c.cur"), flip(slot*4096+20))
			require.Equal(t, want, cursor(t, open(t, dir, journal.Options{}), "c").Position())
		}
	})
}

func TestOpen_OffsetsThatACursorPassedAreNotGivenAgain(t *testing.T) {
	t.Parallel()
	dir, _ := abandonedLog(t)
	j := open(t, dir, journal.Options{})
	require.NoError(t, cursor(t, j, "c").Commit(740))
	require.NoError(t, j.Close())
	paths := segments(t, dir)
	change(t, paths[len(paths)-1], zero(0, 4096+20*frameSize))
	for _, path := range paths[:len(paths)-1] {
		require.NoError(t, os.RemoveAll(path))
	}
	j = open(t, dir, journal.Options{})
	require.EqualValues(t, 750, j.End())
	for _, path := range segments(t, dir) {
		require.NoError(t, os.Remove(path))
	}
	require.NoError(t, j.Close())
	j = open(t, dir, journal.Options{})
	require.GreaterOrEqual(t, j.End(), journal.Offset(740))
}

func TestRead_FindsDamageThatOpenDidNotLookFor(t *testing.T) {
	t.Parallel()
	dir, _ := abandonedLog(t)
	require.NoError(t, open(t, dir, journal.Options{}).Close())
	paths := segments(t, dir)
	for _, path := range paths[len(paths)-1:] {
		change(t, path, zero(4096+20*frameSize, 4096+30*frameSize))
	}
	j := open(t, dir, journal.Options{})
	require.NoError(t, j.Wait(t.Context(), 745), "nobody knows yet that nothing is there")
	require.Len(t, readAll(t, j, 0), damagedRecords-10)
	require.Equal(t, uint64(10), j.Stats().Lost[journal.LostCorrupt])
	require.Len(t, readAll(t, j, 0), damagedRecords-10)
	require.Equal(t, uint64(10), j.Stats().Lost[journal.LostCorrupt], "not counted twice")

	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	go func() { waited <- j.Wait(ctx, 745) }()
	cancel()
	require.ErrorIs(t, <-waited, context.Canceled, "there is nothing to read from 740 to 750")
	appendAll(t, j, "more")
	require.NoError(t, j.Wait(t.Context(), 745))
	require.Equal(t, map[journal.Offset]string{750: "more"}, readAll(t, j, 745))
}

// TestOpen_RandomDamage damages a log at random places. Whatever that does, the
// journal opens, shows no record that is not the one of its offset, and counts
// what is missing, except at the torn end.
func TestOpen_RandomDamage(t *testing.T) {
	t.Parallel()
	template, records := abandonedLog(t)
	for seed := range uint64(60 / slowdown) {
		rng := rand.New(rand.NewPCG(seed, 0))
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS(template)))
		for range 1 + rng.IntN(4) {
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			path := filepath.Join(dir, entries[rng.IntN(len(entries))].Name())
			damageFile(t, rng, path)
		}
		j := open(t, dir, journal.Options{SegmentBytes: 64 << 10})
		got := readAll(t, j, 0)
		for offset, data := range got {
			require.Less(t, offset, journal.Offset(len(records)), "seed %d", seed)
			require.Equal(t, string(records[offset]), data, "seed %d, offset %d", seed, offset)
		}
		st := j.Stats()
		require.EqualValues(t, len(got), st.Records, "seed %d", seed)
		require.Equal(t, uint64(st.End), st.Records+st.Lost[journal.LostCorrupt], "seed %d", seed)
		require.NoError(t, j.Close())
	}
}

// damageFile does something bad to a file.
func damageFile(t *testing.T, rng *rand.Rand, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	if len(b) == 0 {
		return
	}
	at := rng.IntN(len(b))
	switch rng.IntN(6) {
	case 0:
		if filepath.Ext(path) != ".cur" { // A cursor that is gone keeps nothing.
			require.NoError(t, os.Remove(path))
			return
		}
	case 1:
		b = b[:at]
	case 2:
		clear(b[at:min(len(b), at+4096)])
	case 3:
		b = append(b, bytes.Repeat([]byte{0xa5}, 1+rng.IntN(5000))...)
	case 4:
		b[at] ^= 1 << rng.IntN(8)
	case 5:
		for i := at; i < min(len(b), at+1000); i++ {
			b[i] = byte(rng.Uint32())
		}
	}
	require.NoError(t, os.WriteFile(path, b, 0o600))
}
