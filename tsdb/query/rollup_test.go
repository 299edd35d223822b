package query_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
	"selvedge.dev/tsdb/rollup"
	"selvedge.dev/tsdb/validity"
	"selvedge.dev/tsdb/vm"
)

// rolling is a storage with rollups to which things happen.
type rolling struct {
	rt         *rapid.T
	descriptor tsdb.Descriptor
	rule       validity.Rule
	options    rollup.Options
	now        time.Time
	store      tsdb.Store
	keeper     *rollup.Keeper
	again      func() *rollup.Keeper
	// unsynced are the samples that a journal would bring again.
	unsynced []tsdb.Sample
	greatest float64
	used     *atomic.Int64
	// distributed says that the metric is one of distributions.
	distributed bool
	// reducer is that of the question.
	reducer string
}

// distributions names the questions of distributions.
const distributions = "distributions"

// openStore is a storage of the metric.
type openStore func(rt *rapid.T, dir string, d tsdb.Descriptor) tsdb.Store

// open makes what is tested, of a drawn metric with rollups that the aligner can
// be answered from.
func (r *rolling) open(open openStore) {
	rt, rule := r.rt, r.rule
	// Rollups begin with the retention, at a drawn instant of the clock.
	r.now = noon
	kinds := slices.DeleteFunc(slices.Clone(rule.Kinds), func(k tsdb.MetricKind) bool {
		_, ok := rollup.MethodOf(rule.Name, k, sortOf(r.distributed))
		return !ok
	})
	types := slices.DeleteFunc(slices.Clone(rule.Types), func(t tsdb.ValueType) bool { return (t == tsdb.Distributed) != r.distributed })
	r.descriptor = tsdb.Descriptor{
		Project: "p", Type: "m", Unit: "By", Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"), ValueType: rapid.SampledFrom(types).Draw(rt, "type"),
		Details: &tsdb.Details{SamplePeriod: time.Minute},
	}
	method, _ := rollup.MethodOf(rule.Name, r.descriptor.Kind, r.descriptor.ValueType)
	for _, period := range rapid.SliceOfNDistinct(rapid.SampledFrom([]time.Duration{10 * time.Second, time.Minute, 15 * time.Minute, time.Hour}), 1, 3, rapid.ID).Draw(rt, "periods") {
		one := tsdb.Rollup{Period: period, Aligners: []string{rule.Name}}
		if len(method.Reducers) > 0 && rapid.Bool().Draw(rt, "groups") {
			one.GroupBy = []string{"metric.labels.room"}
		}
		r.descriptor.Details.Rollups = append(r.descriptor.Details.Rollups, one)
	}
	require.NoError(rt, rollup.Check(r.descriptor, r.descriptor.Details.Rollups))
	dir, err := os.MkdirTemp("", "rolling")
	require.NoError(rt, err)
	rt.Cleanup(func() { _ = os.RemoveAll(dir) })
	db, err := sqlite.Open(context.Background(), filepath.Join(dir, "rollups.db"), rollup.Schema)
	require.NoError(rt, err)
	rt.Cleanup(func() { _ = db.Close() })
	r.store = open(rt, dir, r.descriptor)
	r.options = rollup.Options{
		Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{r.descriptor} }, Now: func() time.Time { return r.now }, Retention: 6 * time.Hour,
		MaxMarks: rapid.IntRange(1, 60).Draw(rt, "marks"),
	}
	r.again = func() *rollup.Keeper {
		k, err := rollup.New(context.Background(), r.store, db, r.options)
		require.NoError(rt, err)
		return k
	}
	r.keeper = r.again()
}

// sortOf is a value type of distributions or of numbers.
func sortOf(distributed bool) tsdb.ValueType {
	if distributed {
		return tsdb.Distributed
	}
	return tsdb.Double
}

// samples draws a batch, of any order and any age of three hours.
func (r *rolling) samples() []tsdb.Sample {
	rt := r.rt
	late := rapid.SampledFrom([]int{60, 600, 3 * 3600}).Draw(rt, "age")
	var batch []tsdb.Sample
	for range rapid.IntRange(1, 60).Draw(rt, "samples") {
		i := rapid.IntRange(0, 3).Draw(rt, "series")
		s := room("m", fmt.Sprint(i%2))
		s.MetricLabels = append(s.MetricLabels, tsdb.Label{Name: "sensor", Value: fmt.Sprint(i)})
		age := time.Duration(rapid.OneOf(rapid.IntRange(0, late*1000), rapid.Map(rapid.IntRange(0, late/60), func(n int) int { return n * 60_000 })).Draw(rt, "at")) * time.Millisecond
		at := r.now.Add(-age)
		if r.distributed {
			s.ValueType = tsdb.Distributed
			batch = append(batch, tsdb.Sample{Series: s, Time: tsdb.Millis(at.UnixMilli()), Distribution: r.distribution(i, at)})
			continue
		}
		v := float64(rapid.IntRange(0, 1).Draw(rt, "true"))
		if r.descriptor.ValueType != tsdb.Bool {
			v = rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.Map(rapid.IntRange(0, 50), func(n int) float64 { return float64(n) / 4 })).Draw(rt, "value")
		}
		r.greatest = max(r.greatest, math.Abs(v))
		batch = append(batch, tsdb.Sample{Series: s, Time: tsdb.Millis(at.UnixMilli()), Value: v})
	}
	if rapid.IntRange(0, 3).Draw(rt, "twice") == 0 {
		batch = append(batch, batch...)
	}
	return batch
}

