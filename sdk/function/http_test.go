package function_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// handle is a function without any of the optional interfaces.
type handle func(ctx context.Context, e event.Event) (*event.Event, error)

func (h handle) Handle(ctx context.Context, e event.Event) (*event.Event, error) { return h(ctx, e) }

// binary is a request with a whole event in binary mode.
func binary(data string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(data))
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "//x", "Ce-Type": "t", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	return r
}

// serve is the answer of the server to r.
func serve(t *testing.T, s http.Handler, r *http.Request) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	resp := w.Result()
	t.Cleanup(func() { require.NoError(t, resp.Body.Close()) })
	return resp
}

// body is the whole body of resp.
func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

func TestHTTP_GivesTheEventToTheFunction(t *testing.T) {
	t.Parallel()
	structured := httptest.NewRequest(http.MethodPost, "/any/path", strings.NewReader(`{"specversion":"1.0","id":"1","source":"//x","type":"t","datacontenttype":"application/json","data":{"a":1}}`))
	structured.Header.Set("Content-Type", event.MediaStructured)
	for name, r := range map[string]*http.Request{"binary": binary(`{"a":1}`), "structured": structured} {
		var got event.Event
		s := function.HTTP(handle(func(_ context.Context, e event.Event) (*event.Event, error) {
			got = e
			return nil, nil
		}), function.Options{})
		resp := serve(t, s, r)
		require.Equal(t, http.StatusAccepted, resp.StatusCode, name)
		require.Empty(t, body(t, resp), name)
		require.Equal(t, "1 //x t", got.ID()+" "+got.Source()+" "+got.Type(), name)
		require.JSONEq(t, `{"a":1}`, string(got.Data()), name)
	}
}

func TestHTTP_RepliesInBinaryMode(t *testing.T) {
	t.Parallel()
	f := func(data []byte, contentType string) {
		t.Helper()
		want := event.New()
		want.SetID("2")
		want.SetSource("//y")
		want.SetType("reply")
		want.SetExtension("selvedgeproject", "bücher 100%")
		want.DataEncoded = data
		if contentType != "" {
			want.SetDataContentType(contentType)
		}
		s := function.HTTP(handle(func(context.Context, event.Event) (*event.Event, error) { return &want, nil }), function.Options{})
		resp := serve(t, s, binary(`{}`))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, contentType, resp.Header.Get("Content-Type"))
		got, err := event.FromResponse(resp, event.Limits{})
		require.NoError(t, err)
		require.Equal(t, want.Context.AsV1(), got.Context.AsV1())
		require.Equal(t, string(want.Data()), string(got.Data()))
	}
	f([]byte(`{"b":2}`), "application/json")
	f([]byte(`<html>`), "text/x-reading")
	f([]byte(`{"b":2}`), "")
	f(nil, "")
}

func TestHTTP_AnswersErrorsByTheirKind(t *testing.T) {
	t.Parallel()
	f := func(err error, status int, retryAfter, message string) {
		t.Helper()
		s := function.HTTP(handle(func(ctx context.Context, _ event.Event) (*event.Event, error) {
			function.Drop(ctx, "NOT_FINITE", 1)
			return nil, err
		}), function.Options{})
		resp := serve(t, s, binary(`{}`))
		require.Equal(t, status, resp.StatusCode)
		require.Equal(t, retryAfter, resp.Header.Get("Retry-After"))
		require.Empty(t, resp.Header.Get(function.LossesHeader), "an event that failed is not yet lost in part")
		var p fault.Problem
		require.NoError(t, json.Unmarshal([]byte(body(t, resp)), &p))
		require.Equal(t, status, p.Error.Code)
		require.Equal(t, message, p.Error.Message)
	}
	f(errors.New("secret"), 500, "", "internal error")
	f(&fault.Error{Kind: fault.NotFound, Err: errors.New("no such device")}, 422, "", "no such device")
	f(&fault.Error{Kind: fault.Invalid, Err: errors.New("no number")}, 400, "", "no number")
	f(&fault.Error{Kind: fault.Unavailable, Err: errors.New("away")}, 503, "1", "away")
	f(&fault.Error{Kind: fault.Exhausted, Err: later{}}, 429, "3", "later")
	f(context.DeadlineExceeded, 503, "1", "unavailable")
}

// later is an error that knows when to try again.
type later struct{}

func (later) Error() string             { return "later" }
func (later) RetryAfter() time.Duration { return 2500 * time.Millisecond }

func TestHTTP_RefusesWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	s := function.HTTP(handle(func(context.Context, event.Event) (*event.Event, error) {
		t.Error("called without an event")
		return nil, nil
	}), function.Options{})
	f := func(name string, status int, change func(r *http.Request)) {
		t.Helper()
		r := binary(`{}`)
		change(r)
		require.Equal(t, status, serve(t, s, r).StatusCode, name)
	}
	f("method", 405, func(r *http.Request) { r.Method = http.MethodGet })
	f("no id", 400, func(r *http.Request) { r.Header.Del("Ce-Id") })
	f("another version", 400, func(r *http.Request) { r.Header.Set("Ce-Specversion", "0.3") })
	f("no event", 415, func(r *http.Request) {
		r.Header = http.Header{"Content-Type": {"text/plain"}}
	})
	f("broken JSON", 400, func(r *http.Request) { r.Header.Set("Content-Type", event.MediaStructured) })
	f("a batch", 415, func(r *http.Request) {
		r.Header = http.Header{"Content-Type": {event.MediaBatch}}
		r.Body = io.NopCloser(strings.NewReader(`[{"specversion":"1.0","id":"1","source":"//x","type":"t"}]`))
	})
	f("too large", 413, func(r *http.Request) {
		r.Body = io.NopCloser(bytes.NewReader(make([]byte, event.DefaultEventLimit+1)))
	})
}

