package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// base is when the samples of these tests were taken.
var base = time.Now().UTC().Add(-time.Hour).Truncate(time.Minute)

// at is base plus s seconds.
func at(s int) time.Time { return base.Add(time.Duration(s) * time.Second) }

// aligned is a query of windows of 30 s from base to base plus 90 s.
func aligned(filter, aligner string) url.Values {
	return url.Values{
		"filter": {filter}, "interval.startTime": {at(0).Format(time.RFC3339)}, "interval.endTime": {at(90).Format(time.RFC3339)},
		"aggregation.alignmentPeriod": {"30s"}, "aggregation.perSeriesAligner": {aligner},
	}
}

// TestJourney_KnownSamplesComeBackAligned posts samples and compares what is
// read back with values worked out by hand.
func TestJourney_KnownSamplesComeBackAligned(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	register(t, p, "d1")
	register(t, p, "d2")
	var events []map[string]any
	for i, v := range []float64{20, 21, 25, 25, 26, 30} { // at 10, 20, 30, 40, 50, 60 s
		events = append(events, reading("d1", fmt.Sprint("a", i), at(10*(i+1)), map[string]any{"temperature": v, "battery": map[string]any{"ok": v < 26}}))
	}
	events = append(events, reading("d2", "b", at(30), map[string]any{"temperature": 1}))
	accept(t, p, events...)
	accept(t, p, events...) // all duplicates: nothing counts twice
	drained(t, p)

	// The window is (start, end]: the sample at 30 s belongs to the first.
	const temperature = `metric.type = "com.example.climate/temperature"`
	f := func(aligner string, want map[string][]point) {
		t.Helper()
		require.Equal(t, want, querySeries(t, p, aligned(temperature, aligner)), aligner)
	}
	const d1, d2 = "com.example.climate/temperature d1", "com.example.climate/temperature d2"
	f("ALIGN_MEAN", map[string][]point{d1: {{at(30), "22"}, {at(60), "27"}}, d2: {{at(30), "1"}}})
	f("ALIGN_MAX", map[string][]point{d1: {{at(30), "25"}, {at(60), "30"}}, d2: {{at(30), "1"}}})
	f("ALIGN_MIN", map[string][]point{d1: {{at(30), "20"}, {at(60), "25"}}, d2: {{at(30), "1"}}})
	f("ALIGN_SUM", map[string][]point{d1: {{at(30), "66"}, {at(60), "81"}}, d2: {{at(30), "1"}}})
	f("ALIGN_COUNT", map[string][]point{d1: {{at(30), "3"}, {at(60), "3"}}, d2: {{at(30), "1"}}})

	q := aligned(temperature, "ALIGN_MEAN")
	q.Set("aggregation.crossSeriesReducer", "REDUCE_SUM")
	q.Set("aggregation.groupByFields", "metric.type")
	require.Equal(t, map[string][]point{"com.example.climate/temperature": {{at(30), "23"}, {at(60), "27"}}}, querySeries(t, p, q))

	q = aligned(`metric.type = "com.example.climate/battery/ok"`, "ALIGN_NONE")
	q.Del("aggregation.alignmentPeriod")
	got := querySeries(t, p, q)["com.example.climate/battery/ok d1"]
	require.Len(t, got, 6)
	require.Equal(t, point{at(50), "false"}, got[4])

	stop(t, p)
}

// TestJourney_AlertIsStoredAndReadBack follows a reading over the limit of the
// example function to the stored alert.
func TestJourney_AlertIsStoredAndReadBack(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := start(t, data)
	register(t, p, "d1")
	accept(t, p, reading("d1", "1", at(0), map[string]any{"temperature": 20}))
	accept(t, p, reading("d1", "2", at(10), map[string]any{"temperature": 31}))
	accept(t, p, reading("d1", "3", at(20), map[string]any{"temperature": 32})) // still above: no new alert
	drained(t, p)
	var answer struct {
		Events []struct {
			Type    string         `json:"type"`
			Subject string         `json:"subject"`
			Data    map[string]any `json:"data"`
		} `json:"events"`
	}
	read := func() {
		t.Helper()
		answer.Events = nil
		call(t, p, http.MethodGet, "/v1/projects/default/events", url.Values{"type": {"dev.selvedge.alert.v1"}}, nil, &answer)
		require.Len(t, answer.Events, 1)
		require.Equal(t, "projects/default/devices/d1", answer.Events[0].Subject)
		require.EqualValues(t, 31, answer.Events[0].Data["value"])
	}
	read()
	stop(t, p)
	p = start(t, data)
	read()
}

// TestJourney_UnknownDevicesAreCounted covers SPEC 1.F 57 end to end.
func TestJourney_UnknownDevicesAreCounted(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	accept(t, p, reading("nobody", "1", at(0), map[string]any{"a": 1}), reading("nobody", "2", at(1), map[string]any{"a": 1}))
	drained(t, p)
	require.Eventually(t, func() bool { return losses(t, p)["processor UNKNOWN_DEVICE"] == 2 }, startTimeout, 10*time.Millisecond)
}

// TestJourney_KeysOpenOnlyTheirDoors is who gets in where, over the wire.
func TestJourney_KeysOpenOnlyTheirDoors(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	register(t, p, "d1")
	var made struct{ Name, Key string }
	call(t, p, http.MethodPost, "/v1/keys", nil, map[string]any{"principal": "projects/default/devices/d1"}, &made)
	post := func(key, device, id string) int {
		status, _ := postBatch(t.Context(), p, key, []map[string]any{reading(device, id, at(0), map[string]any{"a": 1})})
		return status
	}
	require.Equal(t, http.StatusAccepted, post(made.Key, "d1", "1"))
	require.Equal(t, http.StatusMultiStatus, post(made.Key, "d2", "2"), "rejected in its verdict")
	require.Equal(t, http.StatusUnauthorized, post("", "d1", "3"))
	require.Equal(t, http.StatusUnauthorized, post("svk_aaaaaaaaaaaa_nonsense", "d1", "4"))

	for _, path := range []string{
		"/v3/projects/default/timeSeries?filter=metric.type%3D%22x%22&interval.endTime=2026-01-01T00:00:00Z",
		"/v3/projects/default/metricDescriptors", "/v1/projects/default/devices", "/v1/projects/default/events",
		"/v1/projects/default/losses", "/v1/keys", "/v1/status",
	} {
		for key, want := range map[string]int{"": 401, made.Key: 403, process.AdminKey: 200} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+path, nil)
			require.NoError(t, err)
			if key != "" {
				req.Header.Set("Authorization", "Bearer "+key)
			}
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, want, resp.StatusCode, "%s as %.5q", path, key)
		}
	}
	call(t, p, http.MethodDelete, "/v1/"+made.Name, nil, nil, nil)
	require.Equal(t, http.StatusUnauthorized, post(made.Key, "d1", "5"), "revoked at once")
}
