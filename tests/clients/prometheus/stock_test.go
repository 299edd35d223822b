package prometheus

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// listening is where Prometheus says that it listens.
var listening = regexp.MustCompile(`msg="Listening on".* address=(\S+)`)

// startStock starts Prometheus as it is, with a configuration and flags, and
// returns its address. It is ended with the test.
func startStock(t *testing.T, config string, flags ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: building Prometheus takes minutes the first time")
	}
	program, err := stockProgram()
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(program, append([]string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0"}, flags...)...)
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	address := make(chan string, 1)
	var log strings.Builder
	var wg sync.WaitGroup
	wg.Go(func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				address <- "http://" + strings.Trim(m[1], `"`)
			}
			_, _ = fmt.Fprintln(&log, lines.Text()) // a builder takes everything
		}
		if err := lines.Err(); err != nil {
			_, _ = fmt.Fprintln(&log, err)
		}
		close(address)
	})
	t.Cleanup(func() {
		err := cmd.Process.Signal(syscall.SIGTERM)
		wg.Wait()
		require.NoError(t, errors.Join(err, cmd.Wait()))
	})
	select {
	case url, ok := <-address:
		require.True(t, ok, "Prometheus ended:\n%s", &log)
		return url
	case <-time.After(time.Minute):
		require.FailNow(t, "Prometheus does not listen")
		return ""
	}
}

