package guard_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/guard"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/vm"
)

// bounds are what the tests set.
type bounds map[[2]string]tsdb.Bounds

// Bounds implements guard.Bounds.
func (b bounds) Bounds(project, metric string) tsdb.Bounds { return b[[2]string{project, metric}] }

// Retention implements guard.Bounds.
func (b bounds) Retention(project, metric string) time.Duration {
	return b.Bounds(project, metric).Retention
}

// series is a series of a project.
func series(project, metric string, device int) *tsdb.Series {
	return &tsdb.Series{
		Project: project, Metric: metric, Resource: "device", Kind: tsdb.Gauge, ValueType: tsdb.Double,
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprint(device)}},
	}
}

// refused is why a series is refused.
func refused(g *guard.Guard, s *tsdb.Series) string {
	_, reason := g.Admit(s)
	return reason
}

// SPEC A6: at the bound a new series is refused by its reason, and those that
// there are go on.
func TestGuard_Bounds(t *testing.T) {
	t.Parallel()
	b := bounds{{"own", ""}: {MaxSeries: 2}, {"p", "few"}: {MaxSeries: 1, Retention: time.Hour}}
	g := guard.New(guard.Options{MaxSeries: 3, Bounds: b})
	g.Enforce()
	f := func(project, metric string, device int, want string) {
		t.Helper()
		for range 2 { // by a value that was admitted, and by one that is equal
			s := series(project, metric, device)
			require.Equal(t, want, refused(g, s))
			require.Equal(t, want, refused(g, s))
		}
	}
	f("p", "few", 1, "")
	f("p", "few", 2, guard.CardinalityLimit)
	f("p", "m", 1, "")
	f("p", "m", 2, "")
	f("p", "m", 3, guard.CardinalityLimit)
	f("p", "m", 2, "")
	f("p", "few", 1, "")
	f("own", "m", 1, "")
	f("own", "m", 2, "")
	f("own", "m", 3, guard.CardinalityLimit)
	kept, _ := g.Admit(series("p", "few", 1))
	require.Equal(t, time.Hour, kept)
	active, limit := g.Active("own")
	require.Equal(t, []int{2, 2}, []int{active, limit})

	b[[2]string{"own", ""}] = tsdb.Bounds{MaxSeries: 3}
	g.Changed("own")
	f("own", "m", 3, "")
	b[[2]string{"own", ""}] = tsdb.Bounds{MaxSeries: 1}
	g.Changed("own")
	f("own", "m", 3, "")
	f("own", "m", 4, guard.CardinalityLimit)
	g.Forget("own")
	f("own", "m", 4, "")
}

// A series that was not written for a window makes room; one that is written
// all the time does not, though only its first sample is looked at.
func TestGuard_Window(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := guard.New(guard.Options{MaxSeries: 2, Window: 24 * time.Hour, Now: func() time.Time { return now }})
	g.Enforce()
	busy, gone := series("p", "m", 1), series("p", "m", 2)
	require.Empty(t, refused(g, busy))
	require.Empty(t, refused(g, gone))
	for hour := range 72 {
		now = now.Add(time.Hour)
		require.Empty(t, refused(g, busy))
		reason := refused(g, series("p", "m", 3))
		if hour < 12 {
			require.Equal(t, guard.CardinalityLimit, reason, hour)
		}
		if hour > 36 {
			require.Empty(t, reason, hour)
		}
	}
	require.Equal(t, guard.CardinalityLimit, refused(g, gone))
}

// The bound of all projects together is the one of the memory.
func TestGuard_MaxTracked(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Options{MaxTracked: 3})
	g.Enforce()
	for i := range 3 {
		require.Empty(t, refused(g, series(fmt.Sprint(i), "m", 1)))
	}
	require.Equal(t, guard.CardinalityLimit, refused(g, series("9", "m", 1)))
	require.Empty(t, refused(g, series("1", "m", 1)))
	g.Forget("0")
	require.Empty(t, refused(g, series("9", "m", 1)))
}

// broken is a store that does not answer.
type broken struct{ tsdb.Surveyor }

// Survey implements tsdb.Surveyor.
func (broken) Survey(_ context.Context, _ tsdb.Selection, _ func(*tsdb.Series) error) error {
	return errors.New("away")
}

// A storage that does not answer keeps nothing from being written.
func TestGuard_StoreAway(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Options{MaxSeries: 1})
	g.Watch(broken{})
	g.Enforce()
	require.Empty(t, refused(g, series("p", "m", 1)))
	require.Equal(t, guard.CardinalityLimit, refused(g, series("p", "m", 2)))
}

