package prometheus

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

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	upstream "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/promql"
)

// project is the one that everything in these tests is in.
const project = "default"

// stock is Prometheus' engine as the program runs it when no flag is given, but for
// when it removes the names of metrics.
func stock(t testing.TB, delayed bool) *upstream.Engine {
	t.Helper()
	e := upstream.NewEngine(upstream.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true, Parser: parser.NewParser(parser.Options{}),
		EnableDelayedNameRemoval: delayed,
	})
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// errHistogram is what a borrowed store answers when a native histogram is
// asked for.
var errHistogram = errors.New("there is a native histogram")

// borrowed is a storage of Prometheus' read as a tsdb.Store.
type borrowed struct{ storage.Queryable }

// Select is that of tsdb.Store.
func (b borrowed) Select(ctx context.Context, sel tsdb.Selection, visit func(*tsdb.Series, tsdb.Points) error) error {
	q, err := b.Querier(int64(sel.Interval.Start), int64(sel.Interval.End))
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }() // it only reads
	set := q.Select(ctx, true, nil, labels.MustNewMatcher(labels.MatchRegexp, "any", ".*"))
	for set.Next() {
		s := seriesOf(set.At().Labels())
		if sel.Metric != "" && s.Metric != sel.Metric || !sel.Keep(s) {
			continue
		}
		var p tsdb.Points
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind != chunkenc.ValFloat {
				return errHistogram
			}
			t, v := it.At()
			p.Times, p.Values = append(p.Times, tsdb.Millis(t)), append(p.Values, v)
		}
		if err := it.Err(); err != nil {
			return err
		}
		if p.Len() == 0 {
			continue
		}
		if err := visit(s, p); err != nil {
			return err
		}
	}
	return set.Err()
}

// seriesOf is a series with those labels as a query sees them.
func seriesOf(ls labels.Labels) *tsdb.Series {
	s := &tsdb.Series{Project: project}
	ls.Range(func(l labels.Label) {
		if l.Name == model.MetricNameLabel {
			s.Metric = l.Value
			return
		}
		s.MetricLabels = append(s.MetricLabels, tsdb.Label{Name: l.Name, Value: l.Value})
	})
	return s
}

// Append is not called.
func (borrowed) Append(context.Context, []tsdb.Sample) error { return errors.ErrUnsupported }

// Sync does nothing.
func (borrowed) Sync(context.Context) error { return nil }

// Close does nothing.
func (borrowed) Close() error { return nil }

// nothing are the descriptors of a store without any.
type nothing struct{}

// Ensure is not called.
func (nothing) Ensure(context.Context, tsdb.Descriptor) (tsdb.Descriptor, error) {
	return tsdb.Descriptor{}, errors.ErrUnsupported
}

// Descriptor is not called.
func (nothing) Descriptor(context.Context, string, string) (tsdb.Descriptor, error) {
	return tsdb.Descriptor{}, errors.ErrUnsupported
}

// List is empty.
func (nothing) List(context.Context, string) ([]tsdb.Descriptor, error) { return nil, nil }

// beside is an engine that answers as flagged does, and meanwhile asks the oracle and
// ours the same, and keeps the differences.
type beside struct {
	flagged upstream.QueryEngine
	oracle  oracle

	mu sync.Mutex
	// equal counts the queries that both answered alike, and refused those
	// among them that both refused; apart are the others, histograms those that
	// read a native histogram.
	equal, refused, histograms int
	apart                      []string
}

// NewInstantQuery implements upstream.QueryEngine.
func (b *beside) NewInstantQuery(ctx context.Context, q storage.Queryable, opts upstream.QueryOpts, text string, at time.Time) (upstream.Query, error) {
	b.compare(ctx, q, promql.Query{Project: project, Text: text, Start: tsdb.Millis(at.UnixMilli())})
	return b.flagged.NewInstantQuery(ctx, q, opts, text, at)
}

// NewRangeQuery implements upstream.QueryEngine.
func (b *beside) NewRangeQuery(ctx context.Context, q storage.Queryable, opts upstream.QueryOpts, text string, start, end time.Time, step time.Duration) (upstream.Query, error) {
	b.compare(ctx, q, promql.Query{Project: project, Text: text, Start: tsdb.Millis(start.UnixMilli()), End: tsdb.Millis(end.UnixMilli()), Step: step})
	return b.flagged.NewRangeQuery(ctx, q, opts, text, start, end, step)
}

// compare asks both and notes how it went.
func (b *beside) compare(ctx context.Context, data storage.Queryable, q promql.Query) {
	want, _, wantErr := b.oracle.ask(ctx, data, q)
	ours := promql.New(borrowed{data}, nothing{}, promql.Options{})
	run := ours.Instant
	if q.Step > 0 {
		run = ours.Range
	}
	got, gotErr := run(ctx, q)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(gotErr, errHistogram):
		b.histograms++
		return
	case wantErr != nil && gotErr != nil:
		b.refused++
		b.equal++
		return
	case (wantErr != nil) != (gotErr != nil):
		b.apart = append(b.apart, fmt.Sprintf("%s: Prometheus says %v, we say %v", q.Text, wantErr, gotErr))
		return
	}
	if diff := difference(want, resultOf(got)); diff != "" {
		b.apart = append(b.apart, fmt.Sprintf("%s at %d to %d step %s: %s", q.Text, q.Start, q.End, q.Step, diff))
		return
	}
	b.equal++
}

