package journal_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/sdk/journal/crashfs"
)

func TestAppend_NumbersRecordsAcrossRestarts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "on", "demand")
	want := map[journal.Offset]string{}
	for life := range 4 {
		j := open(t, dir, journal.Options{})
		require.Equal(t, want, readAll(t, j, 0))
		first, err := j.Append(context.Background(), []byte("a"), nil, []byte(strings.Repeat("b", life*1000)))
		require.NoError(t, err)
		require.EqualValues(t, life*3, first)
		want[first], want[first+1], want[first+2] = "a", "", strings.Repeat("b", life*1000)
		require.Equal(t, first+3, j.End())
		require.Equal(t, want, readAll(t, j, 0))
		require.NoError(t, j.Close())
	}
}

func TestAppend_NothingIsNothing(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{})
	appendAll(t, j, "a", "b")
	first, err := j.Append(context.Background())
	require.NoError(t, err)
	require.EqualValues(t, 2, first)
	require.EqualValues(t, 2, j.End())
}

func TestAppend_RefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{MaxBytes: 1 << 20, MaxRecord: 100})
	_, err := j.Append(context.Background(), []byte("fine"), make([]byte, 101))
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	batch := make([][]byte, 10_000)
	for i := range batch {
		batch[i] = make([]byte, 100)
	}
	_, err = j.Append(context.Background(), batch...)
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	require.Zero(t, j.End())
	_, err = j.Append(context.Background(), batch[:5000]...) // more than a segment
	require.NoError(t, err)
	require.Len(t, readAll(t, j, 0), 5000)
}

func TestAppend_FullJournalResumesWhenCursorsPass(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := journal.Options{SegmentBytes: 64 << 10, MaxBytes: 128 << 10}
	j := open(t, dir, o)
	cursor(t, j, "c")
	var full error
	for full == nil {
		_, full = j.Append(context.Background(), make([]byte, 10_000))
	}
	require.Equal(t, fault.Exhausted, fault.KindOf(full))
	require.Equal(t, journal.ReasonJournalFull, fault.ReasonOf(full))
	var retry fault.RetryAfter
	require.ErrorAs(t, full, &retry)
	require.Positive(t, retry.RetryAfter())
	require.EqualValues(t, 12, j.End())

	require.NoError(t, j.Close())
	j = open(t, dir, o)
	_, err := j.Append(context.Background(), make([]byte, 10_000))
	require.Equal(t, journal.ReasonJournalFull, fault.ReasonOf(err))

	c := cursor(t, j, "c")
	require.NoError(t, c.Commit(12))
	require.EqualValues(t, 12, j.First())
	first, err := j.Append(context.Background(), make([]byte, 10_000))
	require.NoError(t, err)
	require.EqualValues(t, 12, first)
	require.Equal(t, map[string]uint64{journal.LostEvicted: 0, journal.LostCorrupt: 0}, j.Stats().Lost)
}

func TestAppend_WithoutCursorsNothingIsDeleted(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{SegmentBytes: 64 << 10, MaxBytes: 256 << 10})
	var full error
	for full == nil {
		_, full = j.Append(context.Background(), make([]byte, 10_000))
	}
	require.Equal(t, journal.ReasonJournalFull, fault.ReasonOf(full))
	require.Zero(t, j.First())
}

func TestDropOldest_CountsWhatCursorsMissed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := journal.Options{SegmentBytes: 64 << 10, MaxBytes: 128 << 10, OnFull: journal.DropOldest}
	j := open(t, dir, o)
	slow, fast := cursor(t, j, "slow"), cursor(t, j, "fast")
	for range 40 {
		next, err := j.Append(context.Background(), make([]byte, 10_000))
		require.NoError(t, err)
		require.NoError(t, fast.Commit(next+1))
	}
	first := j.First()
	require.NotZero(t, first)
	check := func(j *journal.Journal) {
		st := j.Stats()
		require.LessOrEqual(t, st.Bytes, st.MaxBytes)
		require.Equal(t, []journal.CursorStats{
			{Name: "fast", Position: 40},
			{Name: "slow", Position: first, Lag: uint64(40 - first), Evicted: uint64(first)},
		}, st.Cursors)
		require.Equal(t, map[string]uint64{journal.LostEvicted: uint64(first), journal.LostCorrupt: 0}, st.Lost)
		require.Len(t, readAll(t, j, 0), int(40-first))
	}
	check(j)
	require.NoError(t, slow.Commit(3), "the consumer could not know that it was moved")
	check(j)
	require.NoError(t, slow.Commit(first+1))
	require.Equal(t, fault.Invalid, fault.KindOf(slow.Commit(3)), "now it could")
	first++
	require.NoError(t, j.Close())

	j = open(t, dir, o)
	st := j.Stats()
	require.Equal(t, first, st.Cursors[1].Position)
	require.EqualValues(t, first-1, st.Cursors[1].Evicted)
}

