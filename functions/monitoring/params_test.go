package monitoring

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/stretchr/testify/require"
)

// What Google's own clients send over REST beside what a method takes: the API
// key, how the answer is to be written, and enums by their numbers.
func TestParams_OfGooglesClients(t *testing.T) {
	t.Parallel()
	f := func(query string) (*params, error) {
		return parseParams(httptest.NewRequest(http.MethodGet, "/v3/projects/p/timeSeries?"+query, nil), "view")
	}
	for text, want := range map[string]string{
		"1": "HEADERS", "0": "FULL", "HEADERS": "HEADERS", "": "", "7": "7", "-1": "-1", "99999999999": "99999999999", "x": "x",
	} {
		p, err := f("view=" + text)
		require.NoError(t, err)
		require.Equal(t, want, p.enum("view", monitoringpb.ListTimeSeriesRequest_TimeSeriesView_name))
	}
	_, err := f("key=svk_x&alt=json&prettyPrint=false&$alt=" + url.QueryEscape("json;enum-encoding=int"))
	require.NoError(t, err)
	_, err = f("$alt=media")
	require.ErrorContains(t, err, "it can only be json or json;enum-encoding=int")
	_, err = f("key=secret-one&key=secret-two")
	require.ErrorContains(t, err, "it is given more than once")
	require.NotContains(t, err.Error(), "secret")
}
