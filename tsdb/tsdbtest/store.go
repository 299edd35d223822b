package tsdbtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// base is the instant around which the suite writes: an hour before the end
// of a month, since storages partition by day and month. It is fixed, so a
// store with a retention must be opened with one that reaches back to it.
var base = tsdb.Millis(time.Date(2025, time.July, 31, 23, 0, 0, 0, time.UTC).UnixMilli())

// relativeError is how far a stored DOUBLE may be from what was appended.
// VictoriaMetrics keeps decimal mantissas of at least twelve digits;
// integers up to 2^53 are exact.
const relativeError = 1e-11

// RunStore checks that what open returns keeps the contract of tsdb.Store.
// Each subtest opens one store in a fresh directory and closes it.
func RunStore(t *testing.T, open func(t *testing.T, dir string) tsdb.Store) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*testing.T, *storeUnderTest)
	}{
		{"Visible", testVisible},
		{"IntervalClosed", testIntervalClosed},
		{"NaNRefused", testNaNRefused},
		{"Values", testValues},
		{"RepeatedPoint", testRepeatedPoint},
		{"OutOfOrder", testOutOfOrder},
		{"ManyPoints", testManyPoints},
		{"Identity", testIdentity},
		{"HostileLabels", testHostileLabels},
		{"SamplesNotKept", testSamplesNotKept},
		{"SelectMetric", testSelectMetric},
		{"SelectProject", testSelectProject},
		{"SelectKeep", testSelectKeep},
		{"SelectBounds", testSelectBounds},
		{"SelectEmpty", testSelectEmpty},
		{"VisitError", testVisitError},
		{"Cancelled", testCancelled},
		{"Undescribed", testUndescribed},
		{"Concurrent", testConcurrent},
		{"Metamorphic", testMetamorphic},
		{"Distributions", testDistributions},
		{"DistributionRepeated", testDistributionRepeated},
		{"DistributionsRefused", testDistributionsRefused},
		{"ManyDistributions", testManyDistributions},
		{"DistributionBounds", testDistributionBounds},
		{"DistributionsMetamorphic", testDistributionsMetamorphic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := open(t, t.TempDir())
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			test.run(t, &storeUnderTest{Store: store})
		})
	}
}

// storeUnderTest adds to a store what the tests say often.
type storeUnderTest struct{ tsdb.Store }

// add appends the samples in one batch.
func (s *storeUnderTest) add(t *testing.T, samples ...tsdb.Sample) {
	t.Helper()
	require.NoError(t, s.Append(t.Context(), samples))
}

// read selects and copies what was visited, by series key. It fails when a
// series is visited twice or its points are not strictly ascending.
func (s *storeUnderTest) read(t *testing.T, sel tsdb.Selection) map[string]visited {
	t.Helper()
	got := map[string]visited{}
	err := s.Select(t.Context(), sel, func(series *tsdb.Series, points tsdb.Points) error {
		key := series.Key()
		require.NotContains(t, got, key, "visited twice")
		require.Len(t, points.Times, len(points.Values)+len(points.Distributions))
		require.NotEmpty(t, points.Times, "visited without points")
		for i := range points.Times[1:] {
			require.Less(t, points.Times[i], points.Times[i+1], "times do not ascend")
		}
		c := points.Clone()
		got[key] = visited{series, c.Times, c.Values, c.Distributions}
		return nil
	})
	require.NoError(t, err)
	return got
}

// visited is a copy of what one visit was given.
type visited struct {
	series *tsdb.Series
	times  []tsdb.Millis
	values []float64
	// distributions are the values of a series of them.
	distributions []*tsdb.Distribution
}

// gauge is a series of a device, "p" being the project.
func gauge(metric, device string) *tsdb.Series {
	return &tsdb.Series{
		Project: "p", Metric: metric, Resource: "device",
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: device}, {Name: "project_id", Value: "p"}},
		Kind:           tsdb.Gauge, ValueType: tsdb.Double,
	}
}

// at is a sample the given number of milliseconds after base.
func at(s *tsdb.Series, after tsdb.Millis, value float64) tsdb.Sample {
	return tsdb.Sample{Series: s, Time: base + after, Value: value}
}

