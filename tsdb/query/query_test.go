package query_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/memory"
	"selvedge.dev/tsdb/query"
)

// noon is the end of most intervals here.
var noon = time.Date(2025, time.June, 1, 12, 0, 0, 0, time.UTC)

// room is a series of project "p".
func room(metric, name string) *tsdb.Series {
	return &tsdb.Series{
		Project: "p", Metric: metric, Resource: "device",
		MetricLabels:   tsdb.Labels{{Name: "room", Value: name}},
		ResourceLabels: tsdb.Labels{{Name: "device_id", Value: "d-" + name}, {Name: "project_id", Value: "p"}},
	}
}

// minutes are samples of s in the n minutes up to noon, the last at noon.
func minutes(s *tsdb.Series, n int) []tsdb.Sample {
	var samples []tsdb.Sample
	for i := range n {
		at := noon.Add(-time.Duration(n-1-i) * time.Minute)
		samples = append(samples, tsdb.Sample{Series: s, Time: tsdb.Millis(at.UnixMilli()), Value: float64(i)})
	}
	return samples
}

// hour is a request for all of "p" in the hour before noon.
func hour() query.Request {
	return query.Request{Project: "p", Filter: `resource.type = "device"`, Start: noon.Add(-time.Hour), End: noon}
}

// filled is a store with n minutes of each series.
func filled(t require.TestingT, n int, series ...*tsdb.Series) *memory.Store {
	store := memory.New(nil)
	for _, s := range series {
		require.NoError(t, store.Append(context.Background(), minutes(s, n)))
	}
	return store
}

func TestList_Invalid(t *testing.T) {
	t.Parallel()
	engine := query.New(filled(t, 3, room("temp", "a")), query.Options{})
	f := func(field, message string, change func(*query.Request)) {
		t.Helper()
		req := hour()
		change(&req)
		_, err := engine.List(t.Context(), req)
		require.Error(t, err)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
		require.Equal(t, field, fault.ProblemOf(err).Error.Details[0].Metadata["field"])
		require.ErrorContains(t, err, message)
		require.Less(t, len(err.Error()), 1000)
	}
	mean := query.Aggregation{PerSeriesAligner: "ALIGN_MEAN", AlignmentPeriod: time.Minute}
	f("name", "a project is required", func(r *query.Request) { r.Project = "" })
	f("filter", "a filter is required", func(r *query.Request) { r.Filter = "" })
	f("filter", "a filter is required", func(r *query.Request) { r.Filter = " \n" })
	f("filter", "at position 1", func(r *query.Request) { r.Filter = "temp" })
	f("interval.endTime", "required", func(r *query.Request) { r.End = time.Time{} })
	f("interval.startTime", "must not be later", func(r *query.Request) { r.Start = noon.Add(time.Nanosecond) })
	f("aggregation.perSeriesAligner", `"mean"`, func(r *query.Request) { r.Aggregation.PerSeriesAligner = "mean" })
	f("aggregation.perSeriesAligner", "kind GAUGE", func(r *query.Request) {
		r.Aggregation = mean
		r.Aggregation.PerSeriesAligner = "ALIGN_RATE"
	})
	f("aggregation.crossSeriesReducer", `"mean"`, func(r *query.Request) { r.Aggregation.CrossSeriesReducer = "mean" })
	f("aggregation.perSeriesAligner", "REDUCE_SUM needs aligned series", func(r *query.Request) { r.Aggregation.CrossSeriesReducer = "REDUCE_SUM" })
	for _, period := range []time.Duration{0, -time.Minute, 999 * time.Millisecond, time.Second + 1, 105 * 7 * 24 * time.Hour} {
		f("aggregation.alignmentPeriod", "alignment period", func(r *query.Request) {
			r.Aggregation = mean
			r.Aggregation.AlignmentPeriod = period
		})
	}
	for _, groupBy := range [][]string{{"room"}, {"metric.labels.room", ""}, make([]string, 65), {strings.Repeat("x", 10_000)}} {
		f("aggregation.groupByFields", "", func(r *query.Request) {
			r.Aggregation = mean
			r.Aggregation.CrossSeriesReducer, r.Aggregation.GroupByFields = "REDUCE_SUM", groupBy
		})
	}
	f("secondaryAggregation", "only be specified if aggregation is specified", func(r *query.Request) { r.SecondaryAggregation = mean })
	for field, change := range map[string]func(*query.Aggregation){
		"perSeriesAligner":   func(a *query.Aggregation) { a.PerSeriesAligner = "ALIGN_DELTA" }, // of a gauge
		"crossSeriesReducer": func(a *query.Aggregation) { a.CrossSeriesReducer = "REDUCE_COUNT_TRUE" },
		"alignmentPeriod":    func(a *query.Aggregation) { a.AlignmentPeriod = time.Millisecond },
		"groupByFields":      func(a *query.Aggregation) { a.CrossSeriesReducer, a.GroupByFields = "REDUCE_SUM", []string{"room"} },
	} {
		f("secondaryAggregation."+field, "", func(r *query.Request) {
			r.Aggregation, r.SecondaryAggregation = mean, mean
			change(&r.SecondaryAggregation)
		})
	}
	// Whether or not there is a point to apply it to.
	f("secondaryAggregation.perSeriesAligner", "kind GAUGE and value type DOUBLE (temp); it can be to DELTA or CUMULATIVE", func(r *query.Request) {
		r.Aggregation, r.SecondaryAggregation = mean, mean
		r.Start, r.Aggregation.PerSeriesAligner = noon.Add(-time.Second), "ALIGN_PERCENT_CHANGE"
		r.SecondaryAggregation.PerSeriesAligner = "ALIGN_RATE"
	})
	f("view", "HEADERS", func(r *query.Request) { r.View = "headers" })
	f("pageSize", "positive", func(r *query.Request) { r.PageSize = -1 })
	for _, token := range []string{"x", "!", "AAAA", strings.Repeat("A", 100)} {
		f("pageToken", "", func(r *query.Request) { r.PageToken = token })
	}
}

