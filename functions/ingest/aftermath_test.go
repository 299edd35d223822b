package ingest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/ingest"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/deadletters"
	"selvedge.dev/triggers/delivery"
	"selvedge.dev/triggers/filter"
	"selvedge.dev/triggers/ledger"
)

// refuser refuses every event, and counts those that it got.
type refuser struct{ got chan event.Event }

// Deliver implements delivery.Sink.
func (s refuser) Deliver(_ context.Context, e event.Event) delivery.Result {
	s.got <- e
	return delivery.Result{Status: 400, Body: []byte("boom"), Err: &fault.Error{Kind: fault.Invalid, Reason: "BOOM"}}
}

// aftermath is the door over a broker with a trigger of project p, and one of
// the platform, that refuse everything. It is open to project p, not to q.
func aftermath(t *testing.T) (*broker.Broker, http.Handler, refuser) {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "db"), deadletters.Schema+ledger.Schema)
	require.NoError(t, err)
	sink := refuser{make(chan event.Event, 100)}
	pass, err := filter.ParseAll(nil)
	require.NoError(t, err)
	b, err := broker.Open(t.Context(), broker.Options{Dir: dir, Ledger: ledger.New(db), DeadLetters: deadletters.New(db, deadletters.Options{})}, []broker.Trigger{
		{Name: "writer", Filter: pass, Sink: sink}, {Project: "p", Name: "mine", Filter: pass, Sink: sink}, {Project: "q", Name: "mine", Filter: pass, Sink: sink},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		require.NoError(t, b.Close())
		require.NoError(t, db.Close())
	})
	r := chi.NewRouter()
	(&ingest.Aftermath{Broker: b, Authorize: func(_ *http.Request, project, permission string) error {
		if project != "p" || !strings.HasPrefix(permission, "triggers.") {
			return &fault.Error{Kind: fault.Denied}
		}
		return nil
	}}).Routes(r)
	return b, r, sink
}

// ask calls the door and decodes its answer.
func ask(t *testing.T, door http.Handler, method, path, body string, into any) int {
	t.Helper()
	w := httptest.NewRecorder()
	door.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	if into != nil {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), into), "%s", w.Body)
	}
	return w.Code
}

// shown is a list of dead letters as a client reads it.
type shown struct {
	DeadLetters []struct {
		ID, Trigger, Reason, EventID, Body string
		Status, Attempts, Replays          int
	}
	NextPageToken string
	Usage         struct{ Letters int64 }
}

func TestAftermath_ListsShowsAndReplays(t *testing.T) {
	t.Parallel()
	b, door, sink := aftermath(t)
	const odd = "a/b:c ü%"
	for _, project := range []string{"p", "q"} {
		e := event.New()
		e.SetID(odd)
		e.SetSource("/s")
		e.SetType("t")
		e.SetExtension(event.Project, project)
		_, err := b.Publish(t.Context(), []event.Event{e})
		require.NoError(t, err)
	}
	require.NoError(t, b.Settle(t.Context()))

	var l shown
	require.Equal(t, 200, ask(t, door, "GET", "/v1/projects/p/deadLetters", "", &l))
	require.Len(t, l.DeadLetters, 2)
	require.EqualValues(t, 2, l.Usage.Letters)
	require.Equal(t, 200, ask(t, door, "GET", "/v1/projects/p/deadLetters?pageSize=1", "", &l))
	require.Len(t, l.DeadLetters, 1)
	var more shown
	require.Equal(t, 200, ask(t, door, "GET", "/v1/projects/p/deadLetters?pageSize=1&pageToken="+l.NextPageToken, "", &more))
	require.NotEqual(t, l.DeadLetters[0].ID, more.DeadLetters[0].ID)
	require.Empty(t, more.NextPageToken)

	require.Equal(t, 200, ask(t, door, "GET", "/v1/projects/p/deadLetters?trigger=mine", "", &l))
	require.Len(t, l.DeadLetters, 1)
	mine := l.DeadLetters[0]
	require.Equal(t, "p/mine", mine.Trigger)
	require.Equal(t, odd, mine.EventID)
	require.Equal(t, "BOOM", mine.Reason)
	require.Equal(t, "boom", mine.Body)
	require.Equal(t, 400, mine.Status)
	require.Equal(t, 200, ask(t, door, "GET", "/v1/projects/p/deadLetters?trigger=writer", "", &l))
	require.Equal(t, "writer", l.DeadLetters[0].Trigger)

	var one struct{ Event struct{ ID, Source string } }
	require.Equal(t, 200, ask(t, door, "GET", "/v1/projects/p/deadLetters/"+mine.ID, "", &one))
	require.Equal(t, odd, one.Event.ID)

	for range 4 {
		<-sink.got
	}
	var done struct{ Replayed int }
	require.Equal(t, 200, ask(t, door, "POST", "/v1/projects/p/deadLetters:replay", `{"ids":["`+mine.ID+`"]}`, &done))
	require.Equal(t, 1, done.Replayed)
	e := <-sink.got
	require.Equal(t, "1", event.Extension(&e, event.Replay))
	require.NoError(t, b.Settle(t.Context()))
	require.Equal(t, 200, ask(t, door, "POST", "/v1/projects/p/deadLetters:replay", `{"trigger":"mine","to":"writer","startTime":"2020-01-01T00:00:00Z"}`, &done))
	require.Equal(t, 1, done.Replayed, "those that come back meanwhile are not taken again")
	e = <-sink.got
	require.Equal(t, "2", event.Extension(&e, event.Replay))

	var trace broker.Trace
	require.Equal(t, 200, ask(t, door, "GET", "/v1/projects/p/events/"+url.PathEscape(odd)+":trace?source=/s", "", &trace))
	require.NotEmpty(t, trace.Events)
	require.Equal(t, odd, trace.Events[0].ID)
	require.Len(t, trace.Events[0].Triggers, 2)
}

func TestAftermath_Refuses(t *testing.T) {
	t.Parallel()
	_, door, _ := aftermath(t)
	f := func(method, path, body string, want int) {
		t.Helper()
		require.Equal(t, want, ask(t, door, method, path, body, nil), "%s %s", method, path)
	}
	f("GET", "/v1/projects/q/deadLetters", "", 403)
	f("GET", "/v1/projects/q/deadLetters/1", "", 403)
	f("POST", "/v1/projects/q/deadLetters:replay", `{"ids":["1"]}`, 403)
	f("GET", "/v1/projects/q/events/1:trace", "", 403)
	f("GET", "/v1/projects/p/events/1:trace", "", 404)
	f("GET", "/v1/projects/p/events/1", "", 404)
	f("GET", "/v1/projects/p/events/:trace", "", 400)
	f("GET", "/v1/projects/p/events/1:trace?x=y", "", 400)
	f("GET", "/v1/projects/p/deadLetters?x=y", "", 400)
	f("GET", "/v1/projects/p/deadLetters?startTime=noon", "", 400)
	f("GET", "/v1/projects/p/deadLetters?pageToken=eHg", "", 400)
	f("GET", "/v1/projects/p/deadLetters/x", "", 400)
	f("GET", "/v1/projects/p/deadLetters/7", "", 404)
	for _, body := range []string{`{}`, `{"ids":["1"],"trigger":"a"}`, `{"ids":["x"]}`, `{"ids":["1"],"startTime":"2020-01-01T00:00:00Z"}`, `{"trigger":"mine","startTime":"x"}`, `{"id":"1"}`, `[]`} {
		f("POST", "/v1/projects/p/deadLetters:replay", body, 400)
	}
	f("POST", "/v1/projects/p/deadLetters:replay", `{"ids":["7"]}`, 404)
}
