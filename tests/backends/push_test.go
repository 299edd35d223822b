package backends

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/validity"
	"selvedge.dev/tsdb/vm"
)

// plain is a store that can only select.
type plain struct{ tsdb.Store }

// counting counts what was aligned by the server.
type counting struct {
	*vm.Remote

	pushed map[string]int
}

// Push implements tsdb.Pusher.
func (c *counting) Push(ctx context.Context, sel tsdb.Selection, a tsdb.Alignment, visit func(*tsdb.Series, tsdb.Points) error) (bool, error) {
	done, err := c.Remote.Push(ctx, sel, a, visit)
	if done {
		c.pushed[a.Aligner]++
	}
	return done, err
}

// SPEC A6: what is pushed down to the server is what is computed here, bit by
// bit, whatever the points, their order and their repetitions are; and that
// which would not be is not pushed.
func TestVictoria_PushedIsEqual(t *testing.T) {
	t.Parallel()
	f := func(want map[string]bool, args ...string) {
		t.Helper()
		path, err := program()
		require.NoError(t, err)
		server, err := process.StartVictoria(t.Context(), path, t.TempDir(), args...)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Kill()) })
		remote, err := vm.Connect(server.URL, vm.Options{Retention: decades})
		require.NoError(t, err)
		store := &counting{remote, map[string]int{}}
		end := time.Now().Truncate(time.Second).Add(-time.Hour)
		require.NoError(t, remote.Append(t.Context(), scattered(end)))
		for i, filter := range []string{
			`metric.type = "m"`, `resource.labels.device_id = "d2"`, `metric.labels.quote = one_of("\"", "", "é", "a|b")`,
			`metric.labels.quote = starts_with("a") OR resource.labels.device_id = "d1"`,
		} {
			for _, rule := range validity.Rules(validity.Aligner) {
				if !rule.Accepts(tsdb.Gauge, tsdb.Double) || rule.Name == "ALIGN_NONE" {
					continue
				}
				for _, period := range []time.Duration{time.Minute, 7 * time.Minute, 90*time.Second + 17*time.Millisecond} {
					req := query.Request{
						Project: "p", Filter: filter, Start: end.Add(-3 * time.Hour), End: end.Add(time.Duration(i) * 123 * time.Millisecond),
						Aggregation: query.Aggregation{PerSeriesAligner: rule.Name, AlignmentPeriod: period},
					}
					got, err := query.New(store, query.Options{}).List(t.Context(), req)
					require.NoError(t, err)
					expected, err := query.New(plain{remote}, query.Options{}).List(t.Context(), req)
					require.NoError(t, err)
					require.NotEmpty(t, expected.Results)
					require.Equal(t, expected, got, "%s %s %s", filter, rule.Name, period)
				}
			}
		}
		pushed := map[string]bool{}
		for aligner := range maps.Keys(store.pushed) {
			pushed[aligner] = true
		}
		require.Equal(t, want, pushed)
	}
	f(map[string]bool{"ALIGN_MAX": true})
	f(map[string]bool{"ALIGN_MAX": true, "ALIGN_MIN": true, "ALIGN_SUM": true, "ALIGN_COUNT": true, "ALIGN_MEAN": true},
		"-dedup.minScrapeInterval=1ms")
}

// scattered are samples of three hours before end and a little after: on edges
// of windows, with gaps, some twice with another value, in no order.
func scattered(end time.Time) (samples []tsdb.Sample) {
	random := rand.New(rand.NewPCG(1, 2))
	for i, quote := range []string{"", `"`, "é", "a|b", "\x00"} {
		series := victoriaSeries("p", fmt.Sprintf("d%d", i))
		series.MetricLabels = tsdb.Labels{{Name: "quote", Value: quote}}
		for n := range 600 {
			at := end.Add(-time.Duration(n)*18*time.Second + time.Minute)
			if n%5 == 0 {
				at = at.Add(time.Duration(random.IntN(9000)) * time.Millisecond)
			}
			if n/100 == 3 {
				continue
			}
			value := float64(random.IntN(100_000)) / 1000
			samples = append(samples, tsdb.Sample{Series: series, Time: tsdb.Millis(at.UnixMilli()), Value: value})
			if n%7 == 0 {
				samples = append(samples, tsdb.Sample{Series: series, Time: tsdb.Millis(at.UnixMilli()), Value: value - 1})
			}
		}
	}
	random.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
	return samples
}
