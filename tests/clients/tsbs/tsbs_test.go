package tsbs

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// commands are what must be there.
var commands = []string{
	"tsbs_generate_data", "tsbs_load_influx", "tsbs_load_victoriametrics", "tsbs_generate_queries", "tsbs_run_queries_victoriametrics",
}

// queries are the types of queries of the devops use case that the suite has for
// VictoriaMetrics: about one metric, and about several, by their names.
var queries = []string{
	"single-groupby-1-1-1", "single-groupby-1-1-12", "single-groupby-1-8-1", "double-groupby-1",
	"single-groupby-5-1-1", "single-groupby-5-1-12", "single-groupby-5-8-1", "double-groupby-5", "double-groupby-all",
	"cpu-max-all-1", "cpu-max-all-8",
}

// alike are queries about several metrics, and the same metric by metric.
var alike = map[string]string{
	`max(max_over_time({__name__=~'cpu_(usage_user|usage_system)', hostname=~'host_1|host_2'}[1m])) by (__name__)`: `label_replace(max(max_over_time(cpu_usage_user{hostname=~"host_1|host_2"}[1m])), "__name__", "cpu_usage_user", "", "") or on (__name__) ` +
		`label_replace(max(max_over_time(cpu_usage_system{hostname=~"host_1|host_2"}[1m])), "__name__", "cpu_usage_system", "", "")`,
	`avg(avg_over_time({__name__=~'cpu_(usage_user|usage_idle)'}[1h])) by (__name__, hostname)`: `label_replace(avg(avg_over_time(cpu_usage_user[1h])) by (hostname), "__name__", "cpu_usage_user", "", "") or on (__name__) ` +
		`label_replace(avg(avg_over_time(cpu_usage_idle[1h])) by (hostname), "__name__", "cpu_usage_idle", "", "")`,
}

// scale is how many hosts there are, each with ten metrics, whose points are a
// minute apart for two days.
const scale = 10

// suite runs the commands with what all of them are told alike.
type suite struct {
	t          *testing.T
	dir        string
	begin, end string
}

// run runs a command, and returns what it says.
func (s suite) run(name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(s.t, err, "%s: %s", name, said)
	return string(said)
}

// generate writes what a command generates to a file.
func (s suite) generate(file, command string, args ...string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, file)
	s.run(command, append(args, "--use-case=cpu-only", "--seed=1", "--scale=10", "--timestamp-start="+s.begin, "--timestamp-end="+s.end, "--file="+path)...)
	return path
}

// loaded matches what a loader says at its end.
var loaded = regexp.MustCompile(`loaded (\d+) metrics in`)

// The suite's loaders and queries work with the address alone; the key is in
// its user information, or among the parameters that InfluxDB 1 has for it.
func TestTSBS(t *testing.T) {
	t.Parallel()
	var missing error
	for _, name := range commands {
		_, err := exec.LookPath(name)
		missing = errors.Join(missing, err)
	}
	if missing != nil {
		t.Skipf("NOT TESTED: the commands of the Time Series Benchmark Suite are not on the PATH: %v", missing)
	}
	dir := t.TempDir()
	program, err := process.Build(t.Context(), dir, "local")
	require.NoError(t, err)
	p, err := process.Start(t.Context(), program, filepath.Join(dir, "platform"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
	address, err := url.Parse(p.URL)
	require.NoError(t, err)
	end := time.Now().UTC().Truncate(time.Hour)
	s := suite{t, dir, end.Add(-48 * time.Hour).Format(time.RFC3339), end.Format(time.RFC3339)}
	data := s.generate("data", "tsbs_generate_data", "--format=influx", "--log-interval=60s")
	text, err := os.ReadFile(data)
	require.NoError(t, err)
	require.Equal(t, scale*48*60, bytes.Count(text, []byte("\n")))

	load := func(project, command string, args func(key string) []string) (key string) {
		t.Helper()
		key, err := p.Key(t.Context(), "projects/"+project)
		require.NoError(t, err)
		said := s.run(command, append(args(key), "--file="+data, "--workers=2", "--batch-size=2000")...)
		require.Equal(t, "288000", loaded.FindStringSubmatch(said)[1], said)
		t.Log(command, "\n", strings.TrimSpace(said[strings.Index(said, "Summary"):]))
		for query, want := range map[string]string{
			`sum(count_over_time(cpu_usage_user[49h]))`: "28800", `sum(count_over_time(cpu_usage_guest_nice[49h]))`: "28800",
			`count(last_over_time({__name__=~"cpu_usage_.*"}[1h]))`: "100",
		} {
			var answer struct {
				Data struct{ Result []struct{ Value [2]any } }
			}
			q := url.Values{"query": {query}, "time": {s.end}}
			require.NoError(t, p.Client(key).Call(t.Context(), http.MethodGet, "/prometheus/api/v1/query", q, nil, &answer))
			require.Equal(t, want, answer.Data.Result[0].Value[1], query)
		}
		return key
	}
	with := func(path string, user *url.Userinfo, query string) string {
		return (&url.URL{Scheme: "http", Host: address.Host, Path: path, User: user, RawQuery: query}).String()
	}
	load("one", "tsbs_load_influx", func(key string) []string {
		return []string{"--urls=" + with("", url.UserPassword("any", key), ""), "--db-name=benchmark"}
	})
	load("two", "tsbs_load_victoriametrics", func(key string) []string {
		return []string{"--urls=" + with("/influx/write", nil, url.Values{"u": {"any"}, "p": {key}}.Encode())}
	})
	key := load("three", "tsbs_load_victoriametrics", func(key string) []string {
		return []string{"--urls=" + with("/write", url.UserPassword("any", key), "")}
	})
	for several, each := range alike {
		ask := func(query string) (answer struct{ Data struct{ Result []any } }) {
			q := url.Values{"query": {query}, "start": {s.begin}, "end": {s.end}, "step": {"3600"}}
			require.NoError(t, p.Client(key).Call(t.Context(), http.MethodGet, "/prometheus/api/v1/query_range", q, nil, &answer))
			return answer
		}
		got := ask(several)
		require.NotEmpty(t, got.Data.Result)
		require.Equal(t, ask(each), got, several)
	}
	for _, name := range queries {
		file := s.generate(name, "tsbs_generate_queries", "--format=victoriametrics", "--queries=20", "--query-type="+name)
		said := s.run("tsbs_run_queries_victoriametrics", "--urls="+with("/prometheus", url.UserPassword("any", key), ""), "--file="+file, "--workers=1", "--print-interval=0")
		require.Contains(t, said, "Run complete after 20 queries", said)
		t.Log(name, "\n", strings.TrimSpace(said))
	}
}
