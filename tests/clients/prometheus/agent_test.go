package prometheus

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// target is a program that is scraped: each time a counter is one more.
type target struct{ scrapes atomic.Int64 }

// ServeHTTP implements http.Handler.
func (t *target) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	n := t.scrapes.Add(1)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8")
	_, _ = fmt.Fprintf(w, `# HELP visits_total How many came.
# TYPE visits_total counter
visits_total{door="front"} %d
visits_total{door="back"} %d
# HELP warmth How warm it is.
# TYPE warmth gauge
warmth 21.5
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.5"} %d
wait_seconds_bucket{le="+Inf"} %d
wait_seconds_sum %d
wait_seconds_count %d
# TYPE "room.humidity" gauge
{"room.humidity","the.room"="kitchen"} 0.4
`, n, 2*n, n, 2*n, n, 2*n) // a scrape that is not read has no reader
}

// agentConfig scrapes a target each half second and writes what it says.
const agentConfig = `
global: {scrape_interval: 500ms, scrape_timeout: 400ms, external_labels: {site: here}}
scrape_configs:
  - job_name: doors
    static_configs: [{targets: ["%s"]}]
remote_write:
  - url: %s/prometheus/api/v1/write?project=default
    protobuf_message: %s
    authorization: {credentials: %s}
    queue_config: {batch_send_deadline: 200ms}
    metadata_config: {send_interval: 200ms}
`

// TestAgent has a stock Prometheus in agent mode scrape a target and write to the
// program in each version of remote write, and reads it back with Prometheus' own
// client.
func TestAgent(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]string{"1": "prometheus.WriteRequest", "2": "io.prometheus.write.v2.Request"} {
		t.Run("remote write "+name, func(t *testing.T) {
			t.Parallel()
			scraped := httptest.NewServer(&target{})
			t.Cleanup(scraped.Close)
			p := start(t)
			config := fmt.Sprintf(agentConfig, strings.TrimPrefix(scraped.URL, "http://"), p.URL, message, process.AdminKey)
			startStock(t, config, "--agent", "--storage.agent.path=data", "--enable-feature=metadata-wal-records")
			c := clientOf(t, p)
			eventually(t.Context(), t, func(ctx context.Context) (bool, error) {
				got, err := numbers(ctx, c, `count_over_time(visits_total{door="front"}[1m]) > 3`)
				return len(got) == 1, err
			})
			f := func(query string, want ...float64) {
				t.Helper()
				got, err := numbers(t.Context(), c, query)
				require.NoError(t, err, query)
				require.Equal(t, want, got, query)
			}
			f(`warmth{site="here", job="doors", resource_type="prometheus_target", project_id="default"}`, 21.5)
			f(`{"room.humidity", "the.room"="kitchen"}`, 0.4)
			f(`visits_total{door="back"} / ignoring (door) visits_total{door="front"}`, 2)
			f(`histogram_quantile(0.25, wait_seconds_bucket)`, 0.25)
			f(`up{job="doors"}`, 1)
			f(`count(changes(visits_total[1m]) > 2)`, 2)

			names, _, err := c.LabelValues(t.Context(), model.MetricNameLabel, nil, time.Time{}, time.Time{})
			require.NoError(t, err)
			require.Subset(t, names, model.LabelValues{"visits_total", "warmth", "wait_seconds_bucket", "room.humidity", "up"})
			labels, _, err := c.LabelNames(t.Context(), []string{"warmth"}, time.Now().Add(-time.Hour), time.Now())
			require.NoError(t, err)
			require.Equal(t, model.LabelNames{"__name__", "instance", "job", "project_id", "resource_type", "site"}, labels)
			// The kind is what the name says, until metadata say what it is: the
			// descriptions of version 1 come in requests of their own.
			eventually(t.Context(), t, func(ctx context.Context) (bool, error) {
				known, err := c.Metadata(ctx, "", "")
				return err == nil && len(known["visits_total"]) == 1 && known["visits_total"][0].Type == v1.MetricTypeCounter && known["warmth"][0].Type == v1.MetricTypeGauge, err
			})
			info, err := c.Buildinfo(t.Context())
			require.NoError(t, err)
			require.NotEmpty(t, info.Version)
			rules, err := c.Rules(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, rules.Groups)
		})
	}
}

// numbers are the values of an instant vector, now.
func numbers(ctx context.Context, c v1.API, query string) ([]float64, error) {
	v, _, err := c.Query(ctx, query, time.Now())
	if err != nil {
		return nil, err
	}
	var all []float64
	for _, s := range v.(model.Vector) {
		all = append(all, float64(s.Value))
	}
	return all, nil
}
