package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// logDoor is a platform that answers about logs as the real one does, and
// remembers what it was asked.
type logDoor struct {
	*httptest.Server
	asked []string
}

// newLogDoor makes one whose answers are by path.
func newLogDoor(t *testing.T, answers map[string]string) *logDoor {
	t.Helper()
	d := &logDoor{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		d.asked = append(d.asked, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answers[r.URL.Path]) // the client reads it
	}))
	t.Cleanup(d.Close)
	return d
}

// oneEntry is an entry in JSON.
const oneEntry = `{"logName": "projects/default/logs/app%2Fx", "insertId": "1", "timestamp": "2026-06-01T12:00:00.5Z", "severity": "ERROR",
	"resource": {"type": "device", "labels": {"device_id": "press"}}, "labels": {"site": "north"}, "jsonPayload": {"message": "oh\u001b[31m no", "n": 1}}`

func TestLogs_QueryShowsALine(t *testing.T) {
	t.Parallel()
	d := newLogDoor(t, map[string]string{"/v2/entries:list": `{"entries": [` + oneEntry + `, {"logName": "projects/default/logs/b", "timestamp": "2026-06-01T11:00:00Z", "textPayload": "a\nb"}]}`})
	code, out, errOut := run(t, "logs", "query", "a OR b", "--url", d.URL, "--bucket", "mine")
	require.Zero(t, code, errOut)
	require.Equal(t, `2026-06-01T11:00:00.000Z -         b a\nb
2026-06-01T12:00:00.500Z ERROR     app/x press oh\x1b[31m no {"message":"oh\u001b[31m no","n":1}  [site=north]
`, out, "the oldest first, and nothing that a terminal obeys")
	require.Contains(t, d.asked[0], `"resourceNames":["projects/default/locations/global/buckets/mine/views/_AllLogs"]`)
	require.Contains(t, d.asked[0], `"filter":"(a OR b\n) AND timestamp \u003e= `)
	code, out, _ = run(t, "logs", "query", "--url", d.URL, "-o", "json")
	require.Zero(t, code)
	var all []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	require.Len(t, all, 2)
}

func TestLogs_SeveritiesAreColoured(t *testing.T) {
	t.Parallel()
	found, err := readEntries([]json.RawMessage{json.RawMessage(oneEntry), json.RawMessage(`{"severity": 450}`)})
	require.NoError(t, err)
	require.Contains(t, found[0].line(true), " \x1b[31mERROR    \x1b[0m app/x")
	require.NotContains(t, found[0].line(false), "\x1b")
	require.Contains(t, found[1].line(true), " 450       ")
	require.False(t, newPrinter(&bytes.Buffer{}).colour, "nobody reads it")
}

func TestLogs_TailGoesOn(t *testing.T) {
	t.Parallel()
	second := strings.ReplaceAll(oneEntry, `"insertId": "1"`, `"insertId": "2"`)
	d := newLogDoor(t, map[string]string{
		"/v2/entries:list": `{"entries": [` + oneEntry + `]}`,
		"/v2/entries:tail": `[{"entries": [` + oneEntry + `]},{"entries": [` + second + `], "suppressionInfo": [{"reason": "NOT_CONSUMED", "suppressedCount": 7}]}]`,
	})
	code, out, errOut := run(t, "logs", "tail", "--url", d.URL, "-o", "json")
	require.Zero(t, code, errOut)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Contains(t, errOut, "7 entries were left out")
	require.Equal(t, 2, strings.Count(out, `"insertId"`), "none is shown twice: %s", lines)
	code, out, _ = run(t, "logs", "tail", "--url", d.URL, "--follow=false")
	require.Zero(t, code)
	require.Equal(t, 1, strings.Count(out, "app/x"))

	d = newLogDoor(t, map[string]string{"/v2/entries:list": `{}`, "/v2/entries:tail": `[{"error": {"code": 503, "message": "stopping", "status": "UNAVAILABLE"}}]`})
	code, _, errOut = run(t, "logs", "tail", "--url", d.URL)
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "stopping")
}

