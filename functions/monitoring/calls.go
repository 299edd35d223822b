package monitoring

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"connectrpc.com/connect"
	"github.com/go-chi/chi/v5"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"selvedge.dev/sdk/fault"
)

// Procedures is what the paths of the methods begin with.
const Procedures = "/google.monitoring.v3.MetricService/"

// maxMessage bounds a request, in bytes: gRPC's own bound, and that of a body
// over REST.
const maxMessage = 4 << 20

// The collections of a project, as they are in names.
const (
	metricDescriptors   = "metricDescriptors"
	resourceDescriptors = "monitoredResourceDescriptors"
)

// target is what a request is about, read from its name.
type target struct {
	project string
	// collection is one of those above, or "" for the project; id is what is
	// in it.
	collection, id string
}

// method is one method of the service: collection is what its names are of,
// the rest how it is answered.
type method[Req, Resp any] struct {
	name, permission, collection string
	nameOf                       func(*Req) string
	call                         func(ctx context.Context, t target, req *Req) (*Resp, error)
}

// addProcedures adds the methods for gRPC, gRPC-Web and Connect.
func (s *Service) addProcedures(r chi.Router) {
	add(s, r, method[monitoringpb.ListMonitoredResourceDescriptorsRequest, monitoringpb.ListMonitoredResourceDescriptorsResponse]{
		"ListMonitoredResourceDescriptors", ListDescriptors, "",
		(*monitoringpb.ListMonitoredResourceDescriptorsRequest).GetName, s.listResourceDescriptors,
	})
	add(s, r, method[monitoringpb.GetMonitoredResourceDescriptorRequest, monitoredrespb.MonitoredResourceDescriptor]{
		"GetMonitoredResourceDescriptor", ListDescriptors, resourceDescriptors,
		(*monitoringpb.GetMonitoredResourceDescriptorRequest).GetName, s.getResourceDescriptor,
	})
	add(s, r, method[monitoringpb.ListMetricDescriptorsRequest, monitoringpb.ListMetricDescriptorsResponse]{
		"ListMetricDescriptors", ListDescriptors, "", (*monitoringpb.ListMetricDescriptorsRequest).GetName, s.listMetricDescriptors,
	})
	add(s, r, method[monitoringpb.GetMetricDescriptorRequest, metricpb.MetricDescriptor]{
		"GetMetricDescriptor", ListDescriptors, metricDescriptors, (*monitoringpb.GetMetricDescriptorRequest).GetName, s.getMetricDescriptor,
	})
	add(s, r, method[monitoringpb.CreateMetricDescriptorRequest, metricpb.MetricDescriptor]{
		"CreateMetricDescriptor", CreateDescriptor, "", (*monitoringpb.CreateMetricDescriptorRequest).GetName, s.createMetricDescriptor,
	})
	add(s, r, method[monitoringpb.DeleteMetricDescriptorRequest, emptypb.Empty]{
		"DeleteMetricDescriptor", DeleteDescriptor, metricDescriptors, (*monitoringpb.DeleteMetricDescriptorRequest).GetName, s.deleteMetricDescriptor,
	})
	add(s, r, method[monitoringpb.ListTimeSeriesRequest, monitoringpb.ListTimeSeriesResponse]{
		"ListTimeSeries", ListTimeSeries, "", (*monitoringpb.ListTimeSeriesRequest).GetName, s.listTimeSeries,
	})
	add(s, r, method[monitoringpb.CreateTimeSeriesRequest, emptypb.Empty]{
		"CreateTimeSeries", CreateTimeSeries, "", (*monitoringpb.CreateTimeSeriesRequest).GetName, s.createTimeSeries,
	})
	add(s, r, method[monitoringpb.CreateTimeSeriesRequest, emptypb.Empty]{
		"CreateServiceTimeSeries", CreateTimeSeries, "", (*monitoringpb.CreateTimeSeriesRequest).GetName, s.createServiceTimeSeries,
	})
}

// requestKey finds the HTTP request of a call, which Authorize wants.
type requestKey struct{}

// add adds a method to the router.
func add[Req, Resp any](s *Service, r chi.Router, m method[Req, Resp]) {
	handler := connect.NewUnaryHandler(Procedures+m.name, func(ctx context.Context, req *connect.Request[Req]) (*connect.Response[Resp], error) {
		resp, err := answer(ctx, s, m, req.Msg)
		if err != nil {
			s.log(ctx, Procedures+m.name, err)
			return nil, callError(err)
		}
		return connect.NewResponse(resp), nil
	}, connect.WithReadMaxBytes(maxMessage))
	r.Post(Procedures+m.name, func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, r)))
	})
}

// answer authorizes a call and does it.
func answer[Req, Resp any](ctx context.Context, s *Service, m method[Req, Resp], req *Req) (*Resp, error) {
	r, ok := ctx.Value(requestKey{}).(*http.Request)
	if !ok {
		return nil, errors.New("BUG: a call without its request")
	}
	t, err := parseName(m.nameOf(req), m.collection)
	if err != nil {
		return nil, err
	}
	if err := s.Authorize(r, t.project, m.permission); err != nil {
		return nil, err
	}
	return m.call(ctx, t, req)
}

// parseName reads a name: "projects/P" or, in a collection,
// "projects/P/COLLECTION/ID". An id may have slashes.
func parseName(name, collection string) (target, error) {
	bad := func(format string, args ...any) error {
		return &fault.Error{
			Op: "monitoring.parseName", Kind: fault.Invalid, Reason: "INVALID_NAME", Field: "name",
			Err: fmt.Errorf("field name had an invalid value of %.100q: %s", name, fmt.Sprintf(format, args...)),
		}
	}
	want := "projects/PROJECT"
	if collection != "" {
		want += "/" + collection + "/TYPE"
	}
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case "projects":
	case "organizations", "folders":
		return target{}, bad("there are no %s here; it must be %s", kind, want)
	default:
		return target{}, bad("it must be %s", want)
	}
	t := target{collection: collection}
	if collection == "" {
		t.project = rest
	} else {
		var found bool
		if t.project, t.id, found = strings.Cut(rest, "/"+collection+"/"); !found || t.id == "" {
			return target{}, bad("it must be %s", want)
		}
	}
	if t.project == "" || strings.Contains(t.project, "/") {
		return target{}, bad("it must be %s", want)
	}
	return t, nil
}

// detailed is an error with more to tell than a fault can.
type detailed struct {
	fault   *fault.Error
	details []proto.Message
}

// Error is the text of the fault.
func (d *detailed) Error() string { return d.fault.Error() }

// Unwrap is the fault.
func (d *detailed) Unwrap() error { return d.fault }
