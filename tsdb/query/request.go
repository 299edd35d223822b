package query

import (
	"fmt"
	"slices"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/align"
	"selvedge.dev/tsdb/query/filter"
	"selvedge.dev/tsdb/reduce"
	"selvedge.dev/tsdb/rollup"
)

// MaxPageSize is the most that a page holds, and what it holds when the
// request does not say (the API).
const MaxPageSize = 100_000

// The bounds of an alignment period. The longest is the API's for charts.
const (
	minPeriod = time.Second
	maxPeriod = 104 * 7 * 24 * time.Hour
)

// maxGroupBy is how many fields a request may group by: more than a series
// has labels in practice.
const maxGroupBy = 64

// maxQuoted is how much of an invalid value an error repeats, in bytes.
const maxQuoted = 100

// Request asks for time series. The fields are those of the API's
// ListTimeSeriesRequest.
type Request struct {
	// Project is the id of the project that is read.
	Project string
	// Filter says which series; see tsdb/query/filter. It must not be empty.
	Filter string
	// Start and End are the half-open interval (Start, End]. End is required.
	// Without a Start, or with one that equals End, the interval is the
	// instant End alone: unaligned points at it, or the one window that ends
	// there.
	Start, End time.Time
	// Aggregation says how points are combined; the zero value leaves them as
	// they are.
	Aggregation Aggregation
	// SecondaryAggregation, if it is not the zero value, combines what
	// Aggregation made once more. It requires an Aggregation that is not the
	// zero value (the API).
	SecondaryAggregation Aggregation
	// View is "FULL", the default, or "HEADERS": only which series there are.
	View string
	// PageSize bounds the points of a page, or the series if View is HEADERS;
	// 0 and everything over MaxPageSize mean MaxPageSize.
	PageSize int
	// PageToken is the Next of the page before, "" for the first page.
	PageToken string
	// Explain asks for the Trace of the page.
	Explain bool
}

// Aggregation says how points are combined.
type Aggregation struct {
	// AlignmentPeriod is the width of the windows: whole milliseconds, at
	// least a second and at most 104 weeks. It is required with an aligner
	// and ignored without one (the API).
	AlignmentPeriod time.Duration
	// PerSeriesAligner is the name of an aligner, "" for ALIGN_NONE.
	PerSeriesAligner string
	// CrossSeriesReducer is the name of a reducer, "" for REDUCE_NONE. It
	// requires an aligner (the API).
	CrossSeriesReducer string
	// GroupByFields are the labels that the reduced series keep: those with
	// equal values are reduced together. They are ignored without a reducer
	// (the API).
	GroupByFields []string
}

// zero reports whether nothing is said.
func (a Aggregation) zero() bool {
	return a.AlignmentPeriod == 0 && a.PerSeriesAligner == "" && a.CrossSeriesReducer == "" && len(a.GroupByFields) == 0
}

// stage is one aggregation: the series that come in are aligned, and then
// reduced in groups.
type stage struct {
	grid    align.Grid
	aligner align.Aligner
	reducer reduce.Reducer
	groupBy []filter.Field
}

// plan is a valid request.
type plan struct {
	filter *parsed
	// start and end are the interval (start, end], or the instant end when
	// they are equal.
	start, end tsdb.Millis
	// stages are the aggregations in the order of their doing; at least one.
	stages   []stage
	headers  bool
	pageSize int
	project  string
	cursor   cursor
}

// invalid is the error of a request that cannot be answered because of one
// field, worded as the API words it.
func invalid(field string, value any, format string, args ...any) error {
	text := fmt.Sprint(value)
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "…"
	}
	return &fault.Error{
		Kind: fault.Invalid, Field: field,
		Err: fmt.Errorf("field %s had an invalid value of %q: %s", field, text, fmt.Sprintf(format, args...)),
	}
}

// newPlan validates a request.
func (e *Engine) newPlan(req Request) (plan, error) {
	if req.Project == "" {
		return plan{}, invalid("name", "", "a project is required")
	}
	if rollup.Hidden(req.Project) {
		return plan{}, invalid("name", req.Project, "no project has this id")
	}
	var p plan
	setFilter := func(req Request) error { return p.setFilter(req, &e.asked) }
	for _, step := range []func(Request) error{setFilter, p.setInterval, p.setAggregation, p.setPage} {
		if err := step(req); err != nil {
			return plan{}, err
		}
	}
	return p, nil
}

// setFilter parses the filter, unless it was asked for before.
func (p *plan) setFilter(req Request, asked *asked) (err error) {
	if p.filter, err = asked.parse(req.Filter); err != nil {
		return err
	}
	if p.filter.empty {
		return invalid("filter", req.Filter, `a filter is required, such as metric.type = "TYPE"`)
	}
	return nil
}

// setInterval checks the interval.
func (p *plan) setInterval(req Request) error {
	if req.End.IsZero() {
		return invalid("interval.endTime", "", "an end time is required")
	}
	if req.Start.IsZero() {
		req.Start = req.End
	}
	if req.Start.After(req.End) {
		return invalid("interval.startTime", req.Start.Format(time.RFC3339Nano),
			"the start time must not be later than the end time (%s)", req.End.Format(time.RFC3339Nano))
	}
	p.start, p.end = tsdb.Millis(req.Start.UnixMilli()), tsdb.Millis(req.End.UnixMilli())
	return nil
}

