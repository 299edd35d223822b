// Package monitoring is the HTTP door to time series: the reading half of
// Google Cloud Monitoring v3's REST API, so that stock clients and dashboards
// work unchanged.
//
//	GET /v3/projects/{project}/timeSeries
//	GET /v3/projects/{project}/metricDescriptors
//	GET /v3/projects/{project}/metricDescriptors/{type…}
//	GET /v3/projects/{project}/monitoredResourceDescriptors
//	GET /v3/projects/{project}/monitoredResourceDescriptors/{type}
//
// Parameters have Google's names, in lowerCamel or in snake_case
// (interval.startTime, interval.start_time). A parameter that is not known
// here is refused and not ignored, since an answer to another question is
// worse than none. What a request means is in tsdb/query.
//
// The one monitored resource type is "device", with the labels project_id and
// device_id.
//
// A Service keeps no state and may be used concurrently. It does not
// authenticate: Authorize is asked before anything else is looked at.
package monitoring

import (
	"log/slog"
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// The permissions that Authorize is asked for, by Google's names.
const (
	// ListTimeSeries is needed to read series and their points.
	ListTimeSeries = "monitoring.timeSeries.list"
	// ListDescriptors is needed to read descriptors of metrics and of
	// monitored resources.
	ListDescriptors = "monitoring.metricDescriptors.list"
)

// Service answers over HTTP. All fields but Logger are required.
type Service struct {
	// Engine answers queries.
	Engine *query.Engine
	// Descriptors are the metrics that there are.
	Descriptors tsdb.Descriptors
	// Authorize returns nil when the caller of r has the permission on the
	// project (an id), and else the error to answer with.
	Authorize func(r *http.Request, project, permission string) error
	// Logger is told about internal errors, which callers do not see; nil
	// discards.
	Logger *slog.Logger
}

// Routes adds the service's routes, which are absolute, to r.
func (s *Service) Routes(r chi.Router) {
	const root = "/v3/projects/{project}/"
	r.Get(root+"timeSeries", s.handle(ListTimeSeries, s.listTimeSeries))
	r.Get(root+"metricDescriptors", s.handle(ListDescriptors, s.listMetricDescriptors))
	r.Get(root+"metricDescriptors/*", s.handle(ListDescriptors, s.metricDescriptor))
	r.Get(root+"monitoredResourceDescriptors", s.handle(ListDescriptors, s.listResourceDescriptors))
	r.Get(root+"monitoredResourceDescriptors/{type}", s.handle(ListDescriptors, s.resourceDescriptor))
}

// handle authorizes a request, calls f with the project, and answers with the
// error that it returns, if any. An f that has begun to answer returns nil.
func (s *Service) handle(permission string, f func(w http.ResponseWriter, r *http.Request, project string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		project, err := pathParam(r, "project")
		if err == nil {
			err = s.Authorize(r, project, permission)
		}
		if err == nil {
			err = f(w, r, project)
		}
		if err == nil {
			return
		}
		if s.Logger != nil && fault.KindOf(err) == fault.Internal {
			s.Logger.ErrorContext(r.Context(), "monitoring request failed", slog.Any("error", err), slog.String("path", r.URL.Path))
		}
		fault.Write(w, err)
	}
}

// pathParam is the unescaped value of a part of the path. The router matches
// the path as it was sent, so that a metric type may hold escaped characters.
func pathParam(r *http.Request, name string) (string, error) {
	text := chi.URLParam(r, name)
	if r.URL.RawPath == "" {
		return text, nil
	}
	value, err := url.PathUnescape(text)
	if err != nil {
		return "", &fault.Error{Op: "monitoring.pathParam", Kind: fault.Invalid, Field: name, Err: err}
	}
	return value, nil
}

// begin sends the header of an answer in JSON.
func begin(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
