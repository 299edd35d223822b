package reduce_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/reduce"
	"selvedge.dev/tsdb/validity"
)

// Every reducer of the table can be parsed, and no other; and its validity is
// that of the table, for every kind and value type.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, rule := range validity.Rules(validity.Reducer) {
		reducer, err := reduce.ParseField("a.b", rule.Name)
		require.NoError(t, err)
		require.Equal(t, rule.Name, reducer.String())
		require.Equal(t, rule.Name == "REDUCE_NONE", reducer.None())
		for _, kind := range []tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative} {
			for _, valueType := range []tsdb.ValueType{tsdb.Bool, tsdb.Int64, tsdb.Double, tsdb.Distributed} {
				in := &tsdb.Series{Metric: "m", Kind: kind, ValueType: valueType, Unit: "By"}
				out, err := reducer.Output(in)
				if !rule.Accepts(kind, valueType) {
					require.Equal(t, fault.Invalid, fault.KindOf(err))
					require.ErrorContains(t, err, `field a.b had an invalid value of "`+rule.Name+`": the reducer`)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, rule.Output(in), out)
			}
		}
	}
	_, err := reduce.Parse("REDUCE_MEDIAN")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, `field aggregation.crossSeriesReducer had an invalid value of "REDUCE_MEDIAN": it is none of REDUCE_NONE,`)
}

func TestReduce(t *testing.T) {
	t.Parallel()
	p := func(pairs ...float64) tsdb.Points {
		var points tsdb.Points
		for i := 0; i < len(pairs); i += 2 {
			points.Times = append(points.Times, tsdb.Millis(pairs[i]))
			points.Values = append(points.Values, pairs[i+1])
		}
		return points
	}
	// 10 is in all three, 20 in two, 30 in one; 40 is negative.
	series := []tsdb.Points{p(10, 1, 20, 4, 40, -1), p(10, 3), p(10, 8, 20, -4, 30, 7, 40, -2)}
	f := func(name string, series []tsdb.Points, want tsdb.Points) {
		t.Helper()
		reducer, err := reduce.Parse(name)
		require.NoError(t, err)
		require.Equal(t, want, reducer.Reduce(series))
	}
	f("REDUCE_MEAN", series, p(10, 4, 20, 0, 30, 7, 40, -1.5))
	f("REDUCE_MIN", series, p(10, 1, 20, -4, 30, 7, 40, -2))
	f("REDUCE_MAX", series, p(10, 8, 20, 4, 30, 7, 40, -1))
	f("REDUCE_SUM", series, p(10, 12, 20, 0, 30, 7, 40, -3))
	f("REDUCE_COUNT", series, p(10, 3, 20, 2, 30, 1, 40, 2))
	f("REDUCE_STDDEV", series[:2], p(10, 1, 20, 0, 40, 0))
	f("REDUCE_PERCENTILE_50", series, p(10, 3, 20, 0, 30, 7, 40, -1.5))
	f("REDUCE_SUM", series[1:2], p(10, 3))
	f("REDUCE_SUM", []tsdb.Points{p(), p(5, 1), p()}, p(5, 1))
}

// Every reducer agrees with collecting the values of each time in a map.
func TestReduce_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		series := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) tsdb.Points {
			var p tsdb.Points
			for at := range 12 {
				if rapid.Bool().Draw(rt, "there") {
					p.Times = append(p.Times, tsdb.Millis(at*60))
					p.Values = append(p.Values, float64(rapid.IntRange(-9, 9).Draw(rt, "value")))
				}
			}
			return p
		}), 1, 9).Draw(rt, "series")
		model := map[tsdb.Millis][]float64{}
		for _, p := range series {
			for i, at := range p.Times {
				model[at] = append(model[at], p.Values[i])
			}
		}
		f := func(name string, value func([]float64) float64) {
			reducer, err := reduce.Parse(name)
			require.NoError(rt, err)
			got := reducer.Reduce(series)
			require.Len(rt, got.Times, len(model))
			require.True(rt, slices.IsSorted(got.Times))
			for i, at := range got.Times {
				require.InDelta(rt, value(model[at]), got.Values[i], 1e-9)
			}
		}
		total := func(vs []float64) (sum float64) {
			for _, v := range vs {
				sum += v
			}
			return sum
		}
		f("REDUCE_SUM", total)
		f("REDUCE_MEAN", func(vs []float64) float64 { return total(vs) / float64(len(vs)) })
		f("REDUCE_COUNT", func(vs []float64) float64 { return float64(len(vs)) })
		f("REDUCE_MIN", func(vs []float64) float64 { return slices.Min(vs) })
		f("REDUCE_MAX", func(vs []float64) float64 { return slices.Max(vs) })
		mean := func(vs []float64) float64 { return total(vs) / float64(len(vs)) }
		f("REDUCE_STDDEV", func(vs []float64) float64 {
			var squares []float64
			for _, v := range vs {
				squares = append(squares, v*v)
			}
			return math.Sqrt(max(0, mean(squares)-mean(vs)*mean(vs)))
		})
		isTrue := func(vs []float64) float64 {
			return float64(len(slices.DeleteFunc(slices.Clone(vs), func(v float64) bool { return v == 0 })))
		}
		f("REDUCE_COUNT_TRUE", isTrue)
		f("REDUCE_COUNT_FALSE", func(vs []float64) float64 { return float64(len(vs)) - isTrue(vs) })
		f("REDUCE_FRACTION_TRUE", func(vs []float64) float64 { return isTrue(vs) / float64(len(vs)) })
		for name, q := range map[string]float64{"99": 0.99, "95": 0.95, "50": 0.5, "05": 0.05} {
			f("REDUCE_PERCENTILE_"+name, func(vs []float64) float64 {
				sorted := slices.Sorted(slices.Values(vs))
				rank := q * float64(len(vs)-1)
				low := int(rank)
				high := sorted[min(low+1, len(sorted)-1)]
				return sorted[low] + (high-sorted[low])*(rank-float64(low))
			})
		}
	})
}

// BenchmarkReduce reduces a thousand series with a day of minutes each.
func BenchmarkReduce(b *testing.B) {
	const series, minutes = 1000, 1440
	columns := make([]tsdb.Points, series)
	for s := range columns {
		for i := range minutes {
			if (s+i)%100 == 0 {
				continue // one point in a hundred is missing
			}
			columns[s].Times = append(columns[s].Times, tsdb.Millis(i)*60_000)
			columns[s].Values = append(columns[s].Values, float64(i))
		}
	}
	for _, name := range []string{"REDUCE_MEAN", "REDUCE_STDDEV", "REDUCE_PERCENTILE_99"} {
		b.Run(name, func(b *testing.B) {
			reducer, err := reduce.Parse(name)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				reducer.Reduce(columns)
			}
			b.ReportMetric(float64(series*minutes)*float64(b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
}
