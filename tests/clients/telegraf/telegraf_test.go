package telegraf

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// selvedge is the program under test, agent is Telegraf; both are built once by
// TestMain.
var selvedge, agent string

// plugins are the parts of Telegraf that are built.
const plugins = "custom,inputs.file,inputs.mem,parsers.influx,outputs.influxdb,outputs.influxdb_v2," +
	"outputs.opentelemetry,outputs.http,serializers.prometheusremotewrite"

// TestMain builds the programs.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		if selvedge, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
		agent, err = process.BuildTool(ctx, dir, "tests/clients/telegraf/agent", "telegraf", "-tags", plugins)
		return err
	}))
}

// server is a platform and a key of its project.
type server struct {
	*process.Platform
	key string
}

// start starts a platform.
func start(t *testing.T) server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, selvedge, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() }) // it may have ended already
	key, err := p.Key(ctx, "projects/default")
	require.NoError(t, err)
	return server{p, key}
}

// run has Telegraf gather once what the inputs have and write it to an output,
// and returns what it says.
func (s server) run(t *testing.T, inputs, output string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "telegraf.conf")
	text := "[agent]\n  omit_hostname = true\n  skip_processors_after_aggregators = true\n" + inputs + strings.NewReplacer("URL", s.URL, "HOST", strings.TrimPrefix(s.URL, "http://"), "KEY", s.key).Replace(output)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, agent, "--once", "--strict-env-handling", "--config", config).CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.NotContains(t, string(said), " E! ", "%s", said)
	require.NotContains(t, string(said), " W! ", "%s", said)
	return string(said)
}

// file is an input that reads lines of the Influx protocol.
func file(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(path, []byte(lines), 0o600))
	return fmt.Sprintf("[[inputs.file]]\n  files = [%q]\n  data_format = \"influx\"\n", path)
}

// query is the answer to an instant query: LABELS VALUE by series.
func (s server) query(t *testing.T, text string, at time.Time) map[string]string {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	q := url.Values{"query": {text}, "time": {at.UTC().Format(time.RFC3339)}}
	require.NoError(t, s.Client(s.key).Call(t.Context(), http.MethodGet, "/prometheus/api/v1/query", q, nil, &answer))
	out := map[string]string{}
	for _, r := range answer.Data.Result {
		out[fmt.Sprint(r.Metric["__name__"], " ", r.Metric["site"])] = fmt.Sprint(r.Value[1])
	}
	return out
}

// Every output of Telegraf that has a door here writes all points of all types,
// at their own times, over HTTP and gRPC. That for InfluxDB 1 makes its database
// first.
func TestTelegraf_Outputs(t *testing.T) {
	t.Parallel()
	s := start(t)
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	f := func(name, output string, want map[string]string) {
		t.Helper()
		lines := fmt.Sprintf("%s,site=a\\ b temperature=21.5,starts=3i,on=true,note=\"warm\" %d\n%s,site=c temperature=-4 %d\n", name, at.UnixNano(), name, at.UnixNano())
		s.run(t, file(t, lines), output)
		require.Equal(t, want, s.query(t, fmt.Sprintf(`{__name__=~"%s_.*"}`, name), at), output)
		require.Empty(t, s.query(t, fmt.Sprintf(`{__name__=~"%s_.*"}`, name), at.Add(-time.Second)))
	}
	f("one", `
[[outputs.influxdb]]
  urls = ["URL/influx"]
  username = "any"
  password = "KEY"
`, map[string]string{"one_temperature a b": "21.5", "one_starts a b": "3", "one_on a b": "1", "one_temperature c": "-4"})
	f("root", `
[[outputs.influxdb]]
  urls = ["URL"]
  content_encoding = "identity"
  http_headers = {"Authorization" = "Bearer KEY"}
`, map[string]string{"root_temperature a b": "21.5", "root_starts a b": "3", "root_on a b": "1", "root_temperature c": "-4"})
	f("two", `
[[outputs.influxdb_v2]]
  urls = ["URL/influx"]
  token = "KEY"
  organization = "any"
  bucket = "any"
`, map[string]string{"two_temperature a b": "21.5", "two_starts a b": "3", "two_on a b": "1", "two_temperature c": "-4"})
	// OTLP has no booleans, and Telegraf leaves them out.
	f("otel", `
[[outputs.opentelemetry]]
  service_address = "HOST"
  [outputs.opentelemetry.headers]
    authorization = "Bearer KEY"
`, map[string]string{"otel_temperature a b": "21.5", "otel_starts a b": "3", "otel_temperature c": "-4"})
	f("remote", `
[[outputs.http]]
  url = "URL/prometheus/api/v1/write"
  data_format = "prometheusremotewrite"
  fieldexclude = ["note"]
  [outputs.http.headers]
    Authorization = "Bearer KEY"
    Content-Type = "application/x-protobuf"
    Content-Encoding = "snappy"
    X-Prometheus-Remote-Write-Version = "0.1.0"
`, map[string]string{"remote_temperature a b": "21.5", "remote_starts a b": "3", "remote_on a b": "1", "remote_temperature c": "-4"})
}

// Telegraf reads this machine, and what it wrote is a metric like any other,
// with a descriptor that Google's API tells.
func TestTelegraf_ThisMachine(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.run(t, "[[inputs.mem]]\n", `
[[outputs.influxdb]]
  urls = ["URL/influx"]
  username = "any"
  password = "KEY"
`)
	var descriptor struct{ MetricKind, ValueType string }
	require.NoError(t, s.Client(s.key).Call(t.Context(), http.MethodGet, "/v3/projects/default/metricDescriptors/mem_available_percent", nil, nil, &descriptor))
	require.Equal(t, "GAUGE DOUBLE", descriptor.MetricKind+" "+descriptor.ValueType)
	now := time.Now()
	var list struct {
		TimeSeries []struct {
			Points []struct {
				Value struct{ DoubleValue float64 }
			}
		}
	}
	q := url.Values{
		"filter":             {`metric.type = "mem_available_percent"`},
		"interval.startTime": {now.Add(-time.Hour).UTC().Format(time.RFC3339)}, "interval.endTime": {now.Add(time.Minute).UTC().Format(time.RFC3339)}, // Telegraf rounds times
	}
	require.NoError(t, s.Client(s.key).Call(t.Context(), http.MethodGet, "/v3/projects/default/timeSeries", q, nil, &list))
	require.Len(t, list.TimeSeries, 1)
	require.Len(t, list.TimeSeries[0].Points, 1)
	require.Greater(t, list.TimeSeries[0].Points[0].Value.DoubleValue, 0.0)
}

// A key that is wrong is told as such, and nothing of it is in what Telegraf
// says.
func TestTelegraf_WrongKey(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.key = "wrong-wrong-wrong"
	config := filepath.Join(t.TempDir(), "telegraf.conf")
	text := file(t, "m v=1\n") + fmt.Sprintf("[[outputs.influxdb_v2]]\n  urls = [%q]\n  token = %q\n  organization = \"o\"\n  bucket = \"b\"\n", s.URL+"/influx", s.key)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	said, _ := exec.CommandContext(t.Context(), agent, "--once", "--strict-env-handling", "--config", config).CombinedOutput() // whether it fails is Telegraf's
	require.Contains(t, string(said), "401 Unauthorized")
	require.NotContains(t, s.Output(), s.key)
}
