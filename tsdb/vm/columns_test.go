package vm

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/decimal"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Blocks in any order, overlapping and with repetitions, read like a map of
// the greatest value of each time.
func TestColumns_Settle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c columns
		for range rapid.IntRange(1, 2).Draw(t, "series") {
			c.reset()
			want := map[int64]float64{}
			for range rapid.IntRange(0, 6).Draw(t, "blocks") {
				times := rapid.SliceOfN(rapid.Int64Range(0, 30), 0, 12).Draw(t, "times")
				slices.Sort(times)
				n := c.len()
				for _, at := range times {
					v := float64(rapid.IntRange(-3, 3).Draw(t, "value"))
					c.times, c.values = append(c.times, at), append(c.values, v)
					if old, ok := want[at]; !ok || v > old {
						want[at] = v
					}
				}
				c.settle(n)
				require.Len(t, c.values, c.len())
			}
			require.Equal(t, c.len(), c.view().Len())
			require.Equal(t, slices.Sorted(maps.Keys(want)), append([]int64(nil), c.times...))
			for i, at := range c.times {
				require.Equal(t, want[at], c.values[i])
			}
		}
	})
}

// kept is what the engine makes of the values of a block.
func kept(values ...float64) []float64 {
	mantissas, exponent := decimal.AppendFloatToDecimal(nil, values)
	return decimal.AppendDecimalToFloat(nil, mantissas, exponent)
}

// The package comment's paragraph on precision, claim by claim.
func TestPrecision(t *testing.T) {
	t.Parallel()
	t.Run("Integers", func(t *testing.T) {
		t.Parallel()
		integer := rapid.Map(rapid.Int64Range(-1<<53, 1<<53), func(n int64) float64 { return float64(n) })
		rapid.Check(t, func(t *rapid.T) {
			values := rapid.SliceOfN(integer, 1, 20).Draw(t, "values")
			require.Equal(t, values, kept(values...))
		})
	})
	t.Run("ElevenDigits", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			mantissa := rapid.Int64Range(-99_999_999_999, 99_999_999_999).Draw(t, "mantissa")
			v := float64(mantissa) / math.Pow10(rapid.IntRange(0, 20).Draw(t, "decimals"))
			require.Equal(t, v, kept(v)[0])
		})
	})
	t.Run("RelativeError", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			v := rapid.Float64().Draw(t, "value")
			if math.Abs(v) < 1e-290 {
				require.LessOrEqual(t, math.Abs(kept(v)[0]), 1e-290)
				return
			}
			require.LessOrEqual(t, math.Abs(kept(v)[0]-v), 1.1e-12*math.Abs(v))
		})
	})
	t.Run("SharedExponent", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			values := rapid.SliceOfN(rapid.Float64Range(-1e100, 1e100), 1, 20).Draw(t, "values")
			largest := slices.MaxFunc(values, func(a, b float64) int { return cmp.Compare(math.Abs(a), math.Abs(b)) })
			for i, v := range kept(values...) {
				require.LessOrEqual(t, math.Abs(v-values[i]), 1.1e-12*math.Abs(values[i])+1e-17*math.Abs(largest)+1e-290)
			}
		})
	})
}
