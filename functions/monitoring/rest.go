package monitoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/function"
)

// writeJSON answers with m, or with the error of the call that was to make it.
func writeJSON(w http.ResponseWriter, m proto.Message, err error) error {
	if err != nil {
		return err
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	var compact bytes.Buffer
	// protojson puts spaces where it likes, so that nobody relies on them.
	if err := json.Compact(&compact, text); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	compact.WriteByte('\n')
	begin(w)
	_, _ = w.Write(compact.Bytes()) // a caller who went away needs no answer
	return nil
}

// readJSON reads the body of a request, a message in proto's JSON.
func readJSON(w http.ResponseWriter, r *http.Request, into proto.Message) error {
	bad := func(kind fault.Kind, reason string, err error) error {
		return &fault.Error{Op: "monitoring.readJSON", Kind: kind, Reason: reason, Field: "body", Err: err}
	}
	if text := r.Header.Get("Content-Type"); text != "" {
		if media, _, err := mime.ParseMediaType(text); err != nil || media != "application/json" {
			return bad(fault.Unsupported, "UNSUPPORTED_CONTENT_TYPE", fmt.Errorf("a body of type %.100q is not understood: it must be application/json", text))
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return bad(fault.TooLarge, "BODY_TOO_LARGE", fmt.Errorf("the body is longer than %d bytes", maxMessage))
	case err != nil:
		return bad(fault.Invalid, "BODY_CUT", fmt.Errorf("read the body: %w", err))
	case len(bytes.TrimSpace(body)) == 0:
		return bad(fault.Invalid, "NO_BODY", errors.New("the body is empty: a JSON object is required"))
	}
	if err := protojson.Unmarshal(body, into); err != nil {
		return bad(fault.Invalid, "MALFORMED_JSON", err)
	}
	return nil
}

// descriptorParams reads the parameters of a list of descriptors.
func descriptorParams(r *http.Request) (*params, int32, error) {
	p, err := parseParams(r, "filter", "pageSize", "pageToken")
	if err != nil {
		return nil, 0, err
	}
	return p, int32(p.number("pageSize")), p.err
}

// restListMetricDescriptors answers projects.metricDescriptors.list.
func (s *Service) restListMetricDescriptors(w http.ResponseWriter, r *http.Request, project string) error {
	p, size, err := descriptorParams(r)
	if err != nil {
		return err
	}
	answer, err := s.listMetricDescriptors(r.Context(), target{project: project}, &monitoringpb.ListMetricDescriptorsRequest{
		Filter: p.text("filter"), PageSize: size, PageToken: p.text("pageToken"),
	})
	return writeJSON(w, answer, err)
}

// element is what a path without parameters is about.
func element(r *http.Request, project, collection, param string) (target, error) {
	if _, err := parseParams(r); err != nil {
		return target{}, err
	}
	id, err := pathParam(r, param)
	return target{project, collection, id}, err
}

// restGetMetricDescriptor answers projects.metricDescriptors.get.
func (s *Service) restGetMetricDescriptor(w http.ResponseWriter, r *http.Request, project string) error {
	t, err := element(r, project, metricDescriptors, "*")
	if err != nil {
		return err
	}
	answer, err := s.getMetricDescriptor(r.Context(), t, nil)
	return writeJSON(w, answer, err)
}

// restCreateMetricDescriptor answers projects.metricDescriptors.create.
func (s *Service) restCreateMetricDescriptor(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	d := &metricpb.MetricDescriptor{}
	if err := readJSON(w, r, d); err != nil {
		return err
	}
	answer, err := s.createMetricDescriptor(r.Context(), target{project: project}, &monitoringpb.CreateMetricDescriptorRequest{MetricDescriptor: d})
	return writeJSON(w, answer, err)
}

// restDeleteMetricDescriptor answers projects.metricDescriptors.delete.
func (s *Service) restDeleteMetricDescriptor(w http.ResponseWriter, r *http.Request, project string) error {
	t, err := element(r, project, metricDescriptors, "*")
	if err != nil {
		return err
	}
	answer, err := s.deleteMetricDescriptor(r.Context(), t, nil)
	return writeJSON(w, answer, err)
}

// restListResourceDescriptors answers projects.monitoredResourceDescriptors.list.
func (s *Service) restListResourceDescriptors(w http.ResponseWriter, r *http.Request, project string) error {
	p, size, err := descriptorParams(r)
	if err != nil {
		return err
	}
	answer, err := s.listResourceDescriptors(r.Context(), target{project: project}, &monitoringpb.ListMonitoredResourceDescriptorsRequest{
		Filter: p.text("filter"), PageSize: size, PageToken: p.text("pageToken"),
	})
	return writeJSON(w, answer, err)
}

// restGetResourceDescriptor answers projects.monitoredResourceDescriptors.get.
func (s *Service) restGetResourceDescriptor(w http.ResponseWriter, r *http.Request, project string) error {
	t, err := element(r, project, resourceDescriptors, "type")
	if err != nil {
		return err
	}
	answer, err := s.getResourceDescriptor(r.Context(), t, nil)
	return writeJSON(w, answer, err)
}

// restCreateTimeSeries answers projects.timeSeries.create. The name in the body
// may be left out: it is in the path.
func (s *Service) restCreateTimeSeries(w http.ResponseWriter, r *http.Request, project string) error {
	req, err := readTimeSeries(w, r, project)
	if err != nil {
		return err
	}
	var dropped function.Drops
	answer, err := s.createTimeSeries(function.WithDrops(r.Context(), &dropped), target{project: project}, req)
	tellLosses(w, err, dropped.Losses())
	return writeJSON(w, answer, err)
}

// restCreateServiceTimeSeries answers projects.timeSeries.createService.
func (s *Service) restCreateServiceTimeSeries(w http.ResponseWriter, r *http.Request, project string) error {
	req, err := readTimeSeries(w, r, project)
	if err != nil {
		return err
	}
	answer, err := s.createServiceTimeSeries(r.Context(), target{project: project}, req)
	return writeJSON(w, answer, err)
}

// readTimeSeries reads what is to be written.
func readTimeSeries(w http.ResponseWriter, r *http.Request, project string) (*monitoringpb.CreateTimeSeriesRequest, error) {
	if _, err := parseParams(r); err != nil {
		return nil, err
	}
	req := &monitoringpb.CreateTimeSeriesRequest{}
	if err := readJSON(w, r, req); err != nil {
		return nil, err
	}
	if name := req.GetName(); name != "" && name != "projects/"+project {
		return nil, invalid("name", "it is %.100q, and the path is of the project %q", name, project)
	}
	return req, nil
}
