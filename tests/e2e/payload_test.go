package e2e

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	cesdk "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// TestPayload_CounterOfABlueprint maps a counter that is reset once, and reads
// its change and its rate. Worked by hand: the counter stands at 100 at 0 s,
// 130 at 10 s, 190 at 30 s, falls to 20 at 40 s, and stands at 80 at 60 s. So
// it grew by 90 in (0, 30] and, the fall being a start from zero, by 20 and
// then 60 in (30, 60].
func TestPayload_CounterOfABlueprint(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	call(t, p, http.MethodPost, "/v1/projects/default/blueprints", url.Values{"blueprintId": {"meter"}}, map[string]any{
		"mappings": []any{map[string]any{
			"eventType": "com.example.climate", "timestampField": "at",
			"fields": []any{map[string]any{
				"field": "wh", "metricType": "meter/energy", "kind": "CUMULATIVE", "unit": "W.h", "labels": map[string]string{"phase": "where"},
			}},
		}},
	}, nil)
	call(t, p, http.MethodPost, "/v1/projects/default/devices", url.Values{"deviceId": {"m1"}},
		map[string]any{"blueprint": "projects/default/blueprints/meter"}, nil)
	var events []map[string]any
	for _, v := range []struct{ s, wh int }{{0, 100}, {10, 130}, {30, 190}, {40, 20}, {60, 80}} {
		events = append(events, reading("m1", at(v.s).String(), time.Now(), map[string]any{
			"wh": v.wh, "where": "L1", "ignored": 5, "at": at(v.s).Unix(),
		}))
	}
	accept(t, p, events...)
	drained(t, p)
	f := func(aligner string, want ...point) {
		t.Helper()
		q := aligned(`metric.type = "meter/energy" AND metric.labels.phase = "L1"`, aligner)
		require.Equal(t, map[string][]point{"meter/energy m1": want}, querySeries(t, p, q), aligner)
	}
	f("ALIGN_DELTA", point{at(30), "90"}, point{at(60), "80"})
	f("ALIGN_RATE", point{at(30), "3"}, point{at(60), "2.6666666666666665"})
	require.Empty(t, querySeries(t, p, aligned(`metric.type = has_substring("ignored")`, "ALIGN_COUNT")))
}

// TestPayload_SenMLAndGoogle posts the other forms of telemetry.
func TestPayload_SenMLAndGoogle(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	register(t, p, "d1")
	senml := reading("d1", "1", at(0), []any{
		map[string]any{"bn": "urn:dev:ow:10e2073a01080063:", "bt": at(10).Unix(), "n": "voltage", "u": "V", "v": 120.1},
		map[string]any{"n": "voltage", "t": 10, "v": 122.1},
	})
	senml["datacontenttype"] = "application/senml+json"
	google := reading("d1", "2", at(0), map[string]any{"timeSeries": []any{map[string]any{
		"metric":     map[string]any{"type": "custom.example.com/queue", "labels": map[string]string{"name": "in"}},
		"metricKind": "GAUGE", "valueType": "INT64",
		"points": []any{map[string]any{"interval": map[string]any{"endTime": at(20)}, "value": map[string]any{"int64Value": "17"}}},
	}}})
	google["type"] = "google.monitoring.v3.CreateTimeSeries"
	accept(t, p, senml, google)
	drained(t, p)
	require.Equal(t, []point{{at(30), "121.1"}},
		querySeries(t, p, aligned(`metric.type = "com.example.climate/voltage"`, "ALIGN_MEAN"))["com.example.climate/voltage d1"])
	require.Equal(t, []point{{at(30), "17"}},
		querySeries(t, p, aligned(`metric.type = "custom.example.com/queue" AND metric.labels.name = "in"`, "ALIGN_MAX"))["custom.example.com/queue d1"])
}

// TestPayload_PartsThatCannotBeStoredAreCounted posts an event of which one
// part is no point of the metric, and one that holds no number at all.
func TestPayload_PartsThatCannotBeStoredAreCounted(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	register(t, p, "d1")
	accept(t, p, reading("d1", "1", at(10), map[string]any{"a": 1, "b": 2}))
	drained(t, p)
	accept(t, p,
		reading("d1", "2", at(20), map[string]any{"a": 3, "b": true}),
		reading("d1", "3", at(30), map[string]any{"text": "no number"}))
	drained(t, p)
	require.Eventually(t, func() bool {
		l := losses(t, p)
		return l["writer TYPE_CONFLICT"] == 1 && l["writer NO_NUMERIC_FIELD"] == 1
	}, startTimeout, 10*time.Millisecond, "%v", losses(t, p))
	require.Len(t, querySeries(t, p, aligned(`metric.type = "com.example.climate/a"`, "ALIGN_COUNT"))["com.example.climate/a d1"], 1, "both readings of a, in one window")
}

// TestSDKClient_AllModes posts to the real program with the CloudEvents
// project's own client, in binary, structured and batch mode.
func TestSDKClient_AllModes(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	register(t, p, "d1")
	protocol, err := cesdk.NewHTTP(cesdk.WithTarget(p.URL+"/v1/events"), cesdk.WithHeader("Authorization", "Bearer "+process.AdminKey))
	require.NoError(t, err)
	client, err := cesdk.NewClient(protocol)
	require.NoError(t, err)
	event := func(id string, s int) cesdk.Event {
		e := cesdk.NewEvent()
		e.SetID(id)
		e.SetSource("//selvedge.dev/projects/default/devices/d1")
		e.SetType("com.example.climate")
		e.SetTime(at(s))
		require.NoError(t, e.SetData(cesdk.ApplicationJSON, map[string]any{"temperature": s}))
		return e
	}
	require.True(t, cesdk.IsACK(client.Send(binding.WithForceBinary(t.Context()), event("1", 10))))
	require.True(t, cesdk.IsACK(client.Send(binding.WithForceStructured(t.Context()), event("2", 20))))
	require.True(t, cesdk.IsACK(client.Send(binding.WithForceStructured(t.Context()), event("2", 20))), "a duplicate is acknowledged")
	req, err := cehttp.NewHTTPRequestFromEvents(context.Background(), p.URL+"/v1/events", []cesdk.Event{event("3", 25), event("4", 30)})
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+process.AdminKey)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	drained(t, p)
	require.Equal(t, []point{{at(30), "85"}},
		querySeries(t, p, aligned(`metric.type = "com.example.climate/temperature"`, "ALIGN_SUM"))["com.example.climate/temperature d1"])
}
