package promql_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/promql"
	"selvedge.dev/tsdb/query"
)

// SPEC A6: a query that needs more memory than it may have ends, and gives back
// what it had.
func TestQuery_MemoryIsBounded(t *testing.T) {
	t.Parallel()
	ds := &memory.Descriptors{}
	store := memory.New(ds)
	const series, points = 300, 2000 // 9.6 MB
	for i := range series {
		s := &tsdb.Series{Project: "p", Metric: "m", Resource: "device", ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprint(i)}}}
		samples := make([]tsdb.Sample, points)
		for j := range samples {
			samples[j] = tsdb.Sample{Series: s, Time: tsdb.Millis(1000 * (j + 1)), Value: 1}
		}
		require.NoError(t, store.Append(t.Context(), samples))
	}
	e := promql.New(store, ds, promql.Options{Memory: query.NewBudget(8<<20, time.Millisecond)})
	for range 2 {
		_, err := e.Range(t.Context(), promql.Query{Project: "p", Text: "m", Start: 1000, End: 2_000_000, Step: time.Second})
		require.Equal(t, fault.Exhausted, fault.KindOf(err), err)
		require.Equal(t, query.QueryTooLarge, fault.ReasonOf(err), err)
		r, err := e.Instant(t.Context(), promql.Query{Project: "p", Text: "count(m)", Start: 2_000_000, End: 2_000_000})
		require.NoError(t, err)
		require.Len(t, r.Series, 1)
	}
}