// all selects everything that the suite may have written to project "p".
func all() tsdb.Selection {
	const month = 31 * 24 * tsdb.Millis(time.Hour/time.Millisecond)
	return tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: base - month, End: base + month}}
}

func testVisible(t *testing.T, s *storeUnderTest) {
	a, b := gauge("m", "a"), gauge("m", "b")
	s.add(t, at(a, 0, 1), at(b, 5, 2), at(a, 10, 3))
	got := s.read(t, all())
	require.Len(t, got, 2)
	require.Equal(t, []tsdb.Millis{base, base + 10}, got[a.Key()].times)
	require.Equal(t, []float64{1, 3}, got[a.Key()].values)
	require.Equal(t, []tsdb.Millis{base + 5}, got[b.Key()].times)

	// What was read before is still there after more, and after a sync.
	s.add(t, at(a, 20, 4))
	require.Equal(t, []float64{1, 3, 4}, s.read(t, all())[a.Key()].values)
	require.NoError(t, s.Sync(t.Context()))
	require.Equal(t, []float64{1, 3, 4}, s.read(t, all())[a.Key()].values)
	s.add(t) // nothing is a batch too
}

func testIntervalClosed(t *testing.T, s *storeUnderTest) {
	a := gauge("m", "a")
	s.add(t, at(a, 0, 0), at(a, 1, 1), at(a, 2, 2), at(a, 3, 3), at(a, 10, 10))
	f := func(start, end tsdb.Millis, want ...float64) {
		t.Helper()
		sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: base + start, End: base + end}}
		require.Equal(t, want, s.read(t, sel)[a.Key()].values)
	}
	f(1, 3, 1, 2, 3)
	f(2, 2, 2)
	f(4, 9)
	f(-9, 0, 0)
	f(10, 99, 10)
	f(3, 1)
}

func testNaNRefused(t *testing.T, s *storeUnderTest) {
	a := gauge("m", "a")
	s.add(t, at(a, 0, 1))
	for _, nan := range []float64{math.NaN(), math.Float64frombits(0x7ff0000000000002)} { // the second is Prometheus' stale marker
		err := s.Append(t.Context(), []tsdb.Sample{at(a, 10, 2), at(a, 20, nan)})
		require.Error(t, err)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	}
	require.Equal(t, []float64{1}, s.read(t, all())[a.Key()].values, "a refused batch leaves nothing")
}

func testValues(t *testing.T, s *storeUnderTest) {
	exact := []float64{0, 1, -1, 10, 1e6, 123456789, 1 << 53, -(1 << 53), 1<<53 - 1, 0.5, 0.1, -0.25, 21.7, 1e-6, 1e15}
	near := []float64{math.Pi, -math.E, 1.0 / 3, 1e300, 1e-300, 123456.789012345, 1e100 / 3}
	var batch []tsdb.Sample
	for i, v := range append(slices.Clone(exact), near...) {
		// One series each: a storage may let the values of a series share
		// their scale.
		batch = append(batch, at(gauge("m", fmt.Sprint(i)), 0, v))
	}
	counter := gauge("counter", "a")
	for i := range 100 {
		batch = append(batch, at(counter, tsdb.Millis(i), float64(1<<53-i)))
	}
	s.add(t, batch...)
	for range 2 {
		got := s.read(t, all())
		for _, sample := range batch {
			v := got[sample.Series.Key()]
			i, found := slices.BinarySearch(v.times, sample.Time)
			require.True(t, found)
			if slices.Contains(near, sample.Value) {
				require.InEpsilon(t, sample.Value, v.values[i], relativeError)
				continue
			}
			require.Equal(t, sample.Value, v.values[i])
		}
		require.NoError(t, s.Sync(t.Context())) // and again once encoded
	}
}

