package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/triggers/broker"
)

// TestJourney_ReplayOfADeviceThatWasMissing is what an operator does whose
// device sent before it was registered: he sees why, makes the device, and has
// the events delivered again. The platform is killed on the way.
func TestJourney_ReplayOfADeviceThatWasMissing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	at := time.Now().Add(-time.Hour).Truncate(time.Hour)
	for i, id := range []string{"one", "two", "three"} {
		accept(t, p, reading("late", id, at.Add(time.Duration(i+1)*time.Minute), map[string]any{"temperature": 20 + i}))
	}
	require.Eventually(t, func() bool { return losses(t, p)["processor UNKNOWN_DEVICE"] == 3 }, startTimeout, 20*time.Millisecond)
	require.NoError(t, p.Kill())
	p = start(t, data)
	sh := shellOf(t, p)

	trace := func(id string) broker.Trace {
		t.Helper()
		var tr broker.Trace
		require.NoError(t, json.Unmarshal([]byte(sh.ok("events", "trace", id, "-o", "json")), &tr))
		return tr
	}
	before := trace("two")
	require.Len(t, before.Events, 1)
	require.Contains(t, sh.ok("events", "trace", "two"), "GIVEN_UP")
	var letters []struct{ ID, Trigger, Reason, EventID string }
	require.NoError(t, json.Unmarshal([]byte(sh.ok("events", "dead-letters", "--trigger", "processor", "-o", "json")), &letters))
	require.Len(t, letters, 3, "what was given up survives a kill")
	require.Equal(t, "UNKNOWN_DEVICE", letters[0].Reason)
	require.Equal(t, "three", letters[0].EventID)

	register(t, p, "late")
	require.Contains(t, sh.ok("events", "replay", letters[0].ID), "1")
	require.Contains(t, sh.ok("events", "replay", "--trigger", "processor", "--since", "1h"), "2")
	drained(t, p)
	series := querySeries(t, p, url.Values{
		"filter":             {`metric.type = "com.example.climate/temperature"`},
		"interval.startTime": {at.UTC().Format(time.RFC3339)}, "interval.endTime": {at.Add(time.Hour).UTC().Format(time.RFC3339)},
	})
	require.Len(t, series["com.example.climate/temperature late"], 3)
	require.Equal(t, "[]\n", sh.ok("events", "dead-letters", "-o", "json"))

	after := trace("two")
	require.Len(t, after.Events, 3, "the event, its replay, and the reply on its way to the writer")
	states := map[string]string{}
	for _, e := range after.Events {
		for _, x := range e.Triggers {
			if x.Matched {
				states[x.Trigger] = x.State
			}
		}
	}
	require.Equal(t, broker.StateDelivered, states["processor"])
	require.Equal(t, broker.StateDelivered, states["writer"])

	status, _ := send(t, p, adminKey, httpCall{method: http.MethodGet, path: "/v1/projects/other/events/two:trace"})
	require.Equal(t, http.StatusNotFound, status, "of another project")
	stop(t, p)
}
