// Package prometheus is the door to time series that clients of Prometheus
// know: the HTTP API at /prometheus/api/v1, so that a stock Prometheus data
// source of Grafana works with the address of the platform and /prometheus.
//
//	GET, POST /prometheus/api/v1/query
//	GET, POST /prometheus/api/v1/query_range
//	GET, POST /prometheus/api/v1/series
//	GET, POST /prometheus/api/v1/labels
//	GET       /prometheus/api/v1/label/{name}/values
//	GET       /prometheus/api/v1/metadata
//	GET       /prometheus/api/v1/status/buildinfo
//	GET, POST /prometheus/api/v1/query_exemplars    always empty
//	GET       /prometheus/api/v1/rules, /alerts     always empty
//
// What a query means is in tsdb/promql. A request reads one project: that of
// its credentials, or the one that ?project= or the header X-Selvedge-Project
// names. Errors have Prometheus' form. Parameters that are not known are
// ignored, as Prometheus ignores them, since its clients send many.
//
// A Service may be used concurrently. It does not authenticate: Authorize is
// asked before anything else is looked at.
package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/tsdb/promql"
)

// The permissions that Authorize is asked for, by Google's names.
const (
	// ListTimeSeries is needed to read series and their points.
	ListTimeSeries = "monitoring.timeSeries.list"
	// ListDescriptors is needed to read what metrics there are.
	ListDescriptors = "monitoring.metricDescriptors.list"
)

// projectParameter and projectHeader name the project of a request whose
// credentials are of none.
const (
	projectParameter = "project"
	projectHeader    = "X-Selvedge-Project"
)

// maxForm bounds the body of a POST: a query and what little comes with it.
const maxForm = 1 << 20

// Service answers requests. Engine and Authorize are required.
type Service struct {
	// Engine answers queries.
	Engine *promql.Engine
	// Authorize returns nil when the caller of r has the permission on the
	// project (an id), and else the error to answer with. Nil denies
	// everything.
	Authorize func(r *http.Request, project, permission string) error
	// Logger is told about internal errors, which callers do not see; nil
	// discards.
	Logger *slog.Logger
}

// Routes adds the service's routes, which are absolute, to r.
func (s *Service) Routes(r chi.Router) {
	const root = "/prometheus/api/v1/"
	both := func(path string, h http.HandlerFunc) {
		r.Get(root+path, h)
		r.Post(root+path, h)
	}
	both("query", s.handle(ListTimeSeries, s.query))
	both("query_range", s.handle(ListTimeSeries, s.queryRange))
	both("series", s.handle(ListTimeSeries, s.series))
	both("labels", s.handle(ListTimeSeries, s.labels))
	r.Get(root+"label/{name}/values", s.handle(ListTimeSeries, s.labelValues))
	r.Get(root+"metadata", s.handle(ListDescriptors, s.metadata))
	both("query_exemplars", s.handle(ListTimeSeries, constant(`[]`)))
	r.Get(root+"rules", s.handle(ListTimeSeries, constant(`{"groups":[]}`)))
	r.Get(root+"alerts", s.handle(ListTimeSeries, constant(`{"alerts":[]}`)))
	r.Get(root+"status/buildinfo", s.handle(ListDescriptors, constant(buildInfo)))
}

// buildInfo says which version's queries are answered; Grafana asks, to know
// what it may send.
const buildInfo = `{"version":"3.0.0","revision":"","branch":"","buildUser":"","buildDate":"","goVersion":"","application":"selvedge"}`

// reply is the data of an answer in JSON, or the result of a query, which is
// written as it is encoded; and what else is said.
type reply struct {
	data            []byte
	result          *promql.Result
	warnings, infos []string
}

// answer makes a reply.
type answer func(ctx context.Context, p *params) (reply, error)

// constant is an answer that is always the same.
func constant(data string) answer {
	return func(context.Context, *params) (reply, error) { return reply{data: []byte(data)}, nil }
}

// handle authorizes a request and writes the answer of f.
func (s *Service) handle(permission string, f answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		made, err := s.call(w, r, permission, f)
		if err != nil {
			s.log(r, err)
			writeError(w, err)
			return
		}
		writeReply(w, r, made)
	}
}

// call is handle without the writing.
func (s *Service) call(w http.ResponseWriter, r *http.Request, permission string, f answer) (reply, error) {
	project, err := s.project(r, permission)
	if err != nil {
		return reply{}, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return reply{}, &fault.Error{Op: "prometheus.call", Kind: fault.TooLarge, Err: fmt.Errorf("the form is longer than %d bytes", maxForm)}
		}
		return reply{}, invalid("form", "%v", err)
	}
	return f(r.Context(), &params{r: r, project: project})
}

// project is the project that the request reads, which its caller may read.
func (s *Service) project(r *http.Request, permission string) (string, error) {
	named, header := r.URL.Query().Get(projectParameter), r.Header.Get(projectHeader)
	if named != "" && header != "" && named != header {
		return "", invalid(projectParameter, "the parameter and the header %s name different projects", projectHeader)
	}
	id := cmp.Or(named, header, iam.PrincipalOf(r.Context()).Project)
	if s.Authorize == nil {
		return "", &fault.Error{Op: "prometheus.project", Kind: fault.Denied, Field: permission}
	}
	if err := s.Authorize(r, id, permission); err != nil {
		return "", err
	}
	if id == "" {
		return "", invalid(projectParameter, "the key is of no project: name one by ?%s= or the header %s", projectParameter, projectHeader)
	}
	if _, err := resource.Project.Format(id); err != nil {
		return "", fmt.Errorf("reading the project: %w", err)
	}
	return id, nil
}

// log tells of an internal error, which the caller does not see.
func (s *Service) log(r *http.Request, err error) {
	if s.Logger != nil && r.Context().Err() == nil && fault.KindOf(err) == fault.Internal {
		s.Logger.ErrorContext(r.Context(), "prometheus request failed", slog.Any("error", err), slog.String("path", r.URL.Path))
	}
}

// invalid is the fault of a parameter.
func invalid(field, format string, args ...any) error {
	return &fault.Error{Op: "prometheus.call", Kind: fault.Invalid, Reason: promql.ReasonBadData, Field: field, Err: fmt.Errorf(format, args...)}
}
