package collector_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/local/collector"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/tsdb/ingest"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/vm"
)

// planned knows the devices of project p whose ids begin with d; that of "dm"
// has a blueprint that maps the field x. "away" cannot be asked for.
func planned(_ context.Context, device, _ string) (*ingest.Plan, error) {
	switch id := device[strings.LastIndexByte(device, '/')+1:]; {
	case id == "away":
		return nil, &fault.Error{Kind: fault.Unavailable, Err: errors.New("away")}
	case id == "dm":
		return ingest.Compile(ingest.Mapping{EventType: "t", Fields: []ingest.Field{{Path: "x", Metric: "com.example/mapped"}}})
	case id[0] != 'd':
		return nil, &fault.Error{Kind: fault.NotFound, Reason: "UNKNOWN_DEVICE"}
	}
	return nil, nil
}

// ofDevice is an event of a device of project p, with more members.
func ofDevice(id, more string) string {
	return `{"specversion":"1.0","id":"1","type":"t","source":"//selvedge.dev/projects/p/devices/` + id + `"` + more + `}`
}

// The answer, and what is stored, for a body of events.
func TestCloudEvents_Answers(t *testing.T) {
	t.Parallel()
	f := func(body string, status int, losses string, want ...string) {
		t.Helper()
		h := open(t, t.TempDir(), collector.Options{Plan: planned})
		w := h.post(t, call{"projects/p", "/cloudevents/write", body, map[string]string{"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}})
		require.Equal(t, status, w.Code, w.Body)
		require.Equal(t, losses, w.Header().Get("Selvedge-Losses"))
		require.ElementsMatch(t, want, h.stored(t, "p"))
		// What was taken is there again after a crash, and counts once.
		dir := h.dir
		require.NoError(t, h.Close())
		again := open(t, dir, collector.Options{Plan: planned})
		require.Empty(t, again.stored(t, "p"))
	}
	const when = `,"time":"2026-01-02T03:04:05.678Z"`
	f("["+ofDevice("d1", when+`,"data":{"a":1,"b":true,"c":"text"}`)+","+ofDevice("d2", when+`,"data":{"a":2}`)+"]", 204, "", "t/a 1", "t/b 1", "t/a 2")
	f(ofDevice("d1", `,"data":{"a":1}`), 204, "", "t/a 1")
	f(ofDevice("dm", when+`,"data":{"x":1,"y":2}`), 204, "", "com.example/mapped 1")
	f(ofDevice("d1", when+`,"datacontenttype":"application/json","data_base64":"eyJhIjoxfQ=="`), 204, "", "t/a 1")
	f(ofDevice("d1", when+`,"subject":null,"ext":5,"data":{"a":1}`), 204, "", "t/a 1")
	f(ofDevice("d1", when+`,"datacontenttype":"application/senml+json","data":[{"n":"x","v":3}]`), 204, "", "t/x 3")
	f("[]", 204, "")

	good := ofDevice("d1", when+`,"data":{"a":1}`)
	for _, bad := range []string{
		`{}`, strings.Replace(good, `"1.0"`, `"0.3"`, 1), strings.Replace(good, `"id":"1",`, ``, 1), strings.Replace(good, `"id":"1"`, `"id":""`, 1),
		strings.Replace(good, "2026", "last year", 1), strings.Replace(good, `"t"`, `5`, 1), strings.Replace(good, `"t"`, `{}`, 1),
		ofDevice("d1", when), ofDevice("d1", `,"data":{"a":1},"data":{"a":2}`), ofDevice("d1", `,"type":"u","data":{"a":1}`),
		ofDevice("d1", `,"selvedgeproject":"q","data":{"a":1}`), ofDevice("d1", `,"data_base64":"?"`), ofDevice("d1", `,"data":{"a":1},"data_base64":"eyJhIjoxfQ=="`),
		ofDevice("d1", `,"datacontenttype":"text/plain","data":{"a":1}`),
	} {
		f("["+bad+","+good+"]", 400, "INVALID_EVENT=1", "t/a 1")
	}
	f("["+strings.Replace(good, "projects/p", "projects/q", 1)+","+good+"]", 400, "UNNAMED_DEVICE=1", "t/a 1")
	f("["+strings.Replace(good, "//selvedge.dev/", "/", 1)+","+good+"]", 400, "UNNAMED_DEVICE=1", "t/a 1")
	f("["+ofDevice("x", `,"data":{"a":1}`)+","+good+"]", 400, "UNKNOWN_DEVICE=1", "t/a 1")
	f("["+ofDevice("d1", `,"data":{"a":"text"}`)+","+good+"]", 400, "NO_NUMERIC_FIELD=1", "t/a 1")
	f("["+ofDevice("d1", `,"datacontenttype":"text/plain","data":"a"`)+","+good+"]", 400, "UNSUPPORTED_CONTENT_TYPE=1", "t/a 1")
	f("["+ofDevice("d1", `,"time":"2926-01-02T03:04:05Z","data":{"a":1}`)+","+good+"]", 400, "TOO_FAR_IN_FUTURE=1", "t/a 1")
	f("["+ofDevice("away", `,"data":{"a":1}`)+","+good+"]", 503, "")
	for _, body := range []string{"", "1", "[1]", "[" + good, good + "x", `[{"a"}]`, "[{\"a\":\"\xff\"}]"} {
		f(body, 400, "")
	}
}

// Without devices there is no door; another media type or packing, no
// credentials, and too many points are refused.
func TestCloudEvents_Refuses(t *testing.T) {
	t.Parallel()
	f := func(c call, o collector.Options, status int) {
		t.Helper()
		if c.header == nil {
			c.header = map[string]string{"Content-Type": "application/cloudevents+json"}
		}
		w := open(t, t.TempDir(), o).post(t, c)
		require.Equal(t, status, w.Code, w.Body)
	}
	good := ofDevice("d", `,"data":{"a":1,"b":2}`)
	with := collector.Options{Plan: planned}
	f(call{key: "projects/p", path: "/cloudevents/write", body: good}, with, 204)
	f(call{key: "admin", path: "/cloudevents/write?project=p", body: good}, with, 204)
	f(call{key: "projects/p", path: "/cloudevents/write", body: good}, collector.Options{}, 404)
	f(call{path: "/cloudevents/write", body: good}, with, 401)
	f(call{key: "projects/q", path: "/cloudevents/write?project=p", body: good}, with, 403)
	f(call{key: "projects/p", path: "/cloudevents/write", body: good, header: map[string]string{"Content-Type": "application/json"}}, with, 415)
	f(call{key: "projects/p", path: "/cloudevents/write", body: good, header: map[string]string{"Content-Type": "application/cloudevents+json", "Content-Encoding": "snappy"}}, with, 415)
	with.Wire.MaxPoints = 1
	f(call{key: "projects/p", path: "/cloudevents/write", body: good}, with, 413)

	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(good))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	f(call{"projects/p", "/cloudevents/write", packed.String(), map[string]string{"Content-Type": "application/cloudevents+json", "Content-Encoding": "gzip"}}, collector.Options{Plan: planned}, 204)
}

// What was taken survives a crash before the storage has synced.
func TestCloudEvents_Replayed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := open(t, dir, collector.Options{Plan: planned})
	h.series.fail(nil, errors.New("no sync"))
	body := "[" + ofDevice("d1", `,"data":{"a":1}`) + "," + ofDevice("x", `,"data":{"a":1}`) + "]"
	w := h.post(t, call{"projects/p", "/cloudevents/write", body, map[string]string{"Content-Type": "application/cloudevents-batch+json"}})
	require.Equal(t, 400, w.Code)
	require.Error(t, h.Close())
	again := open(t, dir, collector.Options{Plan: planned})
	require.Equal(t, []string{"t/a 1"}, again.stored(t, "p"))
	require.Equal(t, map[string]int{"p collector-cloudevents UNKNOWN_DEVICE": 1}, again.ledger.totals())
}

// FuzzCloudEvents posts any body: it is taken or refused, and never answered with
// an error of the server.
func FuzzCloudEvents(f *testing.F) {
	for _, seed := range []string{"[" + ofDevice("d1", `,"data":{"a":1}`) + "]", ofDevice("d1", `,"data_base64":"eyJhIjoxfQ=="`), "[", `{"data":1}`} {
		f.Add([]byte(seed))
	}
	h := open(f, f.TempDir(), collector.Options{Plan: planned})
	f.Fuzz(func(t *testing.T, body []byte) {
		w := h.post(t, call{"projects/p", "/cloudevents/write", string(body), map[string]string{"Content-Type": "application/cloudevents-batch+json"}})
		require.Less(t, w.Code, 500, w.Body)
	})
}

// BenchmarkCloudEvents takes batches of a thousand events of ten readings through
// the door, with the log in front, into VictoriaMetrics' storage.
func BenchmarkCloudEvents(b *testing.B) {
	series, err := vm.Open(filepath.Join(b.TempDir(), "series"), vm.Options{})
	require.NoError(b, err)
	s, err := collector.Open(b.Context(), collector.Options{
		Dir: b.TempDir(), Series: series, Descriptors: &memory.Descriptors{}, Ledger: &counter{}, Authorize: iam.Authorize, Plan: planned,
	})
	require.NoError(b, err)
	r := chi.NewRouter()
	s.Routes(r)
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	text := []byte("[")
	for i := range 1000 {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, `{"specversion":"1.0","id":"%d","source":"//selvedge.dev/projects/p/devices/d%d","type":"com.example.cpu","time":"%s","datacontenttype":"application/json","data":{`,
			i, i%100, at.Add(time.Duration(i/100)*time.Second).Format(time.RFC3339))
		for m := range 10 {
			if m > 0 {
				text = append(text, ',')
			}
			text = fmt.Appendf(text, `"m%d":%d`, m, i*m%100)
		}
		text = append(text, "}}"...)
	}
	text = append(text, ']')
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			ctx := iam.WithPrincipal(b.Context(), iam.Principal{Kind: iam.Project, Name: "projects/p", Project: "p"})
			req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/cloudevents/write", bytes.NewReader(text))
			req.Header.Set("Content-Type", "application/cloudevents-batch+json")
			w := &discard{header: http.Header{}}
			if r.ServeHTTP(w, req); w.code != http.StatusNoContent {
				b.Errorf("status %d", w.code)
				return
			}
		}
	})
	b.ReportMetric(perBody*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
	require.NoError(b, s.Close())
	require.NoError(b, series.Close())
}
