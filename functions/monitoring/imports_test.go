package monitoring_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/catalog"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/guard"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/vm"
)

// operated is a service with Operations on a store of VictoriaMetrics' engine,
// in which nothing is.
type operated struct {
	url     string
	catalog *catalog.Catalog
	series  *vm.Store
	guard   *guard.Guard
}

// operate opens one.
func operate(t testing.TB, change func(*monitoring.Service)) operated {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "catalog.db"), catalog.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	o := operated{}
	o.catalog, err = catalog.New(t.Context(), db)
	require.NoError(t, err)
	o.guard = guard.New(guard.Options{Bounds: o.catalog, MaxSeries: 1000})
	o.series, err = vm.Open(filepath.Join(dir, "series"), vm.Options{Describe: o.catalog.Describe, Gate: o.guard})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, o.series.Close()) })
	o.guard.Watch(o.series)
	o.guard.Enforce()
	s := &monitoring.Service{
		Engine: query.New(o.series, query.Options{}), Descriptors: o.catalog, Resources: o.catalog, Series: o.series,
		Operations: &monitoring.Operations{Store: o.series, Bounds: o.catalog, Guard: o.guard, Retention: vm.DefaultRetention},
		Authorize:  func(*http.Request, string, string) error { return nil },
	}
	if change != nil {
		change(s)
	}
	router := chi.NewRouter()
	s.Routes(router)
	srv := httptest.NewServer(router)
	t.Cleanup(srv.Close)
	o.url = srv.URL + "/v3/projects/p/"
	return o
}

// do makes a request and returns the status and body of the answer.
func (o operated) do(t require.TestingT, method, path string, body io.Reader, header ...string) (int, string) {
	req, err := http.NewRequestWithContext(context.Background(), method, o.url+path, body)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(text)
}

// progress is a line of the answer to an import.
type progress struct {
	Rows, Accepted int
	Refused        map[string]int
	Bytes          int64
	Done           bool
	Examples       []struct {
		Line   int
		Reason string
	}
	Error map[string]any
}

// load imports a file and returns the last line of the answer.
func (o operated) load(t require.TestingT, params, file string) progress {
	status, text := o.do(t, http.MethodPost, "timeSeries:import?"+params, strings.NewReader(file))
	require.Equal(t, http.StatusOK, status, text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var p progress
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &p))
	return p
}

// exportOf is all that there is as a file of the format.
func (o operated) exportOf(t require.TestingT, format string) string {
	now := time.Now()
	status, text := o.do(t, http.MethodGet, "timeSeries:export?"+encode("format", format, "filter", `metric.type = starts_with("")`,
		"interval.startTime", now.AddDate(-1, 0, 0).Format(time.RFC3339), "interval.endTime", now.Add(time.Hour).Format(time.RFC3339)), nil)
	require.Equal(t, http.StatusOK, status)
	return text
}

// drawSeries draws series of every kind and type with their points.
func drawSeries(t *rapid.T) []tsdb.Sample {
	var out []tsdb.Sample
	text := rapid.StringMatching(`[a-zé",{}\\ ]{1,8}`)
	start := time.Now().Add(-300 * 24 * time.Hour).Truncate(time.Second)
	for i := range rapid.IntRange(1, 5).Draw(t, "metrics") {
		s := &tsdb.Series{Project: "p", Metric: fmt.Sprintf("m%d/x", i), Resource: "device", Unit: rapid.SampledFrom([]string{"", "Cel", "{x}"}).Draw(t, "unit")}
		s.Kind = rapid.SampledFrom([]tsdb.MetricKind{tsdb.Gauge, tsdb.Delta, tsdb.Cumulative}).Draw(t, "kind")
		s.ValueType = rapid.SampledFrom([]tsdb.ValueType{tsdb.Double, tsdb.Int64, tsdb.Distributed}).Draw(t, "type")
		if s.Kind == tsdb.Gauge && rapid.Bool().Draw(t, "bool") {
			s.ValueType = tsdb.Bool
		}
		for range rapid.IntRange(1, 3).Draw(t, "series") {
			one := *s
			one.MetricLabels = tsdb.LabelsOf(rapid.MapOfN(text, text, 0, 3).Draw(t, "labels"))
			one.ResourceLabels = tsdb.LabelsOf(map[string]string{"device_id": text.Draw(t, "device"), "project_id": "p"})
			for range rapid.IntRange(1, 5).Draw(t, "points") {
				at := start.Add(time.Duration(rapid.IntRange(0, 200*24*3600*1000).Draw(t, "at")) * time.Millisecond)
				v := float64(rapid.IntRange(-1_000_000, 1_000_000).Draw(t, "value"))
				switch s.ValueType {
				case tsdb.Bool:
					v = math.Abs(math.Mod(v, 2))
				case tsdb.Double:
					v /= 1000
				}
				sample := tsdb.Sample{Series: &one, Time: tsdb.Millis(at.UnixMilli()), Value: v}
				if s.ValueType == tsdb.Distributed {
					sample.Value, sample.Distribution = 0, distribution.Of(tsdb.Buckets{Kind: tsdb.ExplicitBuckets, Bounds: []float64{0, 1000}}, v, v/2)
					distribution.KeepExemplars(sample.Distribution, []tsdb.Exemplar{
						{Value: v, Time: sample.Time, Text: text.Draw(t, "said"), Dropped: tsdb.Labels{{Name: "user", Value: text.Draw(t, "user")}}}, {Value: -v},
					})
				}
				out = append(out, sample)
			}
		}
	}
	return out
}

