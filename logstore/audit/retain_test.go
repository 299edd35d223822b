package audit_test

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
	"selvedge.dev/sdk/fault"
)

// aged opens a trail whose clock is so long after noon.
func aged(t testing.TB, dir string, age time.Duration) *audit.Trail {
	t.Helper()
	trail, err := audit.Open(dir, audit.Options{Signer: signer(), SegmentBytes: 4 << 10, CheckpointRecords: 10, Now: func() time.Time { return noon.Add(age) }})
	require.NoError(t, err)
	t.Cleanup(func() { _ = trail.Close() })
	return trail
}

func TestRetain_DropsDataKeepsHeaders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := aged(t, dir, 100*time.Second)
	add(t, trail, records("p", 0, 100)...)
	head, err := trail.Checkpoint(t.Context(), "p")
	require.NoError(t, err)
	before := links(t, trail, "p", 1)
	policies := []audit.Policy{{Category: "Read", Keep: 50 * time.Second}, {Category: "Nothing", Keep: 0}}
	preview, err := trail.Preview(t.Context(), "p", policies)
	require.NoError(t, err)
	require.Equal(t, "Read", preview[1].Category)
	require.Equal(t, uint64(25), preview[1].Records, "even ones before the 50th")
	require.Zero(t, preview[0].Records)
	require.Equal(t, before, links(t, trail, "p", 1), "a preview changes nothing")

	done, err := trail.Retain(t.Context(), "p", policies)
	require.NoError(t, err)
	require.Equal(t, preview, done)
	check := func(trail *audit.Trail) {
		t.Helper()
		after := links(t, trail, "p", 1)
		require.Len(t, after, 101)
		for i, l := range after[:100] {
			want := before[i]
			if i%2 == 0 && i < 50 {
				want = want.Erase(101)
			}
			require.Equal(t, want, l)
		}
		require.Equal(t, chain.ErasureType, after[100].Type)
		r, err := trail.Verify(t.Context(), "p", head)
		require.NoError(t, err)
		require.Equal(t, uint64(25), r.Erased)
		require.Equal(t, []audit.Place{{Seq: 1, Duplicate: true}}, add(t, trail, record("p", 0)), "erased is not forgotten")
	}
	check(trail)
	again, err := trail.Retain(t.Context(), "p", policies)
	require.NoError(t, err)
	require.Zero(t, again[1].Records)
	check(trail)
	require.NoError(t, trail.Close())
	for _, name := range segments(t, dir) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.False(t, bytes.Contains(text, []byte(`{"n":10,`)), name)
	}
	trail = aged(t, dir, 100*time.Second)
	check(trail)
	add(t, trail, records("p", 100, 130)...)
	verified(t, trail, "p")
}

func TestErase_SingleRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	trail := open(t, dir)
	add(t, trail, records("p", 0, 40)...)
	require.NoError(t, trail.Erase(t.Context(), "p", []uint64{40, 3, 3}, "request 17"))
	add(t, trail, records("p", 40, 50)...)
	all := links(t, trail, "p", 1)
	require.Len(t, all, 51)
	require.Equal(t, uint64(41), all[2].ErasedBy)
	require.Equal(t, uint64(41), all[39].ErasedBy, "in the segment that takes records")
	require.JSONEq(t, `{"reason":"request 17","seqs":[3,40]}`, string(all[40].Data))
	require.Equal(t, uint64(2), verified(t, trail, "p").Erased)
	for _, bad := range [][]uint64{nil, {0}, {52}, {41}} {
		require.Equal(t, fault.Invalid, fault.KindOf(trail.Erase(t.Context(), "p", bad, "x")), "%v", bad)
	}
	require.Equal(t, fault.Invalid, fault.KindOf(trail.Erase(t.Context(), "nobody", []uint64{1}, "x")))
	require.Equal(t, fault.Invalid, fault.KindOf(trail.Erase(t.Context(), "p", []uint64{1}, "")))
	_, err := trail.Preview(t.Context(), "p", []audit.Policy{{Category: chain.OwnCategory}})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.NoError(t, trail.Close())
	trail = open(t, dir)
	require.Equal(t, all, links(t, trail, "p", 1))
}

// TestRetain_WhileOthersWork: records are appended and read while data goes.
func TestRetain_WhileOthersWork(t *testing.T) {
	t.Parallel()
	trail := aged(t, t.TempDir(), time.Hour)
	add(t, trail, records("p", 0, 200)...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 200; n < 300; n++ {
			if _, err := trail.Append(t.Context(), records("p", n, n+1)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for range 30 {
			if _, err := trail.Verify(t.Context(), "p"); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range 10 {
		_, err := trail.Retain(t.Context(), "p", []audit.Policy{{Category: "Read", Keep: time.Hour - time.Duration(n*20)*time.Second}})
		require.NoError(t, err)
	}
	wg.Wait()
	require.NotZero(t, verified(t, trail, "p").Erased)
}
