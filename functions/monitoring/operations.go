package monitoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/cardinality"
	"selvedge.dev/tsdb/query/filter"
)

// The permissions of what is not of Google.
const (
	// DeleteTimeSeries is needed to remove series.
	DeleteTimeSeries = "monitoring.timeSeries.delete"
	// GetBounds and UpdateBounds are needed to read and to set how long points
	// are kept and how many series there may be. To set how many series a
	// project may have, UpdateBounds is needed outside of the project: its own
	// keys must not lift what it is bounded by.
	GetBounds    = "monitoring.timeSeriesBounds.get"
	UpdateBounds = "monitoring.timeSeriesBounds.update"
)

// Operations is what can be done with series beside reading and writing them.
// All fields but Settle are required.
type Operations struct {
	// Store has the series.
	Store Operable
	// Bounds keeps what is set for projects and metrics.
	Bounds tsdb.Bounded
	// Guard keeps what is set.
	Guard Guard
	// Settle returns when nothing that was acknowledged before the call comes
	// to the storage later, not after a crash either; nil when nothing does.
	Settle func(ctx context.Context) error
	// Retention is how long the storage keeps points.
	Retention time.Duration
}

// Operable is a storage that can be operated on.
type Operable interface {
	tsdb.Store
	tsdb.Surveyor
	tsdb.Deleter
	tsdb.Expirer
}

// Guard keeps the bounds of projects; guard.Guard does.
type Guard interface {
	// Active is how many series are active, and how many may be.
	Active(project string) (active, limit int)
	// Changed has it look at the bounds anew, Forget at the series too.
	Changed(project string)
	Forget(project string)
}

// operationRoutes adds the routes of Operations.
func (s *Service) operationRoutes(r chi.Router, root string) {
	if s.Operations == nil {
		return
	}
	r.Get(root+"timeSeries:cardinality", s.handle(ListTimeSeries, s.restCardinality))
	r.Post(root+"timeSeries:delete", s.handle(DeleteTimeSeries, s.restDelete))
	if s.Series != nil {
		r.Post(root+"timeSeries:import", s.handle(CreateTimeSeries, s.restImport))
	}
	r.Get(root+"timeSeriesBounds", s.handle(GetBounds, s.restGetBounds))
	r.Get(root+"timeSeriesBounds/*", s.handle(GetBounds, s.restGetBounds))
	r.Patch(root+"timeSeriesBounds", s.handle(UpdateBounds, s.restUpdateBounds))
	r.Patch(root+"timeSeriesBounds/*", s.handle(UpdateBounds, s.restUpdateBounds))
}

// always is all of time.
func always() tsdb.Interval { return tsdb.Interval{Start: 0, End: math.MaxInt64} }

// selection reads a filter of series.
func selection(project, text string) (tsdb.Selection, error) {
	f, err := filter.Parse(text)
	if err != nil {
		return tsdb.Selection{}, err
	}
	sel := tsdb.Selection{Project: project, Interval: always()}
	if f.String() != "" {
		sel.Metric, sel.Where, sel.Keep = f.Metric(), f.Conditions(), f.Match
	}
	return sel, nil
}

// The bounds of the top lists of a report of cardinality.
const (
	defaultTop = 10
	maxTop     = 1000
)

// cardinalityReport is the answer of timeSeries:cardinality.
type cardinalityReport struct {
	cardinality.Report
	// Active is how many series are active in the whole project, whatever the
	// filter says, and Limit how many may be.
	Active int `json:"active"`
	Limit  int `json:"limit"`
}

// restCardinality answers GET timeSeries:cardinality: how many series there
// are, of which metrics, and with which labels. The parameters are filter,
// interval.startTime and interval.endTime (the last 24 hours by default) and
// top, how many metrics and labels are told.
func (s *Service) restCardinality(w http.ResponseWriter, r *http.Request, project string) error {
	p, err := parseParams(r, "filter", "interval.startTime", "interval.endTime", "top")
	if err != nil {
		return err
	}
	end, start, top := p.instant("interval.endTime"), p.instant("interval.startTime"), p.number("top")
	if end.IsZero() {
		end = time.Now().Add(s.maxFuture())
	}
	if start.IsZero() {
		start = time.Now().Add(-24 * time.Hour)
	}
	if top == 0 {
		top = defaultTop
	}
	switch {
	case p.err != nil:
		return p.err
	case start.After(end):
		return invalid("interval.startTime", "it is after the end")
	case top < 0 || top > maxTop:
		return invalid("top", "it must be between 1 and %d", maxTop)
	}
	sel, err := selection(project, p.text("filter"))
	if err != nil {
		return err
	}
	sel.Interval = tsdb.Interval{Start: tsdb.Millis(start.UnixMilli()), End: tsdb.Millis(end.UnixMilli())}
	report, err := cardinality.Compute(r.Context(), s.Operations.Store, sel, top)
	if err != nil {
		return err
	}
	out := cardinalityReport{Report: report}
	out.Active, out.Limit = s.Operations.Guard.Active(project)
	return writePlain(w, out)
}

