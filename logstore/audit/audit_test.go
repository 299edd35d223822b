package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

func TestTrail_AppendReadReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := open(t, dir)
	require.Equal(t, []audit.Place{{Seq: 1}, {Seq: 2}, {Seq: 1}}, add(t, trail, record("p", 0), record("p", 1), record("q/x", 0)))
	for n := 2; n < 100; n++ {
		require.Equal(t, []audit.Place{{Seq: uint64(n + 1)}}, add(t, trail, record("p", n)))
	}
	check := func(trail *audit.Trail) {
		all := links(t, trail, "p", 0)
		require.Len(t, all, 100)
		for n, l := range all {
			require.Equal(t, record("p", n), l.Record)
			require.Equal(t, uint64(n+1), l.Seq)
		}
		require.Equal(t, all[41:], links(t, trail, "p", 42))
		require.Empty(t, links(t, trail, "p", 101))
		require.Empty(t, links(t, trail, "nobody", 1))
		require.Equal(t, []string{"p", "q/x"}, trail.Projects())
		l, err := trail.Find(t.Context(), "p", "id-7")
		require.NoError(t, err)
		require.Equal(t, all[7], l)
		_, err = trail.Find(t.Context(), "p", "id-700")
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		_, err = trail.Find(t.Context(), "nobody", "id-7")
		require.Equal(t, fault.NotFound, fault.KindOf(err))
	}
	check(trail)
	require.Greater(t, len(segments(t, dir)), 4)
	require.NoError(t, trail.Close())
	again := open(t, dir)
	check(again)
	require.Equal(t, uint64(100), verified(t, again, "p").Records)
	require.Zero(t, verified(t, again, "p").Unsigned, "Close signs")
	_, err := trail.Append(t.Context(), records("p", 0, 1))
	require.ErrorIs(t, err, audit.ErrClosed)
}

// TestTrail_SameIDOnce appends records again: at once, later, after a restart,
// in the segment at hand and in old ones.
func TestTrail_SameIDOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := open(t, dir)
	places := add(t, trail, record("p", 0), record("p", 0), record("q", 0))
	require.Equal(t, []audit.Place{{Seq: 1}, {Seq: 1, Duplicate: true}, {Seq: 1}}, places)
	add(t, trail, records("p", 1, 200)...)
	again := func(trail *audit.Trail) {
		for _, n := range []int{0, 1, 50, 120, 198, 199} {
			require.Equal(t, []audit.Place{{Seq: uint64(n + 1), Duplicate: true}}, add(t, trail, record("p", n)))
		}
		for _, p := range add(t, trail, records("p", 0, 200)...) {
			require.True(t, p.Duplicate)
		}
	}
	again(trail)
	require.NoError(t, trail.Close())
	trail = open(t, dir)
	again(trail)
	require.Equal(t, uint64(200), verified(t, trail, "p").Records)
	s := trail.Stats()
	require.Zero(t, s.Records)
	require.Equal(t, uint64(206), s.Duplicates)
}

// TestTrail_ClockAhead: a record of next year does not make finding duplicates
// of all that follow it slow.
func TestTrail_ClockAhead(t *testing.T) {
	t.Parallel()
	trail := open(t, t.TempDir())
	ahead := record("p", 5000)
	ahead.Time = noon.AddDate(1, 0, 0)
	add(t, trail, records("p", 0, 40)...)
	add(t, trail, ahead)
	for n := 40; n < 400; n += 40 {
		add(t, trail, records("p", n, n+40)...)
	}
	before := trail.Indexed()
	for n := 400; n < 420; n++ {
		require.False(t, add(t, trail, record("p", n))[0].Duplicate)
	}
	require.Less(t, trail.Indexed()-before, 12, "segments are not read again for each record")
	require.True(t, add(t, trail, ahead)[0].Duplicate)
	require.True(t, add(t, trail, record("p", 3))[0].Duplicate)
	require.True(t, add(t, trail, record("p", 200))[0].Duplicate)
}

func TestTrail_Refuses(t *testing.T) {
	t.Parallel()
	trail := open(t, t.TempDir())
	f := func(kind fault.Kind, change func(r *audit.Record)) {
		t.Helper()
		r := record("p", 1)
		change(&r)
		_, err := trail.Append(t.Context(), []audit.Record{record("p", 0), r})
		require.Equal(t, kind, fault.KindOf(err))
	}
	f(fault.Invalid, func(r *audit.Record) { r.Data = []byte(`{`) })
	f(fault.Invalid, func(r *audit.Record) { r.Project = "" })
	f(fault.Invalid, func(r *audit.Record) { r.Type = chain.ErasureType })
	f(fault.Invalid, func(r *audit.Record) { r.Category = chain.OwnCategory })
	require.Empty(t, trail.Projects(), "all or nothing")
	big := record("p", 0)
	big.Data = fmt.Appendf(nil, "%q", strings.Repeat("x", 4<<20-2))
	var many []audit.Record
	for n := range 5 {
		big.ID = fmt.Sprint(n)
		many = append(many, big)
	}
	_, err := trail.Append(t.Context(), many)
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
	_, err = audit.Open(t.TempDir(), audit.Options{})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	none, err := trail.Append(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = trail.Append(ctx, records("p", 0, 1))
	require.ErrorIs(t, err, context.Canceled)
}

func TestTrail_OneAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	_, err := audit.Open(dir, audit.Options{Signer: signer()})
	require.Equal(t, fault.Conflict, fault.KindOf(err))
}

