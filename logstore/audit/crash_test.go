package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/journal/crashfs"
)

// world is a trail on a disk that loses power, and what it promised.
type world struct {
	seed  uint64
	rng   *rand.Rand
	disk  *crashfs.FS
	trail *audit.Trail
	// acked are the places of records, by project and id.
	acked map[string]map[string]uint64
	// tried are ids that were appended, acknowledged or not.
	tried map[string]int
	heads map[string][]chain.Checkpoint
	cuts  int
}

// newWorld is the world of a seed.
func newWorld(seed uint64) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), disk: crashfs.New(seed),
		acked: map[string]map[string]uint64{}, tried: map[string]int{}, heads: map[string][]chain.Checkpoint{},
	}
	if w.rng.IntN(4) == 0 {
		w.disk.WithoutAllocate()
	}
	return w
}

// broken is a promise that was not kept.
func (w *world) broken(format string, args ...any) error {
	return fmt.Errorf("seed %d, cut %d: %w", w.seed, w.cuts, fmt.Errorf(format, args...))
}

// run lives some lives.
func (w *world) run() error {
	for range 6 {
		if w.rng.IntN(8) > 0 {
			w.disk.CutAfter(1 + w.rng.IntN(1+w.rng.IntN(160)))
		}
		if w.rng.IntN(3) == 0 {
			w.disk.FailSync(1 + w.rng.IntN(12))
		}
		if err := w.live(); err != nil {
			return err
		}
		if w.trail != nil && w.rng.IntN(8) == 0 {
			_ = w.trail.Close() // may meet the cut
		}
		if w.rng.IntN(4) == 0 {
			w.disk.Kill()
		} else {
			w.disk.Restart()
			w.cuts++
		}
	}
	return nil
}

// live opens the trail, checks it and goes on until the power is cut.
func (w *world) live() error {
	var err error
	w.trail, err = audit.Open("trail", audit.Options{
		FS: w.disk, Signer: signer(), SegmentBytes: 4 << 10, CheckpointRecords: 1 + w.rng.IntN(20), Now: clock,
	})
	if err != nil {
		w.trail = nil
		return w.excused(err)
	}
	if err := w.check(); err != nil {
		return w.excused(err)
	}
	for range 1 + w.rng.IntN(30) {
		if err := w.step(); err != nil {
			return w.excused(err)
		}
	}
	return w.excused(w.check())
}

// excused is nil if the disk was at fault. A failed sync is one too: the
// caller tries again.
func (w *world) excused(err error) error {
	if errors.Is(err, crashfs.ErrCut) || errors.Is(err, syscall.EIO) {
		return nil
	}
	return err
}

// step does one thing.
func (w *world) step() error {
	ctx := context.Background()
	project := fmt.Sprintf("p%d", w.rng.IntN(3))
	switch w.rng.IntN(10) {
	case 0:
		_ = w.trail.Sign(ctx) // may meet a failed sync
		return nil
	case 2:
		for _, seq := range w.acked[project] {
			_ = w.trail.Erase(ctx, project, []uint64{seq}, "a test") // may meet a failed sync
			break
		}
		return nil
	case 1:
		c, err := w.trail.Checkpoint(ctx, project)
		if err == nil {
			w.heads[project] = append(w.heads[project], c)
		}
		return nil
	}
	var batch []audit.Record
	for range 1 + w.rng.IntN(12) {
		n := w.tried[project]
		if n > 0 && w.rng.IntN(4) == 0 {
			n = w.rng.IntN(n) // once more
		} else {
			w.tried[project]++
		}
		batch = append(batch, record(project, n))
	}
	places, err := w.trail.Append(ctx, batch)
	if err != nil {
		return nil // The disk failed, and nothing is promised.
	}
	if w.acked[project] == nil {
		w.acked[project] = map[string]uint64{}
	}
	for i, r := range batch {
		was, ok := w.acked[project][r.ID]
		if ok && (was != places[i].Seq || !places[i].Duplicate) {
			return w.broken("%s of %s was %d and is %v", r.ID, project, was, places[i])
		}
		w.acked[project][r.ID] = places[i].Seq
	}
	return nil
}

