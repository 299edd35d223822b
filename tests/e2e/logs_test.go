package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// inJSON is the header of a request in JSON.
var inJSON = []string{"Content-Type: application/json"}

// texts are the texts of the entries of the project p that somebody sees.
func texts(t *testing.T, p *process.Platform, key, filter string) []string {
	t.Helper()
	code, body := send(t, p, key, httpCall{http.MethodPost, "/v2/entries:list", fmt.Sprintf(`{"resourceNames":["projects/p"],"filter":%q}`, filter), inJSON})
	require.Equal(t, http.StatusOK, code, body)
	var list struct {
		Entries []struct{ TextPayload string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	out := []string{}
	for _, e := range list.Entries {
		out = append(out, e.TextPayload)
	}
	return out
}

// An agent has a bucket of its own by the role of docs/iam.md: it writes there by
// every door without saying so, and sees nothing else. What was acknowledged is
// there after kill -9. SPEC A5
func TestLogs_AnAgentHasItsBucket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir)
	for _, d := range []string{"press", "other"} {
		call(t, p, http.MethodPost, "/v1/projects/p/devices", url.Values{"deviceId": {d}}, map[string]any{}, nil)
	}
	call(t, p, http.MethodPost, "/v1/projects/p/buckets", url.Values{"bucketId": {"press"}}, map[string]any{"retention": "2592000s"}, nil)
	call(t, p, http.MethodPost, "/v1/projects/p/roles", url.Values{"roleId": {"logger"}}, map[string]any{
		"params": []string{"device"},
		"grants": []any{map[string]any{"subScope": "buckets/{device}", "permissions": []string{"logging.logEntries.create", "logging.logEntries.list"}}},
	}, nil)
	call(t, p, http.MethodPost, "/v1/projects/p/roleBindings", url.Values{"roleBindingId": {"loggers"}}, map[string]any{
		"role": "projects/p/roles/logger", "params": map[string]any{"device": map[string]any{"attribute": "device"}},
		"members": []string{"device:projects/p/devices/press", "device:projects/p/devices/other"},
	}, nil)
	press, other, all := keyOf(t, p, "projects/p/devices/press"), keyOf(t, p, "projects/p/devices/other"), keyOf(t, p, "projects/p")
	write := func(key, text string) int {
		code, _ := send(t, p, key, httpCall{http.MethodPost, "/v2/entries:write", fmt.Sprintf(`{"entries":[{"logName":"projects/p/logs/l","textPayload":%q}]}`, text), inJSON})
		return code
	}
	require.Equal(t, http.StatusOK, write(press, "google"))
	require.Equal(t, http.StatusForbidden, write(other, "no bucket of that name"))
	require.Equal(t, http.StatusOK, write(all, "default"))
	code, body := send(t, p, press, httpCall{http.MethodPost, "/v1/logs", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"otlp"}}]}]}]}`, inJSON})
	require.Equal(t, http.StatusOK, code, body)
	now := fmt.Sprint(time.Now().UnixNano())
	code, body = send(t, p, press, httpCall{http.MethodPost, "/loki/api/v1/push", `{"streams":[{"stream":{"a":"b"},"values":[["` + now + `","loki"]]}]}`, inJSON})
	require.Equal(t, http.StatusNoContent, code, body)
	event := `{"specversion":"1.0","id":"1","source":"//selvedge.dev/projects/p/devices/press","type":"dev.selvedge.log.v1","time":"` + time.Now().UTC().Format(time.RFC3339Nano) + `","data":{"severity":"ERROR","textPayload":"event"}}`
	code, body = send(t, p, press, httpCall{http.MethodPost, "/v1/events", event, []string{"Content-Type: application/cloudevents+json"}})
	require.Equal(t, http.StatusAccepted, code, body)
	require.Eventually(t, func() bool { return len(texts(t, p, press, "")) == 4 }, startTimeout, 20*time.Millisecond)
	require.ElementsMatch(t, []string{"google", "otlp", "loki", "event"}, texts(t, p, press, ""))
	require.ElementsMatch(t, []string{"google", "otlp", "loki", "event", "default"}, texts(t, p, all, ""))
	require.Equal(t, []string{"event"}, texts(t, p, all, `severity = ERROR AND resource.labels.device_id = "press"`))

	require.NoError(t, p.Kill())
	p = start(t, dir)
	require.ElementsMatch(t, []string{"google", "otlp", "loki", "event"}, texts(t, p, press, ""))
	require.Len(t, texts(t, p, all, ""), 5)
	stop(t, p)
}

// The command line writes, shows, counts and follows entries.
func TestLogs_CommandLine(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	c := newTerminal(t, "SELVEDGE_URL="+p.URL, "SELVEDGE_KEY="+adminKey)
	run := func(input string, args ...string) string {
		t.Helper()
		out, complaint, code := c.run(input, args...)
		require.Zero(t, code, complaint)
		return out
	}
	run("", "logs", "write", "press/shift", "night shift begins", "--severity", "notice", "--label", "line=left")
	run("{\"n\": 1}\n{\"n\": 2}\n", "logs", "write", "app", "-", "--json", "--severity", "ERROR")
	require.Contains(t, run("", "logs", "query", `severity = NOTICE`), "NOTICE    press/shift night shift begins  [line=left]\n")
	require.Contains(t, run("", "logs", "query", `jsonPayload.n > 1`), `{"n":2}`)
	require.Equal(t, 2, strings.Count(run("", "logs", "tail", "log_id(\"app\")", "--follow=false"), "ERROR"))
	counted := run("", "logs", "count", "--by", "severity")
	require.Contains(t, counted, "SEVERITY  ENTRIES  DRAWING\nERROR     2 ")
	require.Contains(t, run("", "logs", "list"), "press/shift")
	run("", "logs", "delete", "app")
	require.NotContains(t, run("", "logs", "list"), "app")
	stop(t, p)
}
