package pool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoff_Delays(t *testing.T) {
	t.Parallel()
	b := Backoff{}.withDefaults()
	var got []time.Duration
	for n := range 10 {
		got = append(got, b.delay(n))
	}
	const s = time.Second
	require.Equal(t, []time.Duration{0, s / 2, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s}, got)
	require.Equal(t, time.Minute, b.delay(1<<20))
}

func TestRing_Percentiles(t *testing.T) {
	t.Parallel()
	var r ring
	require.Zero(t, r.percentile(99))
	for n := range 2 * ringSize {
		r.add(time.Duration(n))
	}
	require.Len(t, r.last, ringSize)
	require.Equal(t, time.Duration(ringSize), r.percentile(0), "the last ones")
	require.Equal(t, time.Duration(2*ringSize-1), r.percentile(100))
}
