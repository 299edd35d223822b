package backends

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/validity"
	"selvedge.dev/tsdb/vm"
)

// all is a selection of everything near end.
func all(end time.Time) tsdb.Selection {
	return tsdb.Selection{Project: "p", Interval: tsdb.Interval{
		Start: tsdb.Millis(end.Add(-24 * time.Hour).UnixMilli()), End: tsdb.Millis(end.Add(time.Hour).UnixMilli()),
	}}
}

// move copies what one store holds to another.
func move(ctx context.Context, from, to tsdb.Store, sel tsdb.Selection) error {
	return from.Select(ctx, sel, func(s *tsdb.Series, points tsdb.Points) error {
		samples := make([]tsdb.Sample, points.Len())
		for i := range samples {
			samples[i] = tsdb.Sample{Series: s, Time: points.Times[i], Value: points.Values[i]}
		}
		slices.Reverse(samples)
		return to.Append(ctx, samples)
	})
}

// SPEC A6: data that is moved to the other backend, and back, gives the same
// answers to the last bit.
func TestVictoria_MovedData(t *testing.T) {
	t.Parallel()
	end := time.Now().Truncate(time.Second).Add(-time.Hour)
	embedded, err := vm.Open(t.TempDir(), vm.Options{Retention: decades})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, embedded.Close()) })
	require.NoError(t, embedded.Append(t.Context(), scattered(end)))
	remote := openVictoria(t, t.TempDir(), nil)
	require.NoError(t, move(t.Context(), embedded, remote, all(end)))
	back, err := vm.Open(t.TempDir(), vm.Options{Retention: decades})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, back.Close()) })
	require.NoError(t, move(t.Context(), remote, back, all(end)))

	for _, aligner := range validity.Rules(validity.Aligner) {
		for _, reducer := range validity.Rules(validity.Reducer) {
			aligned := &tsdb.Series{Kind: tsdb.Gauge, ValueType: tsdb.Double}
			if !aligner.Accepts(aligned.Kind, aligned.ValueType) {
				continue
			}
			if aligned = aligner.Output(aligned); !reducer.Accepts(aligned.Kind, aligned.ValueType) {
				continue
			}
			if aligner.Name == "ALIGN_NONE" && reducer.Name != "REDUCE_NONE" {
				continue
			}
			req := query.Request{
				Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-3 * time.Hour), End: end,
				Aggregation: query.Aggregation{
					PerSeriesAligner: aligner.Name, AlignmentPeriod: 7 * time.Minute, CrossSeriesReducer: reducer.Name,
				},
			}
			want, err := query.New(embedded, query.Options{}).List(t.Context(), req)
			require.NoError(t, err)
			require.NotEmpty(t, want.Results)
			for _, store := range []tsdb.Store{remote, back} {
				got, err := query.New(store, query.Options{}).List(t.Context(), req)
				require.NoError(t, err)
				require.Equal(t, want, got, "%s %s", aligner.Name, reducer.Name)
			}
		}
	}
}
