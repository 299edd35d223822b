package align_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/align"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/validity"
)

// Every aligner of the table can be parsed, and no other.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, rule := range validity.Rules(validity.Aligner) {
		aligner, err := align.Parse(rule.Name)
		require.NoError(t, err)
		require.Equal(t, rule.Name, aligner.String())
		require.Equal(t, rule.Name == "ALIGN_NONE", aligner.None())
	}
	aligner, err := align.Parse("")
	require.NoError(t, err)
	require.True(t, aligner.None())
	for _, name := range []string{"mean", "ALIGN_PERCENTILE_98", "ALIGN_", "SUMMARY"} {
		_, err := align.ParseField("a.b", name)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.ErrorContains(t, err, `field a.b had an invalid value of "`+name+`": it is none of ALIGN_NONE, ALIGN_DELTA,`)
	}
}

// The validity is that of the table, for every kind and value type.
func TestOutput(t *testing.T) {
	t.Parallel()
	for _, rule := range validity.Rules(validity.Aligner) {
		aligner, err := align.ParseField("a.b", rule.Name)
		require.NoError(t, err)
		for _, kind := range []tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative} {
			for _, valueType := range []tsdb.ValueType{tsdb.Bool, tsdb.Int64, tsdb.Double, tsdb.Distributed} {
				in := &tsdb.Series{Metric: "m", Kind: kind, ValueType: valueType, Unit: "By"}
				before := *in
				out, err := aligner.Output(in)
				require.Equal(t, before, *in, "the input is shared")
				if !rule.Accepts(kind, valueType) {
					require.Equal(t, fault.Invalid, fault.KindOf(err))
					require.ErrorContains(t, err, `field a.b had an invalid value of "`+rule.Name+`": the aligner`)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, rule.Output(in), out)
			}
		}
	}
}

func TestGrid_Windows(t *testing.T) {
	t.Parallel()
	f := func(start, end, period tsdb.Millis, want int) {
		t.Helper()
		require.Equal(t, want, align.Grid{Start: start, End: end, Period: period}.Windows())
	}
	f(0, 0, 60, 1)
	f(0, 1, 60, 1)
	f(0, 60, 60, 1)
	f(0, 61, 60, 2)
	f(0, 120, 60, 2)
	f(-59, 60, 60, 2)
	f(-61, 0, 60, 2)
}

// second is a second in Millis, hour an hour.
const (
	second = tsdb.Millis(1000)
	hour   = 3600 * second
)

// at are points at the given seconds with the given values, pairwise.
func at(pairs ...float64) tsdb.Points {
	var p tsdb.Points
	for i := 0; i < len(pairs); i += 2 {
		p.Times = append(p.Times, tsdb.Millis(pairs[i]*1000))
		p.Values = append(p.Values, pairs[i+1])
	}
	return p
}

