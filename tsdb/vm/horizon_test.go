package vm

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Callers that wait at the same time share a move.
func TestHorizon_Shared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, moves := newHorizon(), 0
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				require.NoError(t, h.reach(t.Context(), 7, func() (uint64, time.Duration) {
					moves++
					time.Sleep(time.Second)
					return 7, 0
				}))
				require.EqualValues(t, 7, h.mark.Load())
			})
		}
		wg.Wait()
		require.Equal(t, 1, moves)
	})
}

// What was added while the mark moved is not behind it: the next one moves it
// again.
func TestHorizon_Behind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, moves := newHorizon(), uint64(0)
		move := func() (uint64, time.Duration) { moves++; return moves, 0 }
		for want := range uint64(4) {
			require.NoError(t, h.reach(t.Context(), want, move))
			require.Equal(t, want, moves)
		}
		require.NoError(t, h.reach(t.Context(), 1, move))
		require.EqualValues(t, 3, moves)
	})
}

// Moves are as far apart as the move said, and not farther.
func TestHorizon_Rest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, start := newHorizon(), time.Now()
		for want := uint64(1); want <= 5; want++ {
			require.NoError(t, h.reach(t.Context(), want, func() (uint64, time.Duration) { return want, time.Second }))
			require.Equal(t, time.Duration(want-1)*time.Second, time.Since(start))
		}
		time.Sleep(time.Hour)
		again := time.Now()
		require.NoError(t, h.reach(t.Context(), 6, func() (uint64, time.Duration) { return 6, 0 }))
		require.Zero(t, time.Since(again))
	})
}

// A context that ends ends the waiting, for the turn and for the rest, and
// leaves the horizon usable.
func TestHorizon_Cancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHorizon()
		require.NoError(t, h.reach(t.Context(), 1, func() (uint64, time.Duration) { return 1, time.Hour }))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 2 { // one rests, one waits for its turn
			wg.Go(func() {
				require.ErrorIs(t, h.reach(ctx, 2, nil), context.DeadlineExceeded)
			})
		}
		wg.Wait()
		require.ErrorIs(t, h.reach(ctx, 1, nil), context.DeadlineExceeded, "also when there is nothing to wait for")
		require.NoError(t, h.reach(t.Context(), 2, func() (uint64, time.Duration) { return 2, 0 }))
	})
}