// After a start the series that there are go on, and no other takes their
// place. Before Enforce nothing is refused: that is for what comes again.
func TestGuard_Restart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() (*vm.Store, *guard.Guard) {
		g := guard.New(guard.Options{MaxSeries: 3})
		s, err := vm.Open(dir, vm.Options{Gate: g})
		require.NoError(t, err)
		g.Watch(s)
		return s, g
	}
	now := tsdb.Millis(time.Now().UnixMilli())
	sample := func(device int) tsdb.Sample {
		return tsdb.Sample{Series: series("p", "m", device), Time: now, Value: 1}
	}
	s, g := open()
	g.Enforce()
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{sample(1), sample(2), sample(3)}))
	batch := []tsdb.Sample{sample(1), sample(4), sample(2)}
	err := s.Append(t.Context(), batch)
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Equal(t, guard.CardinalityLimit, fault.ReasonOf(err))
	for i, want := range []string{"", guard.CardinalityLimit, ""} {
		require.Equal(t, want, s.Check(batch[i]))
	}
	require.NoError(t, s.Close())

	s, g = open()
	g.Enforce()
	require.Equal(t, guard.CardinalityLimit, s.Check(sample(4)), "the first after the start is a new one")
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{sample(3), sample(1)}))
	n, err := s.Delete(t.Context(), tsdb.Selection{Project: "p", Keep: func(x *tsdb.Series) bool { return x.Key() == sample(1).Series.Key() }})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	g.Forget("p")
	require.Empty(t, s.Check(sample(4)), "what was deleted makes room")
	require.Equal(t, guard.CardinalityLimit, s.Check(sample(1)))
	require.NoError(t, s.Close())

	s, g = open()
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{sample(5), sample(6), sample(7)}), "what was acknowledged comes again")
	g.Enforce()
	require.Equal(t, guard.CardinalityLimit, s.Check(sample(8)))
	require.NoError(t, s.Close())
}

// Points older than the retention of their metric are refused, and not told.
func TestGuard_RetentionInStorage(t *testing.T) {
	t.Parallel()
	b := bounds{}
	g := guard.New(guard.Options{Bounds: b})
	s, err := vm.Open(t.TempDir(), vm.Options{Gate: g})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	now := time.Now()
	at := func(metric string, ago time.Duration) tsdb.Sample {
		return tsdb.Sample{Series: series("p", metric, 1), Time: tsdb.Millis(now.Add(-ago).UnixMilli()), Value: ago.Hours()}
	}
	require.NoError(t, s.Append(t.Context(), []tsdb.Sample{at("short", 100*time.Hour), at("short", time.Hour), at("long", 100*time.Hour), at("long", time.Hour)}))
	b[[2]string{"p", "short"}] = tsdb.Bounds{Retention: 48 * time.Hour}
	g.Changed("p")
	require.Equal(t, vm.TooOld, s.Check(at("short", 50*time.Hour)))
	require.Empty(t, s.Check(at("short", 47*time.Hour)))
	require.Empty(t, s.Check(at("long", 50*time.Hour)))
	require.Equal(t, vm.TooOld, fault.ReasonOf(s.Append(t.Context(), []tsdb.Sample{at("long", 1), at("short", 50*time.Hour)})))
	for _, metric := range []string{"", "short"} {
		got := map[string][]float64{}
		sel := tsdb.Selection{Project: "p", Metric: metric, Interval: tsdb.Interval{Start: 0, End: tsdb.Millis(now.UnixMilli())}}
		require.NoError(t, s.Select(t.Context(), sel, func(x *tsdb.Series, points tsdb.Points) error {
			got[x.Metric] = append(got[x.Metric], points.Values...)
			return nil
		}))
		require.Equal(t, []float64{1}, got["short"])
		if metric == "" {
			require.Equal(t, []float64{100, 1}, got["long"])
		}
		scanned := 0
		require.NoError(t, s.Scan(t.Context(), sel, func(x *tsdb.Series, points tsdb.Points) (any, error) { return points.Len(), nil },
			func(x *tsdb.Series, n any) (bool, error) { scanned += n.(int); return true, nil }))
		require.Equal(t, map[string]int{"": 3, "short": 1}[metric], scanned)
	}
}

// Many writers of one project never get more series in than the bound says.
func TestGuard_Concurrent(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Options{MaxSeries: 100})
	g.Watch(memory.New(nil))
	g.Enforce()
	var mu sync.Mutex
	admitted := map[string]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				s := series("p", "m", i)
				if refused(g, s) == "" {
					mu.Lock()
					admitted[s.Key()] = true
					mu.Unlock()
				}
				if i == 500 {
					g.Changed("p")
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, admitted, 100)
	active, _ := g.Active("p")
	require.Equal(t, 100, active)
}

func BenchmarkGuard_Admit(b *testing.B) {
	g := guard.New(guard.Options{})
	g.Enforce()
	all := make([]*tsdb.Series, 50_000)
	for i := range all {
		all[i] = series("p", "m", i)
	}
	i := 0
	for b.Loop() {
		g.Admit(all[i%len(all)])
		i++
	}
}