func TestAlign(t *testing.T) {
	t.Parallel()
	f := func(name string, kind tsdb.MetricKind, g align.Grid, in, want tsdb.Points) {
		t.Helper()
		aligner, err := align.Parse(name)
		require.NoError(t, err)
		series := &tsdb.Series{Kind: kind}
		got := aligner.Align(g, series, in)
		require.Equal(t, want.Len(), got.Len(), "%v", got)
		if want.Len() > 0 {
			require.Equal(t, want, got)
		}
		require.Equal(t, got, aligner.Align(g, series, slice(in, aligner.Reads(g))), "what is read is enough")
	}
	minutes := align.Grid{Start: 0, End: 180 * second, Period: 60 * second}

	// Edges: 0 is in no window, 60 in the first, 60.001 in the second.
	edges := at(0, 100, 60, 1, 60.001, 2, 120, 4, 180, 8, 180.001, 100)
	f("ALIGN_MEAN", tsdb.Gauge, minutes, edges, at(60, 1, 120, 3, 180, 8))
	f("ALIGN_MIN", tsdb.Gauge, minutes, edges, at(60, 1, 120, 2, 180, 8))
	f("ALIGN_MAX", tsdb.Gauge, minutes, edges, at(60, 1, 120, 4, 180, 8))
	f("ALIGN_SUM", tsdb.Delta, minutes, edges, at(60, 1, 120, 6, 180, 8))
	f("ALIGN_COUNT", tsdb.Gauge, minutes, edges, at(60, 1, 120, 2, 180, 1))
	f("ALIGN_NONE", tsdb.Gauge, minutes, edges, at(60, 1, 60.001, 2, 120, 4, 180, 8))

	// Gaps stay gaps; no points, no answer.
	f("ALIGN_COUNT", tsdb.Gauge, minutes, at(1, 0, 179, 0), at(60, 1, 180, 1))
	f("ALIGN_COUNT", tsdb.Gauge, minutes, at(0, 0, 181, 0), at())
	f("ALIGN_MEAN", tsdb.Gauge, minutes, at(), at())

	// The grid hangs on the end; the first window reaches before the start.
	odd := align.Grid{Start: 0, End: 90 * second, Period: 60 * second}
	f("ALIGN_SUM", tsdb.Gauge, odd, at(-31, 1, -30, 2, -29, 4, 30, 8, 31, 16, 90, 32), at(30, 12, 90, 48))
	instant := align.Grid{Start: 60 * second, End: 60 * second, Period: 60 * second}
	f("ALIGN_SUM", tsdb.Gauge, instant, at(0, 1, 1, 2, 60, 4, 61, 8), at(60, 6))
	f("ALIGN_NONE", tsdb.Gauge, instant, at(59, 2, 60, 4, 61, 8), at(60, 4))

	// A counter, from 5 before the interval: 0→10, 10→25 and 25→40.
	counter := at(0, 5, 30, 10, 60, 15, 90, 25, 120, 30, 150, 40, 180, 45)
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, counter, at(60, 10, 120, 15, 180, 15))
	f("ALIGN_RATE", tsdb.Cumulative, minutes, counter, at(60, 10.0/60, 120, 0.25, 180, 0.25))
	// Without the point before it, the first window counts from its first.
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(30, 10, 60, 15, 90, 25), at(60, 5, 120, 10))
	f("ALIGN_RATE", tsdb.Cumulative, minutes, at(30, 10, 60, 16), at(60, 0.2))
	// A single point determines no change.
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(30, 10), at())
	f("ALIGN_RATE", tsdb.Cumulative, minutes, at(30, 10), at())
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(30, 10, 90, 12), at(120, 2))
	// Resets: 10, then 3 after a restart, then 5; 90→2 is another one.
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(0, 8, 20, 10, 40, 3, 60, 5, 90, 2), at(60, 7, 120, 2))
	f("ALIGN_RATE", tsdb.Cumulative, minutes, at(0, 8, 20, 10, 40, 3, 60, 5), at(60, 7.0/60))
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(0, 8, 60, 0, 120, 0), at(60, 0, 120, 0))
	// A gap: the increase of 120 s to 180 s counts where points resume.
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(0, 0, 60, 6, 180, 30), at(60, 6, 180, 24))
	f("ALIGN_RATE", tsdb.Cumulative, minutes, at(0, 0, 60, 6, 180, 30), at(60, 0.1, 180, 0.2))
	// Deltas add up; their rate is per period.
	f("ALIGN_DELTA", tsdb.Delta, minutes, at(0, 99, 30, 1, 60, 2, 90, 4), at(60, 3, 120, 4))
	f("ALIGN_RATE", tsdb.Delta, minutes, at(0, 99, 30, 1, 60, 2, 90, 6), at(60, 0.05, 120, 0.1))

	// What was, what is, and on the line between: 10 at 30s, 40 at 90s is 25 at
	// 60s; no point after 150s, so none at 180s; on the edge, the value.
	f("ALIGN_INTERPOLATE", tsdb.Gauge, minutes, at(30, 10, 90, 40, 150, 100), at(60, 25, 120, 70))
	f("ALIGN_INTERPOLATE", tsdb.Gauge, minutes, at(30, 10, 60, 11, 180, 5), at(60, 11, 180, 5))
	f("ALIGN_INTERPOLATE", tsdb.Gauge, minutes, at(170, 1, 190, 3), at(180, 2))                   // beyond the end
	f("ALIGN_INTERPOLATE", tsdb.Gauge, minutes, at(30, 0, 150, 120, 200, 0), at(60, 30, 180, 48)) // a gap stays
	f("ALIGN_INTERPOLATE", tsdb.Gauge, minutes, at(30, 0, 3660, 363), at(60, 3))                  // an hour away
	f("ALIGN_INTERPOLATE", tsdb.Gauge, minutes, at(30, 0, 3660.001, 363), at())
	f("ALIGN_NEXT_OLDER", tsdb.Gauge, minutes, edges, at(60, 1, 120, 4, 180, 8))
	f("ALIGN_STDDEV", tsdb.Gauge, minutes, edges, at(60, 0, 120, 1, 180, 0))
	f("ALIGN_COUNT_TRUE", tsdb.Gauge, minutes, at(0, 1, 1, 1, 60, 0, 61, 0), at(60, 1, 120, 0))
	f("ALIGN_COUNT_FALSE", tsdb.Gauge, minutes, at(0, 1, 1, 1, 60, 0, 61, 0), at(60, 1, 120, 1))
	f("ALIGN_FRACTION_TRUE", tsdb.Gauge, minutes, at(0, 1, 1, 1, 60, 0, 61, 0), at(60, 0.5, 120, 0))
	f("ALIGN_PERCENTILE_50", tsdb.Delta, minutes, at(10, 5, 20, 1, 30, 3, 70, 2, 80, 1), at(60, 3, 120, 1.5))
	f("ALIGN_PERCENTILE_99", tsdb.Delta, minutes, at(10, 5, 20, 1, 30, 3), at(60, 4.96)) // rank 1.98

	// Means over ten minutes: 10 at 0s; 15 at 60s; (10+20+60)/3 = 30 at 120s.
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(0, 10, 60, 20, 120, 60), at(60, 50, 120, 100))
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(-600, 90, 0, 10, 60, 20), at(60, 50))      // ten minutes are over
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(-599.999, 90, 0, 10, 60, 20), at(60, -70)) // from 50 to 15
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(-540, 90, 0, 10, 60, 20), at(60, -70))
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(-30, 10, 0, -7, 30, 20, 60, -1), at(60, 50)) // negative: missing
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(0, 10, 60, -1, 120, 10), at(120, 0))
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(0, 0, 60, 0, 120, 3), at(60, 0, 120, math.Inf(1)))
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(30, 10), at())
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(-3600, 10, 60, 20), at(60, 100))
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(-4199.999, 30, -3600, 10, 60, 20), at(60, 0)) // (30+10)/2
	f("ALIGN_PERCENT_CHANGE", tsdb.Gauge, minutes, at(-3600.001, 10, 60, 20), at())

	// The point before counts up to an hour before the window's start.
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(-3600, 1, 60, 4), at(60, 3))
	f("ALIGN_DELTA", tsdb.Cumulative, minutes, at(-3600.001, 1, 60, 4), at())
	days := align.Grid{Start: 0, End: 24 * hour, Period: 24 * hour}
	f("ALIGN_DELTA", tsdb.Cumulative, days, at(-86400, 1, 3600, 4), at(86400, 3))
	f("ALIGN_DELTA", tsdb.Cumulative, days, at(-86400.001, 1, 3600, 4), at())
}