// happen draws something that happens.
func (r *rolling) happen() {
	ctx, rt := context.Background(), r.rt
	switch rapid.IntRange(0, 6).Draw(rt, "what") {
	case 0, 1:
		batch := r.samples()
		require.NoError(rt, r.keeper.Append(ctx, batch))
		r.unsynced = append(r.unsynced, batch...)
	case 2, 3:
		_, err := r.keeper.Step(ctx)
		require.NoError(rt, err)
	case 4:
		r.now = r.now.Add(time.Duration(rapid.IntRange(1, 40*60).Draw(rt, "seconds")) * time.Second)
	case 5:
		require.NoError(rt, r.keeper.Sync(ctx))
		r.unsynced = nil
	case 6: // what was in memory is gone, and a journal brings what was not synced
		r.keeper = r.again()
		r.now = r.now.Add(2 * time.Minute)
		require.NoError(rt, r.keeper.Append(ctx, r.unsynced))
	}
}

// ask draws a question, and compares the answers of the rollups and of the
// points.
func (r *rolling) ask() {
	rt := r.rt
	end := r.now
	if rapid.IntRange(0, 3).Draw(rt, "round") > 0 {
		end = end.Truncate(time.Hour)
	}
	period := rapid.OneOf(
		rapid.SampledFrom([]time.Duration{time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour}),
		rapid.Map(rapid.IntRange(1, 7200), func(n int) time.Duration { return time.Duration(n) * time.Second }),
	).Draw(rt, "period")
	req := query.Request{
		Project: "p", Filter: `metric.type = "m"`, Start: end.Add(-time.Duration(rapid.IntRange(1, 4*3600).Draw(rt, "length")) * time.Second), End: end,
		Aggregation: query.Aggregation{AlignmentPeriod: period, PerSeriesAligner: r.rule.Name}, Explain: true,
	}
	if rapid.Bool().Draw(rt, "filtered") {
		req.Filter += ` AND metric.labels.room = "1"`
	}
	if method, _ := rollup.MethodOf(r.rule.Name, r.descriptor.Kind, r.descriptor.ValueType); len(method.Reducers) > 0 && rapid.Bool().Draw(rt, "reduced") {
		req.Aggregation.CrossSeriesReducer = rapid.SampledFrom(method.Reducers).Draw(rt, "reducer")
		if rapid.Bool().Draw(rt, "grouped") {
			req.Aggregation.GroupByFields = []string{"metric.labels.room"}
		}
	}
	r.reducer = req.Aggregation.CrossSeriesReducer
	ctx := context.Background()
	want, err := query.New(r.store, query.Options{}).List(ctx, req)
	require.NoError(rt, err)
	got, err := query.New(r.store, query.Options{Rollups: r.keeper, Block: 1}).List(ctx, req)
	require.NoError(rt, err)
	if got.Trace.Why == "" {
		r.used.Add(1)
	}
	require.Len(rt, got.Results, len(want.Results))
	for i, w := range want.Results {
		g := got.Results[i]
		require.Equal(rt, w.Series, g.Series)
		require.Equal(rt, w.Points.Times, g.Points.Times)
		require.Len(rt, g.Points.Distributions, len(w.Points.Distributions))
		for j, d := range w.Points.Distributions {
			requireSame(rt, d, g.Points.Distributions[j], distributionDelta)
		}
		for j, v := range w.Points.Values {
			require.InDelta(rt, v, g.Points.Values[j], r.tolerance(), "window %d of %s", w.Points.Times[j], w.Series.Key())
		}
	}
}

// tolerance is how far an answer may be off: nothing but for sums, which are
// rounded.
func (r *rolling) tolerance() float64 {
	switch {
	case r.distributed && r.reducer == "REDUCE_STDDEV":
		return math.Sqrt(distributionDelta)
	case r.distributed && r.reducer == "REDUCE_MEAN":
		return distributionDelta
	case r.distributed:
		return 0
	}
	switch r.rule.Name {
	case "ALIGN_COUNT", "ALIGN_COUNT_TRUE", "ALIGN_COUNT_FALSE", "ALIGN_FRACTION_TRUE", "ALIGN_MIN", "ALIGN_MAX", "ALIGN_NEXT_OLDER":
		return 0
	case "ALIGN_RATE":
		return 1e-11 * 1000 * 100 * r.greatest // over as little as a millisecond
	}
	return 1e-11 * 100 * r.greatest
}