// What the API says is ignored is not looked at.
func TestList_Ignored(t *testing.T) {
	t.Parallel()
	engine := query.New(filled(t, 3, room("temp", "a")), query.Options{})
	req := hour()
	req.Aggregation = query.Aggregation{AlignmentPeriod: time.Nanosecond, GroupByFields: []string{"?"}}
	page, err := engine.List(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, 3, page.Results[0].Points.Len())
	require.Zero(t, page.Results[0].Period)
}

func TestList_Interval(t *testing.T) {
	t.Parallel()
	engine := query.New(filled(t, 61, room("temp", "a")), query.Options{})
	f := func(start, end time.Time, want ...float64) {
		t.Helper()
		req := hour()
		req.Start, req.End = start, end
		page, err := engine.List(t.Context(), req)
		require.NoError(t, err)
		if len(want) == 0 {
			require.Empty(t, page.Results)
			return
		}
		var got []float64
		for _, v := range page.Results[0].Newest {
			got = append(got, v)
		}
		require.Equal(t, want, got)
	}
	f(noon.Add(-2*time.Minute), noon, 60, 59) // the start is not included
	f(noon.Add(-2*time.Minute-time.Millisecond), noon, 60, 59, 58)
	f(noon.Add(-time.Minute), noon.Add(-time.Millisecond))
	f(time.Time{}, noon, 60) // without a start: the instant
	f(noon, noon, 60)
	f(time.Time{}, noon.Add(time.Millisecond))
	f(noon.Add(-time.Hour-time.Minute), noon.Add(-time.Hour), 0)
}

