package monitoring_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/monitoring"
)

// exported is the answer of an export.
func exported(t *testing.T, srv *httptest.Server, pairs ...string) (resp *http.Response, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/v3/projects/p/timeSeries:export?"+encode(pairs...), nil)
	require.NoError(t, err)
	resp, err = http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

func TestExport(t *testing.T) {
	t.Parallel()
	srv := server(t, nil)
	both := []string{
		"filter", `metric.type = "` + temperature + `"`, "interval.startTime", "2025-06-01T11:56:00Z", "interval.endTime", "2025-06-01T12:00:00Z",
		"aggregation.alignmentPeriod", "120s", "aggregation.perSeriesAligner", "ALIGN_MEAN",
	}
	resp, body, err := exported(t, srv, append([]string{"format", "csv"}, both...)...)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/csv; charset=utf-8; header=present", resp.Header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="timeseries.csv"`, resp.Header.Get("Content-Disposition"))
	// Of d1: (21 + 22.5) / 2 and (24 + 25) / 2.
	require.Equal(t, `start_time,end_time,metric,resource,metric_labels,resource_labels,value,kind,value_type,unit
2025-06-01T11:56:00.000Z,2025-06-01T11:58:00.000Z,com.example.climate/temperature,device,{},"{""device_id"":""d1"",""project_id"":""p""}",21.75,GAUGE,DOUBLE,Cel
2025-06-01T11:58:00.000Z,2025-06-01T12:00:00.000Z,com.example.climate/temperature,device,{},"{""device_id"":""d1"",""project_id"":""p""}",24.5,GAUGE,DOUBLE,Cel
2025-06-01T11:56:00.000Z,2025-06-01T11:58:00.000Z,com.example.climate/temperature,device,{},"{""device_id"":""d2"",""project_id"":""p""}",11.5,GAUGE,DOUBLE,Cel
2025-06-01T11:58:00.000Z,2025-06-01T12:00:00.000Z,com.example.climate/temperature,device,{},"{""device_id"":""d2"",""project_id"":""p""}",13.5,GAUGE,DOUBLE,Cel
`, body)

	_, body, err = exported(t, srv, "format", "ndjson", "filter", `metric.type = "none"`, "interval.endTime", "2025-06-01T12:00:00Z")
	require.NoError(t, err)
	require.Empty(t, body)
	resp, body, err = exported(t, srv, append([]string{"format", "parquet"}, both...)...)
	require.NoError(t, err)
	require.Equal(t, "application/vnd.apache.parquet", resp.Header.Get("Content-Type"))
	require.Equal(t, "PAR1 PAR1", body[:4]+" "+body[len(body)-4:])

	f := func(want string, pairs ...string) {
		t.Helper()
		resp, body, err := exported(t, srv, pairs...)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		require.Contains(t, body, want)
	}
	f("none of csv, ndjson and parquet", both...)
	f("none of csv, ndjson and parquet", append([]string{"format", "xlsx"}, both...)...)
	f("an export is whole", append([]string{"format", "csv", "pageSize", "5"}, both...)...)
	f("filter", "format", "csv", "interval.endTime", "2025-06-01T12:00:00Z")
}

// An export needs the permission.
func TestExport_Denied(t *testing.T) {
	t.Parallel()
	pairs := []string{"format", "csv", "filter", `metric.type = "` + temperature + `"`, "interval.endTime", "2025-06-01T12:00:00Z"}
	var asked string
	srv := server(t, func(s *monitoring.Service) {
		s.Authorize = func(_ *http.Request, _, permission string) error {
			asked = permission
			return errors.New("no")
		}
	})
	resp, _, err := exported(t, srv, pairs...)
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, monitoring.ListTimeSeries, asked)
}