func TestTrail_DataIsCompacted(t *testing.T) {
	t.Parallel()
	trail := open(t, t.TempDir())
	r := record("p", 0)
	r.Data = []byte(" { \"a\" : \"<b>\" } ")
	add(t, trail, r)
	require.Len(t, links(t, trail, "p", 1)[0].Data, len(`{"a":"<b>"}`))
}

// TestTrail_Concurrent appends from many goroutines to few projects, while
// others read and verify.
func TestTrail_Concurrent(t *testing.T) {
	t.Parallel()
	trail := open(t, t.TempDir())
	var wg sync.WaitGroup
	const writers, each = 8, 40
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				r := record(fmt.Sprintf("p%d", n%3), w*each+n)
				places, err := trail.Append(context.Background(), []audit.Record{r})
				if err != nil || places[0].Duplicate {
					t.Errorf("%v %v", places, err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 10 {
				for _, p := range trail.Projects() {
					if _, err := trail.Verify(context.Background(), p); err != nil {
						t.Error(err)
					}
				}
				if err := trail.Sign(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total := uint64(0)
	for _, p := range trail.Projects() {
		total += verified(t, trail, p).Records
	}
	require.Equal(t, uint64(writers*each), total)
}

func TestTrail_Checkpoints(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := open(t, dir)
	add(t, trail, records("p", 0, 25)...)
	require.NotZero(t, verified(t, trail, "p").Unsigned)
	old, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, uint64(25), old.Size)
	require.Zero(t, verified(t, trail, "p").Unsigned)
	same, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, old, same)
	_, err = trail.Checkpoint(t.Context(), "nobody")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Equal(t, []string{"p"}, trail.Projects())

	add(t, trail, records("p", 25, 90)...)
	head, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	for seq := uint64(1); seq <= 90; seq += 7 {
		proof, err := trail.ProveInclusion(t.Context(), "p", seq, 90)
		require.NoError(t, err)
		require.True(t, chain.Included(links(t, trail, "p", seq)[0].Hash, seq, head, proof))
	}
	proof, err := trail.ProveConsistency(t.Context(), "p", 25, 90)
	require.NoError(t, err)
	require.True(t, chain.Grown(old, head, proof))

	r, err := trail.Verify(t.Context(), "p", old, head)
	require.NoError(t, err)
	require.Equal(t, 2, r.Heads)
	require.NoError(t, trail.Close())

	// Whoever cuts the tail off does it at the end of a segment, where nothing
	// in the files shows it. The head that was kept elsewhere does.
	files := segments(t, dir)
	require.NoError(t, os.Remove(files[len(files)-1]))
	trail = open(t, dir)
	_, err = trail.Verify(t.Context(), "p")
	require.NoError(t, err)
	_, err = trail.Verify(t.Context(), "p", head)
	var found *chain.Finding
	require.ErrorAs(t, err, &found)
	require.Equal(t, chain.Truncated, found.What)
	require.Greater(t, found.Seq, uint64(25))
}

// TestTrail_RunSignsByTime: what is recorded is signed for within the interval,
// also what a process before this one recorded.
func TestTrail_RunSignsByTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		trail, err := audit.Open(dir, audit.Options{Signer: signer(), CheckpointEvery: time.Minute})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- trail.Run(ctx) }()
		_, err = trail.Append(t.Context(), records("p", 0, 3))
		require.NoError(t, err)
		unsigned := func() uint64 {
			r, err := chain.Verify(trail.Read(t.Context(), "p", 1), chain.VerifyOptions{})
			require.NoError(t, err)
			return r.Unsigned
		}
		require.Equal(t, uint64(3), unsigned())
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		require.Zero(t, unsigned())
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, trail.Close())
	})
}

// TestTrail_SignerAway: records do not wait for a signer that fails.
func TestTrail_SignerAway(t *testing.T) {
	t.Parallel()
	away := &moody{fixed: signer(), away: true}
	trail, err := audit.Open(t.TempDir(), audit.Options{Signer: away, SegmentBytes: 4 << 10, CheckpointRecords: 5, Now: clock})
	require.NoError(t, err)
	add(t, trail, records("p", 0, 60)...)
	require.Equal(t, uint64(60), verified(t, trail, "p").Unsigned)
	away.away = false
	add(t, trail, record("p", 60))
	require.Zero(t, verified(t, trail, "p").Unsigned)
	require.NoError(t, trail.Close())
}