// concurrently runs f in a bubble, with a journal whose segments sync when they
// are let, and a function that appends in a goroutine of its own.
func concurrently(t *testing.T, f func(t *testing.T, disk *crashfs.FS, g gate, j *journal.Journal, add func(context.Context, []byte) chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New(1)
		g := newGate(disk)
		j := open(t, "d", journal.Options{FS: g, MaxRecord: 30 << 20})
		f(t, disk, g, j, func(ctx context.Context, data []byte) chan error {
			result := make(chan error, 1)
			go func() {
				_, err := j.Append(ctx, data)
				result <- err
			}()
			synctest.Wait()
			return result
		})
		go func() {
			for range g.waiting {
				g.pass <- struct{}{}
			}
		}()
		require.NoError(t, j.Close())
		close(g.waiting)
	})
}

func TestAppend_GroupSharesOneSync(t *testing.T) {
	t.Parallel()
	concurrently(t, func(t *testing.T, disk *crashfs.FS, g gate, j *journal.Journal, add func(context.Context, []byte) chan error) {
		first := add(t.Context(), []byte("x"))
		g.let(1)    // the header of the segment
		<-g.waiting // the first group
		const more = 50
		var others []chan error
		for range more {
			others = append(others, add(t.Context(), []byte("x")))
		}
		before := disk.Steps()
		g.pass <- struct{}{}
		require.NoError(t, <-first)
		g.let(1)
		for _, o := range others {
			require.NoError(t, <-o)
		}
		require.Equal(t, 3, disk.Steps()-before, "the sync of the first, and one write and sync for all others")
		require.EqualValues(t, more+1, j.End())
	})
}

func TestAppend_ContextBoundsTheWait(t *testing.T) {
	t.Parallel()
	concurrently(t, func(t *testing.T, _ *crashfs.FS, g gate, j *journal.Journal, add func(context.Context, []byte) chan error) {
		ended, end := context.WithCancel(t.Context())
		end()
		err := <-add(ended, []byte("never"))
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.ErrorIs(t, err, context.Canceled)

		leading, stopLeader := context.WithCancel(t.Context())
		leader := add(leading, []byte("taken"))
		g.let(1)
		<-g.waiting
		stopLeader() // too late
		waiting, stopFollower := context.WithCancel(t.Context())
		follower := add(waiting, []byte("withdrawn"))
		stopFollower()
		require.ErrorIs(t, <-follower, context.Canceled)
		g.pass <- struct{}{}
		require.NoError(t, <-leader)
		require.Equal(t, map[journal.Offset]string{0: "taken"}, readAll(t, j, 0))
	})
}

func TestAppend_QueueIsBounded(t *testing.T) {
	t.Parallel()
	concurrently(t, func(t *testing.T, _ *crashfs.FS, g gate, j *journal.Journal, add func(context.Context, []byte) chan error) {
		big := make([]byte, 30<<20)
		leader := add(t.Context(), big)
		follower := add(t.Context(), big)
		g.let(1)
		<-g.waiting
		ctx, stop := context.WithCancel(t.Context())
		withdrawn := add(ctx, big) // has no room
		stop()
		require.ErrorIs(t, <-withdrawn, context.Canceled)
		late := add(t.Context(), big)
		require.Empty(t, late)
		g.pass <- struct{}{}
		require.NoError(t, <-leader)
		g.let(6) // two rolls, of a seal and a header each, and two groups
		require.NoError(t, <-follower)
		require.NoError(t, <-late)
		require.EqualValues(t, 3, j.End())
	})
}

func TestCommitDelay_WaitsForCompany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New(1)
		j := open(t, "d", journal.Options{FS: disk, CommitDelay: 50 * time.Millisecond})
		appendAll(t, j, "makes the segment")
		before, start := disk.Steps(), time.Now()
		results := make(chan error)
		for i := range 5 {
			go func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				_, err := j.Append(t.Context(), []byte("x"))
				results <- err
			}()
		}
		for range 5 {
			require.NoError(t, <-results)
		}
		require.Equal(t, 50*time.Millisecond, time.Since(start))
		require.Equal(t, 2, disk.Steps()-before, "one write and one sync for all")
		go func() {
			_, err := j.Append(t.Context(), make([]byte, 4<<20))
			results <- err
		}()
		require.NoError(t, <-results)
		require.Equal(t, 50*time.Millisecond, time.Since(start), "a full group does not wait")
	})
}

