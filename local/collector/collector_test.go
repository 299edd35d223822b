package collector_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"selvedge.dev/local/collector"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/triggers/ledger"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
)

// counter is a ledger that counts each loss once, as the real one does.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
}

// Record implements ledger.Ledger.
func (c *counter) Record(_ context.Context, losses []ledger.Loss) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	for _, l := range losses {
		c.seen[fmt.Sprint(l.Project, " ", l.Stream, " ", l.Reason, " #", l.Offset)] = l.Count
	}
	return nil
}

// Totals implements ledger.Ledger.
func (c *counter) Totals(context.Context, string) ([]ledger.Total, error) { return nil, nil }

// Recent implements ledger.Ledger.
func (c *counter) Recent(context.Context, string, int) ([]ledger.Loss, error) { return nil, nil }

// Passed implements ledger.Ledger.
func (c *counter) Passed(context.Context, string, uint64) error { return nil }

// totals are the counts by project, stream and reason.
func (c *counter) totals() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int{}
	for k, n := range c.seen {
		k, _, _ = strings.Cut(k, " #")
		out[k] += n
	}
	return out
}

// storage is a store that counts its syncs and fails when it is told to.
type storage struct {
	*memory.Store
	mu    sync.Mutex
	syncs int
	// err is what Append and Sync fail with, stuck what only Sync does.
	err, stuck error
}

// Append implements collector.Appender.
func (s *storage) Append(ctx context.Context, samples []tsdb.Sample) error {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Store.Append(ctx, samples)
}

// Sync implements collector.Appender.
func (s *storage) Sync(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncs++
	return cmp.Or(s.err, s.stuck)
}

// fail sets what Append and Sync fail with, and what only Sync does.
func (s *storage) fail(err, stuck error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.stuck = err, stuck
}

// harness is a collector before real parts but the storage, which is in memory.
type harness struct {
	*collector.Service
	dir         string
	descriptors *memory.Descriptors
	series      *storage
	ledger      *counter
}

// open opens a collector over the folder. Keys are names of principals.
func open(t testing.TB, dir string, o collector.Options) *harness {
	t.Helper()
	return openOver(t, dir, o, nil)
}

// openOver is open with a storage that fails.
func openOver(t testing.TB, dir string, o collector.Options, failing error) *harness {
	t.Helper()
	h := &harness{dir: dir, descriptors: &memory.Descriptors{}, ledger: &counter{}}
	h.series = &storage{Store: memory.New(h.descriptors), err: failing}
	o.Dir, o.Series, o.Descriptors, o.Ledger, o.Authorize = dir, h.series, h.descriptors, h.ledger, iam.Authorize
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Hour
	}
	var err error
	h.Service, err = collector.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() }) // closing twice is fine here
	return h
}

// call is a request.
type call struct {
	key, path, body string
	header          map[string]string
}

// post answers a call.
func (h *harness) post(t testing.TB, c call) *httptest.ResponseRecorder {
	t.Helper()
	r := chi.NewRouter()
	h.Routes(r)
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, c.path, strings.NewReader(c.body))
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	if c.key != "" {
		p, err := iam.ParsePrincipal(c.key)
		require.NoError(t, err)
		req = req.WithContext(iam.WithPrincipal(req.Context(), p))
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

// stored are the points of a project: METRIC{labels} VALUE.
func (h *harness) stored(t testing.TB, project string) []string {
	t.Helper()
	out := []string{}
	err := h.series.Select(t.Context(), tsdb.Selection{Project: project, Interval: tsdb.Interval{Start: 0, End: 1 << 50}},
		func(s *tsdb.Series, p tsdb.Points) error {
			for _, v := range p.Values {
				out = append(out, fmt.Sprint(s.Metric, " ", v))
			}
			return nil
		})
	require.NoError(t, err)
	slices.Sort(out)
	return out
}

// snap packs data as a snappy block of literals, as an encoder may that finds
// nothing to pack.
func snap(data []byte) string {
	out := protowire.AppendVarint(nil, uint64(len(data)))
	for len(data) > 0 {
		n := min(len(data), 60)
		out = append(append(out, byte(n-1)<<2), data[:n]...)
		data = data[n:]
	}
	return string(out)
}

// write is a body of remote write 1 with one series.
func write(name string, samples ...prompb.Sample) string {
	return snap((&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		{Labels: []prompb.Label{{Name: "__name__", Value: name}}, Samples: samples},
	}}).MarshalProtobuf(nil))
}