func testRepeatedPoint(t *testing.T, s *storeUnderTest) {
	f := func(device string, batches [][]float64, want float64) {
		t.Helper()
		series := gauge("m", device)
		for i, batch := range batches {
			samples := []tsdb.Sample{at(series, 10, 7)}
			for _, v := range batch {
				samples = append(samples, at(series, 0, v))
			}
			s.add(t, samples...)
			if i%2 == 1 {
				require.NoError(t, s.Sync(t.Context()))
			}
		}
		got := s.read(t, all())[series.Key()]
		require.Equal(t, []tsdb.Millis{base, base + 10}, got.times)
		require.Equal(t, []float64{want, 7}, got.values)
	}
	f("same", [][]float64{{5}, {5}, {5}, {5}}, 5)
	f("ascending", [][]float64{{1}, {2}, {3}}, 3)
	f("descending", [][]float64{{3}, {2}, {1}}, 3)
	f("one batch", [][]float64{{2, 3, 1}}, 3)
	f("negative", [][]float64{{-3}, {-2}, {-4}}, -2)
	f("around zero", [][]float64{{-1}, {0}, {-2}}, 0)
}

func testOutOfOrder(t *testing.T, s *storeUnderTest) {
	a := gauge("m", "a")
	var want []float64
	for i := range 100 {
		want = append(want, float64(i))
		s.add(t, at(a, tsdb.Millis(i*37%100)*1000, float64(i*37%100)))
	}
	require.Equal(t, want, s.read(t, all())[a.Key()].values)
}

// manyPoints is more than one block of any storage holds.
const manyPoints = 20_000

func testManyPoints(t *testing.T, s *storeUnderTest) {
	a := gauge("m", "a")
	var batch []tsdb.Sample
	for i := range manyPoints {
		// One second apart, so over the end of the month after an hour.
		batch = append(batch, at(a, tsdb.Millis(i)*1000, float64(i)))
		if len(batch) == 1500 {
			s.add(t, batch...)
			batch = batch[:0]
		}
	}
	s.add(t, batch...)
	f := func(from, to int) {
		t.Helper()
		sel := tsdb.Selection{Project: "p", Interval: tsdb.Interval{Start: base + tsdb.Millis(from)*1000, End: base + tsdb.Millis(to)*1000}}
		got := s.read(t, sel)[a.Key()]
		require.Len(t, got.values, to-from+1)
		for i, v := range got.values {
			require.Equal(t, float64(from+i), v)
			require.Equal(t, base+tsdb.Millis(from+i)*1000, got.times[i])
		}
	}
	f(0, manyPoints-1)
	f(3599, 3601)
	f(100, 9000)
	f(manyPoints-1, manyPoints-1)
}

func testIdentity(t *testing.T, s *storeUnderTest) {
	plain := gauge("m", "a")
	variants := []*tsdb.Series{plain}
	vary := func(change func(*tsdb.Series)) {
		c := *plain
		change(&c)
		variants = append(variants, &c)
	}
	vary(func(s *tsdb.Series) { s.Metric = "n" })
	vary(func(s *tsdb.Series) { s.Metric = "m/x" })
	vary(func(s *tsdb.Series) { s.Resource = "global" })
	vary(func(s *tsdb.Series) { s.ResourceLabels = s.ResourceLabels[:1] })
	vary(func(s *tsdb.Series) { s.ResourceLabels = nil })
	vary(func(s *tsdb.Series) { s.MetricLabels = s.ResourceLabels })
	vary(func(s *tsdb.Series) { s.MetricLabels, s.ResourceLabels = s.ResourceLabels, nil })
	vary(func(s *tsdb.Series) { s.MetricLabels = tsdb.Labels{{Name: "state", Value: "on"}} })
	vary(func(s *tsdb.Series) { s.MetricLabels = tsdb.Labels{{Name: "state", Value: "off"}} })
	vary(func(s *tsdb.Series) { s.MetricLabels = tsdb.Labels{{Name: "stateo", Value: "n"}} })
	for i, series := range variants {
		s.add(t, at(series, 0, float64(i)))
	}
	same := *plain // equal, though another pointer
	same.Kind, same.Unit = "", "1"
	s.add(t, at(&same, 1, 100))

	got := s.read(t, all())
	require.Len(t, got, len(variants))
	require.Equal(t, []float64{0, 100}, got[plain.Key()].values)
	for i, series := range variants {
		v := got[series.Key()]
		require.Equal(t, float64(i), v.values[0])
		requireSameIdentity(t, series, v.series)
	}
}