// alike checks that rollups never change an answer.
func alike(t *testing.T, open openStore, steps int) {
	t.Helper()
	exact := func(name string) bool {
		return (&rolling{rule: validity.Rule{Name: name}, greatest: 1}).tolerance() == 0
	}
	for name, is := range map[string]func(validity.Rule) bool{
		"counter": func(rule validity.Rule) bool { return slices.Contains(rule.Kinds, tsdb.Cumulative) },
		"exact":   func(rule validity.Rule) bool { return exact(rule.Name) },
		"sum":     func(rule validity.Rule) bool { return !exact(rule.Name) },
		// Most aligners of these are of merged distributions.
		distributions: func(rule validity.Rule) bool { return slices.Contains(rule.Types, tsdb.Distributed) },
		"growing":     func(rule validity.Rule) bool { return rule.Name == "ALIGN_DELTA" },
	} {
		distributed := name == distributions || name == "growing"
		var rules []validity.Rule
		for _, rule := range validity.Rules(validity.Aligner) {
			possible := slices.ContainsFunc(rule.Kinds, func(k tsdb.MetricKind) bool {
				_, ok := rollup.MethodOf(rule.Name, k, sortOf(distributed))
				return ok
			})
			if possible && is(rule) {
				rules = append(rules, rule)
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var used atomic.Int64
			rapid.Check(t, func(rt *rapid.T) {
				r := &rolling{rt: rt, rule: rapid.SampledFrom(rules).Draw(rt, "rule"), used: &used, distributed: distributed}
				r.open(open)
				for range rapid.IntRange(1, steps).Draw(rt, "steps") {
					r.happen()
					r.ask()
				}
			})
			require.Positive(t, used.Load(), "no answer came from a rollup")
		})
	}
}

// Whatever comes when, and whatever was computed, lost or begun again: a rollup
// answers what the points do. SPEC A6
func TestRollups_ChangeNoAnswer(t *testing.T) {
	t.Parallel()
	alike(t, func(_ *rapid.T, _ string, d tsdb.Descriptor) tsdb.Store {
		ds := &memory.Descriptors{}
		_, err := ds.Ensure(context.Background(), d)
		require.NoError(t, err)
		return memory.New(ds)
	}, 12)
}

// The same on the storage engine, which keeps eleven digits of a value. Its clock
// is not the test's, so the instants are those of today.
func TestRollups_ChangeNoAnswerOfVM(t *testing.T) {
	t.Parallel()
	const periods = 40
	store, err := vm.Open(t.TempDir(), vm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "rollups.db"), rollup.Schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	aligners := []string{"ALIGN_MEAN", "ALIGN_SUM", "ALIGN_MIN", "ALIGN_MAX", "ALIGN_COUNT", "ALIGN_STDDEV", "ALIGN_NEXT_OLDER"}
	d := tsdb.Descriptor{Project: "p", Type: "m", Kind: tsdb.Gauge, ValueType: tsdb.Double, Details: &tsdb.Details{
		Rollups: []tsdb.Rollup{{Period: time.Minute, Aligners: aligners}, {Period: time.Hour, Aligners: aligners}},
	}}
	k, err := rollup.New(t.Context(), store, db, rollup.Options{
		Rolled: func() []tsdb.Descriptor { return []tsdb.Descriptor{d} }, Retention: (periods + 4) * time.Hour, Grace: time.Second,
	})
	require.NoError(t, err)
	end := time.Now().Truncate(time.Hour)
	start := end.Add(-periods * time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 4 { // the first in order, the others late
		var batch []tsdb.Sample
		for i := range 5 {
			for range 500 {
				at := start.Add(time.Duration(random.Int64N(int64(periods * time.Hour))))
				batch = append(batch, tsdb.Sample{Series: room("m", fmt.Sprint(i)), Time: tsdb.Millis(at.UnixMilli()), Value: random.NormFloat64() * 100})
			}
		}
		require.NoError(t, k.Append(t.Context(), batch))
		for _, aligner := range aligners {
			for _, period := range []time.Duration{5 * time.Minute, time.Hour, 3 * time.Hour} {
				req := query.Request{
					Project: "p", Filter: `metric.type = "m"`, Start: start, End: end, Explain: true,
					Aggregation: query.Aggregation{AlignmentPeriod: period, PerSeriesAligner: aligner},
				}
				want, err := query.New(store, query.Options{}).List(t.Context(), req)
				require.NoError(t, err)
				got, err := query.New(store, query.Options{Rollups: k, Block: 1}).List(t.Context(), req)
				require.NoError(t, err)
				require.Equal(t, round > 0, got.Trace.Why == "", got.Trace.Why)
				exact := &rolling{rule: validity.Rule{Name: aligner}, greatest: 400}
				for i, w := range want.Results {
					require.Equal(t, w.Points.Times, got.Results[i].Points.Times)
					for j, v := range w.Points.Values {
						require.InDelta(t, v, got.Results[i].Points.Values[j], exact.tolerance(), "%s %s", aligner, period)
					}
				}
			}
		}
		for more := true; more; {
			more, err = k.Step(t.Context())
			require.NoError(t, err)
		}
	}
}

// Nobody can ask for what is kept.
func TestRollups_Hidden(t *testing.T) {
	t.Parallel()
	_, err := query.New(memory.New(nil), query.Options{}).List(t.Context(), query.Request{
		Project: "rollups/p", Filter: `metric.type = starts_with("")`, Start: noon.Add(-time.Hour), End: noon,
	})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}
