package distribution_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	_ "cloud.google.com/go/monitoring/apiv3/v2/monitoringpb" // the types of attachments
	"github.com/stretchr/testify/require"
	distributionpb "google.golang.org/genproto/googleapis/api/distribution"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/distribution"
)

// span is the name of a span.
var span = distribution.SpanName("p", []byte("0123456789abcdef"), []byte("01234567"))

// drawnExemplar is any exemplar.
var drawnExemplar = rapid.Custom(func(t *rapid.T) tsdb.Exemplar {
	text := rapid.SampledFrom([]string{"", "", "é\"\n", "long " + strings.Repeat("x", 60)})
	e := tsdb.Exemplar{
		Value: rapid.Float64Range(-3, 9).Draw(t, "value"), Time: tsdb.Millis(rapid.Int64Range(-5, 5).Draw(t, "time")) * 1e11,
		Span: rapid.SampledFrom([]string{"", span, strings.ToUpper(span), "projects/p/traces//spans/", span + "0"}).Draw(t, "span"),
		Text: text.Draw(t, "text"),
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "labels") {
		e.Dropped = append(e.Dropped, tsdb.Label{Name: fmt.Sprint("l", i), Value: text.Draw(t, "value")})
	}
	return e
})

// drawnWith is a distribution with exemplars.
var drawnWith = rapid.Custom(func(t *rapid.T) *tsdb.Distribution {
	d := distribution.Of(tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{-1, 0, 2, 5}}, rapid.SliceOfN(rapid.Float64Range(-3, 9), 1, 5).Draw(t, "values")...)
	distribution.KeepExemplars(d, rapid.SliceOfN(drawnExemplar, 0, 8).Draw(t, "exemplars"))
	return d
})

// What is kept is valid, at most one of each bucket, the newest; the rest is
// counted; and as numbers it comes back. SPEC A6
func TestExemplars_Kept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOf(drawnExemplar).Draw(rt, "all")
		d := distribution.Of(tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 3, Width: 2, Offset: -1}, 1, 2, 3)
		lost := distribution.KeepExemplars(d, all)
		require.Equal(rt, len(all), lost+len(d.Exemplars))
		require.NoError(rt, distribution.Validate(d))
		shuffled := *d
		distribution.KeepExemplars(&shuffled, rapid.Permutation(all).Draw(rt, "shuffled"))
		require.Equal(rt, d.Exemplars, shuffled.Exemplars)
		bucket := func(v float64) int { return int(math.Floor((min(max(v, -2), 5) + 1) / 2)) }
		seen := map[int]bool{}
		for _, e := range d.Exemplars {
			require.False(rt, seen[bucket(e.Value)])
			seen[bucket(e.Value)] = true
			for _, o := range all {
				require.False(rt, bucket(o.Value) == bucket(e.Value) && o.Time > e.Time, "there is a newer one")
			}
		}
		numbers := distribution.ExemplarNumbers(d.Exemplars)
		require.LessOrEqual(rt, len(numbers), 129)
		if len(numbers) == 0 {
			return
		}
		require.Len(rt, numbers, distribution.ExemplarCount(numbers[0]))
		got, ok := distribution.ExemplarsOf(numbers)
		require.True(rt, ok)
		require.Equal(rt, d.Exemplars, got)
		for i := range numbers { // what is not whole is none
			_, ok = distribution.ExemplarsOf(slices.Delete(slices.Clone(numbers), i, i+1))
			require.False(rt, ok)
			changed := slices.Clone(numbers)
			changed[i]++
			_, ok = distribution.ExemplarsOf(changed)
			require.False(rt, ok)
		}
	})
}

