package monitoring

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	apipb "google.golang.org/genproto/googleapis/api"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/tsdb"
	"selvedge.dev/tsdb/query/filter"
)

// maxDescriptors is the most descriptors of a page, and how many it holds when
// the request does not say (the API).
const maxDescriptors = 10_000

// deviceType is the monitored resource that there always is.
const deviceType = "device"

// invalid is the error of a request that is wrong in one field, worded as
// Google words it.
func invalid(field, format string, args ...any) error {
	return &fault.Error{
		Op: "monitoring", Kind: fault.Invalid, Field: field,
		Err: fmt.Errorf("field %s had an invalid value: %s", field, fmt.Sprintf(format, args...)),
	}
}

// descriptorFilter reads a filter that may only name one field.
func descriptorFilter(text string, field filter.Field) (filter.Filter, error) {
	f, err := filter.Parse(text)
	if err != nil {
		return f, err
	}
	if !f.Only(func(named filter.Field) bool { return named == field || named == filter.Project() }) {
		return f, invalid("filter", "descriptors can only be filtered by %s", field)
	}
	return f, nil
}

// pageAfter reads a page token of a list of descriptors, which is the last type
// that was told, so that descriptors may come and go while pages are read.
func pageAfter(token string) (string, error) {
	last, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", invalid("pageToken", "it is no page token of this service")
	}
	return string(last), nil
}

// listMetricDescriptors answers ListMetricDescriptors.
func (s *Service) listMetricDescriptors(ctx context.Context, t target, req *monitoringpb.ListMetricDescriptorsRequest) (*monitoringpb.ListMetricDescriptorsResponse, error) {
	matching, err := descriptorFilter(req.GetFilter(), filter.MetricType())
	if err != nil {
		return nil, err
	}
	if req.GetActiveOnly() {
		return nil, invalid("activeOnly", "which metrics have recent data is not kept; list time series with the view HEADERS")
	}
	last, err := pageAfter(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size <= 0 || size > maxDescriptors {
		size = maxDescriptors // for sizes out of bounds too (the API)
	}
	list, err := s.Descriptors.List(ctx, t.project)
	if err != nil {
		return nil, err
	}
	answer := &monitoringpb.ListMetricDescriptorsResponse{}
	for _, d := range list {
		if d.Type <= last || !matching.Match(&tsdb.Series{Project: t.project, Metric: d.Type}) {
			continue
		}
		if n := len(answer.MetricDescriptors); n == size {
			answer.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(answer.MetricDescriptors[n-1].GetType()))
			break
		}
		answer.MetricDescriptors = append(answer.MetricDescriptors, describe(d))
	}
	return answer, nil
}

// getMetricDescriptor answers GetMetricDescriptor.
func (s *Service) getMetricDescriptor(ctx context.Context, t target, _ *monitoringpb.GetMetricDescriptorRequest) (*metricpb.MetricDescriptor, error) {
	d, err := s.Descriptors.Descriptor(ctx, t.project, t.id)
	if err != nil {
		return nil, err
	}
	return describe(d), nil
}

// declarations are the Descriptors as what can be changed.
func (s *Service) declarations() (tsdb.Declarations, error) {
	d, ok := s.Descriptors.(tsdb.Declarations)
	if !ok {
		return nil, &fault.Error{Op: "monitoring", Kind: fault.Unsupported, Reason: "NO_DECLARATIONS", Err: errors.New("metrics cannot be declared here")}
	}
	return d, nil
}

// createMetricDescriptor answers CreateMetricDescriptor, which also changes a
// descriptor that there is (the API).
func (s *Service) createMetricDescriptor(ctx context.Context, t target, req *monitoringpb.CreateMetricDescriptorRequest) (*metricpb.MetricDescriptor, error) {
	declarations, err := s.declarations()
	if err != nil {
		return nil, err
	}
	if req.GetMetricDescriptor() == nil {
		return nil, invalid("metricDescriptor", "it is required")
	}
	d, err := declared(t.project, req.GetMetricDescriptor())
	if err != nil {
		return nil, err
	}
	made, err := declarations.Declare(ctx, d)
	if err != nil {
		return nil, inDescriptor(err)
	}
	return describe(made), nil
}

// inDescriptor is err with its field as it is in the request.
func inDescriptor(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Invalid && f.Field != "" {
		e := *f
		e.Field = "metricDescriptor." + f.Field
		e.Err = fmt.Errorf("field %s had an invalid value: %w", e.Field, f.Err)
		return &e
	}
	return err
}

// deleteMetricDescriptor answers DeleteMetricDescriptor. The points go first: a
// descriptor without points is harmless, points without their descriptor are
// not what they were.
func (s *Service) deleteMetricDescriptor(ctx context.Context, t target, _ *monitoringpb.DeleteMetricDescriptorRequest) (*emptypb.Empty, error) {
	declarations, err := s.declarations()
	if err != nil {
		return nil, err
	}
	if _, err := s.Descriptors.Descriptor(ctx, t.project, t.id); err != nil {
		return nil, err
	}
	if err := s.erase(ctx, t); err != nil {
		return nil, err
	}
	if err := declarations.Delete(ctx, t.project, t.id); err != nil {
		return nil, err
	}
	// What came in between is of the metric that is no more, unless there is one
	// again.
	if s.Erase != nil {
		return &emptypb.Empty{}, nil
	}
	if _, err := s.Descriptors.Descriptor(ctx, t.project, t.id); fault.KindOf(err) == fault.NotFound {
		if err := s.erase(ctx, t); err != nil {
			return nil, err
		}
	}
	return &emptypb.Empty{}, nil
}

