package platform

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/serving"
	"selvedge.dev/local/cluster/serving/pool"
)

// must is the first of two values.
func must(v string, _ bool) string { return v }

// A function that sleeps and is not asked has no points; one that went to sleep
// has a last one.
func TestUsage_OfFunctionsThatDoSomething(t *testing.T) {
	t.Parallel()
	told := map[string]serving.RevisionStats{}
	f := func(requests int64, instances, want int) {
		t.Helper()
		stats := []serving.RevisionStats{{Namespace: "p", Service: "f", Revision: "f-00001", Stats: pool.Stats{Requests: requests, Instances: instances}}}
		got := usage(stats, told, time.UnixMilli(1000))
		require.Len(t, got, want)
		for _, s := range got {
			require.Equal(t, "p", s.Series.Project)
			require.Equal(t, "f", must(s.Series.ResourceLabels.Get("service_name")))
		}
	}
	f(0, 0, 0)
	f(1, 1, len(usageMetrics))
	f(1, 1, len(usageMetrics))
	f(1, 0, len(usageMetrics))
	f(1, 0, 0)
	f(2, 0, len(usageMetrics))
}