// SPEC A6, metamorphic: what one platform exports another one imports, and then
// gives the same answers, however often.
func TestImport_OfAnExport(t *testing.T) {
	t.Parallel()
	const examples = 12 // each opens three services
	drawn := rapid.Custom(drawSeries)
	for i := range examples {
		from := memoryOperated(t)
		for _, sample := range drawn.Example(i) {
			s := sample.Series
			_, err := from.catalog.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: s.Metric, Kind: s.Kind, ValueType: s.ValueType, Unit: s.Unit})
			require.NoError(t, err)
			require.NoError(t, from.series.Append(t.Context(), []tsdb.Sample{sample}))
		}
		file := from.exportOf(t, "csv")
		for _, format := range []string{"csv", "ndjson"} {
			to := memoryOperated(t)
			text := from.exportOf(t, format)
			rows := strings.Count(file, "\n") - 1
			for range 2 {
				p := to.load(t, "format="+format, text)
				require.True(t, p.Done, "%+v", p)
				require.Equal(t, progress{Rows: rows, Accepted: rows, Refused: p.Refused, Bytes: int64(len(text)), Done: true}, p)
				require.Empty(t, p.Refused)
			}
			require.Equal(t, file, to.exportOf(t, "csv"))
		}
	}
}

// memoryOperated is a service on a store in memory, which is opened fast.
func memoryOperated(t testing.TB) memoryService {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"), catalog.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	c, err := catalog.New(t.Context(), db)
	require.NoError(t, err)
	series := memory.New(c)
	s := &monitoring.Service{
		Engine: query.New(series, query.Options{}), Descriptors: c, Resources: c, Series: series,
		Operations: &monitoring.Operations{Store: series, Bounds: c, Guard: guard.New(guard.Options{Bounds: c}), Retention: vm.DefaultRetention},
		Authorize:  func(*http.Request, string, string) error { return nil },
	}
	router := chi.NewRouter()
	s.Routes(router)
	srv := httptest.NewServer(router)
	t.Cleanup(srv.Close)
	return memoryService{operated{url: srv.URL + "/v3/projects/p/", catalog: c}, series}
}

// memoryService is an operated service on a store in memory.
type memoryService struct {
	operated

	series *memory.Store
}

