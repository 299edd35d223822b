package monitoring

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
)

// maxDescriptors is the most descriptors of a page, and how many it holds when
// the request does not say (the API).
const maxDescriptors = 10_000

// The one monitored resource type, and its labels.
const (
	deviceType   = "device"
	projectLabel = "project_id"
	deviceLabel  = "device_id"
)

// metricDescriptorJSON is google.api.MetricDescriptor.
type metricDescriptorJSON struct {
	Name                   string   `json:"name"`
	Type                   string   `json:"type"`
	MetricKind             string   `json:"metricKind"`
	ValueType              string   `json:"valueType"`
	Unit                   string   `json:"unit,omitempty"`
	MonitoredResourceTypes []string `json:"monitoredResourceTypes"`
}

// resourceDescriptorJSON is google.api.MonitoredResourceDescriptor.
type resourceDescriptorJSON struct {
	Name        string                `json:"name"`
	Type        string                `json:"type"`
	DisplayName string                `json:"displayName"`
	Description string                `json:"description"`
	Labels      []labelDescriptorJSON `json:"labels"`
}

// labelDescriptorJSON is google.api.LabelDescriptor, of a string.
type labelDescriptorJSON struct {
	Key         string `json:"key"`
	Description string `json:"description"`
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) error {
	begin(w)
	// What cannot be written has no reader.
	_ = json.NewEncoder(w).Encode(v)
	return nil
}

// describe is the JSON of a metric descriptor.
func describe(d tsdb.Descriptor) metricDescriptorJSON {
	return metricDescriptorJSON{
		Name: "projects/" + d.Project + "/metricDescriptors/" + d.Type, Type: d.Type,
		MetricKind: string(d.Kind), ValueType: string(d.ValueType), Unit: d.Unit,
		MonitoredResourceTypes: []string{deviceType},
	}
}

// listMetricDescriptors answers projects.metricDescriptors.list. A page token
// is the last type that was told, so descriptors may come while pages are read.
func (s *Service) listMetricDescriptors(w http.ResponseWriter, r *http.Request, project string) error {
	p, err := parseParams(r, "filter", "pageSize", "pageToken")
	if err != nil {
		return err
	}
	matching := parseFilter(p, filter.MetricType())
	size := p.number("pageSize")
	if size <= 0 || size > maxDescriptors {
		size = maxDescriptors // for sizes out of bounds too (the API)
	}
	last, err := base64.RawURLEncoding.DecodeString(p.text("pageToken"))
	if err != nil {
		p.fail("pageToken", "it is no page token of this service")
	}
	if p.err != nil {
		return p.err
	}
	list, err := s.Descriptors.List(r.Context(), project)
	if err != nil {
		return err
	}
	var answer struct {
		MetricDescriptors []metricDescriptorJSON `json:"metricDescriptors,omitempty"`
		NextPageToken     string                 `json:"nextPageToken,omitempty"`
	}
	for _, d := range list {
		if d.Type <= string(last) || !matching.Match(&tsdb.Series{Project: project, Metric: d.Type}) {
			continue
		}
		if n := len(answer.MetricDescriptors); n == size {
			answer.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(answer.MetricDescriptors[n-1].Type))
			break
		}
		answer.MetricDescriptors = append(answer.MetricDescriptors, describe(d))
	}
	return writeJSON(w, answer)
}

// parseFilter reads a filter that may only name one field.
func parseFilter(p *params, field filter.Field) filter.Filter {
	f, err := filter.Parse(p.text("filter"))
	if p.err == nil {
		p.err = err
	}
	if !f.Only(func(named filter.Field) bool { return named == field }) {
		p.fail("filter", "descriptors can only be filtered by "+field.String())
	}
	return f
}

// metricDescriptor answers projects.metricDescriptors.get.
func (s *Service) metricDescriptor(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	metric, err := pathParam(r, "*")
	if err != nil {
		return err
	}
	d, err := s.Descriptors.Descriptor(r.Context(), project, metric)
	if err != nil {
		return err
	}
	return writeJSON(w, describe(d))
}

// deviceDescriptor is the descriptor of the monitored resource "device".
func deviceDescriptor(project string) resourceDescriptorJSON {
	return resourceDescriptorJSON{
		Name: "projects/" + project + "/monitoredResourceDescriptors/" + deviceType, Type: deviceType,
		DisplayName: "Device",
		Description: "A device that is registered in a project and posts telemetry.",
		Labels: []labelDescriptorJSON{
			{projectLabel, "The id of the project that the device is registered in."},
			{deviceLabel, "The id of the device in its project."},
		},
	}
}

// listResourceDescriptors answers projects.monitoredResourceDescriptors.list.
// There is one, so pages are of no concern.
func (s *Service) listResourceDescriptors(w http.ResponseWriter, r *http.Request, project string) error {
	p, err := parseParams(r, "filter", "pageSize", "pageToken")
	if err != nil {
		return err
	}
	matching := parseFilter(p, filter.ResourceType())
	if p.text("pageToken") != "" {
		p.fail("pageToken", "it is no page token of this service")
	}
	p.number("pageSize") // one descriptor fits on every page
	if p.err != nil {
		return p.err
	}
	var answer struct {
		ResourceDescriptors []resourceDescriptorJSON `json:"resourceDescriptors,omitempty"`
	}
	if matching.Match(&tsdb.Series{Project: project, Resource: deviceType}) {
		answer.ResourceDescriptors = append(answer.ResourceDescriptors, deviceDescriptor(project))
	}
	return writeJSON(w, answer)
}

// resourceDescriptor answers projects.monitoredResourceDescriptors.get.
func (s *Service) resourceDescriptor(w http.ResponseWriter, r *http.Request, project string) error {
	if _, err := parseParams(r); err != nil {
		return err
	}
	resource, err := pathParam(r, "type")
	if err != nil {
		return err
	}
	d := deviceDescriptor(project)
	if resource != d.Type {
		return &fault.Error{
			Op: "monitoring.resourceDescriptor", Kind: fault.NotFound,
			Name: "projects/" + project + "/monitoredResourceDescriptors/" + resource,
		}
	}
	return writeJSON(w, d)
}