// zip packs text with gzip.
func zip(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text) // a bytes.Buffer takes everything
	_ = z.Close()
	return b.String()
}

// ms is now.
func ms() int64 { return time.Now().UnixMilli() }

func TestInflux_Answers(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	f := func(c call, status int, text string, stored ...string) {
		t.Helper()
		if c.key == "" {
			c.key = "projects/p"
		}
		w := h.post(t, c)
		require.Equal(t, status, w.Code, w.Body)
		require.Contains(t, w.Body.String(), text)
		for _, s := range stored {
			require.Contains(t, h.stored(t, "p"), s)
		}
	}
	f(call{path: "/influx/write", body: "a v=1"}, 204, "", "a_v 1")
	f(call{path: "/influx/write?db=x&precision=s", body: fmt.Sprintf("b v=1 %d", ms()/1000)}, 204, "", "b_v 1")
	f(call{path: "/influx/api/v2/write?org=o&bucket=b", body: zip("c v=1"), header: map[string]string{"Content-Encoding": "gzip"}}, 204, "", "c_v 1")
	f(call{path: "/influx/write", body: "d v=1\nbad\nd v=2 1"}, 400, `{"error":"partial write: INVALID_LINE=1, TOO_OLD=1 dropped=2"}`, "d_v 1")
	f(call{path: "/influx/api/v2/write", body: "e v=1\nbad"}, 422, `"code":"unprocessable entity","message":"partial write: INVALID_LINE=1 dropped=1"`, "e_v 1")
	f(call{path: "/influx/write?precision=d", body: "f v=1"}, 400, `\"d\" is not ns`)
	f(call{path: "/influx/write", body: "x", header: map[string]string{"Content-Encoding": "gzip"}}, 400, "gzip")
	f(call{path: "/influx/write", body: "x", header: map[string]string{"Content-Encoding": "br"}}, 415, "gzip")
	f(call{path: "/influx/api/v2/write", body: strings.Repeat("x", 9<<20)}, 413, `"code":"request too large"`)
	f(call{path: "/influx/write", body: ""}, 204, "")

	w := h.post(t, call{key: "projects/p", path: "/influx/write", body: "bad"})
	require.Equal(t, "partial write: INVALID_LINE=1 dropped=1", w.Header().Get("X-Influxdb-Error"))
	require.NoError(t, h.Sync(t.Context()))
	require.Equal(t, map[string]int{"p collector-influx INVALID_LINE": 3, "p collector-influx TOO_OLD": 1}, h.ledger.totals())
}