// maxFuture is how far ahead of now points may be.
func (s *Service) maxFuture() time.Duration {
	if s.Bounds.MaxFuture > 0 {
		return s.Bounds.MaxFuture
	}
	return defaultMaxFuture
}

// deletion is the body of timeSeries:delete.
type deletion struct {
	// Filter says which series; it is required.
	Filter string `json:"filter"`
	// ValidateOnly has them counted and not deleted.
	ValidateOnly bool `json:"validateOnly"`
}

// deleted is its answer.
type deleted struct {
	// Series is how many were deleted, or would be.
	Series int `json:"series"`
}

// restDelete answers POST timeSeries:delete: it removes the series that a
// filter matches, with all of their points.
func (s *Service) restDelete(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	var body deletion
	if err := readPlain(w, r, &body); err != nil {
		return err
	}
	sel, err := selection(project, body.Filter)
	if err != nil {
		return err
	}
	if sel.Keep == nil {
		return invalid("filter", `a filter is required, such as metric.type = "TYPE"`)
	}
	if !body.ValidateOnly {
		n, err := s.Operations.Delete(r.Context(), sel)
		if err != nil {
			return err
		}
		return writePlain(w, deleted{n})
	}
	n := 0
	err = s.Operations.Store.Survey(r.Context(), sel, func(*tsdb.Series) error { n++; return nil })
	if err != nil {
		return err
	}
	return writePlain(w, deleted{n})
}

// settleTime bounds how long a deletion waits for events that are on their way.
// What comes later than that comes after it.
const settleTime = 5 * time.Second

// settle waits for what was acknowledged.
func (o *Operations) settle(ctx context.Context) error {
	if o.Settle == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := o.Settle(waiting); err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("wait for points on their way: %w", err)
	}
	return nil
}

// Delete removes series. What was acknowledged before does not bring them
// back, after a crash either.
func (o *Operations) Delete(ctx context.Context, sel tsdb.Selection) (int, error) {
	if err := o.settle(ctx); err != nil {
		return 0, err
	}
	n, err := o.Store.Delete(ctx, sel)
	o.Guard.Forget(sel.Project)
	return n, err
}

// Expire removes the series whose newest point is older than their retention:
// what is left of them is told nobody.
func (o *Operations) Expire(ctx context.Context, project, metric string, retention time.Duration) (int, error) {
	sel := tsdb.Selection{Project: project, Metric: metric, Interval: always(), MaxSeries: math.MaxInt32}
	if metric == "" { // those with one of their own are not meant
		sel.Keep = func(s *tsdb.Series) bool { return o.Bounds.Bounds(project, s.Metric).Retention == 0 }
	}
	n, err := o.Store.Expire(ctx, sel, tsdb.Millis(time.Now().Add(-retention).UnixMilli()))
	if n > 0 {
		o.Guard.Forget(project)
	}
	return n, err
}

// readPlain reads a body in JSON that is no message of Google's. Fields that
// are not known are refused.
func readPlain(w http.ResponseWriter, r *http.Request, into any) error {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage))
	in.DisallowUnknownFields()
	err := in.Decode(into)
	if err == nil {
		if _, more := in.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something behind the object")
		}
	}
	if err != nil {
		return &fault.Error{Op: "monitoring.readPlain", Kind: fault.Invalid, Reason: "MALFORMED_JSON", Field: "body", Err: err}
	}
	return nil
}

// writePlain answers with what is no message of Google's.
func writePlain(w http.ResponseWriter, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	begin(w)
	_, _ = w.Write(append(text, '\n')) // a caller who went away needs no answer
	return nil
}
