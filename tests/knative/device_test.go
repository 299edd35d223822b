package knative

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"selvedge.dev/sdk/fault"
)

// point is a point of a series, as it is read back.
type point struct {
	end   time.Time
	value float64
}

// base is when the readings of these tests were taken.
var base = time.Now().UTC().Add(-time.Hour).Truncate(time.Minute)

// at is base plus s seconds.
func at(s int) time.Time { return base.Add(time.Duration(s) * time.Second) }

// device registers a device and returns its id and key. A volume may have those of
// an earlier run.
func (p *installed) device() (id, key string) {
	p.t.Helper()
	id = "d-" + strings.ToLower(rand.Text())
	name := "projects/" + project + "/devices/" + id
	err := p.as(p.admin).Call(p.t.Context(), http.MethodPost, "/v1/projects/"+project+"/devices", url.Values{"deviceId": {id}}, map[string]any{}, nil)
	require.NoError(p.t, err)
	var made struct{ Key string }
	require.NoError(p.t, p.as(p.admin).Call(p.t.Context(), http.MethodPost, "/v1/keys", nil, map[string]string{"principal": name}, &made))
	return id, made.Key
}

// reading is an event of a device.
func reading(device, id, typ string, when time.Time, data any) map[string]any {
	return map[string]any{
		"specversion": "1.0", "id": id, "source": "//selvedge.dev/projects/" + project + "/devices/" + device, "type": typ,
		"time": when.Format(time.RFC3339Nano), "datacontenttype": "application/json", "data": data,
	}
}

// TestDevice_EventsReachFunctionsAndComeBack follows readings from a device's post
// through the platform and the cluster's broker to functions that are Knative
// Services, and what these reply back into the platform: into series, which are
// queried aligned, into the records, and into the dead letters.
func TestDevice_EventsReachFunctionsAndComeBack(t *testing.T) {
	p := install(t)
	d := p.developer()
	warm := d.create("warm")
	d.in(warm, funcTool, "subscribe", "--filter", "type=com.example.climate", "--filter", "selvedgeroute=writer")
	d.deploy(warm)
	d.deploy(d.threshold(`[{"eventType":"com.example.pressure","field":"bar","above":3}]`))
	d.settle("warm", "threshold")

	id, key := p.device()
	var replied float64
	for i, v := range []float64{31, 32, 36, 25, 33, 40} { // at 10, 20, 30, 40, 50, 60 s
		p.post(key, reading(id, fmt.Sprint("r", i), "com.example.climate", at(10*(i+1)), map[string]any{"temperature": v}))
		if v > 30 {
			replied += v
		}
		// The replies have no time of their own: each counts when it comes back.
		eventually(t, "the reply of the function is a point", func() bool { return p.sum("com.example.warm/temperature", id) == replied })
	}
	f := func(metric, aligner string, want ...point) {
		t.Helper()
		eventually(t, metric, func() bool { return len(p.aligned(metric, aligner)[id]) == len(want) })
		require.Equal(t, want, p.aligned(metric, aligner)[id], "%s %s", metric, aligner)
	}
	f("com.example.climate/temperature", "ALIGN_MEAN", point{at(30), 33}, point{at(60), 98.0 / 3})
	p.post(key, reading(id, "p1", "com.example.pressure", at(10), map[string]any{"bar": 3.5}))
	eventually(t, "the alert of a function on the cluster is on record", func() bool { return p.alerts(id, "bar") == 1 })

	p.post(key, reading(id, "bad", "com.example.climate", at(70), map[string]any{"temperature": "high"}))
	eventually(t, "what a function refuses is a dead letter", func() bool {
		got := p.letters(id)
		return len(got) == 1 && got[0] == "bad com.example.climate"
	})
}

// post posts an event as a device does.
func (p *installed) post(key string, e map[string]any) {
	p.t.Helper()
	text, err := json.Marshal(e)
	require.NoError(p.t, err)
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+"/v1/events", bytes.NewReader(text))
	require.NoError(p.t, err)
	r.Header.Set("Content-Type", "application/cloudevents+json")
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	require.Equal(p.t, http.StatusAccepted, resp.StatusCode)
}

