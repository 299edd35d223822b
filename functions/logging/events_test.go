package logging_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/logging"
	loggingv1 "selvedge.dev/functions/logging/v1"
	"selvedge.dev/sdk/client"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

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

// handle hands an event to the function.
func (w *world) handle(e event.Event) error {
	reply, err := (&logging.Function{Entries: w.doors}).Handle(w.t.Context(), e)
	require.Nil(w.t, reply)
	return err
}

// withAlerts is a world with ten alerts of the project "p" and one of "q", each
// delivered twice.
func withAlerts(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for range 2 {
		for i := range 10 {
			require.NoError(t, w.handle(alert("p", i)))
		}
		require.NoError(t, w.handle(alert("q", 0)))
	}
	return w
}

// answer is the answer of a list of events, as a client reads it.
type answer struct {
	Events []struct {
		ID      string         `json:"id"`
		Type    string         `json:"type"`
		Project string         `json:"selvedgeproject"`
		Data    map[string]any `json:"data"`
	} `json:"events"`
	NextPageToken string `json:"nextPageToken"`
}

func TestEvents_List(t *testing.T) {
	t.Parallel()
	w := withAlerts(t)
	f := func(query string, want ...string) {
		t.Helper()
		var ids []string
		for token := ""; ; {
			status, _, body := w.send(project, http.MethodGet, "/v1/projects/p/events?"+query+"&pageToken="+url.QueryEscape(token), "")
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
	f("pageSize=10", all...)
	f("pageSize=100000", all...)
	f("type=dev.selvedge.alert.v1&source=%2F%2Fselvedge.dev%2Ffunctions%2Fthreshold&subject=projects/p/devices/d", all...)
	f("type=other")
	f("type=Dev.selvedge.alert.v1&pageSize=2")
	f("startTime=2026-06-01T12:02:00Z&endTime=2026-06-01T14:04:00%2B02:00", "3", "2")
	f("startTime=2026-06-01T12:02:00.5Z&pageSize=5", "9", "8", "7", "6", "5", "4", "3")
}

func TestEvents_AnEmptyListIsAList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, _, body := w.send(project, http.MethodGet, "/v1/projects/p/events?type=other", "")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"events": []}`, string(body))
}

func TestEvents_RefusesParametersByName(t *testing.T) {
	t.Parallel()
	w := withAlerts(t)
	for query, field := range map[string]string{
		"filter=x": "filter", "Type=x": "Type", "pageSize=x": "pageSize", "pageSize=-1": "pageSize", "pageSize=": "pageSize", "startTime=noon": "startTime",
		"endTime=2026-06-01": "endTime", "type=": "type", "type=a&type=b": "type", "pageToken=x": "pageToken",
	} {
		status, _, body := w.send(project, http.MethodGet, "/v1/projects/p/events?"+query, "")
		require.Equal(t, http.StatusBadRequest, status, query)
		require.Equal(t, field, fault.Parse("", status, body).Field, "%s: %s", query, body)
	}
	status, _, body := w.send(project, http.MethodGet, "/v1/projects/p/events?pageSize=1", "")
	require.Equal(t, http.StatusOK, status)
	var a answer
	require.NoError(t, json.Unmarshal(body, &a))
	status, _, _ = w.send(project, http.MethodGet, "/v1/projects/p/events?type=x&pageToken="+a.NextPageToken, "")
	require.Equal(t, http.StatusBadRequest, status, "a token of another list")
}

func TestEvents_Authorizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for who, want := range map[string]int{"": 401, "projects/p": 403, "projects/q": 200, "projects/q/devices/d": 403, admin: 200} {
		status, _, _ := w.send(who, http.MethodGet, "/v1/projects/q/events", "")
		require.Equal(t, want, status, who)
	}
	status, _, _ := w.send(admin, http.MethodGet, "/v1/projects/P_/events", "")
	require.Equal(t, http.StatusBadRequest, status)
}

// An event is an entry, and comes back whatever its data is.
func TestEvents_AreEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.handle(alert("p", 1)))
	got := w.listed(project, `{"resourceNames": ["projects/p"], "filter": "log_id(\"selvedge.dev/events\") AND jsonPayload.type = \"dev.selvedge.alert.v1\""}`)
	require.Len(t, got, 1)
	require.Equal(t, "WARNING", got[0]["severity"])
	require.Equal(t, map[string]any{"type": "device", "labels": map[string]any{"project_id": "p", "device_id": "d"}}, got[0]["resource"])
	require.Equal(t, json.Number("31"), got[0]["jsonPayload"].(map[string]any)["data"].(map[string]any)["value"])

	e := alert("p", 2)
	e.DataEncoded = []byte("{")
	require.Equal(t, "NO_JSON_FORM", fault.ReasonOf(w.handle(e)))
	e = alert("p", 2)
	e.SetDataContentType("text/plain")
	e.DataEncoded = []byte("\xff")
	require.NoError(t, w.handle(e))
	got = w.listed(project, `{"resourceNames": ["projects/p"], "filter": "jsonPayload.id = \"2\""}`)
	require.Equal(t, "/w==", got[0]["jsonPayload"].(map[string]any)["data_base64"])
	e = alert("p", 3)
	e.SetExtension(event.Project, nil)
	require.Equal(t, "NO_PROJECT", fault.ReasonOf(w.handle(e)))
	require.NoError(t, w.intake.Close())
	require.NotEqual(t, fault.Invalid, fault.KindOf(w.handle(alert("p", 4))), "it is delivered again")
}

// A device's events bring entries of its own, in its bucket if it has one; what
// it says of itself is what it is.
func TestEvents_OfDevicesBringEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket("d2", &loggingv1.Bucket{})
	says := func(device, id, data string) error {
		e := alert("p", 1)
		e.SetType(loggingv1.TypeLog)
		e.SetID(id)
		e.SetSource("//selvedge.dev/projects/p/devices/" + device)
		e.DataEncoded = []byte(data)
		return w.handle(e)
	}
	for range 2 {
		require.NoError(t, says("d1", "1", `{"severity": "ERROR", "jsonPayload": {"n": 9007199254740993}, "resource": {"type": "device", "labels": {"device_id": "d9"}}}`))
		require.NoError(t, says("d2", "2", `{"entries": [{"textPayload": "a"}, {"textPayload": "b", "logName": "projects/p/logs/kernel", "insertId": "own", "timestamp": "2026-06-01T11:00:00Z"}]}`))
	}
	got := w.listed(project, `{"resourceNames": ["projects/p"], "filter": "severity = ERROR"}`)
	require.Len(t, got, 1)
	require.Equal(t, "projects/p/logs/device", got[0]["logName"])
	require.Equal(t, "d1", got[0]["resource"].(map[string]any)["labels"].(map[string]any)["device_id"])
	require.Len(t, w.listed(project, `{"resourceNames": ["projects/p/buckets/d2"]}`), 2)
	require.Equal(t, []string{"own"}, w.ids(project, `log_id("kernel") AND timestamp = "2026-06-01T11:00:00Z"`))

	for _, data := range []string{`x`, `[]`, `{"entries": 1}`, `{"what": 1}`, `{"logName": "projects/q/logs/l"}`, `{"jsonPayload": 1}`} {
		require.Equal(t, "MALFORMED_LOG", fault.ReasonOf(says("d1", "x", data)), data)
	}
	e := alert("p", 1)
	e.SetType(loggingv1.TypeLog)
	e.DataEncoded = []byte(`{"entries": [{"textPayload": "good", "insertId": "good"}, {"labels": {"": "x"}}]}`)
	var drops function.Drops
	_, err := (&logging.Function{Entries: w.doors}).Handle(function.WithDrops(t.Context(), &drops), e)
	require.NoError(t, err)
	require.Equal(t, []function.Loss{{Reason: "INVALID_ENTRY", Count: 1}}, drops.Losses())
}

// In a process of its own the function does the same, by the platform's doors.
func TestEvents_FromAnotherProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bucket("d2", &loggingv1.Bucket{})
	f := &logging.Function{Entries: logging.NewRemote(&client.Client{URL: w.url, Key: admin})}
	says := func(device, data string) ([]function.Loss, error) {
		e := alert("p", 1)
		e.SetType(loggingv1.TypeLog)
		e.SetSource("//selvedge.dev/projects/p/devices/" + device)
		e.DataEncoded = []byte(data)
		var drops function.Drops
		_, err := f.Handle(function.WithDrops(t.Context(), &drops), e)
		return drops.Losses(), err
	}
	for range 2 {
		_, err := f.Handle(t.Context(), alert("p", 1))
		require.NoError(t, err)
		for _, device := range []string{"d1", "d2"} {
			lost, err := says(device, `{"entries": [{"jsonPayload": {"n": 9007199254740993}}, {"labels": {"": "x"}}]}`)
			require.NoError(t, err)
			require.Equal(t, []function.Loss{{Reason: "INVALID_ENTRY", Count: 1}}, lost)
		}
	}
	require.Len(t, w.ids(project, `log_id("selvedge.dev/events")`), 1)
	require.Len(t, w.ids(project, `log_id("device") AND jsonPayload.n = 9007199254740993`), 2)
	require.Len(t, w.listed(project, `{"resourceNames": ["projects/p/buckets/d2"]}`), 1)
	_, err := says("d1", `{"labels": {"": "x"}}`)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)

	f.Entries = logging.NewRemote(&client.Client{URL: "http://127.0.0.1:1", Key: admin})
	_, err = f.Handle(t.Context(), alert("p", 2))
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "it is delivered again")
}

// Events that an earlier release stored are found as those that come in.
func TestDoors_PutEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := alert("p", 3)
	bad.DataEncoded = []byte(`{`)
	verdicts, err := w.doors.PutEvents(t.Context(), "p", []event.Event{alert("p", 1), bad, alert("p", 2)})
	require.NoError(t, err)
	require.NoError(t, errors.Join(verdicts[0], verdicts[2]))
	require.NoError(t, w.handle(alert("p", 2)), "again")
	var answer struct{ Events []struct{ ID string } }
	_, _, body := w.send(project, http.MethodGet, "/v1/projects/p/events", "")
	require.NoError(t, json.Unmarshal(body, &answer))
	ids := map[string]int{}
	for _, e := range answer.Events {
		ids[e.ID]++
	}
	require.Equal(t, 1, ids["1"])
	require.Equal(t, 1, ids["2"])
}
