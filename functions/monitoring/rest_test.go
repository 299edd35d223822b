package monitoring_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/metric"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/functions/monitoring"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// answer is what REST answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// rest makes a REST call with the key of project p. A message as the body is
// sent as proto's JSON.
func (d door) rest(t *testing.T, verb, path string, body any) answer {
	t.Helper()
	var text []byte
	switch body := body.(type) {
	case proto.Message:
		var err error
		text, err = protojson.Marshal(body)
		require.NoError(t, err)
	case string:
		text = []byte(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), verb, d.url+"/v3/"+path, bytes.NewReader(text))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer p")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Header, got}
}

// into reads an answer that is no error.
func (a answer) into(t *testing.T, m proto.Message) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.Equal(t, "application/json; charset=utf-8", a.header.Get("Content-Type"))
	require.NoError(t, protojson.Unmarshal(a.body, m), "%s", a.body)
	// It is the JSON of the message and nothing else: every field is the same
	// as proto's own JSON writes it.
	want, err := protojson.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(a.body))
}

// What REST answers is what gRPC answers.
func TestREST_EqualsCalls(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	descriptor := &metric.MetricDescriptor{
		Type: "a/b", MetricKind: metric.MetricDescriptor_GAUGE, ValueType: metric.MetricDescriptor_DOUBLE, Unit: "Cel", DisplayName: "A",
	}
	made := &metric.MetricDescriptor{}
	d.rest(t, http.MethodPost, "projects/p/metricDescriptors", descriptor).into(t, made)
	require.Equal(t, "projects/p/metricDescriptors/a/b", made.GetName())
	written := d.rest(t, http.MethodPost, "projects/p/timeSeries", &monitoringpb.CreateTimeSeriesRequest{TimeSeries: []*monitoringpb.TimeSeries{
		series("a/b", "x", point(0, double(1)), point(time.Minute, double(2))), series("a/b", "y", point(0, double(3))),
	}})
	require.Equal(t, http.StatusOK, written.status, "%s", written.body)
	require.Equal(t, "{}\n", string(written.body))

	req := hour(`metric.type = "a/b"`)
	want, err := d.ListTimeSeries(as(t, "p"), req)
	require.NoError(t, err)
	require.Len(t, want.GetTimeSeries(), 2)
	got := &monitoringpb.ListTimeSeriesResponse{}
	d.rest(t, http.MethodGet, "projects/p/timeSeries?"+url.Values{
		"filter": {req.GetFilter()}, "interval.startTime": {req.GetInterval().GetStartTime().AsTime().Format(time.RFC3339)},
		"interval.endTime": {req.GetInterval().GetEndTime().AsTime().Format(time.RFC3339)},
	}.Encode(), nil).into(t, got)
	requireProto(t, want, got)

	metrics, err := d.ListMetricDescriptors(as(t, "p"), &monitoringpb.ListMetricDescriptorsRequest{Name: "projects/p"})
	require.NoError(t, err)
	gotMetrics := &monitoringpb.ListMetricDescriptorsResponse{}
	d.rest(t, http.MethodGet, "projects/p/metricDescriptors", nil).into(t, gotMetrics)
	requireProto(t, metrics, gotMetrics)
	one := &metric.MetricDescriptor{}
	d.rest(t, http.MethodGet, "projects/p/metricDescriptors/a/b", nil).into(t, one)
	requireProto(t, metrics.GetMetricDescriptors()[0], one)

	resources, err := d.ListMonitoredResourceDescriptors(as(t, "p"), &monitoringpb.ListMonitoredResourceDescriptorsRequest{Name: "projects/p"})
	require.NoError(t, err)
	gotResources := &monitoringpb.ListMonitoredResourceDescriptorsResponse{}
	d.rest(t, http.MethodGet, "projects/p/monitoredResourceDescriptors", nil).into(t, gotResources)
	requireProto(t, resources, gotResources)

	require.Equal(t, "{}\n", string(d.rest(t, http.MethodDelete, "projects/p/metricDescriptors/a/b", nil).body))
	require.Equal(t, http.StatusNotFound, d.rest(t, http.MethodGet, "projects/p/metricDescriptors/a/b", nil).status)
}

