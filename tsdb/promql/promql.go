// Package promql answers queries in PromQL, the language of Prometheus, over a
// tsdb.Store, as Prometheus 3 answers them: an instant selector looks back five
// minutes, windows are open on the left, and rates are extrapolated as
// Prometheus extrapolates them.
//
// An expression is evaluated once for all steps of a query: every series is a
// column of one value per step, and a step without a value holds the bit
// pattern that Prometheus marks stale samples with. Each selector is read from
// the store once.
//
// The language is that of Prometheus without any flag: what it has behind one, and
// what MetricsQL has beyond it, is refused. Only when the names of metrics are
// removed depends (delayed.go). Prometheus' own parser is not used since
// its module links Kubernetes' clients; that ours takes the same is shown in
// tests/clients/prometheus, where Prometheus itself is the oracle. There are no
// native histograms: functions of them have no result, and distributions are seen
// as classic histograms (distribution.go).
//
// The name of a metric is its type, and its labels are those of the metric and
// of the resource (names.go).
//
// An Engine may be used concurrently. It does not authorize.
package promql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
)

// The reasons of faults, beside those of the store.
const (
	// ReasonBadData: the query cannot be understood.
	ReasonBadData = "BAD_DATA"
	// ReasonExecution: the query was understood and has no answer, such as a
	// match of many series with many.
	ReasonExecution = "EXECUTION"
	// ReasonTooMuch: the query is over a bound.
	ReasonTooMuch = "QUERY_TOO_LARGE"
)

// Options are the bounds and the habits of an engine; zero values mean what
// is said at each.
type Options struct {
	// Lookback is how old a sample may be to be an instant's value; 0 means
	// five minutes, as in Prometheus.
	Lookback time.Duration
	// Interval is the step of a subquery that names none; 0 means a minute.
	Interval time.Duration
	// Timeout is how long a query may take; 0 means two minutes.
	Timeout time.Duration
	// MaxSeries bounds the series that one selector may match; 0 means 100,000.
	MaxSeries int
	// MaxSamples bounds the samples that one query has in memory at once; 0 means
	// 50 million, as in Prometheus.
	MaxSamples int
	// MaxSteps bounds the steps of a range query; 0 means 11,000, as in
	// Prometheus.
	MaxSteps int
	// MaxConcurrent bounds the queries that are evaluated at once, of one project
	// half as many; the others wait. 0 means 20, as in Prometheus.
	MaxConcurrent int
	// Memory bounds the memory of queries together with that of others
	// (query.Budget); nil does not. MaxBytes is how much one query may have.
	Memory   Memory
	MaxBytes int64
}

// Memory is where queries have their memory from.
type Memory interface {
	// Begin waits until a query may begin that is to have no more than most
	// bytes. It calls reach with how many it holds when they become more, and
	// end when it has ended.
	Begin(ctx context.Context, most int64) (reach func(bytes int64) error, end func(), err error)
}

// Engine answers queries.
type Engine struct {
	store       tsdb.Store
	descriptors tsdb.Descriptors
	options     Options
	turns       turns
}

// New is an engine over a store and the descriptors of its metrics.
func New(store tsdb.Store, descriptors tsdb.Descriptors, o Options) *Engine {
	o.Lookback = cmp.Or(o.Lookback, 5*time.Minute)
	o.Interval = cmp.Or(o.Interval, time.Minute)
	o.Timeout = cmp.Or(o.Timeout, 2*time.Minute)
	o.MaxSeries = cmp.Or(o.MaxSeries, 100_000)
	o.MaxSamples = cmp.Or(o.MaxSamples, 50_000_000)
	o.MaxSteps = cmp.Or(o.MaxSteps, 11_000)
	o.MaxConcurrent = cmp.Or(o.MaxConcurrent, 20)
	return &Engine{store: store, descriptors: descriptors, options: o, turns: turns{all: make(chan struct{}, o.MaxConcurrent)}}
}

// Query is an expression and when it is evaluated: at Start, at Start+Step, and
// so on, not after End.
type Query struct {
	// Project is the id of the project that is read; never "".
	Project string
	// Text is the expression.
	Text string
	// Start and End are both included.
	Start, End tsdb.Millis
	// Step is 0 for an instant query, which is evaluated at Start.
	Step time.Duration
	// Timeout, if it is shorter than that of the engine, is how long the query
	// may take.
	Timeout time.Duration
}

// Type is the type of a result.
type Type string

// The types of results, as Prometheus names them.
const (
	Scalar Type = "scalar"
	Vector Type = "vector"
	Matrix Type = "matrix"
	String Type = "string"
)

// Result is what an expression is: an instant query can be any type, a range
// query is a Matrix.
type Result struct {
	Type Type
	// Time is when an instant query was evaluated.
	Time tsdb.Millis
	// Series are the series of a Vector, with one point each, or of a Matrix.
	Series []Series
	// Value is a Scalar's.
	Value float64
	// Text is a String's.
	Text string
	// Warnings and Infos say what is strange about the query or its answer, in the
	// words of Prometheus.
	Warnings, Infos []string
}

// Series is one series of a result.
type Series struct {
	Labels tsdb.Labels
	Points tsdb.Points
}

// Instant evaluates an expression at q.Start.
func (e *Engine) Instant(ctx context.Context, q Query) (Result, error) {
	q.End, q.Step = q.Start, 0
	return e.run(ctx, q)
}

