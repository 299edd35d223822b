package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// The programs under test, built once by TestMain.
var selvedge, edged string

// TestMain builds the programs, with the race detector if the tests have it.
func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// buildAndRun builds the programs into a folder that lives as long as m.
func buildAndRun(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "selvedge-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = os.RemoveAll(dir) }()
	if selvedge, err = process.Build(context.Background(), dir, "local", raceFlags...); err != nil {
		return 1, err
	}
	if edged, err = process.Build(context.Background(), dir, "edgeruntime/cmd/edged", raceFlags...); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// startTimeout bounds the start of a platform on a busy machine.
const startTimeout = 60 * time.Second

// start starts a platform that is stopped with the test.
func start(t *testing.T, data string, args ...string) *process.Platform {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	p, err := process.Start(ctx, selvedge, data, args...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
	return p
}

// stop ends p as Ctrl-C does.
func stop(t *testing.T, p *process.Platform) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	require.NoError(t, p.Stop(ctx))
	require.NotContains(t, p.Output(), "DATA RACE")
}

// call makes a REST call as the administrator.
func call(t *testing.T, p *process.Platform, method, path string, query url.Values, in, out any) {
	t.Helper()
	require.NoError(t, p.Client(process.AdminKey).Call(t.Context(), method, path, query, in, out))
}

// register makes a device of the project default.
func register(t *testing.T, p *process.Platform, id string) {
	t.Helper()
	call(t, p, http.MethodPost, "/v1/projects/default/devices", url.Values{"deviceId": {id}}, map[string]any{}, nil)
}

// reading is an event of a device as a map, for JSON.
func reading(device, id string, at time.Time, data any) map[string]any {
	return map[string]any{
		"specversion": "1.0", "id": id, "type": "com.example.climate", "time": at.UTC().Format(time.RFC3339Nano),
		"source": "//selvedge.dev/projects/default/devices/" + device, "data": data,
	}
}

// postBatch posts events and returns the status of the answer; 0 means that
// there was none.
func postBatch(ctx context.Context, p *process.Platform, key string, events []map[string]any) (int, []byte) {
	body, err := json.Marshal(events)
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/v1/events", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }() // read below
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, answer
}

// accept posts events that must all be taken.
func accept(t *testing.T, p *process.Platform, events ...map[string]any) {
	t.Helper()
	status, body := postBatch(t.Context(), p, process.AdminKey, events)
	require.Equal(t, http.StatusAccepted, status, "%s", body)
}

// point is a point of an answer: its end and its value as JSON prints it.
type point struct {
	at    time.Time
	value string
}

// querySeries asks for time series and returns their points, oldest first, by
// metric type and device.
func querySeries(t *testing.T, p *process.Platform, query url.Values) map[string][]point {
	t.Helper()
	out := map[string][]point{}
	for {
		var answer struct {
			TimeSeries []struct {
				Metric, Resource struct {
					Type   string            `json:"type"`
					Labels map[string]string `json:"labels"`
				}
				Points []struct {
					Interval struct {
						EndTime time.Time `json:"endTime"`
					} `json:"interval"`
					Value map[string]any `json:"value"`
				} `json:"points"`
			} `json:"timeSeries"`
			NextPageToken string `json:"nextPageToken"`
		}
		call(t, p, http.MethodGet, "/v3/projects/default/timeSeries", query, nil, &answer)
		for _, s := range answer.TimeSeries {
			name := strings.TrimSpace(s.Metric.Type + " " + s.Resource.Labels["device_id"])
			for _, pt := range s.Points {
				for _, v := range pt.Value {
					out[name] = append([]point{{pt.Interval.EndTime.UTC(), fmt.Sprint(v)}}, out[name]...)
				}
			}
		}
		if answer.NextPageToken == "" {
			return out
		}
		query.Set("pageToken", answer.NextPageToken)
	}
}

// drained waits until no trigger of p has anything left to deliver.
func drained(t *testing.T, p *process.Platform) {
	t.Helper()
	require.Eventually(t, func() bool {
		var st struct {
			Triggers []struct {
				Pending int64 `json:"pending"`
			} `json:"triggers"`
		}
		call(t, p, http.MethodGet, "/v1/status", nil, nil, &st)
		for _, tr := range st.Triggers {
			if tr.Pending != 0 {
				return false
			}
		}
		return true
	}, 60*time.Second, 20*time.Millisecond, "events are left")
}

// losses is the loss ledger of the project default by stream and reason.
func losses(t *testing.T, p *process.Platform) map[string]int64 {
	t.Helper()
	var answer struct {
		Totals []struct {
			Stream, Reason string
			Count          int64
		} `json:"totals"`
	}
	call(t, p, http.MethodGet, "/v1/projects/default/losses", nil, nil, &answer)
	out := map[string]int64{}
	for _, l := range answer.Totals {
		out[l.Stream+" "+l.Reason] = l.Count
	}
	return out
}
