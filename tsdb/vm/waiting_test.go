package vm

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
)

// Rows of small batches wait for others of their month, for no more than go to
// the engine at once; whoever asks sees them, and closing keeps them.
func TestAppend_Small(t *testing.T) {
	t.Parallel()
	const writers, batches, rows = 4, 300, 5
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	now := time.Now()
	months := [...]tsdb.Millis{tsdb.Millis(now.UnixMilli()), tsdb.Millis(now.AddDate(0, -2, 0).UnixMilli())}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			one := &tsdb.Series{Project: "p", Metric: "m", Resource: "device", ResourceLabels: tsdb.Labels{{Name: "device_id", Value: string(rune('a' + w))}}}
			for i := range batches {
				var batch []tsdb.Sample
				for n := range rows {
					batch = append(batch, tsdb.Sample{Series: one, Time: months[i%2] - tsdb.Millis(i*rows+n), Value: 1})
				}
				if err := s.Append(t.Context(), batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	count := func() (n int) {
		sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: months[1] - batches*rows, End: months[0]}}
		require.NoError(t, s.Select(t.Context(), sel, func(_ *tsdb.Series, p tsdb.Points) error { n += p.Len(); return nil }))
		return n
	}
	require.LessOrEqual(t, count(), writers*batches*rows)
	writing.Wait()
	require.Less(t, len(s.waiting.batch.rows), batchRows)
	for _, row := range s.waiting.batch.rows {
		m := tsdb.Millis(row.Timestamp)
		require.GreaterOrEqual(t, m, s.waiting.month)
		require.Less(t, m, s.waiting.month+31*24*3600*1000)
	}
	require.Equal(t, writers*batches*rows, count())
	require.Empty(t, s.waiting.batch.rows)

	last := &tsdb.Series{Project: "p", Metric: "m", Resource: "device", ResourceLabels: tsdb.Labels{{Name: "device_id", Value: "z"}}}
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{{Series: last, Time: months[0], Value: 1}}))
	require.NotEmpty(t, s.waiting.batch.rows)
	require.NoError(t, s.Close())
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	require.Equal(t, writers*batches*rows+1, count())
	require.NoError(t, s.Close())
}