// An error over REST is google.aip.dev/193, with the details that gRPC has.
func TestREST_PartialFailure(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	text := &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_StringValue{StringValue: "x"}}
	a := d.rest(t, http.MethodPost, "projects/p/timeSeries", &monitoringpb.CreateTimeSeriesRequest{
		Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{series("m", "x", point(0, double(1)), point(1, text), point(2, text))},
	})
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Equal(t, "STRING_NOT_SUPPORTED=2", a.header.Get(function.LossesHeader))
	var body struct {
		Error struct {
			Code    int               `json:"code"`
			Status  string            `json:"status"`
			Message string            `json:"message"`
			Details []json.RawMessage `json:"details"`
		} `json:"error"`
	}
	require.NoError(t, json.Unmarshal(a.body, &body))
	require.Equal(t, 400, body.Error.Code)
	require.Equal(t, "INVALID_ARGUMENT", body.Error.Status)
	require.Equal(t, "PARTLY_WRITTEN", fault.ReasonOf(fault.Parse("", a.status, a.body)))
	// The details are Any messages as proto writes them.
	status := &statuspb.Status{}
	text2, err := json.Marshal(map[string]any{"message": body.Error.Message, "details": body.Error.Details})
	require.NoError(t, err)
	require.NoError(t, protojson.Unmarshal(text2, status))
	summary := &monitoringpb.CreateTimeSeriesSummary{}
	require.NoError(t, status.GetDetails()[1].UnmarshalTo(summary))
	require.Equal(t, int32(3), summary.GetTotalPointCount())
	require.Equal(t, int32(1), summary.GetSuccessPointCount())
	require.Len(t, status.GetDetails(), 4)
}

func TestREST_Refused(t *testing.T) {
	t.Parallel()
	d := open(t, nil)
	f := func(verb, path string, body any, status int, reason string) {
		t.Helper()
		a := d.rest(t, verb, path, body)
		require.Equal(t, status, a.status, "%s", a.body)
		require.Equal(t, reason, fault.ReasonOf(fault.Parse("", a.status, a.body)), "%s", a.body)
		require.Less(t, len(a.body), 2000)
	}
	f("POST", "projects/p/timeSeries", "{", 400, "MALFORMED_JSON")
	f("POST", "projects/p/timeSeries", `{"points":[]}`, 400, "MALFORMED_JSON")
	f("POST", "projects/p/timeSeries", "", 400, "NO_BODY")
	f("POST", "projects/p/timeSeries", "{}", 400, "INVALID_ARGUMENT")
	f("POST", "projects/p/timeSeries?x=1", "{}", 400, "INVALID_ARGUMENT")
	f("POST", "projects/p/timeSeries", `{"name":"projects/q"}`, 400, "INVALID_ARGUMENT")
	f("POST", "projects/p/timeSeries", strings.Repeat(" ", 4<<20+1), 413, "BODY_TOO_LARGE")
	f("POST", "projects/p/timeSeries:createService", "{}", 415, "NO_SERVICE_METRICS")
	f("POST", "projects/q/timeSeries", "{}", 403, "PERMISSION_DENIED")
	f("POST", "projects/q/metricDescriptors", "{}", 403, "PERMISSION_DENIED")
	f("DELETE", "projects/q/metricDescriptors/x", nil, 403, "PERMISSION_DENIED")
	f("GET", "projects/q/timeSeries", nil, 403, "PERMISSION_DENIED")
	f("POST", "projects/p/metricDescriptors", `{"type":"x","metricKind":"WRONG"}`, 400, "MALFORMED_JSON")
	f("POST", "projects/p/metricDescriptors", `{"type":"x"}`, 400, "INVALID_ARGUMENT")
	f("DELETE", "projects/p/metricDescriptors/x", nil, 404, "NOT_FOUND")
	f("DELETE", "projects/p/metricDescriptors/x?y=1", nil, 400, "INVALID_ARGUMENT")
}

// FuzzCreateTimeSeries checks that whatever is written gets one verdict for
// each point, and that what is accepted is there.
func FuzzCreateTimeSeries(f *testing.F) {
	for _, seed := range []*monitoringpb.TimeSeries{
		series("m", "a", point(0, double(1)), point(1, nil)), series("", "a", point(0, double(1))),
		{},
		{Points: []*monitoringpb.Point{nil}},
		{Metric: &metric.Metric{Type: "m\x00"}, Points: []*monitoringpb.Point{point(0, double(1))}},
	} {
		body, err := proto.Marshal(&monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{seed}})
		require.NoError(f, err)
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req := &monitoringpb.CreateTimeSeriesRequest{}
		if proto.Unmarshal(body, req) != nil {
			return
		}
		points := 0
		for _, ts := range req.GetTimeSeries() {
			points += len(ts.GetPoints())
		}
		written, summary, err := monitoring.WriteForTest(t.Context(), req)
		switch {
		case err == nil:
			require.Equal(t, points, written)
		case summary != nil:
			require.Equal(t, points, int(summary.GetTotalPointCount()))
			require.Equal(t, written, int(summary.GetSuccessPointCount()))
			refused := 0
			for _, e := range summary.GetErrors() {
				refused += int(e.GetPointCount())
			}
			require.Equal(t, points-written, refused)
		default:
			require.Zero(t, written)
			require.Contains(t, []fault.Kind{fault.Invalid, fault.Exhausted}, fault.KindOf(err), "%v", err)
		}
	})
}
