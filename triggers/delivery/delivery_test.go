package delivery_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/triggers/delivery"
)

// handler is a function made of a func.
type handler func(ctx context.Context, e event.Event) (*event.Event, error)

// Handle implements function.Handler.
func (h handler) Handle(ctx context.Context, e event.Event) (*event.Event, error) { return h(ctx, e) }

// reading is an event for tests.
func reading() event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("//selvedge.dev/projects/p/devices/d")
	e.SetType("com.example.climate")
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(`{"temperature":21.5}`)
	return e
}

func TestWait_GrowsAsOnKnative(t *testing.T) {
	t.Parallel()
	f := func(p delivery.Policy, want ...time.Duration) {
		t.Helper()
		for n, w := range want {
			got, again := p.Wait(n)
			require.True(t, again)
			require.Equal(t, w, got, "retry %d", n)
		}
		_, again := p.Wait(len(want))
		require.False(t, again)
	}
	const ms = time.Millisecond
	f(delivery.Policy{})
	f(delivery.Policy{Retry: 4, Delay: 200 * ms}, 200*ms, 400*ms, 800*ms, 1600*ms)
	f(delivery.Policy{Retry: 4, Delay: 200 * ms, Backoff: delivery.Exponential}, 200*ms, 400*ms, 800*ms, 1600*ms)
	f(delivery.Policy{Retry: 3, Delay: 300 * ms, Backoff: delivery.Linear}, 0, 300*ms, 600*ms)

	wait, _ := delivery.Policy{Retry: 1 << 20, Delay: time.Second}.Wait(5000)
	require.Equal(t, delivery.MaxWait, wait, "no overflow")
}

// TestDeliver_SameResultInProcessAndOverHTTP holds the two sinks against each
// other: the function behind both is the same.
func TestDeliver_SameResultInProcessAndOverHTTP(t *testing.T) {
	t.Parallel()
	reply := reading()
	reply.SetID("2")
	for name, c := range map[string]struct {
		handle handler
		status int
		kind   fault.Kind
		retry  bool
	}{
		"taken":   {func(context.Context, event.Event) (*event.Event, error) { return nil, nil }, 202, 0, false},
		"replied": {func(context.Context, event.Event) (*event.Event, error) { return &reply, nil }, 200, 0, false},
		"dropped a part": {func(ctx context.Context, _ event.Event) (*event.Event, error) {
			function.Drop(ctx, "NOT_FINITE", 2)
			return nil, nil
		}, 202, 0, false},
		"plain error": {func(context.Context, event.Event) (*event.Event, error) { return nil, io.EOF }, 500, fault.Internal, true},
		"invalid": {func(context.Context, event.Event) (*event.Event, error) {
			return nil, &fault.Error{Kind: fault.Invalid, Reason: "NO_NUMBERS", Err: errors.New("no numbers")}
		}, 400, fault.Invalid, false},
		"missing": {func(context.Context, event.Event) (*event.Event, error) {
			return nil, &fault.Error{Kind: fault.NotFound, Reason: "UNKNOWN_DEVICE", Err: errors.New("no such device")}
		}, 422, fault.NotFound, false},
		"away": {func(context.Context, event.Event) (*event.Event, error) {
			return nil, &fault.Error{Kind: fault.Unavailable}
		}, 503, fault.Unavailable, true},
		"panic": {func(context.Context, event.Event) (*event.Event, error) { panic("boom") }, 500, fault.Internal, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(function.HTTP(c.handle, function.Options{}))
			t.Cleanup(server.Close)
			here := delivery.InProcess(c.handle).Deliver(t.Context(), reading())
			there := delivery.HTTP{URL: server.URL}.Deliver(t.Context(), reading())
			for _, r := range []delivery.Result{here, there} {
				require.Equal(t, c.status, r.Status)
				require.Equal(t, c.retry, r.Retry())
				require.Equal(t, c.status < 300, r.OK())
			}
			require.Equal(t, here.Losses, there.Losses)
			require.Equal(t, here.Reply, there.Reply)
			if !here.OK() {
				require.Equal(t, fault.ReasonOf(here.Err), fault.ReasonOf(there.Err))
				require.JSONEq(t, string(here.Body), string(there.Body))
			}
		})
	}
}

func TestHTTP_AnswersThatAreNoReply(t *testing.T) {
	t.Parallel()
	f := func(status int, contentType, body string, wantStatus int, wantOK bool) {
		t.Helper()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		defer server.Close()
		r := delivery.HTTP{URL: server.URL}.Deliver(t.Context(), reading())
		require.Equal(t, wantStatus, r.Status)
		require.Equal(t, wantOK, r.OK(), "%v", r.Err)
		require.Nil(t, r.Reply)
	}
	f(200, "", "", 202, true)
	f(204, "", "", 202, true)
	f(200, "text/plain", "ok", 502, false) // said something that would be lost
	f(404, "text/plain", "no route", 404, false)
	f(429, "text/plain", "slow down", 429, false)
}

func TestHTTP_NoAnswerIsRetried(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	r := delivery.HTTP{URL: server.URL}.Deliver(t.Context(), reading())
	require.Equal(t, 0, r.Status)
	require.True(t, r.Retry())
	require.Equal(t, fault.Unavailable, fault.KindOf(r.Err))
}

func TestInProcess_SyncsOnlyWhatAsksForIt(t *testing.T) {
	t.Parallel()
	_, ok := delivery.InProcess(handler(nil)).(function.Syncer)
	require.False(t, ok)
	s, ok := delivery.InProcess(&late{}).(function.Syncer)
	require.True(t, ok)
	require.ErrorIs(t, s.Sync(t.Context()), io.ErrShortWrite)
}

// late is a function that becomes durable late.
type late struct{ handler }

// Sync implements function.Syncer.
func (*late) Sync(context.Context) error { return io.ErrShortWrite }

func TestDeadLetter_SaysWhereAndWhy(t *testing.T) {
	t.Parallel()
	e := reading()
	dead := delivery.DeadLetter(e, "writer", delivery.Result{Status: 400, Err: io.EOF, Body: []byte("no numbers")})
	require.Equal(t, "writer", event.Extension(&dead, "knativeerrordest"))
	require.Equal(t, int32(400), dead.Extensions()["knativeerrorcode"])
	require.Equal(t, []byte("no numbers"), dead.Extensions()["knativeerrordata"])
	require.Empty(t, e.Extensions(), "the original is untouched")

	gone := delivery.DeadLetter(e, "writer", delivery.Result{Err: io.EOF})
	require.Equal(t, int32(500), gone.Extensions()["knativeerrorcode"])
	require.NotContains(t, gone.Extensions(), "knativeerrordata")
}
