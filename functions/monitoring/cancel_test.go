package monitoring_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// endless is a store whose reads end when their context does.
type endless struct {
	*memory.Store

	began, ended chan struct{}
}

// wait begins a read and waits for its end.
func (e *endless) wait(ctx context.Context) error {
	e.began <- struct{}{}
	<-ctx.Done()
	e.ended <- struct{}{}
	return ctx.Err()
}

// Select implements tsdb.Store.
func (e *endless) Select(ctx context.Context, _ tsdb.Selection, _ func(*tsdb.Series, tsdb.Points) error) error {
	return e.wait(ctx)
}

// Survey implements tsdb.Surveyor.
func (e *endless) Survey(ctx context.Context, _ tsdb.Selection, _ func(*tsdb.Series) error) error {
	return e.wait(ctx)
}

// SPEC A6: when a client goes, or its deadline passes, what was done for it
// ends, over real connections.
func TestCancel_ClientGoes(t *testing.T) {
	t.Parallel()
	store := &endless{memory.New(nil), make(chan struct{}), make(chan struct{})}
	o := operate(t, func(s *monitoring.Service) {
		s.Engine = query.New(store, query.Options{Budget: query.NewBudget(8<<20, time.Minute)})
		s.Operations.Store = store
	})
	interval := encode("filter", `metric.type = "m"`, "interval.startTime", "2025-06-01T11:00:00Z", "interval.endTime", "2025-06-01T12:00:00Z")
	calls := [][4]string{
		{http.MethodGet, o.url + "timeSeries?" + interval},
		{http.MethodGet, o.url + "timeSeries:export?format=csv&" + interval},
		{http.MethodGet, o.url + "timeSeries:cardinality"},
		{http.MethodPost, o.url + "timeSeries:delete", `{"filter":"metric.type = \"m\"","validateOnly":true}`},
		{http.MethodPatch, o.url + "timeSeriesBounds?validateOnly=true", `{"retention":"7200s"}`},
		{
			http.MethodPost, strings.TrimSuffix(o.url, "/v3/projects/p/") + monitoring.Procedures + "ListTimeSeries",
			`{"name":"projects/p","filter":"metric.type = \"m\"","interval":{"endTime":"2025-06-01T12:00:00Z"}}`,
		},
	}
	for _, c := range calls {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, c[0], c[1], strings.NewReader(c[2]))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		done := make(chan error, 1)
		go func() {
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			done <- err
		}()
		<-store.began
		cancel()
		<-store.ended
		require.Error(t, <-done)
	}
	// A deadline of the caller's, which Connect passes on.
	c := calls[len(calls)-1]
	req, err := http.NewRequestWithContext(t.Context(), c[0], c[1], strings.NewReader(c[2]))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connect-Timeout-Ms", "20")
	answer := make(chan int, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			answer <- resp.StatusCode
			err = resp.Body.Close()
		}
		if err != nil {
			close(answer)
		}
	}()
	<-store.began
	<-store.ended
	require.GreaterOrEqual(t, <-answer, http.StatusInternalServerError)
}

// SPEC A6: a query that takes longer than one may is ended by the server.
func TestCancel_MaxTime(t *testing.T) {
	t.Parallel()
	store := &endless{memory.New(nil), make(chan struct{}, 1), make(chan struct{}, 1)}
	o := operate(t, func(s *monitoring.Service) {
		s.Engine = query.New(store, query.Options{MaxTime: time.Millisecond})
	})
	status, text := o.do(t, http.MethodGet, "timeSeries?"+encode("filter", `metric.type = "m"`, "interval.endTime", "2025-06-01T12:00:00Z"), nil)
	require.Equal(t, http.StatusServiceUnavailable, status, text)
}
