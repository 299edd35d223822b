package monitoring_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/catalog"
	"selvedge.dev/tsdb/distribution"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
)

// rolled is a service with a metric that may have rollups.
type rolled struct {
	t      *testing.T
	keeper *rollup.Keeper
	routes http.Handler
	may    map[string]bool
	now    time.Time
}

// newRolled has the metric "m/a" with a point a minute of the day before noon.
func newRolled(t *testing.T) *rolled {
	t.Helper()
	r := &rolled{t: t, now: time.Date(2026, time.June, 1, 12, 5, 0, 0, time.UTC), may: map[string]bool{
		monitoring.ListDescriptors: true, monitoring.CreateDescriptor: true, monitoring.ListTimeSeries: true,
	}}
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"), catalog.Schema+rollup.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	metrics, err := catalog.New(t.Context(), db)
	require.NoError(t, err)
	_, err = metrics.Ensure(t.Context(), tsdb.Descriptor{Project: "p", Type: "m/a", Kind: tsdb.Gauge, ValueType: tsdb.Double})
	require.NoError(t, err)
	store := memory.New(metrics)
	r.keeper, err = rollup.New(t.Context(), store, db, rollup.Options{Rolled: metrics.Rolled, Now: func() time.Time { return r.now }, Retention: 48 * time.Hour})
	require.NoError(t, err)
	s := &monitoring.Service{
		Engine: query.New(store, query.Options{Rollups: r.keeper, Block: 1}), Descriptors: metrics, Series: r.keeper, Rollups: r.keeper,
		Authorize: func(_ *http.Request, project, permission string) error {
			if project != "p" || !r.may[permission] {
				return &fault.Error{Op: "test", Kind: fault.Denied}
			}
			return nil
		},
	}
	mux := chi.NewRouter()
	s.Routes(mux)
	r.routes = mux
	series := &tsdb.Series{Project: "p", Metric: "m/a", Resource: "device"}
	var batch []tsdb.Sample
	for i := range 1440 {
		at := r.now.Truncate(time.Hour).Add(-time.Duration(i) * time.Minute)
		batch = append(batch, tsdb.Sample{Series: series, Time: tsdb.Millis(at.UnixMilli()), Value: 2})
	}
	require.NoError(t, r.keeper.Append(t.Context(), batch))
	return r
}

// call makes a request, and returns the status and the body.
func (r *rolled) call(method, path, body string) (int, string) {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.routes.ServeHTTP(w, httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

// settle computes what there is to compute.
func (r *rolled) settle() {
	r.t.Helper()
	for more := true; more; {
		var err error
		more, err = r.keeper.Step(r.t.Context())
		require.NoError(r.t, err)
	}
}

// ask is the explanation of a mean an hour over the last day.
func (r *rolled) ask(explain string) map[string]any {
	r.t.Helper()
	v := url.Values{
		"filter": {`metric.type = "m/a"`}, "interval.startTime": {"2026-05-31T12:00:00Z"}, "interval.endTime": {"2026-06-01T12:00:00Z"},
		"aggregation.perSeriesAligner": {"ALIGN_MEAN"}, "aggregation.alignmentPeriod": {"3600s"}, "explain": {explain},
	}
	code, body := r.call(http.MethodGet, "/v3/projects/p/timeSeries?"+v.Encode(), "")
	require.Equal(r.t, http.StatusOK, code, body)
	var out map[string]any
	require.NoError(r.t, json.Unmarshal([]byte(body), &out))
	require.Len(r.t, out["timeSeries"].([]any)[0].(map[string]any)["points"], 24)
	explained, _ := out["explain"].(map[string]any)
	return explained
}

// A rollup is declared, shown, used, explained, rebuilt and removed. SPEC A6
func TestRollups_Life(t *testing.T) {
	t.Parallel()
	r := newRolled(t)
	const path = "/v3/projects/p/metricRollups/m/a"
	require.Nil(t, r.ask("false"))
	was := r.ask("true")
	require.Equal(t, "RAW", was["source"])
	require.Equal(t, "the metric has no rollups", was["reason"])
	require.EqualValues(t, 1440, was["samples"])

	code, body := r.call(http.MethodPut, path, `{"rollups":[{"period":"3600s","aligners":["ALIGN_MEAN"]}]}`)
	require.Equal(t, http.StatusOK, code, body)
	r.settle()
	code, body = r.call(http.MethodGet, path, "")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"rollups":[{"period":"3600s","aligners":["ALIGN_MEAN"],"status":{
		"startTime":"2026-05-30T12:00:00Z","endTime":"2026-06-01T12:00:00Z","behind":"0s","marked":0,"stuck":0,"owners":1}}]}`, body)

	is := r.ask("true")
	require.Equal(t, "ROLLUP", is["source"])
	require.EqualValues(t, 0, is["samples"])
	require.EqualValues(t, 24, is["windows"])
	require.EqualValues(t, 48, is["storedPoints"])
	require.Len(t, is["spans"], 1)
	require.NotEmpty(t, is["stages"])

	code, body = r.call(http.MethodPost, path+":rebuild?interval.startTime=2026-06-01T00:30:00Z", "")
	require.Equal(t, http.StatusOK, code, body)
	first, last, _ := strings.Cut(body, "\n")
	require.JSONEq(t, `{"rollup":"3600s","windows":12,"total":12}`, first)
	require.JSONEq(t, `{"windows":0,"total":0,"done":true}`, last)

	code, body = r.call(http.MethodDelete, path, "")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"rollups":[]}`, body)
	require.Equal(t, "RAW", r.ask("true")["source"])
}