func TestAppend_FailedSyncIsNotRepeatedOnTheSegment(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	j := open(t, "d", journal.Options{FS: disk})
	appendAll(t, j, "a", "b")
	disk.FailSync(1)
	_, err := j.Append(context.Background(), []byte("failed"))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, uint64(1), j.Stats().Failed)
	require.EqualValues(t, 2, j.End())
	appendAll(t, j, "c")
	require.Equal(t, 2, j.Stats().Segments)
	require.Equal(t, map[journal.Offset]string{0: "a", 1: "b", 2: "c"}, readAll(t, j, 0))
	disk.Restart()
	j = open(t, "d", journal.Options{FS: disk})
	require.Equal(t, map[journal.Offset]string{0: "a", 1: "b", 2: "c"}, readAll(t, j, 0))
}

func TestRead_ReturnsWhatFits(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{})
	appendAll(t, j, "aaaa", "bbbb", strings.Repeat("c", 10_000), "dddd")
	f := func(from journal.Offset, maxBytes, want int) {
		t.Helper()
		var b journal.Batch
		require.NoError(t, j.Read(from, &b, maxBytes))
		require.Equal(t, want, b.Len())
		require.Equal(t, from+journal.Offset(want), b.Next())
		for i := range b.Len() {
			require.Equal(t, from+journal.Offset(i), b.At(i).Offset)
		}
	}
	f(0, 0, 1)
	f(0, 3, 1)
	f(0, 100, 2)
	f(1, 100, 1)
	f(2, 1, 1)
	f(2, 100, 1)
	f(0, 1<<20, 4)
	f(3, 1<<20, 1)
	f(4, 1<<20, 0)
	f(100, 1<<20, 0)
}

func TestRead_BatchMayBeUsedAnywhere(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{SegmentBytes: 64 << 10})
	other := open(t, t.TempDir(), journal.Options{})
	records := numbered(0, 3000, 100)
	_, err := j.Append(context.Background(), records...)
	require.NoError(t, err)
	appendAll(t, other, "other")
	var b journal.Batch
	for _, from := range []int{0, 2999, 17, 18, 1500, 1499, 0} {
		require.NoError(t, j.Read(journal.Offset(from), &b, 1000))
		require.Equal(t, string(records[from]), string(b.At(0).Data))
		require.NoError(t, other.Read(0, &b, 1000))
		require.Equal(t, "other", string(b.At(0).Data))
	}
}

func TestWait_EndsWithARecordTheContextOrTheJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := open(t, "d", journal.Options{FS: crashfs.New(1)})
		result := make(chan error, 1)
		wait := func(ctx context.Context, from journal.Offset) {
			go func() { result <- j.Wait(ctx, from) }()
			synctest.Wait()
		}
		wait(t.Context(), 0)
		require.Empty(t, result)
		appendAll(t, j, "a")
		require.NoError(t, <-result)
		require.NoError(t, j.Wait(t.Context(), 0))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wait(ctx, 1)
		require.ErrorIs(t, <-result, context.DeadlineExceeded)

		wait(t.Context(), 1)
		require.NoError(t, j.Close())
		require.ErrorIs(t, <-result, journal.ErrClosed)
	})
}

func TestWait_DoesNotWaitForWhatIsDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	appendAll(t, j, "a", "b")
	require.NoError(t, j.Close())
	j = open(t, dir, journal.Options{})
	require.NoError(t, cursor(t, j, "c").Commit(2))
	require.EqualValues(t, 2, j.First())
	var b journal.Batch
	require.NoError(t, j.Read(0, &b, 100))
	require.Zero(t, b.Len())
	require.EqualValues(t, 2, b.Next())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, j.Wait(ctx, 0), context.Canceled)
}

func TestClose_EndsEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	c := cursor(t, j, "c")
	appendAll(t, j, "a")
	_, err := journal.Open(dir, journal.Options{})
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	require.ErrorIs(t, err, journal.ErrLocked)

	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	_, err = j.Append(context.Background(), []byte("b"))
	require.ErrorIs(t, err, journal.ErrClosed)
	require.ErrorIs(t, j.Read(0, &journal.Batch{}, 1), journal.ErrClosed)
	require.ErrorIs(t, c.Commit(1), journal.ErrClosed)
	require.ErrorIs(t, c.Remove(), journal.ErrClosed)
	_, err = j.Cursor("d", 0)
	require.ErrorIs(t, err, journal.ErrClosed)
	require.Equal(t, map[journal.Offset]string{0: "a"}, readAll(t, open(t, dir, journal.Options{}), 0))
}