// answerOf is what the API at the address says.
func answerOf(ctx context.Context, t *testing.T, address, method, path string, form url.Values) (status int, body map[string]any) {
	t.Helper()
	target, text := address+"/api/v1/"+path, ""
	if method == http.MethodGet {
		target += "?" + form.Encode()
	} else {
		text = form.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(text))
	require.NoError(t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := (&http.Client{Transport: withKey(process.AdminKey)}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"), "%s %s %s", path, form, data)
	require.NoError(t, json.Unmarshal(data, &body), "%s", data)
	return resp.StatusCode, body
}

// alike reports whether two values of JSON are the same: numbers in texts within a
// billionth, and lists of series in any order unless it is given.
func alike(a, b any, ordered bool) bool {
	switch a := a.(type) {
	case map[string]any:
		m, ok := b.(map[string]any)
		if !ok || len(m) != len(a) {
			return false
		}
		for k, v := range a {
			if other, there := m[k]; !there || !alike(v, other, ordered) {
				return false
			}
		}
		return true
	case []any:
		l, ok := b.([]any)
		if !ok || len(l) != len(a) {
			return false
		}
		if !ordered {
			a, l = sortedSeries(a), sortedSeries(l)
		}
		for i, v := range a {
			if !alike(v, l[i], ordered) {
				return false
			}
		}
		return true
	case string:
		s, ok := b.(string)
		x, err := strconv.ParseFloat(a, 64)
		if !ok || err != nil {
			return ok && s == a
		}
		y, err := strconv.ParseFloat(s, 64)
		return err == nil && same(x, y)
	}
	return reflect.DeepEqual(a, b)
}

// sortedSeries is a list in the order of its members' labels, if it is one of
// series.
func sortedSeries(list []any) []any {
	key := func(v any) string {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		if labels, ok := m["metric"].(map[string]any); ok {
			m = labels
		}
		text, err := json.Marshal(m)
		if err != nil {
			return ""
		}
		return string(text)
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(key(a), key(b)) })
	return list
}

// request is one of the HTTP API.
type request struct {
	path string
	// form is pairs of names and values.
	form []string
}

// requests are what clients ask beside expressions, with mistakes of every kind.
// The times are within the random data.
func requests(origin int) []request {
	at := func(seconds int) string { return strconv.Itoa(origin/1000 + seconds) }
	iso := time.UnixMilli(int64(origin)).UTC().Add(20 * time.Minute).Format(time.RFC3339Nano)
	start, end := at(0), at(1800)
	between := func(path string, form ...string) request {
		return request{path, append(form, "start", start, "end", end)}
	}
	all := []request{
		{"query", []string{"query", `"text"`, "time", iso}},
		{"query", []string{"query", "up", "time", at(1000), "limit", "2"}},
		{"query", []string{"query", "up", "time", at(1000), "limit", "100"}},
		{"query", []string{"query", "up", "time", at(1000), "timeout", "10s"}},
		{"query", []string{"query", "temperature * 1e30 / 1e55", "time", at(1000) + ".123"}},
		{"query", []string{"query", "vector(0.1) * 1e22", "time", at(1)}},
		{"query", []string{"query", "up", "time", "noon"}},
		{"query", []string{"query", "up", "timeout", "long"}},
		{"query", []string{"query", "up", "limit", "-1"}},
		{"query", nil},
		{"query", []string{"query", ""}},
		{"query", []string{"query", "sum("}},
		{"query_range", []string{"query", "up", "start", start, "end", end, "step", "5m", "limit", "1"}},
		{"query_range", []string{"query", "sum(up)", "start", iso, "end", iso, "step", "0.5"}},
		{"query_range", []string{"query", "up", "start", start, "end", end}},
		{"query_range", []string{"query", "up", "start", start, "step", "1"}},
		{"query_range", []string{"query", "up", "end", end, "step", "1"}},
		{"query_range", []string{"query", "up", "start", end, "end", start, "step", "1"}},
		{"query_range", []string{"query", "up", "start", start, "end", end, "step", "0"}},
		{"query_range", []string{"query", "up", "start", start, "end", end, "step", "-1m"}},
		{"query_range", []string{"query", "up", "start", start, "end", end, "step", "soon"}},
		{"query_range", []string{"query", "up[5m]", "start", start, "end", end, "step", "60"}},
		{"query_range", []string{"query", `"text"`, "start", start, "end", end, "step", "60"}},
		{"query_range", []string{"query", "vector(1)", "start", "0", "end", "11000", "step", "1"}},
		{"query_range", []string{"query", "vector(1)", "start", "0", "end", "11001", "step", "1"}},
		{"query_range", []string{"query", "up + on (job) temperature", "start", start, "end", end, "step", "60"}},
		between("series", "match[]", "up"), between("series", "match[]", `up{job="a"}`, "match[]", `{"com.example.climate/humidity"}`), between("series"),
		between("series", "match[]", "up["), between("series", "match[]", "rate(up[5m])"), between("series", "match[]", "{}"), between("series", "match[]", `{job=~".+"}`, "limit", "3"),
		{"series", []string{"match[]", "up", "start", "x"}},
		{"series", []string{"match[]", "up", "end", "x"}},
		between("labels"), between("labels", "match[]", "up"), between("labels", "match[]", `latency_bucket{le="1"}`, "limit", "1"), between("labels", "match[]", "1"), between("labels", "limit", "x"),
		between("label/job/values"), between("label/__name__/values"), between("label/U__r_f6_m/values"), between("label/instance/values", "match[]", `up{job="a"}`, "limit", "2"),
		between("label/none/values"), between("label/le/values", "match[]", "latency_bucket", "match[]", "up"), between("label/job/values", "match[]", "{"),
		between("query_exemplars", "query", "up"),
		{"rules", nil},
		{"alerts", nil},
	}
	return all
}

// readyStock waits until Prometheus takes requests.
func readyStock(ctx context.Context, t *testing.T, address string) {
	t.Helper()
	eventually(ctx, t, func(ctx context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/-/ready", nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
}

// overSamples is the part of a note in which Prometheus miscounts.
var overSamples = regexp.MustCompile(`over [0-9]+ samples`)

// comparable is a body without what need not be the same: where exactly a text is
// no query, which two series are too many, and which are left out of too many.
func comparable(body map[string]any) map[string]any {
	text, _ := body["error"].(string)
	for _, word := range []string{"parse error", "duplicate series", "matcher"} {
		if strings.Contains(text, word) {
			body["error"] = word
		}
	}
	if infos, ok := body["infos"].([]any); ok {
		for i, text := range infos {
			infos[i] = overSamples.ReplaceAllString(fmt.Sprint(text), "")
		}
	}
	if texts, ok := body["warnings"].([]any); ok && slices.Contains(texts, any("results truncated due to limit")) {
		if list, ok := body["data"].([]any); ok {
			body["data"] = len(list)
		}
		if data, ok := body["data"].(map[string]any); ok {
			if list, ok := data["result"].([]any); ok {
				data["result"] = len(list)
			}
		}
	}
	return body
}

// TestDoor_SameJSON gives the same data to the program and to Prometheus, by remote
// write, and compares what their HTTP APIs answer, mistakes included.
func TestDoor_SameJSON(t *testing.T) {
	t.Parallel()
	origin := int(time.Now().Add(-2 * time.Hour).Truncate(time.Minute).UnixMilli())
	all := rows(3, origin)
	theirs := startStock(t, "global: {}\n", "--web.enable-remote-write-receiver", "--storage.tsdb.path=data")
	readyStock(t.Context(), t, theirs)
	write(t.Context(), t, theirs+"/api/v1/write", resourced(all))
	p := start(t)
	ours := p.URL + "/prometheus"
	write(t.Context(), t, ours+"/api/v1/write", all)
	client, err := api.NewClient(api.Config{Address: theirs})
	require.NoError(t, err)
	written(t.Context(), t, v1.NewAPI(client), all, origin)
	written(t.Context(), t, clientOf(t, p), all, origin)

	asked := requests(origin)
	for _, q := range corpus(origin, 200) {
		form := []string{"query", q.Text, "time", strconv.FormatFloat(float64(q.Start)/1000, 'f', -1, 64)}
		path := "query"
		if q.Step > 0 {
			path, form[2] = "query_range", "start"
			form = append(form, "end", strconv.FormatFloat(float64(q.End)/1000, 'f', -1, 64), "step", q.Step.String())
		}
		asked = append(asked, request{path, form})
	}
	for _, r := range asked {
		form := url.Values{}
		for i := 0; i < len(r.form); i += 2 {
			form.Add(r.form[i], r.form[i+1])
		}
		method := http.MethodGet
		if len(form.Encode())%2 == 0 && !strings.HasPrefix(r.path, "label/") && r.path != "rules" && r.path != "alerts" {
			method = http.MethodPost
		}
		wantStatus, want := answerOf(t.Context(), t, theirs, method, r.path, form)
		gotStatus, got := answerOf(t.Context(), t, ours, method, r.path, form)
		ordered := strings.HasPrefix(form.Get("query"), "sort") || strings.HasPrefix(form.Get("query"), "topk")
		if wantStatus != gotStatus || !alike(comparable(want), comparable(got), ordered) {
			t.Errorf("%s %s %v\nwant %d %v\ngot  %d %v", method, r.path, r.form, wantStatus, want, gotStatus, got)
		}
	}
}
