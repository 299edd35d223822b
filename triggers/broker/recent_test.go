package broker

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/journal"
)

// The ring has what was put last, and does not hold on to what it leaves out.
func TestRecent_KeepsTheSmall(t *testing.T) {
	t.Parallel()
	small := enveloped()
	record, err := small.append(nil)
	require.NoError(t, err)
	large := enveloped()
	large.event.DataEncoded = bytes.Repeat([]byte(" "), recentBytes)
	long, err := large.append(nil)
	require.NoError(t, err)

	r := newRecent(5)
	r.put(5, [][]byte{record, record}, 2*len(record))
	require.Nil(t, r.at(4))
	require.EqualValues(t, 6, r.at(6).offset)
	require.Same(t, &record[0], &r.at(5).record[0], "what is small all over is not copied")
	r.put(7, [][]byte{long, record}, len(long)+len(record))
	require.Nil(t, r.at(7))
	require.Equal(t, record, r.at(8).record)
	require.NotSame(t, &record[0], &r.at(8).record[0])
	r.put(5+recentSlots, [][]byte{record}, len(record))
	require.Nil(t, r.at(5))
	require.NotNil(t, r.at(5+recentSlots))
}

// The ring keeps no more than its bound, whatever the sizes of records.
func TestRecent_IsBounded(t *testing.T) {
	t.Parallel()
	v := enveloped()
	v.event.DataEncoded = bytes.Repeat([]byte(" "), recentBytes/2)
	record, err := v.append(nil)
	require.NoError(t, err)
	r := newRecent(0)
	const n = 2 * recentTotal / (recentBytes / 2)
	for at := range journal.Offset(n) {
		r.put(at, [][]byte{record}, len(record))
		require.NotNil(t, r.at(at))
	}
	kept := 0
	for at := range journal.Offset(n) {
		if v := r.at(at); v != nil {
			kept += len(v.record)
		}
	}
	require.Equal(t, kept, r.bytes)
	require.LessOrEqual(t, kept, recentTotal)
	require.Greater(t, kept, recentTotal*9/10)
}

// Who waits for a record is woken when it was put, and all before it.
func TestRecent_Wait(t *testing.T) {
	t.Parallel()
	v := enveloped()
	record, err := v.append(nil)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		r := newRecent(5)
		require.NoError(t, r.wait(t.Context(), 4))
		woken := make(chan error, 1)
		go func() { woken <- r.wait(t.Context(), 5) }()
		r.put(7, [][]byte{record, record}, 2*len(record))
		synctest.Wait()
		require.Empty(t, woken)
		r.put(5, [][]byte{record, record}, 2*len(record))
		require.NoError(t, <-woken)
		require.NoError(t, r.wait(t.Context(), 8))
		require.Empty(t, r.early)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.wait(ctx, 9), context.DeadlineExceeded)
	})
}