func TestList_Aggregation(t *testing.T) {
	t.Parallel()
	engine := query.New(filled(t, 10, room("temp", "a"), room("temp", "b"), room("hum", "a")), query.Options{})
	req := hour()
	req.Aggregation = query.Aggregation{
		AlignmentPeriod: 5 * time.Minute, PerSeriesAligner: "ALIGN_MAX", CrossSeriesReducer: "REDUCE_SUM",
		GroupByFields: []string{`metric.label."room"`, "metric.labels.room", "resource.labels.none", "project", "resource.type"},
	}
	page, err := engine.List(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, page.Results, 3)
	for i, want := range []struct{ metric, room string }{{"hum", "a"}, {"temp", "a"}, {"temp", "b"}} {
		r := page.Results[i]
		require.Equal(t, want.metric, r.Series.Metric)
		require.Equal(t, tsdb.Labels{{Name: "room", Value: want.room}}, r.Series.MetricLabels)
		require.Empty(t, r.Series.ResourceLabels)
		require.Equal(t, []float64{4, 9}, r.Points.Values)
		require.Equal(t, 5*60_000, int(r.Period))
	}
}

// A secondary aggregation is the answer's: its period, its groups, its pages.
func TestList_Secondary(t *testing.T) {
	t.Parallel()
	engine := query.New(filled(t, 60, room("temp", "a"), room("temp", "b"), room("hum", "a")), query.Options{})
	req := hour()
	req.Aggregation = query.Aggregation{
		AlignmentPeriod: 5 * time.Minute, PerSeriesAligner: "ALIGN_MAX", CrossSeriesReducer: "REDUCE_SUM",
		GroupByFields: []string{"metric.labels.room"},
	}
	req.SecondaryAggregation = query.Aggregation{
		AlignmentPeriod: 20 * time.Minute, PerSeriesAligner: "ALIGN_MIN", CrossSeriesReducer: "REDUCE_COUNT",
	}
	page, err := engine.List(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, page.Results, 2)
	for i, want := range []struct {
		metric string
		count  float64
	}{{"hum", 1}, {"temp", 2}} {
		r := page.Results[i]
		require.Equal(t, want.metric, r.Series.Metric)
		require.Empty(t, r.Series.MetricLabels)
		require.Equal(t, tsdb.Int64, r.Series.ValueType)
		require.Equal(t, []float64{want.count, want.count, want.count}, r.Points.Values)
		require.Equal(t, 20*60_000, int(r.Period))
	}
	req.PageSize = query.MaxPageSize
	whole := readAll(t, engine, req, func(int) {})
	req.PageSize = 2
	require.Equal(t, whole, readAll(t, engine, req, func(int) {}))

	// Without an aligner of its own it leaves the first one's answer as it is.
	req.PageSize = 0
	req.SecondaryAggregation = query.Aggregation{PerSeriesAligner: "ALIGN_NONE"}
	page, err = engine.List(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, 5*60_000, int(page.Results[0].Period))
	require.Equal(t, []float64{4, 9, 14}, page.Results[0].Points.Values[:3])
}

func TestList_Bounds(t *testing.T) {
	t.Parallel()
	store := filled(t, 10, room("temp", "a"), room("temp", "b"), room("temp", "c"))
	f := func(opts query.Options, kind fault.Kind) {
		t.Helper()
		_, err := query.New(store, opts).List(t.Context(), hour())
		if kind == fault.Internal {
			require.NoError(t, err)
			return
		}
		require.Error(t, err)
		require.Equal(t, kind, fault.KindOf(err))
	}
	f(query.Options{MaxSeries: 3, MaxPoints: 30}, fault.Internal)
	f(query.Options{MaxSeries: 2}, fault.Exhausted)
	f(query.Options{MaxPoints: 29}, fault.Exhausted)
}

func TestList_Cancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	store := cancelling{filled(t, 10, room("temp", "a"), room("temp", "b")), cancel}
	_, err := query.New(store, query.Options{}).List(ctx, hour())
	require.Error(t, err)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

// cancelling cancels the query's context while it is selecting, and does not
// look at it.
type cancelling struct {
	*memory.Store
	cancel func()
}

