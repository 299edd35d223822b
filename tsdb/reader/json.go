package reader

import (
	"cmp"
	"time"

	"selvedge.dev/tsdb"
)

// page is a page of descriptors in Google Cloud Monitoring's JSON.
type page struct {
	MetricDescriptors   []metric   `json:"metricDescriptors"`
	ResourceDescriptors []resource `json:"resourceDescriptors"`
	NextPageToken       string     `json:"nextPageToken"`
}

// metric is a google.api.MetricDescriptor. What is not said is the first value of
// its type, but for the kind, which has none.
type metric struct {
	Type        string            `json:"type"`
	MetricKind  tsdb.MetricKind   `json:"metricKind"`
	ValueType   tsdb.ValueType    `json:"valueType"`
	Unit        string            `json:"unit"`
	DisplayName string            `json:"displayName"`
	Description string            `json:"description"`
	Labels      []label           `json:"labels"`
	LaunchStage string            `json:"launchStage"`
	Resources   []string          `json:"monitoredResourceTypes"`
	Metadata    map[string]string `json:"metadata"`
}

// resource is a google.api.MonitoredResourceDescriptor.
type resource struct {
	Type        string  `json:"type"`
	DisplayName string  `json:"displayName"`
	Description string  `json:"description"`
	Labels      []label `json:"labels"`
	LaunchStage string  `json:"launchStage"`
}

// label is a google.api.LabelDescriptor.
type label struct {
	Key         string         `json:"key"`
	ValueType   tsdb.LabelType `json:"valueType"`
	Description string         `json:"description"`
}

// labels are labels as descriptors have them.
func labels(in []label) []tsdb.LabelDescriptor {
	var out []tsdb.LabelDescriptor
	for _, l := range in {
		out = append(out, tsdb.LabelDescriptor{Key: l.Key, Type: cmp.Or(l.ValueType, tsdb.StringLabel), Description: l.Description})
	}
	return out
}

// descriptor is the metric in a project.
func (m *metric) descriptor(project string) tsdb.Descriptor {
	duration := func(name string) time.Duration {
		d, _ := time.ParseDuration(m.Metadata[name]) // "60s"; what is none is unknown
		return d
	}
	return tsdb.Descriptor{
		Project: project, Type: m.Type, Kind: m.MetricKind, ValueType: m.ValueType, Unit: m.Unit,
		Details: &tsdb.Details{
			DisplayName: m.DisplayName, Description: m.Description, Labels: labels(m.Labels), LaunchStage: m.LaunchStage,
			Resources: m.Resources, IngestDelay: duration("ingestDelay"), SamplePeriod: duration("samplePeriod"),
		},
	}
}

// descriptor is the resource in a project.
func (r *resource) descriptor(project string) tsdb.ResourceDescriptor {
	return tsdb.ResourceDescriptor{
		Project: project, Type: r.Type, DisplayName: r.DisplayName, Description: r.Description, Labels: labels(r.Labels), LaunchStage: r.LaunchStage,
	}
}
