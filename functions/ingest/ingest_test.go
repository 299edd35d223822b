package ingest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cesdk "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/functions/ingest"
	ingestv1 "selvedge.dev/functions/ingest/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/triggers/broker"
)

// published keeps what the door publishes; an event with the id "twice" is a
// duplicate.
type published struct {
	events []event.Event
	err    error
}

// Publish implements ingest.Publisher.
func (p *published) Publish(_ context.Context, events []event.Event) ([]broker.Verdict, error) {
	if p.err != nil {
		return nil, p.err
	}
	p.events = append(p.events, events...)
	verdicts := make([]broker.Verdict, len(events))
	for i := range events {
		if events[i].ID() == "twice" {
			verdicts[i] = broker.Duplicate
		}
	}
	return verdicts, nil
}

// aliases resolves one alias.
type aliases struct{ devicesv1.Reader }

// Resolve implements devicesv1.Reader.
func (aliases) Resolve(_ context.Context, project string, a devicesv1.External) (*devicesv1.Device, error) {
	if project == "p" && a.String() == "boat/esn/5551212" {
		return &devicesv1.Device{Name: "projects/p/devices/d"}, nil
	}
	return nil, &fault.Error{Kind: fault.NotFound}
}

// The principals of the tests.
var (
	admin   = iam.Principal{Kind: iam.Admin, Name: "admin"}
	project = iam.Principal{Kind: iam.Project, Name: "projects/p", Project: "p"}
	device  = iam.Principal{Kind: iam.Device, Name: "projects/p/devices/d", Project: "p", Device: resource.Name("projects/p/devices/d")}
)

// door is the door with who calls already known.
func door(p *published, who iam.Principal, limits event.Limits) http.Handler {
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(iam.WithPrincipal(r.Context(), who)))
		})
	})
	(&ingest.Service{Broker: p, Devices: aliases{}, Limits: limits}).Routes(r)
	return r
}

// post posts body to the door as who.
func post(p *published, who iam.Principal, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	door(p, who, event.Limits{}).ServeHTTP(w, r)
	return w
}

const own = "//selvedge.dev/projects/p/devices/d"

// text is the JSON of an event with further members.
func text(id, source string, more ...string) string {
	return `{"specversion":"1.0","type":"t","id":"` + id + `","source":"` + source + `"` + strings.Join(more, "") + `}`
}

func TestPost_SingleIs202OnceDurable(t *testing.T) {
	t.Parallel()
	p := &published{}
	w := post(p, device, event.MediaStructured, text("1", own))
	require.Equal(t, 202, w.Code, w.Body)
	require.Equal(t, "accepted", w.Header().Get(ingestv1.VerdictHeader))
	require.Equal(t, "p", event.Extension(&p.events[0], event.Project))
	require.Equal(t, "processor", event.Extension(&p.events[0], event.Route))

	w = post(p, device, event.MediaStructured, text("twice", own))
	require.Equal(t, 202, w.Code)
	require.Equal(t, "duplicate", w.Header().Get(ingestv1.VerdictHeader))

	p.err = &fault.Error{Kind: fault.Exhausted, Reason: "BROKER_FULL", Err: errors.New("full")}
	w = post(p, device, event.MediaStructured, text("3", own))
	require.Equal(t, 429, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

func TestPost_BatchHasAVerdictForEachEvent(t *testing.T) {
	t.Parallel()
	p := &published{}
	w := post(p, device, event.MediaBatch, "["+strings.Join([]string{
		text("1", own), text("twice", own), `{"id":"3"}`, text("4", "//selvedge.dev/projects/p/devices/other"), text("5", own),
	}, ",")+"]")
	require.Equal(t, http.StatusMultiStatus, w.Code, w.Body)
	var verdicts []ingestv1.Verdict
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &verdicts))
	require.Len(t, verdicts, 5)
	status := make([]string, len(verdicts))
	for i, v := range verdicts {
		status[i] = v.ID + " " + v.Status
	}
	require.Equal(t, []string{"1 accepted", "twice duplicate", "3 rejected", "4 rejected", "5 accepted"}, status)
	require.Equal(t, 400, verdicts[2].Error.Code)
	require.Equal(t, "specversion", verdicts[2].Error.Details[0].Metadata["field"])
	require.Equal(t, 403, verdicts[3].Error.Code)
	require.Len(t, p.events, 3)

	w = post(p, device, event.MediaBatch, "["+text("6", own)+"]")
	require.Equal(t, 202, w.Code)
	w = post(p, device, event.MediaBatch, "[]")
	require.Equal(t, 202, w.Code)
	require.JSONEq(t, "[]", w.Body.String())
}