func (c cancelling) Select(_ context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	return c.Store.Select(context.Background(), sel, func(s *tsdb.Series, p tsdb.Points) error {
		c.cancel()
		return visit(s, p)
	})
}

// told is one point of one series of an answer, or a header.
type told struct {
	key string
	at  tsdb.Millis
	v   float64
}

// readAll reads all pages and returns what they tell, in order. It fails when
// a page is larger than asked for, or empty although it is not the first.
func readAll(t require.TestingT, engine *query.Engine, req query.Request, between func(page int)) []told {
	var all []told
	for n := 0; ; n++ {
		require.Less(t, n, 1000, "the pages do not end")
		page, err := engine.List(context.Background(), req)
		require.NoError(t, err)
		size := 0
		for _, r := range page.Results {
			if req.View == "HEADERS" {
				require.Zero(t, r.Points.Len())
				all = append(all, told{key: r.Series.Key()})
				size++
				continue
			}
			require.NotZero(t, r.Points.Len())
			for at, v := range r.Newest {
				all = append(all, told{r.Series.Key(), at, v})
				size++
			}
		}
		require.LessOrEqual(t, size, req.PageSize)
		if page.Next == "" {
			return all
		}
		require.Equal(t, req.PageSize, size, "a page that is not the last is full")
		req.PageToken = page.Next
		between(n)
	}
}

func TestList_Pages(t *testing.T) {
	t.Parallel()
	engine := query.New(filled(t, 7, room("temp", "a"), room("temp", "b"), room("hum", "a")), query.Options{})
	aligned := query.Aggregation{AlignmentPeriod: 2 * time.Minute, PerSeriesAligner: "ALIGN_COUNT"}
	reduced := aligned
	reduced.CrossSeriesReducer, reduced.GroupByFields = "REDUCE_SUM", []string{"metric.labels.room"}
	for _, agg := range []query.Aggregation{{}, aligned, reduced} {
		for _, view := range []string{"", "HEADERS"} {
			req := hour()
			req.Aggregation, req.View, req.PageSize = agg, view, query.MaxPageSize
			want := readAll(t, engine, req, func(int) { require.Fail(t, "one page is enough") })
			require.NotEmpty(t, want)
			for size := 1; size <= len(want)+1; size++ {
				req.PageSize = size
				require.Equal(t, want, readAll(t, engine, req, func(int) {}), "pages of %d", size)
			}
		}
	}
}

// A token belongs to its request: the page size may change, nothing else.
func TestList_TokenOfAnotherRequest(t *testing.T) {
	t.Parallel()
	engine := query.New(filled(t, 7, room("temp", "a")), query.Options{})
	req := hour()
	req.PageSize = 3
	page, err := engine.List(t.Context(), req)
	require.NoError(t, err)
	req.PageToken = page.Next

	same := req
	same.PageSize, same.Filter = 2, `resource.type=device`
	page, err = engine.List(t.Context(), same)
	require.NoError(t, err)
	require.Equal(t, []float64{2, 3}, page.Results[0].Points.Values)

	for name, change := range map[string]func(*query.Request){
		"project": func(r *query.Request) { r.Project = "q" },
		"filter":  func(r *query.Request) { r.Filter = `metric.type = "temp"` },
		"start":   func(r *query.Request) { r.Start = r.Start.Add(time.Millisecond) },
		"end":     func(r *query.Request) { r.End = r.End.Add(time.Second) },
		"view":    func(r *query.Request) { r.View = "HEADERS" },
		"aligner": func(r *query.Request) {
			r.Aggregation = query.Aggregation{PerSeriesAligner: "ALIGN_SUM", AlignmentPeriod: time.Minute}
		},
		"secondary": func(r *query.Request) {
			r.Aggregation = query.Aggregation{PerSeriesAligner: "ALIGN_NONE"}
			r.SecondaryAggregation = query.Aggregation{PerSeriesAligner: "ALIGN_SUM", AlignmentPeriod: time.Minute}
		},
	} {
		other := req
		change(&other)
		_, err := engine.List(t.Context(), other)
		require.Error(t, err, name)
		require.Equal(t, fault.Invalid, fault.KindOf(err), name)
		require.ErrorContains(t, err, "another request", name)
	}
}