// requireSameIdentity compares the parts that make a series' identity.
func requireSameIdentity(t *testing.T, want, got *tsdb.Series) {
	t.Helper()
	require.Equal(t, want.Key(), got.Key())
	require.Equal(t, []string{want.Project, want.Metric, want.Resource}, []string{got.Project, got.Metric, got.Resource})
	require.Equal(t, slices.Collect(slices.Values(want.MetricLabels)), slices.Collect(slices.Values(got.MetricLabels)))
	require.Equal(t, slices.Collect(slices.Values(want.ResourceLabels)), slices.Collect(slices.Values(got.ResourceLabels)))
}

func testHostileLabels(t *testing.T, s *storeUnderTest) {
	values := []string{
		`a"b\c`, "line\nbreak", "tab\there", "é世界😀", "=,{}[]()|*.?+^$", "a b", "\x01\x02\x03", "-", "0", "__name__",
		strings.Repeat("long", 250),
	}
	names := []string{
		"__name__", "name", "project", "metric", "resource", "device_id", "UPPER", "with.dot", "with-dash", "with/slash", "é",
	}
	var want []*tsdb.Series
	for _, v := range values {
		a := gauge("m", v)
		a.MetricLabels = tsdb.Labels{{Name: "l", Value: v}}
		want = append(want, a)
	}
	for _, n := range names {
		a := gauge("com.example.climate/"+n, "a")
		a.MetricLabels = tsdb.Labels{{Name: n, Value: "v"}}
		a.ResourceLabels = tsdb.Labels{{Name: n, Value: "w"}}
		want = append(want, a)
	}
	for i, series := range want {
		s.add(t, at(series, 0, float64(i)))
	}
	for range 2 {
		got := s.read(t, all())
		require.Len(t, got, len(want))
		for i, series := range want {
			requireSameIdentity(t, series, got[series.Key()].series)
			require.Equal(t, []float64{float64(i)}, got[series.Key()].values)
		}
		require.NoError(t, s.Sync(t.Context()))
	}
}

func testSamplesNotKept(t *testing.T, s *storeUnderTest) {
	a := gauge("m", "a")
	batch := []tsdb.Sample{at(a, 0, 1), at(a, 1, 2)}
	s.add(t, batch...)
	batch[0], batch[1] = at(a, 50, 98), at(a, 51, 99)
	require.Equal(t, []float64{1, 2}, s.read(t, all())[a.Key()].values)
}

func testSelectMetric(t *testing.T, s *storeUnderTest) {
	for _, metric := range []string{"m", "m/x", "mm", "M"} {
		s.add(t, at(gauge(metric, "a"), 0, 1), at(gauge(metric, "b"), 0, 1))
	}
	sel := all()
	sel.Metric = "m"
	require.ElementsMatch(t, []string{gauge("m", "a").Key(), gauge("m", "b").Key()}, keys(s.read(t, sel)))
	sel.Metric = "none"
	require.Empty(t, s.read(t, sel))
}

// keys are the keys of what was visited.
func keys(got map[string]visited) []string {
	var ks []string
	for k := range got {
		ks = append(ks, k)
	}
	return ks
}

func testSelectProject(t *testing.T, s *storeUnderTest) {
	mine, other := gauge("m", "a"), gauge("m", "a")
	other.Project = "pp"
	s.add(t, at(mine, 0, 1), at(other, 0, 2))
	require.Equal(t, []string{mine.Key()}, keys(s.read(t, all())))
	sel := all()
	sel.Project = "pp"
	require.Equal(t, []string{other.Key()}, keys(s.read(t, sel)))
	sel.Project = "none"
	require.Empty(t, s.read(t, sel))
}

