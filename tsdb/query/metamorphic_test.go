package query_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/validity"
)

// drawn is a metric with its samples, and an aggregation that it is valid for.
type drawn struct {
	descriptor tsdb.Descriptor
	samples    []tsdb.Sample
	first      query.Aggregation
	second     query.Aggregation
}

// store is a new store with the samples in that order, in batches.
func (d drawn) store(rt *rapid.T, samples []tsdb.Sample) *memory.Store {
	ds := &memory.Descriptors{}
	_, err := ds.Ensure(context.Background(), d.descriptor)
	require.NoError(rt, err)
	store := memory.New(ds)
	for len(samples) > 0 {
		n := rapid.IntRange(1, len(samples)).Draw(rt, "batch")
		require.NoError(rt, store.Append(context.Background(), samples[:n]))
		samples = samples[n:]
	}
	return store
}

// request asks for (start, end].
func (d drawn) request(start, end time.Time) query.Request {
	return query.Request{
		Project: "p", Filter: `metric.type = "m"`, Start: start, End: end,
		Aggregation: d.first, SecondaryAggregation: d.second,
	}
}

// answer is what List tells: the points by series, and what the series are.
func answer(rt *rapid.T, store tsdb.Store, req query.Request) map[string]tsdb.Points {
	page, err := query.New(store, query.Options{}).List(context.Background(), req)
	require.NoError(rt, err)
	require.Empty(rt, page.Next)
	got := map[string]tsdb.Points{}
	for _, r := range page.Results {
		s := r.Series
		got[fmt.Sprintf("%q %s %s %s", s.Key(), s.Kind, s.ValueType, s.Unit)] = r.Points
	}
	return got
}

// drawAggregation draws an aggregation that is valid for a kind and value type
// and has the aligner of the rule.
func drawAggregation(rt *rapid.T, rule validity.Rule, in *tsdb.Series, period time.Duration) (query.Aggregation, *tsdb.Series) {
	agg := query.Aggregation{PerSeriesAligner: rule.Name, AlignmentPeriod: period}
	out := rule.Output(in)
	reducer := rapid.SampledFrom(slices.DeleteFunc(slices.Clone(validity.Rules(validity.Reducer)), func(r validity.Rule) bool {
		return !r.Accepts(out.Kind, out.ValueType)
	})).Draw(rt, "reducer")
	agg.CrossSeriesReducer = reducer.Name
	if rapid.Bool().Draw(rt, "grouped") {
		agg.GroupByFields = []string{"metric.labels.room"}
	}
	return agg, reducer.Output(out)
}

// drawMetric draws samples of up to three series, in the three hours before
// noon and a little after, for the aligner.
func drawMetric(rt *rapid.T, rule validity.Rule) drawn {
	in := &tsdb.Series{
		Kind:      rapid.SampledFrom(rule.Kinds).Draw(rt, "kind"),
		ValueType: rapid.SampledFrom(rule.Types).Draw(rt, "type"),
	}
	d := drawn{descriptor: tsdb.Descriptor{Project: "p", Type: "m", Kind: in.Kind, ValueType: in.ValueType, Unit: "By"}}
	period := time.Duration(rapid.IntRange(1, 900).Draw(rt, "period")) * time.Second
	made := in
	d.first, made = drawAggregation(rt, rule, in, period)
	if rapid.Bool().Draw(rt, "secondary") {
		again := rapid.SampledFrom(slices.DeleteFunc(slices.Clone(validity.Rules(validity.Aligner)[1:]), func(r validity.Rule) bool {
			return !r.Accepts(made.Kind, made.ValueType)
		})).Draw(rt, "second aligner")
		d.second, _ = drawAggregation(rt, again, made, period*time.Duration(rapid.IntRange(1, 4).Draw(rt, "periods")))
	}
	greatest := 20
	if in.ValueType == tsdb.Bool {
		greatest = 1
	}
	for i := range rapid.IntRange(1, 3).Draw(rt, "series") {
		s := room("m", fmt.Sprint(i%2))
		s.MetricLabels = append(s.MetricLabels, tsdb.Label{Name: "sensor", Value: fmt.Sprint(i)})
		s.ValueType = in.ValueType
		at := noon.Add(-3 * time.Hour)
		for range rapid.IntRange(0, 40).Draw(rt, "points") {
			at = at.Add(time.Duration(rapid.OneOf(rapid.IntRange(1, 400_000), rapid.Just(300_000)).Draw(rt, "step")) * time.Millisecond)
			sample := tsdb.Sample{Series: s, Time: tsdb.Millis(at.UnixMilli())}
			if v := rapid.IntRange(0, greatest).Draw(rt, "value"); in.ValueType == tsdb.Distributed {
				values := make([]float64, v%4)
				for i := range values {
					values[i] = float64(v * i)
				}
				sample.Distribution = distribution.Of(tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 4 + i, Width: 10}, values...)
			} else {
				sample.Value = float64(v)
			}
			d.samples = append(d.samples, sample)
		}
	}
	return d
}