// drawPoints draws points with a few gaps.
func drawPoints(rt *rapid.T) tsdb.Points {
	var p tsdb.Points
	now := tsdb.Millis(rapid.IntRange(-2000, 0).Draw(rt, "first")) * second
	for range rapid.IntRange(0, 60).Draw(rt, "n") {
		now += tsdb.Millis(rapid.OneOf(rapid.IntRange(1, 90_000), rapid.Just(7_200_000)).Draw(rt, "step"))
		p.Times = append(p.Times, now)
		p.Values = append(p.Values, float64(rapid.IntRange(0, 50).Draw(rt, "value")))
	}
	return p
}

// drawAligner draws an aligner and a series that it accepts.
func drawAligner(rt *rapid.T) (align.Aligner, *tsdb.Series) {
	rule := rapid.SampledFrom(validity.Rules(validity.Aligner)[1:]).Draw(rt, "aligner")
	aligner, err := align.Parse(rule.Name)
	require.NoError(rt, err)
	return aligner, &tsdb.Series{
		Kind:      rapid.SampledFrom(rule.Kinds).Draw(rt, "kind"),
		ValueType: rapid.SampledFrom(rule.Types).Draw(rt, "type"),
	}
}

// distributed are points with distributions of the values up to theirs.
func distributed(p tsdb.Points) tsdb.Points {
	out := tsdb.Points{Times: p.Times}
	for _, v := range p.Values {
		var values []float64
		for x := 0.0; x <= v; x += 7 {
			values = append(values, x)
		}
		out.Distributions = append(out.Distributions, distribution.Of(tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 5, Width: 10}, values...))
	}
	return out
}

