package command

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAudit_WhoShowsWhatItWasBefore(t *testing.T) {
	t.Parallel()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+" "+r.URL.Query().Get("resource")+r.URL.Query().Get("filter")+" "+r.URL.Query().Get("pageSize")+r.URL.Query().Get("pageToken"))
		body := `{"changes":[
			{"time":"2026-11-21T12:00:00Z","principal":"users/ada","method":"selvedge.devices.v1.DeviceService.UpdateDevice","verb":"UPDATED",
			 "paths":["display_name","metadata.update_time","spec.color"],
			 "previous":{"displayName":"old","spec":{"color":"red"}},"current":{"displayName":"new","spec":{"color":"blue"}}},
			{"time":"2026-11-20T12:00:00Z","principal":"admin","verb":"CREATED","reason":"import","current":{"name":"projects/p/devices/d"}}]}`
		if r.URL.Path == "/v1/projects/p/activityLogs" {
			body = `{"activityLogs":[{"time":"2026-11-21T12:00:00Z","principal":"users/eve","category":"REJECTED","method":"POST /v1/events",
				"resource":"projects/p","denied":[{"permission":"events.publish"}],"status":{"code":7,"reason":"PERMISSION_DENIED"}}],"nextPageToken":"more"}`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body)) // what is missing shows
	}))
	t.Cleanup(server.Close)

	code, out, errOut := run(t, "audit", "who", "devices/d", "-p", "p", "--url", server.URL)
	require.Zero(t, code, errOut)
	require.Equal(t, "/v1/projects/p/resourceHistory projects/p/devices/d 50", asked[0])
	require.Regexp(t, `(?m)^2026-11-21T12:00:00Z +users/ada +UPDATED +DeviceService.UpdateDevice +display_name +old +new$`, out)
	require.Regexp(t, `(?m)^ +spec.color +red +blue$`, out)
	require.NotContains(t, out, "update_time")
	require.Regexp(t, `(?m)^2026-11-20T12:00:00Z +admin +CREATED +\(import\) +- +- +\{"name":"projects/p/devices/d"\}$`, out)

	code, out, errOut = run(t, "audit", "query", "jsonPayload.category=REJECTED", "--limit", "1", "-p", "p", "--url", server.URL)
	require.Zero(t, code, errOut)
	require.Equal(t, "/v1/projects/p/activityLogs jsonPayload.category=REJECTED 1", asked[1])
	require.Len(t, asked, 2, "as many pages as it takes")
	require.Regexp(t, `users/eve +REJECTED +POST /v1/events +projects/p +PERMISSION_DENIED events.publish`, out)

	code, out, _ = run(t, "audit", "who", "devices/d", "-p", "p", "-o", "json", "--url", server.URL)
	require.Zero(t, code)
	require.Contains(t, out, "metadata.update_time", "JSON is the record itself")
	code, _, errOut = run(t, "audit", "query", "--limit", "0", "--url", server.URL)
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "--limit")
}
