package reduce_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/reduce"
)

func TestOutput(t *testing.T) {
	t.Parallel()
	f := func(name, want string) {
		t.Helper()
		reducer, err := reduce.Parse(name)
		require.NoError(t, err)
		var got []string
		for _, kind := range []tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative} {
			for _, valueType := range []tsdb.ValueType{tsdb.Bool, tsdb.Int64, tsdb.Double} {
				out, err := reducer.Output(&tsdb.Series{Metric: "m", Kind: kind, ValueType: valueType, Unit: "By"})
				if err != nil {
					require.Equal(t, fault.Invalid, fault.KindOf(err))
					require.ErrorContains(t, err, string("kind "+kind))
					got = append(got, "-")
					continue
				}
				got = append(got, strings.Join([]string{string(out.Kind), string(out.ValueType), out.Unit}, "/"))
			}
		}
		require.Equal(t, strings.Fields(want), got)
	}
	// Columns: BOOL, INT64, DOUBLE; rows: GAUGE, DELTA, CUMULATIVE.
	f("REDUCE_MEAN", `
		-  GAUGE/DOUBLE/By  GAUGE/DOUBLE/By
		-  DELTA/DOUBLE/By  DELTA/DOUBLE/By
		-  -                -`)
	for _, name := range []string{"REDUCE_MIN", "REDUCE_MAX", "REDUCE_SUM"} {
		f(name, `
			-  GAUGE/INT64/By  GAUGE/DOUBLE/By
			-  DELTA/INT64/By  DELTA/DOUBLE/By
			-  -               -`)
	}
	f("REDUCE_COUNT", `
		GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1
		GAUGE/INT64/1  GAUGE/INT64/1  GAUGE/INT64/1
		-              -              -`)
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"REDUCE_NONE", "REDUCE_MEAN", "REDUCE_MIN", "REDUCE_MAX", "REDUCE_SUM", "REDUCE_COUNT"} {
		reducer, err := reduce.Parse(name)
		require.NoError(t, err)
		require.Equal(t, name, reducer.String())
		require.Equal(t, name == "REDUCE_NONE", reducer.None())
	}
	_, err := reduce.Parse("REDUCE_STDDEV")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "REDUCE_STDDEV")
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
				require.Equal(rt, value(model[at]), got.Values[i])
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
	reducer, err := reduce.Parse("REDUCE_MEAN")
	require.NoError(b, err)
	for b.Loop() {
		reducer.Reduce(columns)
	}
	b.ReportMetric(float64(series*minutes)*float64(b.N)/b.Elapsed().Seconds(), "points/s")
}