// check holds everything that was promised against what is there.
func (w *world) check() error {
	for project, acked := range w.acked {
		ids := map[string]uint64{}
		for i, err := range w.trail.Read(context.Background(), project, 1) {
			if err != nil {
				return w.broken("reading %s: %w", project, err)
			}
			l := i.Link
			if l == nil {
				continue
			}
			if l.Type == chain.DamageType {
				return w.broken("damage where nothing was damaged: %s", l.Data)
			}
			if ids[l.ID] != 0 {
				return w.broken("%s is record %d and %d", l.ID, ids[l.ID], l.Seq)
			}
			ids[l.ID] = l.Seq
			if l.ErasedBy != 0 || l.Type == chain.ErasureType {
				continue
			}
			var n int
			if _, err := fmt.Sscanf(l.ID, "id-%d", &n); err != nil {
				return w.broken("%s: %w", l.ID, err)
			}
			if want := record(project, n); !slices.Equal(want.Data, l.Data) || want.Type != l.Type {
				return w.broken("%s is %+v", l.ID, l)
			}
		}
		for id, seq := range acked {
			if ids[id] != seq {
				return w.broken("%s of %s was acknowledged as %d and is %d of %d", id, project, seq, ids[id], len(ids))
			}
		}
		if _, err := w.trail.Verify(context.Background(), project, w.heads[project]...); err != nil {
			return w.broken("%w", err)
		}
	}
	return nil
}

// TestCrash_KeepsEveryPromise: whatever a power cut, a kill or a failed sync
// leaves, what was acknowledged is there, once, at its place, in chains that
// verify and agree with every checkpoint that was handed out.
func TestCrash_KeepsEveryPromise(t *testing.T) {
	t.Parallel()
	cuts, records, want := 0, 0, 200
	if s := os.Getenv("SELVEDGE_CRASH_CUTS"); s != "" {
		var err error
		want, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for seed := uint64(0); cuts < want; seed++ {
		w := newWorld(seed)
		require.NoError(t, w.run())
		cuts += w.cuts
		for _, acked := range w.acked {
			records += len(acked)
		}
	}
	require.NotZero(t, records)
	t.Logf("%d power cuts, %d records", cuts, records)
}

// TestTrail_DiskFull: what a full disk refuses is refused, what was
// acknowledged stays, and room is all that it takes to go on.
func TestTrail_DiskFull(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(3)
	trail, err := audit.Open("trail", audit.Options{FS: disk, Signer: signer(), SegmentBytes: 64 << 10, Now: clock})
	require.NoError(t, err)
	acked, refused := map[string]uint64{}, 0
	next := 0
	try := func() {
		batch := records("p", next, next+100)
		next += 100
		places, err := trail.Append(t.Context(), batch)
		if err != nil {
			refused++
			return
		}
		for i, r := range batch {
			acked[r.ID] = places[i].Seq
		}
	}
	for round := range 4 {
		try()
		disk.SetCapacity(disk.Used() + int64(round)*40<<10)
		for refused < 3*(round+1) && next < 200_000 {
			try()
		}
		disk.SetCapacity(0)
		try()
	}
	require.Equal(t, 12, refused)
	check := func() {
		t.Helper()
		found := map[string]uint64{}
		for _, l := range links(t, trail, "p", 1) {
			found[l.ID] = l.Seq
		}
		for id, seq := range acked {
			require.Equal(t, seq, found[id], id)
		}
		verified(t, trail, "p")
	}
	check()
	require.False(t, trail.Stats().Behind)
	disk.Restart()
	trail, err = audit.Open("trail", audit.Options{FS: disk, Signer: signer(), Now: clock})
	require.NoError(t, err)
	check()
}
