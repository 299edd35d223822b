package journal_test

import (
	"context"
	"encoding/binary"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
)

// TestConcurrency_EverybodyGetsEverything runs producers, consumers, and
// onlookers at once over segments that are deleted as soon as they can be.
func TestConcurrency_EverybodyGetsEverything(t *testing.T) {
	t.Parallel()
	const producers, batches, consumers = 16, 100, 4
	dir := t.TempDir()
	j := open(t, dir, journal.Options{SegmentBytes: 64 << 10})
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			var last journal.Offset
			for n := range batches {
				batch := make([][]byte, 1+n%3)
				for i := range batch {
					batch[i] = binary.BigEndian.AppendUint32(nil, uint32(p))
					batch[i] = binary.BigEndian.AppendUint32(batch[i], uint32(n))
					batch[i] = append(batch[i], make([]byte, 10*n)...)
				}
				first, err := j.Append(context.Background(), batch...)
				if err != nil || n > 0 && first <= last {
					t.Errorf("append after %d: %d, %v", last, first, err)
					return
				}
				last = first
			}
		})
	}
	const total = producers * (batches*2 - 1)
	for i := range consumers {
		c := cursor(t, j, strconv.Itoa(i))
		wg.Go(func() { consume(t, j, c, total) })
	}
	done := make(chan struct{})
	var onlookers sync.WaitGroup
	onlookers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			st := j.Stats()
			if st.First > st.End || len(st.Cursors) < consumers {
				t.Errorf("impossible: %+v", st)
			}
			var b journal.Batch
			if err := j.Read(0, &b, 1000); err != nil {
				t.Error(err)
			}
			c, err := j.Cursor("passing by", journal.Newest)
			if err == nil {
				err = c.Remove()
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	close(done)
	onlookers.Wait()
	require.EqualValues(t, total, j.End())
	require.Equal(t, map[string]uint64{journal.LostEvicted: 0, journal.LostCorrupt: 0}, j.Stats().Lost)
	require.LessOrEqual(t, j.Stats().Segments, 1)
	require.NoError(t, j.Close())
}

// consume reads total records, each producer's in order, and commits as it
// goes.
func consume(t *testing.T, j *journal.Journal, c *journal.Cursor, total int) {
	var b journal.Batch
	latest := map[uint32]uint32{}
	for seen := 0; seen < total; {
		if err := j.Wait(context.Background(), c.Position()); err != nil {
			t.Error(err)
			return
		}
		if err := j.Read(c.Position(), &b, 20_000); err != nil {
			t.Error(err)
			return
		}
		for i := range b.Len() {
			r := b.At(i)
			p, n := binary.BigEndian.Uint32(r.Data), binary.BigEndian.Uint32(r.Data[4:])
			if r.Offset != journal.Offset(seen) || n < latest[p] {
				t.Errorf("offset %d after %d records, batch %d after %d", r.Offset, seen, n, latest[p])
				return
			}
			latest[p] = n
			seen++
		}
		if err := c.Commit(b.Next()); err != nil {
			t.Error(err)
			return
		}
	}
}

// TestConcurrency_FullJournalNeverBlocks runs producers against one slow
// consumer under both ways to be full.
func TestConcurrency_FullJournalNeverBlocks(t *testing.T) {
	t.Parallel()
	for _, onFull := range []journal.OnFull{journal.Reject, journal.DropOldest} {
		j := open(t, t.TempDir(), journal.Options{SegmentBytes: 64 << 10, MaxBytes: 192 << 10, OnFull: onFull})
		c := cursor(t, j, "c")
		var producers sync.WaitGroup
		for range 8 {
			producers.Go(func() {
				for range 100 {
					// Full is a fine answer; anything else shows in the counts below.
					_, _ = j.Append(context.Background(), make([]byte, 2000))
				}
			})
		}
		ctx, stop := context.WithCancel(t.Context())
		var consumer sync.WaitGroup
		got := uint64(0)
		consumer.Go(func() {
			var b journal.Batch
			for j.Wait(ctx, c.Position()) == nil { // It ends when all is read and nobody appends.
				if err := j.Read(c.Position(), &b, 10_000); err != nil {
					t.Error(err)
					return
				}
				got += uint64(b.Len())
				if err := c.Commit(b.Next()); err != nil {
					t.Error(err)
					return
				}
			}
		})
		producers.Wait()
		stop()
		consumer.Wait()
		st := j.Stats()
		require.Equal(t, st.End, c.Position())
		require.GreaterOrEqual(t, got+st.Lost[journal.LostEvicted], uint64(st.End), "each record was read or counted")
		require.LessOrEqual(t, st.Bytes, st.MaxBytes)
		require.NoError(t, j.Close())
	}
}
