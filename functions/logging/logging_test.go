package logging_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/logging"
	"selvedge.dev/logstore/eventstore"
	"selvedge.dev/logstore/eventstore/sqlstore"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/store/sqlite"
)

// open opens a store for at most maxEvents events of a project.
func open(t *testing.T, maxEvents int) eventstore.Store {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "events.db"), sqlstore.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return sqlstore.New(db, sqlstore.Options{MaxEvents: maxEvents})
}

// noon is when the alerts begin.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// alert is an alert of the project that many minutes after noon.
func alert(project string, minute int) event.Event {
	e := event.New()
	e.SetID(fmt.Sprint(minute))
	e.SetSource("//selvedge.dev/functions/threshold")
	e.SetType(event.TypeAlert)
	e.SetSubject("projects/" + project + "/devices/d")
	e.SetTime(noon.Add(time.Duration(minute) * time.Minute))
	e.SetExtension(event.Project, project)
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(`{"value": 31}`)
	return e
}

func TestHandle_StoresOnceAndCountsEvictions(t *testing.T) {
	t.Parallel()
	f := &logging.Function{Records: open(t, 2)}
	handle := func(e event.Event, want ...function.Loss) {
		t.Helper()
		var drops function.Drops
		reply, err := f.Handle(function.WithDrops(t.Context(), &drops), e)
		require.NoError(t, err)
		require.Nil(t, reply)
		require.Equal(t, want, drops.Losses())
	}
	handle(alert("p", 1))
	handle(alert("p", 1))
	handle(alert("p", 2))
	handle(alert("q", 1))
	handle(alert("p", 3), function.Loss{Reason: "LOG_EVICTED", Count: 1})
	page, err := f.Records.List(t.Context(), eventstore.Query{Project: "p"})
	require.NoError(t, err)
	require.Len(t, page.Events, 2)
	require.Equal(t, "3", page.Events[0].ID())
}

// broken is a store that does not answer.
type broken struct{ eventstore.Store }

// Append implements eventstore.Store.
func (broken) Append(context.Context, []eventstore.Record) (eventstore.Appended, error) {
	return eventstore.Appended{}, &fault.Error{Kind: fault.Unavailable}
}

func TestHandle_Errors(t *testing.T) {
	t.Parallel()
	e := alert("p", 1)
	_, err := (&logging.Function{Records: broken{}}).Handle(t.Context(), e)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	e.SetExtension(event.Project, nil)
	_, err = (&logging.Function{Records: open(t, 0)}).Handle(t.Context(), e)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Equal(t, "NO_PROJECT", fault.ReasonOf(err))

	e = alert("p", 1)
	e.DataEncoded = []byte("{")
	_, err = (&logging.Function{Records: open(t, 0)}).Handle(t.Context(), e)
	require.Equal(t, "NO_JSON_FORM", fault.ReasonOf(err))
}

func TestStart_OpensTheStore(t *testing.T) {
	t.Parallel()
	env := map[string]string{"SELVEDGE_LOGSTORE": filepath.Join(t.TempDir(), "events.db")}
	for range 2 { // a restart keeps everything
		f := logging.New()
		require.NoError(t, f.Start(t.Context(), env))
		_, err := f.Handle(t.Context(), alert("p", 1))
		require.NoError(t, err)
		page, err := f.Records.List(t.Context(), eventstore.Query{Project: "p"})
		require.NoError(t, err)
		require.Len(t, page.Events, 1)
		require.NoError(t, f.Stop(t.Context()))
	}
	require.ErrorContains(t, logging.New().Start(t.Context(), nil), "SELVEDGE_LOGSTORE")
	require.Error(t, logging.New().Start(t.Context(), map[string]string{"SELVEDGE_LOGSTORE": t.TempDir()}))
	require.NoError(t, logging.New().Stop(t.Context()))
	// A function that has its store is not given another.
	records := open(t, 0)
	f := &logging.Function{Records: records}
	require.NoError(t, f.Start(t.Context(), env))
	require.Same(t, records, f.Records)
	require.NoError(t, f.Stop(t.Context()))
}