func testSelectKeep(t *testing.T, s *storeUnderTest) {
	for _, device := range []string{"a", "b", "c"} {
		s.add(t, at(gauge("m", device), 0, 1), at(gauge("n", device), 0, 1))
	}
	keep := func(series *tsdb.Series) bool {
		id, ok := series.ResourceLabels.Get("device_id")
		return ok && id != "b"
	}
	sel := all()
	sel.Keep = keep
	require.ElementsMatch(t,
		[]string{gauge("m", "a").Key(), gauge("m", "c").Key(), gauge("n", "a").Key(), gauge("n", "c").Key()},
		keys(s.read(t, sel)))
	sel.Metric = "n"
	require.ElementsMatch(t, []string{gauge("n", "a").Key(), gauge("n", "c").Key()}, keys(s.read(t, sel)))
	sel.Keep = func(*tsdb.Series) bool { return false }
	require.Empty(t, s.read(t, sel))
}

func testSelectBounds(t *testing.T, s *storeUnderTest) {
	for _, device := range []string{"a", "b", "c"} {
		series := gauge("m", device)
		s.add(t, at(series, 0, 1), at(series, 1, 2), at(series, 100, 3))
	}
	f := func(maxSeries, maxPoints int, exhausted bool) {
		t.Helper()
		sel := tsdb.Selection{
			Project: "p", Interval: tsdb.Interval{Start: base, End: base + 50},
			MaxSeries: maxSeries, MaxPoints: maxPoints,
		}
		err := s.Select(t.Context(), sel, func(*tsdb.Series, tsdb.Points) error { return nil })
		if exhausted {
			require.Error(t, err)
			require.Equal(t, fault.Exhausted, fault.KindOf(err))
			return
		}
		require.NoError(t, err)
	}
	f(0, 0, false)
	f(3, 6, false)
	f(2, 6, true)
	f(3, 5, true)
	f(1, 0, true)
	f(0, 1, true)
}

func testSelectEmpty(t *testing.T, s *storeUnderTest) {
	require.Empty(t, s.read(t, all()))
	require.NoError(t, s.Sync(t.Context()))
	require.Empty(t, s.read(t, all()))
}

func testVisitError(t *testing.T, s *storeUnderTest) {
	s.add(t, at(gauge("m", "a"), 0, 1), at(gauge("m", "b"), 0, 1), at(gauge("m", "c"), 0, 1))
	stop, visits := errors.New("stop"), 0
	err := s.Select(t.Context(), all(), func(*tsdb.Series, tsdb.Points) error {
		visits++
		return stop
	})
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, visits)
	require.Len(t, s.read(t, all()), 3, "the store still answers")
}

func testCancelled(t *testing.T, s *storeUnderTest) {
	s.add(t, at(gauge("m", "a"), 0, 1), at(gauge("m", "b"), 0, 1), at(gauge("m", "c"), 0, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Select(ctx, all(), func(*tsdb.Series, tsdb.Points) error { return nil })
	require.Error(t, err)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

func testUndescribed(t *testing.T, s *storeUnderTest) {
	a := gauge("m", "a")
	a.Kind, a.ValueType, a.Unit = "", "", ""
	s.add(t, at(a, 0, 1))
	got := s.read(t, all())[a.Key()].series
	require.Equal(t, tsdb.Gauge, got.Kind)
	require.Equal(t, tsdb.Double, got.ValueType)
	require.Empty(t, got.Unit)
}

func testConcurrent(t *testing.T, s *storeUnderTest) {
	const writers, batches, size = 4, 20, 50
	var wg sync.WaitGroup
	errs := make(chan error, 2*writers*batches)
	for w := range writers {
		series := gauge("m", fmt.Sprint(w))
		wg.Go(func() {
			for b := range batches {
				var batch []tsdb.Sample
				for i := range size {
					n := tsdb.Millis(b*size + i)
					batch = append(batch, at(series, n*100, float64(n)))
				}
				errs <- s.Append(t.Context(), batch)
				// What this writer was told is in must be there for it.
				seen := 0
				mine := all()
				mine.Keep = func(s *tsdb.Series) bool { return s.Key() == series.Key() }
				errs <- s.Select(t.Context(), mine, func(_ *tsdb.Series, p tsdb.Points) error {
					seen = p.Len()
					return nil
				})
				if seen != (b+1)*size {
					errs <- fmt.Errorf("writer %d saw %d points after batch %d", w, seen, b)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	got := s.read(t, all())
	require.Len(t, got, writers)
	for _, v := range got {
		require.Len(t, v.values, batches*size)
	}
}