// Whatever is appended between pages: what was there at the first page is
// told once, in order, and nothing is told twice.
func TestList_PagesWhileAppending(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		series := func(label string) *tsdb.Series {
			return room("temp", fmt.Sprint(rapid.IntRange(0, 9).Draw(rt, label)))
		}
		store := memory.New(nil)
		for range rapid.IntRange(1, 8).Draw(rt, "series") {
			s := series("series")
			require.NoError(rt, store.Append(context.Background(), minutes(s, rapid.IntRange(1, 9).Draw(rt, "minutes"))))
		}
		engine := query.New(store, query.Options{})
		req := hour()
		req.PageSize = query.MaxPageSize
		want := readAll(rt, engine, req, func(int) {})

		req.PageSize = rapid.IntRange(1, 9).Draw(rt, "size")
		got := readAll(rt, engine, req, func(int) {
			late := tsdb.Sample{Series: series("late"), Value: -1}
			late.Time = tsdb.Millis(noon.UnixMilli()) - tsdb.Millis(rapid.IntRange(0, 3_000_000).Draw(rt, "ago"))
			require.NoError(rt, store.Append(context.Background(), []tsdb.Sample{late}))
		})
		seen := map[told]bool{}
		var kept []told
		for i, p := range got {
			require.False(rt, seen[p], "told twice")
			seen[p] = true
			if p.v >= 0 {
				kept = append(kept, p)
			}
			if i > 0 {
				before := got[i-1]
				require.True(rt, before.key < p.key || before.key == p.key && before.at > p.at, "out of order")
			}
		}
		require.Len(rt, kept, len(want))
		for i, p := range want {
			require.Equal(rt, p, kept[i])
		}
	})
}

// A raw answer that is much longer than a page does not change the page.
func TestList_ManySeries(t *testing.T) {
	t.Parallel()
	store := memory.New(nil)
	for i := range 300 {
		require.NoError(t, store.Append(t.Context(), minutes(room("temp", fmt.Sprintf("%03d", (i*37)%300)), 5)))
	}
	req := hour()
	req.PageSize = 12
	all := readAll(t, query.New(store, query.Options{}), req, func(int) {})
	require.Len(t, all, 1500)
	for i, p := range all {
		require.Equal(t, room("temp", fmt.Sprintf("%03d", i/5)).Key(), p.key)
		require.Equal(t, float64(4-i%5), p.v)
	}
}

// BenchmarkList aligns 1.7 million points by their mean over a minute, of a
// hundred series, from the memory store.
func BenchmarkList(b *testing.B) {
	const series, perSeries = 100, 17_280
	store := memory.New(nil)
	for i := range series {
		s := room("temp", fmt.Sprint(i))
		samples := make([]tsdb.Sample, perSeries)
		for j := range samples {
			at := noon.Add(-time.Duration(perSeries-1-j) * 5 * time.Second)
			samples[j] = tsdb.Sample{Series: s, Time: tsdb.Millis(at.UnixMilli()), Value: float64(j % 97)}
		}
		require.NoError(b, store.Append(b.Context(), samples))
	}
	for name, reducer := range map[string]string{"Mean": "", "MeanReduced": "REDUCE_MEAN"} {
		b.Run(name, func(b *testing.B) {
			req := hour()
			req.Start = noon.Add(-24 * time.Hour)
			req.Aggregation = query.Aggregation{AlignmentPeriod: time.Minute, PerSeriesAligner: "ALIGN_MEAN", CrossSeriesReducer: reducer}
			engine := query.New(store, query.Options{})
			for b.Loop() {
				_, err := engine.List(b.Context(), req)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(series*perSeries)*float64(b.N)/b.Elapsed().Seconds(), "points/s")
		})
	}
}
