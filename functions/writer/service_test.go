package writer

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/remote"
)

// synced is a store that counts its syncs.
type synced struct {
	Appender
	syncs int
	err   error
}

// Sync implements Appender.
func (s *synced) Sync(context.Context) error {
	s.syncs++
	return s.err
}

// door is the service before a harness, for who asks with the key.
func door(h *harness) http.Handler {
	s := &Service{Writer: h.Function, Authorize: func(r *http.Request, project, permission string) error {
		if r.Header.Get("Authorization") != "Bearer key" || permission != "monitoring.timeSeries.create" || project == "foreign" {
			return &fault.Error{Kind: fault.Denied}
		}
		return nil
	}}
	r := chi.NewRouter()
	s.Routes(r)
	return r
}

// post posts to the path and returns the answer.
func post(t *testing.T, h http.Handler, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer key")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// series is a request with the series.
func series(fields string) string {
	return `{"name":"projects/p","timeSeries":[{"metric":{"type":"m"},"resource":{"type":"device","labels":{"device_id":"d"}},` + fields + `}]}`
}

// points are a good and a bad point.
const (
	good = `{"interval":{"endTime":"2026-06-01T12:00:00Z"},"value":{"doubleValue":1.5}}`
	bad  = `{"interval":{"endTime":"2026-06-01T12:00:01Z"},"value":{"stringValue":"x"}}`
)

func TestService_AnswersWhenDurable(t *testing.T) {
	t.Parallel()
	h := newHarness()
	store := &synced{Appender: h.series}
	h.Series = store
	w := post(t, door(h), "/v3/projects/p/timeSeries", series(`"points":[`+good+`]`))
	require.Equal(t, http.StatusOK, w.Code, "%s", w.Body)
	require.JSONEq(t, `{}`, w.Body.String())
	require.Equal(t, 1, store.syncs)
	require.Equal(t, []string{"d m GAUGE 1.5 0s"}, h.stored(t))
	store.err = errors.New("disk")
	require.Equal(t, http.StatusServiceUnavailable, post(t, door(h), "/v3/projects/p/timeSeries", series(`"points":[`+good+`]`)).Code)
}

func TestService_SaysWhatItDropped(t *testing.T) {
	t.Parallel()
	h := newHarness()
	w := post(t, door(h), "/v3/projects/p/timeSeries", series(`"points":[`+good+`,`+bad+`,`+bad+`]`))
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, "PARTLY_WRITTEN", fault.Parse("", w.Code, w.Body.Bytes()).Reason)
	require.Equal(t, "STRING_NOT_SUPPORTED=2", w.Header().Get(function.LossesHeader))
	require.Equal(t, []string{"d m GAUGE 1.5 0s"}, h.stored(t))
}

func TestService_Refuses(t *testing.T) {
	t.Parallel()
	h := newHarness()
	f := func(path, body string, status int, reason string) {
		t.Helper()
		w := post(t, door(h), path, body)
		require.Equal(t, status, w.Code, "%s", w.Body)
		require.Equal(t, reason, fault.ReasonOf(fault.Parse("", w.Code, w.Body.Bytes())))
		require.Empty(t, w.Header().Get(function.LossesHeader))
	}
	f("/v3/projects/p/timeSeries", `{`, http.StatusBadRequest, "MALFORMED_TIME_SERIES")
	f("/v3/projects/p/timeSeries", `{}`, http.StatusBadRequest, "NO_NUMERIC_FIELD")
	f("/v3/projects/foreign/timeSeries", series(`"points":[`+good+`]`), http.StatusForbidden, "PERMISSION_DENIED")
	f("/v3/projects/P_/timeSeries", series(`"points":[`+good+`]`), http.StatusBadRequest, "INVALID_NAME")
	f("/v3/projects/p/timeSeries", strings.Repeat(" ", maxBody+1), http.StatusRequestEntityTooLarge, "OUT_OF_RANGE")
	require.Empty(t, h.stored(t))
	r := chi.NewRouter()
	(&Service{Writer: h.Function}).Routes(r)
	require.Equal(t, http.StatusForbidden, post(t, r, "/v3/projects/p/timeSeries", series(`"points":[`+good+`]`)).Code)
}

func TestFunction_InItsOwnProcess(t *testing.T) {
	t.Parallel()
	platform := newHarness()
	_, err := platform.Descriptors.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "com.example.climate/kwh", Kind: tsdb.Cumulative, ValueType: tsdb.Int64})
	require.NoError(t, err)
	server := httptest.NewServer(door(platform))
	defer server.Close()
	appender := remote.New(server.URL, "key")
	own := &harness{Function: &Function{Series: appender, Descriptors: appender, Devices: platform.registry}}
	require.Empty(t, own.handle(t, reading(`{"temperature": 21.5, "open": true, "kwh": 7}`)))
	want := []string{
		"d com.example.climate/kwh CUMULATIVE 7 0s",
		"d com.example.climate/open GAUGE 1 0s",
		"d com.example.climate/temperature GAUGE 21.5 0s",
	}
	require.Equal(t, want, platform.stored(t))
	// What the platform drops is reported like what is dropped here.
	require.Equal(t, []function.Loss{{Reason: "TYPE_CONFLICT", Count: 1}, {Reason: "NOT_FINITE", Count: 1}},
		own.handle(t, reading(`{"temperature": 21.5, "kwh": 7.5, "big": 1e999}`)))
	require.Equal(t, want, platform.stored(t))
	// A platform that is gone is an event that comes again.
	server.Close()
	_, err = own.Handle(t.Context(), reading(`{"temperature": 21.5}`))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

func TestNew_ReadsTheEnvironment(t *testing.T) {
	platform := newHarness()
	server := httptest.NewServer(door(platform))
	defer server.Close()
	t.Setenv("SELVEDGE_URL", server.URL)
	t.Setenv("SELVEDGE_KEY", "key")
	f := New()
	_, err := f.Handle(t.Context(), reading(`{"temperature": 21.5}`))
	require.NoError(t, err)
	require.NoError(t, f.Sync(t.Context()))
	require.Equal(t, []string{"d com.example.climate/temperature GAUGE 21.5 0s"}, platform.stored(t))
	e := reading(`{"temperature": 21.5}`)
	e.SetExtension(event.Blueprint, "projects/p/blueprints/b")
	_, err = f.Handle(t.Context(), e) // the door has no registry
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}