// setAggregation checks the aggregations. The last one answers for the
// interval; the one before it has to make all that the last one reads, on a
// grid that hangs on the same end.
func (p *plan) setAggregation(req Request) error {
	asked := []Aggregation{req.Aggregation}
	if !req.SecondaryAggregation.zero() {
		if req.Aggregation.zero() {
			return invalid("secondaryAggregation", req.SecondaryAggregation.PerSeriesAligner,
				"it may only be specified if aggregation is specified")
		}
		asked = append(asked, req.SecondaryAggregation)
	}
	p.stages = make([]stage, len(asked))
	for i, agg := range asked {
		if err := p.stages[i].set(agg, []string{"aggregation", "secondaryAggregation"}[i]); err != nil {
			return err
		}
	}
	grid := align.Grid{Start: p.start, End: p.end}
	for i := len(p.stages) - 1; i >= 0; i-- {
		st := &p.stages[i]
		period := st.grid.Period
		st.grid = grid
		st.grid.Period = period
		if !st.aligner.None() && i < len(p.stages)-1 {
			st.grid.End = p.end + (grid.End-p.end+period-1)/period*period
		}
		reads := st.aligner.Reads(st.grid)
		grid = align.Grid{Start: reads.Start - 1, End: reads.End}
	}
	return nil
}

// set checks the aggregation in the field of the request. Of the grid it sets
// the period.
func (st *stage) set(agg Aggregation, field string) (err error) {
	if st.aligner, err = align.ParseField(field+".perSeriesAligner", agg.PerSeriesAligner); err != nil {
		return err
	}
	if st.reducer, err = reduce.ParseField(field+".crossSeriesReducer", agg.CrossSeriesReducer); err != nil {
		return err
	}
	if st.aligner.None() {
		if !st.reducer.None() {
			return invalid(field+".perSeriesAligner", st.aligner,
				"the reducer %s needs aligned series, so an aligner other than %s is required", st.reducer, st.aligner)
		}
		return nil
	}
	switch d := agg.AlignmentPeriod; {
	case d == 0:
		return invalid(field+".alignmentPeriod", "", "the aligner %s requires an alignment period", st.aligner)
	case d < minPeriod || d > maxPeriod || d%time.Millisecond != 0:
		return invalid(field+".alignmentPeriod", d,
			"the alignment period must be whole milliseconds, at least %s and at most %s", minPeriod, maxPeriod)
	}
	st.grid.Period = tsdb.Millis(agg.AlignmentPeriod / time.Millisecond)
	if st.reducer.None() {
		return nil
	}
	if len(agg.GroupByFields) > maxGroupBy {
		return invalid(field+".groupByFields", len(agg.GroupByFields), "at most %d fields can be grouped by", maxGroupBy)
	}
	for _, text := range agg.GroupByFields {
		f, err := filter.ParseField(text)
		if err != nil {
			return invalid(field+".groupByFields", text, "%v", err)
		}
		st.groupBy = append(st.groupBy, f)
	}
	return nil
}

// reads is the closed interval of the points that the first stage needs.
func (p *plan) reads() tsdb.Interval { return p.stages[0].aligner.Reads(p.stages[0].grid) }

// reduces reports whether the results are groups of series.
func (p *plan) reduces() bool {
	return slices.ContainsFunc(p.stages, func(st stage) bool { return !st.reducer.None() })
}

// check says whether every stage can be applied to what the series is when it
// gets there, whatever points it has.
func (p *plan) check(s *tsdb.Series) (err error) {
	for _, st := range p.stages {
		if s, err = st.aligner.Output(s); err != nil {
			return err
		}
		if s, err = st.reducer.Output(s); err != nil {
			return err
		}
	}
	return nil
}

// setPage checks the view and the page, which need all the rest to be known.
func (p *plan) setPage(req Request) (err error) {
	switch req.View {
	case "", "FULL":
	case "HEADERS":
		p.headers = true
	default:
		return invalid("view", req.View, "it is neither FULL nor HEADERS")
	}
	switch {
	case req.PageSize < 0:
		return invalid("pageSize", req.PageSize, "it must be positive")
	case req.PageSize == 0:
		p.pageSize = MaxPageSize
	default:
		p.pageSize = min(req.PageSize, MaxPageSize)
	}
	p.project = req.Project
	p.cursor, err = p.parseToken(req.PageToken)
	return err
}

// keep selects the series that are read: those of the filter, and when no
// other series can matter, only those at or behind the page token.
func (p *plan) keep(s *tsdb.Series) bool {
	if !p.filter.Match(s) {
		return false
	}
	return p.reduces() || p.cursor.key == "" || s.Key() >= p.cursor.key
}

// groupOf is the series that s is reduced into: its metric type, its resource
// type and the labels that are grouped by.
func (st *stage) groupOf(s *tsdb.Series) *tsdb.Series {
	metric, resource := map[string]string{}, map[string]string{}
	for _, f := range st.groupBy {
		value := f.Of(s)
		if value == "" {
			continue // as good as no label
		}
		if name, ok := f.MetricLabel(); ok {
			metric[name] = value
		}
		if name, ok := f.ResourceLabel(); ok {
			resource[name] = value
		}
	}
	return &tsdb.Series{
		Project: s.Project, Metric: s.Metric, Resource: s.Resource,
		MetricLabels: tsdb.LabelsOf(metric), ResourceLabels: tsdb.LabelsOf(resource),
		Kind: s.Kind, ValueType: s.ValueType, Unit: s.Unit,
	}
}
