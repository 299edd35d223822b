package prometheus

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
)

// origin is when the random data of tests in this process begins, and extent how
// long all random data is, in milliseconds.
const (
	origin = 1748777400_000
	extent = 1800_000
)

// row is one series of the random data: its labels without those that a
// monitored resource adds.
type row struct {
	name   string
	labels map[string]string
	points tsdb.Points
}

// rows are the random data: counters that begin anew, gauges, classic
// histograms, and a name that is no plain one; from the origin on, with gaps that are longer than the
// lookback, and at uneven times. Values are of few digits, which every store
// keeps as they are.
func rows(seed uint64, origin int) []row {
	r := rand.New(rand.NewPCG(seed, 1))
	var all []row
	add := func(name string, step int, next func(i int) float64, pairs ...string) {
		one := row{name: name, labels: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			one.labels[pairs[i]] = pairs[i+1]
		}
		quiet := r.IntN(extent)
		for at, i := r.IntN(step), 0; at < extent; at, i = at+step, i+1 {
			if at > quiet && at < quiet+400_000 && r.IntN(2) == 0 || r.IntN(20) == 0 {
				continue
			}
			one.points.Times = append(one.points.Times, tsdb.Millis(origin+at+r.IntN(3)*r.IntN(step/10)))
			one.points.Values = append(one.points.Values, next(i))
		}
		all = append(all, one)
	}
	for _, job := range []string{"a", "b"} {
		for _, instance := range []string{"i1", "i2", "i3"} {
			for _, path := range []string{"/", "/x"} {
				total := 0.0
				add("requests_total", 15_000, func(int) float64 {
					if total += float64(r.IntN(50)); r.IntN(40) == 0 {
						total = 0
					}
					return total
				}, "job", job, "instance", instance, "path", path)
			}
			add("temperature", 10_000+r.IntN(20_000), func(int) float64 { return math.Round(r.NormFloat64()*1e4) / 1e3 }, "job", job, "instance", instance)
			add("up", 30_000, func(int) float64 { return float64(r.IntN(2)) }, "job", job, "instance", instance)
		}
		counts := make([]float64, 4)
		for b, le := range []string{"0.1", "0.5", "1", "+Inf"} {
			add("latency_bucket", 20_000, func(int) float64 {
				counts[b] += float64(r.IntN(10) + 10*b)
				return counts[b]
			}, "job", job, "le", le)
		}
		add("com.example.climate/humidity", 60_000, func(i int) float64 { return float64(i%7) - 2.5 }, "job", job, "röm", "é\"x")
	}
	return all
}

// identity are the labels of a row as Prometheus has them.
func (r row) identity() labels.Labels {
	return labels.NewBuilder(labels.FromMap(r.labels)).Set(model.MetricNameLabel, r.name).Labels()
}

// inBoth has the rows in a storage of Prometheus' and in ours. They are stored in
// the order that we add them up in, so that sums are the same to the last bit.
func inBoth(t *testing.T, all []row) (*teststorage.TestStorage, tsdb.Store) {
	t.Helper()
	theirs, ours := teststorage.New(t), memory.New(nil)
	app := theirs.Appender(t.Context())
	slices.SortFunc(all, func(a, b row) int { return labels.Compare(a.identity(), b.identity()) })
	for _, one := range all {
		ls := one.identity()
		s := seriesOf(ls)
		for i, at := range one.points.Times {
			_, err := app.Append(0, ls, int64(at), one.points.Values[i])
			require.NoError(t, err, fmt.Sprint(ls))
			require.NoError(t, ours.Append(t.Context(), []tsdb.Sample{{Series: s, Time: at, Value: one.points.Values[i]}}))
		}
	}
	require.NoError(t, app.Commit())
	return theirs, ours
}