func TestLogs_CountDraws(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 6, 1, 12, 3, 0, 0, time.UTC)
	begin := end.Add(-3 * time.Minute)
	f := func(answer string, by []string, want string) {
		t.Helper()
		var c counted
		require.NoError(t, json.Unmarshal([]byte(answer), &c))
		var out bytes.Buffer
		c.draw(&out, span{begin, end, time.Minute}, by)
		require.Equal(t, want, strings.ReplaceAll(out.String(), strings.Repeat("█", maxBar), "█…"))
	}
	f(`{"groups": [], "entries": "0"}`, nil, "no entry matches\n")
	f(`{"groups": [{"startTime": "2026-06-01T12:00:00Z", "entries": "100"}, {"startTime": "2026-06-01T12:02:00Z", "entries": "1"}], "entries": "101"}`, nil,
		"FROM\tENTRIES\tDRAWING\n2026-06-01T12:00:00Z\t100\t█…\n2026-06-01T12:01:00Z\t0\t-\n2026-06-01T12:02:00Z\t1\t▏\n")
	f(`{"groups": [{"startTime": "2026-06-01T12:00:00Z", "values": ["INFO"], "entries": "1"}, {"startTime": "2026-06-01T12:01:00Z", "values": ["ERROR"], "entries": "2"}]}`, []string{"severity"},
		"SEVERITY\tENTRIES\tDRAWING\nERROR\t2\t▁█▁\nINFO\t1\t█▁▁\n")
	for since, want := range map[time.Duration]time.Duration{
		time.Minute: time.Second, time.Hour: time.Minute, 24 * time.Hour: time.Hour, 60 * 24 * time.Hour: 24 * time.Hour, 400 * 24 * time.Hour: 7 * 24 * time.Hour,
	} {
		require.Equal(t, want, widthOf(since), since)
		require.LessOrEqual(t, int(since/want), drawn)
	}
}

func TestLogs_WriteListAndDelete(t *testing.T) {
	t.Parallel()
	d := newLogDoor(t, map[string]string{"/v2/entries:write": `{}`, "/v2/projects/default/logs": `{"logNames": ["projects/default/logs/app%2Fx"]}`})
	code, _, errOut := run(t, "logs", "write", "app/x", "hello", "--severity", "notice", "--label", "a=b", "--url", d.URL)
	require.Zero(t, code, errOut)
	require.Contains(t, d.asked[0], `"logName":"projects/default/logs/app%2Fx"`)
	require.Contains(t, d.asked[0], `"severity":"NOTICE","textPayload":"hello"`)
	code, out, _ := run(t, "logs", "list", "--url", d.URL)
	require.Zero(t, code)
	require.Contains(t, out, "app/x\n")
	code, _, _ = run(t, "logs", "delete", "app/x", "--url", d.URL)
	require.Zero(t, code)
	require.Equal(t, "DELETE /v2/projects/default/logs/app%2Fx ", d.asked[2])
	for _, args := range [][]string{{"write", "l"}, {"write", "l", "x", "--label", "y"}, {"write", "l", "x", "--json"}, {"query", "a", "b"}, {"query", "--limit", "0"}, {"tail", "-o", "yaml"}} {
		code, _, errOut := run(t, append([]string{"logs", "--url", d.URL}, args...)...)
		require.Equal(t, 2, code, "%s %s", args, errOut)
	}
}

func TestLogs_EachLine(t *testing.T) {
	t.Parallel()
	var got []string
	require.NoError(t, eachLine(strings.NewReader("a\n\nb\n"+strings.Repeat("c\n", 2000)), func(lines []string) error {
		require.LessOrEqual(t, len(lines), linesAtOnce)
		got = append(got, lines...)
		return nil
	}))
	require.Len(t, got, 2002)
	require.ErrorContains(t, eachLine(strings.NewReader(strings.Repeat("x", 2<<20)), func([]string) error { return nil }), "too long")
	require.EqualError(t, eachLine(strings.NewReader("a\n"), func([]string) error { return fmt.Errorf("refused") }), "refused")
}