// slice is the part of p in the closed interval iv.
func slice(p tsdb.Points, iv tsdb.Interval) tsdb.Points {
	var out tsdb.Points
	for i, t := range p.Times {
		if iv.Start <= t && t <= iv.End {
			out.Times = append(out.Times, t)
			if p.Distributions != nil {
				out.Distributions = append(out.Distributions, p.Distributions[i])
			} else {
				out.Values = append(out.Values, p.Values[i])
			}
		}
	}
	return out
}

// What is read decides: points outside of Reads do not matter, and a window
// has the same value in every query that has it.
func TestAlign_WindowsDoNotDependOnTheQuery(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		aligner, series := drawAligner(rt)
		points := drawPoints(rt)
		if series.ValueType == tsdb.Distributed {
			points = distributed(points)
		}
		g := align.Grid{
			Start:  tsdb.Millis(rapid.IntRange(-1000, 1000).Draw(rt, "start")) * second,
			Period: tsdb.Millis(rapid.IntRange(1, 500).Draw(rt, "period")) * second,
		}
		g.End = g.Start + tsdb.Millis(rapid.IntRange(0, 7200).Draw(rt, "length"))*second
		whole := aligner.Align(g, series, points)
		require.Equal(rt, whole, aligner.Align(g, series, slice(points, aligner.Reads(g))))

		later := g
		later.Start = min(g.End, g.Start+tsdb.Millis(rapid.IntRange(0, 7200).Draw(rt, "later"))*second)
		part := aligner.Align(later, series, slice(points, aligner.Reads(later)))
		for i, end := range part.Times {
			at := slice(whole, tsdb.Interval{Start: end, End: end})
			require.Equal(rt, part.Slice(i, i+1), at)
		}
		for _, end := range whole.Times {
			require.Greater(rt, end, g.Start-1)
			require.Zero(rt, (g.End-end)%g.Period)
		}
	})
}

// However a counter is cut into windows, its deltas add up to its increase
// with the resets taken out, as long as no gap is longer than the lookback.
func TestAlign_DeltasAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		delta, err := align.Parse("ALIGN_DELTA")
		require.NoError(rt, err)
		points, now := tsdb.Points{}, tsdb.Millis(0)
		want, last := 0.0, -1.0
		for range rapid.IntRange(1, 60).Draw(rt, "n") {
			now += tsdb.Millis(rapid.IntRange(1, int(hour)).Draw(rt, "step"))
			v := float64(rapid.IntRange(0, 1000).Draw(rt, "value"))
			points.Times, points.Values = append(points.Times, now), append(points.Values, v)
			switch {
			case last < 0: // the first point only says where counting begins
			case v < last:
				want += v
			default:
				want += v - last
			}
			last = v
		}
		g := align.Grid{Start: 0, End: now, Period: tsdb.Millis(rapid.IntRange(1, int(3*hour)).Draw(rt, "period"))}
		got := 0.0
		for _, v := range delta.Align(g, &tsdb.Series{Kind: tsdb.Cumulative}, points).Values {
			got += v
		}
		require.Equal(rt, want, got)
	})
}

// BenchmarkMean aligns 1.7 million points: a hundred series of a day, one
// point every five seconds.
func BenchmarkMean(b *testing.B) {
	const series, perSeries = 100, 17_280
	columns := make([]tsdb.Points, series)
	for s := range columns {
		for i := range perSeries {
			columns[s].Times = append(columns[s].Times, tsdb.Millis(i)*5000)
			columns[s].Values = append(columns[s].Values, float64(i%97))
		}
	}
	g := align.Grid{Start: 0, End: perSeries * 5000, Period: 60_000}
	for _, name := range []string{"ALIGN_MEAN", "ALIGN_MAX", "ALIGN_COUNT", "ALIGN_RATE", "ALIGN_STDDEV", "ALIGN_PERCENTILE_99", "ALIGN_PERCENT_CHANGE"} {
		b.Run(name, func(b *testing.B) {
			aligner, err := align.Parse(name)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				for _, points := range columns {
					aligner.Align(g, &tsdb.Series{Kind: tsdb.Gauge}, points)
				}
			}
			b.ReportMetric(float64(series*perSeries)*float64(b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
}