// A rollup of a metric of distributions is declared and used for a percentile.
func TestRollups_Distributions(t *testing.T) {
	t.Parallel()
	r := newRolled(t)
	code, body := r.call(http.MethodPost, "/v3/projects/p/metricDescriptors", `{"type":"m/d","metricKind":"DELTA","valueType":"DISTRIBUTION"}`)
	require.Equal(t, http.StatusOK, code, body)
	const path = "/v3/projects/p/metricRollups/m/d"
	code, body = r.call(http.MethodPut, path, `{"rollups":[{"period":"3600s","aligners":["ALIGN_MEAN"]}]}`)
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, body, "ALIGN_MEAN cannot be applied to a DELTA metric of DISTRIBUTION values")
	code, body = r.call(http.MethodPut, path, `{"rollups":[{"period":"3600s","aligners":["ALIGN_PERCENTILE_50"]}]}`)
	require.Equal(t, http.StatusOK, code, body)
	series := &tsdb.Series{Project: "p", Metric: "m/d", Resource: "device", Kind: tsdb.Delta, ValueType: tsdb.Distributed}
	for i := range 120 {
		at := r.now.Truncate(time.Hour).Add(-time.Duration(i) * time.Minute)
		d := distribution.Of(tsdb.Buckets{Kind: tsdb.LinearBuckets, Finite: 2, Width: 10}, float64(i%20))
		require.NoError(t, r.keeper.Append(t.Context(), []tsdb.Sample{{Series: series, Time: tsdb.Millis(at.UnixMilli()), Distribution: d}}))
	}
	r.settle()
	v := url.Values{
		"filter": {`metric.type = "m/d"`}, "interval.startTime": {"2026-06-01T10:00:00Z"}, "interval.endTime": {"2026-06-01T12:00:00Z"},
		"aggregation.perSeriesAligner": {"ALIGN_PERCENTILE_50"}, "aggregation.alignmentPeriod": {"3600s"}, "explain": {"true"},
	}
	code, body = r.call(http.MethodGet, "/v3/projects/p/timeSeries?"+v.Encode(), "")
	require.Equal(t, http.StatusOK, code, body)
	var out struct {
		TimeSeries []struct {
			Points []struct{ Value struct{ DoubleValue float64 } }
		}
		Explain struct {
			Source           string
			Samples, Windows int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &out))
	require.Equal(t, "ROLLUP", out.Explain.Source)
	require.Zero(t, out.Explain.Samples)
	require.Equal(t, 2, out.Explain.Windows)
	require.Len(t, out.TimeSeries[0].Points, 2)
	// Half of 60 values lie below 10, the end of the first bucket.
	require.InDelta(t, 10, out.TimeSeries[0].Points[0].Value.DoubleValue, 1e-9)
}

// What cannot be declared is refused with its field, and nobody without the
// permission declares anything.
func TestRollups_Refused(t *testing.T) {
	t.Parallel()
	r := newRolled(t)
	const path = "/v3/projects/p/metricRollups/"
	f := func(body, want string) {
		t.Helper()
		code, got := r.call(http.MethodPut, path+"m/a", body)
		require.Equal(t, http.StatusBadRequest, code, got)
		require.Contains(t, got, want)
	}
	f(`{"rollups":[{"period":"7s","aligners":["ALIGN_MEAN"]}]}`, "rollups[0].period")
	f(`{"rollups":[{"period":"7h","aligners":["ALIGN_MEAN"]}]}`, "rollups[0].period")
	f(`{"rollups":[{"period":"61s","aligners":["ALIGN_MEAN"]}]}`, "rollups[0].period")
	f(`{"rollups":[{"period":"60s"}]}`, "rollups[0].aligners")
	f(`{"rollups":[{"period":"60s","aligners":["ALIGN_PERCENTILE_99"]}]}`, "rollups[0].aligners[0]")
	f(`{"rollups":[{"period":"60s","aligners":["ALIGN_MEAN","ALIGN_RATE"]}]}`, "rollups[0].aligners[1]")
	f(`{"rollups":[{"period":"60s","aligners":["ALIGN_MEAN"],"groupBy":["metric.labels.x"]}]}`, "rollups[0].aligners[0]")
	f(`{"rollups":[{"period":"60s","aligners":["ALIGN_SUM"],"groupBy":["x"]}]}`, "rollups[0].groupBy[0]")
	f(`{"rollups":[{"period":"60s","aligners":["ALIGN_SUM"]},{"period":"60s","aligners":["ALIGN_MAX"]}]}`, "rollups[1].period")
	f(`{"rollups":[{"period":"60s","alligners":[]}]}`, "unknown field")
	f(`{"rollups":[]} x`, "body")
	code, _ := r.call(http.MethodPut, path+"other", `{"rollups":[]}`)
	require.Equal(t, http.StatusNotFound, code)
	code, _ = r.call(http.MethodPost, path+"m/a", "")
	require.Equal(t, http.StatusNotFound, code)
	code, body := r.call(http.MethodPost, path+"m/a:rebuild", "")
	require.Equal(t, http.StatusNotFound, code, body)
	code, _ = r.call(http.MethodPut, "/v3/projects/q/metricRollups/m/a", `{"rollups":[]}`)
	require.Equal(t, http.StatusForbidden, code)
	r.may[monitoring.CreateDescriptor] = false
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPost} {
		code, _ = r.call(method, path+"m/a:rebuild", `{"rollups":[]}`)
		require.Equal(t, http.StatusForbidden, code)
	}
}
