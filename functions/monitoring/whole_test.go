package monitoring_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/monitoring"
)

// A short answer is gathered, and has its length.
func TestTimeSeries_Gathered(t *testing.T) {
	t.Parallel()
	var gathered, sent atomic.Int32
	srv := server(t, func(s *monitoring.Service) {
		s.Gather = func(r *http.Request) func() {
			require.Equal(t, "/v3/projects/p/timeSeries", r.URL.Path)
			gathered.Add(1)
			return func() { sent.Add(1) }
		}
	})
	query := encode("filter", `metric.type = "uptime"`, "interval.startTime", "2025-06-01T11:00:00Z", "interval.endTime", "2025-06-01T12:00:00Z")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/v3/projects/p/timeSeries?"+query, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Greater(t, resp.ContentLength, int64(100))
	require.Equal(t, int32(1), gathered.Load())
	require.Equal(t, int32(1), sent.Load())
}
