package rollup_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/rollup"
)

// noon is when the tests are.
var noon = time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)

// millis is t as it is stored.
func millis(t time.Time) tsdb.Millis { return tsdb.Millis(t.UnixMilli()) }

// bed is a storage with a database and a clock, on which Keepers can be made.
type bed struct {
	store tsdb.Store
	db    *sql.DB

	mu     sync.Mutex
	now    time.Time
	rolled []tsdb.Descriptor
	// most is rollup.Options.MaxMarks.
	most int
	// keepers is how many have been made: their names, by which the series are
	// divided, are the same in every run.
	keepers int
}

// newBed has a metric "m" of numbers, of the kind, with rollups.
func newBed(tb testing.TB, kind tsdb.MetricKind, rollups ...tsdb.Rollup) *bed {
	tb.Helper()
	return newBedOf(tb, kind, tsdb.Double, rollups...)
}

// newBedOf has a metric "m" with rollups.
func newBedOf(tb testing.TB, kind tsdb.MetricKind, valueType tsdb.ValueType, rollups ...tsdb.Rollup) *bed {
	tb.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(tb.TempDir(), "rollups.db"), rollup.Schema)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	d := tsdb.Descriptor{Project: "p", Type: "m", Kind: kind, ValueType: valueType, Unit: "By", Details: &tsdb.Details{Rollups: rollups}}
	require.NoError(tb, rollup.Check(d, rollups))
	ds := &memory.Descriptors{}
	_, err = ds.Ensure(context.Background(), d)
	require.NoError(tb, err)
	return &bed{store: memory.New(ds), db: db, now: noon, rolled: []tsdb.Descriptor{d}}
}

// clock tells the bed's time.
func (b *bed) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// pass lets time pass.
func (b *bed) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// keeper makes a Keeper.
func (b *bed) keeper(tb testing.TB, shared bool) *rollup.Keeper {
	tb.Helper()
	b.keepers++
	k, err := rollup.New(context.Background(), b.store, b.db, rollup.Options{
		Rolled: func() []tsdb.Descriptor { return b.rolled }, Now: b.clock, Retention: 7 * 24 * time.Hour, Shared: shared, MaxMarks: b.most,
		Member: fmt.Sprint("writer ", b.keepers),
	})
	require.NoError(tb, err)
	return k
}

// settle computes until there is nothing more to do.
func settle(tb testing.TB, k *rollup.Keeper) {
	tb.Helper()
	for {
		more, err := k.Step(context.Background())
		require.NoError(tb, err)
		if !more {
			return
		}
	}
}

// device is a series of the metric "m".
func device(i int) *tsdb.Series {
	return &tsdb.Series{
		Project: "p", Metric: "m", Resource: "device",
		MetricLabels:   tsdb.Labels{{Name: "room", Value: fmt.Sprint(i % 2)}},
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: fmt.Sprint(i)}},
	}
}

// at is a sample of a device some time before noon.
func at(i int, before time.Duration, v float64) tsdb.Sample {
	return tsdb.Sample{Series: device(i), Time: millis(noon.Add(-before)), Value: v}
}

// kept are the windows of a series, by end, of those that are whole.
func kept(tb testing.TB, k *rollup.Keeper, fields rollup.Fields, series *tsdb.Series) map[tsdb.Millis]rollup.Partial {
	tb.Helper()
	rule := k.Rules("p", "m")[0]
	all, _, err := k.Read(tb.Context(), rollup.Read{Rule: rule, Fields: fields, After: 0, Until: millis(noon.Add(48 * time.Hour))})
	require.NoError(tb, err)
	out := map[tsdb.Millis]rollup.Partial{}
	if of := all[rule.Of(series).Key()]; of != nil {
		for {
			end, p, ok := of.Next()
			if !ok {
				break
			}
			if p != nil {
				one := *p
				if fields&rollup.Count == 0 {
					one.Count = 0
				}
				out[end] = one
			}
		}
	}
	return out
}

// hourly is a rollup of an hour.
func hourly(aligners ...string) tsdb.Rollup {
	return tsdb.Rollup{Period: time.Hour, Aligners: aligners}
}

// A window holds the points of (start, end], whatever came when; a late one
// marks it, and it is computed anew.
func TestKeeper_LatePoints(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_MEAN", "ALIGN_MIN", "ALIGN_STDDEV"))
	k := b.keeper(t, false)
	rule := k.Rules("p", "m")[0]
	const fields = rollup.Count | rollup.Sum | rollup.Min | rollup.M2
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{
		at(1, 3*time.Hour, 100), at(1, 3*time.Hour-1*time.Millisecond, 1.25), at(1, 2*time.Hour, 3.75), at(1, 30*time.Minute, 7),
	}))
	settle(t, k)

	two := millis(noon.Add(-2 * time.Hour))
	want := rollup.Partial{Count: 2, Sum: 5, Min: 1.25, M2: 3.125}
	require.Equal(t, want, kept(t, k, fields, device(1))[two])
	require.NotContains(t, kept(t, k, fields, device(1)), millis(noon), "the grace is not over")
	b.pass(2 * time.Minute)
	settle(t, k)
	require.Contains(t, kept(t, k, fields, device(1)), millis(noon))

	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 150*time.Minute, 1), at(1, 150*time.Minute, 1)}))
	v, err := k.View(t.Context(), rule, tsdb.Interval{Start: 0, End: millis(noon)})
	require.NoError(t, err)
	require.Equal(t, map[string][]tsdb.Millis{device(1).Key(): {two}}, v.Marked)
	require.Equal(t, millis(noon), v.Until)
	require.Equal(t, want, kept(t, k, fields, device(1))[two], "not before it is computed")
	settle(t, k)
	require.Equal(t, 3., kept(t, k, fields, device(1))[two].Count)
	require.Equal(t, 1., kept(t, k, fields, device(1))[two].Min)
	v, err = k.View(t.Context(), rule, tsdb.Interval{Start: 0, End: millis(noon)})
	require.NoError(t, err)
	require.Empty(t, v.Marked)
}

