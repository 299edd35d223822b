package monitoring

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/catalog"
)

// boundsJSON are bounds as they are told and set.
type boundsJSON struct {
	// Retention is a duration in seconds, "2592000s"; "" or "0s" is as long as
	// the project, or the storage, keeps points.
	Retention *string `json:"retention,omitempty"`
	// MaxSeries is how many series may be active; 0 is the platform's bound.
	MaxSeries *int `json:"maxSeries,omitempty"`
	// Metrics are the bounds of the metrics that have some, by type; it is told
	// of a project.
	Metrics map[string]boundsJSON `json:"metrics,omitempty"`
	// StorageRetention is how long the storage keeps points at most.
	StorageRetention string `json:"storageRetention,omitempty"`
	// WouldLose says what a retention takes away; it is told when one is set or
	// tried.
	WouldLose *loss `json:"wouldLose,omitempty"`
}

// loss is what a retention takes away.
type loss struct {
	// Series is how many series have points that are older, Points how many
	// those points are.
	Series int `json:"series"`
	Points int `json:"points"`
}

// boundsOf is b as it is told.
func boundsOf(b tsdb.Bounds) boundsJSON {
	out := boundsJSON{MaxSeries: &b.MaxSeries}
	text := secondsText(b.Retention)
	out.Retention = &text
	return out
}

// secondsText is a duration as seconds writes it.
func secondsText(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

// boundsTarget is the metric whose bounds a path is about, "" for the project.
func boundsTarget(r *http.Request) (string, error) {
	if chi.URLParam(r, "*") == "" {
		return "", nil
	}
	return pathParam(r, "*")
}

// restGetBounds answers GET timeSeriesBounds and timeSeriesBounds/TYPE.
func (s *Service) restGetBounds(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	metric, err := boundsTarget(r)
	if err != nil {
		return err
	}
	if metric != "" {
		if _, err := s.Descriptors.Descriptor(r.Context(), project, metric); err != nil {
			return err
		}
		return writePlain(w, boundsOf(s.Operations.Bounds.Bounds(project, metric)))
	}
	out := boundsOf(s.Operations.Bounds.Bounds(project, ""))
	out.StorageRetention = secondsText(s.Operations.Retention)
	list, err := s.Descriptors.List(r.Context(), project)
	if err != nil {
		return err
	}
	out.Metrics = map[string]boundsJSON{}
	for _, d := range list {
		if b := s.Operations.Bounds.Bounds(project, d.Type); b != (tsdb.Bounds{}) {
			out.Metrics[d.Type] = boundsOf(b)
		}
	}
	return writePlain(w, out)
}

// restUpdateBounds answers PATCH timeSeriesBounds and timeSeriesBounds/TYPE:
// what is in the body is set, what is not stays. With validateOnly=true nothing
// is set, and the answer says what a shorter retention would take away.
func (s *Service) restUpdateBounds(w http.ResponseWriter, r *http.Request, project string) error {
	p, err := parseParams(r, "validateOnly")
	if err != nil {
		return err
	}
	var validate bool
	if text := p.text("validateOnly"); text != "" {
		if validate, err = strconv.ParseBool(text); err != nil {
			return invalid("validateOnly", "it is neither true nor false")
		}
	}
	metric, err := boundsTarget(r)
	if err != nil {
		return err
	}
	var body boundsJSON
	if err := readPlain(w, r, &body); err != nil {
		return err
	}
	had := s.Operations.Bounds.Bounds(project, metric)
	next, err := s.changedBounds(r, project, metric, body)
	if err != nil {
		return err
	}
	out := boundsOf(next)
	if validate {
		if out.WouldLose, err = s.Operations.wouldLose(r.Context(), project, metric, next.Retention); err != nil {
			return err
		}
		return writePlain(w, out)
	}
	if err := s.Operations.Bounds.SetBounds(r.Context(), project, metric, next); err != nil {
		return err
	}
	if next != had {
		s.Operations.Guard.Changed(project)
	}
	return writePlain(w, out)
}

// changedBounds are the bounds of a metric or project with what the body sets,
// which its caller may set.
func (s *Service) changedBounds(r *http.Request, project, metric string, body boundsJSON) (tsdb.Bounds, error) {
	next := s.Operations.Bounds.Bounds(project, metric)
	if metric != "" {
		if _, err := s.Descriptors.Descriptor(r.Context(), project, metric); err != nil {
			return next, err
		}
	}
	if body.Metrics != nil || body.StorageRetention != "" || body.WouldLose != nil {
		return next, invalid("body", "only retention and maxSeries can be set")
	}
	if body.MaxSeries != nil {
		if *body.MaxSeries != next.MaxSeries && metric == "" {
			if err := s.Authorize(r, "", UpdateBounds); err != nil {
				return next, err
			}
		}
		next.MaxSeries = *body.MaxSeries
	}
	if body.Retention != nil {
		next.Retention = 0
		if *body.Retention != "" {
			d, err := seconds(*body.Retention)
			if err != nil {
				return next, invalid("retention", `it is no duration in seconds, such as "2592000s"`)
			}
			next.Retention = d
		}
	}
	if next.Retention > s.Operations.Retention {
		return next, invalid("retention", "the storage keeps points for %s only", s.Operations.Retention)
	}
	return next, catalog.CheckBounds(next)
}

// wouldLose counts what the retention of a metric or project would take away.
func (o *Operations) wouldLose(ctx context.Context, project, metric string, retention time.Duration) (*loss, error) {
	out := &loss{}
	if retention == 0 {
		if metric == "" {
			return out, nil
		}
		if retention = o.Bounds.Bounds(project, "").Retention; retention == 0 {
			return out, nil
		}
	}
	sel := tsdb.Selection{
		Project: project, Metric: metric,
		Interval: tsdb.Interval{Start: 0, End: tsdb.Millis(time.Now().Add(-retention).UnixMilli()) - 1},
		Keep:     func(s *tsdb.Series) bool { return metric != "" || o.Bounds.Bounds(project, s.Metric).Retention == 0 },
	}
	err := o.Store.Select(ctx, sel, func(_ *tsdb.Series, points tsdb.Points) error {
		out.Series++
		out.Points += points.Len()
		return nil
	})
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Exhausted && f.Reason == "" {
		err = &fault.Error{Op: "monitoring.wouldLose", Kind: fault.Exhausted, Reason: "TOO_MUCH_TO_COUNT", Err: err}
	}
	return out, err
}
