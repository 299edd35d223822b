package google

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	rest "google.golang.org/api/monitoring/v3"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"selvedge.dev/tests/process"
)

// With TLS nothing but the endpoint and the credentials differs from Google's
// service: an API key, or a token as OAuth has it.
func TestMetricClient_OverTLS(t *testing.T) {
	t.Parallel()
	p := start(t, "--tls-cert", certFile, "--tls-key", keyFile)
	key, err := p.Key(t.Context(), "projects/default")
	require.NoError(t, err)
	endpoint := option.WithEndpoint(strings.TrimPrefix(p.URL, "https://"))
	now := time.Now()
	req := &monitoringpb.CreateTimeSeriesRequest{Name: project, TimeSeries: []*monitoringpb.TimeSeries{series("north", point(now, now, 1))}}
	require.NoError(t, dial(t, endpoint, option.WithAPIKey(key)).CreateTimeSeries(t.Context(), req))
	byToken := dial(t, endpoint, option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: key})))
	d, err := byToken.GetMetricDescriptor(t.Context(), &monitoringpb.GetMetricDescriptorRequest{Name: project + "/metricDescriptors/" + sales})
	require.NoError(t, err)
	require.Equal(t, sales, d.GetType())

	err = dial(t, endpoint, option.WithAPIKey("wrong-wrong-wrong")).CreateTimeSeries(t.Context(), req)
	require.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
	req.Name = "projects/other"
	err = dial(t, endpoint, option.WithAPIKey(key)).CreateTimeSeries(t.Context(), req)
	require.Equal(t, codes.PermissionDenied, status.Code(err), "%v", err)
}

// Google's client for its REST API has the whole life of a metric too.
func TestRESTClient(t *testing.T) {
	t.Parallel()
	p := start(t, "--tls-cert", certFile, "--tls-key", keyFile)
	key, err := p.Key(t.Context(), "projects/default")
	require.NoError(t, err)
	ctx := t.Context()
	c, err := rest.NewService(ctx, option.WithEndpoint(p.URL), option.WithAPIKey(key))
	require.NoError(t, err)

	made, err := c.Projects.MetricDescriptors.Create(project, &rest.MetricDescriptor{
		Type: sales, MetricKind: "CUMULATIVE", ValueType: "INT64", Unit: "{sale}", Labels: []*rest.LabelDescriptor{{Key: "store"}},
	}).Do()
	require.NoError(t, err)
	require.Equal(t, project+"/metricDescriptors/"+sales, made.Name)
	start := time.Now().Truncate(time.Minute).Add(-10 * time.Minute)
	text := func(minute int) string {
		return start.Add(time.Duration(minute) * time.Minute).UTC().Format(time.RFC3339)
	}
	for minute := range 11 {
		var stores []*rest.TimeSeries
		for i, store := range []string{"north", "south"} {
			v := int64(minute * (i + 1) * 10)
			stores = append(stores, &rest.TimeSeries{
				Metric:   &rest.Metric{Type: sales, Labels: map[string]string{"store": store}},
				Resource: &rest.MonitoredResource{Type: "global", Labels: map[string]string{"project_id": "default"}},
				Points:   []*rest.Point{{Interval: &rest.TimeInterval{StartTime: text(-1), EndTime: text(minute)}, Value: &rest.TypedValue{Int64Value: &v}}},
			})
		}
		_, err := c.Projects.TimeSeries.Create(project, &rest.CreateTimeSeriesRequest{TimeSeries: stores}).Do()
		require.NoError(t, err)
	}

	list := c.Projects.TimeSeries.List(project).Filter(`metric.type = "` + sales + `"`).IntervalStartTime(text(0)).IntervalEndTime(text(10))
	points := 0
	require.NoError(t, list.PageSize(3).Pages(ctx, func(page *rest.ListTimeSeriesResponse) error {
		for _, s := range page.TimeSeries {
			require.Equal(t, "CUMULATIVE INT64", s.MetricKind+" "+s.ValueType)
			points += len(s.Points)
		}
		return nil
	}))
	require.Equal(t, 20, points)
	got, err := list.PageSize(0).PageToken("").View("HEADERS").Do()
	require.NoError(t, err)
	require.Len(t, got.TimeSeries, 2)
	require.Empty(t, got.TimeSeries[0].Points)
	got, err = list.View("FULL").AggregationAlignmentPeriod("300s").AggregationPerSeriesAligner("ALIGN_DELTA").AggregationCrossSeriesReducer("REDUCE_SUM").
		AggregationGroupByFields("resource.labels.project_id").SecondaryAggregationAlignmentPeriod("600s").SecondaryAggregationPerSeriesAligner("ALIGN_SUM").Do()
	require.NoError(t, err)
	require.Len(t, got.TimeSeries, 1)
	require.Equal(t, int64(300), *got.TimeSeries[0].Points[0].Value.Int64Value)

	descriptors, err := c.Projects.MetricDescriptors.List(project).Filter(`metric.type = starts_with("custom.googleapis.com/")`).Do()
	require.NoError(t, err)
	require.Len(t, descriptors.MetricDescriptors, 1)
	resources, err := c.Projects.MonitoredResourceDescriptors.List(project).Do()
	require.NoError(t, err)
	require.Len(t, resources.ResourceDescriptors, 5)
	global, err := c.Projects.MonitoredResourceDescriptors.Get(project + "/monitoredResourceDescriptors/global").Do()
	require.NoError(t, err)
	require.Equal(t, "project_id", global.Labels[0].Key)

	_, err = c.Projects.TimeSeries.List(project).Filter(`group.id = "x"`).IntervalEndTime(text(10)).Do()
	var e *googleapi.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusBadRequest, e.Code)
	require.Contains(t, e.Message, "there are no groups")
	_, err = c.Projects.MetricDescriptors.Delete(made.Name).Do()
	require.NoError(t, err)
	_, err = c.Projects.MetricDescriptors.Get(made.Name).Do()
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusNotFound, e.Code)
	wrong, err := rest.NewService(ctx, option.WithEndpoint(p.URL), option.WithAPIKey(process.AdminKey+"wrong"))
	require.NoError(t, err)
	_, err = wrong.Projects.MetricDescriptors.List(project).Do()
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusUnauthorized, e.Code)
}