// Nobody sees what is kept, and nobody writes there.
func TestKeeper_Hidden(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_MEAN"))
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 100), at(2, 3*time.Hour, 100)}))
	settle(t, k)
	seen := map[string]int{}
	count := func(s *tsdb.Series, _ tsdb.Points) error {
		seen[s.Metric]++
		return nil
	}
	everything := tsdb.Interval{Start: 0, End: millis(noon.Add(time.Hour))}
	require.NoError(t, k.Select(t.Context(), tsdb.Selection{Project: "p", Interval: everything}, count))
	require.Equal(t, map[string]int{"m": 2}, seen)
	require.Error(t, k.Select(t.Context(), tsdb.Selection{Project: "rollups/p", Interval: everything}, count))
	hidden := device(1)
	hidden.Project = "rollups/p"
	require.Error(t, k.Append(t.Context(), []tsdb.Sample{{Series: hidden, Time: 1, Value: 1}}))

	n := 0
	require.NoError(t, b.store.Select(t.Context(), tsdb.Selection{Project: "rollups/p", Interval: everything}, func(s *tsdb.Series, _ tsdb.Points) error {
		project, metric, ok := rollup.Origin(s)
		require.True(t, ok)
		require.Equal(t, "p m", project+" "+metric)
		n++
		return nil
	}))
	require.Equal(t, 4, n, "a count and a sum of each device")
}

// Values come back as they were, whatever their digits, though the storage
// keeps eleven of them.
func TestKeeper_MinIsExact(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_MIN"))
	k := b.keeper(t, false)
	for i, v := range []float64{1.0 / 3, -1e300 / 7, 123456789.123456789, 1e-9 / 7, 0, 1 << 53} {
		require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(i, 3*time.Hour, v)}))
		settle(t, k)
		require.Equal(t, v, kept(t, k, rollup.Min, device(i))[millis(noon.Add(-3*time.Hour))].Min)
		b.pass(time.Minute)
	}
}

// A rollup of groups holds what the points of all their series do.
func TestKeeper_Groups(t *testing.T) {
	t.Parallel()
	r := hourly("ALIGN_SUM", "ALIGN_MAX", "ALIGN_COUNT")
	r.GroupBy = []string{"metric.labels.room"}
	b := newBed(t, tsdb.Gauge, r)
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1), at(2, 3*time.Hour, 2), at(3, 3*time.Hour, 4)}))
	settle(t, k)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(5, 3*time.Hour+time.Minute, 8)}))
	settle(t, k)
	end := millis(noon.Add(-3 * time.Hour))
	require.Equal(t, rollup.Partial{Count: 3, Sum: 13, Max: 8}, kept(t, k, rollup.Count|rollup.Sum|rollup.Max, device(1))[end])
	require.Equal(t, rollup.Partial{Count: 1, Sum: 2, Max: 2}, kept(t, k, rollup.Count|rollup.Sum|rollup.Max, device(2))[end])
}

// What came past the Keeper is found by a rebuild, which tells its progress.
func TestKeeper_Rebuild(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1)}))
	settle(t, k)
	require.NoError(t, b.store.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour+time.Minute, 2), at(2, 5*time.Hour, 4)}))
	settle(t, k)
	end := millis(noon.Add(-3 * time.Hour))
	require.Equal(t, 1., kept(t, k, rollup.Sum, device(1))[end].Sum)
	var told []int64
	require.NoError(t, k.Rebuild(t.Context(), "p", "m", tsdb.Interval{Start: 0, End: millis(noon)}, func(p rollup.Progress) error {
		told = append(told, p.Done, p.Total)
		return nil
	}))
	require.Equal(t, []int64{7*24 - 1, 7*24 - 1}, told)
	require.Equal(t, 3., kept(t, k, rollup.Sum, device(1))[end].Sum)
	require.Len(t, kept(t, k, rollup.Sum, device(2)), 1)
	require.Error(t, k.Rebuild(t.Context(), "p", "other", tsdb.Interval{}, nil))

	// A late point after it is one more version.
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour+2*time.Minute, 4)}))
	settle(t, k)
	require.Equal(t, 7., kept(t, k, rollup.Sum, device(1))[end].Sum)
}