// ask is the answer of an engine of Prometheus'.
func ask(ctx context.Context, e upstream.QueryEngine, data storage.Queryable, q promql.Query) (parser.Value, error) {
	at := func(t tsdb.Millis) time.Time { return time.UnixMilli(int64(t)) }
	var query upstream.Query
	var err error
	if q.Step > 0 {
		query, err = e.NewRangeQuery(ctx, data, nil, q.Text, at(q.Start), at(q.End), q.Step)
	} else {
		query, err = e.NewInstantQuery(ctx, data, nil, q.Text, at(q.Start))
	}
	if err != nil {
		return nil, err
	}
	defer query.Close()
	r := query.Exec(ctx)
	return copied(r.Value), r.Err
}

// copied is a value that outlives its query.
func copied(v parser.Value) parser.Value {
	m, ok := v.(upstream.Matrix)
	if !ok {
		return v
	}
	made := make(upstream.Matrix, len(m))
	for i, s := range m {
		made[i] = upstream.Series{Metric: s.Metric, Floats: slices.Clone(s.Floats), Histograms: slices.Clone(s.Histograms)}
	}
	return made
}

// resultOf is our answer in the types of Prometheus.
func resultOf(r promql.Result) parser.Value {
	switch r.Type {
	case promql.Scalar:
		return upstream.Scalar{T: int64(r.Time), V: r.Value}
	case promql.String:
		return upstream.String{T: int64(r.Time), V: r.Text}
	case promql.Vector:
		v := upstream.Vector{}
		for _, s := range r.Series {
			v = append(v, upstream.Sample{Metric: labelsOf(s.Labels), T: int64(s.Points.Times[0]), F: s.Points.Values[0]})
		}
		return v
	}
	m := upstream.Matrix{}
	for _, s := range r.Series {
		one := upstream.Series{Metric: labelsOf(s.Labels)}
		for i, t := range s.Points.Times {
			one.Floats = append(one.Floats, upstream.FPoint{T: int64(t), F: s.Points.Values[i]})
		}
		m = append(m, one)
	}
	return m
}

// labelsOf are labels in the type of Prometheus.
func labelsOf(ls tsdb.Labels) labels.Labels {
	b := labels.NewScratchBuilder(len(ls))
	for _, l := range ls {
		b.Add(l.Name, l.Value)
	}
	b.Sort()
	return b.Labels()
}

// difference says how two values differ, "" if they do not.
func difference(want, got parser.Value) string {
	if want.Type() != got.Type() {
		return fmt.Sprintf("want a %s, got a %s", want.Type(), got.Type())
	}
	switch want := want.(type) {
	case upstream.Scalar:
		if got := got.(upstream.Scalar); want.T != got.T || !same(want.V, got.V) {
			return fmt.Sprintf("want %v, got %v", want, got)
		}
	case upstream.String:
		if got := got.(upstream.String); want != got {
			return fmt.Sprintf("want %v, got %v", want, got)
		}
	case upstream.Vector:
		return differentMatrix(matrixOf(want), matrixOf(got.(upstream.Vector)))
	case upstream.Matrix:
		if !slices.IsSortedFunc(got.(upstream.Matrix), bySeries) {
			return "the series are not sorted"
		}
		return differentMatrix(want, got.(upstream.Matrix))
	}
	return ""
}

// bySeries orders series by their labels.
func bySeries(a, b upstream.Series) int { return labels.Compare(a.Metric, b.Metric) }

// matrixOf is a vector as a matrix.
func matrixOf(v upstream.Vector) upstream.Matrix {
	m := upstream.Matrix{}
	for _, s := range v {
		one := upstream.Series{Metric: s.Metric}
		if s.H == nil {
			one.Floats = []upstream.FPoint{{T: s.T, F: s.F}}
		}
		m = append(m, one)
	}
	return m
}

// differentMatrix says how two matrices differ, whatever their order.
func differentMatrix(want, got upstream.Matrix) string {
	want, got = slices.Clone(want), slices.Clone(got)
	slices.SortFunc(want, bySeries)
	slices.SortFunc(got, bySeries)
	if len(want) != len(got) {
		return fmt.Sprintf("want %d series, got %d:\n%s\n--\n%s", len(want), len(got), brief(want), brief(got))
	}
	for i, w := range want {
		g := got[i]
		if !labels.Equal(w.Metric, g.Metric) {
			return fmt.Sprintf("want the series %s, got %s", w.Metric, g.Metric)
		}
		if !slices.EqualFunc(w.Floats, g.Floats, func(a, b upstream.FPoint) bool { return a.T == b.T && same(a.F, b.F) }) {
			return fmt.Sprintf("%s:\nwant %v\ngot  %v", w.Metric, w.Floats, g.Floats)
		}
	}
	return ""
}

// brief is the beginning of a matrix as a text.
func brief(m upstream.Matrix) string {
	return strings.TrimSpace(m[:min(len(m), 5)].String())
}

// same compares values within a billionth. What is below 1e-11 may be what is
// left of values that cancel each other, and depends on an order that Prometheus
// does not keep.
func same(a, b float64) bool {
	switch {
	case math.IsNaN(a) || math.IsNaN(b):
		return math.IsNaN(a) && math.IsNaN(b)
	case a == b:
		return true
	}
	return math.Abs(a-b) <= max(1e-9*max(math.Abs(a), math.Abs(b)), 1e-11)
}