// alerts is how many alerts about a field of a device are on record.
func (p *installed) alerts(device, field string) (n int) {
	p.t.Helper()
	var answer struct {
		Events []struct {
			Subject string
			Data    map[string]any
		}
	}
	require.NoError(p.t, p.as(p.key).Call(p.t.Context(), http.MethodGet, "/v1/projects/"+project+"/events", url.Values{"type": {"dev.selvedge.alert.v1"}}, nil, &answer))
	for _, e := range answer.Events {
		if e.Subject == "projects/"+project+"/devices/"+device && e.Data["field"] == field {
			n++
		}
	}
	return n
}

// letters are the ids and types of the events of a device that the cluster's broker
// gave up.
func (p *installed) letters(device string) (ids []string) {
	p.t.Helper()
	var answer struct {
		DeadLetters []struct{ EventID, Broker, Source, Type, Body string }
	}
	require.NoError(p.t, p.as(p.key).Call(p.t.Context(), http.MethodGet, "/v1/projects/"+project+"/deadLetters", nil, nil, &answer))
	for _, l := range answer.DeadLetters {
		if strings.HasSuffix(l.Broker, "dead-letters") && strings.HasSuffix(l.Source, "/"+device) {
			ids = append(ids, l.EventID+" "+l.Type)
			require.Contains(p.t, l.Body, "the data is no reading", "the answer of the function")
		}
	}
	return ids
}

// threshold is the project of the platform's function of that name, with limits.
func (d *developer) threshold(limits string) string {
	d.shell.t.Helper()
	out := d.shell.t.TempDir()
	d.in(root(d.shell.t), "go", "run", "./infra/dist", "-out", out, "threshold")
	dir := filepath.Join(out, "threshold")
	text, err := os.ReadFile(filepath.Join(dir, "func.yaml"))
	require.NoError(d.shell.t, err)
	var config map[string]any
	require.NoError(d.shell.t, yaml.Unmarshal(text, &config))
	config["run"] = map[string]any{"envs": []any{map[string]string{"name": "THRESHOLDS", "value": limits}}}
	text, err = json.Marshal(config)
	require.NoError(d.shell.t, err)
	require.NoError(d.shell.t, os.WriteFile(filepath.Join(dir, "func.yaml"), text, 0o600))
	return dir
}

// sum is the sum of the points of a metric of a device that came in the last
// minutes, as they are.
func (p *installed) sum(metric, device string) (sum float64) {
	p.t.Helper()
	for _, v := range p.query(metric, url.Values{
		"interval.startTime": {time.Now().Add(-30 * time.Minute).UTC().Format(time.RFC3339)}, "interval.endTime": {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)},
	})[device] {
		sum += v.value
	}
	return sum
}

// aligned are the points of a metric, by device, of windows of 30 s from base on.
func (p *installed) aligned(metric, aligner string) map[string][]point {
	p.t.Helper()
	return p.query(metric, url.Values{
		"interval.startTime": {at(0).Format(time.RFC3339)}, "interval.endTime": {at(90).Format(time.RFC3339)},
		"aggregation.alignmentPeriod": {"30s"}, "aggregation.perSeriesAligner": {aligner},
	})
}

// query are the points of a metric, by device, the oldest first.
func (p *installed) query(metric string, q url.Values) map[string][]point {
	p.t.Helper()
	var answer struct {
		TimeSeries []struct {
			Resource struct{ Labels map[string]string }
			Points   []struct {
				Interval struct{ EndTime time.Time }
				Value    struct{ DoubleValue *float64 }
			}
		}
	}
	q.Set("filter", fmt.Sprintf("metric.type = %q", metric))
	err := p.as(p.key).Call(p.t.Context(), http.MethodGet, "/v3/projects/"+project+"/timeSeries", q, nil, &answer)
	if fault.KindOf(err) == fault.NotFound && err != nil {
		return nil // there is no such metric yet
	}
	require.NoError(p.t, err)
	out := map[string][]point{}
	for _, s := range answer.TimeSeries {
		device := s.Resource.Labels["device_id"]
		for _, v := range slices.Backward(s.Points) { // the newest is first
			if v.Value.DoubleValue != nil {
				out[device] = append(out[device], point{v.Interval.EndTime.UTC(), *v.Value.DoubleValue})
			}
		}
	}
	return out
}
