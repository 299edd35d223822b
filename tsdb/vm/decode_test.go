package vm

import (
	"math"
	"slices"
	"testing"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/decimal"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/storage"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Blocks of points a fixed time apart are read as the engine reads them, bit by
// bit: gauges and counters, whole and not, small and large, with infinities, in
// any part of their time, and behind what is there.
func TestColumns_RegularBlocks(t *testing.T) {
	t.Parallel()
	regular, none := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		ours, engines := &columns{}, &columns{}
		for range rapid.IntRange(1, 3).Draw(t, "blocks") {
			raw := storedBlock(t)
			b, ok := readStored(raw)
			require.True(t, ok)
			from := b.first + rapid.Int64Range(-40, 400).Draw(t, "from")
			tr := storage.TimeRange{MinTimestamp: from, MaxTimestamp: from + rapid.Int64Range(0, 900).Draw(t, "long")}
			if rapid.Bool().Draw(t, "all") {
				tr = storage.TimeRange{MinTimestamp: math.MinInt64 / 2, MaxTimestamp: math.MaxInt64 / 2}
			}
			done, err := ours.addRegular(&b, tr)
			require.NoError(t, err)
			if !done {
				none++
				require.Zero(t, b.step())
				return
			}
			regular++
			var block storage.Block
			tail, err := block.UnmarshalPortable(raw)
			require.NoError(t, err)
			require.Empty(t, tail)
			engines.take(&block, tr)
			require.Equal(t, append([]int64{}, engines.times...), append([]int64{}, ours.times...))
			require.Len(t, ours.values, len(engines.values))
			for i, v := range engines.values {
				require.Equal(t, math.Float64bits(v), math.Float64bits(ours.values[i]), "value %d of %d", i, len(engines.values))
			}
		}
	})
	require.Positive(t, regular)
	require.Positive(t, none)
}

// storedBlock is a random block in the engine's portable form.
func storedBlock(t *rapid.T) []byte {
	n := rapid.SampledFrom([]int{1, 2, 3, 70, 300}).Draw(t, "rows")
	times, values := make([]int64, n), make([]float64, n)
	step := rapid.Int64Range(0, 9).Draw(t, "step")
	at, v := rapid.Int64Range(-500, 1_700_000_000_000).Draw(t, "first"), rapid.SampledFrom([]float64{0, 7, -1e15, 0.25, 1e300}).Draw(t, "value")
	wide := rapid.SampledFrom([]int{0, 1, 60, 1000}).Draw(t, "wide")
	counter, odd := rapid.Bool().Draw(t, "counter"), rapid.IntRange(0, 9).Draw(t, "odd")
	shift := rapid.SampledFrom([]float64{1, 0.001, 1000}).Draw(t, "scale")
	sum := 0
	for i := range n {
		times[i], values[i] = at, v+float64(sum)*shift
		at += step
		d := rapid.IntRange(-wide, wide).Draw(t, "difference")
		if counter {
			d = max(d, -d)
		}
		sum += d
	}
	switch odd {
	case 0:
		times[n-1]++
	case 1:
		values[n/2] = math.Inf(1)
	case 2:
		values[0] = math.Inf(-1)
	}
	numbers, scale := decimal.AppendFloatToDecimal(nil, values)
	var block storage.Block
	block.Init(&storage.TSID{}, times, slices.Clone(numbers), scale, 64)
	return block.MarshalPortable(nil)
}

// What is no block is not taken for one.
func TestColumns_StoredGarbage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := storedBlock(t)
		_, ok := readStored(raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "cut")])
		require.False(t, ok)
		_, ok = readStored(append(raw, 0))
		require.False(t, ok)
	})
}