// A rollup that is declared again after it was removed begins anew.
func TestKeeper_DeclaredAgain(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM"))
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1)}))
	settle(t, k)
	was, declared := k.Rules("p", "m")[0].ID, b.rolled
	b.rolled = nil
	require.NoError(t, k.Refresh(t.Context()))
	require.Empty(t, k.Rules("p", "m"))
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour+time.Minute, 2)}))
	b.rolled = declared
	require.NoError(t, k.Refresh(t.Context()))
	require.NotEqual(t, was, k.Rules("p", "m")[0].ID)
	require.Empty(t, kept(t, k, rollup.Sum, device(1)))
	settle(t, k)
	require.Equal(t, 3., kept(t, k, rollup.Sum, device(1))[millis(noon.Add(-3*time.Hour))].Sum)
	require.NoError(t, k.Forget(t.Context(), "p", "m"))
	require.Empty(t, kept(t, k, rollup.Sum, device(1)))
}

// A rollup has aligners that are valid for its metric, and none that needs the
// points.
func TestCheck(t *testing.T) {
	t.Parallel()
	f := func(d tsdb.Descriptor, r tsdb.Rollup, field string) {
		t.Helper()
		err := rollup.Check(d, []tsdb.Rollup{r})
		var bad *fault.Error
		require.ErrorAs(t, err, &bad)
		require.Equal(t, fault.Invalid, bad.Kind)
		require.Equal(t, field, bad.Field)
	}
	distributed := tsdb.Descriptor{ValueType: tsdb.Distributed}
	f(distributed, hourly("ALIGN_COUNT"), "rollups[0].aligners[0]")
	f(distributed, hourly("ALIGN_MEAN"), "rollups[0].aligners[0]")
	f(tsdb.Descriptor{ValueType: tsdb.Distributed, Kind: tsdb.Cumulative}, hourly("ALIGN_PERCENTILE_99"), "rollups[0].aligners[0]")
	f(distributed, tsdb.Rollup{Period: time.Hour, Aligners: []string{"ALIGN_PERCENTILE_99"}, GroupBy: []string{"resource.type"}}, "rollups[0].aligners[0]")
	require.NoError(t, rollup.Check(distributed, []tsdb.Rollup{hourly("ALIGN_SUM", "ALIGN_PERCENTILE_99", "ALIGN_NEXT_OLDER", "ALIGN_SUMMARY")}))
	require.NoError(t, rollup.Check(tsdb.Descriptor{ValueType: tsdb.Distributed, Kind: tsdb.Cumulative}, []tsdb.Rollup{hourly("ALIGN_DELTA")}))
	f(tsdb.Descriptor{}, hourly("ALIGN_PERCENTILE_50"), "rollups[0].aligners[0]")
	f(tsdb.Descriptor{}, hourly("ALIGN_INTERPOLATE"), "rollups[0].aligners[0]")
	f(tsdb.Descriptor{Kind: tsdb.Cumulative}, hourly("ALIGN_SUM"), "rollups[0].aligners[0]")
	f(tsdb.Descriptor{Kind: tsdb.Cumulative}, tsdb.Rollup{Period: time.Hour, Aligners: []string{"ALIGN_RATE"}, GroupBy: []string{"resource.type"}}, "rollups[0].aligners[0]")
	f(tsdb.Descriptor{}, tsdb.Rollup{Period: 25 * time.Hour, Aligners: []string{"ALIGN_SUM"}}, "rollups[0].period")
	require.NoError(t, rollup.Check(tsdb.Descriptor{}, []tsdb.Rollup{hourly("ALIGN_SUM"), {Period: 7 * 24 * time.Hour, Aligners: []string{"ALIGN_STDDEV"}}}))
	require.Error(t, rollup.Check(tsdb.Descriptor{}, make([]tsdb.Rollup, rollup.MaxRollups+1)))
}

// What cannot be kept, such as a sum that is no finite number, is read from the
// points.
func TestKeeper_Unfit(t *testing.T) {
	t.Parallel()
	b := newBed(t, tsdb.Gauge, hourly("ALIGN_SUM", "ALIGN_MAX"))
	k := b.keeper(t, false)
	require.NoError(t, k.Append(t.Context(), []tsdb.Sample{at(1, 3*time.Hour, 1.5e308), at(1, 3*time.Hour+1*time.Minute, 1.5e308), at(2, 3*time.Hour, 1)}))
	settle(t, k)
	require.Empty(t, kept(t, k, rollup.Sum, device(1)))
	require.Len(t, kept(t, k, rollup.Sum, device(2)), 1)
	v, err := k.View(t.Context(), k.Rules("p", "m")[0], tsdb.Interval{Start: 0, End: millis(noon)})
	require.NoError(t, err)
	require.Equal(t, map[string][]tsdb.Millis{device(1).Key(): {millis(noon.Add(-3 * time.Hour))}}, v.Marked)
	st, err := k.Statuses(t.Context(), "p", "m")
	require.NoError(t, err)
	require.EqualValues(t, 1, st[0].Stuck)
	require.Zero(t, st[0].Marked)
}