// forEveryAligner checks a property for each aligner, with drawn metrics.
// SPEC A6
func forEveryAligner(t *testing.T, property func(rt *rapid.T, d drawn)) {
	for _, rule := range validity.Rules(validity.Aligner)[1:] {
		t.Run(rule.Name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { property(rt, drawMetric(rt, rule)) })
		})
	}
}

// Two intervals that meet at the border of two windows have the points of the
// whole one.
func TestList_SplitAtBorders(t *testing.T) {
	t.Parallel()
	forEveryAligner(t, func(rt *rapid.T, d drawn) {
		store := d.store(rt, d.samples)
		period := d.first.AlignmentPeriod
		if d.second.AlignmentPeriod != 0 {
			period = d.second.AlignmentPeriod
		}
		windows := rapid.IntRange(2, 12).Draw(rt, "windows")
		start := noon.Add(-time.Duration(windows) * period)
		border := noon.Add(-time.Duration(rapid.IntRange(1, windows-1).Draw(rt, "border")) * period)
		whole := answer(rt, store, d.request(start, noon))
		split := answer(rt, store, d.request(start, border))
		for key, p := range answer(rt, store, d.request(border, noon)) {
			before := split[key]
			split[key] = tsdb.Points{
				Times: append(before.Times, p.Times...), Values: append(before.Values, p.Values...),
				Distributions: append(before.Distributions, p.Distributions...),
			}
		}
		require.Equal(rt, whole, split)
	})
}

// In whatever order the samples come, how often each, and whatever lower value
// comes with it, the answer is the same.
func TestList_AnyArrival(t *testing.T) {
	t.Parallel()
	forEveryAligner(t, func(rt *rapid.T, d drawn) {
		samples := slices.Clone(d.samples)
		for _, s := range d.samples {
			switch rapid.IntRange(0, 3).Draw(rt, "again") {
			case 0:
				samples = append(samples, s)
			case 1:
				if s.Distribution == nil {
					s.Value--
				}
				samples = append(samples, s)
			}
		}
		req := d.request(noon.Add(-3*time.Hour), noon)
		want := answer(rt, d.store(rt, d.samples), req)
		if len(samples) > 0 {
			samples = rapid.Permutation(samples).Draw(rt, "order")
		}
		require.Equal(rt, want, answer(rt, d.store(rt, samples), req))
	})
}

// A secondary aggregation answers as if the first one's answer had been stored
// and asked for.
func TestList_SecondaryIsOverAnAnswer(t *testing.T) {
	t.Parallel()
	forEveryAligner(t, func(rt *rapid.T, d drawn) {
		if d.second.AlignmentPeriod == 0 {
			return
		}
		store := d.store(rt, d.samples)
		// Twelve hours before and a day after the interval are more than any
		// aligner here looks at; the longer interval has the same windows.
		period := d.first.AlignmentPeriod
		end := noon.Add(24 * time.Hour / period * period)
		once := d
		once.second = query.Aggregation{}
		page, err := query.New(store, query.Options{}).List(context.Background(), once.request(noon.Add(-15*time.Hour), end))
		require.NoError(rt, err)
		again := drawn{descriptor: d.descriptor, first: d.second}
		for _, r := range page.Results {
			s := *r.Series
			again.descriptor.Kind, again.descriptor.ValueType, again.descriptor.Unit = s.Kind, s.ValueType, s.Unit
			for i, at := range r.Points.Times {
				sample := tsdb.Sample{Series: &s, Time: at}
				if r.Points.Distributions != nil {
					sample.Distribution = r.Points.Distributions[i]
				} else {
					sample.Value = r.Points.Values[i]
				}
				again.samples = append(again.samples, sample)
			}
		}
		start := noon.Add(-time.Duration(rapid.IntRange(0, 10_800).Draw(rt, "length")) * time.Second)
		want := answer(rt, again.store(rt, again.samples), again.request(start, noon))
		require.Equal(rt, want, answer(rt, store, d.request(start, noon)))
	})
}