// What Influx's clients ask before they write.
func TestInflux_BeforeWrites(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	f := func(key, path, body string, status int, want string) {
		t.Helper()
		w := h.post(t, call{key, path, body, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
		require.Equal(t, status, w.Code, w.Body)
		require.Equal(t, want, strings.TrimSpace(w.Body.String()))
	}
	const made, databases = `{"statement_id":0}`, `{"statement_id":%d,"series":[{"name":"databases","columns":["name"],"values":[["p"]]}]}`
	f("projects/p", "/influx/query", "q=CREATE+DATABASE+%22telegraf%22", 200, `{"results":[`+made+`]}`)
	f("projects/p", "/query?q=create%20database%20x%20with%20replication%201", "", 200, `{"results":[`+made+`]}`)
	f("projects/p", "/influx/query", "q=show+databases", 200, `{"results":[`+fmt.Sprintf(databases, 0)+`]}`)
	f("projects/p", "/influx/query", "q=CREATE+DATABASE+a%3B+SHOW+DATABASES", 200, `{"results":[`+made+","+fmt.Sprintf(databases, 1)+`]}`)
	f("projects/p", "/influx/query", "q=CREATE+DATABASE+a%3B+DROP+DATABASE+a", 400, `{"error":"error parsing query: \"DROP DATABASE a\" is not answered here, only CREATE DATABASE and SHOW DATABASES"}`)
	f("projects/p", "/influx/query", "q=CREATE+DATABASE", 400, `{"error":"error parsing query: \"CREATE DATABASE\" is not answered here, only CREATE DATABASE and SHOW DATABASES"}`)
	f("projects/p", "/influx/query", "", 400, `{"error":"missing required parameter \"q\""}`)
	f("projects/p", "/influx/query", "q="+strings.Repeat("x", 65<<10), 400, `{"error":"http: request body too large"}`)
	f("admin", "/influx/query?project=p", "q=show+databases", 200, `{"results":[`+fmt.Sprintf(databases, 0)+`]}`)
	require.Equal(t, 401, h.post(t, call{path: "/influx/query?q=show+databases"}).Code)
	require.Equal(t, 403, h.post(t, call{key: "projects/a", path: "/influx/query?q=show+databases&project=p"}).Code)
	require.Equal(t, 204, h.post(t, call{key: "projects/p", path: "/write?db=x", body: "a v=1"}).Code)
	require.Equal(t, 204, h.post(t, call{key: "projects/p", path: "/api/v2/write?bucket=x", body: "b v=1"}).Code)
	require.Equal(t, []string{"a_v 1", "b_v 1"}, h.stored(t, "p"))

	r := chi.NewRouter()
	h.Routes(r)
	for path, want := range map[string]string{"ping": "", "ping?verbose=true": `{"version":"1.8.0"}`, "health": `"status":"pass"`} {
		for _, root := range []string{"/", "/influx/"} {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, root+path, nil))
			require.Less(t, w.Code, 300)
			require.Contains(t, w.Body.String(), want)
			if strings.HasPrefix(path, "ping") {
				require.Equal(t, "1.8.0", w.Header().Get("X-Influxdb-Version"))
			}
		}
	}
}

func TestRemoteWrite_Answers(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	const path, v2 = "/prometheus/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v2.Request"
	f := func(contentType, body string, status int, written string) {
		t.Helper()
		w := h.post(t, call{"projects/p", path, body, map[string]string{"Content-Type": contentType, "Content-Encoding": "snappy"}})
		require.Equal(t, status, w.Code, w.Body)
		require.Equal(t, written, w.Header().Get("X-Prometheus-Remote-Write-Samples-Written"))
	}
	good, old := prompb.Sample{Value: 1, Timestamp: ms()}, prompb.Sample{Value: 1, Timestamp: 1}
	f("application/x-protobuf", write("a", good), 204, "")
	f("application/x-protobuf;proto=prometheus.WriteRequest", write("b", good, old), 400, "")
	f("", write("c", good), 204, "")
	f("application/x-protobuf", "junk", 400, "")
	f("application/json", "{}", 415, "")
	f("application/x-protobuf;proto=what", "", 415, "")

	point := protowire.AppendFixed64([]byte{1<<3 | 1}, 0x3ff0000000000000)
	point = protowire.AppendVarint(append(point, 2<<3), uint64(good.Timestamp))
	ts := protowire.AppendBytes([]byte{1<<3 | 2}, []byte{1, 2})
	ts = protowire.AppendBytes(append(ts, 2<<3|2), point)
	body := []byte{4<<3 | 2, 0}
	for _, s := range []string{"__name__", "d"} {
		body = protowire.AppendString(append(body, 4<<3|2), s)
	}
	whole := protowire.AppendBytes(append(bytes.Clone(body), 5<<3|2), ts)
	f(v2, snap(whole), 204, "1")
	ts = append(ts, 3<<3|2, 0) // a native histogram
	f(v2, snap(protowire.AppendBytes(append(body, 5<<3|2), ts)), 400, "1")
	f(v2, "junk", 400, "0")
	require.Equal(t, []string{"a 1", "b 1", "c 1", "d 1"}, h.stored(t, "p"))
	require.NoError(t, h.Sync(t.Context()))
	require.Equal(t, map[string]int{"p collector-remote-write TOO_OLD": 1, "p collector-remote-write DISTRIBUTION_NOT_SUPPORTED": 1}, h.ledger.totals())
}