// answer is the answer of the service, as a client reads it.
type answer struct {
	Events []struct {
		ID      string         `json:"id"`
		Type    string         `json:"type"`
		Subject string         `json:"subject"`
		Project string         `json:"selvedgeproject"`
		Data    map[string]any `json:"data"`
	} `json:"events"`
	NextPageToken string `json:"nextPageToken"`
}

// get asks the service for path and returns the status and the body.
func get(t *testing.T, s *logging.Service, path string) (int, []byte) {
	t.Helper()
	r := chi.NewRouter()
	s.Routes(r)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return w.Code, w.Body.Bytes()
}

// service is a service with ten alerts of the project "p" and one of "q". It
// is open to who asks as "p".
func service(t *testing.T) *logging.Service {
	t.Helper()
	records := open(t, 0)
	f := &logging.Function{Records: records}
	for i := range 10 {
		_, err := f.Handle(t.Context(), alert("p", i))
		require.NoError(t, err)
	}
	_, err := f.Handle(t.Context(), alert("q", 0))
	require.NoError(t, err)
	return &logging.Service{Records: records, Authorize: func(_ *http.Request, project, permission string) error {
		if project != "p" || permission != "logging.events.list" {
			return &fault.Error{Kind: fault.Denied}
		}
		return nil
	}}
}

func TestService_ListsEvents(t *testing.T) {
	t.Parallel()
	s := service(t)
	f := func(query string, want ...string) {
		t.Helper()
		var ids []string
		for token := ""; ; {
			status, body := get(t, s, "/v1/projects/p/events?"+query+"&pageToken="+url.QueryEscape(token))
			require.Equal(t, http.StatusOK, status, "%s", body)
			var a answer
			require.NoError(t, json.Unmarshal(body, &a))
			for _, e := range a.Events {
				require.Equal(t, "p", e.Project)
				require.Equal(t, map[string]any{"value": 31.0}, e.Data)
				ids = append(ids, e.ID)
			}
			if token = a.NextPageToken; token == "" {
				break
			}
		}
		require.Equal(t, want, ids, query)
	}
	all := []string{"9", "8", "7", "6", "5", "4", "3", "2", "1", "0"}
	f("", all...)
	f("pageSize=3", all...)
	f("pageSize=100000", all...)
	f("type=dev.selvedge.alert.v1&source=%2F%2Fselvedge.dev%2Ffunctions%2Fthreshold&subject=projects/p/devices/d", all...)
	f("type=other")
	f("startTime=2026-06-01T12:02:00Z&endTime=2026-06-01T14:04:00%2B02:00", "3", "2")
	f("startTime=2026-06-01T12:02:00.5Z&pageSize=5", "9", "8", "7", "6", "5", "4", "3")
}

func TestService_AnEmptyListIsAList(t *testing.T) {
	t.Parallel()
	status, body := get(t, service(t), "/v1/projects/p/events?type=other")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"events": []}`, string(body))
}

func TestService_RefusesParametersByName(t *testing.T) {
	t.Parallel()
	s := service(t)
	for query, field := range map[string]string{
		"filter=x": "filter", "Type=x": "Type", "pageSize=x": "pageSize", "pageSize=-1": "pageSize", "pageSize=": "pageSize", "startTime=noon": "startTime",
		"endTime=2026-06-01": "endTime", "type=": "type", "type=a&type=b": "type", "pageToken=x": "pageToken",
	} {
		status, body := get(t, s, "/v1/projects/p/events?"+query)
		require.Equal(t, http.StatusBadRequest, status, query)
		require.Equal(t, field, fault.Parse("", status, body).Field, "%s: %s", query, body)
	}
}

func TestService_Authorizes(t *testing.T) {
	t.Parallel()
	s := service(t)
	status, _ := get(t, s, "/v1/projects/q/events")
	require.Equal(t, http.StatusForbidden, status)
	s.Authorize = nil
	status, _ = get(t, s, "/v1/projects/p/events")
	require.Equal(t, http.StatusForbidden, status)
	s.Authorize = func(*http.Request, string, string) error { return nil }
	status, _ = get(t, s, "/v1/projects/P_/events")
	require.Equal(t, http.StatusBadRequest, status)
}