// erase deletes the points of a metric.
func (s *Service) erase(ctx context.Context, t target) error {
	switch {
	case s.Erase != nil:
		return s.Erase(ctx, t.project, t.id)
	case s.Operations != nil:
		_, err := s.Operations.Delete(ctx, tsdb.Selection{Project: t.project, Metric: t.id, Interval: always()})
		return err
	}
	return nil
}

// describe is a metric descriptor as Google has it.
func describe(d tsdb.Descriptor) *metricpb.MetricDescriptor {
	out := &metricpb.MetricDescriptor{
		Name: "projects/" + d.Project + "/" + metricDescriptors + "/" + d.Type, Type: d.Type,
		MetricKind: kindOf(d.Kind), ValueType: valueTypeOf(d.ValueType), Unit: d.Unit,
		MonitoredResourceTypes: []string{deviceType},
	}
	if d.Details == nil {
		return out
	}
	out.MonitoredResourceTypes = slices.Clone(d.Details.Resources)
	out.DisplayName, out.Description = d.Details.DisplayName, d.Details.Description
	out.Labels = labelDescriptors(d.Details.Labels)
	out.LaunchStage = apipb.LaunchStage(apipb.LaunchStage_value[d.Details.LaunchStage])
	if d.Details.IngestDelay > 0 || d.Details.SamplePeriod > 0 {
		out.Metadata = &metricpb.MetricDescriptor_MetricDescriptorMetadata{}
		if d.Details.IngestDelay > 0 {
			out.Metadata.IngestDelay = durationpb.New(d.Details.IngestDelay)
		}
		if d.Details.SamplePeriod > 0 {
			out.Metadata.SamplePeriod = durationpb.New(d.Details.SamplePeriod)
		}
	}
	return out
}

// declared is a metric descriptor of Google's as we keep it.
func declared(project string, in *metricpb.MetricDescriptor) (tsdb.Descriptor, error) {
	const field = "metricDescriptor."
	d := tsdb.Descriptor{Project: project, Type: in.GetType(), Unit: in.GetUnit()}
	prefix := "projects/" + project + "/" + metricDescriptors + "/"
	if d.Type == "" { // it may be in the name alone
		d.Type, _ = strings.CutPrefix(in.GetName(), prefix)
	}
	if in.GetName() != "" && in.GetName() != prefix+d.Type {
		return d, invalid(field+"name", "it is no name of %q in the project %q", d.Type, project)
	}
	var ok bool
	if d.Kind, ok = kinds[in.GetMetricKind()]; !ok {
		return d, invalid(field+"metricKind", "it must be GAUGE, DELTA or CUMULATIVE, not %s", in.GetMetricKind())
	}
	if d.ValueType, ok = valueTypes[in.GetValueType()]; !ok {
		return d, invalid(field+"valueType", "metrics of type %s are not kept here", in.GetValueType())
	}
	if d.Kind == tsdb.Cumulative && d.ValueType == tsdb.Bool || d.Kind == tsdb.Delta && d.ValueType == tsdb.Bool {
		return d, invalid(field+"valueType", "a metric of kind %s cannot be of type BOOL", d.Kind)
	}
	details := &tsdb.Details{
		DisplayName: in.GetDisplayName(), Description: in.GetDescription(), Resources: slices.Clone(in.GetMonitoredResourceTypes()),
	}
	if len(details.Resources) > maxResourceTypes {
		return d, invalid(field+"monitoredResourceTypes", "there are more than %d", maxResourceTypes)
	}
	if stage := in.GetLaunchStage(); stage != apipb.LaunchStage_LAUNCH_STAGE_UNSPECIFIED {
		if _, ok := apipb.LaunchStage_name[int32(stage)]; !ok {
			return d, invalid(field+"launchStage", "there is no launch stage %s", stage)
		}
		details.LaunchStage = stage.String()
	}
	for _, l := range in.GetLabels() {
		label, err := labelOf(l)
		if err != nil {
			return d, invalid(field+"labels", "%v", err)
		}
		details.Labels = append(details.Labels, label)
	}
	for name, p := range map[string]*durationpb.Duration{"ingestDelay": in.GetMetadata().GetIngestDelay(), "samplePeriod": in.GetMetadata().GetSamplePeriod()} {
		if p != nil && (!p.IsValid() || p.AsDuration() < 0) {
			return d, invalid(field+"metadata."+name, "it is no duration that can be")
		}
	}
	details.IngestDelay = in.GetMetadata().GetIngestDelay().AsDuration()
	details.SamplePeriod = in.GetMetadata().GetSamplePeriod().AsDuration()
	d.Details = details
	return d, nil
}

// maxResourceTypes bounds the monitored-resource types of one metric.
const maxResourceTypes = 100