// moody is a signer that is away at times.
type moody struct {
	fixed
	away bool
}

// Sign implements audit.Signer.
func (m *moody) Sign(c *audit.Checkpoint) error {
	if m.away {
		return &fault.Error{Kind: fault.Unavailable}
	}
	return m.fixed.Sign(c)
}

func TestKeyring_RotatesAndRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := noon
	ring, err := audit.OpenKeyring(filepath.Join(dir, "keys"), "audit.test", func() time.Time { return now })
	require.NoError(t, err)
	trail, err := audit.Open(dir, audit.Options{Signer: ring, Now: func() time.Time { return now }})
	require.NoError(t, err)
	add(t, trail, record("p", 0))
	first, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	anchor := ring.Keys()
	now = now.Add(time.Hour)
	require.NoError(t, ring.Rotate())
	add(t, trail, record("p", 1))
	second, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	require.NotEqual(t, first.KeyID, second.KeyID)
	require.Equal(t, 2, verified(t, trail, "p").Checkpoints)
	_, err = chain.Verify(trail.Read(t.Context(), "p", 1), chain.VerifyOptions{Keys: anchor})
	require.Error(t, err, "a key that nobody has heard of")
	_, err = chain.Verify(trail.Read(t.Context(), "p", 1), chain.VerifyOptions{Keys: anchor.Extend(ring.Keys())})
	require.NoError(t, err, "the first key vouches for the second")
	require.NoError(t, trail.Close())

	files, err := filepath.Glob(filepath.Join(dir, "keys", "signing-*"))
	require.NoError(t, err)
	require.Len(t, files, 1, "the old private key is gone")
	again, err := audit.OpenKeyring(filepath.Join(dir, "keys"), "audit.test", nil)
	require.NoError(t, err)
	require.Equal(t, ring.Keys(), again.Keys())
	require.NoError(t, os.Chmod(files[0], 0o640))
	_, err = audit.OpenKeyring(filepath.Join(dir, "keys"), "audit.test", nil)
	require.Equal(t, "AUDIT_KEY_READABLE", fault.ReasonOf(err))
	_, err = audit.OpenKeyring(t.TempDir(), "with space", nil)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// TestTrail_ManyProjects: memory and open files are bounded, however many
// projects there are.
func TestTrail_ManyProjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := open(t, dir)
	const projects = 300
	for n := range projects {
		add(t, trail, record(fmt.Sprintf("p%d", n), 0), record("all", n))
	}
	require.Less(t, trail.Stats().Loaded, 300)
	for n := range projects {
		require.Equal(t, []audit.Place{{Seq: 1, Duplicate: true}, {Seq: 2}}, add(t, trail, record(fmt.Sprintf("p%d", n), 0), record(fmt.Sprintf("p%d", n), 1)))
	}
	require.NoError(t, trail.Sign(t.Context()))
	require.NoError(t, trail.Close())
	trail = open(t, dir)
	require.Len(t, trail.Projects(), projects+1)
	for _, p := range trail.Projects() {
		require.Zero(t, verified(t, trail, p).Unsigned)
	}
	var wide []audit.Record
	for n := range 300 {
		wide = append(wide, record(fmt.Sprintf("w%d", n), 0))
	}
	_, err := trail.Append(t.Context(), wide)
	require.Equal(t, fault.TooLarge, fault.KindOf(err))
}

// TestKeyring_RotatesAfterTheClockWasSetBack: what the old key has signed is in its
// period, also if that is in the future by now.
func TestKeyring_RotatesAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := noon
	ring, err := audit.OpenKeyring(filepath.Join(dir, "keys"), "audit.test", func() time.Time { return now })
	require.NoError(t, err)
	trail, err := audit.Open(dir, audit.Options{Signer: ring, Now: func() time.Time { return now }})
	require.NoError(t, err)
	now = noon.Add(time.Hour)
	add(t, trail, record("p", 0))
	require.NoError(t, trail.Sign(t.Context()))
	now = noon.Add(time.Minute)
	require.NoError(t, ring.Rotate())
	add(t, trail, record("p", 1))
	require.NoError(t, trail.Sign(t.Context()))
	require.Equal(t, 2, verified(t, trail, "p").Checkpoints)
	name, err := audit.KeyringName(filepath.Join(dir, "keys"))
	require.NoError(t, err)
	require.Equal(t, "audit.test", name)
	name, err = audit.KeyringName(t.TempDir())
	require.NoError(t, err)
	require.Empty(t, name)
	require.NoError(t, trail.Close())
}
