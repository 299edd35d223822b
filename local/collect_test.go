package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A small heap grows by 16 MB, a large one by a third, and an empty one by little.
func TestPercentFor(t *testing.T) {
	t.Parallel()
	f := func(live uint64, want int) {
		t.Helper()
		require.Equal(t, want, percentFor(live))
	}
	f(0, 400)
	f(4<<20, 400)
	f(16<<20, 100)
	f(20<<20, 80)
	f(40<<20, 40)
	f(54<<20, 30)
	f(200<<20, 30)
	f(1<<40, 30)
}