func TestOTLP_Answers(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	field := func(dst []byte, n byte, data []byte) []byte { return protowire.AppendBytes(append(dst, n<<3|2), data) }
	point := protowire.AppendFixed64([]byte{3<<3 | 1}, uint64(time.Now().UnixNano()))
	good := protowire.AppendFixed64(append(bytes.Clone(point), 4<<3|1), 0x3ff0000000000000)
	metric := func(name string, points ...[]byte) string {
		var gauge []byte
		for _, p := range points {
			gauge = field(gauge, 1, p)
		}
		return string(field(nil, 1, field(nil, 2, field(nil, 2, field(field(nil, 1, []byte(name)), 5, gauge)))))
	}
	f := func(path, contentType, encoding, body string, status int, want string) {
		t.Helper()
		w := h.post(t, call{"projects/p", path, body, map[string]string{"Content-Type": contentType, "Content-Encoding": encoding}})
		require.Equal(t, status, w.Code, w.Body)
		require.Equal(t, want, w.Body.String())
	}
	const proto = "application/x-protobuf"
	f("/opentelemetry/v1/metrics", proto, "", metric("a", good), 200, "")
	f("/v1/metrics", proto, "gzip", zip(metric("b", good)), 200, "")
	partial := field(nil, 1, field([]byte{1 << 3, 1}, 2, []byte("NO_VALUE=1")))
	f("/v1/metrics", proto, "", metric("c", good, point), 200, string(partial))
	status := append([]byte{1 << 3, 3}, field(nil, 2, []byte("there is no field"))...)
	w := h.post(t, call{"projects/p", "/v1/metrics", "junk", map[string]string{"Content-Type": proto}})
	require.Equal(t, 400, w.Code)
	require.Equal(t, status[:3], w.Body.Bytes()[:3])
	const inJSON = `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"d","gauge":{"dataPoints":[{"asInt":"1"}]}}%s]}]}]}`
	f("/v1/metrics", "application/json", "", fmt.Sprintf(inJSON, ""), 200, "{}")
	f("/v1/metrics", "application/json", "", fmt.Sprintf(inJSON, `,{"name":"e","gauge":{"dataPoints":[{}]}}`), 200,
		`{"partialSuccess":{"errorMessage":"NO_VALUE=1","rejectedDataPoints":"1"}}`)
	f("/v1/metrics", "application/json", "", fmt.Sprintf(inJSON, `,{"name":"h","histogram":{"dataPoints":[{"count":"1","exemplars":[{"asDouble":1},{"asDouble":2}]}]}}`), 200,
		`{"partialSuccess":{"errorMessage":"EXEMPLAR_NOT_KEPT=1","rejectedDataPoints":"0"}}`)
	f("/v1/metrics", "application/json", "", "[]", 400, `{"code":3,"message":"JSON: json: cannot unmarshal array into Go value of type map[string]interface {}"}`+"\n")
	w = h.post(t, call{"projects/p", "/v1/metrics", "{}", map[string]string{"Content-Type": "text/plain"}})
	require.Equal(t, 415, w.Code)
	require.Subset(t, h.stored(t, "p"), []string{"a 1", "b 1", "c 1", "d 1"})
	require.NoError(t, h.Sync(t.Context()))
	require.Equal(t, map[string]int{"p collector-otlp NO_VALUE": 2, "p collector-otlp EXEMPLAR_NOT_KEPT": 1}, h.ledger.totals())
}

// TestProjects_AreApart shows that a key of one project cannot write into
// another through any door.
func TestProjects_AreApart(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	body := map[string]string{"/influx/write": "m v=1", "/influx/api/v2/write": "m v=1", "/prometheus/api/v1/write": write("m_v", prompb.Sample{Value: 1, Timestamp: ms()})}
	for path, body := range body {
		f := func(key, query, header string, status int) {
			t.Helper()
			w := h.post(t, call{key, path + query, body, map[string]string{"X-Selvedge-Project": header}})
			require.Equal(t, status, w.Code, "%s %s", path, w.Body)
		}
		f("", "", "", 401)
		f("", "?project=b", "", 401)
		f("projects/a", "?project=b", "", 403)
		f("projects/a", "", "b", 403)
		f("projects/a", "?project=a", "b", 400)
		f("projects/a/devices/d", "", "", 403)
		f("admin", "", "", 400)
		f("admin", "?project=no/name", "", 400)
		require.Empty(t, h.stored(t, "b"))
		f("projects/a", "", "", 204)
		f("projects/a", "?project=a", "", 204)
		f("admin", "?project=c", "", 204)
		f("admin", "", "c", 204)
	}
	require.Empty(t, h.stored(t, "b"))
	require.NotEmpty(t, h.stored(t, "a"))
	require.NotEmpty(t, h.stored(t, "c"))
}