func TestPost_WhoMayPostWhat(t *testing.T) {
	t.Parallel()
	alias := func(value string) string {
		return `,"networkid":"boat","aliaskey":"esn","aliasvalue":"` + value + `"`
	}
	f := func(status int, project string, who iam.Principal, body string) {
		t.Helper()
		p := &published{}
		w := post(p, who, event.MediaStructured, body)
		require.Equal(t, status, w.Code, "%s: %s", body, w.Body)
		if status == 202 {
			require.Equal(t, project, event.Extension(&p.events[0], event.Project))
		} else {
			require.Empty(t, p.events)
		}
	}
	f(401, "", iam.Principal{}, text("1", own))
	f(202, "p", device, text("1", own))
	f(403, "", device, text("1", "//selvedge.dev/projects/p/devices/other"))
	f(403, "", device, text("1", "//selvedge.dev/projects/q/devices/d"))
	f(403, "", device, text("1", "urn:anything"))
	f(202, "p", device, text("1", "urn:lora", alias("5551212")))
	f(403, "", device, text("1", "urn:lora", alias("0")))
	f(202, "p", project, text("1", "//selvedge.dev/projects/p/devices/other"))
	f(202, "p", project, text("1", "urn:lora", alias("0")))
	f(403, "", project, text("1", "//selvedge.dev/projects/q/devices/d"))
	f(202, "q", admin, text("1", "//selvedge.dev/projects/q/devices/d"))
	f(202, "default", admin, text("1", "urn:lora"))
	f(400, "", admin, text("1", "//selvedge.dev/projects/Not%20A%20Project/devices/d"))
}

func TestPost_ReservedAttributesAreThePlatforms(t *testing.T) {
	t.Parallel()
	for _, name := range []string{event.Project, event.Route, event.Device, event.Blueprint, "selvedgeanything"} {
		w := post(&published{}, admin, event.MediaStructured, text("1", own, `,"`+name+`":"x"`))
		require.Equal(t, 400, w.Code)
		require.Contains(t, w.Body.String(), "RESERVED_ATTRIBUTE")
		require.Contains(t, w.Body.String(), name)
	}
}

func TestPost_ProblemsNameTheAttribute(t *testing.T) {
	t.Parallel()
	f := func(status int, field, contentType, body string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		door(&published{}, admin, event.Limits{Body: 1000, Event: 500}).ServeHTTP(w, r)
		require.Equal(t, status, w.Code)
		var p fault.Problem
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		require.Equal(t, status, p.Error.Code)
		require.Equal(t, field, p.Error.Details[0].Metadata["field"])
	}
	f(400, "type", event.MediaStructured, `{"specversion":"1.0","id":"1","source":"/s"}`)
	f(400, "time", event.MediaStructured, text("1", "/s", `,"time":"soon"`))
	f(400, "body", event.MediaBatch, `[`)
	f(413, "body", event.MediaStructured, strings.Repeat(" ", 1001))
	f(413, "event", event.MediaStructured, text("1", "/s", `,"data":"`+strings.Repeat("x", 500)+`"`))
	f(415, "content-type", "text/plain", `hello`)
}

// TestPost_OfficialSDKClient posts with the CloudEvents project's own Go
// client, in all three modes.
func TestPost_OfficialSDKClient(t *testing.T) {
	t.Parallel()
	p := &published{}
	server := httptest.NewServer(door(p, admin, event.Limits{}))
	t.Cleanup(server.Close)
	protocol, err := cesdk.NewHTTP(cesdk.WithTarget(server.URL + "/v1/events"))
	require.NoError(t, err)
	client, err := cesdk.NewClient(protocol)
	require.NoError(t, err)
	e := cesdk.NewEvent()
	e.SetID("1")
	e.SetSource(own)
	e.SetType("com.example.climate")
	e.SetExtension("networkid", "boat")
	require.NoError(t, e.SetData(cesdk.ApplicationJSON, map[string]any{"temperature": 21.5}))

	for _, ctx := range []context.Context{binding.WithForceBinary(t.Context()), binding.WithForceStructured(t.Context())} {
		require.True(t, cesdk.IsACK(client.Send(ctx, e)))
	}
	req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), server.URL+"/v1/events", []cesdk.Event{e, e})
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 202, resp.StatusCode)

	require.Len(t, p.events, 4)
	for _, got := range p.events {
		require.Equal(t, own, got.Source())
		require.Equal(t, "boat", event.Extension(&got, "networkid"))
		require.JSONEq(t, `{"temperature":21.5}`, string(got.Data()))
	}

	e.SetExtension(event.Route, "writer")
	result := client.Send(t.Context(), e)
	require.False(t, cesdk.IsACK(result))
	var status *cehttp.Result
	require.ErrorAs(t, result, &status)
	require.Equal(t, 400, status.StatusCode)
}

func TestCounts_ByOutcome(t *testing.T) {
	t.Parallel()
	p := &published{}
	s := &ingest.Service{Broker: p, Devices: aliases{}}
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(iam.WithPrincipal(r.Context(), admin)))
		})
	})
	s.Routes(r)
	for _, body := range []string{"[" + text("1", own) + "," + text("twice", own) + "," + text("2", own, `,"selvedgex":"1"`) + "]", "["} {
		req := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(body))
		req.Header.Set("Content-Type", event.MediaBatch)
		r.ServeHTTP(httptest.NewRecorder(), req)
	}
	require.Equal(t, map[string]int64{"accepted": 1, "duplicate": 1, "rejected:RESERVED_ATTRIBUTE": 1, "rejected:INVALID_JSON": 1}, s.Counts())
}
