package monitoring

import (
	"context"
	"encoding/base64"
	"fmt"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	apipb "google.golang.org/genproto/googleapis/api"
	labelpb "google.golang.org/genproto/googleapis/api/label"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
)

// device is the monitored resource when nobody keeps others.
func device(project string) tsdb.ResourceDescriptor {
	return tsdb.ResourceDescriptor{
		Project: project, Type: deviceType, DisplayName: "Device",
		Description: "A device that is registered in a project and posts telemetry.",
		Labels: []tsdb.LabelDescriptor{
			{Key: "project_id", Description: "The id of the project that the device is registered in."},
			{Key: "device_id", Description: "The id of the device in its project."},
		},
	}
}

// listResourceDescriptors answers ListMonitoredResourceDescriptors.
func (s *Service) listResourceDescriptors(ctx context.Context, t target, req *monitoringpb.ListMonitoredResourceDescriptorsRequest) (*monitoringpb.ListMonitoredResourceDescriptorsResponse, error) {
	matching, err := descriptorFilter(req.GetFilter(), filter.ResourceType())
	if err != nil {
		return nil, err
	}
	last, err := pageAfter(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	list := []tsdb.ResourceDescriptor{device(t.project)}
	if s.Resources != nil {
		if list, err = s.Resources.ListResources(ctx, t.project); err != nil {
			return nil, err
		}
	}
	size := int(req.GetPageSize())
	if size <= 0 || size > maxDescriptors {
		size = maxDescriptors
	}
	answer := &monitoringpb.ListMonitoredResourceDescriptorsResponse{}
	for _, d := range list {
		if d.Type <= last || !matching.Match(&tsdb.Series{Project: t.project, Resource: d.Type}) {
			continue
		}
		if n := len(answer.ResourceDescriptors); n == size {
			answer.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(answer.ResourceDescriptors[n-1].GetType()))
			break
		}
		answer.ResourceDescriptors = append(answer.ResourceDescriptors, describeResource(d))
	}
	return answer, nil
}

// getResourceDescriptor answers GetMonitoredResourceDescriptor.
func (s *Service) getResourceDescriptor(ctx context.Context, t target, _ *monitoringpb.GetMonitoredResourceDescriptorRequest) (*monitoredrespb.MonitoredResourceDescriptor, error) {
	if s.Resources != nil {
		d, err := s.Resources.Resource(ctx, t.project, t.id)
		if err != nil {
			return nil, err
		}
		return describeResource(d), nil
	}
	if t.id != deviceType {
		return nil, &fault.Error{
			Op: "monitoring.getResourceDescriptor", Kind: fault.NotFound,
			Name: "projects/" + t.project + "/" + resourceDescriptors + "/" + t.id,
		}
	}
	return describeResource(device(t.project)), nil
}

// describeResource is a descriptor of a monitored resource as Google has it.
func describeResource(d tsdb.ResourceDescriptor) *monitoredrespb.MonitoredResourceDescriptor {
	return &monitoredrespb.MonitoredResourceDescriptor{
		Name: "projects/" + d.Project + "/" + resourceDescriptors + "/" + d.Type, Type: d.Type,
		DisplayName: d.DisplayName, Description: d.Description, Labels: labelDescriptors(d.Labels),
		LaunchStage: apipb.LaunchStage(apipb.LaunchStage_value[d.LaunchStage]),
	}
}

// labelDescriptors are descriptors of labels as Google has them.
func labelDescriptors(labels []tsdb.LabelDescriptor) []*labelpb.LabelDescriptor {
	var out []*labelpb.LabelDescriptor
	for _, l := range labels {
		out = append(out, &labelpb.LabelDescriptor{
			Key: l.Key, Description: l.Description,
			ValueType: labelpb.LabelDescriptor_ValueType(labelpb.LabelDescriptor_ValueType_value[string(l.Type)]), // STRING for ""
		})
	}
	return out
}

// labelOf is a descriptor of a label as we keep it.
func labelOf(l *labelpb.LabelDescriptor) (tsdb.LabelDescriptor, error) {
	name, ok := labelpb.LabelDescriptor_ValueType_name[int32(l.GetValueType())]
	if !ok {
		return tsdb.LabelDescriptor{}, fmt.Errorf("there is no type %s of labels", l.GetValueType())
	}
	return tsdb.LabelDescriptor{Key: l.GetKey(), Type: tsdb.LabelType(name), Description: l.GetDescription()}, nil
}