// SPEC A6: a verdict for every row, and none that is bad loses another.
func TestImport_Verdicts(t *testing.T) {
	t.Parallel()
	o := operate(t, nil)
	now := time.Now().UTC()
	at := now.Add(-time.Hour).Format(time.RFC3339Nano)
	row := func(fields string) string { return `{"end_time":"` + at + `","metric":"m",` + fields + "}\n" }
	file := row(`"value":1,"kind":"GAUGE","value_type":"INT64","unit":"1"`) + // 1
		"nonsense\n" + row(`"value":1.5`) + row(`"value":true`) + row(`"value":2,"kind":"DELTA"`) + // 2 to 5
		row(`"value":3,"unit":"s"`) + row(`"value":"NaN","value_type":"DOUBLE"`) + row(`"value":{}`) + row(`"value":null`) + // 6 to 9
		row(`"value":1,"metric_labels":{"":"x"}`) + row(`"value":1,"metric_labels":[]`) + // 10, 11
		row(`"value":1,"resource":"device","resource_labels":{"project_id":"q"}`) + // 12
		strings.Replace(row(`"value":1`), at, now.Add(100*time.Hour).Format(time.RFC3339), 1) + // 13
		strings.Replace(row(`"value":1`), at, now.AddDate(-3, 0, 0).Format(time.RFC3339), 1) + // 14
		strings.Replace(row(`"value":1`), `{`, `{"start_time":"`+now.Format(time.RFC3339)+`",`, 1) + // 15
		row(`"value":7,"metric_labels":{"l":"7"}`) // 16
	p := o.load(t, "format=ndjson", file)
	require.True(t, p.Done)
	require.Equal(t, 16, p.Rows)
	require.Equal(t, 2, p.Accepted, "%+v", p)
	require.Len(t, p.Examples, 14)
	for i, e := range p.Examples {
		require.Equal(t, i+2, e.Line, e.Reason)
	}
	for _, reason := range []string{"INVALID_LINE", "KIND_CONFLICT", "UNIT_CONFLICT", "NOT_FINITE", "NO_VALUE", "INVALID_LABEL", "FOREIGN_PROJECT", "TOO_FAR_IN_FUTURE", "TOO_OLD", "INVALID_INTERVAL"} {
		require.Positive(t, p.Refused[reason], reason)
	}
	p = o.load(t, "format=ndjson&fromProject=q", row(`"value":1,"resource":"device","resource_labels":{"project_id":"q"}`))
	require.Equal(t, 1, p.Accepted)

	p = o.load(t, "format=influx&precision=ms", fmt.Sprintf("i,l=a v=1 %d\nnonsense\ni,l=a v=2 %d\ni v=3 1\n", now.UnixMilli()-1000, now.UnixMilli()))
	require.True(t, p.Done)
	require.Equal(t, 2, p.Accepted)
	require.Equal(t, map[string]int{"INVALID_LINE": 1, "TOO_OLD": 1}, p.Refused)
	p = o.load(t, "format=influx", "")
	require.True(t, p.Done)
	require.Zero(t, p.Rows)

	p = o.load(t, "format=csv", "a,b\n1,2\n")
	require.False(t, p.Done)
	require.Contains(t, fmt.Sprint(p.Error), "NO_HEADS")
	for params, want := range map[string]int{"": 400, "format=parquet": 400, "format=influx&precision=d": 400, "format=csv&x=1": 400} {
		status, text := o.do(t, http.MethodPost, "timeSeries:import?"+params, strings.NewReader(""))
		require.Equal(t, want, status, text)
	}
	status, text := o.do(t, http.MethodPost, "timeSeries:import?format=csv", strings.NewReader("x"), "Content-Encoding", "br")
	require.Equal(t, fault.Unsupported.HTTPStatus(), status, text)
	status, text = o.do(t, http.MethodPost, "timeSeries:import?format=csv", strings.NewReader("x"), "Content-Encoding", "gzip")
	require.Equal(t, http.StatusBadRequest, status, text)
}

// A packed file of many rows, more than are appended at once, over the bound of
// series: what is refused is refused by its name, and the rest is kept.
func TestImport_ManyRows(t *testing.T) {
	t.Parallel()
	o := operate(t, nil)
	const rows = 30_000
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	begin := time.Now().Add(-200 * 24 * time.Hour)
	for i := range rows {
		_, err := fmt.Fprintf(z, `{"end_time":%q,"metric":"m","metric_labels":{"l":"%d"},"value":%d}`+"\n", begin.Add(time.Duration(i)*time.Minute).UTC().Format(time.RFC3339), i%1100, i)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	status, text := o.do(t, http.MethodPost, "timeSeries:import?format=ndjson", &packed, "Content-Encoding", "gzip")
	require.Equal(t, http.StatusOK, status)
	var p progress
	require.NoError(t, json.Unmarshal([]byte(text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:]), &p))
	require.True(t, p.Done, text)
	require.Equal(t, rows, p.Rows)
	require.Equal(t, []string{"CARDINALITY_LIMIT"}, sortedKeys(p.Refused))
	require.Equal(t, rows, p.Accepted+p.Refused["CARDINALITY_LIMIT"])
	active, limit := o.guard.Active("p")
	require.Equal(t, []int{1000, 1000}, []int{active, limit})
	require.Equal(t, p.Accepted, strings.Count(o.exportOf(t, "ndjson"), "\n"))
}

