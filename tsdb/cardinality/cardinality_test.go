package cardinality_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/cardinality"
	"selvedge.dev/tsdb/memory"
)

// SPEC A6: the report says which metric and which label have too many.
func TestCompute(t *testing.T) {
	t.Parallel()
	store := memory.New(nil)
	add := func(project, metric, device string, labels ...tsdb.Label) {
		t.Helper()
		s := &tsdb.Series{
			Project: project, Metric: metric, Resource: "device",
			ResourceLabels: tsdb.Labels{{Name: "device_id", Value: device}}, MetricLabels: labels,
		}
		require.NoError(t, store.Append(t.Context(), []tsdb.Sample{{Series: s, Time: 1000, Value: 1}, {Series: s, Time: 2000, Value: 1}}))
	}
	for i := range 20 {
		add("p", "requests", "d", tsdb.Label{Name: "id", Value: fmt.Sprint(i)}, tsdb.Label{Name: "code", Value: fmt.Sprint(i % 2)})
	}
	add("p", "a", "d")
	add("p", "b", "e")
	add("q", "theirs", "x", tsdb.Label{Name: "theirs", Value: "1"})
	all := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: 0, End: math.MaxInt64}}

	r, err := cardinality.Compute(t.Context(), store, all, 2)
	require.NoError(t, err)
	require.Equal(t, cardinality.Report{
		Series: 22, MetricCount: 3, LabelCount: 3,
		Metrics: []cardinality.Metric{{Type: "requests", Series: 20}, {Type: "a", Series: 1}},
		Labels:  []cardinality.Label{{Name: "metric.labels.id", Values: 20, Series: 20}, {Name: "resource.labels.device_id", Values: 2, Series: 22}},
	}, r)
	r, err = cardinality.Compute(t.Context(), store, all, 10)
	require.NoError(t, err)
	require.Equal(t, cardinality.Label{Name: "metric.labels.code", Values: 2, Series: 20}, r.Labels[2])

	none := all
	none.Project = "nobody"
	r, err = cardinality.Compute(t.Context(), store, none, 10)
	require.NoError(t, err)
	require.Zero(t, r.Series)
	all.MaxSeries = 5
	_, err = cardinality.Compute(t.Context(), store, all, 10)
	require.Equal(t, fault.Exhausted, fault.KindOf(err))
}
