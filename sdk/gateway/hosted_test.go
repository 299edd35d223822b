package gateway_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/gateway"
)

var (
	_ function.Stopper           = (*gateway.Hosted)(nil)
	_ function.ReadinessReporter = (*gateway.Hosted)(nil)
	_ function.LivenessReporter  = (*gateway.Hosted)(nil)
)

// state is whether a hosted service is ready and alive, and what it answers.
func state(t *testing.T, h *gateway.Hosted) (ready, alive bool, status int) {
	t.Helper()
	ready, err := h.Ready(t.Context())
	require.NoError(t, err)
	alive, err = h.Alive(t.Context())
	require.NoError(t, err)
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return ready, alive, answer.Code
}

// A hosted service answers from Open until Stop, which ends what lasts first, waits
// for what runs beside it, and comes once.
func TestHosted_FromOpenToStop(t *testing.T) {
	t.Parallel()
	var h gateway.Hosted
	f := func(ready, alive bool, status int) {
		t.Helper()
		isReady, isAlive, is := state(t, &h)
		require.Equal(t, []any{ready, alive, status}, []any{isReady, isAlive, is})
	}
	f(false, true, http.StatusServiceUnavailable)
	require.NoError(t, h.Stop(t.Context()), "what never started has stopped")

	var order []string
	starting, started := context.WithCancel(t.Context())
	h.Open(starting, gateway.Hosting{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
		End:     func() { order = append(order, "end") },
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, "run")
			return nil
		},
		Close: func() error {
			order = append(order, "close")
			return nil
		},
	})
	started() // the context of a start may end with it
	f(true, true, http.StatusTeapot)
	for range 2 {
		require.NoError(t, h.Stop(t.Context()))
		f(false, false, http.StatusServiceUnavailable)
	}
	require.Equal(t, []string{"end", "run", "close"}, order)
}

// What ends by itself is logged, and has the function be started again.
func TestHosted_EndsByItself(t *testing.T) {
	t.Parallel()
	var h gateway.Hosted
	var log strings.Builder
	closed := make(chan struct{})
	h.Open(t.Context(), gateway.Hosting{
		Handler: http.NotFoundHandler(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Run:   func(context.Context) error { return errors.New("the database is gone") },
		Close: func() error { close(closed); return nil },
	})
	<-closed
	require.NoError(t, h.Stop(t.Context()))
	require.Contains(t, log.String(), "the database is gone")
	_, alive, _ := state(t, &h)
	require.False(t, alive)
}

// A stop does not wait for ever.
func TestHosted_StopIsBounded(t *testing.T) {
	t.Parallel()
	var h gateway.Hosted
	hang := make(chan struct{})
	h.Open(t.Context(), gateway.Hosting{Handler: http.NotFoundHandler(), Run: func(context.Context) error { <-hang; return nil }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, h.Stop(ctx), context.Canceled)
	close(hang)
}