func TestOpen_RefusesSenselessOptions(t *testing.T) {
	t.Parallel()
	for field, o := range map[string]journal.Options{
		"SegmentBytes": {SegmentBytes: 1},
		"MaxBytes":     {SegmentBytes: 1 << 20, MaxBytes: 1 << 19},
		"MaxRecord":    {MaxRecord: -1},
		"CommitDelay":  {CommitDelay: -1},
		"OnFull":       {OnFull: 7},
	} {
		_, err := journal.Open(t.TempDir(), o)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, field, e.Field)
	}
}

func TestOpen_RefusesALaterFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	appendAll(t, j, "a")
	require.NoError(t, j.Close())
	path := segments(t, dir)[0]
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	copy(b, journal.HeaderOfVersion(2))
	require.NoError(t, os.WriteFile(path, b, 0o600))
	_, err = journal.Open(dir, journal.Options{})
	require.Equal(t, fault.Unsupported, fault.KindOf(err))
}

func TestCursor_KeepsItsPosition(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, journal.Options{})
	appendAll(t, j, "a", "b", "c")
	for name, start := range map[string]journal.Offset{
		"oldest": journal.Oldest, "newest": journal.Newest, "two": 2,
		"projects/p/triggers/ü 1": 1, ".": 0, "..": 0, "a%2Fb": 0, "UPPER.cur": 3,
	} {
		c, err := j.Cursor(name, start)
		require.NoError(t, err)
		require.Equal(t, name, c.Name())
		require.Equal(t, min(start, 3), c.Position())
		again, err := j.Cursor(name, journal.Newest)
		require.NoError(t, err)
		require.Same(t, c, again)
	}
	require.NoError(t, cursor(t, j, "oldest").Commit(2))
	want := j.Stats().Cursors
	require.Len(t, want, 8)
	require.NoError(t, j.Close())
	require.Equal(t, want, open(t, dir, journal.Options{}).Stats().Cursors)
}

func TestCursor_RefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{})
	appendAll(t, j, "a", "b", "c")
	c := cursor(t, j, "c")
	require.NoError(t, c.Commit(2))
	require.NoError(t, c.Commit(2))
	require.Equal(t, fault.Invalid, fault.KindOf(c.Commit(1)))
	require.Equal(t, fault.Invalid, fault.KindOf(c.Commit(4)))
	require.EqualValues(t, 2, c.Position())
	for _, name := range []string{"", strings.Repeat("x", 300), strings.Repeat("/", 100)} {
		_, err := j.Cursor(name, journal.Oldest)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	_, err := j.Cursor("d", 4)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

func TestCursor_RemovedKeepsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, journal.Options{SegmentBytes: 64 << 10})
	slow, fast := cursor(t, j, "slow"), cursor(t, j, "fast")
	_, err := j.Append(context.Background(), numbered(0, 100, 1000)...)
	require.NoError(t, err)
	appendAll(t, j, "in the next segment")
	require.NoError(t, fast.Commit(101))
	require.Zero(t, j.First())
	require.NoError(t, slow.Remove())
	require.EqualValues(t, 100, j.First())
	require.Equal(t, fault.NotFound, fault.KindOf(slow.Commit(1)))
	require.NoError(t, slow.Remove())
	require.NoError(t, j.Close())
	require.Len(t, open(t, dir, journal.Options{}).Stats().Cursors, 1)
}

func TestRead_GoesOnWhileSegmentsAreDeleted(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{SegmentBytes: 64 << 10})
	c := cursor(t, j, "c")
	for i := range 10 {
		_, err := j.Append(context.Background(), numbered(i*60, 60, 1000)...)
		require.NoError(t, err)
	}
	var b journal.Batch
	require.NoError(t, j.Read(0, &b, 5000))
	kept := bytes.Clone(b.At(3).Data)
	require.NoError(t, c.Commit(600))
	require.Equal(t, kept, b.At(3).Data)
	require.EqualValues(t, 540, j.First())
	require.NoError(t, j.Read(b.Next(), &b, 5000))
	require.EqualValues(t, 540, b.At(0).Offset)
}

func TestErrors_AreOfTheirOperation(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), journal.Options{MaxRecord: 1})
	_, err := j.Append(context.Background(), []byte("ab"))
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "journal.Append", e.Op)
}
