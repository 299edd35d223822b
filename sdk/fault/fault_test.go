package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

func TestKindOf(t *testing.T) {
	t.Parallel()
	denied := &fault.Error{Op: "a.B", Kind: fault.Denied}
	f := func(want fault.Kind, err error) {
		t.Helper()
		require.Equal(t, want, fault.KindOf(err))
	}
	f(fault.Denied, denied)
	f(fault.Denied, fmt.Errorf("outer: %w", denied))
	f(fault.Denied, errors.Join(io.EOF, denied))
	f(fault.Internal, io.EOF)
	f(fault.Internal, nil)
	f(fault.Unavailable, fmt.Errorf("read: %w", context.DeadlineExceeded))
}

func TestReasonOf_FallsBackToTheKind(t *testing.T) {
	t.Parallel()
	require.Equal(t, "X", fault.ReasonOf(&fault.Error{Kind: fault.Invalid, Reason: "X"}))
	require.Equal(t, "INVALID_ARGUMENT", fault.ReasonOf(&fault.Error{Kind: fault.Invalid}))
	require.Equal(t, "INTERNAL", fault.ReasonOf(io.EOF))
}

func TestError_SaysEachFactOnce(t *testing.T) {
	t.Parallel()
	err := &fault.Error{Op: "vm.Append", Name: "projects/p", Kind: fault.Unavailable, Err: io.ErrUnexpectedEOF}
	require.EqualError(t, err, "vm.Append: projects/p: unexpected EOF")
	require.EqualError(t, &fault.Error{Kind: fault.NotFound}, "not found")
}

// TestStatus_RedeliveryOfEveryKind is the table that brokers and callers rely
// on: what a synchronous caller sees, what a function answers its broker, and
// whether that is delivered again.
func TestStatus_RedeliveryOfEveryKind(t *testing.T) {
	t.Parallel()
	f := func(k fault.Kind, http, event int, retried bool) {
		t.Helper()
		require.Equal(t, http, k.HTTPStatus(), k)
		require.Equal(t, event, k.EventStatus(), k)
		require.Equal(t, retried, fault.Retried(k.EventStatus()), k)
	}
	f(fault.Internal, 500, 500, true)
	f(fault.Invalid, 400, 400, false)
	f(fault.Unauthenticated, 401, 403, false)
	f(fault.Denied, 403, 403, false)
	f(fault.NotFound, 404, 422, false)
	f(fault.Exists, 409, 409, true)
	f(fault.Conflict, 409, 409, true)
	f(fault.Exhausted, 429, 429, true)
	f(fault.Unavailable, 503, 503, true)
	f(fault.TooLarge, 413, 413, false)
	f(fault.Unsupported, 415, 415, false)
	require.True(t, fault.Retried(0), "no answer")
	require.True(t, fault.Retried(404), "a route that is not there yet")
	require.True(t, fault.Retried(408))
	require.False(t, fault.Retried(202))
}

// later is an error with a delay.
type later struct{ error }

func (later) RetryAfter() time.Duration { return 1500 * time.Millisecond }

func TestWrite_ProblemSurvivesTheWire(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	fault.Write(w, fmt.Errorf("outer: %w", &fault.Error{
		Op: "x.Y", Name: "projects/p", Kind: fault.Exhausted, Reason: "BROKER_FULL", Field: "id", Err: later{errors.New("full up")},
	}))
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Equal(t, "2", w.Header().Get("Retry-After"))
	require.JSONEq(t, `{"error":{"code":429,"message":"full up","status":"RESOURCE_EXHAUSTED","details":[
		{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BROKER_FULL","domain":"selvedge.dev","metadata":{"name":"projects/p","field":"id"}}]}}`,
		w.Body.String())

	back := fault.Parse("client.Call", w.Code, w.Body.Bytes())
	require.Equal(t, fault.Exhausted, back.Kind)
	require.Equal(t, "BROKER_FULL", back.Reason)
	require.Equal(t, "id", back.Field)
	require.Equal(t, "full up", back.Message())
}

func TestWrite_HidesTheCauseOfInternalErrors(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errors.New("password is 1234"), &fault.Error{Op: "a.B", Err: errors.New("password is 1234")}} {
		w := httptest.NewRecorder()
		fault.Write(w, err)
		require.Equal(t, 500, w.Code)
		require.NotContains(t, w.Body.String(), "1234")
	}
}

func TestWrite_UnauthenticatedSaysHow(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	fault.Write(w, &fault.Error{Kind: fault.Unauthenticated})
	require.Equal(t, `Bearer realm="selvedge"`, w.Header().Get("WWW-Authenticate"))
}

func TestParse_AnyBody(t *testing.T) {
	t.Parallel()
	f := func(status int, body string, want fault.Kind) {
		t.Helper()
		require.Equal(t, want, fault.Parse("op", status, []byte(body)).Kind)
	}
	f(502, "<html>bad gateway</html>", fault.Unavailable)
	f(404, "", fault.NotFound)
	f(422, "no", fault.Invalid)
	f(409, "{}", fault.Conflict)
	f(418, "teapot", fault.Invalid)
	f(500, "", fault.Internal)
}