// sortedKeys are the keys of m.
func sortedKeys(m map[string]int) []string {
	return slices.Sorted(maps.Keys(m))
}

// A client that goes away in the middle ends its import, and what was told to be
// accepted is there; the import can begin anew.
func TestImport_CutOff(t *testing.T) {
	t.Parallel()
	o := operate(t, nil)
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url+"timeSeries:import?format=ndjson", in)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	row := `{"end_time":"` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + `","metric":"m","value":1}` + "\n"
	_, err = io.WriteString(out, strings.Repeat(row, 20_000))
	require.NoError(t, err)
	cancel()
	// The client waits for the body before it gives up.
	require.NoError(t, out.CloseWithError(context.Canceled))
	<-done
	p := o.load(t, "format=ndjson", row)
	require.Equal(t, 1, p.Accepted)
	require.Equal(t, 1, strings.Count(o.exportOf(t, "ndjson"), "\n"))
}

// The deletion of a descriptor takes its points along, and the permissions of
// all that is done to series are asked for.
func TestOperations_Permissions(t *testing.T) {
	t.Parallel()
	asked := map[string]bool{}
	o := operate(t, func(s *monitoring.Service) {
		s.Authorize = func(_ *http.Request, project, permission string) error {
			asked[project+" "+permission] = true
			return iam.Allow(iam.Principal{Kind: iam.Project, Project: "q"}, project, permission)
		}
	})
	for _, c := range [][3]string{
		{http.MethodGet, "timeSeries:cardinality", "p monitoring.timeSeries.list"},
		{http.MethodPost, "timeSeries:delete", "p monitoring.timeSeries.delete"},
		{http.MethodPost, "timeSeries:import", "p monitoring.timeSeries.create"},
		{http.MethodGet, "timeSeriesBounds/m", "p monitoring.timeSeriesBounds.get"},
		{http.MethodPatch, "timeSeriesBounds", "p monitoring.timeSeriesBounds.update"},
	} {
		status, _ := o.do(t, c[0], c[1], nil)
		require.Equal(t, http.StatusForbidden, status, c[1])
		require.True(t, asked[c[2]], c[2])
	}
}

func TestOperations_Bounds(t *testing.T) {
	t.Parallel()
	o := operate(t, nil)
	at := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	require.Equal(t, 1, o.load(t, "format=ndjson", `{"end_time":"`+at+`","metric":"a/b","value":1}`).Accepted)
	f := func(method, path, body string, status int, want string) {
		t.Helper()
		got, text := o.do(t, method, path, strings.NewReader(body))
		require.Equal(t, status, got, text)
		require.Contains(t, text, want)
	}
	const bounds = "timeSeriesBounds"
	f(http.MethodGet, bounds, "", 200, `"retention":"0s","maxSeries":0`)
	f(http.MethodPatch, bounds, `{"retention":"7200s","maxSeries":5}`, 200, `"retention":"7200s","maxSeries":5`)
	f(http.MethodPatch, bounds+"/a%2Fb", `{"maxSeries":1}`, 200, `"maxSeries":1`)
	f(http.MethodPatch, bounds+"/a/b", `{"retention":"3600s"}`, 200, `"retention":"3600s","maxSeries":1`)
	f(http.MethodGet, bounds, "", 200, `"metrics":{"a/b":{"retention":"3600s","maxSeries":1}}`)
	f(http.MethodPatch, bounds+"/a/b?validateOnly=true", `{"retention":""}`, 200, `"wouldLose":{"series":0,"points":0}`)
	f(http.MethodGet, bounds+"/a/b", "", 200, `"retention":"3600s"`)
	f(http.MethodGet, bounds+"/none", "", 404, "")
	f(http.MethodPatch, bounds+"/none", `{}`, 404, "")
	for _, bad := range []string{"", "x", `{"retention":"1s"}`, `{"retention":"1h"}`, `{"retention":"99999999999s"}`, `{"maxSeries":-1}`, `{"more":1}`, `{} {}`, `{"storageRetention":"1s"}`} {
		f(http.MethodPatch, bounds, bad, 400, "")
	}
	f(http.MethodPatch, bounds+"?validateOnly=perhaps", `{}`, 400, "")
	f(http.MethodPost, "timeSeries:delete", `{}`, 400, "filter")
	f(http.MethodPost, "timeSeries:delete", `{"filter":"metric.type = \"none\""}`, 200, `{"series":0}`)
	f(http.MethodGet, "timeSeries:cardinality?top=5000", "", 400, "top")
	f(http.MethodGet, "timeSeries:cardinality?interval.startTime=2030-01-01T00:00:00Z", "", 400, "startTime")
	f(http.MethodGet, "timeSeries:cardinality?filter=%28", "", 400, "")
	// A bound goes with its metric.
	f(http.MethodDelete, "metricDescriptors/a/b", "", 200, "{}")
	require.Zero(t, o.catalog.Bounds("p", "a/b"))
	require.Empty(t, o.exportOf(t, "ndjson"))
}