// Range evaluates an expression at every step.
func (e *Engine) Range(ctx context.Context, q Query) (Result, error) {
	switch steps := e.options.MaxSteps; {
	case q.Step < time.Millisecond:
		return Result{}, badField("step", "zero or negative query resolution step widths are not accepted. Try a positive integer")
	case q.End < q.Start:
		return Result{}, badField("end", "end timestamp must not be before start time")
	case (int64(q.End)-int64(q.Start))/q.Step.Milliseconds() > int64(steps):
		return Result{}, badField("", "exceeded maximum resolution of %s points per timeseries. Try decreasing the query resolution (?step=XX)", thousands(steps))
	}
	return e.run(ctx, q)
}

// thousands is n with a comma before its last three digits, as Prometheus' texts
// have it.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// maxTime bounds instants to what sums of them and of durations cannot
// overflow: the year 9999.
const maxTime = 253402300799_000

// run compiles and evaluates.
func (e *Engine) run(ctx context.Context, q Query) (Result, error) {
	if q.Start < -maxTime || q.Start > maxTime || q.End > maxTime {
		return Result{}, badField("time", "it is out of the range of times")
	}
	n, err := compile(q.Text)
	if err != nil {
		return Result{}, err
	}
	if q.Step > 0 && n.kind() != vectorKind && n.kind() != scalarKind {
		return Result{}, bad("invalid expression type %q for range query, must be Scalar or instant Vector", n.kind())
	}
	ctx, end, err := e.begin(ctx, q.Project, q.Timeout)
	if err != nil {
		return Result{}, err
	}
	defer end()
	var reach func(int64) error
	if e.options.Memory != nil {
		var release func()
		if reach, release, err = e.options.Memory.Begin(ctx, e.options.MaxBytes); err != nil {
			return Result{}, err
		}
		defer release()
	}
	r, err := e.evaluation(q, reach, false).result(ctx, n, q)
	if alike := (*alikeError)(nil); errors.As(err, &alike) {
		return e.evaluation(q, reach, true).result(ctx, n, q)
	}
	return r, err
}

// evaluation is one that is about to begin.
func (e *Engine) evaluation(q Query, reach func(int64) error, delayed bool) *evaluation {
	return &evaluation{
		engine: e, project: q.Project, start: int64(q.Start), end: int64(q.End), instants: map[string][]column{}, budget: e.options.MaxSamples,
		said: notes{text: q.Text}, ranged: q.Start != q.End, single: q.Start == q.End, delayed: delayed, reach: reach,
	}
}

// result evaluates the expression of a query.
func (ev *evaluation) result(ctx context.Context, n node, q Query) (Result, error) {
	g := grid{start: int64(q.Start), step: 1, n: 1}
	if q.Step > 0 {
		g.step = q.Step.Milliseconds()
		g.n = int((int64(q.End)-int64(q.Start))/g.step) + 1
	}
	v, err := ev.eval(ctx, n, g)
	if err != nil {
		return Result{}, err
	}
	if v, err = ev.named(v, g); err != nil {
		return Result{}, err
	}
	r := result(v, n.kind(), q, g)
	r.Warnings, r.Infos = ev.said.list(warning, "warning"), ev.said.list(info, "info")
	return r, nil
}

// result is a value in the form that callers see.
func result(v value, k kind, q Query, g grid) Result {
	r := Result{Type: Matrix, Time: q.Start, Text: v.text}
	if q.Step == 0 {
		switch k {
		case stringKind:
			r.Type = String
			return r
		case scalarKind:
			r.Type, r.Value = Scalar, v.scalar[0]
			return r
		case matrixKind:
			for _, s := range v.ranges.series {
				if p := s.between(v.ranges.span(g, 0)); len(p.times) > 0 {
					r.Series = append(r.Series, Series{s.labels, tsdb.Points{Times: millis(p.times), Values: p.values}})
				}
			}
			slices.SortFunc(r.Series, bySeries)
			return r
		}
		r.Type = Vector
	} else if k == scalarKind {
		v.vector = []column{{values: v.scalar}}
	}
	for _, c := range v.vector {
		s := Series{Labels: c.labels}
		for i, x := range c.values {
			if !missing(x) {
				s.Points.Times = append(s.Points.Times, tsdb.Millis(g.at(i)))
				s.Points.Values = append(s.Points.Values, x)
			}
		}
		if s.Points.Len() > 0 {
			r.Series = append(r.Series, s)
		}
	}
	if r.Type == Matrix {
		slices.SortFunc(r.Series, bySeries)
	}
	return r
}

// bySeries orders series by their labels.
func bySeries(a, b Series) int { return compareLabels(a.Labels, b.Labels) }

// millis are times as the store has them.
func millis(times []int64) []tsdb.Millis {
	made := make([]tsdb.Millis, len(times))
	for i, t := range times {
		made[i] = tsdb.Millis(t)
	}
	return made
}

// bad is the fault of a query that cannot be understood.
func bad(format string, args ...any) error { return badField("query", format, args...) }

// badField is the fault of a parameter.
func badField(field, format string, args ...any) error {
	return &fault.Error{Op: "promql.Query", Kind: fault.Invalid, Reason: ReasonBadData, Field: field, Err: fmt.Errorf(format, args...)}
}

// failed is the fault of a query that has no answer.
func failed(format string, args ...any) error {
	return &fault.Error{Op: "promql.Query", Kind: fault.Invalid, Reason: ReasonExecution, Field: "query", Err: fmt.Errorf(format, args...)}
}
