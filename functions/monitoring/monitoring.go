// Package monitoring is the door to time series: Google Cloud Monitoring v3's
// MetricService, whole, so that its official client libraries work with another
// endpoint and nothing else changed. The messages are Google's own.
//
// It speaks gRPC, gRPC-Web and Connect at
// /google.monitoring.v3.MetricService/METHOD, and Google's REST:
//
//	GET    /v3/projects/{project}/timeSeries
//	POST   /v3/projects/{project}/timeSeries
//	POST   /v3/projects/{project}/timeSeries:createService
//	GET    /v3/projects/{project}/timeSeries:export
//	GET    /v3/projects/{project}/metricDescriptors
//	POST   /v3/projects/{project}/metricDescriptors
//	GET    /v3/projects/{project}/metricDescriptors/{type…}
//	DELETE /v3/projects/{project}/metricDescriptors/{type…}
//	GET    /v3/projects/{project}/monitoredResourceDescriptors
//	GET    /v3/projects/{project}/monitoredResourceDescriptors/{type}
//
// and, when there are Operations, what is not of Google:
//
//	GET    /v3/projects/{project}/timeSeries:cardinality
//	POST   /v3/projects/{project}/timeSeries:delete
//	POST   /v3/projects/{project}/timeSeries:import
//	GET    /v3/projects/{project}/timeSeriesBounds
//	PATCH  /v3/projects/{project}/timeSeriesBounds
//	GET    /v3/projects/{project}/timeSeriesBounds/{type…}
//	PATCH  /v3/projects/{project}/timeSeriesBounds/{type…}
//
// and when there are Rollups
//
//	GET    /v3/projects/{project}/metricRollups/{type…}
//	PUT    /v3/projects/{project}/metricRollups/{type…}
//	DELETE /v3/projects/{project}/metricRollups/{type…}
//	POST   /v3/projects/{project}/metricRollups/{type…}:rebuild
//
// The parameter explain of a list of time series adds to the answer how it was
// made.
//
// Calls over gRPC and REST become the same; only the answer of a list of time series over
// REST has a writer of its own (json.go). Parameters have Google's names, in
// lowerCamel or in snake_case (interval.startTime, interval.start_time). A
// parameter that is not known here is refused and not ignored, since an answer
// to another question is worse than none. What a query means is in tsdb/query.
//
// Points are written one verdict each: the good ones are kept and durable when
// the call returns, whatever the others are.
//
// A Service may be used concurrently. It does not authenticate: Authorize is
// asked before anything else is looked at.
package monitoring

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query"
)

// The permissions that Authorize is asked for, by Google's names.
const (
	// ListTimeSeries is needed to read series and their points.
	ListTimeSeries = "monitoring.timeSeries.list"
	// CreateTimeSeries is needed to write points.
	CreateTimeSeries = "monitoring.timeSeries.create"
	// ListDescriptors is needed to read descriptors of metrics and of
	// monitored resources.
	ListDescriptors = "monitoring.metricDescriptors.list"
	// CreateDescriptor and DeleteDescriptor are needed to declare a metric and
	// to remove it with its points.
	CreateDescriptor = "monitoring.metricDescriptors.create"
	DeleteDescriptor = "monitoring.metricDescriptors.delete"
)

// Series is the part of a tsdb.Store that points are written to.
type Series interface {
	// Append adds all samples, or none.
	Append(ctx context.Context, samples []tsdb.Sample) error
	// Sync makes durable all that was appended before the call.
	Sync(ctx context.Context) error
}

// Service answers calls. Engine, Descriptors and Authorize are required.
type Service struct {
	// Engine answers queries.
	Engine *query.Engine
	// Descriptors are the metrics that there are. When it is also a
	// tsdb.Declarations, metrics can be declared and deleted.
	Descriptors tsdb.Descriptors
	// Resources are the monitored-resource types; nil means that there are
	// none but "device".
	Resources tsdb.Resources
	// Series is where points go; nil means that none can be written here.
	Series Series
	// Erase deletes the points of a metric whose descriptor is deleted; nil has
	// Operations do it.
	Erase func(ctx context.Context, project, metric string) error
	// Operations is what can be done with series beside; nil means nothing.
	Operations *Operations
	// Rollups keeps the rollups that are declared; nil means that none can be.
	Rollups Rollups
	// Authorize returns nil when the caller of r has the permission on the
	// project (an id), and else the error to answer with.
	Authorize func(r *http.Request, project, permission string) error
	// Gather holds back what is written to the connection of r until send is
	// called, so that an answer that is known whole is sent at once; nil does not.
	Gather func(r *http.Request) (send func())
	// Bounds are the times that points may have.
	Bounds Bounds
	// Logger is told about internal errors, which callers do not see; nil
	// discards.
	Logger *slog.Logger

	syncs    syncs
	imports  imports
	encoders encoders
}

// Bounds are the times that points may have.
type Bounds struct {
	// MaxFuture is how far ahead of now a point may be; 0 means 48 hours, as
	// for the data of events.
	MaxFuture time.Duration
	// Retention is how old a point may be; 0 means any age that the storage
	// keeps.
	Retention time.Duration
}

// Routes adds the service's routes, which are absolute, to r.
func (s *Service) Routes(r chi.Router) {
	const root = "/v3/projects/{project}/"
	r.Get(root+"timeSeries", s.handle(ListTimeSeries, s.restListTimeSeries))
	r.Get(root+"timeSeries:export", s.handle(ListTimeSeries, s.restExport))
	r.Get(root+"metricDescriptors", s.handle(ListDescriptors, s.restListMetricDescriptors))
	r.Get(root+"metricDescriptors/*", s.handle(ListDescriptors, s.restGetMetricDescriptor))
	r.Get(root+"monitoredResourceDescriptors", s.handle(ListDescriptors, s.restListResourceDescriptors))
	r.Get(root+"monitoredResourceDescriptors/{type}", s.handle(ListDescriptors, s.restGetResourceDescriptor))
	if s.Series != nil {
		r.Post(root+"timeSeries", s.handle(CreateTimeSeries, s.restCreateTimeSeries))
		r.Post(root+"timeSeries:createService", s.handle(CreateTimeSeries, s.restCreateServiceTimeSeries))
	}
	r.Post(root+"metricDescriptors", s.handle(CreateDescriptor, s.restCreateMetricDescriptor))
	r.Delete(root+"metricDescriptors/*", s.handle(DeleteDescriptor, s.restDeleteMetricDescriptor))
	s.operationRoutes(r, root)
	s.rollupRoutes(r, root)
	s.addProcedures(r)
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
		if err != nil {
			s.log(r.Context(), r.URL.Path, err)
			writeError(w, err)
		}
	}
}

// log tells of an internal error, which the caller does not see.
func (s *Service) log(ctx context.Context, path string, err error) {
	if s.Logger != nil && ctx.Err() == nil && fault.KindOf(err) == fault.Internal {
		s.Logger.ErrorContext(ctx, "monitoring request failed", slog.Any("error", err), slog.String("path", path))
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