// FuzzImport: no body has an import end otherwise than by its rules.
func FuzzImport(f *testing.F) {
	for _, format := range []string{"csv", "ndjson", "influx"} {
		f.Add(format, `{"end_time":"2026-01-01T00:00:00Z","metric":"m","value":{"count":"1"}}`)
		f.Add(format, "end_time,metric,value\n2026-01-01T00:00:00Z,m,1\n")
	}
	o := memoryOperated(f)
	f.Fuzz(func(t *testing.T, format, file string) {
		if format == "csv" || format == "ndjson" || format == "influx" {
			p := o.load(t, "format="+format, file)
			require.True(t, p.Done || p.Error != nil)
			refused := 0
			for _, n := range p.Refused {
				refused += n
			}
			require.True(t, p.Error != nil || p.Rows == p.Accepted+refused, "%+v", p)
		}
	})
}

// SPEC A6: a series of which nothing is left within its retention is removed,
// and what goes on stays.
func TestOperations_Expire(t *testing.T) {
	t.Parallel()
	var ops *monitoring.Operations
	o := operate(t, func(s *monitoring.Service) { ops = s.Operations })
	now := time.Now()
	row := func(metric, label string, ago time.Duration) string {
		return fmt.Sprintf(`{"end_time":%q,"metric":%q,"metric_labels":{"l":%q},"value":1}`+"\n", now.Add(-ago).UTC().Format(time.RFC3339), metric, label)
	}
	const day = 24 * time.Hour
	file := row("a", "old", 100*day) + row("a", "both", 100*day) + row("a", "both", time.Hour) + row("own", "old", 100*day) + row("own", "older", 200*day)
	require.Equal(t, 5, o.load(t, "format=ndjson", file).Accepted)
	for path, body := range map[string]string{"": `{"retention":"864000s"}`, "/own": `{"retention":"12960000s"}`} { // 10 and 150 days
		status, text := o.do(t, http.MethodPatch, "timeSeriesBounds"+path, strings.NewReader(body))
		require.Equal(t, http.StatusOK, status, text)
	}
	removed := map[string]int{}
	o.catalog.Retained(func(project, metric string, retention time.Duration) {
		n, err := ops.Expire(t.Context(), project, metric, retention)
		require.NoError(t, err)
		removed[metric] = n
	})
	require.Equal(t, map[string]int{"": 1, "own": 1}, removed)
	require.NoError(t, o.catalog.SetBounds(t.Context(), "p", "", tsdb.Bounds{}))
	require.NoError(t, o.catalog.SetBounds(t.Context(), "p", "own", tsdb.Bounds{}))
	left := o.exportOf(t, "ndjson")
	require.Equal(t, 3, strings.Count(left, "\n"), left)
	require.NotContains(t, left, "older")
	require.Equal(t, 2, strings.Count(left, `"both"`), "what is not removed is told again when the retention is longer again")
}