func TestHTTP_ReportsLosses(t *testing.T) {
	t.Parallel()
	for _, reply := range []*event.Event{nil, whole()} {
		s := function.HTTP(handle(func(ctx context.Context, _ event.Event) (*event.Event, error) {
			function.Drop(ctx, "NOT_FINITE", 1)
			function.Drop(ctx, "TOO_OLD", 2)
			function.Drop(ctx, "NOT_FINITE", 3)
			return reply, nil
		}), function.Options{})
		resp := serve(t, s, binary(`{}`))
		got, err := function.ParseLosses(resp.Header.Get(function.LossesHeader))
		require.NoError(t, err)
		require.Equal(t, []function.Loss{{Reason: "NOT_FINITE", Count: 4}, {Reason: "TOO_OLD", Count: 2}}, got)
	}
}

// whole is an event with what an event must have.
func whole() *event.Event {
	e := event.New()
	e.SetID("2")
	e.SetSource("//y")
	e.SetType("reply")
	return &e
}

func TestHTTP_LogsWhatTheBrokerIsNotTold(t *testing.T) {
	t.Parallel()
	f := func(h handle, want ...string) {
		t.Helper()
		var log bytes.Buffer
		s := function.HTTP(h, function.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		resp := serve(t, s, binary(`{}`))
		require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		require.NotContains(t, body(t, resp), "secret")
		for _, w := range append(want, "level=ERROR", "event_id=1", "event_source=//x") {
			require.Contains(t, log.String(), w)
		}
	}
	f(func(context.Context, event.Event) (*event.Event, error) { panic("secret of a panic") }, "secret of a panic", "http_test.go")
	f(func(context.Context, event.Event) (*event.Event, error) { return nil, errors.New("secret cause") }, "secret cause")
	f(func(context.Context, event.Event) (*event.Event, error) { return &event.Event{}, nil }, "the reply is no event")
}

// full has every optional interface, each answered by a field.
type full struct {
	handle
	env         map[string]string
	stopped     bool
	err         error
	ready, fine bool
	synced      int
}

func (f *full) Start(_ context.Context, env map[string]string) error { f.env = env; return f.err }
func (f *full) Stop(context.Context) error                           { f.stopped = true; return f.err }
func (f *full) Ready(context.Context) (bool, error)                  { return f.ready, f.err }
func (f *full) Alive(context.Context) (bool, error)                  { return f.fine, f.err }
func (f *full) Sync(context.Context) error                           { f.synced++; return f.err }

func TestHTTP_TakesEventsFromStartToStop(t *testing.T) {
	t.Parallel()
	f := &full{handle: func(context.Context, event.Event) (*event.Event, error) { return nil, nil }, ready: true}
	s := function.HTTP(f, function.Options{})
	post := func() int { return serve(t, s, binary(`{}`)).StatusCode }
	ready := func() int {
		return serve(t, s, httptest.NewRequest(http.MethodGet, function.ReadinessPath, nil)).StatusCode
	}
	require.Equal(t, []int{503, 503}, []int{post(), ready()}, "the middleware serves while Start is under way")

	f.err = errors.New("no")
	require.ErrorIs(t, s.Start(t.Context(), nil), f.err)
	require.Equal(t, 503, post())

	f.err = nil
	require.NoError(t, s.Start(t.Context(), map[string]string{"A": "1"}))
	require.Equal(t, map[string]string{"A": "1"}, f.env)
	require.Equal(t, []int{202, 200}, []int{post(), ready()})

	require.NoError(t, s.Stop(t.Context()))
	require.True(t, f.stopped)
	require.Equal(t, []int{503, 503}, []int{post(), ready()})
}

func TestHTTP_SyncsBeforeItAnswers(t *testing.T) {
	t.Parallel()
	f := &full{handle: func(context.Context, event.Event) (*event.Event, error) { return nil, nil }}
	s := function.HTTP(f, function.Options{})
	require.NoError(t, s.Start(t.Context(), nil))
	require.Equal(t, 202, serve(t, s, binary(`{}`)).StatusCode)
	require.Equal(t, 1, f.synced)
	f.err = &fault.Error{Kind: fault.Unavailable}
	require.Equal(t, 503, serve(t, s, binary(`{}`)).StatusCode)
}

func TestHTTP_AnswersProbes(t *testing.T) {
	t.Parallel()
	f := &full{}
	s := function.HTTP(f, function.Options{})
	require.NoError(t, s.Start(t.Context(), nil))
	probe := func(method, path string) int {
		return serve(t, s, httptest.NewRequest(method, path, nil)).StatusCode
	}
	for _, path := range []string{function.ReadinessPath, function.LivenessPath} {
		f.ready, f.fine, f.err = false, false, nil
		require.Equal(t, 503, probe(http.MethodGet, path), path)
		f.ready, f.fine = true, true
		require.Equal(t, 200, probe(http.MethodGet, path), path)
		require.Equal(t, 200, probe(http.MethodHead, path), path)
		require.Equal(t, 405, probe(http.MethodPost, path), path)
		f.err = errors.New("no telling")
		require.Equal(t, 500, probe(http.MethodGet, path), path)
	}
	plain := function.HTTP(handle(nil), function.Options{})
	require.Equal(t, 200, serve(t, plain, httptest.NewRequest(http.MethodGet, function.ReadinessPath, nil)).StatusCode)
	require.Equal(t, 200, serve(t, plain, httptest.NewRequest(http.MethodGet, function.LivenessPath, nil)).StatusCode)
}