// Of several for one time that one stays which a storage keeps that keeps the
// greatest of each number, whatever the order was; and merging knows no order
// either. SPEC A6
func TestExemplars_JoinAndMerge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(drawnWith, 2, 4).Draw(rt, "all")
		var greatest []float64
		joined, reversed := all[0], all[len(all)-1]
		for i, d := range all {
			for k, n := range distribution.ExemplarNumbers(d.Exemplars) {
				if k == len(greatest) {
					greatest = append(greatest, n)
				}
				greatest[k] = max(greatest[k], n)
			}
			joined, reversed = distribution.Join(joined, d), distribution.Join(reversed, all[len(all)-1-i])
		}
		require.Equal(rt, joined.Exemplars, reversed.Exemplars)
		if len(greatest) > 0 {
			want, ok := distribution.ExemplarsOf(greatest[:distribution.ExemplarCount(greatest[0])])
			require.True(rt, ok)
			require.Equal(rt, want, joined.Exemplars)
		}
		merged := distribution.Merge(all...)
		slices.Reverse(all)
		require.Equal(rt, merged.Exemplars, distribution.Merge(all...).Exemplars)
		var newest tsdb.Millis = math.MinInt64
		for _, d := range all {
			for _, e := range d.Exemplars {
				newest = max(newest, e.Time)
			}
		}
		if len(merged.Exemplars) > 0 {
			require.Equal(rt, newest, slices.MaxFunc(merged.Exemplars, func(a, b tsdb.Exemplar) int { return int(a.Time/1e11 - b.Time/1e11) }).Time)
		}
	})
}

// A difference has the exemplars that are new; buckets that are no more leave one
// in their place. SPEC A6
func TestExemplars_SubtractAndCoarsen(t *testing.T) {
	t.Parallel()
	bounds := func(bounds ...float64) tsdb.Buckets {
		return tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: bounds}
	}
	with := func(d *tsdb.Distribution, list ...tsdb.Exemplar) *tsdb.Distribution {
		require.Zero(t, distribution.KeepExemplars(d, list))
		return d
	}
	one, two, five := tsdb.Exemplar{Value: 1, Time: 10}, tsdb.Exemplar{Value: 2, Time: 30}, tsdb.Exemplar{Value: 5, Time: 20}
	earlier := with(distribution.Of(bounds(2, 4), 1), one)
	later := with(distribution.Of(bounds(2, 4), 1, 2, 5), one, two, five)
	more, ok := distribution.Subtract(later, earlier)
	require.True(t, ok)
	require.Equal(t, []tsdb.Exemplar{two, five}, more.Exemplars)
	require.Equal(t, []tsdb.Exemplar{one, two}, distribution.Merge(later, with(distribution.Of(bounds(2), 3))).Exemplars)
	require.Equal(t, []tsdb.Exemplar{two}, distribution.Merge(later, distribution.Of(tsdb.Buckets{}, 3)).Exemplars)
	require.Empty(t, distribution.Merge(later, distribution.Of(tsdb.Buckets{Kind: tsdb.DynamicBuckets, Compression: 100}, 3)).Exemplars)
	require.Equal(t, 1, distribution.KeepExemplars(&tsdb.Distribution{}, []tsdb.Exemplar{one}), "there are no values")
	require.Equal(t, 2, distribution.KeepExemplars(earlier, []tsdb.Exemplar{one, {Value: math.NaN()}, {Value: 0, Time: 9}}))
	for _, bad := range [][]tsdb.Exemplar{{two, one}, {one, {Value: 0}}, {{Value: math.Inf(1)}}, {{Text: strings.Repeat("x", 600)}}} {
		d := distribution.Of(bounds(2, 4), 1)
		d.Exemplars = bad
		require.Equal(t, distribution.InvalidExemplars, fault.ReasonOf(distribution.Validate(d)))
	}
}

// What is written as JSON is what Google's library reads. SPEC A6
func TestExemplars_JSON(t *testing.T) {
	t.Parallel()
	d := distribution.Of(tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{2}}, 1, 2)
	require.Zero(t, distribution.KeepExemplars(d, []tsdb.Exemplar{
		{Value: 1, Time: 1_700_000_000_123, Span: span, Text: "é\"\n<", Dropped: tsdb.Labels{{Name: `a"`, Value: "b"}, {Name: "c"}}},
		{Value: 3},
	}))
	var got distributionpb.Distribution
	require.NoError(t, protojson.Unmarshal(distribution.AppendJSON(nil, d), &got))
	require.Len(t, got.GetExemplars(), 2)
	first := got.GetExemplars()[0]
	require.EqualValues(t, 1, first.GetValue())
	require.EqualValues(t, 1_700_000_000_123, first.GetTimestamp().AsTime().UnixMilli())
	require.Len(t, first.GetAttachments(), 3)
	text, err := protojson.Marshal(first.GetAttachments()[2])
	require.NoError(t, err)
	require.JSONEq(t, `{"@type":"type.googleapis.com/google.monitoring.v3.DroppedLabels","label":{"a\"":"b","c":""}}`, string(text))
	require.Empty(t, got.GetExemplars()[1].GetAttachments())
}