// TestLog_IsReplayed opens the folder of a collector that never synced, as a
// kill leaves it, over an empty storage: every acknowledged point is there,
// and losses are not counted twice.
func TestLog_IsReplayed(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	at := ms()
	for i := range 50 {
		w := h.post(t, call{key: "projects/p", path: "/influx/write?precision=ms", body: fmt.Sprintf("m,i=%d v=%d %d\nbad", i, i, at)})
		require.Equal(t, 400, w.Code)
	}
	w := h.post(t, call{"projects/q", "/influx/write", zip("m v=1"), map[string]string{"Content-Encoding": "gzip"}})
	require.Equal(t, 204, w.Code)
	w = h.post(t, call{key: "projects/q", path: "/prometheus/api/v1/write", body: write("n", prompb.Sample{Value: 2, Timestamp: at})})
	require.Equal(t, 204, w.Code)
	want := h.stored(t, "p")
	require.Len(t, want, 50)

	h.series.fail(errors.New("gone"), nil) // so that Close cannot sync either
	require.Error(t, h.Close())
	require.Equal(t, map[string]int{"p collector-influx INVALID_LINE": 50}, h.ledger.totals())
	again := open(t, h.dir, collector.Options{})
	require.Equal(t, want, again.stored(t, "p"))
	require.Equal(t, []string{"m_v 1", "n 2"}, again.stored(t, "q"))
	require.Equal(t, 1, again.series.syncs)
	require.Equal(t, h.ledger.totals(), again.ledger.totals())
	require.Equal(t, h.ledger.seen, again.ledger.seen) // the same offsets: counted once
	require.NoError(t, again.Close())

	third := open(t, h.dir, collector.Options{})
	require.Empty(t, third.stored(t, "p"), "what was synced is not in the log any more")
}

// TestLog_WaitsForTheStorage opens a log over a storage that takes nothing: the
// collector starts, trims nothing, and replays when the storage is back.
func TestLog_WaitsForTheStorage(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{})
	require.Equal(t, 204, h.post(t, call{key: "projects/p", path: "/influx/write", body: "m v=1"}).Code)
	h.series.fail(errors.New("gone"), nil)
	require.Error(t, h.Close())

	away := &fault.Error{Kind: fault.Unavailable, Err: errors.New("away")}
	again := openOver(t, h.dir, collector.Options{}, away)
	require.Equal(t, 503, again.post(t, call{key: "projects/p", path: "/influx/write", body: "n v=1"}).Code)
	require.ErrorIs(t, again.Sync(t.Context()), away)
	again.series.fail(nil, nil)
	require.Equal(t, 204, again.post(t, call{key: "projects/p", path: "/influx/write", body: "o v=1"}).Code)
	require.NoError(t, again.Sync(t.Context()))
	require.Subset(t, again.stored(t, "p"), []string{"m_v 1", "o_v 1"})
}

// TestLog_FullAnswers429 shows that a log that cannot be trimmed refuses, and
// takes again once the storage has synced.
func TestLog_FullAnswers429(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir(), collector.Options{MaxBytes: 256 << 10})
	h.series.fail(nil, errors.New("stuck"))
	c := call{key: "projects/p", path: "/influx/write", body: strings.Repeat("m v=1\n", 5000)}
	var w *httptest.ResponseRecorder
	for range 100 {
		if w = h.post(t, c); w.Code != 204 {
			break
		}
	}
	require.Equal(t, 429, w.Code, w.Body)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	h.series.fail(nil, nil)
	require.NoError(t, h.Sync(t.Context()))
	require.Equal(t, 204, h.post(t, c).Code)
	h.series.fail(&fault.Error{Kind: fault.Unavailable, Err: errors.New("gone")}, nil)
	require.Equal(t, 503, h.post(t, c).Code)
	h.series.fail(errors.New("what"), nil)
	require.Equal(t, 503, h.post(t, c).Code, "it is in the log, so it may come to be")
}
